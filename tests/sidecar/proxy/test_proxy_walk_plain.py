"""A request's way through the proxy with every port in memory: the answer, its headers, its price, the record."""

from decimal import Decimal
from typing import Any

import orjson
import pytest

from builders import a_pool, a_provider, a_snapshot, a_target
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import DONE, SSE, Bench, a_chunk, a_completion
from walk_bench import two


def test_an_answer_comes_through_as_it_was_and_says_who_gave_it() -> None:
    bench = Bench(two())
    client = bench.ask()
    bench.upstream.last.answer(b'{ "choices":[{"finish_reason":"stop"}], "odd": 1.0e2 }')
    assert client.body == b'{ "choices":[{"finish_reason":"stop"}], "odd": 1.0e2 }'
    assert (client.status, client.end) == (200, "finished")
    assert client.headers["x-modelpool-pool"] == "chat"
    assert client.headers["x-modelpool-target"] == "primary"
    assert client.headers["x-modelpool-attempts"] == "1"
    assert client.headers["x-modelpool-config"] == bench.snapshot.pools["chat"].digest[7:19]
    assert client.headers["content-length"] == str(len(client.body))
    assert bench.nothing_is_held()


def test_the_request_goes_on_with_the_targets_model_and_nothing_else_changed() -> None:
    bench = Bench(two())
    bench.ask(b'{"odd":[1.0e2,"\\u00e9"], "model": "chat","messages":[]}')
    request = bench.upstream.last.request
    assert request is not None
    assert request.body == b'{"odd":[1.0e2,"\\u00e9"], "model": "primary-model","messages":[]}'
    assert request.url == "http://primary.internal/v1/chat/completions"


def test_each_target_gets_the_body_with_its_own_parameters_and_not_what_the_one_before_got() -> None:
    effort = {"name": "effort", "action": "Set", "value": '"low"'}
    user = {"name": "user", "action": "Remove", "value": None}
    targets = [a_target(parameters=(effort,)), a_target("backup", priority=1)]
    bench = Bench(a_snapshot([a_pool(targets=targets, parameters=(user,))]))
    client = bench.ask(b'{"model":"chat","user":"u","messages":[]}')
    first = bench.upstream.last.request
    assert first is not None
    assert first.body == b'{"effort":"low","model":"primary-model","messages":[]}'
    bench.upstream.last.answer(b"{}", status=503)
    second = bench.upstream.last.request
    assert second is not None
    assert second.body == b'{"model":"backup-model","messages":[]}'
    bench.upstream.last.answer(a_completion())
    assert client.status == 200


def test_a_stream_whose_pool_asks_for_two_answers_is_read_to_the_end_of_both() -> None:
    two_answers = {"name": "n", "action": "Set", "value": "2"}
    bench = Bench(a_snapshot([a_pool(targets=[a_target(parameters=(two_answers,))])]))
    client = bench.ask(b'{"model":"chat","stream":true,"messages":[]}')
    run = bench.upstream.last
    run.head(headers=SSE)
    for index in (0, 1):
        delta, done = {"index": index, "delta": {"content": "x"}}, {"index": index, "finish_reason": "stop"}
        run.data(b"".join(b"data: " + orjson.dumps({"choices": [each]}) + b"\n\n" for each in (delta, done)))
        bench.clock.advance(1.9)
        assert client.end is None
    bench.clock.advance(0.2)
    assert client.end == "finished"
    assert client.body.count(b'"content":"x"') == 2


def able(*capabilities: str) -> Snapshot:
    """The first of two targets can do only this."""
    models = ({"name": "primary-model", "capabilities": capabilities},)
    providers = [a_provider(models=models), a_provider("backup")]
    limits = {"requests": [], "concurrency": {"max": 1}}
    return a_snapshot([a_pool(targets=[a_target(), a_target("backup", priority=1)], limits=limits)], providers)


PICTURE = {
    "model": "chat",
    "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}],
}


def test_a_request_goes_past_a_target_that_cannot_serve_it_at_once_and_without_an_attempt() -> None:
    bench = Bench(able("Tools"))
    client = bench.ask(PICTURE)
    bench.upstream.last.answer(a_completion())
    assert (client.headers["x-modelpool-target"], client.headers["x-modelpool-attempts"]) == ("backup", "1")
    assert bench.upstream.asked == ["backup"]


def test_a_pinned_target_that_cannot_is_a_400_that_names_the_lack_and_takes_no_limit() -> None:
    bench = Bench(able("Tools"))
    for _ in range(2):
        client = bench.ask(PICTURE, headers={"x-modelpool-target": "primary"})
        assert (client.status, client.error_code) == (400, "capability_missing")
        assert client.json["error"]["message"].endswith("primary lacks Vision")
    assert bench.records[0].refusal == "capability_missing"
    assert bench.nothing_is_held()


