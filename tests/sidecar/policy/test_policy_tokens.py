"""Limits on tokens: reserved by an estimate, settled with what was used (B10), in buckets that take any amount."""

from fractions import Fraction
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_pool, a_snapshot, a_target, the_pool
from modelpool_sidecar.core import estimate
from modelpool_sidecar.core.allowance import Asker, Size, TokenLimit, Tokens
from modelpool_sidecar.core.estimate import Estimates
from modelpool_sidecar.core.gcra import Gcra, Shape
from modelpool_sidecar.core.limits import Limited, Permit
from modelpool_sidecar.core.record import Usage
from modelpool_sidecar.core.request import Request, parse
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.core.state import State

NOW = 1_000.0
shapes = st.tuples(st.integers(1, 1_000), st.integers(1, 100), st.integers(1, 500))
pauses = st.integers(0, 3_000_000)


def tokens(name: str = "minute", **changes: Any) -> dict[str, Any]:
    size = {"max": 1_000, "per": 60_000, "burst": 1_000, "scope": "Sidecar", "count": "Total"}
    return {"name": name, **size, **changes}


def pool_of(*limits: dict[str, Any], **more: Any) -> Pool:
    return the_pool(a_snapshot([a_pool(limits={"tokens": limits, **more})]))


def asks(inputs: int, outputs: int = 0) -> Asker:
    return Asker(tokens=Tokens(inputs, outputs))


def left(state: State, pool: Pool, now: float = NOW) -> list[int]:
    return [state.levels.describe(limit, now)["remaining"] for limit in pool.request_limits]


def admit(state: State, pool: Pool, asker: Asker, now: float = NOW) -> Permit:
    permit = state.admit(pool, now, asker)
    assert isinstance(permit, Permit), permit
    return permit


def request(body: dict[str, Any], path: str = "/v1/chat/completions") -> Request:
    headers = (("host", "localhost"), ("content-type", "application/json"))
    parsed = parse("POST", path, headers, orjson.dumps({"model": "chat", **body}))
    assert isinstance(parsed, Request)
    return parsed


# -- buckets


class Tank:
    """The same bucket as a tank of exact fractions."""

    def __init__(self, maximum: int, per: int, burst: int) -> None:
        self.rate, self.burst, self.level, self.at = Fraction(maximum, per), burst, Fraction(0), Fraction(0)

    def wait(self, now: Fraction, amount: int) -> Fraction:
        self.level, self.at = max(Fraction(0), self.level - (now - self.at) * self.rate), now
        return max(Fraction(0), (self.level + amount - self.burst) / self.rate)


@given(shapes, st.lists(st.tuples(pauses, st.integers(0, 600)), max_size=80))
def test_any_amounts_are_admitted_exactly_as_by_the_exact_model(
    shape: tuple[int, int, int], steps: list[tuple[int, int]]
) -> None:
    bucket, tank, micros = Gcra(Shape.of(*shape)), Tank(*shape), 10**12
    for pause, amount in steps:
        micros += pause
        now = micros / 1_000_000
        exact = tank.wait(Fraction(micros, 1_000_000), amount)
        assert (bucket.wait(now, amount) == 0) == (exact == 0)
        assert 0 <= bucket.wait(now, amount) - exact <= Fraction(1, 900_000)
        if exact == 0:
            bucket.take(now, amount)
            tank.level += amount


# -- reserve and settle


def test_what_was_reserved_too_much_is_given_back_and_what_was_used_beyond_is_taken() -> None:
    state, pool = State(), pool_of(tokens(), tokens("in", count="Input"), tokens("out", count="Output"))
    permit = admit(state, pool, asks(100, 200))
    assert left(state, pool) == [700, 900, 800]
    permit.settle(Tokens(120, 30), NOW)
    assert left(state, pool) == [850, 880, 970]
    permit.settle(Tokens(120, 30), NOW)
    assert left(state, pool) == [850, 880, 970], "twice changes nothing"
    permit.refund(NOW)
    assert left(state, pool) == [1_000] * 3
    permit.settle(Tokens(5, 5), NOW)
    assert left(state, pool) == [1_000] * 3, "it is as if it had not been"


def test_a_limit_on_requests_counts_one_whatever_the_tokens() -> None:
    requests = ({"name": "minute", "max": 9, "per": 60_000, "burst": 9, "scope": "Sidecar"},)
    state, pool = State(), pool_of(requests=requests)
    permit = admit(state, pool, asks(100, 200))
    permit.settle(Tokens(10, 10), NOW)
    assert left(state, pool) == [8]


