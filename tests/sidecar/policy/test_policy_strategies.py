"""Each strategy against its definition: laws, and hours on virtual time. Chance is a seeded generator."""

import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from builders import a_pool, a_provider, a_snapshot, a_target, the_pool
from modelpool_sidecar.core import affinity, hashing
from modelpool_sidecar.core.dispatch import Dispatch, Try
from modelpool_sidecar.core.latency import FADE_SECONDS, Wait, average
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.rotation import Rotation
from modelpool_sidecar.core.selection import draw, present, pulls
from modelpool_sidecar.core.snapshot import Pool, Snapshot, Target
from modelpool_sidecar.core.state import State
from modelpool_sidecar.core.strategies import least_requests, lowest_latency
from modelpool_sidecar.core.verdict import Failure

NOW = 1_000.0
STRATEGIES = ["Weighted", "RoundRobin", "LeastRequests", "LowestLatency", "LowestCost", "ConsistentHash"]

weights = st.lists(st.integers(1, 60), min_size=1, max_size=8)
chances = st.randoms(use_true_random=False)


def pool_of(strategy: str, *targets: dict[str, Any], **changes: Any) -> Snapshot:
    """One pool; every target at a provider of its own."""
    hashed = {"by": "Header", "header": "X-Session"} if strategy == "ConsistentHash" else None
    return a_snapshot([a_pool(targets=targets, strategy=strategy, consistent_hash=hashed, **changes)])


def weighted(*each: int, strategy: str = "RoundRobin") -> Snapshot:
    return pool_of(strategy, *(a_target(f"t{index}", weight=weight) for index, weight in enumerate(each)))


def tier(*each: int) -> tuple[Target, ...]:
    return the_pool(weighted(*each)).tiers[0]


def whole(_target: Target) -> float:
    return 1.0


def begin(pool: Pool, state: State, rng: Callable[[], float], now: float = NOW, **more: Any) -> tuple[Dispatch, Target]:
    """A request that is sent to its first target."""
    walk = Dispatch(
        pool=pool, state=state, operation="chat", deadline=now + 600, rng=rng, missing=lambda _target: (), **more
    )
    step = walk.next(now)
    assert isinstance(step, Try)
    return walk, step.target


def failure(target: Target, outcome: Outcome = Outcome.FAILED) -> Failure:
    return Failure(target=target.name, provider=target.provider.name, outcome=outcome, detail="", status=500)


# -- smooth weighted round robin


@given(weights, st.floats(0, 1, exclude_max=True))
def test_in_as_many_turns_as_the_weights_add_up_to_each_target_gets_exactly_its_weight(
    each: list[int], start: float
) -> None:
    candidates = pulls(tier(*each), whole)
    rotation = Rotation(())
    rotation.begin(candidates, lambda: start)
    taken: Counter[str] = Counter()
    for _ in range(sum(each)):
        chosen = rotation.look(candidates)
        rotation.take(candidates, chosen)
        taken[chosen.name] += 1
    assert [taken[f"t{index}"] for index in range(len(each))] == each


@given(weights)
def test_no_target_has_a_turn_too_many_or_is_more_than_one_turn_late(each: list[int]) -> None:
    candidates, rotation = pulls(tier(*each), whole), Rotation(())
    taken: Counter[str] = Counter()
    for turns in range(1, sum(each) + 1):
        chosen = rotation.look(candidates)
        rotation.take(candidates, chosen)
        taken[chosen.name] += 1
        for index, weight in enumerate(each):
            due = turns * weight / sum(each)
            assert math.floor(due) - 1 <= taken[f"t{index}"] <= math.ceil(due)


def test_turns_are_spread_and_not_in_blocks() -> None:
    candidates, rotation, order = pulls(tier(5, 1, 1), whole), Rotation(()), []
    for _ in range(7):
        chosen = rotation.look(candidates)
        rotation.take(candidates, chosen)
        order.append(chosen.name)
    assert order == ["t0", "t0", "t1", "t0", "t2", "t0", "t0"], "as nginx's own example has it"


def test_a_thousand_new_sidecars_do_not_all_ask_the_same_target_first() -> None:
    pool, rng = the_pool(weighted(2, 1, 1)), random.Random(1)
    firsts = Counter(begin(pool, State(), rng.random)[1].name for _ in range(1_000))
    assert abs(firsts["t0"] - 500) < 75
    assert abs(firsts["t1"] - 250) < 75


