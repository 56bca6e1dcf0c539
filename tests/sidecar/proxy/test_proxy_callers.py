"""Keys of callers at the proxy: who is let in, what goes upstream, what is remembered (B42, B43, B44)."""

import pytest

from builders import a_config, a_pool, a_provider, a_target, an_api_key
from modelpool_config import callerkeys
from modelpool_sidecar.core.callers import Register
from modelpool_sidecar.core.compiled import compile_config
from virtual import ROLE, SSE, Bench, HeldDownstream, MemoryCredentials, a_chunk

KEY, OTHER, OWN = "caller-canary-0123456789", "caller-canary-9876543210", "provider-key"


def register() -> Register:
    held = Register()
    held.replace({"team": callerkeys.encode({"alice": callerkeys.digest(KEY), "bob": callerkeys.digest(OTHER)})}, 0.0)
    return held


def bench(entries: tuple[object, ...] = (), **changes: object) -> Bench:
    pool = a_pool(callers={"keys": "team", "source": "Secret team-keys", "entries": entries}, **changes)
    provider = a_provider("primary", auth=an_api_key())
    held = register()
    snapshot = compile_config(a_config([pool, a_pool("open", [a_target("backup")])], [a_provider("backup"), provider]))
    return Bench(snapshot, MemoryCredentials(**{"openai.api-key": OWN}), callers=held)


def asks(held: Bench, key: str | None = KEY, **more: object) -> HeldDownstream:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return held.ask(headers=headers, **more)  # type: ignore[arg-type]  # what ask takes


def test_a_caller_is_let_in_and_the_provider_gets_our_key_never_theirs() -> None:
    held = bench()
    answer = asks(held)
    sent = held.upstream.last.request
    assert sent is not None
    assert dict(sent.headers)["authorization"] == f"Bearer {OWN}"
    assert KEY not in repr(sent.headers)
    held.upstream.last.answer()
    assert (answer.status, answer.headers["x-modelpool-pool"]) == (200, "chat")
    assert [record.caller for record in held.records] == ["alice"]
    assert KEY not in repr(held.records)


