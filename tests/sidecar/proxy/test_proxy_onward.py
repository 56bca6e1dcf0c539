"""Where a request goes when its pool has no answer for it: `fallback.pools`, by reason (B20), and what it holds there.

On virtual time, through the proxy; the providers are played by hand.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import a_config, a_pool, a_provider, a_snapshot, a_target, the_pool
from modelpool_config import callerkeys
from modelpool_config import models as contract
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.outcome import BY_DEFAULT, Outcome
from modelpool_sidecar.core.snapshot import Pool, Snapshot
from virtual import Bench, HeldDownstream

TOO_LONG = {"error": {"code": "context_length_exceeded", "message": "too long", "type": "invalid_request_error"}}
FILTERED = {"error": {"code": "content_policy_violation", "message": "no", "type": "invalid_request_error"}}


def onward(**pools: Sequence[str]) -> tuple[dict[str, Any], ...]:
    return tuple({"when": when, "pools": tuple(names)} for when, names in pools.items())


def fallback(**pools: Sequence[str]) -> dict[str, Any]:
    """One attempt in the pool, and then these."""
    return {"pools": onward(**pools), "max_attempts": 1}


def limit(size: int, per: int = 3_600_000) -> dict[str, Any]:
    return {"requests": ({"name": "few", "max": size, "per": per, "burst": size, "scope": "Sidecar"},)}


def pools(*more: contract.Pool, rules: Mapping[str, Any], **chat: Any) -> Bench:
    """`chat` at primary, with these rules, and other pools, each at the provider of its name."""
    return Bench(a_snapshot([a_pool(fallback=rules, **chat), *more]))


def at(name: str, **changes: Any) -> contract.Pool:
    return a_pool(name, [a_target(name)], **{"fallback": {"max_attempts": 1}, **changes})


def running(bench: Bench) -> dict[str, int]:
    assert bench.snapshot is not None
    return {pool.name: bench.state.in_flight(pool) for pool in bench.snapshot.pools.values() if isinstance(pool, Pool)}


def is_quiet(bench: Bench) -> bool:
    return bench.nothing_is_held() and not any(running(bench).values())


@pytest.mark.parametrize(
    ("status", "body", "when", "goes"),
    [
        (400, TOO_LONG, "ContextLength", True),
        (400, TOO_LONG, "General", False),
        (400, TOO_LONG, "RateLimited", False),
        (400, FILTERED, "ContentPolicy", True),
        (400, FILTERED, "General", False),
        (400, {"error": {"message": "no such field"}}, "General", False),
        (422, {}, "ContextLength", False),
        (429, {}, "RateLimited", True),
        (429, {}, "General", True),
        (429, {}, "ContextLength", False),
        (402, {}, "RateLimited", True),
        (503, {}, "General", True),
        (503, {}, "RateLimited", False),
        (401, {}, "General", True),
    ],
)
def test_a_request_leaves_its_pool_for_its_reason_alone(
    status: int, body: dict[str, Any], when: str, goes: bool
) -> None:
    bench = pools(at("other"), rules={**fallback(**{when: ["other"]}), "max_attempts": 1})
    client = bench.ask()
    bench.upstream.last.answer(body, status)
    assert (bench.upstream.last.provider == "other") == goes
    if goes:
        bench.upstream.last.answer()
        assert client.status == 200
        assert client.headers["x-modelpool-pool"] == "chat"
        assert client.headers["x-modelpool-target"] == "other/other"
        assert client.headers["x-modelpool-attempts"] == "2"
        assert bench.records[0].target == "other/other"
        assert [attempt.target for attempt in bench.records[0].attempts] == ["primary", "other/other"]
    assert is_quiet(bench)


def test_the_pools_own_targets_come_first_and_the_special_reason_before_general() -> None:
    targets = [a_target(), a_target("backup", priority=1)]
    rules = {**fallback(General=["general"], RateLimited=["overflow"]), "max_attempts": 2}
    bench = pools(at("general"), at("overflow"), rules=rules, targets=targets)
    client = bench.ask()
    for _ in range(4):
        bench.upstream.last.answer({}, 429, (("retry-after", "9"), ("content-type", "application/json")))
    assert bench.upstream.asked == ["primary", "backup", "overflow", "general"]
    assert (client.status, client.error_code) == (429, "all_limited")
    assert "4 attempts (primary RateLimited, backup RateLimited, overflow/overflow" in client.json["error"]["message"]
    assert is_quiet(bench)


def test_a_filter_that_ends_an_answer_is_asked_elsewhere_where_the_pool_lists_a_pool_for_it() -> None:
    bench = pools(at("strict"), at("loose"), rules=fallback(ContentPolicy=["strict", "loose"]))
    client = bench.ask()
    for _ in range(2):
        ended = {"choices": [{"index": 0, "message": {"content": ""}, "finish_reason": "content_filter"}]}
        bench.upstream.last.answer(ended)
    bench.upstream.last.answer()
    assert bench.upstream.asked == ["primary", "strict", "loose"]
    assert client.status == 200


def test_a_request_that_is_known_to_be_too_long_for_every_target_goes_at_once() -> None:
    small = a_provider(models=({"name": "primary-model", "context_tokens": 10},))
    chat = a_pool(fallback=fallback(ContextLength=["large"], General=["general"]))
    bench = Bench(a_snapshot([chat, at("general"), at("large")], [a_provider("general"), a_provider("large"), small]))
    body = {"model": "chat", "messages": [{"role": "user", "content": "long " * 100}]}
    client = bench.ask(body)
    assert bench.upstream.asked == ["large"]
    bench.upstream.last.answer()
    assert (client.status, client.headers["x-modelpool-attempts"]) == (200, "1")
    bench.ask(body, headers={"x-modelpool-target": "primary"})
    assert bench.records[-1].refusal == "context_length_exceeded", "who is pinned never falls back"
    assert is_quiet(bench)


def test_what_is_too_long_for_the_large_pool_too_is_told_in_the_words_of_this_pool() -> None:
    def small(name: str) -> contract.Provider:
        return a_provider(name, models=({"name": f"{name}-model", "context_tokens": 10},))

    chat = a_pool(fallback=fallback(ContextLength=["large"]))
    bench = Bench(a_snapshot([chat, at("large")], [small("large"), small("primary")]))
    client = bench.ask({"model": "chat", "messages": [{"role": "user", "content": "long " * 100}]})
    assert (client.status, client.error_code) == (400, "context_length_exceeded")
    assert client.json["error"]["message"].startswith("pool chat: no target can serve")
    assert is_quiet(bench)


def test_targets_that_are_limited_or_cool_are_not_asked_again_before_the_other_pool() -> None:
    bench = pools(at("other"), rules=fallback(RateLimited=["other"]), targets=[a_target(limits=limit(1))])
    for name in ("primary", "other", "other"):
        client = bench.ask()
        assert bench.upstream.last.provider == name
        bench.upstream.last.answer()
        assert client.status == 200
    bench = pools(at("other"), rules={**fallback(General=["other"]), "max_attempts": 1})
    client = bench.ask()
    bench.upstream.last.answer({}, 401)
    bench.upstream.last.answer()
    bench.ask()
    assert bench.upstream.asked == ["primary", "other", "other"]


def test_the_last_resort_is_the_last() -> None:
    """B37: only where no other pool can be asked is a target tried that cools."""
    bench = pools(at("other"), rules={**fallback(General=["other"]), "max_attempts": 1})
    assert bench.snapshot is not None
    targets = [the_pool(bench.snapshot).targets["primary"], the_pool(bench.snapshot, "other").targets["other"]]
    for target in targets:
        health = bench.state.health(target)
        for _ in range(3):
            health.end(health.begin(bench.clock.now()), Outcome.UNREACHABLE, bench.clock.now(), lambda: 0.0)
    client = bench.ask()
    assert bench.upstream.asked == ["primary"]
    bench.upstream.last.answer()
    assert client.status == 200
    assert is_quiet(bench)


def test_a_limit_that_is_to_be_told_is_not_passed_over() -> None:
    """B17: without LocalLimit among the outcomes a request does not spill over."""
    outcomes = tuple(each for each in BY_DEFAULT if each != "LocalLimit")
    rules = {**fallback(RateLimited=["other"]), "outcomes": outcomes}
    bench = pools(at("other"), rules=rules, targets=[a_target(limits=limit(1))])
    bench.ask()
    bench.upstream.last.answer()
    assert bench.ask().error_code == "all_limited"
    assert bench.upstream.asked == ["primary"]


def test_the_limits_of_a_pool_that_is_entered_count_and_its_refusal_leads_on() -> None:
    bench = pools(at("first", limits=limit(1)), at("second"), rules=fallback(RateLimited=["first", "second"]))
    for name in ("first", "second"):
        bench.ask()
        if bench.upstream.last.provider == "primary":
            bench.upstream.last.answer({}, 429, (("retry-after", "60"), ("content-type", "application/json")))
        assert bench.upstream.last.provider == name
        bench.upstream.last.answer()
    assert is_quiet(bench)


def test_when_nobody_is_open_the_earliest_moment_of_all_pools_is_told() -> None:
    """B12."""
    bench = pools(
        at("other", limits=limit(1, 10_000)),
        rules=fallback(RateLimited=["other"]),
        targets=[a_target(limits=limit(1))],
    )
    for _ in range(2):
        bench.ask()
        bench.upstream.last.answer()
    client = bench.ask()
    assert (client.error_code, client.headers["retry-after"]) == ("all_limited", "10")
    assert client.json["error"]["message"].endswith("; pool other in 10.0 s")
    assert is_quiet(bench)


def test_a_pool_that_is_left_holds_nothing_and_gives_back_what_nobody_got() -> None:
    """B9, B10, B11."""
    bench = pools(
        at("first", limits={**limit(5), "concurrency": {"max": 1}}),
        at("second", limits={**limit(5), "concurrency": {"max": 1}}),
        rules=fallback(General=["first", "second"]),
    )
    client = bench.ask()
    while bench.upstream.last.provider != "first":
        bench.upstream.last.error("connect")
        bench.clock.advance(3)
    assert running(bench) == {"chat": 1, "first": 1, "second": 0}
    while bench.upstream.last.provider != "second":
        bench.upstream.last.error("connect")
        bench.clock.advance(3)
    assert running(bench) == {"chat": 1, "first": 0, "second": 1}
    assert client.status is None
    bench.upstream.last.answer()
    assert bench.snapshot is not None
    told = bench.state.describe(bench.snapshot, bench.clock.now())["pools"]
    assert {pool["name"]: [each["remaining"] for each in pool["limits"]] for pool in told} == {
        "chat": [],
        "first": [5],
        "second": [4],
    }
    assert client.headers["x-ratelimit-remaining-requests"] == "4"
    assert is_quiet(bench)


def test_a_client_that_leaves_in_the_other_pool_frees_both() -> None:
    """B31."""
    bench = pools(
        at("other", limits={"requests": (), "concurrency": {"max": 1}}), rules=fallback(RateLimited=["other"])
    )
    client = bench.ask()
    bench.upstream.last.answer({}, 429)
    assert running(bench) == {"chat": 1, "other": 1}
    client.leave()
    assert is_quiet(bench)


def test_the_first_fallback_is_free_and_later_ones_pay() -> None:
    """B18: over all pools together."""
    for targets, asked in (
        ([a_target()], ["primary", "other"]),
        ([a_target(), a_target("backup")], ["primary", "backup"]),
    ):
        rules = {
            **fallback(General=["other"]),
            "max_attempts": len(targets),
            "retry_budget": {"percent": 0, "min_per_second": 0},
        }
        other = a_pool(
            "other", [a_target("other"), a_target("spare")], fallback={"retry_budget": rules["retry_budget"]}
        )
        bench = pools(other, rules=rules, targets=targets)
        client = bench.ask()
        while client.status is None:
            bench.upstream.last.answer({}, 503)
        assert bench.upstream.asked == asked
        assert client.status == 503
        assert is_quiet(bench)


def test_one_deadline_covers_all_pools() -> None:
    """B15."""
    bench = pools(at("other", total=900_000), rules=fallback(General=["other"]), total=30_000)
    client = bench.ask()
    bench.clock.advance(29)
    bench.upstream.last.answer({}, 429)
    assert bench.upstream.last.provider == "other"
    bench.clock.advance(2)
    assert (client.status, client.error_code) == (504, "deadline_exceeded")
    assert is_quiet(bench)


def test_a_pool_of_a_pool_is_entered_too_but_none_twice_and_no_more_than_five() -> None:
    chain = [at(f"p{number}", fallback=fallback(General=[f"p{number + 1}", "p0"])) for number in range(7)]
    bench = pools(*chain, at("p7"), rules={**fallback(General=["p0"]), "max_attempts": 1})
    client = bench.ask()
    while client.status is None:
        bench.upstream.last.answer({}, 429)
    assert [provider for provider in bench.upstream.asked if provider != "primary"] == ["p0", "p1", "p2", "p3", "p4"]
    assert is_quiet(bench)


def test_a_closed_pool_and_one_without_a_target_for_the_request_are_passed_over() -> None:
    closed = contract.ClosedPool(name="shut", models=("shut",), code="no_target", message="none")
    tenant = a_pool("tenant", [a_target("tenant", match_headers=({"name": "x-tenant", "value": "a"},))])
    chat = a_pool(fallback=fallback(General=["shut", "tenant", "other"]))
    snapshot = compile_config(a_config([chat, at("other"), tenant], closed=[closed]))
    bench = Bench(snapshot)
    bench.ask()
    bench.upstream.last.answer({}, 429)
    assert bench.upstream.last.provider == "other"


def test_what_the_other_pool_says_to_the_client_ends_the_way() -> None:
    """B21: the client's own fault as it came."""
    bench = pools(at("first"), at("second"), rules=fallback(RateLimited=["first", "second"]))
    client = bench.ask()
    bench.upstream.last.answer({}, 429)
    bench.upstream.last.answer({"error": {"message": "no such field"}}, 400)
    assert (client.status, client.json) == (400, {"error": {"message": "no such field"}})
    assert bench.upstream.asked == ["primary", "first"]


