"""What the two of a race take they give back, each once, whoever ends it (B11, B23)."""

from decimal import Decimal
from typing import Any

import pytest

from builders import a_chain, a_pool, a_pool_target, a_provider, a_snapshot, a_target, the_pool
from modelpool_sidecar.core.health import Stance
from modelpool_sidecar.core.outcome import Outcome
from race_bench import ALWAYS, finish, outcomes, raced, speak, two
from virtual import SSE, Bench, HeldDownstream, ScriptedAttempt, a_completion


@pytest.mark.parametrize("how", ["the client leaves", "the sidecar stops"])
def test_whoever_ends_the_request_ends_both(how: str) -> None:
    bench = Bench(two())
    client, first, second = raced(bench)
    if how == "the client leaves":
        client.leave()
    else:
        assert client.on_drain_deadline is not None
        client.on_drain_deadline()
        assert client.status == 503
    assert first.cancelled
    assert second.cancelled
    assert [outcome for _, outcome, _, _ in outcomes(bench)] == [Outcome.CANCELLED] * 2
    assert [result for _, result in bench.records[0].hedges] == ["left"]
    assert bench.nothing_is_held()


def test_a_fault_of_ours_while_the_second_starts_is_told_and_everything_given_back() -> None:
    bench = Bench(two())
    client = bench.ask()

    def broken(_provider: str, _idle: float) -> ScriptedAttempt:
        raise RuntimeError("no")

    bench.upstream.attempt = broken  # type: ignore[method-assign]
    bench.clock.advance(1)
    assert (client.status, client.error_code) == (500, "internal_error")
    assert bench.nothing_is_held()


def test_the_loser_counts_with_what_it_used() -> None:
    """B15a: its provider has read the question, and nobody knows what else it did."""
    limit = {"name": "t", "max": 10_000, "per": 60_000, "burst": 10_000, "scope": "Sidecar", "count": "Input"}
    bench = Bench(two(limits={"tokens": [limit]}))
    question = {"model": "chat", "messages": [{"role": "user", "content": "x" * 4000}]}
    client, first, second = raced(bench, stream=False, body=question)
    second.answer(a_completion(usage={"prompt_tokens": 1000, "completion_tokens": 5}))
    left = bench.state.describe(bench.snapshot, bench.clock.time)["pools"][0]["limits"][0]["remaining"]  # type: ignore[arg-type]
    assert 7_900 < left < 8_100, "a thousand of each"
    assert first.cancelled
    assert client.status == 200


def test_what_the_loser_has_told_of_its_usage_is_paid_for_too() -> None:
    """B14: a server that counts in each chunk had told, and the cost left it out."""

    def priced(name: str, dollars: str) -> Any:
        of_tokens = {f"{kind}_per_million": dollars for kind in ("input", "cached_input", "output")}
        return a_provider(name, models=({"name": f"{name}-model", "prices": of_tokens},))

    bench = Bench(two(providers=[priced("first", "1"), priced("second", "10")]))
    client, first, second = raced(bench)
    first.head(headers=SSE)
    first.data(b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}],"usage":{"prompt_tokens":1000}}\n\n')
    speak(second)
    second.data(b'data: {"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":0}}\n\n')
    finish(second)
    assert client.end == "finished"
    assert bench.records[0].cost == Decimal("0.011")
    assert (bench.records[0].usage.input_tokens, bench.records[0].target) == (1000, "second")


def test_each_of_the_two_takes_its_targets_limit_and_its_place_once() -> None:
    limits = {"requests": [{"name": "m", "max": 10, "per": 60_000, "burst": 10, "scope": "Sidecar"}]}
    targets = [a_target("first", limits=limits), a_target("second", priority=1, limits=limits)]
    snapshot = a_snapshot([a_pool(targets=targets, hedging=ALWAYS)])
    bench = Bench(snapshot)
    client, _, second = raced(bench)
    speak(second)
    finish(second)
    assert client.end == "finished"
    told = bench.state.describe(snapshot, bench.clock.time)["pools"][0]["targets"]
    assert [target["limits"][0]["remaining"] for target in told] == [9, 9]
    assert bench.nothing_is_held()


