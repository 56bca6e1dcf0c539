"""The framing of event streams: where events end, what they hold, and that no byte is lost (B29, B40)."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpool_sidecar.core import sse
from modelpool_sidecar.core.sse import Event, Scanner
from wire_texts import cuts

PIECES = st.sampled_from(
    [b"data: {}", b"data:x", b"data", b"data:  two", b": ping", b"event: error", b"id: 1", b"retry: 5", b"x", b"\n",
     b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r", "data: é🎉".encode(), b"\xef\xbb\xbf", b"\xff", b"data: [DONE]"]
)  # fmt: skip
STREAMS = st.lists(PIECES, max_size=25).map(b"".join)


def events_of(*pieces: bytes) -> list[Event]:
    scanner = Scanner()
    return [event for piece in pieces for event in scanner.feed(piece)]


@settings(max_examples=3000, deadline=None)
@given(STREAMS, st.data())
def test_the_same_bytes_give_the_same_events_however_they_are_cut(stream: bytes, data: st.DataObject) -> None:
    whole = events_of(stream)
    assert events_of(*data.draw(cuts(stream))) == whole
    assert events_of(*(stream[at : at + 1] for at in range(len(stream)))) == whole


@settings(max_examples=2000, deadline=None)
@given(STREAMS)
def test_every_byte_belongs_to_one_event_or_is_pending(stream: bytes) -> None:
    scanner = Scanner()
    raw = b"".join(event.raw for event in scanner.feed(stream))
    assert stream.startswith(raw)
    assert scanner.pending == len(stream) - len(raw)
    assert repr(scanner) == f"<Scanner {scanner.pending} bytes pending>"
    last = scanner.close()
    assert (last is None) == (raw == stream)
    assert scanner.close() is None


@settings(max_examples=2000, deadline=None)
@given(STREAMS)
def test_the_events_are_those_of_the_specification(stream: bytes) -> None:
    ended = stream + b"\n\n."  # no CR is left waiting for its LF
    found = [(event.event, event.data) for event in events_of(ended) if not event.comment_only]
    assert found == by_the_book(ended)


def by_the_book(stream: bytes) -> list[tuple[str | None, bytes]]:
    """The WHATWG algorithm, word by word, on a whole stream."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found: list[tuple[str | None, bytes]] = []
    name: str | None = None
    data: list[bytes] = []
    for line in text.split(b"\n")[:-1]:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if data:
                found.append((name, b"\n".join(data)))
            name, data = None, []
        elif field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return found


@pytest.mark.parametrize(
    ("stream", "event", "data", "comment_only"),
    [
        (b"data: {}\n\n", None, b"{}", False),
        (b"data:{}\n\n", None, b"{}", False),
        (b"data:  {}\r\n\r\n", None, b" {}", False),
        (b"event: error\ndata: {}\n\n", "error", b"{}", False),
        (b"data: {\ndata: }\n\n", None, b"{\n}", False),
        (b"data\n\n", None, b"", False),
        (b": keep-alive\n\n", None, b"", True),
        (b"event: ping\n\n", "ping", b"", True),
        (b"\n", None, b"", True),
        (b"\r\n", None, b"", True),
        (b"\xef\xbb\xbfdata: {}\n\n", None, b"{}", False),
        (b"\xef\xbb\xbfid: 3\rdata: {}\r\n\n", None, b"{}", False),
    ],
)
def test_an_event_tells_what_it_holds(stream: bytes, event: str | None, data: bytes, comment_only: bool) -> None:
    assert events_of(stream) == [Event(stream, event, data, comment_only)]


def test_an_event_that_ends_in_cr_waits_for_its_lf() -> None:
    scanner = Scanner()
    assert scanner.feed(b"data: 1\r\r") == []
    assert [event.raw for event in scanner.feed(b"data: 2\r\n\r")] == [b"data: 1\r\r"]
    assert [event.raw for event in scanner.feed(b"\n")] == [b"data: 2\r\n\r\n"]


@pytest.mark.parametrize(
    ("rest", "raw"),
    [
        (b"data: 1", b"data: 1\n\n"),
        (b"data: 1\n", b"data: 1\n\n"),
        (b"data: 1\r\n", b"data: 1\r\n\n"),
        (b"data: 1\r\r", b"data: 1\r\r"),
        (b"data: 1\r\n\r", b"data: 1\r\n\r"),
        (b"data: 1\r", b"data: 1\r\n\n"),
    ],
)
def test_the_line_ends_that_a_last_event_lacks_are_supplied(rest: bytes, raw: bytes) -> None:
    scanner = Scanner()
    assert scanner.feed(rest) == []
    assert scanner.close() == Event(raw, None, b"1", False)


def test_a_byte_order_mark_means_something_only_at_the_start() -> None:
    first, second = events_of(b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n")
    assert first.data == b"1"
    assert second.comment_only


def test_a_large_event_in_small_pieces_costs_no_more_than_its_bytes() -> None:
    scanner = Scanner()
    piece = b"x" * 64
    started = time.process_time()
    scanner.feed(b"data: ")
    for _ in range(40_000):
        assert scanner.feed(piece) == []
    (event,) = scanner.feed(b"\r\n\r\n")
    assert len(event.data) == 40_000 * 64
    assert time.process_time() - started < 2  # a search from the start each time takes minutes


@pytest.mark.parametrize(
    ("raw", "start", "end", "replaced"),
    [
        (b'data: {"m":"a"}\n\n', 5, 8, b'data: {"m":"new"}\n\n'),
        (b'data:{"m":"a"}\r\n\r\n', 5, 8, b'data:{"m":"new"}\r\n\r\n'),
        (b'event: x\ndata: {"m":"a"}\n\n', 5, 8, b'event: x\ndata: {"m":"new"}\n\n'),
        (b': {"m":"a"}\ndata: {"m":"a"}\n\n', 5, 8, b': {"m":"a"}\ndata: {"m":"new"}\n\n'),
        (b'data: {\nid: 5\ndata: "m":"a"}\n\n', 6, 9, b'data: {\nid: 5\ndata: "m":"new"}\n\n'),
        (b'\xef\xbb\xbfdata: {"m":"a"}\n\n', 5, 8, b'\xef\xbb\xbfdata: {"m":"new"}\n\n'),
        (b'data: {"m"\ndata: :"a"}\n\n', 4, 7, b'data: {"m"\ndata: :"a"}\n\n'),
    ],
)
def test_a_span_of_the_data_is_replaced_where_it_stands(raw: bytes, start: int, end: int, replaced: bytes) -> None:
    (event,) = events_of(raw)
    assert sse.replace_data(event, start, end, b'"new"') == replaced