def test_a_caller_goes_only_where_its_key_opens() -> None:
    """B20: the caller's access rules apply there too."""
    mine, theirs = ({"keys": name, "source": f"Secret {name}"} for name in ("mine", "theirs"))
    chat = a_pool(callers=mine, fallback=fallback(RateLimited=["closed", "open", "same"]))
    everybody = at("open")
    bench = Bench(a_snapshot([chat, at("closed", callers=theirs), everybody, at("same", callers=mine)]))
    texts = {
        name: callerkeys.encode({who: callerkeys.digest(f"key-of-{who}")})
        for name, who in (("mine", "ann"), ("theirs", "bob"))
    }
    bench.proxy._services.callers.replace(texts, bench.clock.now())
    bench.ask(headers={"authorization": "Bearer key-of-ann"})
    for _ in range(2):
        bench.upstream.last.answer({}, 429)
    assert bench.upstream.asked == ["primary", "open", "same"]


_pool_names = ["chat", "a", "b", "c", "d", "e", "f"]
_graphs = st.fixed_dictionaries(
    {
        name: st.dictionaries(
            st.sampled_from(["RateLimited", "ContextLength", "ContentPolicy", "General"]),
            st.lists(st.sampled_from(_pool_names), min_size=1, max_size=4, unique=True),
        )
        for name in _pool_names
    }
)
_answers = st.sampled_from([(400, TOO_LONG), (400, FILTERED), (400, {}), (429, {}), (402, {}), (503, {}), (200, None)])


