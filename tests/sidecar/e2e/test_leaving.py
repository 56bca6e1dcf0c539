"""Clients that leave, in every phase and by the thousand, leave nothing behind."""

import asyncio
import contextlib

import orjson
import pytest

from modelpool_sidecar.fake.raw import RawAnswer
from running import Running, running
from stillness import again
from virtual import ROLE, a_chunk

PHASES = ("queued bytes", "before the head", "before the first token", "in the middle", "not streaming")
CANCELLED_WITHIN = 0.1


def request(*, stream: bool) -> bytes:
    body = orjson.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}], "stream": stream})
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )


async def leave(house: Running, phase: str, *, half: bool = False) -> float:
    """Ask, come as far as that phase, and go; when that was."""
    before = len(house.fakes["primary"].attempts)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.sidecar.data_port)
    whole = request(stream=phase != "not streaming")
    writer.write(whole[:-10] if phase == "queued bytes" else whole)
    await writer.drain()
    if phase == "in the middle":
        await reader.readuntil(b"hello")
    elif phase != "queued bytes":
        await house.fakes["primary"].until(lambda fake: len(fake.attempts) > before)
    left = asyncio.get_running_loop().time()
    if half and writer.can_write_eof():
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return left


def played(phase: str) -> RawAnswer:
    """A provider that stops where the client leaves."""
    match phase:
        case "before the first token":
            return RawAnswer(body=(ROLE,), ends="stall")
        case "in the middle":
            return RawAnswer(body=(ROLE, a_chunk("hello")), ends="stall")
        case _:
            return RawAnswer(before=3600.0)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("phase", PHASES[1:])
@again
async def test_the_provider_is_left_within_a_tenth_of_a_second(phase: str, half: bool) -> None:
    async with running("primary") as house:
        house.fakes["primary"].answer_with(played(phase))
        left = await leave(house, phase, half=half)
        await house.quiet()
        (attempt,) = house.fakes["primary"].attempts
        assert attempt.client_left is not None
        assert attempt.client_left - left < CANCELLED_WITHIN


async def test_a_client_that_pipelines_has_not_left() -> None:
    async with running("primary") as house:
        house.fakes["primary"].answer_with(
            RawAnswer(headers=(("content-type", "application/json"),), body=(b'{"choices":[{}]}',), before=0.05)
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", house.sidecar.data_port)
        writer.write(request(stream=False) * 2)
        for _ in range(2):
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(16)
        writer.close()
        await writer.wait_closed()
        assert [record.status for record in house.records] == [200, 200]


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
async def test_1000_clients_that_leave_leave_no_connection_no_permit_and_no_task(phase: str) -> None:
    async with running("primary") as house:
        house.fakes["primary"].answer_with(played(phase))
        gate = asyncio.Semaphore(50)

        async def one() -> None:
            async with gate:
                await leave(house, phase)

        tasks_before = len(asyncio.all_tasks())
        await asyncio.gather(*(one() for _ in range(1_000)))
        await house.quiet()
        async with asyncio.timeout(10):
            while house.sidecar._server.in_flight or len(asyncio.all_tasks()) > tasks_before:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0)
        state = house.sidecar._state
        assert state.open_count("primary") == 0
        assert state.in_flight(house.sidecar._proxy.snapshot.pools["chat"]) == 0
        assert house.sidecar._server.buffered_bytes == 0
        assert house.sidecar.in_flight == 0
        expected = 0 if phase == "queued bytes" else 1_000
        assert len(house.records) == expected
        house.fakes["primary"].answer_with(None)
        reader, writer = await asyncio.open_connection("127.0.0.1", house.sidecar.data_port)
        writer.write(request(stream=False))
        answered = await reader.readuntil(b"\r\n")
        writer.close()
        await writer.wait_closed()
        assert b"200 OK" in answered