@pytest.mark.parametrize("key", [None, "wrong"])
def test_without_the_right_key_nobody_is_asked_and_nothing_of_the_pool_is_told(key: str | None) -> None:
    held = bench()
    answer = asks(held, key)
    assert (answer.status, answer.error_code) == (401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == 'Bearer realm="modelpool"'
    assert not [name for name in answer.headers if name.startswith("x-modelpool")]
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert held.upstream.attempts == []
    [record] = held.records
    assert (record.pool, record.caller, record.refusal) == (None, None, "invalid_api_key")
    assert "wrong" not in answer.body.decode()


def test_an_open_pool_beside_it_asks_nobody_and_knows_nobody() -> None:
    held = bench()
    asks(held, "wrong", body={"model": "open", "messages": []})
    held.upstream.last.answer()
    assert [(record.pool, record.caller, record.status) for record in held.records] == [("open", None, 200)]


@pytest.mark.parametrize(("key", "names"), [(KEY, ["chat", "open"]), ("wrong", ["open"]), (None, ["open"])])
def test_the_list_of_models_is_filtered(key: str | None, names: list[str]) -> None:
    answer = asks(bench(), key, path="/v1/models", method="GET", body=b"")
    assert [model["id"] for model in answer.json["data"]] == names


@pytest.mark.parametrize(("key", "status"), [(KEY, 200), ("wrong", 401), (None, 401)])
def test_a_model_is_shown_to_whoever_may_use_it(key: str | None, status: int) -> None:
    assert asks(bench(), key, path="/v1/models/chat", method="GET", body=b"").status == status
    assert asks(bench(), key, path="/v1/models/open", method="GET", body=b"").status == 200
    assert asks(bench(), key, path="/v1/models/none", method="GET", body=b"").status == (404 if key == KEY else 401)


def test_a_refusal_of_the_pool_names_the_caller_in_the_record() -> None:
    limit = {"name": "one", "max": 1, "per": 60_000, "burst": 1, "scope": "Sidecar"}
    held = bench(limits={"requests": (limit,), "concurrency": None})
    asks(held)
    assert asks(held).status == 429
    assert [record.caller for record in held.records] == ["alice"]
    unknown = bench()
    unknown.ask(headers={"authorization": f"Bearer {KEY}", "x-modelpool-target": "nowhere"})
    assert [(record.caller, record.status) for record in unknown.records] == [("alice", 400)]


def limit(name: str, most: int, **more: object) -> dict[str, object]:
    return {"name": name, "max": most, "per": 60_000, "burst": most, "scope": "Sidecar", **more}


def limits(*each: dict[str, object]) -> dict[str, object]:
    return {"requests": each, "concurrency": None}


def test_a_caller_has_limits_of_its_own_before_the_pools() -> None:
    """B8, B9: what the pool refuses is not taken from the caller."""
    held = bench(({"name": "alice", "limits": limits(limit("own", 2))},), limits=limits(limit("all", 3)))
    asks(held)
    asks(held)
    refused = asks(held)
    assert refused.status == 429
    assert refused.json["error"]["message"].startswith(
        "pool chat: the limit 'own' of 2 requests is reached for caller alice; try again in"
    )
    assert refused.headers["x-ratelimit-limit-requests"] == "2"
    assert [asks(held, OTHER).status for _ in range(2)] == [None, 429], "bob has no limit but the pool's"
    told = held.state.describe(held.proxy.snapshot, held.clock.now())["pools"][0]["callerLimits"]  # type: ignore[index, arg-type]  # plain values
    assert [(each["caller"], each["level"], each["name"], each["remaining"]) for each in told] == [
        ("alice", "caller", "own", 0)
    ]


def test_a_refusal_of_the_pool_leaves_the_callers_share() -> None:
    held = bench(({"name": "alice", "limits": limits(limit("own", 2))},), limits=limits(limit("all", 1)))
    asks(held, OTHER)
    assert asks(held).status == 429
    told = held.state.describe(held.proxy.snapshot, held.clock.now())["pools"][0]["callerLimits"]  # type: ignore[index, arg-type]  # plain values
    assert [each["remaining"] for each in told] == [2]


def test_a_limit_by_caller_gives_each_the_same_of_its_own() -> None:
    held = bench(limits=limits(limit("each", 1, by="Caller")))
    asks(held)
    refused = asks(held)
    assert "reached for caller alice" in refused.json["error"]["message"]
    asks(held, OTHER)
    assert [attempt.provider for attempt in held.upstream.attempts] == ["primary", "primary"]


def test_a_callers_bucket_survives_a_reload_and_goes_with_its_limit() -> None:
    """B48."""
    held = bench(({"name": "alice", "limits": limits(limit("own", 1))},))
    asks(held)
    assert held.proxy.snapshot is not None
    held.state.retain(held.proxy.snapshot)
    assert asks(held).status == 429
    forgotten = held.state.retain(bench().proxy.snapshot)  # type: ignore[arg-type]  # a bench has a snapshot
    assert ("caller", "chat/alice", "own") in forgotten


def test_a_caller_stays_at_its_target() -> None:
    """B1, ConsistentHash by Caller."""
    targets = [a_target(f"t{number}", provider="primary") for number in range(8)]
    held = bench(targets=targets, strategy="ConsistentHash", consistent_hash={"by": "Caller", "header": None})
    seen: dict[str, set[str]] = {KEY: set(), OTHER: set()}
    for _ in range(3):
        for key, places in seen.items():
            answer = asks(held, key)
            held.upstream.last.answer()
            places.add(answer.headers["x-modelpool-target"])
    assert [len(places) for places in seen.values()] == [1, 1]


def test_tokens_of_a_caller_are_counted_in_the_end() -> None:
    """B10: an answer of 8 tokens leaves nothing of 8 to the caller, and everything to the others."""
    tokens = {"requests": (), "tokens": (limit("tokens", 8, count="Total"),), "concurrency": None}
    held = bench(({"name": "alice", "limits": tokens},))
    asks(held)
    held.upstream.last.answer()
    refused = asks(held)
    assert refused.status == 429
    assert "the limit 'tokens' of 8 tokens is reached for caller alice" in refused.json["error"]["message"]
    assert asks(held, OTHER).status is None


def test_a_callers_place_is_held_to_the_end_of_the_answer() -> None:
    """B11: also where the answer is a stream whose client leaves."""
    held = bench(entries=({"name": "alice", "limits": {"concurrency": {"max": 1}}},))
    streaming = asks(held, stream=True)
    held.upstream.last.head(headers=SSE)
    held.upstream.last.data(ROLE + a_chunk("hello"))
    refused = asks(held)
    assert (refused.status, refused.error_code) == (429, "concurrency_exceeded")
    assert refused.json["error"]["message"] == (
        "pool chat: caller alice has 1 requests in flight, which is its limit; try again in 1.0 s"
    )
    assert refused.headers["retry-after"] == "1"
    other = asks(held, OTHER)
    held.upstream.last.answer()
    assert other.status == 200, "others are not touched"
    streaming.leave()
    again = asks(held)
    held.upstream.last.answer()
    assert again.status == 200
    assert held.nothing_is_held()


def test_a_pool_that_a_request_falls_back_to_counts_its_own_callers() -> None:
    """B20: the caller's limits there apply there, too."""
    entries = ({"name": "alice", "limits": {"concurrency": {"max": 1}}},)
    callers = {"keys": "team", "source": "Secret team-keys", "entries": entries}
    first = a_pool(callers={**callers, "entries": ()}, fallback={"pools": ({"when": "General", "pools": ("more",)},)})
    held = Bench(
        compile_config(a_config([first, a_pool("more", [a_target("backup")], callers=callers)])),
        callers=register(),
    )
    one = asks(held)
    while held.upstream.last.request.url.startswith("http://primary"):  # type: ignore[union-attr]  # it was sent
        held.upstream.last.error("connect")
        held.clock.advance(3)
    two = asks(held)
    while two.status is None:
        held.upstream.last.error("connect")
        held.clock.advance(3)
    assert two.status >= 429, "the other pool has no place for this caller"
    held.upstream.attempts[[bool(each.open) for each in held.upstream.attempts].index(True)].answer()
    assert (one.status, one.headers["x-modelpool-target"]) == (200, "more/backup")
    assert held.nothing_is_held()