def _graph(links: dict[str, dict[str, list[str]]]) -> Snapshot:
    return a_snapshot(
        [
            a_pool(
                name,
                [a_target(name), a_target(f"{name}2")],
                fallback={**fallback(**links[name]), "max_attempts": 2},
                limits=limit(3),
            )
            for name in _pool_names
        ]
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_graphs, st.lists(_answers, max_size=40), st.integers(0, 2**32))
def test_any_graph_of_pools_is_walked_to_an_end_and_holds_nothing_after_it(
    links: dict[str, dict[str, list[str]]], answers: list[tuple[int, Any]], seed: int
) -> None:
    bench = Bench(_graph(links), rng=random.Random(seed).random)
    clients: list[HeldDownstream] = []
    for _ in range(2):
        client, before = bench.ask(), len(bench.upstream.attempts)
        clients.append(client)
        for _ in range(60):
            if client.status is not None:
                break
            if bench.upstream.attempts and bench.upstream.last.open:
                status, body = answers.pop() if answers else (503, {})
                bench.upstream.last.answer(body, status)
            else:
                bench.clock.advance(1)
        asked = bench.upstream.asked[max(0, before - 1) :]
        assert len({name[0] for name in asked}) <= 6, "the pool and five others"
        assert all(asked.count(name) <= 2 for name in set(asked)), "as often as the pool itself allows"
    assert all(client.status is not None for client in clients)
    assert is_quiet(bench)