def test_what_was_used_beyond_a_bucket_is_a_debt_that_the_next_ones_wait_for() -> None:
    state, pool = State(), pool_of(tokens())
    admit(state, pool, asks(10, 10)).settle(Tokens(10, 2_990), NOW)
    refused = state.admit(pool, NOW, asks(100))
    assert isinstance(refused, Limited)
    assert (refused.kind, refused.asked, refused.retry_after) == ("tokens", 100, 126.0)


def test_a_bucket_that_was_forgotten_while_an_answer_went_on_still_learns_what_was_used() -> None:
    state, pool = State(), pool_of(tokens(by="Header", header="x-tenant"))
    asker = Asker((("x-tenant", "a"),), tokens=Tokens(10, 10))
    permit = admit(state, pool, asker)
    for key in list(state.levels.buckets):
        state.levels.buckets.forget(key)
    permit.settle(Tokens(10, 890), NOW)
    assert isinstance(state.admit(pool, NOW, Asker((("x-tenant", "a"),), tokens=Tokens(200))), Limited)


def test_an_output_that_is_only_guessed_never_shuts_a_small_bucket() -> None:
    state, pool = State(), pool_of(tokens(burst=50, count="Output"), tokens("both", burst=50))
    permit = admit(state, pool, asks(10, 5_000))
    assert left(state, pool) == [0, 0]
    permit.settle(Tokens(10, 20), NOW)
    assert left(state, pool) == [30, 20]


def test_an_input_above_the_burst_is_refused_for_good_and_a_request_that_waits_long_enough_is_not() -> None:
    state, pool = State(), pool_of(tokens(burst=100))
    refused = state.admit(pool, NOW, asks(101))
    assert isinstance(refused, Limited)
    assert (refused.never, refused.max, refused.asked) == (True, 100, 101)
    admit(state, pool, asks(100))


def test_a_share_smaller_than_a_request_lets_it_pass_when_it_is_whole() -> None:
    state, pool = State(sidecars=100), pool_of(tokens(scope="Divided"))
    admit(state, pool, asks(500, 500))
    refused = state.admit(pool, NOW, asks(1))
    assert isinstance(refused, Limited)
    assert refused.retry_after == pytest.approx(491 * 6, abs=6), "what was too much is paid off first"


def test_headers_tell_the_tightest_limit_of_each_unit() -> None:
    requests = ({"name": "minute", "max": 9, "per": 60_000, "burst": 9, "scope": "Sidecar"},)
    state, pool = State(), pool_of(tokens(), tokens("big", max=9_000, burst=9_000), requests=requests)
    assert dict(admit(state, pool, asks(100, 100)).headers) == {
        "x-ratelimit-limit-requests": "9",
        "x-ratelimit-remaining-requests": "8",
        "x-ratelimit-reset-requests": "7s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "800",
        "x-ratelimit-reset-tokens": "12s",
    }


def test_a_token_limit_may_have_the_name_of_one_on_requests() -> None:
    requests = ({"name": "minute", "max": 9, "per": 60_000, "burst": 9, "scope": "Sidecar"},)
    state, pool = State(), pool_of(tokens(), requests=requests)
    admit(state, pool, asks(100, 100))
    assert left(state, pool) == [8, 800]
    assert state.levels.describe(pool.request_limits[1], NOW)["count"] == "Total"


# -- estimates


@pytest.mark.parametrize(
    ("body", "path", "expected"),
    [
        ({"messages": [{"role": "user", "content": "x" * 400}]}, "/v1/chat/completions", Size(404, 0, None)),
        ({"messages": [], "max_tokens": 9, "n": 3}, "/v1/chat/completions", Size(0, 0, 27)),
        ({"input": ["abcd", "efgh"]}, "/v1/embeddings", Size(8, 0, 0)),
        ({"prompt": [1, 2, 3]}, "/v1/completions", Size(12, 0, None)),
        ({"input": "hello", "max_output_tokens": 5}, "/v1/responses", Size(5, 0, 5)),
    ],
)
def test_the_size_of_a_request_is_read_from_its_body(body: dict[str, Any], path: str, expected: Size) -> None:
    assert estimate.size(request(body, path)) == expected


def test_pictures_and_sounds_count_a_constant_and_a_body_that_is_no_json_nothing() -> None:
    parts = [{"type": "image_url", "image_url": {"url": "data:" + "x" * 9_000}}, {"type": "input_audio"}, {"type": "t"}]
    found = estimate.size(request({"messages": [{"role": "user", "content": parts}]}))
    assert (found.fixed, found.text < 100) == (1_400, True)
    headers = (("host", "localhost"),)
    listed = parse("GET", "/v1/models", headers, b"")
    assert isinstance(listed, Request)
    assert estimate.size(listed) == Size(0, 0, 0)