def test_a_turn_that_was_looked_at_and_not_taken_shifts_nobody() -> None:
    pool, state = the_pool(weighted(1, 1)), State()
    full = a_snapshot(
        [a_pool(targets=[a_target("t0"), a_target("t1")], strategy="RoundRobin")],
        [a_provider(name, connections={"max_open": 1, "idle_timeout": 1}) for name in ("t0", "t1")],
    )
    shut = the_pool(full)
    for name in ("t0", "t1"):
        state.caps.begin(shut.targets[name], NOW)
    walk = Dispatch(
        pool=shut, state=state, operation="chat", deadline=NOW + 9, rng=lambda: 0.0, missing=lambda _target: ()
    )
    assert not isinstance(walk.next(NOW), Try)
    assert state.learned.rotation(pool, 0).current == {}


def test_the_turn_goes_on_where_it_was_over_a_reload_that_leaves_the_weights() -> None:
    before, state = weighted(1, 1, 1), State()
    _, first = begin(the_pool(before), state, lambda: 0.0)
    after = pool_of("RoundRobin", *(a_target(f"t{index}") for index in range(3)), total=5_000)
    state.retain(after)
    _, second = begin(the_pool(after), state, lambda: 0.0)
    assert (first.name, second.name) == ("t0", "t1")
    state.retain(weighted(1, 1, 2))
    assert state.learned.rotation(the_pool(after), 0).current == {}, "other weights: a rotation of its own"
    state.retain(a_snapshot([]))
    assert repr(state.learned) == "<Learned 0 rotations, 0 waits>"


def test_a_fallback_takes_a_turn_as_well() -> None:
    pool, state = the_pool(weighted(1, 1)), State()
    walk, first = begin(pool, state, lambda: 0.0)
    walk.observe(failure(first), NOW)
    second = walk.next(NOW)
    assert isinstance(second, Try)
    assert (first.name, second.target.name) == ("t0", "t1")


# -- weighted


@given(weights, st.floats(0, 1, exclude_max=True))
def test_a_weighted_choice_is_the_target_whose_part_of_the_line_the_point_is_in(each: list[int], at: float) -> None:
    chosen = draw(pulls(tier(*each), whole), lambda: at)
    below = sum(each[: int(chosen.name[1:])])
    assert below <= at * sum(each) + 1e-6
    assert at * sum(each) - 1e-6 <= below + chosen.weight


# -- two choices


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 50)), min_size=2, max_size=8), chances)
def test_two_choices_never_take_the_worse_of_their_two(each: list[tuple[int, int]], rng: random.Random) -> None:
    targets = tier(*(weight for weight, _ in each))
    running = {target.name: busy for target, (_, busy) in zip(targets, each, strict=True)}
    looked: list[Target] = []

    def in_flight(target: Target) -> int:
        looked.append(target)
        return running[target.name]

    chosen = least_requests(pulls(targets, whole), in_flight, rng.random)
    assert len(looked) == len({target.name for target in looked}) == 2, "two, and not one twice"
    loads = [running[target.name] / target.weight for target in looked]
    assert running[chosen.name] / chosen.weight == min(loads)
    assert loads[0] != loads[1] or chosen is looked[0]


def test_idle_targets_are_drawn_by_weight() -> None:
    rng, targets = random.Random(2), tier(9, 1)
    seen = Counter(least_requests(pulls(targets, whole), lambda _target: 0, rng.random).name for _ in range(10_000))
    assert abs(seen["t0"] - 9_000) < 200


def test_a_stream_counts_to_its_end_and_not_to_its_first_token() -> None:
    pool, state, rng = the_pool(weighted(1, 1, strategy="LeastRequests")), State(), random.Random(3)
    walk, first = begin(pool, state, rng.random)
    walk.commit(NOW + 1)
    for _ in range(20):
        other, target = begin(pool, state, rng.random, NOW + 2)
        assert target is not first
        other.abandon(NOW + 2)
    walk.complete(Outcome.OK, NOW + 3)
    assert {begin(pool, state, rng.random, NOW + 4)[1].name for _ in range(2)} == {"t0", "t1"}


# -- the shortest wait


