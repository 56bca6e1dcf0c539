"""What requests settle in limits on tokens, however they end (B10)."""

from typing import Any

import pytest

from builders import a_pool, a_provider, a_snapshot, a_target
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import DONE, ROLE, SSE, Bench, HeldDownstream, a_chunk, a_completion

BODY = {"model": "chat", "messages": [{"role": "user", "content": "x" * 396}], "max_tokens": 50}
STREAM = {**BODY, "stream": True}
"""400 bytes of text with the role, so 100 tokens; and 50 for the answer."""


def limit(name: str, size: int = 1_000, **changes: Any) -> dict[str, Any]:
    shape = {"max": size, "per": 86_400_000, "burst": size, "scope": "Sidecar", "count": "Total"}
    return {"name": name, **shape, **changes}


def layered(pool: int = 1_000, target: int = 1_000, account: int = 1_000, **changes: Any) -> Snapshot:
    targets = [a_target(limits={"tokens": (limit("few", target),)}), a_target("backup", priority=1)]
    providers = [a_provider(limits={"tokens": (limit("account", account),)}), a_provider("backup")]
    return a_snapshot([a_pool(targets=targets, limits={"tokens": (limit("all", pool),)}, **changes)], providers)


def used(bench: Bench) -> list[int]:
    """Of the pool's limit, the target's, the provider's."""
    [pool] = bench.state.describe(bench.snapshot, bench.clock.now())["pools"]
    return [each["burst"] - each["remaining"] for each in (*pool["limits"], *pool["targets"][0]["limits"])]


def streaming(bench: Bench) -> HeldDownstream:
    client = bench.ask(STREAM)
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE + a_chunk("one") + a_chunk("two"))
    return client


def test_while_it_runs_the_estimate_counts_and_then_what_the_provider_counted() -> None:
    bench = Bench(layered())
    client = bench.ask(BODY)
    assert used(bench) == [150] * 3
    bench.upstream.last.answer(a_completion())
    assert used(bench) == [8] * 3
    assert client.headers["x-ratelimit-limit-tokens"] == "1000"
    assert client.headers["x-ratelimit-remaining-tokens"] == "850"


def test_an_answer_without_usage_counts_its_bytes() -> None:
    bench = Bench(layered())
    bench.ask(BODY)
    answer = a_completion("y" * 400)
    del answer["usage"]
    bench.upstream.last.answer(answer)
    assert 200 <= used(bench)[0] <= 280
    assert used(bench) == [used(bench)[0]] * 3


def test_an_answer_that_tells_only_its_input_had_no_output() -> None:
    bench = Bench(layered())
    bench.ask(BODY)
    bench.upstream.last.answer(a_completion(usage={"prompt_tokens": 7}))
    assert used(bench) == [7] * 3


def test_a_count_beyond_belief_does_not_close_a_limit_for_years() -> None:
    """-1 as 32 bits would be a debt of 4294967295 tokens, which a reload keeps."""
    bench = Bench(layered())
    bench.ask(BODY)
    bench.upstream.last.answer(a_completion(usage={"prompt_tokens": 4_294_967_295, "completion_tokens": 4_294_967_295}))
    assert 100 <= used(bench)[0] <= 200


def test_a_stream_settles_with_its_usage() -> None:
    bench = Bench(layered())
    streaming(bench)
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":22}}\n\n'
    bench.upstream.last.data(a_chunk(finish="stop") + usage + DONE)
    assert used(bench) == [33] * 3


@pytest.mark.parametrize("end", ["left", "broken", "finished"])
def test_a_stream_without_usage_settles_with_what_was_sent_and_what_came(end: str) -> None:
    """Aborted by the client, cut by the provider, or ended without a word of usage."""
    bench = Bench(layered())
    client = streaming(bench)
    if end == "left":
        assert client.on_gone is not None
        client.on_gone()
    elif end == "broken":
        bench.upstream.last.error("reset")
    else:
        bench.upstream.last.data(a_chunk(finish="stop") + DONE)
    assert used(bench) == [102] * 3, "100 of input, an event each"


