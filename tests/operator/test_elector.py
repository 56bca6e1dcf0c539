"""Who leads: never two, soon the next, whatever the API server and the clocks do."""

import asyncio
import contextlib
import copy
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import virtual_loop
from modelpool_operator.elector import HOLD_SECONDS, LEASE_SECONDS, Elector
from modelpool_operator.kube import WRITE, ApiError

WRITE_SECONDS = WRITE.total
NEVER = 1e9


@dataclass
class Server:
    """One Lease, with the optimistic lock of the real one. `calls`: what was asked of it, and what became of it."""

    lease: dict[str, Any] | None = None
    version: int = 0
    calls: list[tuple[str, int]] = field(default_factory=list)

    def answer(self, method: str, body: dict[str, Any] | None) -> dict[str, Any]:
        status = self._do(method, body)
        self.calls.append((method, status))
        if status >= 300:
            raise ApiError(status, "", f"HTTP {status}")
        return copy.deepcopy(self.lease or {})

    def _do(self, method: str, body: dict[str, Any] | None) -> int:
        if method == "POST":
            if self.lease is not None:
                return 409
        elif self.lease is None:
            return 404
        if method == "GET":
            return 200
        assert body is not None
        if method == "PUT" and body["metadata"].get("resourceVersion") != str(self.version):
            return 409
        self.version += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return 200

    @property
    def spec(self) -> dict[str, Any]:
        assert self.lease is not None
        spec: dict[str, Any] = self.lease["spec"]
        return spec


@dataclass
class Line:
    """One replica's way to the server. `there` and `back`: seconds until the server acts, and from then to the answer;
    a request that is given up is acted on all the same. `status`: what is answered instead; 0 = nobody listens."""

    server: Server
    there: float = 0.01
    back: float = 0.01
    status: int | None = None

    async def elect(self, method: str, path: str, body: Any, seconds: float) -> dict[str, Any]:
        assert path.startswith("/apis/coordination.k8s.io/v1/namespaces/ns/leases")
        loop = asyncio.get_running_loop()
        if self.status is not None:
            await asyncio.sleep(0.001)
            raise ApiError(self.status, "", f"HTTP {self.status}")
        body, back = copy.deepcopy(body), self.back
        came: asyncio.Future[dict[str, Any]] = loop.create_future()

        def act() -> None:
            try:
                found: dict[str, Any] | ApiError = self.server.answer(method, body)
            except ApiError as error:
                found = error
            loop.call_later(back, arrive, found)

        def arrive(found: dict[str, Any] | ApiError) -> None:
            if came.done():
                return
            if isinstance(found, ApiError):
                came.set_exception(found)
            else:
                came.set_result(found)

        loop.call_later(self.there, act)
        try:
            return await asyncio.wait_for(came, seconds)
        except TimeoutError:
            raise ApiError(0, "Unreachable", "it did not answer in time") from None


@dataclass
class Replica:
    """An elector with its line and a clock of its own."""

    name: str
    server: Server
    offset: float = 0.0
    rate: float = 1.0
    line: Line = field(init=False)
    elector: Elector = field(init=False)
    leads: bool = False
    terms: int = 0
    ends_in: float = NEVER
    fault: Exception | None = None
    stops_in: float = 0.0
    task: "asyncio.Task[None] | None" = None

    def __post_init__(self) -> None:
        self.line = Line(self.server)
        clock = asyncio.get_running_loop().time
        self.elector = Elector(
            self.line, "ns", "modelpool-operator", self.name, lambda: self.offset + self.rate * clock()
        )

    async def lead(self) -> None:
        self.leads = True
        self.terms += 1
        try:
            await asyncio.sleep(self.ends_in)
            if self.fault is not None:
                raise self.fault
        finally:
            await asyncio.sleep(self.stops_in)
            self.leads = False

    def start(self) -> "Replica":
        self.task = asyncio.get_running_loop().create_task(self.elector.run(self.lead))
        return self

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    def vanish(self) -> None:
        """As a killed process: it asks nothing any more."""
        self.line.there = self.line.back = NEVER


Scene = Callable[[Server, list[Replica]], Awaitable[None]]