def test_a_peak_is_believed_at_once_and_forgotten_slowly() -> None:
    wait = Wait()
    assert repr(wait) == "<Wait unmeasured>"
    wait.sample(0.2, NOW)
    wait.sample(5.0, NOW + 1)
    assert (wait.seconds, repr(wait)) == (5.0, "<Wait 5 s>")
    wait.sample(0.2, NOW + 1 + FADE_SECONDS)
    assert wait.seconds == pytest.approx(5 / math.e + (0.2 - 5 / math.e) * (1 - 1 / math.e))


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 60)), min_size=1, max_size=20))
def test_an_estimate_is_never_above_its_slowest_sample_nor_below_zero(samples: list[tuple[float, float]]) -> None:
    wait, now = Wait(), NOW
    for seconds, later in samples:
        now += later
        wait.sample(seconds, now)
        assert wait.seconds is not None
        assert 0 <= wait.seconds <= max(each for each, _ in samples)


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 300))
def test_a_failure_never_makes_a_target_look_faster(measured: float, failed: float, later: float) -> None:
    wait = Wait()
    wait.failed(failed, NOW)
    assert wait.seconds is None, "and never the first sample"
    wait.sample(measured, NOW)
    before = wait.estimate(NOW + later)
    wait.failed(failed, NOW + later)
    after = wait.estimate(NOW + later)
    assert before is not None
    assert after is not None
    assert after == max(before, failed)


def test_an_unmeasured_target_counts_as_average() -> None:
    assert average([None, 0.2, 0.6]) == pytest.approx(0.4)
    assert average([None, None]) == 1.0
    a, b, c = tier(1, 1, 1)
    candidates = pulls((a, b, c), whole)
    assert lowest_latency(candidates, [0.4, 0.2, 0.6], lambda _target: 0, lambda: 0.0) is b
    assert lowest_latency(candidates, [0.4, 0.4, 0.6], lambda _target: 0, lambda: 0.9) is b
    assert lowest_latency(candidates, [0.4, 0.4, 0.6], lambda _target: 0, lambda: 0.1) is a


def test_what_is_in_flight_lengthens_the_wait_the_more_the_smaller_the_weight() -> None:
    a, b = tier(3, 1)
    candidates = pulls((a, b), whole)
    running = {"t0": 2, "t1": 1}
    assert lowest_latency(candidates, [1.0, 1.0], lambda target: running[target.name], lambda: 0.0) is a


def test_only_what_was_answered_is_measured_and_streams_apart_from_answers() -> None:
    snapshot, state = weighted(1, 1, strategy="LowestLatency"), State()
    pool = the_pool(snapshot)

    def known() -> list[tuple[Any, Any]]:
        targets = state.describe(snapshot, NOW)["pools"][0]["targets"]
        return [(each["firstTokenMs"], each["answerMs"]) for each in targets]

    walk, first = begin(pool, state, lambda: 0.0, stream=True)
    walk.commit(NOW + 0.4)
    walk.commit(NOW + 9)
    walk.complete(Outcome.BROKEN, NOW + 20)
    assert (first.name, known()) == ("t0", [(400.0, None), (None, None)])
    walk, _ = begin(pool, state, lambda: 0.0, NOW + 20)
    walk.commit(NOW + 22)
    walk.complete(Outcome.OK, NOW + 22)
    assert known() == [(400.0, 2000.0), (None, None)]
    walk, second = begin(pool, state, lambda: 0.99, NOW + 22)
    walk.observe(failure(second), NOW + 22.001)
    again = walk.next(NOW + 22.001)
    walk.abandon(NOW + 60)
    assert isinstance(again, Try)
    assert known() == [(400.0, 2000.0), (None, None)], "neither the failure nor the client that left"
    state.retain(snapshot)
    assert known()[0] == (400.0, 2000.0), "and a reload forgets nothing"


# -- consistent hashing

keys = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=60, unique=True)


def owner(candidates: Sequence[tuple[Target, float]], key: int) -> str:
    return affinity.own(candidates, key, lambda _target: 0).name


@given(st.lists(st.integers(1, 9), min_size=2, max_size=8), keys, st.data())
def test_a_target_that_goes_moves_its_own_keys_only_and_gets_them_back(
    each: list[int], asked: list[int], data: st.DataObject
) -> None:
    candidates = pulls(tier(*each), whole)
    gone = data.draw(st.sampled_from([target.name for target, _ in candidates]))
    rest = [each for each in candidates if each[0].name != gone]
    for key in asked:
        before = owner(candidates, key)
        assert before == gone or owner(rest, key) == before


