"""Two minutes under all faults: every answer is lawful and its own request's, and nothing is left (B11, B25, B31)."""

import asyncio
import random

import pytest

import soak
from conformance.turns import Fault


@pytest.mark.slow
@pytest.mark.xdist_group("soak")
def test_nothing_is_left_open_and_nothing_grows() -> None:
    run = asyncio.run(soak.soak(120.0))
    assert not run.wrong, run.table()
    assert run.seen["primary"] > 500, run.table()
    assert min(run.cached[word] for word in ("miss", "hit", "shared")) > 20, run.table()
    assert run.growth() is not None
    assert run.reloads > 60


def test_a_few_seconds_hold_too() -> None:
    run = asyncio.run(soak.soak(3.0, seed=1))
    assert not run.wrong, run.table()
    assert run.seen.total() > 50


def test_every_fault_of_it_is_one_that_a_request_can_meet() -> None:
    assert len(soak.FAULTS) > 100
    assert all(fault.play or fault.connect for fault in soak.FAULTS)


async def test_a_provider_whose_door_is_shut_stays_shut() -> None:
    provider = soak.Moody("primary", random.Random(0))
    await provider.start()
    await provider.turn(Fault(door="refused"))
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", provider.port)
    await provider.turn(None)
    _, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    writer.transport.abort()
    await provider.stop()