def test_an_error_costs_nothing_and_the_attempt_after_it_all() -> None:
    bench = Bench(layered())
    bench.ask(BODY)
    bench.upstream.last.answer({"error": {"message": "no"}}, 500)
    assert used(bench) == [150, 0, 0]
    bench.upstream.last.answer(a_completion())
    assert used(bench) == [8, 0, 0]


def test_an_attempt_that_was_given_up_counts_what_it_was_sent() -> None:
    """B15a: tokens of an abandoned attempt are settled as used."""
    bench = Bench(layered())
    bench.ask(BODY)
    bench.upstream.last.error("reset")
    assert used(bench) == [150, 100, 100]
    bench.upstream.last.answer(a_completion())
    assert used(bench) == [108, 100, 100]


def test_what_reached_nobody_is_given_back_with_everything_that_was_reserved() -> None:
    bench = Bench(a_snapshot([a_pool(limits={"tokens": (limit("all"),)}, fallback={"max_attempts": 1})]))
    bench.ask(BODY)
    bench.upstream.last.error("connect")
    assert used(bench) == [0]
    assert bench.nothing_is_held()


def test_a_target_whose_tokens_are_spent_is_passed_over() -> None:
    bench = Bench(layered(target=200))
    for expected in ("primary", "backup"):
        bench.ask(BODY)
        assert bench.upstream.last.provider == expected


def test_a_refusal_tells_for_how_much_it_was_asked_and_when_that_will_do() -> None:
    bench = Bench(layered(pool=200))
    bench.ask(BODY)
    client = bench.ask(BODY)
    assert (client.status, client.json["error"]["code"]) == (429, "rate_limit_exceeded")
    assert "the limit 'all' of 200 tokens is reached for about 150; try again in " in client.json["error"]["message"]
    assert client.headers["x-ratelimit-remaining-tokens"] == "50"


def test_a_request_that_is_larger_than_a_limit_ever_lets_through_is_a_400() -> None:
    bench = Bench(layered(pool=99))
    client = bench.ask(BODY)
    assert (client.status, client.json["error"]["code"]) == (400, "tokens_above_limit")
    assert (
        "about 100 tokens, and the limit 'all' lets at most 99 come at once; send less"
        in client.json["error"]["message"]
    )
    assert bench.upstream.attempts == []


def test_a_request_that_is_larger_than_every_target_lets_through_is_a_400_that_gives_back() -> None:
    targets = [a_target(limits={"tokens": (limit("few", 99),)})]
    bench = Bench(a_snapshot([a_pool(targets=targets, limits={"tokens": (limit("all"),)})]))
    client = bench.ask(BODY)
    assert (client.status, client.json["error"]["code"]) == (400, "tokens_above_limit")
    assert (
        "primary never takes as much at once: its limit 'few' of 99 tokens, for about"
        in client.json["error"]["message"]
    )
    assert used(bench) == [0, 0]


def test_one_that_is_too_large_for_one_target_waits_for_the_other() -> None:
    targets = [
        a_target(limits={"tokens": (limit("few", 99),)}),
        a_target("backup", limits={"tokens": (limit("b", 200),)}),
    ]
    bench = Bench(a_snapshot([a_pool(targets=targets)]))
    bench.ask(BODY)
    assert bench.upstream.last.provider == "backup"
    client = bench.ask(BODY)
    assert (client.status, client.json["error"]["code"], client.headers["retry-after"]) == (429, "all_limited", "60")


def test_nobody_reads_a_body_where_no_limit_counts_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelpool_sidecar.core.estimate.size", lambda _request: pytest.fail("nobody needs it"))
    bench = Bench(a_snapshot())
    bench.ask(BODY)
    bench.upstream.last.answer()
    assert bench.nothing_is_held()
