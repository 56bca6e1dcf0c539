"""A request on its way through pools to a target behind them: who may pass, what is taken and given back (B7 to B11,
B20, B41). On virtual time, through the proxy.
"""

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import a_chain, a_config, a_pool, a_pool_target, a_provider, a_snapshot, a_target, the_pool
from modelpool_config import callerkeys
from modelpool_sidecar.core.callers import Register
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.outcome import BY_DEFAULT
from modelpool_sidecar.core.snapshot import Pool, Snapshot
from virtual import Bench, a_completion

KEY, OTHER = "caller-canary-0123456789", "caller-canary-9876543210"


def limit(size: int, **more: Any) -> dict[str, Any]:
    return {"name": "few", "max": size, "per": 3_600_000, "burst": size, "scope": "Sidecar", **more}


def of_requests(size: int, **more: Any) -> dict[str, Any]:
    return {"requests": (limit(size, **more),)}


def two_levels(inner: dict[str, Any] | None = None, entry: dict[str, Any] | None = None, **chat: Any) -> Snapshot:
    """`chat` is the pool `near` (east, west) and, when nobody there can be asked, `far`."""
    near = a_pool("near", [a_target("east"), a_target("west", priority=1)], **(inner or {}))
    outer = a_chain("chat", a_pool_target("near", **(entry or {})), a_target("far", priority=1), **chat)
    return a_snapshot([near, outer])


def running(bench: Bench) -> dict[str, int]:
    assert bench.snapshot is not None
    return {pool.name: bench.state.in_flight(pool) for pool in bench.snapshot.pools.values() if isinstance(pool, Pool)}


def is_quiet(bench: Bench) -> bool:
    return bench.nothing_is_held() and not any(running(bench).values())


def left(bench: Bench, pool: str, index: int = 0) -> int:
    """How many the first limit of a pool has left."""
    assert bench.snapshot is not None
    told = bench.state.describe(bench.snapshot, bench.clock.now())["pools"]
    found: int = next(each for each in told if each["name"] == pool)["limits"][index]["remaining"]
    return found


# -- names


def test_a_target_behind_a_pool_is_told_with_its_way_everywhere() -> None:
    """B41."""
    bench = Bench(two_levels())
    client = bench.ask()
    bench.upstream.last.answer({}, 500)
    bench.upstream.last.answer(a_completion(), 200)
    assert client.headers["x-modelpool-target"] == "near/west"
    assert client.headers["x-modelpool-pool"] == "chat"
    assert client.headers["x-modelpool-attempts"] == "2"
    [record] = bench.records
    assert (record.target, record.provider, record.pool) == ("near/west", "west", "chat")
    assert [attempt.target for attempt in record.attempts] == ["near/east", "near/west"]
    assert is_quiet(bench)


def test_behind_a_pool_that_a_request_falls_back_to_the_way_is_longer() -> None:
    near = a_pool("near", [a_target("east")])
    overflow = a_chain("overflow", a_pool_target("near", "n"))
    rules = {"pools": ({"when": "General", "pools": ("overflow",)},), "max_attempts": 1}
    bench = Bench(a_snapshot([a_pool(fallback=rules), near, overflow]))
    client = bench.ask()
    bench.upstream.last.answer({}, 500)
    assert running(bench) == {"chat": 1, "near": 1, "overflow": 1}
    bench.upstream.last.answer()
    assert client.headers["x-modelpool-target"] == "overflow/n/east"
    assert is_quiet(bench)


def test_the_name_that_was_asked_for_goes_to_a_target_without_a_model() -> None:
    near = a_pool("near", [a_target("east", model=None)])
    bench = Bench(a_snapshot([near, a_chain("chat", a_pool_target("near"))]))
    bench.ask()
    request = bench.upstream.last.request
    assert request is not None
    assert b'"model":"chat"' in request.body.replace(b" ", b"")