def test_a_models_own_usage_corrects_the_estimate_within_its_bounds() -> None:
    pool = the_pool(a_snapshot([a_pool(targets=[a_target(), a_target("backup")])]))
    target, other = pool.targets.values()
    estimates, asked = Estimates(), Size(8_000, 0, 0)
    assert estimates.of_pool(pool, asked) == Tokens(2_000, 0)
    for _ in range(200):
        estimates.learn(pool, target, asked, Usage(input_tokens=10))
    assert estimates.of_target(pool, target, asked).input == pytest.approx(1_000, abs=1), "never above 8"
    assert estimates.of_target(pool, other, asked).input == 2_000
    for _ in range(200):
        estimates.learn(pool, other, asked, Usage(input_tokens=10**6))
    assert estimates.of_target(pool, other, asked).input == pytest.approx(4_000, abs=1), "never below 2"
    assert estimates.of_pool(pool, asked).input == pytest.approx(1_600, abs=2)
    estimates.learn(pool, target, Size(10, 0, 0), Usage(input_tokens=10))
    assert estimates.of_target(pool, target, asked).input == pytest.approx(1_000, abs=1), "a short text says nothing"
    assert repr(estimates) == "<Estimates of 2 models, 0 pools>"


def test_the_output_is_what_nine_of_ten_stay_below_or_what_is_asked_for() -> None:
    pool = the_pool(a_snapshot())
    target, estimates = pool.targets["primary"], Estimates()
    assert estimates.of_pool(pool, Size(0, 0, None)).output == estimate.UNKNOWN_OUTPUT
    assert estimates.of_pool(pool, Size(0, 0, 10)).output == 10
    for length in range(1, 301):
        estimates.learn(pool, target, Size(0, 0, None), Usage(output_tokens=length))
    assert estimates.of_pool(pool, Size(0, 0, None)).output == 288, "of the newest 128"
    assert estimates.of_pool(pool, Size(0, 0, 9_999)).output == 288


def test_what_no_snapshot_mentions_is_forgotten() -> None:
    state, pool = State(), the_pool(a_snapshot())
    state.estimates.learn(pool, pool.targets["primary"], Size(999, 0, 0), Usage(5, 5))
    state.retain(a_snapshot())
    assert repr(state.estimates) == "<Estimates of 1 models, 1 pools>"
    state.retain(a_snapshot([]))
    assert repr(state.estimates) == "<Estimates of 0 models, 0 pools>"


# -- divided


@given(
    st.integers(1, 12),
    st.integers(1, 600),
    st.integers(1, 600),
    st.sampled_from(["Total", "Input", "Output"]),
    st.lists(
        st.tuples(
            st.integers(0, 20_000), st.integers(0, 11), st.integers(0, 90), st.integers(0, 90), st.integers(0, 3)
        ),
        min_size=1,
        max_size=120,
    ),
)
def test_sidecars_that_divide_a_limit_on_tokens_let_pass_no_more_than_the_page_says(
    count: int, maximum: int, burst: int, counted: str, requests: list[tuple[int, int, int, int, int]]
) -> None:
    """B13: in any stretch of time at most the larger of burst and n times the largest input, plus time * max / per, of
    what is really used where no answer uses more than was reserved; n sidecars, any traffic, answers that overlap."""
    pool = pool_of(tokens(max=maximum, burst=burst, scope="Divided", count=counted))
    [limit] = pool.request_limits
    assert isinstance(limit, TokenLimit)
    sidecars, milliseconds = [State(sidecars=count) for _ in range(count)], 10**6
    passed: list[list[int]] = []
    running: list[tuple[Permit, Tokens, int]] = []
    for pause, which, inputs, outputs, ended in requests:
        milliseconds += pause
        now = milliseconds / 1000
        for permit, reserved, index in running[:ended]:
            used = Tokens(reserved.input // 2, reserved.output // 3)
            permit.settle(used, now)
            permit.release()
            passed[index][1] = min(passed[index][1], used.amounts[limit.counted])
        del running[:ended]
        permit_or_not = sidecars[which % count].admit(pool, now, asks(inputs, outputs))
        if isinstance(permit_or_not, Permit):
            running.append((permit_or_not, Tokens(inputs, outputs), len(passed)))
            share = max(1, burst // count)
            passed.append([milliseconds, limit.amount(Tokens(inputs, outputs), share)])
    largest = max(1, *(inputs for _, _, inputs, _, _ in requests)) if counted != "Output" else 1
    for index, (first, _) in enumerate(passed):
        total = 0
        for last, amount in passed[index:]:
            total += amount
            assert total <= max(burst, count * largest) + Fraction(last - first, 60_000) * maximum
