"""What an answer's rate limit headers do to a target's share (B39), and that they are found by account (B22, B48)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_config, a_pool, a_provider, a_snapshot, a_target, the_pool
from modelpool_sidecar.core import ratelimits
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.ratelimits import MAX_KINDS, PLENTY, Left
from modelpool_sidecar.core.shaping import EMPTY, EMPTY_SECONDS, FLOOR, Shape
from modelpool_sidecar.core.state import State
from virtual import JSON, Bench, a_completion

WALL = 1_800_000_000.0
Headers = tuple[tuple[str, str], ...]


def openai(remaining: float, limit: float = 100, reset: str = "60s", kind: str = "requests") -> Headers:
    return (
        (f"x-ratelimit-limit-{kind}", str(limit)),
        (f"x-ratelimit-remaining-{kind}", str(remaining)),
        (f"x-ratelimit-reset-{kind}", reset),
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("120ms", 0.12),
        ("1m30.5s", 90.5),
        ("2µs", 2e-6),
        ("1h", 600.0),
        ("17", 17.0),
        (" 1.5 ", 1.5),
        ("-3", 0.0),
        (str(int(WALL) + 20), 20.0),
        (str(int(WALL + 20) * 1000), 20.0),
        ("2027-01-15T08:00:30Z", 30.0),
        ("2027-01-15T09:00:30+01:00", 30.0),
        ("2027-01-15T08:00:30", 30.0),
        ("2020-01-01T00:00:00Z", 0.0),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("6m0", None),
    ],
)
def test_a_reset_is_read_in_every_form_that_providers_use(text: str, seconds: float | None) -> None:
    read = ratelimits.seconds(text, WALL)
    assert read == (None if seconds is None else pytest.approx(seconds))


ANTHROPIC = (
    ("anthropic-ratelimit-input-tokens-limit", "40000"),
    ("anthropic-ratelimit-input-tokens-remaining", "4000"),
    ("anthropic-ratelimit-input-tokens-reset", "2027-01-15T08:00:30Z"),
    ("anthropic-ratelimit-requests-limit", "50"),
    ("anthropic-ratelimit-requests-remaining", "49"),
    ("anthropic-ratelimit-requests-reset", "2027-01-15T08:00:01Z"),
)


@pytest.mark.parametrize(
    ("headers", "read"),
    [
        ((), []),
        (JSON, []),
        (openai(20, reset="30s"), [Left("requests", 100, 20, 30.0)]),
        (openai(90, reset="never read"), [Left("requests", 100, 90, 0.0)]),
        (openai(20)[:2], [Left("requests", 100, 20, 60.0)]),
        (openai(20, reset="garbage"), [Left("requests", 100, 20, 60.0)]),
        (ANTHROPIC, [Left("input-tokens", 40_000, 4_000, 30.0), Left("requests", 50, 49, 0.0)]),
        (openai(-1), []),
        (openai(0, 0), []),
        (openai(5)[1:], []),
        (openai(5)[::2], []),
        ((("x-ratelimit-limit-requests", "many"), ("x-ratelimit-remaining-requests", "some")), []),
        ((("x-ratelimit-model", "x"), ("anthropic-ratelimit-unified", "x")), []),
        (openai(2, kind="tokens-minute"), [Left("tokens-minute", 100, 2, 60.0)]),
    ],
)
def test_what_an_answer_says_is_read_and_garbage_says_nothing(headers: Headers, read: list[Left]) -> None:
    assert list(ratelimits.read(headers, WALL)) == read


def test_of_too_many_kinds_the_first_count_and_the_first_of_two_equal_headers() -> None:
    many = [header for index in range(50) for header in openai(1, kind=f"k{index}")]
    assert len(ratelimits.read(tuple(many), WALL)) == MAX_KINDS
    assert [left.remaining for left in ratelimits.read((*openai(7), *openai(9)), WALL)] == [7]


def shape(*said: Left, now: float = 0.0) -> Shape:
    made = Shape()
    made.hear(said, now)
    return made


@pytest.mark.parametrize(
    ("remaining", "share"),
    [(100, 1.0), (40, 1.0), (20, FLOOR + (1 - FLOOR) / 2), (4, FLOOR + (1 - FLOOR) / 10), (0, EMPTY)],
)
def test_the_share_is_full_while_there_is_plenty_and_falls_in_proportion(remaining: float, share: float) -> None:
    assert shape(Left("requests", 100, remaining, 60.0)).share(0.0) == pytest.approx(share)


def test_an_empty_limit_is_left_alone_for_a_short_time_and_then_comes_back_over_its_resets() -> None:
    empty = shape(Left("requests", 100, 0, 60.0))
    assert empty.share(0.0) == EMPTY
    assert empty.share(EMPTY_SECONDS - 0.01) == pytest.approx(EMPTY)
    assert EMPTY < empty.share(EMPTY_SECONDS) < 0.2
    assert empty.share(60.0) == pytest.approx(0.5, abs=0.01)
    assert empty.share(120.0) == 1.0
    assert shape(Left("requests", 100, 0, 2.0)).share(2.0) > 0.4, "a reset that is sooner ends the waiting"


@given(
    st.lists(
        st.tuples(st.floats(0.0, 30.0), st.integers(0, 100), st.floats(0.0, 600.0), st.sampled_from([50.0, 100.0])),
        min_size=1,
        max_size=30,
    )
)
def test_whatever_is_heard_the_share_stays_in_its_bounds_and_only_time_raises_it(
    heard: list[tuple[float, int, float, float]],
) -> None:
    made, now = Shape(), 0.0
    for wait, remaining, reset, limit in heard:
        now += wait
        before = made.share(now)
        made.hear([Left("requests", limit, min(remaining, limit), reset)], now)
        assert EMPTY <= made.share(now) <= before + 1e-9, "an answer lowers it, or leaves it as it is"
        later = [made.share(now + step * 7.0) for step in range(10)]
        assert later == sorted(later), "time raises it"
    assert made.share(now + 3 * 600.0) == 1.0
    assert made.describe(now + 3 * 600.0) is None


def test_the_tightest_of_several_limits_counts_and_is_told() -> None:
    made = shape(Left("requests", 100, 20, 30.0), Left("tokens", 1000, 40, 50.0))
    assert made.describe(10.0) == {
        "share": round(made.share(10.0), 3), "by": "tokens", "remaining": 40, "limit": 1000, "reset": 40.0,
    }  # fmt: skip
    assert repr(made).endswith("by requests, tokens>")
    made.hear([Left("tokens", 1000, 900, 0.0)], 10.0)
    assert repr(made).endswith("by requests>")
    assert (made.describe(31.0) or {}).keys() == {"share"}, "it comes back; nothing holds it any more"
    assert repr(Shape()) == "<Shape 1 by nothing>"


def test_another_models_limit_of_the_same_kind_does_not_overwrite_it() -> None:
    """Two models of one account say different limits in turn: the share must not jump between them."""
    made = shape(Left("requests", 100, 4, 60.0))
    low = made.share(0.0)
    made.hear([Left("requests", 5000, 4900, 0.0)], 0.5)
    assert made.share(0.5) == pytest.approx(low, abs=0.05)


def test_limits_that_change_their_size_all_the_time_are_not_collected() -> None:
    made = Shape()
    for size in range(100, 200):
        made.hear([Left("requests", size, 1, 600.0)], 0.0)
    assert repr(made).count("requests") == MAX_KINDS


# -- in the state and in the proxy


def test_a_target_that_runs_short_takes_less_and_its_twin_in_the_domain_too() -> None:
    providers = [a_provider("a", quota_domain="team"), a_provider("b", quota_domain="team"), a_provider("c")]
    snapshot = a_snapshot([a_pool(targets=[a_target("a"), a_target("b"), a_target("c")])], providers)
    state, targets = State(), the_pool(snapshot).targets
    state.shaping.hear(targets["a"], openai(10), 5.0, WALL)
    assert [round(state.share(targets[name], 5.0), 3) for name in "abc"] == [0.287, 0.287, 1.0]
    told = state.describe(snapshot, 5.0)["pools"][0]["targets"]
    assert [(target["share"], (target["shaped"] or {}).get("by")) for target in told] == [
        (0.287, "requests"), (0.287, "requests"), (1.0, None),
    ]  # fmt: skip


def test_a_reload_keeps_the_shape_of_an_account_and_forgets_one_that_is_gone() -> None:
    snapshot = a_snapshot([a_pool(targets=[a_target("a"), a_target("b")])])
    state, targets = State(), the_pool(snapshot).targets
    for target in targets.values():
        state.shaping.hear(target, openai(10), 5.0, WALL)
    assert repr(state.shaping) == "<Shaping of 2 accounts>"
    state.retain(a_snapshot([a_pool(targets=[a_target("a", weight=7)])]))
    assert repr(state.shaping) == "<Shaping of 1 accounts>"
    assert state.share(targets["a"], 5.0) < 0.3
    assert state.share(targets["b"], 5.0) == 1.0


def test_plenty_keeps_nothing_and_neither_does_silence() -> None:
    target = the_pool(a_snapshot()).targets["primary"]
    state = State()
    state.shaping.hear(target, openai(100 * PLENTY), 5.0, WALL)
    state.shaping.hear(target, JSON, 5.0, WALL)
    assert repr(state.shaping) == "<Shaping of 0 accounts>"
    assert state.shaping.describe(target, 5.0) is None


@pytest.mark.parametrize("status", [200, 429, 500])
def test_headers_of_every_answer_count(status: int) -> None:
    bench = Bench(compile_config(a_config([a_pool(targets=[a_target(), a_target("spare", priority=1)])])))
    bench.ask()
    bench.upstream.last.answer(a_completion() if status == 200 else {}, status, (*JSON, *openai(10)))
    assert bench.snapshot is not None
    target = the_pool(bench.snapshot).targets["primary"]
    assert bench.state.shaping.share(target, bench.clock.now()) == pytest.approx(0.2875)


def test_nobody_is_shaped_away_where_no_other_target_is() -> None:
    bench = Bench(compile_config(a_config()))
    for _ in range(5):
        client = bench.ask()
        bench.upstream.last.answer(a_completion(), 200, (*JSON, *openai(0)))
        assert client.status == 200
        assert not any(name.startswith("x-ratelimit") for name in client.headers)


def test_a_target_that_people_drained_does_not_take_over_from_an_empty_one() -> None:
    """B2: weight 0 serves only where no other target is available; an empty account is available."""
    draws = iter(range(1000))
    targets = [a_target("main"), a_target("old", weight=0)]
    bench = Bench(compile_config(a_config([a_pool(targets=targets)])), rng=lambda: next(draws) % 10 / 10)
    for _ in range(10):
        bench.ask()
        bench.upstream.last.answer(a_completion(), 200, (*JSON, *openai(0)))
    assert set(bench.upstream.asked) == {"main"}