def test_the_parameters_of_both_levels_change_what_is_sent() -> None:
    def changed(name: str, action: str, value: str | None) -> dict[str, Any]:
        return {"name": name, "action": action, "value": value}

    snapshot = two_levels(
        inner={"parameters": (changed("max_tokens", "Max", "50"), changed("user", "Remove", None))},
        entry={"parameters": (changed("user", "Set", '"chat"'),)},
        parameters=(changed("max_tokens", "Max", "100"), changed("seed", "Default", "1")),
    )
    bench = Bench(snapshot)
    bench.ask({"model": "chat", "messages": [], "max_tokens": 70})
    request = bench.upstream.last.request
    assert request is not None
    sent = {"model": "east-model", "messages": [], "max_tokens": 50, "seed": 1}
    assert json.loads(request.body) == sent


# -- limits and places


def test_the_inner_pools_limits_are_taken_for_each_attempt_and_are_those_of_whoever_asks_it() -> None:
    """B8: one bucket, whether the pool is asked itself or through another one."""
    bench = Bench(two_levels(inner={"limits": of_requests(3)}))
    bench.ask({"model": "near", "messages": []})
    bench.upstream.last.answer()
    bench.ask()
    bench.upstream.last.answer()
    assert left(bench, "near") == 1
    bench.ask()
    bench.upstream.last.answer({}, 500)
    assert bench.upstream.asked == ["east", "east", "east", "far"], "west is behind the same limit"
    bench.upstream.last.answer()
    client = bench.ask()
    assert bench.upstream.last.provider == "far"
    bench.upstream.last.answer()
    assert client.headers["x-modelpool-attempts"] == "1", "a local skip is no attempt (B12)"
    assert is_quiet(bench)


def test_what_no_provider_got_is_given_back_and_a_refusal_further_down_takes_nothing_further_up() -> None:
    """B9, B10."""
    near = a_pool("near", [a_target("east", limits=of_requests(1))], limits=of_requests(5))
    entry = a_pool_target("near", limits=of_requests(9))
    bench = Bench(a_snapshot([near, a_chain("chat", entry, fallback={"max_attempts": 1})]))
    bench.ask()
    bench.upstream.last.error("connect")
    assert left(bench, "near") == 5
    bench.ask()
    bench.upstream.last.answer()
    assert left(bench, "near") == 4
    client = bench.ask()
    assert (client.status, client.error_code) == (429, "all_limited")
    assert "near/east is at its limit 'few' of 1" in client.json["error"]["message"]
    assert left(bench, "near") == 4
    assert (
        bench.state.describe(bench.snapshot, bench.clock.now())["pools"][1]["targets"][0]["limits"][0][  # type: ignore[arg-type]  # it has one
            "remaining"
        ]
        == 8
    )
    assert is_quiet(bench)


def test_a_limit_on_the_way_is_named_with_its_pool() -> None:
    bench = Bench(two_levels(inner={"limits": of_requests(1)}, fallback={"max_attempts": 1}))
    pinned = {"x-modelpool-target": "near"}
    bench.ask(headers=pinned)
    bench.upstream.last.answer()
    client = bench.ask(headers=pinned)
    assert (client.status, client.error_code) == (429, "all_limited")
    assert "near/east is at pool near's limit 'few' of 1 for" in client.json["error"]["message"]
    assert client.headers["retry-after"] == "60"
    assert is_quiet(bench)


def test_where_a_limit_does_not_spill_the_request_is_refused_for_the_limit_on_the_way() -> None:
    """B17: `LocalLimit` is not among the outcomes of the outer pool."""
    outcomes = tuple(name for name in BY_DEFAULT if name != "LocalLimit")
    for inner in (of_requests(1), {"requests": (), "concurrency": {"max": 1}}):
        bench = Bench(two_levels(inner={"limits": inner}, fallback={"outcomes": outcomes, "max_attempts": 4}))
        bench.ask()
        client = bench.ask()
        assert (client.status, client.error_code) == (429, "all_limited")
        assert bench.upstream.asked == ["east"]
        bench.upstream.last.answer()
        assert is_quiet(bench)


