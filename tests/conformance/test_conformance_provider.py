"""A provider of the table leaves nothing behind: who flaps by the clock is cancelled at any moment."""

import asyncio
import contextlib

import pytest

from conformance.provider import Fault, Provider


@pytest.mark.parametrize("steps", range(4))
def test_a_turn_that_is_cancelled_while_it_opens_leaves_no_listener(steps: int) -> None:
    async def flap() -> None:
        provider = Provider("primary")
        await provider.start()
        await provider.turn(Fault(door=True))
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
