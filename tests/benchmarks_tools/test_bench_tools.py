"""The fake upstream answers rightly, and the load generator finds every way in which an answer can be wrong."""

import http.client
import json
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench import procfs
from bench.loads import Bench, Load, Upstream, Window, parse
from bench.processes import Cores, HeldSignals
from bench.starting import free_port
from bench.tools import SOURCES, BuildError, build

pytestmark = pytest.mark.slow

Reply = Callable[[str], list[bytes]]
"""From the id of a request to what the server sends, one write each."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    tools = build()
    return Bench(tools.load, tools.upstream, Cores.pick(), tmp_path_factory.mktemp("bench"))


@pytest.fixture
def upstream(bench: Bench) -> Iterator[Upstream]:
    with bench.upstream() as running:
        yield running


@contextmanager
def server(reply: Reply) -> Iterator[int]:
    """A provider that answers as it is told, one request for each connection or many."""

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            while head := self.rfile.readline():
                while (line := self.rfile.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                body = self.rfile.read(length)
                assert head.startswith(b"POST /v1/chat/completions HTTP/1.1")
                said = reply(body.split(b"ask-")[1][:16].decode())
                for part in said:
                    self.wfile.write(part)
                if not said:
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield listening.server_address[1]
        finally:
            listening.shutdown()
            thread.join()


def load(bench: Bench, port: int, *, stream: int = 0, requests: int = 5) -> Window:
    """A few requests on one connection, all of them in the window."""
    options = ["--port", port, "--requests", requests, "--warmup-ms", 0, "--window-ms", 5000]
    if stream:
        options += ["--stream", 1, "--chunks", stream, "--interval-us", 0]
    command = [str(bench.load_program), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    begin, end, line = done.stdout.splitlines()
    assert (begin, end) == ("begin", "end")
    return parse(line, ())


def mark(name: str, index: int = 0) -> bytes:
    return f"ans-{name}-{index:08x}-{0:016x}".encode()


def whole(name: str) -> bytes:
    body = b'{"choices":[{"message":{"content":"' + mark(name) + b'"}}]}'
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def events(*data: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    lines = [b"data: " + one + b"\n\n" for one in data]
    return head + b"".join(b"%x\r\n%s\r\n" % (len(line), line) for line in lines) + b"0\r\n\r\n"


def delta(name: str, index: int) -> bytes:
    return b'{"choices":[{"delta":{"content":"' + mark(name, index) + b'"}}]}'


# ---------------------------------------------------------------------------------------------------- the two together


def test_every_whole_answer_is_the_right_one(bench: Bench, upstream: Upstream) -> None:
    window = load(bench, upstream.port, requests=2_000)
    assert (window.requests, window.latency.count, window.faults) == (2_000, 2_000, {})
    assert 0 < window.latency.p50 <= window.latency.p90 <= window.latency.p99 <= window.latency.max * 1.01


def test_every_stream_is_whole_and_in_order(bench: Bench, upstream: Upstream) -> None:
    window = load(bench, upstream.port, stream=40, requests=25)
    assert (window.requests, window.chunks, window.faults) == (25, 1_000, {})


def test_a_paced_load_keeps_its_pace(bench: Bench, upstream: Upstream) -> None:
    window = bench.send(Load(connections=8, window_ms=300, warmup_ms=50, rate=200), upstream.port)
    assert window.faults == {}
    assert 40 <= window.requests <= 80


def test_held_streams_speak_to_the_end_of_the_window_and_then_leave(bench: Bench, upstream: Upstream) -> None:
    held = Load(connections=50, window_ms=300, warmup_ms=50, chunks=10_000, interval_us=10_000, hold=True)
    window = bench.send(held, upstream.port, lambda: procfs.cpu_seconds((upstream.pid,)))
    assert (window.faults, window.requests) == ({}, 0)
    assert 150 <= window.chunks <= 1_650
    assert len(window.cpu_seconds) == 1


# ------------------------------------------------------------------------------------------------ what the load finds


def test_an_answer_may_arrive_byte_by_byte(bench: Bench) -> None:
    with server(lambda name: [bytes([byte]) for byte in whole(name)]) as port:
        assert load(bench, port).faults == {}
    stream = [b'{"choices":[{"delta":{"role":"assistant"}}]}']
    with server(lambda name: [bytes([b]) for b in events(*stream, delta(name, 0), delta(name, 1), b"[DONE]")]) as port:
        assert load(bench, port, stream=2).faults == {}


def test_an_answer_may_be_framed_in_other_ways(bench: Bench) -> None:
    def interim(name: str) -> list[bytes]:
        return [b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + whole(name)]

    def chunked(name: str) -> list[bytes]:
        body = whole(name).partition(b"\r\n\r\n")[2]
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
        return [head, b"%X\r\n" % len(body), body, b"\r\n0\r\nx-end: 1\r\n\r\n"]

    for reply in (interim, chunked):
        with server(reply) as port:
            assert load(bench, port).faults == {}


def other(name: str) -> str:
    return f"{int(name, 16) + 1:016x}"


WRONG_WHOLE: dict[str, tuple[str, Reply]] = {
    "somebody else's answer": ("foreign", lambda name: [whole(other(name))]),
    "more bytes than announced": ("stray", lambda name: [whole(name) + b"x"]),
    "two answers": ("stray", lambda name: [whole(name) * 2]),
    "an error": ("status", lambda name: [b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}"]),
    "an error body in a 200": ("event", lambda name: [b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"error": 1}']),
    "an answer without the mark": ("short", lambda name: [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"]),
    "no body": ("short", lambda name: [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]),
    "no length": ("framing", lambda name: [b"HTTP/1.1 200 OK\r\n\r\n"]),
    "two lengths": ("framing", lambda name: [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"]),
    "not HTTP": ("framing", lambda name: [b"SSH-2.0-OpenSSH_9.2 and so on\r\n\r\n"]),
    "no answer": ("closed", lambda name: []),
}
WRONG_STREAMS: dict[str, tuple[str, Reply]] = {
    "somebody else's chunk": ("foreign", lambda name: [events(delta(name, 0), delta(other(name), 1), b"[DONE]")]),
    "chunks in the wrong order": ("order", lambda name: [events(delta(name, 1), delta(name, 0), b"[DONE]")]),
    "a chunk twice": ("order", lambda name: [events(delta(name, 0), delta(name, 0), delta(name, 1), b"[DONE]")]),
    "a chunk too few": ("short", lambda name: [events(delta(name, 0), b"[DONE]")]),
    "no [DONE]": ("short", lambda name: [events(delta(name, 0), delta(name, 1))]),
    "an error event": ("event", lambda name: [events(delta(name, 0), b'{"error":{"message":"gone"}}')]),
    "a bad chunk size": ("framing", lambda name: [events(delta(name, 0))[:-5] + b"zz\r\n"]),
}


@pytest.mark.parametrize("case", WRONG_WHOLE)
def test_a_wrong_answer_is_found(bench: Bench, case: str) -> None:
    fault, reply = WRONG_WHOLE[case]
    with server(reply) as port:
        window = load(bench, port, requests=1)
    assert (window.requests, window.faults) == (0, {fault: 1})
    assert window.first_fault.startswith(fault)


@pytest.mark.parametrize("case", WRONG_STREAMS)
def test_a_wrong_stream_is_found(bench: Bench, case: str) -> None:
    fault, reply = WRONG_STREAMS[case]
    with server(reply) as port:
        assert load(bench, port, stream=2, requests=1).faults == {fault: 1}


def test_a_server_that_is_not_there_ends_the_run_early(bench: Bench) -> None:
    window = load(bench, free_port(), requests=3)
    assert (window.requests, window.faults) == (0, {"connect": 3})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--port 80 --host 192.0.2.1", "192.0.2.1 is not a loopback address"),
        ("--port 80 --host localhost", "localhost is not a loopback address"),
        ("--port 80 --connections 5000", "--connections takes a whole number from 1 to 4096"),
        ("--port 80 --window-ms 600001", "--window-ms takes a whole number from 1 to 600000"),
        ("--port eighty", "--port takes a whole number from 1 to 65535"),
        ("--port", "--port takes a whole number"),
        ("--port 80 --hold 1", "--hold goes with --stream"),
        ("--speed 9", "unknown or incomplete option --speed"),
        ("", "--port is needed"),
    ],
)
def test_only_a_bounded_load_on_this_machine_starts(bench: Bench, options: str, sentence: str) -> None:
    command = [str(bench.load_program), *options.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


# ------------------------------------------------------------------------------------------------- the fake upstream


def ask(name: str, chunks: int = 0, micros: int = 0, **more: Any) -> bytes:
    content = f"ask-{name}-{chunks:08x}-{micros:08x}"
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], **more}).encode()


def post(port: int, body: bytes, path: str = "/v1/chat/completions") -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("content-type", ""), answer.read()
    finally:
        connection.close()


def test_the_fake_answers_a_chat_completion_of_500_bytes(upstream: Upstream) -> None:
    status, kind, body = post(upstream.port, ask("00000000000000ab"))
    completion = json.loads(body)
    assert (status, kind, len(body)) == (200, "application/json", 500)
    assert completion["choices"][0]["message"]["content"].startswith("ans-00000000000000ab-00000000-")
    assert completion["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("space", ["", " "])
def test_the_fake_streams_as_many_chunks_as_the_mark_says(upstream: Upstream, space: str) -> None:
    body = ask("00000000000000cd", 7, 100)[:-1] + f',"stream":{space}true}}'.encode()
    status, kind, text = post(upstream.port, body)
    lines = [line for line in text.decode().split("\n\n") if line]
    deltas = [json.loads(line.removeprefix("data: "))["choices"][0] for line in lines[:-1]]
    assert (status, kind.split(";")[0], lines[-1]) == (200, "text/event-stream", "data: [DONE]")
    assert [one["finish_reason"] for one in deltas] == [None] * 8 + ["stop"]
    assert [one["delta"]["content"][:29] for one in deltas[1:-1]] == [
        f"ans-00000000000000cd-{index:08x}" for index in range(7)
    ]


def test_a_slow_reader_of_the_fake_still_gets_everything(upstream: Upstream) -> None:
    _, _, text = post(upstream.port, ask("00000000000000ef", 20_000, 0, stream=True))
    assert text.count(b"ans-00000000000000ef-") == 20_000
    assert text.endswith(b"data: [DONE]\n\n")


def test_requests_in_one_write_are_answered_in_their_order(upstream: Upstream) -> None:
    def raw(name: str, **more: Any) -> bytes:
        body = ask(name, 3, 100, **more)
        return b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    last = raw("0000000000000003").replace(b"1.1\r\n", b"1.1\r\nConnection: close\r\n")
    with socket.create_connection(("127.0.0.1", upstream.port), timeout=10) as connection:
        connection.sendall(raw("0000000000000001") + raw("0000000000000002", stream=True) + last)
        text = b""
        while part := connection.recv(65536):
            text += part
    assert [part[15:16] for part in text.split(b"ans-")[1:]] == [b"1", b"2", b"2", b"2", b"3"]


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/metrics"])
def test_telemetry_is_taken_and_thrown_away(upstream: Upstream, path: str) -> None:
    assert post(upstream.port, b"\x0a\x00", path) == (200, "", b"")


def test_an_unknown_path_is_refused(upstream: Upstream) -> None:
    status, _, body = post(upstream.port, b"{}", "/v1/embeddings")
    assert status == 404
    assert json.loads(body)["error"]["message"] == "the fake provider says: 404 Not Found"


# --------------------------------------------------------------------------------------------------------- the driver


def test_the_tools_are_compiled_once(tmp_path: Path) -> None:
    first = build(tmp_path)
    made = first.load.stat().st_mtime_ns
    assert build(tmp_path) == first
    assert first.load.stat().st_mtime_ns == made


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(BuildError, match="no C compiler: 'no-such-compiler' is not on PATH"):
        build(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_behind(number: signal.Signals) -> None:
    command = [sys.executable, str(SOURCES / "run.py"), "--only", "nginx", "--rounds", "1", "--seconds", "60"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        while "round 1/1: direct" not in run.stderr.readline():
            pass
        while len(started := procfs.tree(run.pid)) < 3:
            assert run.poll() is None
        run.send_signal(number)
        rest = run.stderr.read()
    assert (run.returncode, rest.strip()) == (130, "stopped; nothing is left running")
    assert [pid for pid in started if is_running(pid)] == []


def is_running(pid: int) -> bool:
    """Whether it still does anything: what has ended and was not yet collected by its new parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_signal_waits_until_somebody_can_stop_what_is_being_started() -> None:
    held = HeldSignals()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        held.release()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_the_whole_command_measures_and_tells_json(tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    command = [sys.executable, str(SOURCES / "run.py"), "--only", "nginx,modelpool-traced", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--seconds", "0.1", "-o", "json", "--json", str(written)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == json.loads(written.read_text())
    assert told["contenders"]["direct"]["median"]["requests_per_second"] > 1_000
    assert told["targets"]["modelpool-traced"]
    for name, contender in told["contenders"].items():
        assert contender["faults"] == {}
        assert name == "direct" or contender["median"]["cpu_us_per_chunk"] > 0