def test_a_full_inner_pool_is_passed_over_and_its_places_are_held_for_the_attempt_alone() -> None:
    """B11: without its queue; `far` serves meanwhile."""
    bench = Bench(two_levels(inner={"limits": {"requests": (), "concurrency": {"max": 1}}}))
    first, second = bench.ask(), bench.ask()
    assert bench.upstream.asked == ["east", "far"]
    assert running(bench) == {"near": 1, "chat": 2}
    bench.upstream.attempts[0].answer({}, 500)
    assert bench.upstream.asked == ["east", "far", "west"], "its own place is free again when its attempt has failed"
    for attempt in bench.upstream.attempts[1:]:
        attempt.answer()
    assert (first.status, second.status) == (200, 200)
    assert is_quiet(bench)


def test_who_waits_in_the_inner_pool_has_come_before_and_gets_the_place_that_an_attempt_leaves() -> None:
    places = {"requests": (), "concurrency": {"max": 1, "queue": {"max": 5, "timeout": 60_000}}}
    bench = Bench(two_levels(inner={"limits": places}))
    bench.ask()
    queued = bench.ask({"model": "near", "messages": []})
    assert bench.upstream.asked == ["east"]
    bench.ask()
    assert bench.upstream.asked == ["east", "far"], "nobody overtakes who stands in the line"
    bench.upstream.attempts[0].answer()
    assert bench.upstream.asked == ["east", "far", "east"]
    bench.upstream.last.answer()
    bench.upstream.attempts[1].answer()
    assert queued.status == 200
    assert is_quiet(bench)


def test_attempts_at_once_are_counted_at_the_target_that_is_a_pool_and_behind_it() -> None:
    """B11: one cap, whichever way leads there."""
    at_most_one = {"requests": (), "concurrency": {"max": 1}}
    east = a_target("east", limits=at_most_one)
    wide = a_chain("chat", a_pool_target("near"), a_target("far", priority=1))
    bench = Bench(a_snapshot([a_pool("near", [east]), wide]))
    bench.ask({"model": "near", "messages": []})
    bench.ask()
    assert bench.upstream.asked == ["east", "far"]
    narrow = a_chain("chat", a_pool_target("near", limits=at_most_one), strategy="LowestUsage")
    bench = Bench(a_snapshot([a_pool("near", [a_target("east")]), narrow]))
    first = bench.ask()
    client = bench.ask()
    assert (client.status, client.error_code) == (429, "all_limited")
    assert "near/east is at its limit of 1 at once" in client.json["error"]["message"]
    assert bench.snapshot is not None
    told = bench.state.describe(bench.snapshot, bench.clock.now())["pools"][1]["targets"][0]["limits"]
    assert [(each["owner"], each["inFlight"], each["remaining"]) for each in told] == [("chat/near", 1, 0)]
    bench.upstream.last.answer()
    assert first.status == 200
    bench.ask()
    bench.upstream.last.answer()
    assert is_quiet(bench)


def test_a_full_inner_pool_is_named_where_nobody_else_is_left() -> None:
    near = a_pool("near", [a_target("east")], limits={"requests": (), "concurrency": {"max": 1}})
    bench = Bench(a_snapshot([near, a_chain("chat", a_pool_target("near"))]))
    bench.ask()
    client = bench.ask()
    assert (client.status, client.error_code) == (429, "all_limited")
    assert "near/east is at pool near's limit of 1 at once" in client.json["error"]["message"]
    bench.upstream.last.answer()
    assert is_quiet(bench)


def test_tokens_are_reserved_and_settled_in_the_inner_pool() -> None:
    """B10."""
    tokens = {"tokens": ({**limit(10_000), "count": "Total"},)}
    bench = Bench(two_levels(inner={"limits": tokens}))
    assert the_pool(two_levels(inner={"limits": tokens})).counts_tokens
    bench.ask()
    assert left(bench, "near") < 10_000 - 1_000
    bench.upstream.last.answer(a_completion())
    assert left(bench, "near") == 10_000 - 8
    assert is_quiet(bench)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.lists(st.integers(0, 6), min_size=1, max_size=25))