def test_keys_are_shared_in_proportion_to_the_weights() -> None:
    rng, candidates = random.Random(4), pulls(tier(70, 20, 10), whole)
    seen = Counter(owner(candidates, rng.getrandbits(64)) for _ in range(10_000))
    assert [round(seen[f"t{index}"] / 1_000) for index in range(3)] == [7, 2, 1]


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(1, 80), chances)
def test_no_target_gets_more_than_a_quarter_above_its_part_of_what_is_in_flight(
    each: list[int], requests: int, rng: random.Random
) -> None:
    candidates, running = pulls(tier(*each), whole), Counter[str]()
    for number in range(requests):
        chosen = affinity.own(candidates, rng.choice([7, 7, 7, rng.getrandbits(64)]), lambda t: running[t.name])
        running[chosen.name] += 1
        bound = math.ceil(affinity.OVERLOAD * (number + 1) * chosen.weight / sum(each))
        assert running[chosen.name] <= max(affinity.FEW, bound)


def test_a_busy_key_spills_to_the_same_second_target_every_time() -> None:
    candidates = pulls(tier(1, 1, 1, 1), whole)
    first = owner(candidates, 7)
    rest = [each for each in candidates if each[0].name != first]
    spilled = affinity.own(candidates, 7, lambda target: 50 * (target.name == first))
    assert spilled.name == owner(rest, 7)


def test_equal_keys_meet_the_same_target_and_a_new_credential_moves_none() -> None:
    pool, state, rng = the_pool(weighted(1, 1, 1, strategy="ConsistentHash")), State(), random.Random(5)
    for key in (1, 2, 3):
        assert len({begin(pool, State(), rng.random, key=key)[1].name for _ in range(5)}) == 1
    seen = {begin(pool, state, rng.random, key=None)[1].name for _ in range(30)}
    assert seen == {"t0", "t1", "t2"}, "a request without a key is sent by weight"
    assert pool.targets["t0"].seed == hashing.number("t0")


def test_while_a_target_ramps_up_its_keys_come_back_one_by_one_and_stay() -> None:
    targets, rng = tier(1, 1), random.Random(6)
    asked = [rng.getrandbits(64) for _ in range(2_000)]
    back: set[int] = set()
    for share in (0.1, 0.4, 0.7, 1.0):
        part = dict(zip(("t0", "t1"), (share, 1.0), strict=True))
        now = set()
        for key in asked:
            standing = present(targets, lambda t, p=part: p[t.name], lambda t, k=key: affinity.lot(k, t))
            if owner(standing, key) == "t0":
                now.add(key)
        assert back <= now
        assert abs(len(now) / len(asked) - share / 2) < 0.05
        back = now


