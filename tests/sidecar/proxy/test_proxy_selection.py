"""A request's way to the target that its strategy or its headers mean, with every port in memory."""

from builders import a_pool, a_snapshot, a_target
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import SSE, Bench, a_chunk


def sorted_by_tier() -> Snapshot:
    premium = a_target("premium", match_headers=[{"name": "X-Tier", "value": "premium"}])
    return a_snapshot([a_pool(targets=[premium, a_target("batch", match_headers=[{"name": "x-tier", "value": "b"}])])])


def test_a_request_goes_to_the_target_that_its_headers_mean() -> None:
    bench = Bench(sorted_by_tier())
    for value, target in (("premium", "premium"), ("b", "batch")):
        client = bench.ask(headers={"x-tier": value})
        bench.upstream.last.answer()
        assert client.headers["x-modelpool-target"] == target
    assert bench.nothing_is_held()


def test_a_request_that_no_target_takes_is_told_which_headers_are_asked_for_and_costs_nothing() -> None:
    bench = Bench(sorted_by_tier())
    client = bench.ask()
    assert (client.status, client.json["error"]["code"]) == (400, "no_matching_target")
    assert "premium asks for x-tier" in client.json["error"]["message"]
    assert client.headers["x-modelpool-attempts"] == "0"
    assert bench.upstream.attempts == []
    assert bench.nothing_is_held()


def test_a_session_stays_at_its_target_and_moves_on_when_that_fails() -> None:
    hashed = {"by": "Header", "header": "X-Session"}
    targets = [a_target(name) for name in ("a", "b", "c")]
    bench = Bench(a_snapshot([a_pool(targets=targets, strategy="ConsistentHash", consistent_hash=hashed)]))
    seen = set()
    for _ in range(5):
        client = bench.ask(headers={"x-session": "s-7"})
        bench.upstream.last.answer()
        seen.add(client.headers["x-modelpool-target"])
    assert len(seen) == 1
    client = bench.ask(headers={"x-session": "s-7"})
    bench.upstream.last.answer(b"{}", status=503)
    bench.upstream.last.answer()
    assert client.status == 200
    assert client.headers["x-modelpool-target"] not in seen


def test_a_stream_is_measured_to_its_first_token_and_the_state_tells() -> None:
    snapshot = a_snapshot([a_pool(targets=[a_target("a"), a_target("b", priority=1)], strategy="LowestLatency")])
    bench = Bench(snapshot)
    bench.ask(stream=True)
    bench.upstream.last.head(headers=SSE)
    bench.clock.advance(0.25)
    bench.upstream.last.data(a_chunk("hello"))
    pool = bench.state.describe(snapshot, bench.clock.now())["pools"][0]
    assert pool["strategy"] == "LowestLatency"
    assert [(each["firstTokenMs"], each["answerMs"], each["inFlight"]) for each in pool["targets"]] == [
        (250.0, None, 1),
        (None, None, 0),
    ]


def test_the_state_of_a_rotation_is_its_current_weights() -> None:
    snapshot = a_snapshot([a_pool(targets=[a_target("a"), a_target("b")], strategy="RoundRobin")])
    bench = Bench(snapshot)
    before = bench.state.describe(snapshot, 0.0)["pools"][0]["targets"]
    assert [each["currentWeight"] for each in before] == [0.0, 0.0]
    bench.ask()
    after = bench.state.describe(snapshot, 0.0)["pools"][0]["targets"]
    assert sorted(each["currentWeight"] for each in after) == [-1.0, 1.0]
