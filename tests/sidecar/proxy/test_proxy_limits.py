"""What clients see of limits at every level, and that nothing is taken for what reached nobody: B9, B10, B12."""

from typing import Any

from builders import a_pool, a_provider, a_snapshot, a_target
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import Bench


def limit(name: str, size: int, **changes: Any) -> dict[str, Any]:
    return {"name": name, "max": size, "per": 3_600_000, "burst": size, "scope": "Sidecar", **changes}


def layered(pool: int = 9, target: int = 9, account: int = 9, **changes: Any) -> Snapshot:
    targets = [a_target(limits={"requests": (limit("few", target),)}), a_target("backup", priority=1)]
    providers = [a_provider(limits={"requests": (limit("account", account),)}), a_provider("backup")]
    return a_snapshot([a_pool(targets=targets, limits={"requests": (limit("all", pool),)}, **changes)], providers)


def left(bench: Bench) -> list[int]:
    """Of the pool's limit, the target's, the provider's."""
    [pool] = bench.state.describe(bench.snapshot, bench.clock.now())["pools"]
    return [each["remaining"] for each in (*pool["limits"], *pool["targets"][0]["limits"])]


def test_an_answer_tells_the_tightest_of_all_that_it_took_from() -> None:
    for sizes in ((3, 9, 9), (9, 3, 9), (9, 9, 3)):
        bench = Bench(layered(*sizes))
        client = bench.ask()
        bench.upstream.last.answer()
        assert client.headers["x-ratelimit-limit-requests"] == "3"
        assert client.headers["x-ratelimit-remaining-requests"] == "2"
        assert left(bench) == [size - 1 for size in sizes]


def test_a_request_that_every_limit_passes_over_is_given_back_to_the_pool() -> None:
    """B9: a refusal further down gives back what was taken further up."""
    targets = [a_target(limits={"requests": (limit("few", 1),)})]
    bench = Bench(a_snapshot([a_pool(targets=targets, limits={"requests": (limit("all", 9),)})]))
    bench.ask()
    bench.upstream.last.answer()
    for _ in range(3):
        client = bench.ask()
        assert (client.status, client.json["error"]["code"]) == (429, "all_limited")
        assert client.headers["retry-after"] == "60"
        assert client.headers["x-modelpool-attempts"] == "0"
    assert left(bench) == [8, 0]
    assert bench.nothing_is_held()


def test_a_request_for_which_no_connection_came_about_used_nothing() -> None:
    """B10."""
    bench = Bench(layered())
    client = bench.ask()
    bench.upstream.last.error("connect")
    assert left(bench) == [8, 9, 9], "the pool's share is held while another target is asked"
    bench.upstream.last.error("dns")
    bench.clock.advance(10)
    while bench.upstream.last.open:
        bench.upstream.last.error("tls")
        bench.clock.advance(10)
    assert client.status == 502
    assert left(bench) == [9, 9, 9]


def test_what_a_provider_may_have_seen_is_not_given_back() -> None:
    bench = Bench(layered())
    client = bench.ask()
    bench.upstream.last.error("reset")
    bench.upstream.last.answer()
    assert (client.status, client.headers["x-modelpool-target"]) == (200, "backup")
    assert left(bench) == [8, 8, 8]


def test_a_limit_that_observes_stands_in_the_record_and_in_no_header() -> None:
    watched = (limit("tight", 1, mode="Observe"),)
    bench = Bench(a_snapshot([a_pool(limits={"requests": watched}, targets=[a_target(limits={"requests": watched})])]))
    for _ in range(2):
        client = bench.ask()
        bench.upstream.last.answer()
        assert "x-ratelimit-limit-requests" not in client.headers
    assert [record.observed for record in bench.records] == [(), ("pool/tight", "target/tight")]


def test_a_refusal_of_one_value_says_so_and_does_not_repeat_it() -> None:
    by = limit("tenant", 1, by="Header", header="X-Tenant")
    bench = Bench(a_snapshot([a_pool(limits={"requests": (by,)})]))
    bench.ask(headers={"x-tenant": "hunter2"})
    client = bench.ask(headers={"x-tenant": "hunter2"})
    assert client.status == 429
    assert "the limit 'tenant' of 1 requests is reached for this value of x-tenant" in client.json["error"]["message"]
    assert b"hunter2" not in client.body
