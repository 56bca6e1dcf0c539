"""Which keys are to be looked at, and when; on virtual time."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import virtual_loop
from modelpool_operator.worklist import LAST_RETRY_SECONDS, RetryError, Worklist, retry_seconds

Faults = dict[str, list[BaseException]]


class Bench:
    """A worklist whose work takes `seconds` for each key and raises what `faults` has for it, one after the other."""

    def __init__(self, *, seconds: float = 0.0, floor: float | None = None, **how: Any) -> None:
        self.seconds = seconds
        self.faults: Faults = {}
        self.looks: list[tuple[str, float]] = []
        self.at_once = self.most_at_once = 0
        self.busy: defaultdict[str, int] = defaultdict(int)
        self.explained: list[tuple[str, str]] = []
        self.floor = floor
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.list: Worklist[str] = Worklist("test", self._work, chance=lambda: 0.0, explain=self._explain, **how)
        self.task = self.loop.create_task(self.list.run())

    async def _work(self, key: str) -> None:
        self.looks.append((key, round(self.loop.time() - self.began, 3)))
        self.at_once += 1
        self.busy[key] += 1
        assert self.busy[key] == 1, "a key is in one pair of hands"
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
            faults = self.faults.get(key)
            if faults:
                raise faults.pop(0)
        finally:
            self.at_once -= 1
            self.busy[key] -= 1

    def _explain(self, key: str, error: Exception) -> float | None:
        self.explained.append((key, str(error)))
        return self.floor

    @property
    def times(self) -> list[float]:
        return [at for _, at in self.looks]

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


def play(scene: Callable[[Bench], Coroutine[Any, Any, None]], **how: Any) -> None:
    """The scene with a bench, and the end of it."""

    async def main() -> None:
        bench = Bench(**how)
        try:
            await scene(bench)
            assert not bench.task.done()
        finally:
            await bench.stop()

    virtual_loop.run(main())


def test_a_mark_waits_for_others_and_a_burst_is_one_look() -> None:
    async def scene(bench: Bench) -> None:
        for _ in range(50):
            bench.list.mark("a")
            await asyncio.sleep(0.001)
        await asyncio.sleep(10)
        assert bench.looks == [("a", 0.1)]

    play(scene)


def test_later_marks_do_not_push_a_look_back() -> None:
    async def scene(bench: Bench) -> None:
        for _ in range(100):
            bench.list.mark("a")
            await asyncio.sleep(0.03)
        assert len(bench.looks) >= 20
        assert bench.times[0] == 0.1

    play(scene)


def test_an_earlier_mark_stands_and_a_sooner_one_goes_before() -> None:
    async def scene(bench: Bench) -> None:
        bench.list.mark("a", after=5.0)
        bench.list.mark("a", after=50.0)
        bench.list.mark("b", after=50.0)
        bench.list.mark("b", after=2.0)
        await asyncio.sleep(100)
        assert bench.looks == [("b", 2.0), ("a", 5.0)]

    play(scene)


def test_a_key_that_is_marked_while_it_is_looked_at_is_looked_at_again() -> None:
    async def scene(bench: Bench) -> None:
        bench.list.mark("a")
        await asyncio.sleep(1)
        bench.list.mark("a")
        bench.list.mark("a")
        await asyncio.sleep(20)
        assert bench.looks == [("a", 0.1), ("a", 3.1)]

    play(scene, seconds=3.0)


def test_so_many_are_in_hand_at_once_and_no_more() -> None:
    async def scene(bench: Bench) -> None:
        for number in range(20):
            bench.list.mark(str(number))
        assert len(bench.list) == 20
        await asyncio.sleep(0.5)
        assert (bench.most_at_once, len(bench.list)) == (3, 20)
        await asyncio.sleep(10)
        assert (bench.most_at_once, len(bench.looks), len(bench.list)) == (3, 20, 0)

    play(scene, seconds=1.0, at_once=3)


def test_one_slow_key_holds_up_no_other() -> None:
    async def scene(bench: Bench) -> None:
        bench.seconds = 1000.0
        bench.list.mark("slow")
        await asyncio.sleep(1)
        bench.seconds = 0.0
        bench.list.mark("slow")
        bench.list.mark("quick")
        await asyncio.sleep(1)
        assert bench.looks == [("slow", 0.1), ("quick", 1.1)]

    play(scene, at_once=2)


def test_what_fails_comes_again_from_half_a_second_to_five_minutes() -> None:
    async def scene(bench: Bench) -> None:
        bench.faults["a"] = [ValueError("it broke") for _ in range(14)]
        bench.list.mark("a")
        await asyncio.sleep(4000)
        waits = [round(after - before, 3) for before, after in zip(bench.times, bench.times[1:], strict=False)]
        assert waits[:12] == [0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
        assert bench.explained == [("a", "it broke")] * 14

    play(scene)


def test_a_success_makes_the_next_failure_a_first_one() -> None:
    async def scene(bench: Bench) -> None:
        bench.faults["a"] = [ValueError(), ValueError(), ValueError()]
        bench.list.mark("a")
        await asyncio.sleep(10)
        bench.faults["a"] = [ValueError()]
        bench.list.mark("a")
        await asyncio.sleep(10)
        assert round(bench.times[-1] - bench.times[-2], 3) == 0.5

    play(scene)


def test_who_is_to_come_again_comes_again_and_nobody_hears_of_it() -> None:
    async def scene(bench: Bench) -> None:
        bench.faults["a"] = [RetryError(2.0), RetryError(7.0)]
        bench.list.mark("a")
        await asyncio.sleep(100)
        assert bench.times == [0.1, 2.1, 9.1]
        assert bench.explained == []

    play(scene)


def test_what_is_asked_of_us_by_the_server_is_waited_for() -> None:
    async def scene(bench: Bench) -> None:
        bench.faults["a"] = [ValueError()]
        bench.list.mark("a")
        await asyncio.sleep(100)
        assert bench.times == [0.1, 30.1]

    play(scene, floor=30.0)


def test_a_key_that_is_forgotten_is_not_looked_at_and_its_failures_do_not_count() -> None:
    async def scene(bench: Bench) -> None:
        bench.list.mark("a")
        bench.list.forget("a")
        bench.list.forget("never marked")
        await asyncio.sleep(1)
        assert (bench.looks, len(bench.list)) == ([], 0)
        bench.faults["a"] = [ValueError(), ValueError()]
        bench.list.mark("a")
        await asyncio.sleep(1)
        bench.list.forget("a")
        await asyncio.sleep(1)
        bench.faults["a"] = [ValueError()]
        bench.list.mark("a")
        await asyncio.sleep(10)
        assert round(bench.times[-1] - bench.times[-2], 3) == 0.5

    play(scene)


def test_work_that_is_cancelled_from_elsewhere_is_a_failure_like_any_other() -> None:
    async def scene(bench: Bench) -> None:
        bench.faults["a"] = [asyncio.CancelledError()]
        bench.list.mark("a")
        await asyncio.sleep(10)
        assert bench.times == [0.1, 0.6]
        assert bench.explained == [("a", "what it waited for was cancelled")]

    play(scene)


def test_what_is_in_hand_is_cancelled_and_awaited_at_the_end() -> None:
    async def scene(bench: Bench) -> None:
        bench.list.mark("a")
        await asyncio.sleep(1)
        assert bench.at_once == 1
        await bench.stop()
        assert bench.at_once == 0
        bench.task = asyncio.get_running_loop().create_task(bench.list.run())
        await asyncio.sleep(1)

    play(scene, seconds=1000.0)


@pytest.mark.parametrize("turns", range(6))
def test_an_end_that_comes_together_with_a_mark_is_not_lost(turns: int) -> None:
    async def scene(bench: Bench) -> None:
        await asyncio.sleep(1)
        bench.list.mark("a", after=1.0)
        for _ in range(turns):
            await asyncio.sleep(0)
        bench.task.cancel()
        done, _ = await asyncio.wait({bench.task}, timeout=100)
        assert done
        bench.task = asyncio.get_running_loop().create_task(bench.list.run())
        await asyncio.sleep(1)

    play(scene)


def test_a_fault_in_the_explanation_ends_the_run_and_is_not_swallowed() -> None:
    async def main() -> None:
        async def work(_key: str) -> None:
            raise ValueError

        def explain(_key: str, _error: Exception) -> float:
            raise KeyError("explain")

        worklist: Worklist[str] = Worklist("test", work, chance=lambda: 0.0, explain=explain)
        worklist.mark("a")
        with pytest.raises(KeyError, match="explain"):
            await worklist.run()

    virtual_loop.run(main())


def test_without_an_explanation_a_failure_just_comes_again() -> None:
    async def main() -> None:
        looks = 0

        async def work(_key: str) -> None:
            nonlocal looks
            looks += 1
            raise ValueError

        worklist: Worklist[str] = Worklist("test", work, chance=lambda: 0.0)
        task = asyncio.create_task(worklist.run())
        worklist.mark("a")
        await asyncio.sleep(2)
        task.cancel()
        await asyncio.wait({task})
        assert looks == 3

    virtual_loop.run(main())


def test_the_queue_does_not_grow_with_marks_that_no_longer_count() -> None:
    async def scene(bench: Bench) -> None:
        bench.list.mark("sooner", after=500.0)
        for _ in range(2000):
            bench.list.mark("a", after=1000.0)
            bench.list.mark("a", after=0.0)
            await asyncio.sleep(0.01)
            bench.list.forget("a")
        assert len(bench.list._waiting.queue) < 100
        await asyncio.sleep(1000)
        assert bench.looks[-1] == ("sooner", 500.0)

    play(scene)


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_a_wait_is_spread_by_a_fifth_and_stays_within_its_bounds(chance: float) -> None:
    for failures in (1, 2, 5, 30, 10_000):
        plain = retry_seconds(failures, 0.0)
        assert plain <= retry_seconds(failures, chance) <= plain * 1.2
    assert retry_seconds(1, 0.0) == 0.5
    assert retry_seconds(10_000, 0.0) == LAST_RETRY_SECONDS


def test_a_server_that_asks_for_a_day_gets_five_minutes() -> None:
    assert retry_seconds(1, 0.0, floor=86_400.0) == LAST_RETRY_SECONDS


_acts = st.lists(
    st.tuples(
        st.floats(0, 3), st.sampled_from("abc"), st.sampled_from(["mark", "mark", "later", "fail", "retry", "forget"])
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_acts, st.floats(0, 2), st.integers(1, 3))
def test_after_its_last_mark_every_key_is_looked_at_until_that_succeeds(
    acts: list[Any], seconds: float, at_once: int
) -> None:
    async def scene(bench: Bench) -> None:
        last: dict[str, float] = {}
        for wait, key, act in acts:
            await asyncio.sleep(wait)
            faults = bench.faults.setdefault(key, [])
            if act == "forget":
                bench.list.forget(key)
                last.pop(key, None)
                continue
            if act in ("fail", "retry"):
                faults.append(ValueError() if act == "fail" else RetryError(0.3))
            bench.list.mark(key, 5.0 if act == "later" else None)
            last[key] = bench.loop.time() - bench.began
        await asyncio.sleep(1000)
        for key, at in last.items():
            assert max(when for name, when in bench.looks if name == key) >= round(at, 3) - 0.002
            assert not bench.faults[key]
        assert len(bench.list) == 0
        assert bench.most_at_once <= at_once

    play(scene, seconds=seconds, at_once=at_once)


class Counted(str):
    """A key that counts how often it is looked up."""

    __slots__ = ()
    looked_up = 0

    def __hash__(self) -> int:
        Counted.looked_up += 1
        return super().__hash__()


def test_what_waits_is_not_looked_through_for_each_key_that_is_due() -> None:
    """With ten thousand pools that would be half a minute of the event loop, in which no Lease is renewed."""

    async def scene(bench: Bench) -> None:
        Counted.looked_up = 0
        for number in range(2000):
            bench.list.mark(Counted(number), after=float(number % 7))
        await asyncio.sleep(10)
        assert len(bench.looks) == 2000
        assert Counted.looked_up < 2000 * 50

    play(scene, at_once=12)