def test_the_losers_health_is_neither_blamed_nor_praised() -> None:
    providers = [a_provider(name, health={"failures": 1, "min_requests": 1}) for name in ("first", "second")]
    bench = Bench(two(providers=providers))
    for _ in range(5):
        _, _, second = raced(bench)
        speak(second)
        finish(second)
    target = the_pool(bench.snapshot).targets["first"]  # type: ignore[arg-type]
    assert bench.state.health(target).stance(bench.clock.time) is Stance.SERVING


def test_a_stream_that_breaks_after_the_race_ends_as_any_other() -> None:
    bench = Bench(two())
    client, _, second = raced(bench)
    speak(second)
    second.error("cut")
    assert client.end == "failed"
    assert b'"error"' in client.body
    assert [result for _, result in bench.records[0].hedges] == ["won"]
    assert bench.nothing_is_held()


def test_a_slow_client_slows_the_winner() -> None:
    bench = Bench(two())
    client, _, second = raced(bench, downstream=HeldDownstream(room=10))
    speak(second)
    assert second.paused
    assert client.on_writable is not None
    client.on_writable()
    assert not second.paused
    finish(second)
    assert client.end == "finished"


def test_a_request_in_another_pool_is_hedged_there_as_that_pool_says() -> None:
    pools = [
        a_pool(
            targets=[a_target("down")], fallback={"pools": [{"when": "General", "pools": ["other"]}], "max_attempts": 1}
        ),
        a_pool("other", targets=[a_target("first"), a_target("second", priority=1)], hedging=ALWAYS),
    ]
    bench = Bench(a_snapshot(pools))
    client = bench.ask(stream=True)
    bench.upstream.last.error("connect")
    bench.clock.advance(0.1)
    assert bench.upstream.asked == ["down", "first", "second"]
    speak(bench.upstream.last)
    finish(bench.upstream.last)
    assert (client.headers["x-modelpool-target"], client.end) == ("other/second", "finished")
    assert bench.nothing_is_held()


def test_in_another_pool_the_second_may_be_the_fallback_too() -> None:
    pools = [
        a_pool(targets=[a_target("down")], fallback={"pools": [{"when": "General", "pools": ["other"]}]}),
        a_pool("other", targets=[a_target("first"), a_target("second", priority=1)], hedging=ALWAYS),
    ]
    bench = Bench(a_snapshot(pools))
    client = bench.ask(stream=True)
    bench.upstream.last.answer(b"{}", status=404)
    bench.clock.advance(0.1)
    first, second = bench.upstream.attempts[-2:]
    first.answer(b"{}", status=503)
    speak(second)
    finish(second)
    assert (client.headers["x-modelpool-target"], client.end) == ("other/second", "finished")
    assert bench.nothing_is_held()


def test_behind_a_target_that_is_a_pool_both_hold_a_place_there_and_give_it_back() -> None:
    inner = {"limits": {"requests": (), "concurrency": {"max": 2}}}
    near = a_pool("near", [a_target("first"), a_target("second", priority=1), a_target("third", priority=2)], **inner)
    bench = Bench(a_snapshot([near, a_chain("chat", a_pool_target("near"), hedging=ALWAYS)]))
    client, first, second = raced(bench)
    in_flight = {pool["name"]: pool["inFlight"] for pool in bench.state.describe(bench.snapshot, 0.0)["pools"]}  # type: ignore[arg-type]
    assert in_flight == {"chat": 1, "near": 2}
    speak(second)
    in_flight = {pool["name"]: pool["inFlight"] for pool in bench.state.describe(bench.snapshot, 0.0)["pools"]}  # type: ignore[arg-type]
    assert in_flight == {"chat": 1, "near": 1}
    finish(second)
    assert first.cancelled
    assert client.headers["x-modelpool-target"] == "near/second"
    assert bench.nothing_is_held()