PLACE = {"requests": (), "concurrency": {"max": 1, "queue": {"max": 5, "timeout": 60_000}}}


def test_a_place_that_becomes_free_in_another_pool_goes_to_who_waits_for_it() -> None:
    """B8, B11: whether the pool is left for the next one or has given the answer."""
    for leaves in (True, False):
        bench = pools(at("first", limits=PLACE), at("second"), rules=fallback(RateLimited=["first", "second"]))
        bench.ask()
        bench.upstream.last.answer({}, 429)
        waiting = bench.ask({"model": "first", "messages": []})
        assert (running(bench)["first"], waiting.status) == (1, None)
        held = bench.upstream.last
        held.answer({} if leaves else None, 503 if leaves else 200)
        assert running(bench)["first"] == 1, "it is held by who waited"
        for attempt in bench.upstream.attempts:
            if attempt.open:
                attempt.answer()
        assert waiting.status == 200
        assert is_quiet(bench)


def test_nobody_waits_for_a_place_in_another_pool() -> None:
    bench = pools(at("first", limits=PLACE), at("second"), rules=fallback(RateLimited=["first", "second"]))
    for provider in ("first", "second"):
        bench.ask()
        if bench.upstream.last.provider == "primary":
            bench.upstream.last.answer({}, 429, (("retry-after", "60"), ("content-type", "application/json")))
        assert bench.upstream.last.provider == provider


