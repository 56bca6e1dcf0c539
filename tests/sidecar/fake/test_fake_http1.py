"""HTTP/1.1 as the fake provider reads it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpool_sidecar.fake import http1
from modelpool_sidecar.fake.http1 import MalformedError, RequestReader

STREAM = (
    b"POST /v1/a?q=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    b"\r\nGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    b"3;name=value\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n"
    b"PUT /d HTTP/1.0\r\n\r\n"
)


def read_all(pieces: list[bytes]) -> list[tuple[str, str, bytes]]:
    reader, found = RequestReader(), []
    head = None
    for piece in pieces:
        reader.feed(piece)
        while True:
            head = head or reader.head()
            body = reader.body() if head else None
            if head is None or body is None:
                break
            found.append((head.method, head.target, body))
            head = None
    return found


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_requests_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(edges)]
    assert read_all(pieces) == [
        ("POST", "/v1/a?q=1", b"hello"),
        ("GET", "/b", b""),
        ("POST", "/c", b"abc0123456789"),
        ("PUT", "/d", b""),
    ]


def test_a_head_tells_whether_the_connection_stays_and_whether_to_say_continue() -> None:
    reader, heads = RequestReader(), []
    reader.feed(STREAM)
    for _ in range(4):
        heads.append(reader.head())
        reader.body()
    assert [head.keeps_alive for head in heads if head] == [True, False, True, False]
    assert [head.expects_continue for head in heads if head] == [False, False, True, False]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"G1T / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nspace : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", 413),
        (b"x" * (http1.MAX_HEAD_BYTES + 1), 431),
        (b"GET / HTTP/1.1\r\nx: " + b"x" * http1.MAX_HEAD_BYTES + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * (http1.MAX_HEAD_BYTES + 1), 431),
    ],
)
def test_what_is_not_http_is_refused_with_its_status(raw: bytes, status: int) -> None:
    with pytest.raises(MalformedError) as caught:
        read_all([raw])
    assert caught.value.status == status
