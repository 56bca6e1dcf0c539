"""A provider of the table leaves nothing behind: who flaps by the clock is cancelled at any moment."""

import asyncio
import contextlib

import pytest

from conformance.faults import FULL, REFUSED
from conformance.provider import Provider


@pytest.mark.parametrize("steps", range(4))
def test_a_turn_that_is_cancelled_while_it_opens_leaves_no_listener(steps: int) -> None:
    async def flap() -> None:
        provider = Provider("primary")
        await provider.start()
        await provider.turn(REFUSED)
        turning = asyncio.create_task(provider.turn(None))
        for _ in range(steps):
            await asyncio.sleep(0)
        turning.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await turning
        await provider.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", provider.port)

    asyncio.run(flap())


@pytest.mark.parametrize("steps", range(4))
def test_after_a_turn_that_was_cancelled_the_next_one_opens(steps: int) -> None:
    async def flap() -> None:
        provider = Provider("primary")
        await provider.start()
        await provider.turn(REFUSED)
        turning = asyncio.create_task(provider.turn(None))
        for _ in range(steps):
            await asyncio.sleep(0)
        turning.cancel()
        await asyncio.wait([turning])
        await provider.turn(None)
        _, writer = await asyncio.open_connection("127.0.0.1", provider.port)
        writer.transport.abort()
        await provider.stop()

    asyncio.run(flap())


async def test_a_full_line_neither_takes_nor_refuses_a_connection() -> None:
    provider = Provider("primary")
    await provider.start()
    await provider.turn(FULL)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await asyncio.open_connection("127.0.0.1", provider.port)
    await provider.turn(None)
    _, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    writer.transport.abort()
    await provider.stop()