@pytest.mark.parametrize(
    ("path", "method", "body"),
    [
        ("/v1/files/file-a", "GET", b""),
        ("/v1/batches", "POST", {"input_file_id": "file-a"}),
        ("/v1/responses", "POST", {"model": "chat", "input": "hi", "previous_response_id": "resp_1"}),
        ("/v1/responses", "POST", {"model": "chat", "input": "hi", "background": True}),
    ],
)
def test_what_is_kept_at_one_target_never_goes_to_another_pool(path: str, method: str, body: Any) -> None:
    """B15a: an id of one provider means nothing at another one, and must not be shown to it."""
    bench = pools(
        at("other"),
        rules=fallback(General=["other"], RateLimited=["other"], ContextLength=["other"]),
        stateful={"target": "primary"},
    )
    for status, said in ((503, {}), (429, {}), (400, TOO_LONG)):
        client = bench.ask(body, path=path, method=method)
        if client.status is None:
            bench.upstream.last.answer(said, status)
        assert client.status is not None
    assert set(bench.upstream.asked) == {"primary"}
    assert is_quiet(bench)


def test_each_pool_that_counts_tokens_settles_what_was_used() -> None:
    """B10: the pool that was asked counts all of it, one that was left what was used there, and nobody the estimate."""
    tokens = {"tokens": ({"name": "all", "max": 1_000, "per": 86_400_000, "burst": 1_000, "scope": "Sidecar",
                          "count": "Total"},)}  # fmt: skip
    for chat in ({"limits": tokens}, {}):
        bench = pools(
            at("first", limits=tokens),
            at("second", limits=tokens),
            rules=fallback(RateLimited=["first", "second"]),
            **chat,
        )
        bench.ask()
        for _ in range(2):
            bench.upstream.last.answer({}, 429)
        [exchange] = bench.proxy.running
        assert exchange.outlook().blocks.keys() == {"primary"}
        assert repr(exchange._dispatch) == "<Journey chat -> first -> second: 3 attempts>"
        bench.upstream.last.answer()
        assert bench.snapshot is not None
        told = bench.state.describe(bench.snapshot, bench.clock.now())["pools"]
        left = {pool["name"]: [each["burst"] - each["remaining"] for each in pool["limits"]] for pool in told}
        assert left == {"chat": [8] if chat else [], "first": [0], "second": [8]}
        assert is_quiet(bench)