def test_whatever_happens_each_place_and_limit_on_the_way_is_given_back_exactly_once(
    seed: int, steps: list[int]
) -> None:
    """B11, over three levels: answers, faults, clients that leave, connections that never were."""
    day = {**limit(1_000), "per": 86_400_000}
    inner = a_pool("inner", [a_target("x"), a_target("y")], limits={"requests": (day,), "concurrency": {"max": 3}})
    places = {"requests": (), "concurrency": {"max": 4}}
    middle = a_chain("middle", a_pool_target("inner"), a_target("z"), limits=places)
    chat = a_chain("chat", a_pool_target("middle"), a_pool_target("inner"), a_target("own"))
    rng = random.Random(seed)
    bench = Bench(a_snapshot([chat, inner, middle]), rng=rng.random)
    clients, unsent = [], []
    for step in steps:
        alive = [attempt for attempt in bench.upstream.attempts if attempt.open]
        attempt = rng.choice(alive) if alive else None
        if step <= 2 or attempt is None:
            clients.append(bench.ask({"model": rng.choice(["chat", "middle"]), "messages": []}))
        elif step == 3:
            attempt.answer()
        elif step == 4:
            attempt.answer({}, rng.choice([429, 500, 503]))
        elif step == 5:
            attempt.error("connect")
            unsent.append(attempt)
        else:
            client = rng.choice(clients)
            if client.on_gone is not None:
                client.on_gone()
        bench.clock.advance(rng.choice([0.0, 1.0]))
        counted = running(bench)
        assert counted["inner"] <= 3
        assert counted["middle"] <= 4
    for client in clients:
        if client.on_gone is not None:
            client.on_gone()
    assert is_quiet(bench)
    sent = [each for each in bench.upstream.attempts if each.provider in ("x", "y") and each not in unsent]
    assert 1_000 - left(bench, "inner") == len(sent)


# -- callers


def guarded(**near: Any) -> Bench:
    """The pool `near` is for callers with a key, `chat` for everybody."""
    entries = ({"name": "alice", "limits": of_requests(1)},)
    callers = {"callers": {"keys": "team", "source": "Secret team-keys", "entries": entries}, **near}
    config = a_config(
        [
            a_pool("near", [a_target("east")], **callers),
            a_chain("chat", a_pool_target("near"), a_target("far", priority=1)),
            a_chain("only", a_pool_target("near")),
        ],
        [a_provider("east"), a_provider("far")],
    )
    held = Register()
    held.replace({"team": callerkeys.encode({"alice": callerkeys.digest(KEY), "bob": callerkeys.digest(OTHER)})}, 0.0)
    return Bench(compile_config(config), callers=held)