PRICES = {"inputPerMillion": "0.15", "cachedInputPerMillion": "0.075", "outputPerMillion": "0.6"}


def priced(**pool: Any) -> Snapshot:
    """Only the first of two targets has prices."""
    providers = [a_provider(models=({"name": "primary-model", "prices": PRICES},)), a_provider("backup")]
    return a_snapshot([a_pool(targets=[a_target(), a_target("backup", priority=1)], **pool)], providers)


def test_a_whole_answer_says_what_it_cost_in_its_head_and_in_the_record() -> None:
    bench = Bench(priced())
    client = bench.ask()
    bench.upstream.last.answer(a_completion(usage={"prompt_tokens": 1000, "completion_tokens": 200}))
    assert client.headers["x-modelpool-cost"] == "0.00027"
    assert bench.records[0].cost == Decimal("0.00027")


def test_a_stream_says_what_it_cost_in_the_record_only() -> None:
    bench = Bench(priced())
    client = bench.ask(stream=True)
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":200}}\n\n'
    bench.upstream.last.head(headers=SSE)
    bench.upstream.last.data(a_chunk("x") + a_chunk(finish="stop") + usage + DONE)
    assert client.end == "finished"
    assert "x-modelpool-cost" not in client.headers
    assert bench.records[0].cost == Decimal("0.00027")


def test_a_target_without_prices_is_not_free_and_a_refusal_costs_nothing_that_is_known() -> None:
    bench = Bench(priced())
    client = bench.ask()
    bench.upstream.last.answer(b"{}", status=503)
    bench.upstream.last.answer(a_completion(usage={"prompt_tokens": 1000, "completion_tokens": 200}))
    assert client.headers["x-modelpool-target"] == "backup"
    refused = bench.ask({"model": "nobody", "messages": []})
    for answer, record in zip((client, refused), bench.records, strict=True):
        assert "x-modelpool-cost" not in answer.headers
        assert record.cost is None


def test_the_served_model_is_told_unless_the_pool_hides_it() -> None:
    told = {}
    for how in ("Served", "Requested"):
        bench = Bench(a_snapshot([a_pool(response_model=how)]))
        client = bench.ask()
        bench.upstream.last.answer(a_completion(model="primary-model"))
        told[how] = client.json["model"]
    assert told == {"Served": "primary-model", "Requested": "chat"}


def test_the_record_tells_names_and_numbers_and_no_content() -> None:
    bench = Bench(two())
    bench.ask()
    bench.upstream.last.head(503)
    bench.upstream.last.end()
    bench.clock.advance(2.5)
    bench.upstream.last.answer(a_completion("the answer"))
    (record,) = bench.records
    assert (record.pool, record.target, record.status, record.outcome) == ("chat", "backup", 200, Outcome.OK)
    assert [attempt.outcome for attempt in record.attempts] == [Outcome.FAILED, Outcome.OK]
    assert [attempt.same_target for attempt in record.attempts] == [False, False]
    assert (record.usage.input_tokens, record.usage.output_tokens) == (3, 5)
    assert (record.requested_model, record.sent_model) == ("chat", "backup-model")
    assert record.duration == pytest.approx(2.5)
    assert "the answer" not in repr(record)


def test_long_whole_answers_are_committed_and_passed_on_in_bounded_memory() -> None:
    bench = Bench(two())
    client = bench.ask()
    attempt = bench.upstream.last
    attempt.head(200)
    for _ in range(9):
        attempt.data(b"x" * 1024 * 1024)
    assert client.status == 200
    assert len(client.body) == 9 * 1024 * 1024
    attempt.data(b"y")
    attempt.end()
    assert (client.body[-1:], client.end) == (b"y", "finished")


def test_a_committed_whole_answer_that_stalls_is_ended_visibly() -> None:
    bench = Bench(two())
    client = bench.ask()
    bench.upstream.last.head(200)
    bench.upstream.last.data(b"x" * 9 * 1024 * 1024)
    bench.clock.advance(121)
    assert client.end == "failed"
    assert bench.records[0].outcome is Outcome.STALLED


def test_a_whole_answer_that_breaks_after_its_commit_is_never_a_clean_end() -> None:
    bench = Bench(two())
    client = bench.ask()
    bench.upstream.last.head(200)
    bench.upstream.last.data(b"x" * 9 * 1024 * 1024)
    bench.upstream.last.error("cut")
    assert client.end == "failed"
    assert bench.records[0].outcome is Outcome.BROKEN