@dataclass
class Judge:
    """Looks at all replicas twenty times a second. `gaps`: seconds between one's hold and the next one's."""

    replicas: list[Replica]
    gaps: list[float] = field(default_factory=list)
    _holder: Replica | None = None
    _held_at: float = 0.0

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            holders = [each for each in self.replicas if each.elector.held]
            assert len(holders) <= 1, f"{[each.name for each in holders]} lead at {loop.time()}"
            for holder in holders:
                if self._holder is not None and holder is not self._holder:
                    self.gaps.append(loop.time() - self._held_at)
                self._holder, self._held_at = holder, loop.time()
            await asyncio.sleep(0.05)


def play(scene: Scene, number: int = 2, *, offsets: tuple[float, ...] = (0.0, 5e6, -3e5), rates: Any = ()) -> Judge:
    """Some replicas start together; never two of them hold the Lease, whatever the scene does."""

    async def main() -> Judge:
        server = Server()
        replicas = [
            Replica(f"replica-{each}", server, offsets[each], rates[each] if rates else 1.0) for each in range(number)
        ]
        judge = Judge(replicas)
        watching = asyncio.get_running_loop().create_task(judge.watch())
        for each in replicas:
            each.start()
        try:
            await scene(server, replicas)
            if watching.done():
                watching.result()
        finally:
            watching.cancel()
            for each in replicas:
                each.line.there = each.line.back = 0.0
                each.line.status = 0
                await each.stop()
        return judge

    return virtual_loop.run(main())


def _leader(replicas: list[Replica]) -> Replica:
    (found,) = (each for each in replicas if each.elector.held)
    return found


