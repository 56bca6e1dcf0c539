"""Who waits for a place and whose turn it is: fair between rows, in order within one, nobody lost (B8, B9, B11)."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from builders import a_pool, a_snapshot, the_pool
from modelpool_sidecar.core import queue
from modelpool_sidecar.core.allowance import Asker
from modelpool_sidecar.core.grip import NOTHING
from modelpool_sidecar.core.limits import Limited, Permit
from modelpool_sidecar.core.queue import Line, Places, Queue, Waiting
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.core.state import State

NOW = 1_000.0


def a_limit(name: str = "hour", size: int = 100, **changes: Any) -> dict[str, Any]:
    return {"name": name, "max": size, "per": 3_600_000, "burst": size, "scope": "Sidecar", **changes}


def queued(places: int | None, waiting: int | None = 9, *requests: dict[str, Any]) -> Pool:
    line = None if waiting is None else {"max": waiting, "timeout": 10_000}
    limits = {"requests": requests, "concurrency": None if places is None else {"max": places, "queue": line}}
    return the_pool(a_snapshot([a_pool(limits=limits)]))


def remaining(state: State, pool: Pool) -> int:
    [limit] = pool.request_limits
    return int(state.levels.describe(limit, NOW)["remaining"])


def test_rows_take_turns_and_within_a_row_the_first_goes_first() -> None:
    line = Line()
    for key in ("a", "a", "a", "b", "c", "c"):
        line.join(Waiting(key, float(len(line)), NOTHING))
    turns = [line.next() for _ in range(7)]
    assert [(each.key, each.since) for each in turns if each] == [
        ("a", 0.0),
        ("b", 3.0),
        ("c", 4.0),
        ("a", 1.0),
        ("c", 5.0),
        ("a", 2.0),
    ]
    assert turns[-1] is None
    assert repr(line) == "<Line: 0 in 0 rows>"


def test_leaving_the_line_twice_is_fine() -> None:
    line, one, two = Line(), Waiting("a", 1.0, NOTHING), Waiting("a", 2.0, NOTHING)
    line.join(one)
    line.join(two)
    assert [line.leave(one), line.leave(one), line.leave(two), line.leave(two)] == [True, False, True, False]
    assert repr(one) == "<Waiting since 1>"


@pytest.mark.parametrize(
    ("total", "read_timeout", "expected"),
    [(600.0, None, 10.0), (4.0, None, 4.0), (600.0, 3.0, 3.0), (600.0, 700.0, 10.0)],
)
def test_nobody_waits_beyond_a_deadline(total: float, read_timeout: float | None, expected: float) -> None:
    """B15."""
    assert queue.patience(Queue(5, 10.0), total, read_timeout) == expected


def test_a_row_is_the_callers_else_the_headers_else_everybodys() -> None:
    by = queued(1, 9, a_limit(), a_limit("tenant", by="Header", header="X-Tenant"))
    asker = Asker((("x-tenant", "blue"),))
    assert queue.row(queued(1).request_limits, asker) == ""
    assert queue.row(by.request_limits, asker) == "blue"
    assert queue.row(by.request_limits, Asker(asker.headers, caller="search")) == "search"


def test_a_place_is_expected_when_one_of_those_who_are_in_goes() -> None:
    places = Places()
    assert places.retry_after(4) == 1.0
    places.held(40.0)
    assert places.retry_after(4) == 10.0
    places.held(0.0)
    assert places.retry_after(4) == 8.0
    assert places.retry_after(1000) == 1.0


def test_who_finds_no_place_waits_and_who_finds_no_room_is_refused_and_gets_back_what_it_took() -> None:
    """B9."""
    state, pool = State(), queued(1, 1, a_limit())
    first, second, third = (state.admit(pool, NOW) for _ in range(3))
    assert isinstance(first, Permit)
    assert isinstance(second, Waiting)
    assert isinstance(third, Limited)
    assert (third.kind, third.max, third.waiting) == ("concurrency", 1, 1)
    assert third.headers[1] == ("x-ratelimit-remaining-requests", "98")
    assert remaining(state, pool) == 98
    assert state.take_turn(pool, NOW) is None
    state.give_up(pool.name, second, NOW)
    state.give_up(pool.name, second, NOW)
    assert remaining(state, pool) == 99
    assert state.waiting(pool) == 0


def test_who_is_over_a_limit_on_requests_does_not_wait_for_a_place() -> None:
    state, pool = State(), queued(1, 9, a_limit(size=1))
    state.admit(pool, NOW)
    refused = state.admit(pool, NOW)
    assert isinstance(refused, Limited)
    assert refused.kind == "requests"
    state.places(pool).held(100_000.0)
    refused = state.admit(pool, NOW)
    assert isinstance(refused, Limited)
    assert refused.kind == "concurrency"
    assert state.waiting(pool) == 0


def test_whoever_comes_while_others_wait_does_not_overtake_them() -> None:
    state, pool = State(), queued(1)
    permit, waiting = state.admit(pool, NOW), state.admit(pool, NOW)
    assert isinstance(permit, Permit)
    permit.release()
    assert isinstance(state.admit(pool, NOW), Waiting)
    turn = state.take_turn(pool, NOW)
    assert turn is not None
    assert turn[0] is waiting


def test_a_line_of_a_pool_that_is_no_more_can_be_left() -> None:
    state, pool = State(), queued(1, 9, a_limit())
    state.admit(pool, NOW)
    waiting = state.admit(pool, NOW)
    assert isinstance(waiting, Waiting)
    state.retain(a_snapshot([a_pool("other")]))
    state.give_up(pool.name, waiting, NOW)
    assert state.waiting(pool) == 0
    assert state.take_turn(pool, NOW) is None


class AnyInterleaving(RuleBasedStateMachine):
    """Arrivals, turns, ends, leavings and reloads in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.pool = State(), queued(2, 9, a_limit())
        self.held: list[Permit] = []
        self.waiting: list[Waiting] = []
        self.others: dict[Waiting, Counter[str]] = {}
        self.used = 0

    def serve(self) -> None:
        while (turn := self.state.take_turn(self.pool, NOW)) is not None:
            waiting, permit = turn
            row = [each for each in self.waiting if each.key == waiting.key]
            assert row[0] is waiting, "in order within a row"
            self.waiting.remove(waiting)
            del self.others[waiting]
            self.held.append(permit)
            for seen in self.others.values():
                seen[waiting.key] += 1

    @rule(caller=st.sampled_from("abc"))
    def arrive(self, caller: str) -> None:
        room = self.pool.queue is not None and len(self.waiting) < self.pool.queue.max
        found = self.state.admit(self.pool, NOW, Asker(caller=caller))
        match found:
            case Permit():
                assert not self.waiting
                self.held.append(found)
                self.used += 1
            case Waiting():
                assert room
                self.waiting.append(found)
                self.others[found] = Counter()
                self.used += 1
            case Limited():
                assert found.kind == "requests" or not room

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0), refund=st.booleans())
    def finish(self, pick: int, refund: bool) -> None:
        permit = self.held.pop(pick % len(self.held))
        if refund:
            permit.refund(NOW)
            permit.refund(NOW)
            self.used -= 1
        permit.release()
        permit.release()
        self.serve()

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0))
    def leave_or_wait_too_long(self, pick: int) -> None:
        waiting = self.waiting.pop(pick % len(self.waiting))
        del self.others[waiting]
        self.state.give_up(self.pool.name, waiting, NOW)
        self.used -= 1

    @rule(places=st.none() | st.integers(1, 5), waiting=st.none() | st.integers(1, 9), sidecars=st.integers(1, 3))
    def reload(self, places: int | None, waiting: int | None, sidecars: int) -> None:
        self.pool, self.state.sidecars = queued(places, waiting, a_limit()), sidecars
        self.serve()

    @invariant()
    def nobody_is_lost(self) -> None:
        assert self.state.in_flight(self.pool) == len(self.held)
        assert self.state.waiting(self.pool) == len(self.waiting)
        assert remaining(self.state, self.pool) == 100 - self.used
        if self.pool.concurrency is None or len(self.held) < max(1, self.pool.concurrency // self.state.sidecars):
            assert not self.waiting, "a free place goes to who waits"

    @invariant()
    def the_first_of_a_row_waits_for_one_round_of_the_others(self) -> None:
        seen: set[str] = set()
        for waiting in self.waiting:
            if waiting.key not in seen:
                seen.add(waiting.key)
                served = self.others[waiting]
                ahead = served[waiting.key] + 1
                assert all(count <= ahead for key, count in served.items() if key != waiting.key)


AnyInterleaving.TestCase.settings = effort(max_examples=100, stateful_step_count=40, deadline=None)
TestAnyInterleaving = AnyInterleaving.TestCase