# -- what holds for all of them


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any), chances)
@effort(max_examples=25)
def test_attempts_are_sampled_without_replacement_and_the_drained_come_last(
    strategy: str, each: list[int], rng: random.Random
) -> None:
    fallback = {"max_attempts": len(each), "retry_budget": {"percent": 100, "min_per_second": 100}}
    targets = [a_target(f"t{index}", weight=weight) for index, weight in enumerate(each)]
    pool = the_pool(pool_of(strategy, *targets, fallback=fallback))
    walk, target = begin(pool, State(), rng.random, key=7 if strategy == "ConsistentHash" else None)
    order = [target]
    for _ in range(len(each) - 1):
        walk.observe(failure(order[-1]), NOW)
        step = walk.next(NOW)
        assert isinstance(step, Try)
        order.append(step.target)
    assert sorted(target.name for target in order) == sorted(pool.targets)
    heavy = [target.weight > 0 for target in order]
    assert heavy == sorted(heavy, reverse=True)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_strategy_works_inside_a_tier_and_an_empty_tier_is_passed(strategy: str) -> None:
    snapshot = pool_of(strategy, a_target("first"), a_target("second", priority=1), a_target("third", priority=1))
    state, rng = State(), random.Random(7)
    assert {begin(the_pool(snapshot), state, rng.random, key=n)[1].name for n in range(20)} == {"first"}
    state = State()
    state.mark_unsupported(the_pool(snapshot).targets["first"].key, "chat")
    seen = {begin(the_pool(snapshot), state, rng.random, key=n)[1].name for n in range(40)}
    assert seen == {"second", "third"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_share_of_a_target_that_comes_back_grows_and_never_swings(strategy: str) -> None:
    """A simulated hour: eight requests a second, a cooldown, a ramp of twenty minutes; bins of a minute."""
    provider = {"successes": 1, "ramp_up": 1_200_000}
    snapshot = a_snapshot(
        [
            a_pool(
                targets=[a_target("back"), a_target("other")],
                strategy=strategy,
                consistent_hash={"by": "Prompt", "header": None} if strategy == "ConsistentHash" else None,
            )
        ],
        [a_provider("back", health=provider), a_provider("other")],
    )
    pool, state, rng = the_pool(snapshot), State(), random.Random(8)
    health = state.health(pool.targets["back"])
    for _ in range(3):
        health.end(health.begin(NOW), Outcome.UNREACHABLE, NOW, lambda: 0.0)
    bins: dict[int, Counter[str]] = {}
    for now, target in _hour(pool, state, rng, lambda _target, _busy: rng.uniform(0.3, 0.5), rate=8, seconds=3_600):
        bins.setdefault(int((now - NOW) // 60), Counter())[target.name] += 1
    shares = [bins[minute]["back"] / sum(bins[minute].values()) for minute in range(1, 59)]
    assert shares[0] < 0.25
    rising, full = shares[1:19], shares[25:]
    assert all(later > earlier - 0.12 for earlier, later in itertools.pairwise(rising))
    assert abs(sum(full) / len(full) - 0.5) < 0.03
    assert max(full) - min(full) < 0.2


def test_targets_that_slow_down_under_load_settle_and_never_take_turns_at_being_overrun() -> None:
    """Twenty sidecars that do not know of each other share two targets whose answers slow down as they fill."""
    snapshot, rng = weighted(1, 1, strategy="LowestLatency"), random.Random(9)
    pool, states = the_pool(snapshot), [State() for _ in range(20)]
    load: Counter[str] = Counter()
    bins: dict[int, Counter[str]] = {}

    def seconds(target: Target, _busy: int) -> float:
        return 0.5 * (1 + max(0, load[target.name] - 10) / 10) * rng.uniform(0.8, 1.25)

    for now, target in _hour(pool, states, rng, seconds, load=load, seconds=1_200):
        bins.setdefault(int((now - NOW) // 30), Counter())[target.name] += 1
    shares = [each["t0"] / sum(each.values()) for minute, each in bins.items() if minute >= 2]
    assert abs(sum(shares) / len(shares) - 0.5) < 0.05
    assert max(shares) - min(shares) < 0.25


def test_the_slow_target_is_asked_again_now_and_then_and_no_more() -> None:
    pool, rng = the_pool(weighted(1, 1, strategy="LowestLatency")), random.Random(10)
    seen = Counter(
        target.name
        for _, target in _hour(pool, State(), rng, lambda t, _busy: 3.0 if t.name == "t1" else 0.3, seconds=1_200)
    )
    assert 0 < seen["t1"] < sum(seen.values()) * 0.05


def _hour(
    pool: Pool,
    states: State | Sequence[State],
    rng: random.Random,
    seconds_for: Callable[[Target, int], float],
    *,
    seconds: float,
    load: Counter[str] | None = None,
    rate: float = 20.0,
) -> Sequence[tuple[float, Target]]:
    """Poisson demand on virtual time; when each request began and where it went."""
    everywhere = [states] if isinstance(states, State) else list(states)
    load = Counter() if load is None else load
    sent: list[tuple[float, Target]] = []
    running: list[tuple[float, int, Dispatch, Target]] = []
    now = NOW
    while (now := now + rng.expovariate(rate)) < NOW + seconds:
        while running and running[0][0] <= now:
            ended, _, walk, target = heapq.heappop(running)
            load[target.name] -= 1
            walk.commit(ended)
            walk.complete(Outcome.OK, ended)
        state = rng.choice(everywhere)
        walk, target = begin(pool, state, rng.random, now, key=rng.getrandbits(64))
        load[target.name] += 1
        sent.append((now, target))
        heapq.heappush(running, (now + seconds_for(target, load[target.name]), len(sent), walk, target))
    return sent