def shown(key: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", **more}


def test_a_pool_for_callers_lets_nobody_else_through_from_outside() -> None:
    """B20: the caller's access rules apply there too."""
    bench = guarded()
    bench.ask()
    bench.ask(headers=shown("wrong"))
    assert bench.upstream.asked == ["far", "far"]
    bench.ask(headers=shown(KEY))
    assert bench.upstream.last.provider == "east"
    stranger = bench.ask({"model": "only", "messages": []})
    assert (stranger.status, stranger.error_code) == (401, "invalid_api_key")
    assert "near" not in stranger.body.decode()
    for attempt in bench.upstream.attempts:
        attempt.answer()
    assert is_quiet(bench)


def test_a_caller_of_another_pool_hears_that_nothing_is_open_and_no_name() -> None:
    bench = guarded()
    keys = {"team": callerkeys.encode({"alice": callerkeys.digest(KEY)})}
    bench.callers.replace({**keys, "others": callerkeys.encode({"eve": callerkeys.digest(OTHER)})}, 0.0)
    config = a_config(
        [
            a_pool("near", [a_target("east")], callers={"keys": "team", "source": "Secret team-keys"}),
            a_chain("only", a_pool_target("near"), callers={"keys": "others", "source": "Secret others"}),
        ]
    )
    bench.proxy.snapshot = compile_config(config)
    client = bench.ask({"model": "only", "messages": []}, headers=shown(OTHER))
    assert (client.status, client.error_code) == (404, "model_not_found")
    assert client.json["error"]["message"] == "pool only: none of its targets is open to this caller"
    assert is_quiet(bench)


def test_a_pool_that_a_request_falls_back_to_is_left_out_where_nothing_behind_it_is_open() -> None:
    near = a_pool("near", [a_target("east")], callers={"keys": "team", "source": "Secret team-keys"})
    rules = {"pools": ({"when": "General", "pools": ("only",)},), "max_attempts": 1}
    config = a_config([a_pool(fallback=rules), near, a_chain("only", a_pool_target("near"))])
    held = Register()
    held.replace({"team": callerkeys.encode({"alice": callerkeys.digest(KEY)})}, 0.0)
    bench = Bench(compile_config(config), callers=held)
    for key, asked in (("wrong", ["primary"]), (KEY, ["primary", "primary", "east"])):
        client = bench.ask(headers=shown(key))
        bench.upstream.last.answer({}, 500)
        assert bench.upstream.asked == asked
    bench.upstream.last.answer()
    assert client.headers["x-modelpool-target"] == "only/near/east"
    assert is_quiet(bench)


def test_a_callers_own_limit_in_the_inner_pool_counts_and_is_no_one_elses() -> None:
    bench = guarded()
    for key, provider in ((KEY, "east"), (KEY, "far"), (OTHER, "east")):
        bench.ask(headers=shown(key))
        assert bench.upstream.last.provider == provider
        bench.upstream.last.answer()
    client = bench.ask({"model": "only", "messages": []}, headers=shown(KEY))
    assert "near/east is at pool near's limit 'few' of 1" in client.json["error"]["message"]
    assert is_quiet(bench)


def test_a_limit_by_caller_in_the_inner_pool_knows_the_caller_by_the_inner_name() -> None:
    bench = guarded(limits=of_requests(1, by="Caller"))
    for key, provider in ((OTHER, "east"), (OTHER, "far"), (KEY, "east")):
        bench.ask(headers=shown(key))
        assert bench.upstream.last.provider == provider
        bench.upstream.last.answer()
    assert is_quiet(bench)


def test_a_callers_places_in_the_inner_pool_are_taken_for_the_attempt() -> None:
    """B8, B11."""
    entry = {"name": "alice", "limits": {"requests": (), "concurrency": {"max": 1}}}
    bench = guarded(callers={"keys": "team", "source": "Secret team-keys", "entries": (entry,)})
    for key, provider in ((KEY, "east"), (KEY, "far"), (OTHER, "east")):
        bench.ask(headers=shown(key))
        assert bench.upstream.last.provider == provider
    client = bench.ask({"model": "only", "messages": []}, headers=shown(KEY))
    assert "near/east is at pool near's limit of 1 at once for the caller" in client.json["error"]["message"]
    for attempt in bench.upstream.attempts:
        attempt.answer()
    bench.ask(headers=shown(KEY))
    assert bench.upstream.last.provider == "east"
    bench.upstream.last.answer()
    assert is_quiet(bench)


# -- pins


@pytest.mark.parametrize(
    ("pin", "asked"),
    [("near", ["east", "west"]), ("near/east", ["east"]), ("near/west", ["west"]), ("far", ["far"])],
)
def test_a_pin_names_a_target_behind_a_pool_or_the_pool_itself(pin: str, asked: list[str]) -> None:
    """B20: nothing else is asked. What stands behind a pinned pool is that pool's to choose among."""
    bench = Bench(two_levels(fallback={"same_target": _NO_REPEATS}))
    bench.ask(headers={"x-modelpool-target": pin})
    while bench.upstream.last.open:
        bench.upstream.last.answer({}, 500)
    assert bench.upstream.asked == asked
    assert is_quiet(bench)


_NO_REPEATS = {"initial": 250, "max": 2_000, "max_retry_after": 0, "retries": 0}


def test_a_pin_that_leads_nowhere_is_told_what_there_is() -> None:
    client = Bench(two_levels()).ask(headers={"x-modelpool-target": "near/north"})
    assert (client.status, client.error_code) == (400, "unknown_target")
    assert client.json["error"]["message"] == (
        "pool chat has no target 'near/north'; there is near/east, near/west, far"
    )


def test_who_may_not_use_the_inner_pool_learns_no_name_by_pinning() -> None:
    bench = guarded(pinning="Denied")
    client = bench.ask(headers={"x-modelpool-target": "near/east"})
    assert client.json["error"]["message"] == "pool chat has no target 'near/east'; there is far"
    client = bench.ask(headers=shown(KEY, **{"x-modelpool-target": "near/east"}))
    assert (client.status, client.json["error"]["message"]) == (403, "pool near does not allow x-modelpool-target")
    bench.ask(headers=shown(KEY, **{"x-modelpool-target": "near"}))
    assert bench.upstream.asked == ["east"], "to name the pool is no pin inside of it"


# -- what a request needs, and where things are kept


def test_what_a_target_behind_a_pool_lacks_is_looked_at_there() -> None:
    """B6."""
    blind = a_provider("east", models=({"name": "east-model", "capabilities": ()},))
    near = a_pool("near", [a_target("east")])
    config = a_config([near, a_chain("chat", a_pool_target("near"), a_target("far"))], [blind, a_provider("far")])
    bench = Bench(compile_config(config))
    tools = {"model": "chat", "messages": [], "tools": [{"type": "function"}]}
    bench.ask(tools)
    assert bench.upstream.asked == ["far"]
    client = bench.ask(tools, headers={"x-modelpool-target": "near"})
    assert (client.status, client.error_code) == (400, "capability_missing")
    assert "near/east lacks Tools" in client.json["error"]["message"]


def test_the_headers_that_each_level_asks_for_are_all_needed() -> None:
    near = a_pool("near", [a_target("east", match_headers=({"name": "x-b", "value": "2"},))])
    entry = a_pool_target("near", match_headers=({"name": "X-A", "value": "1"},))
    bench = Bench(a_snapshot([near, a_chain("chat", entry, a_target("far", priority=1))]))
    for headers in ({"x-a": "1"}, {"x-b": "2"}, {"x-a": "1", "x-b": "2"}):
        bench.ask(headers=headers)
    assert bench.upstream.asked == ["far", "far", "east"]


def test_files_of_a_pool_of_pools_have_no_place_of_their_own() -> None:
    near = a_pool("near", [a_target("east"), a_target("west")])
    bench = Bench(a_snapshot([near, a_chain("chat", a_pool_target("near"))]))
    client = bench.ask(b"", path="/v1/files", method="GET", headers={"x-modelpool-pool": "chat"})
    assert (client.status, client.error_code) == (400, "no_stateful_target")
    assert client.json["error"]["message"].endswith("ids; and all of them stand in other pools")


def test_through_a_pool_a_provider_has_no_more_attempts_open_than_it_has_connections() -> None:
    """B5: what was counted was the inner pool's target alone, so the Provider's `connections.maxOpen` did not hold."""
    near = a_pool("near", [a_target("east")])
    pools = [
        near,
        a_pool("other", [a_target("east")]),
        a_chain("chat", a_pool_target("near"), a_target("far", priority=1)),
    ]
    providers = [a_provider("east", connections={"max_open": 1, "idle_timeout": 60_000}), a_provider("far")]
    bench = Bench(a_snapshot(pools, providers))
    bench.ask({"model": "other", "messages": []})
    bench.ask()
    assert bench.upstream.asked == ["east", "far"]
    pinned = bench.ask(headers={"x-modelpool-target": "near/east"})
    assert (pinned.status, pinned.error_code) == (429, "all_limited")


def test_two_ways_to_one_target_are_one_target_while_another_is_left() -> None:
    """B7, B18: who had just failed was asked again by its other name, and the one that was well was not."""
    inner = [a_pool("n1", [a_target("east")]), a_pool("n2", [a_target("east"), a_target("west", priority=1)])]
    outer = a_chain("chat", a_pool_target("n1"), a_pool_target("n2", priority=1), fallback={"max_attempts": 2})
    bench = Bench(a_snapshot([*inner, outer]))
    client = bench.ask()
    bench.upstream.last.answer({}, 500)
    bench.upstream.last.answer()
    assert bench.upstream.asked == ["east", "west"]
    assert client.headers["x-modelpool-target"] == "n2/west"