async def _until(holds: Callable[[], Any], seconds: float) -> float:
    """How long it took to come true."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not holds():
        assert loop.time() - began < seconds, f"it did not come true within {seconds} s"
        await asyncio.sleep(0.01)
    return loop.time() - began


def test_the_first_one_makes_the_lease_and_leads_and_the_others_stand_by() -> None:
    async def scene(server: Server, replicas: list[Replica]) -> None:
        await _until(lambda: any(each.leads for each in replicas), 1)
        await asyncio.sleep(60)
        assert [each.leads for each in replicas].count(True) == 1
        assert _leader(replicas).terms == 1
        assert server.spec["holderIdentity"] == _leader(replicas).name
        assert server.spec["leaseDurationSeconds"] == LEASE_SECONDS
        assert server.spec["leaseTransitions"] == 0

    play(scene, 3)


def test_the_lease_keeps_since_when_it_is_held_and_counts_who_had_it() -> None:
    async def scene(server: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(5)
        acquired = server.spec["acquireTime"]
        await asyncio.sleep(5)
        assert server.spec["acquireTime"] == acquired
        assert server.spec["renewTime"] != acquired
        first = _leader(replicas)
        await first.stop()
        await _until(lambda: any(each.leads for each in replicas), 5)
        assert server.spec["leaseTransitions"] == 1
        assert server.spec["acquireTime"] != acquired

    play(scene)


def test_after_a_kill_the_next_one_leads_within_twenty_seconds_and_not_before_the_lease_ran_out() -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(30.3)
        dead = _leader(replicas)
        dead.vanish()
        took = await _until(lambda: any(each.leads for each in replicas if each is not dead), 20)
        assert LEASE_SECONDS - 2.5 <= took <= 20
        await asyncio.sleep(1)

    (gap,) = play(scene, 3).gaps
    assert gap >= WRITE_SECONDS


def test_after_a_release_the_next_one_leads_within_about_two_seconds() -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(10.7)
        first = _leader(replicas)
        await first.stop()
        assert not first.elector.held
        assert await _until(lambda: any(each.leads for each in replicas if each is not first), 2.2) <= 2.2

    play(scene, 3)


def test_what_leads_has_ended_before_the_lease_is_given_up() -> None:
    async def scene(server: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(5)
        first = _leader(replicas)
        first.stops_in = 4.0
        stopping = asyncio.create_task(first.stop())
        await asyncio.sleep(3.9)
        assert server.spec["holderIdentity"] == first.name
        await stopping
        assert not first.leads
        assert server.spec["holderIdentity"] == ""

    play(scene)


def test_a_leader_whose_api_server_hangs_steps_down_and_leads_again_afterwards() -> None:
    async def scene(server: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(5)
        for each in replicas:
            each.line.there = NEVER
        await _until(lambda: not any(each.elector.held for each in replicas), HOLD_SECONDS + 0.1)
        await _until(lambda: not any(each.leads for each in replicas), 6)
        for each in replicas:
            each.line.there = 0.01
        await _until(lambda: any(each.leads for each in replicas), 20)

    play(scene)


@pytest.mark.parametrize("status", [0, 403, 429, 500, 503])
def test_a_leader_that_is_refused_steps_down_and_another_one_takes_over(status: int) -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(5)
        first = _leader(replicas)
        first.line.status = status
        took = await _until(lambda: any(each.leads for each in replicas if each is not first), 20)
        assert took > HOLD_SECONDS
        assert not first.leads

    play(scene)


def test_a_short_fault_does_not_end_a_term() -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(5)
        leader = _leader(replicas)
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
        leader = _leader(replicas)
        leader.line.back = NEVER
        await _until(lambda: not leader.elector.held, HOLD_SECONDS + 0.1)
        leader.line.back = 0.01
        await _until(lambda: any(each.leads and each.elector.held for each in replicas), 25)

    play(scene)


def test_a_lease_that_was_released_by_another_one_in_between_begins_a_new_term() -> None:
    """What was known when somebody else could write is too old to lead on."""

    async def scene(server: Server, replicas: list[Replica]) -> None:
        (alone,) = replicas
        await asyncio.sleep(5)
        assert alone.terms == 1
        spec = {**server.spec, "holderIdentity": "", "leaseDurationSeconds": 1}
        server.answer("PUT", {**(server.lease or {}), "spec": spec})
        await _until(lambda: alone.terms == 2, 10)

    play(scene, 1)


def test_a_lease_that_somebody_deletes_does_not_let_two_lead() -> None:
    async def scene(server: Server, replicas: list[Replica]) -> None:
        for _ in range(20):
            await asyncio.sleep(3.7)
            server.lease = None
        assert _leader(replicas).leads

    play(scene, 3)


def test_a_leader_that_is_dead_and_whose_lease_is_gone_is_followed() -> None:
    async def scene(server: Server, replicas: list[Replica]) -> None:
        await asyncio.sleep(5)
        dead = _leader(replicas)
        dead.vanish()
        server.lease = None
        await _until(lambda: any(each.leads for each in replicas if each is not dead), 20)

    play(scene)


def test_a_lease_that_anybody_made_empty_is_taken() -> None:
    async def scene(server: Server, replicas: list[Replica]) -> None:
        await _until(lambda: any(each.leads for each in replicas), 5)
        assert server.spec["holderIdentity"].startswith("replica")

    async def main() -> None:
        server = Server()
        server.answer("POST", {"metadata": {"name": "modelpool-operator"}, "spec": None})
        one = Replica("replica-0", server).start()
        try:
            await scene(server, [one])
        finally:
            await one.stop()

    virtual_loop.run(main())


def test_one_that_comes_back_with_its_own_name_need_not_wait() -> None:
    async def main() -> None:
        server = Server()
        first = Replica("pod-0", server).start()
        await asyncio.sleep(5)
        first.vanish()
        again = Replica("pod-0", server).start()
        assert await _until(lambda: again.leads, 1) < 1
        for each in (first, again):
            await each.stop()

    virtual_loop.run(main())


def test_a_term_that_fails_is_told_and_leaves_the_lease_to_others(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        for each in replicas:
            each.ends_in, each.fault = 3.0, ValueError("it broke")
        await _until(lambda: all(each.terms >= 2 for each in replicas), 30)

    play(scene)
    assert "leading failed, and is tried again: it broke" in caplog.text


def test_a_term_that_just_ends_begins_anew() -> None:
    async def scene(_: Server, replicas: list[Replica]) -> None:
        replicas[0].ends_in = 3.0
        await _until(lambda: replicas[0].terms >= 3, 30)

    play(scene, 1)


def test_a_signal_while_a_term_ends_is_not_lost() -> None:
    """The Lease was lost, what leads takes its time to end, and then the process is told to stop."""

    async def scene(_: Server, replicas: list[Replica]) -> None:
        (alone,) = replicas
        await asyncio.sleep(5)
        alone.stops_in = 9.0
        alone.line.status = 0
        await _until(lambda: not alone.elector.held, HOLD_SECONDS + 0.1)
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
        await _until(lambda: any(each.leads and each.elector.held for each in replicas), 60)

    judge = play(scene, 3, rates=rates, offsets=offsets)
    if not released:
        assert all(gap >= WRITE_SECONDS for gap in judge.gaps), "a write that began before has ended"
