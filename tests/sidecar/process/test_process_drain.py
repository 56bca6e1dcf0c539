"""SIGTERM: accept nothing new, finish what runs, end visibly what outlives the grace period, exit 0 (B51)."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from builders import a_config, a_provider
from edge_support import Client, client
from modelpool_sidecar.fake import FakeProvider
from modelpool_sidecar.fake.log import FakeAttempt
from modelpool_sidecar.fake.raw import Part, RawAnswer
from modelpool_sidecar.process import FLUSH_SECONDS
from otlp_receiver import OtlpReceiver
from process_support import Process, Volume, eventually, question, ready
from stillness import watching
from virtual import DONE, ROLE, a_chunk, a_completion

WHOLE = json.dumps(a_completion("all of it")).encode()
LAST_CHUNK = b"0\r\n\r\n"


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    fake = FakeProvider("primary")
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
def volume(tmp_path: Path, provider: FakeProvider) -> Volume:
    volume = Volume(tmp_path)
    volume.put(a_config(providers=[a_provider(base_url=provider.base_url)]))
    return volume


def answers_when(fake: FakeProvider, gate: asyncio.Event) -> None:
    """A stream stops after its first token, a whole answer before its head, until the gate is open."""

    def answer(attempt: FakeAttempt) -> RawAnswer:
        if attempt.stream:
            parts: tuple[Part, ...] = (ROLE, a_chunk("first"), gate, a_chunk("last", "stop"), DONE)
            return RawAnswer(body=parts)
        return RawAnswer(200, (("content-type", "application/json"),), (WHOLE,), framing="length", before=gate)

    fake.answer_with(answer)


async def ask(held: Client, *, stream: bool) -> None:
    await held.post(json.dumps(question(stream=stream)).encode(), more="Content-Type: application/json\r\n")


async def draining(process: Process) -> None:
    """Wait until it says that it drains."""

    async def told() -> bool:
        answer = await process.get("/readyz")
        return (answer.status, answer.body) == (503, b"draining: nothing new is accepted\n")

    await eventually(told)


async def test_what_runs_is_finished_and_nothing_new_is_accepted(volume: Volume, provider: FakeProvider) -> None:
    gate = asyncio.Event()
    answers_when(provider, gate)
    async with ready(volume) as process:
        port, _, _ = process.ports
        async with client(port) as idle, client(port) as whole, client(port) as streaming, client(port) as between:
            await between.send(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await between.answer()
            await ask(whole, stream=False)
            await ask(streaming, stream=True)
            assert (await streaming.head())[0] == 200
            await eventually(lambda: len(provider.attempts) == 2)
            process.terminate()
            await draining(process)
            assert await idle.rest() == b""
            assert await between.rest() == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            assert (await process.get("/livez")).status == 200
            gate.set()
            status, headers, body = await whole.answer()
            assert (status, headers["connection"], body) == (200, "close", WHOLE)
            assert await whole.rest() == b""
            streamed = await streaming.rest()
            assert DONE in streamed
            assert streamed.endswith(LAST_CHUNK)
        assert await process.ended() == 0
    assert not process.said("ERROR")
    assert not process.said("Traceback")


async def test_what_outlives_the_grace_period_is_ended_as_no_client_can_take_for_success(
    volume: Volume, provider: FakeProvider
) -> None:
    answers_when(provider, asyncio.Event())
    async with ready(volume, MODELPOOL_DRAIN="300ms") as process:
        port, _, _ = process.ports
        async with client(port) as whole, client(port) as streaming:
            await ask(whole, stream=False)
            await ask(streaming, stream=True)
            assert (await streaming.head())[0] == 200
            await eventually(lambda: len(provider.attempts) == 2)
            process.terminate()
            streamed = await streaming.rest()
            assert b'"first"' in streamed
            assert b'"code":"draining"' in streamed
            assert b"[DONE]" not in streamed
            assert not streamed.endswith(LAST_CHUNK)
            status, headers, body = await whole.answer()
            assert (status, headers["retry-after"], json.loads(body)["error"]["code"]) == (503, "1", "draining")
        assert await process.ended() == 0
    lines = [json.loads(line) for line in process.out]
    assert sorted(line["status"] for line in lines) == [200, 503]
    assert {line["outcome"] for line in lines} == {"Cancelled"}
    await eventually(lambda: all(attempt.client_left is not None for attempt in provider.attempts))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_at_once(volume: Volume, provider: FakeProvider, number: signal.Signals) -> None:
    answers_when(provider, asyncio.Event())
    async with ready(volume, MODELPOOL_DRAIN="1h") as process, client(process.ports[0]) as streaming:
        await ask(streaming, stream=True)
        assert (await streaming.head())[0] == 200
        process.process.send_signal(number)
        await draining(process)
        process.process.send_signal(number)
        assert await process.ended() == 0
        streamed = await streaming.rest()
        assert b"[DONE]" not in streamed
        assert not streamed.endswith(LAST_CHUNK)
    (line,) = process.out
    assert json.loads(line)["outcome"] == "Cancelled"
    assert not process.said("Traceback")


@pytest.mark.slow
async def test_a_collector_that_hangs_holds_the_end_for_a_moment_only(volume: Volume) -> None:
    with OtlpReceiver() as collector:
        async with ready(volume, **collector.env) as process:
            await process.ask()
            collector.gate.clear()
            process.terminate()
            assert await process.ended(FLUSH_SECONDS + 4.0) == 0
    assert not process.said("Traceback")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_while_spans_are_sent_ends_at_once(volume: Volume, number: signal.Signals) -> None:
    """The drain is over, the collector hangs: nobody waits for it who has asked twice."""
    with OtlpReceiver() as collector:
        collector.gate.clear()
        async with ready(volume, **collector.env) as process:
            await process.ask()
            process.process.send_signal(number)
            await eventually(lambda: not_listening(process))
            begun = asyncio.get_running_loop().time()
            async with watching() as watch:
                process.process.send_signal(number)
                assert await process.ended() == 0
            assert asyncio.get_running_loop().time() - begun - watch.lost_seconds < FLUSH_SECONDS / 2
        collector.gate.set()
    assert len(process.out) == 1
    assert not process.said("Traceback")


def not_listening(process: Process) -> bool:
    """Whether all its listeners are closed: what is left to do is to send spans."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", process.ports[1])) != 0


async def test_the_lines_of_the_last_requests_are_written_before_the_end(volume: Volume) -> None:
    async with ready(volume) as process:
        asked = [(await process.ask()).status for _ in range(3)]
        process.terminate()
        assert await process.ended() == 0
    assert [json.loads(line)["status"] for line in process.out] == asked == [200, 200, 200]


async def test_with_nothing_to_finish_it_ends_at_once(volume: Volume) -> None:
    async with ready(volume, MODELPOOL_DRAIN="1h") as process:
        process.terminate()
        assert await process.ended() == 0
