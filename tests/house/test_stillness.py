"""A promise about time is measured again where the machine stood still, and never where it did not."""

import asyncio
import time

import pytest

import stillness


@pytest.mark.parametrize(("blocked", "plays"), [(0.2, stillness.TURNS), (0.0, 1)], ids=["still", "awake"])
async def test_what_is_late_each_time_fails_and_without_a_standstill_at_once(blocked: float, plays: int) -> None:
    played = []

    @stillness.again
    async def late() -> None:
        played.append(1)
        time.sleep(blocked)  # noqa: ASYNC251 - the machine stands still
        raise AssertionError("late")

    with pytest.raises(AssertionError, match="late"):
        await late()
    assert len(played) == plays


async def test_what_was_late_because_the_machine_stood_still_is_played_anew() -> None:
    played = []

    @stillness.again
    async def promise() -> None:
        played.append(1)
        began = asyncio.get_running_loop().time()
        if len(played) == 1:
            time.sleep(0.2)  # noqa: ASYNC251 - the machine stands still
        assert asyncio.get_running_loop().time() - began < 0.1

    await promise()
    assert len(played) == 2


async def test_a_wait_counts_only_while_the_loop_turns() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(0.03, event.set)
    time.sleep(0.2)  # noqa: ASYNC251 - the machine stands still
    await stillness.soon(event, 0.1)
    with pytest.raises(AssertionError, match=r"within 0\.05 s"):
        await stillness.soon(asyncio.Event(), 0.05)
    with pytest.raises(AssertionError, match=r"within 0\.05 s"):
        await stillness.until(lambda: False, 0.05)
