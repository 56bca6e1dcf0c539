"""The walk over targets: what is said at the end, and what happens where everything cools (B21, B37)."""

from typing import Any

import pytest

from builders import a_pool, a_provider, a_snapshot, a_target, an_api_key, the_pool
from dispatch_walk import NEVER_REPEATED, Walk, cool, two
from modelpool_sidecar.core.dispatch import Try
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.verdict import Failure


def test_when_everything_cools_one_request_tries_the_soonest_and_the_others_wait() -> None:
    walk = Walk(two())
    cool(walk, "primary", Outcome.UNREACHABLE, times=3)
    walk.now += 1
    cool(walk, "backup", Outcome.UNREACHABLE, times=3)
    first = walk.next()
    assert isinstance(first, Try)
    assert first.target.name == "primary"
    refusal = Walk(walk.snapshot, walk.state, now=walk.now).refusal()
    assert (refusal.code, refusal.status, refusal.should_retry) == ("all_cooling", 503, None)
    assert refusal.retry_after == pytest.approx(4.0)
    walk.dispatch.abandon(walk.now)
    assert isinstance(Walk(walk.snapshot, walk.state, now=walk.now).next(), Try)


def test_last_resort_refuse_never_tries() -> None:
    walk = Walk(a_snapshot([a_pool(last_resort="Refuse")]))
    cool(walk, "primary", Outcome.UNREACHABLE, times=3)
    assert walk.refusal().code == "all_cooling"


def test_known_waits_are_answered_at_once_with_the_smallest() -> None:
    walk = Walk(two())
    cool(walk, "primary", Outcome.RATE_LIMITED, retry_after=20.0)
    cool(walk, "backup", Outcome.QUOTA_EXHAUSTED)
    refusal = walk.refusal()
    assert (refusal.code, refusal.status) == ("all_limited", 429)
    assert refusal.retry_after == pytest.approx(20.0)


def test_a_refused_credential_is_answered_at_once_and_names_where_it_is_kept() -> None:
    snapshot = a_snapshot(None, [a_provider(auth=an_api_key(), base_url="https://api.example/v1")])
    walk = Walk(snapshot)
    cool(walk, "primary", Outcome.DENIED)
    refusal = walk.refusal()
    assert (refusal.code, refusal.status) == ("upstream_auth_error", 502)
    assert "provider primary" in refusal.message
    assert "Secret openai, key api-key" in refusal.message


def test_a_last_resort_at_a_full_provider_gives_its_place_back() -> None:
    snapshot = a_snapshot(None, [a_provider(connections={"max_open": 1, "idle_timeout": 0})])
    walk = Walk(snapshot)
    held = walk.state.caps.begin(the_pool(snapshot).targets["primary"], walk.now)
    cool(walk, "primary", Outcome.UNREACHABLE, times=3)
    assert walk.refusal().code == "all_limited"
    held.release(walk.now)
    assert isinstance(Walk(snapshot, walk.state, now=walk.now).next(), Try)


def test_a_key_that_is_not_there_yet_is_named_as_people_know_it() -> None:
    refusal = Walk(two(), ready=lambda _target: False).refusal()
    assert refusal.code == "credential_pending"
    keys = "(Secret openai, key api-key and Secret team, key name)"
    assert f"a key is on its way: primary has no key yet {keys}; backup has no key yet {keys}" in refusal.message


@pytest.mark.parametrize(
    ("providers", "ready", "code"),
    [
        ([a_provider(traffic="Drained")], True, "drained"),
        ([a_provider(auth=an_api_key())], False, "credential_pending"),
    ],
)
def test_a_pool_that_cannot_start_says_why(providers: list[Any], ready: bool, code: str) -> None:
    walk = Walk(a_snapshot(None, providers), ready=lambda _target: ready)
    assert walk.refusal().code == code


# -- what is said at the end (B21)


def mixed(*failures: tuple[Outcome, int | None]) -> Failure | Refusal:
    names = ["primary", "backup", "third"][: len(failures)]
    targets = [a_target(name, priority=index) for index, name in enumerate(names)]
    walk = Walk(a_snapshot([a_pool(targets=targets, fallback={"same_target": NEVER_REPEATED})]))
    for outcome, status in failures:
        walk.tried = walk.next()  # type: ignore[assignment]  # there is one attempt for each failure
        walk.fail(outcome, status, body=b"{}" if status else b"", retry_after=7.0 if status == 429 else None)
    return walk.answer()


@pytest.mark.parametrize(
    ("failures", "told"),
    [
        ([(Outcome.FAILED, 500), (Outcome.FAILED, 503)], 503),
        ([(Outcome.FAILED, 500), (Outcome.UNREACHABLE, None)], 500),
        ([(Outcome.FAILED, 409), (Outcome.UNREACHABLE, None)], 409),
        ([(Outcome.RATE_LIMITED, 429), (Outcome.FAILED, 500)], 500),
        ([(Outcome.RATE_LIMITED, 429), (Outcome.RATE_LIMITED, 429)], "all_limited"),
        ([(Outcome.QUOTA_EXHAUSTED, 402), (Outcome.RATE_LIMITED, 429)], "all_limited"),
        ([(Outcome.DENIED, 401), (Outcome.UNREACHABLE, None)], "upstream_auth_error"),
        ([(Outcome.DENIED, 401), (Outcome.FAILED, 500)], 500),
        ([(Outcome.TIMED_OUT, None), (Outcome.TIMED_OUT, None)], "deadline_exceeded"),
        ([(Outcome.UNSUPPORTED, 404), (Outcome.UNSUPPORTED, 404)], "upstream_unsupported"),
        ([(Outcome.UNREACHABLE, None), (Outcome.UNREACHABLE, None)], "upstream_unreachable"),
        ([(Outcome.UNREACHABLE, None), (Outcome.BROKEN, None)], "upstream_error"),
        ([(Outcome.FAILED, 500), (Outcome.REJECTED, 400)], 400),
        ([(Outcome.UNREACHABLE, None), (Outcome.EMPTY, 200)], "upstream_error"),
    ],
)
def test_the_answer_after_all_attempts_says_the_most_that_is_known(
    failures: list[tuple[Outcome, int | None]], told: int | str
) -> None:
    answer = mixed(*failures)
    assert (answer.code if isinstance(answer, Refusal) else answer.status) == told
