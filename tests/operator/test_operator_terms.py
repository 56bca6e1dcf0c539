"""Who may write: the holder of the Lease and nobody else, whatever goes wrong between a replica and the API server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fake_api import FakeApi
from fake_api_operator import healed, operating, trespasses
from fake_api_scenes import CONFIG_MAP, HOLD_SECONDS, TAKEOVER_SECONDS, Fault, done, edit, holder, pool, shop, weights
from modelpool_operator.worklist import Worklist

pytestmark = pytest.mark.slow


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with shop() as running:
        yield running


async def test_a_new_lease_whose_making_was_not_answered_is_ours(api: FakeApi, tmp_path: Path) -> None:
    api.lose_answers("POST", "leases")
    async with operating(api, tmp_path):
        await healed(api, 6)
        assert trespasses(api) == []


async def test_who_finds_another_holder_in_the_lease_stops(api: FakeApi, tmp_path: Path) -> None:
    async with operating(api, tmp_path):
        await healed(api)
        lease = api.get("Lease", "modelpool-system", "modelpool-operator")
        api.put({**lease, "spec": {**lease["spec"], "holderIdentity": "somebody else"}})
        await api.wait_for(lambda: api.watches("secrets") == 0)
        noticed = len(api.journal)
        api.put(pool("chat", "plain", weight=4))
        await api.wait_for(lambda: len([each for each in api.journal[noticed:] if "leases" in each.path]) >= 3)
        assert [asked for asked in trespasses(api) if asked in api.journal[noticed:]] == []
        await healed(api, TAKEOVER_SECONDS)


async def test_who_ends_hands_the_lease_over(api: FakeApi, tmp_path: Path) -> None:
    await api.open_door("b")
    async with operating(api, tmp_path) as first:
        await healed(api)
        async with operating(api, tmp_path, "b"):
            await api.wait_for(lambda: len(api.asked(path="leases", door="b")) >= 2)
            first.task.cancel()
            api.put(pool("chat", "plain", weight=4))
            await healed(api, 10)
            assert trespasses(api) == []
            assert {asked.door for asked in api.writes(f"shop/{CONFIG_MAP}")} == {"main", "b"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("silence", lambda door: door.silence()),
        Fault("refusal", lambda door: door.refuse(), lambda door: door.listen()),
        Fault("answers that take three seconds", lambda door: door.slow(3.0)),
        Fault("no way to the Lease", lambda door: door.fail("*", "leases", 503, times=None)),
    ],
    ids=repr,
)
async def test_a_leader_that_is_cut_off_writes_no_more_and_another_does(
    api: FakeApi, tmp_path: Path, fault: Fault
) -> None:
    other = await api.open_door("b")
    async with operating(api, tmp_path), operating(api, tmp_path, "b"):
        await healed(api)
        leader = api.doors[holder(api)]
        follower = other if leader is not other else api.doors["main"]
        await done(fault.begin(leader))
        edit(api, 2)
        await api.wait_for(lambda: holder(api) == follower.name, TAKEOVER_SECONDS)
        await healed(api)
        edit(api, 3)
        await done(fault.end(leader))
        leader.mend()
        began = len(api.journal)
        await healed(api)
        edit(api, 4)
        await healed(api)
        assert trespasses(api) == []
        assert weights(api) == sorted(weights(api))
        assert {asked.door for asked in api.journal[began:] if asked.writes and "leases" not in asked.path} == {
            follower.name
        }


@pytest.mark.parametrize(
    "fault",
    [
        Fault("silence", lambda api: api.silence()),
        Fault("refusal", lambda api: api.refuse(), lambda api: api.listen()),
    ],
    ids=repr,
)
async def test_a_leader_alone_recovers_after_a_long(api: FakeApi, tmp_path: Path, fault: Fault) -> None:
    async with operating(api, tmp_path):
        await healed(api)
        await done(fault.begin(api))
        began = len(api.journal)
        edit(api, 2)
        await asyncio.sleep(HOLD_SECONDS + 10)  # it lasts so long
        asked = len(api.journal) - began
        await done(fault.end(api))
        await healed(api, TAKEOVER_SECONDS)
        assert asked < 200
        assert trespasses(api) == []


async def test_nothing_is_written_when_the_hold_is_over_though_the_term_has_not_ended_yet(
    api: FakeApi, tmp_path: Path
) -> None:
    async with operating(api, tmp_path):
        await healed(api)
        api.slow(5.0, "leases")  # longer than an attempt to renew may take
        for weight in range(2, 70):
            api.put(pool("chat", "plain", weight=weight))
            await asyncio.sleep(0.2)  # people go on editing
        renewed = max(asked.at for asked in api.asked(path="leases") if asked.writes and asked.status in (200, 201))
        late = [asked.at - renewed for asked in api.writes() if asked.at > renewed]
        assert late
        assert max(late) < HOLD_SECONDS + 0.5


async def test_a_mark_in_the_very_moment_of_the_end_keeps_nobody_from_ending() -> None:
    looked = asyncio.Event()

    async def work(_key: str) -> None:
        looked.set()

    worklist: Worklist[str] = Worklist("test", work, chance=lambda: 0.0, gather_seconds=0.0)
    running = asyncio.create_task(worklist.run())
    worklist.mark("in an hour", 3600)
    worklist.mark("now")
    await looked.wait()
    await asyncio.sleep(0)
    worklist.mark("in two hours", 7200)
    running.cancel()
    ended, _ = await asyncio.wait({running}, timeout=10)
    assert ended
