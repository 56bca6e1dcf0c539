"""Which target is chosen: laws of weights, shares and draining."""

import random
from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from builders import a_pool, a_snapshot, a_target, the_pool
from modelpool_sidecar.core.selection import choose
from modelpool_sidecar.core.snapshot import Target

chances = st.floats(0, 1, exclude_max=True)


def targets(*weights: int) -> tuple[Target, ...]:
    pool = a_pool(targets=[a_target(f"t{index}", provider="p", weight=weight) for index, weight in enumerate(weights)])
    return the_pool(a_snapshot([pool])).tiers[0]


def whole(_target: Target) -> float:
    return 1.0


def test_nobody_is_chosen_from_nobody() -> None:
    assert choose((), whole, lambda: 0.5) is None


def test_seventy_twenty_ten_over_ten_thousand_requests_is_within_two_points() -> None:
    rng = random.Random(1)
    three = targets(70, 20, 10)
    seen = Counter(chosen.name for _ in range(10_000) if (chosen := choose(three, whole, rng.random)))
    for name, percent in (("t0", 70), ("t1", 20), ("t2", 10)):
        assert abs(seen[name] / 100 - percent) < 2


def test_a_share_of_a_tenth_takes_a_tenth_of_the_weight() -> None:
    rng = random.Random(2)
    two = targets(1, 1)
    seen = Counter(
        chosen.name
        for _ in range(11_000)
        if (chosen := choose(two, lambda target: 0.1 if target.name == "t0" else 1.0, rng.random))
    )
    assert abs(seen["t0"] - 1_000) < 200


def test_drained_targets_are_equal_when_only_they_are_left() -> None:
    rng = random.Random(3)
    seen = Counter(chosen.name for _ in range(3_000) if (chosen := choose(targets(0, 0, 0), whole, rng.random)))
    assert all(abs(seen[f"t{index}"] - 1_000) < 150 for index in range(3))


@given(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=8), st.floats(0.1, 1), chances)
def test_a_drained_target_is_never_chosen_while_another_is_there(weights: list[int], share: float, at: float) -> None:
    chosen = choose(targets(*weights), lambda _target: share, lambda: at)
    assert chosen is not None
    assert chosen.weight > 0 or not any(weights)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_asking_again_with_the_rest_is_sampling_without_replacement(weights: list[int], rng: random.Random) -> None:
    rest: Sequence[Target] = targets(*weights)
    order: list[Target] = []
    while (chosen := choose(rest, whole, rng.random)) is not None:
        order.append(chosen)
        rest = [target for target in rest if target is not chosen]
    assert sorted(target.name for target in order) == sorted(f"t{index}" for index in range(len(weights)))
    positive = [target.weight > 0 for target in order]
    assert positive == sorted(positive, reverse=True), "the drained come last"


def test_a_share_of_nothing_is_never_chosen_beside_another() -> None:
    two = targets(1, 1)
    assert choose(two, lambda target: float(target.name == "t1"), lambda: 0.0) is two[1]
