"""Every fault as a raw socket sees it, what the provider notes of it, and answers that a test puts in their place."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fake_raw_client import CHAT, ask, get, post
from modelpool_config.models import Fake, FakeStep
from modelpool_sidecar.fake import FakeAttempt, FakeProvider, RawAnswer, run
from modelpool_sidecar.fake.log import Log
from stillness import again

PLAIN = post("/v1/chat/completions", CHAT)
STREAM = post("/v1/chat/completions", {**CHAT, "stream": True})
ONE = post("/v1/chat/completions", CHAT, "Connection: close")


@asynccontextmanager
async def playing() -> AsyncIterator[FakeProvider]:
    provider = FakeProvider("p")
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with playing() as provider:
        yield provider


def play(provider: FakeProvider, *steps: FakeStep) -> None:
    provider.replace(Fake(script=steps))


@pytest.mark.parametrize("fault", ["Refuse", "Reset"])
async def test_refuse_and_reset_send_no_byte(provider: FakeProvider, fault: str) -> None:
    provider.break_as(fault)
    got = await ask(provider, STREAM)
    assert (got.raw, got.end) == (b"", "rst")
    (attempt,) = provider.attempts
    assert attempt.outcome == fault
    assert attempt.head_sent is None
    assert (attempt.read is not None) is (fault == "Reset")
    assert attempt.client_left is None


async def test_refuse_meets_the_next_request_on_a_connection_that_is_open(provider: FakeProvider) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    writer.write(PLAIN)
    await provider.until(lambda p: bool(p.attempts) and p.attempts[0].outcome == "Answered")
    play(provider, FakeStep(fault="Refuse"))
    writer.write(PLAIN)
    await provider.until(lambda p: len(p.attempts) == 2 and not p.connections)
    assert provider.attempts[1].outcome == "Refuse"
    assert b"200 OK" in await reader.readuntil(b"\r\n")
    writer.close()


async def test_breaking_as_refuse_closes_idle_connections(provider: FakeProvider) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    await provider.until(lambda p: p.open_connections == 1)
    provider.break_as("Refuse")
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(("fault", "request_"), [("Hang", PLAIN), ("Stall", PLAIN), ("Stall", STREAM)])
@again
async def test_hang_and_stall_last_until_the_client_leaves_and_that_is_noted(fault: str, request_: bytes) -> None:
    async with playing() as provider:
        provider.break_as(fault)
        _, writer = await asyncio.open_connection("127.0.0.1", provider.port)
        writer.write(request_)
        await provider.until(lambda p: bool(p.attempts) and p.attempts[0].outcome == fault)
        attempt = provider.attempts[0]
        assert (attempt.head_sent is None) is (fault == "Hang")
        assert attempt.ended is None
        left = asyncio.get_running_loop().time()
        writer.close()
        await provider.until(lambda p: attempt.ended is not None and not p.connections)
        assert attempt.client_left is not None
        assert 0 <= attempt.client_left - left < 0.1
        assert attempt.outcome == fault


@pytest.mark.parametrize("tokens", [None, 0, 1, 3, 30])
@pytest.mark.parametrize("fault", ["Cut", "Stall"])
async def test_so_many_tokens_go_out_before_a_stream_breaks(
    provider: FakeProvider, fault: str, tokens: int | None
) -> None:
    provider.break_as(fault, tokens=tokens)
    waiting = asyncio.create_task(ask(provider, STREAM))
    await provider.until(lambda p: bool(p.attempts) and p.attempts[0].outcome == fault)
    if fault == "Stall":
        await provider.stop()
    got = await waiting
    assert got.status == 200
    assert got.body.count(b'"delta":{"content"') == (tokens or 0)
    assert got.body.count(b'"role":"assistant"') == 1
    assert b"[DONE]" not in got.body
    assert not got.body.endswith(b"0\r\n\r\n")
    if fault == "Cut":
        assert got.end == "fin"


@pytest.mark.parametrize("tokens", [None, 1, 9])
async def test_a_cut_json_is_shorter_than_its_head_says(provider: FakeProvider, tokens: int | None) -> None:
    provider.break_as("Cut", tokens=tokens)
    got = await ask(provider, PLAIN)
    assert got.end == "fin"
    assert (len(got.body) > 0) is bool(tokens)
    assert len(got.body) < int(got.header("content-length") or 0)


async def test_a_cut_that_http_1_0_could_not_tell_from_an_end_is_a_reset(provider: FakeProvider) -> None:
    provider.break_as("Cut", tokens=1)
    assert (await ask(provider, post("/v1/chat/completions", {**CHAT, "stream": True}, version="1.0"))).end == "rst"


async def test_http_1_0_gets_a_stream_that_ends_with_the_connection(provider: FakeProvider) -> None:
    got = await ask(provider, post("/v1/chat/completions", {**CHAT, "stream": True}, version="1.0"))
    assert got.end == "fin"
    assert got.header("transfer-encoding") is None
    assert got.body.endswith(b"data: [DONE]\n\n")


async def test_a_flapping_script_is_followed_and_a_429_tells_how_long_its_step_lasts(provider: FakeProvider) -> None:
    play(provider, FakeStep(requests=1, status=503), FakeStep(duration=60_000, status=429), FakeStep())
    first, second = await ask(provider, ONE), await ask(provider, ONE)
    assert (first.status, second.status) == (503, 429)
    assert 59 <= int(second.header("retry-after") or 0) <= 60
    assert second.header("x-ratelimit-remaining-requests") == "0"
    provider.break_as("500")
    assert (await ask(provider, ONE)).status == 500
    provider.mend()
    assert (await ask(provider, ONE)).status == 429


async def test_a_slow_model_waits_before_its_first_token_and_between_tokens(provider: FakeProvider) -> None:
    play(provider, FakeStep(first_token=30, tokens_per_second=100, tokens=4))
    await ask(provider, STREAM, until=b"0\r\n\r\n")
    await provider.until(lambda p: p.attempts[0].ended is not None)
    attempt = provider.attempts[0]
    assert attempt.ended
    assert attempt.head_sent
    assert 0.055 <= attempt.ended - attempt.head_sent < 5
    await ask(provider, ONE)
    whole = provider.attempts[1]
    assert whole.head_sent
    assert whole.head_sent - whole.started >= 0.029


@again
async def test_a_client_that_leaves_while_it_waits_is_noted_at_once() -> None:
    async with playing() as provider:
        play(provider, FakeStep(first_token=60_000))
        _, writer = await asyncio.open_connection("127.0.0.1", provider.port)
        writer.write(STREAM)
        await provider.until(lambda p: bool(p.attempts) and p.attempts[0].head_sent is not None)
        left = asyncio.get_running_loop().time()
        writer.close()
        await provider.until(lambda p: not p.connections)
        (attempt,) = provider.attempts
        assert attempt.outcome == "ClientLeft"
        assert attempt.client_left is not None
        assert attempt.client_left - left < 0.1


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (get("/", "Connection: close"), 404, "Invalid URL (GET /)"),
        (post("/chat/completions", CHAT, "Connection: close"), 404, "Invalid URL (POST /chat/completions)"),
        (get("/v1/chat/completions", "Connection: close"), 405, "Not allowed to GET"),
        (post("/v1/models", {}, "Connection: close"), 405, "Not allowed to POST"),
        (post("/v1/chat/completions", b"{", "Connection: close"), 400, "could not parse"),
        (post("/v1/chat/completions", [], "Connection: close"), 400, "must be a JSON object"),
        (post("/v1/chat/completions", {"messages": []}, "Connection: close"), 400, "must provide a model"),
        (post("/v1/chat/completions", {"model": "m"}, "Connection: close"), 400, "parameter: 'messages'"),
        (post("/v1/chat/completions", {**CHAT, "n": 0}, "Connection: close"), 400, "Invalid value for 'n'"),
    ],
)
async def test_what_the_api_refuses(provider: FakeProvider, request_: bytes, status: int, words: str) -> None:
    got = await ask(provider, request_)
    assert got.status == status
    assert words in json.loads(got.body)["error"]["message"]


async def test_an_error_in_a_200_and_a_redirect(provider: FakeProvider) -> None:
    play(
        provider,
        FakeStep(requests=1, status=200, error="server_error"),
        FakeStep(requests=1, status=302),
        FakeStep(status=204),
    )
    got = await ask(provider, ONE)
    assert (got.status, json.loads(got.body)["error"]["code"]) == (200, "server_error")
    assert (await ask(provider, ONE)).header("location") == "/elsewhere/v1/chat/completions"
    assert (await ask(provider, PLAIN, until=b"\r\n\r\n")).status == 204


async def test_what_is_not_http_is_told_so(provider: FakeProvider) -> None:
    got = await ask(provider, b"hello\r\n\r\n")
    assert (got.status, got.end) == (400, "fin")
    assert provider.attempts[0].outcome == "Malformed"


async def test_pipelined_requests_are_answered_in_order_and_continue_is_said(provider: FakeProvider) -> None:
    expecting = post("/v1/chat/completions", CHAT, "Connection: close", "Expect: 100-continue")
    got = await ask(provider, get("/v1/models") + get("/v1/models/a%2Fb?x=1") + expecting)
    assert got.raw.count(b"200 OK") == 3
    assert got.raw.count(b"100 Continue") == 1
    assert b'"id":"a/b"' in got.raw
    assert [(attempt.path, attempt.query) for attempt in provider.attempts][1] == ("/v1/models/a%2Fb", "x=1")


async def test_a_test_decides_every_byte(provider: FakeProvider) -> None:
    gate = asyncio.Event()
    provider.answer_with(
        RawAnswer(status=299, reason="Odd", headers=(("X-One", "1"),), body=(b"da", 0.001, b"ta: x\r", gate, b"\n\r\n"))
    )
    waiting = asyncio.create_task(ask(provider, ONE))
    await provider.until(lambda p: bool(p.attempts) and p.attempts[0].sent_bytes == 8)
    assert not waiting.done()
    gate.set()
    got = await waiting
    assert got.raw == (
        b"HTTP/1.1 299 Odd\r\nX-One: 1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        b"2\r\nda\r\n6\r\nta: x\r\r\n3\r\n\n\r\n\r\n0\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("answer", "end", "tail"),
    [
        (RawAnswer(body=(b"ab",), ends="cut"), "fin", b"2\r\nab\r\n"),
        (RawAnswer(body=(b"ab",), ends="reset"), "rst", None),
        (RawAnswer(body=(b"ab",), framing="close"), "fin", b"\r\n\r\nab"),
        (RawAnswer(body=(b"ab",), framing="length"), "fin", b"content-length: 2\r\nconnection: close\r\n\r\nab"),
        (
            RawAnswer(body=(b"ab",), framing="length", content_length=9, ends="cut"),
            "fin",
            b"content-length: 9\r\n\r\nab",
        ),
        (RawAnswer(head=b"garbage", body=(b"!",), framing="none", ends="cut"), "fin", b"garbage!"),
    ],
)
async def test_an_answer_ends_as_it_is_told(
    provider: FakeProvider, answer: RawAnswer, end: str, tail: bytes | None
) -> None:
    provider.answer_with(answer)
    got = await ask(provider, ONE)
    assert got.end == end
    assert tail is None or got.raw.endswith(tail)


async def test_who_makes_answers_may_leave_some_to_the_script(provider: FakeProvider) -> None:
    def second(attempt: FakeAttempt) -> RawAnswer | None:
        return RawAnswer(status=418, framing="length") if attempt.number == 2 else None

    provider.answer_with(second)
    assert [(await ask(provider, ONE)).status for _ in range(3)] == [200, 418, 200]
    provider.break_as("503")
    assert (await ask(provider, ONE)).status == 503


async def test_the_log_tells_what_was_asked_and_when(provider: FakeProvider) -> None:
    await ask(provider, post("/v1/chat/completions", {**CHAT, "stream": True}, "Connection: close", "X-Odd: One"))
    (attempt,) = provider.attempts
    assert (attempt.method, attempt.target, attempt.model, attempt.stream) == (
        "POST",
        "/v1/chat/completions",
        "m",
        True,
    )
    assert json.loads(attempt.body)["messages"] == CHAT["messages"]
    assert attempt.body_bytes == len(attempt.body)
    assert (attempt.header("x-odd"), attempt.header("absent")) == ("One", None)
    assert attempt.read
    assert attempt.head_sent
    assert attempt.ended
    assert attempt.started <= attempt.read <= attempt.head_sent <= attempt.ended
    assert repr(attempt) == "<FakeAttempt 1: POST /v1/chat/completions, model m, Answered 200>"


def test_the_log_is_bounded_in_number_and_in_bytes() -> None:
    log = Log(max_attempts=3, max_body_bytes=10)
    for _ in range(5):
        log.keep_body(log.start(1, 0.0), b"12345678"[:6])
    assert [attempt.number for attempt in log.attempts] == [3, 4, 5]
    assert [len(attempt.body) for attempt in log.attempts] == [0, 0, 6]
    assert [attempt.body_bytes for attempt in log.attempts] == [6, 6, 6]


async def test_a_provider_that_stops_drops_what_runs_and_can_start_again_on_its_port() -> None:
    ended: list[FakeAttempt] = []
    provider = FakeProvider("p", on_ended=ended.append)
    with pytest.raises(RuntimeError, match="was not started"):
        _ = provider.base_url
    await provider.start()
    with pytest.raises(RuntimeError, match="already running"):
        await provider.start()
    provider.break_as("Hang")
    waiting = asyncio.create_task(ask(provider, PLAIN))
    await provider.until(lambda p: bool(p.attempts) and p.attempts[0].outcome == "Hang")
    assert "broken as Hang, 1 connections" in repr(provider)
    port = provider.port
    await provider.stop()
    await provider.stop()
    assert (await waiting).raw == b""
    assert ended == provider.attempts
    provider.mend()
    await provider.start(port=port)
    assert (await ask(provider, ONE)).status == 200
    await provider.stop()


async def test_run_plays_until_it_is_cancelled() -> None:
    ready: asyncio.Future[FakeProvider] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run(FakeProvider("alone"), started=ready.set_result))
    provider = await ready
    assert (await ask(provider, ONE)).status == 200
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await ask(provider, ONE)).end == "rst"


async def test_a_provider_that_keeps_no_body_still_answers_what_was_asked() -> None:
    provider = FakeProvider("primary", max_body_bytes=0)
    await provider.start()
    try:
        got = await ask(provider, post("/v1/chat/completions", CHAT, "Connection: close"))
    finally:
        await provider.stop()
    assert b"I am primary as m." in got.raw
    assert (provider.attempts[0].body, provider.attempts[0].body_bytes > 0) == (b"", True)
