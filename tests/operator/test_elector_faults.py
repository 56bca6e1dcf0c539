"""Never two lead whatever the API server and the clocks do, and one does when all is well again."""

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elector_scenes import NEVER, WRITE_SECONDS, Replica, Server, leader_of, play, until
from modelpool_operator.elector import HOLD_SECONDS


def test_a_leader_whose_api_server_hangs_steps_down_and_leads_again_afterwards() -> None:
    async def scene(server: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(5)
        for each in replicas:
            each.line.there = NEVER
        await until(lambda: not any(each.elector.held for each in replicas), HOLD_SECONDS + 0.1)
        await until(lambda: not any(each.leads for each in replicas), 6)
        for each in replicas:
            each.line.there = 0.01
        await until(lambda: any(each.leads for each in replicas), 20)

    play(scene)


@pytest.mark.parametrize("status", [0, 403, 429, 500, 503])
def test_a_leader_that_is_refused_steps_down_and_another_one_takes_over(status: int) -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(5)
        first = leader_of(replicas)
        first.line.status = status
        took = await until(lambda: any(each.leads for each in replicas if each is not first), 20)
        assert took > HOLD_SECONDS
        assert not first.leads

    play(scene)


def test_a_short_fault_does_not_end_a_term() -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(5)
        leader = leader_of(replicas)
        for _ in range(5):
            leader.line.status = 503
            await asyncio.sleep(6)
            leader.line.status = None
            await asyncio.sleep(3)
        assert (leader.terms, leader.leads) == (1, True)

    play(scene)


def test_a_renewal_whose_answer_is_lost_counts_for_the_others_and_not_for_us() -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(5)
        leader = leader_of(replicas)
        leader.line.back = NEVER
        await until(lambda: not leader.elector.held, HOLD_SECONDS + 0.1)
        leader.line.back = 0.01
        await until(lambda: any(each.leads and each.elector.held for each in replicas), 25)

    play(scene)


def test_a_term_that_fails_is_told_and_leaves_the_lease_to_others(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        for each in replicas:
            each.ends_in, each.fault = 3.0, ValueError("it broke")
        await until(lambda: all(each.terms >= 2 for each in replicas), 30)

    play(scene)
    assert "leading failed, and is tried again: it broke" in caplog.text


def test_a_term_that_just_ends_begins_anew() -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        replicas[0].ends_in = 3.0
        await until(lambda: replicas[0].terms >= 3, 30)

    play(scene, 1)


def test_a_signal_while_a_term_ends_is_not_lost() -> None:
    """The Lease was lost, what leads takes its time to end, and then the process is told to stop."""

    async def scene(_: Server, replicas: list[Replica]) -> None:
        (alone,) = replicas
        await asyncio.sleep(5)
        alone.stops_in = 9.0
        alone.line.status = 0
        await until(lambda: not alone.elector.held, HOLD_SECONDS + 0.1)
        await asyncio.sleep(6)
        assert alone.leads
        assert alone.task is not None
        alone.task.cancel()
        await asyncio.sleep(1)
        alone.task.cancel()
        await asyncio.wait({alone.task}, timeout=30)
        assert alone.task.cancelled()
        assert not alone.leads, "what leads was awaited"

    play(scene, 1)


def test_a_fault_is_told_once_and_not_every_two_seconds(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        (alone,) = replicas
        alone.line.status = 403
        await asyncio.sleep(60)
        alone.line.status = None
        await asyncio.sleep(60)
        alone.line.status = 403
        await asyncio.sleep(60)

    with caplog.at_level(logging.WARNING):
        play(scene, 1)
    assert caplog.text.count("the Lease ns/modelpool-operator cannot be taken: HTTP 403") == 2


def test_an_api_server_that_nobody_reaches_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        replicas[0].line.there = NEVER
        await asyncio.sleep(20)
        assert replicas[0].elector.heard is None

    play(scene, 1)
    assert caplog.text.count("cannot be taken: it did not answer in time") == 1


def test_who_leads_is_told_once_to_each_that_stands_by(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(60)

    with caplog.at_level(logging.INFO):
        play(scene)
    assert caplog.text.count("standing by: replica-") == 1


def test_when_the_api_server_was_heard_is_known_also_where_it_refuses() -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        (alone,) = replicas
        alone.line.status = 503
        await asyncio.sleep(10)
        heard = alone.elector.heard
        assert heard is not None
        alone.line.status = 0
        await asyncio.sleep(10)
        assert alone.elector.heard <= heard + 2.1

    play(scene, 1)


_faults = st.one_of(
    st.builds(lambda there, back: {"there": there, "back": back}, st.floats(0, 3), st.floats(0, 3)),
    st.sampled_from([{"there": 20.0}, {"back": NEVER}, {"there": NEVER}, {"status": 0}, {"status": 503}, {}, {}]),
)
_steps = st.lists(
    st.tuples(st.floats(0.1, 25), st.integers(0, 2), _faults, st.sampled_from([False, False, True])), max_size=10
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_steps, st.tuples(*[st.floats(0.98, 1.02)] * 3), st.tuples(*[st.floats(-1e6, 1e6)] * 3))
def test_never_do_two_hold_it_whatever_happens_to_whom_and_one_leads_when_all_is_well_again(
    steps: list[Any], rates: Any, offsets: Any
) -> None:
    released: list[float] = []

    async def scene(server: Server, replicas: list[Replica]) -> None:
        for wait, who, fault, stops in steps:
            line = replicas[who].line
            line.there, line.back, line.status = 0.01, 0.01, None
            for name, value in fault.items():
                setattr(line, name, value)
            if stops:
                await replicas[who].stop()
                replicas[who].start()
                released.append(asyncio.get_running_loop().time())
            await asyncio.sleep(wait)
        for each in replicas:
            each.line.there, each.line.back, each.line.status = 0.01, 0.01, None
        # A request from before may still be on its way for 20 s, and is a sign of life.
        await until(lambda: any(each.leads and each.elector.held for each in replicas), 60)

    judge = play(scene, 3, rates=rates, offsets=offsets)
    if not released:
        assert all(gap >= WRITE_SECONDS for gap in judge.gaps), "a write that began before has ended"
