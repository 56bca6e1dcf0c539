"""A request's way through the proxy with every port in memory: fallback, refusals, headers, keys, the record."""

from decimal import Decimal
from typing import Any

import orjson
import pytest

from builders import a_config, a_pool, a_provider, a_snapshot, a_target, an_api_key
from modelpool_config.models import ClosedPool
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import DONE, SSE, Bench, MemoryCredentials, a_chunk, a_completion


def two(**changes: Any) -> Snapshot:
    return a_snapshot([a_pool(targets=[a_target(), a_target("backup", priority=1)], **changes)])


def keyed(*providers: str, **changes: Any) -> Snapshot:
    """Each provider has a key of its own, `key-NAME`."""
    config = a_config(
        [a_pool(targets=[a_target(name, priority=index) for index, name in enumerate(providers)], **changes)],
        [a_provider(name, auth=an_api_key(f"key-{name}")) for name in providers],
    )
    return compile_config(config, credential_digest=lambda name: name)


# -- the plain way


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


# -- falling back


@pytest.mark.parametrize("status", [401, 403, 404, 408, 409, 429, 500, 502, 503, 504, 529])
def test_what_a_provider_fails_with_is_survived_by_the_next(status: int) -> None:
    bench = Bench(two())
    client = bench.ask()
    bench.upstream.last.answer({"error": {"message": "no"}}, status=status)
    bench.upstream.last.answer()
    assert bench.upstream.asked == ["primary", "backup"]
    assert (client.status, client.headers["x-modelpool-attempts"]) == (200, "2")
    assert bench.nothing_is_held()


@pytest.mark.parametrize("kind", ["dns", "connect", "connect_timeout", "tls", "reset", "malformed"])
def test_a_provider_that_cannot_be_reached_is_survived(kind: Any) -> None:
    bench = Bench(two())
    client = bench.ask()
    bench.upstream.last.error(kind)
    bench.upstream.last.answer()
    assert (client.status, client.headers["x-modelpool-target"]) == (200, "backup")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"choices":[]}', b'{"error":{"message":"x"}}', b"<html>"])
def test_a_success_without_an_answer_in_it_is_survived(body: bytes) -> None:
    bench = Bench(two())
    client = bench.ask()
    attempt = bench.upstream.last
    attempt.head(200)
    if body:
        attempt.data(body)
    attempt.end()
    bench.upstream.last.answer()
    assert (client.status, client.headers["x-modelpool-target"]) == (200, "backup")


def test_an_answer_that_is_cut_before_its_end_is_survived() -> None:
    bench = Bench(two())
    client = bench.ask()
    bench.upstream.last.head(200)
    bench.upstream.last.data(b'{"choices":[')
    bench.upstream.last.error("cut")
    bench.upstream.last.answer()
    assert client.headers["x-modelpool-target"] == "backup"


def test_a_connection_that_was_dead_all_along_is_replaced_and_is_no_attempt() -> None:
    bench = Bench(two())
    client = bench.ask()
    bench.upstream.last.error("stale")
    assert bench.upstream.asked == ["primary", "primary"]
    fresh = bench.upstream.last.request
    assert fresh is not None
    assert fresh.fresh
    bench.upstream.last.answer()
    assert client.headers["x-modelpool-attempts"] == "1"


def test_a_fresh_connection_that_closes_without_a_byte_is_unreachable() -> None:
    bench = Bench(two())
    bench.ask()
    bench.upstream.last.error("stale")
    bench.upstream.last.error("reset")
    assert bench.upstream.asked == ["primary", "primary", "backup"]


def test_a_failed_answer_is_waited_for_a_tenth_of_a_second_and_not_longer() -> None:
    bench = Bench(two())
    bench.ask()
    bench.upstream.last.head(500)
    bench.clock.advance(0.1)
    assert bench.upstream.attempts[0].cancelled
    assert bench.upstream.asked == ["primary", "backup"]


def test_a_failed_answer_is_read_to_16_kib_and_not_further() -> None:
    bench = Bench(two())
    bench.ask()
    bench.upstream.last.head(500)
    bench.upstream.last.data(b"x" * 17_000)
    assert bench.upstream.attempts[0].cancelled
    assert bench.upstream.asked == ["primary", "backup"]


def test_a_failed_answer_that_breaks_off_is_classified_by_what_came() -> None:
    bench = Bench(two())
    client = bench.ask()
    bench.upstream.last.head(429)
    bench.upstream.last.data(b'{"error":{"code":"insufficient_')
    bench.upstream.last.error("cut")
    bench.upstream.last.answer()
    assert (client.status, bench.records[0].attempts[0].outcome) == (200, Outcome.RATE_LIMITED)


def test_a_clients_fault_that_never_ends_is_told_in_our_words() -> None:
    bench = Bench(two())
    client = bench.ask()
    bench.upstream.last.head(400)
    bench.upstream.last.data(b'{"error":{"message":"')
    bench.clock.advance(4)
    assert (client.status, client.error_code) == (400, "upstream_error")
    assert bench.nothing_is_held()


def test_the_clients_own_fault_is_relayed_whole_even_if_it_is_long_and_slow() -> None:
    bench = Bench(two())
    client = bench.ask()
    body = b'{"error":{"message":"' + b"x" * 40_000 + b'"}}'
    bench.upstream.last.head(400)
    for start in range(0, len(body), 10_000):
        bench.upstream.last.data(body[start : start + 10_000])
        bench.clock.advance(1.5)
    bench.upstream.last.end()
    assert (client.status, client.body) == (400, body)
    assert bench.upstream.asked == ["primary"]


def test_the_last_providers_answer_is_relayed_with_its_body_and_a_capped_retry_after() -> None:
    bench = Bench(two())
    client = bench.ask()
    for _ in range(2):
        bench.upstream.last.answer(
            {"error": {"message": "down", "code": "x"}},
            status=503,
            headers=(("content-type", "application/json"), ("retry-after", "300"), ("x-should-retry", "true")),
        )
    assert (client.status, client.json["error"]["message"]) == (503, "down")
    assert (client.headers["retry-after"], client.headers["x-should-retry"]) == ("60", "false")
    assert client.headers["x-modelpool-attempts"] == "2"


def test_a_wait_that_stands_in_the_body_is_kept_and_told_as_one_in_a_header_is() -> None:
    bench = Bench(a_snapshot([a_pool(targets=[a_target("primary")])]))
    delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}
    error = {"code": 429, "message": "exhausted", "status": "RESOURCE_EXHAUSTED", "details": [delay]}
    client = bench.ask()
    bench.upstream.last.answer([{"error": error}], status=429)
    assert (client.status, client.headers["retry-after"]) == (429, "34")
    again = bench.ask()
    assert (again.status, len(bench.upstream.asked)) == (429, 1), "the target cools for as long as it asked"
    assert 30 <= float(again.headers["retry-after"]) <= 41
    bench.clock.advance(34 * 1.2 + 0.1)
    bench.ask()
    assert len(bench.upstream.asked) == 2


def test_our_refused_credential_is_named_and_the_providers_401_never_shown() -> None:
    bench = Bench(keyed("primary"), MemoryCredentials(**{"key-primary": "sk-secret"}))
    client = bench.ask()
    bench.upstream.last.answer({"error": {"message": "Incorrect API key provided: sk-secret"}}, status=401)
    assert (client.status, client.error_code) == (502, "upstream_auth_error")
    assert "provider primary" in client.json["error"]["message"]
    assert "Secret openai, key api-key" in client.json["error"]["message"]
    assert b"sk-secret" not in client.body
    assert client.headers["x-should-retry"] == "false"


def test_an_operation_that_nobody_knows_asks_whether_the_base_url_lacks_v1() -> None:
    bench = Bench(a_snapshot(None, [a_provider(base_url="http://primary.internal")]))
    client = bench.ask()
    bench.upstream.last.answer(b"not found", status=404)
    assert (client.status, client.error_code) == (502, "upstream_unsupported")
    message = client.json["error"]["message"]
    assert message.endswith("the provider answered 404 for /chat/completions: does baseURL miss /v1?")


def test_a_model_that_the_client_named_and_the_provider_does_not_know_is_the_clients_404() -> None:
    bench = Bench(a_snapshot([a_pool(models=("*",), targets=[a_target(model=None)])]))
    client = bench.ask({"model": "gpt-typo", "messages": []})
    bench.upstream.last.answer({"error": {"message": "no such model", "code": "model_not_found"}}, status=404)
    assert (client.status, client.json["error"]["code"]) == (404, "model_not_found")
    assert bench.state.health(bench.snapshot.pools["chat"].targets["primary"]).available(bench.clock.now())


# -- deadlines


def test_a_silent_provider_sees_one_attempt_and_is_left_at_the_attempts_deadline() -> None:
    bench = Bench(
        a_snapshot(
            [a_pool(targets=[a_target(), a_target("backup", priority=1)])],
            [a_provider(timeouts={"attempt": 2_000}), a_provider("backup")],
        )
    )
    client = bench.ask()
    bench.clock.advance(1.9)
    assert bench.upstream.asked == ["primary"]
    bench.clock.advance(0.2)
    assert bench.upstream.attempts[0].cancelled
    bench.upstream.last.answer()
    assert client.headers["x-modelpool-target"] == "backup"


def test_head_counts_for_whole_answers_only_where_it_is_set() -> None:
    patient, strict = Bench(two()), Bench(a_snapshot(None, [a_provider(timeouts={"head": 1_000})]))
    for bench in (patient, strict):
        bench.ask()
        bench.clock.advance(599)
    assert not patient.upstream.attempts[0].cancelled
    assert strict.upstream.attempts[0].cancelled


def test_the_total_ends_everything_with_504() -> None:
    bench = Bench(two(total=10_000))
    client = bench.ask()
    bench.clock.advance(10)
    assert (client.status, client.error_code) == (504, "deadline_exceeded")
    assert client.headers["x-should-retry"] == "false"
    assert bench.nothing_is_held()


def test_the_clients_own_read_timeout_lowers_the_total() -> None:
    bench = Bench(two())
    client = bench.ask(headers={"x-stainless-read-timeout": "3"})
    bench.clock.advance(3)
    assert client.status == 504
    message = "pool chat: no answer within the client's own timeout of 3 s after 1 attempt"
    assert client.json["error"]["message"].startswith(message), "the pool's total is not to blame"


def test_a_backoff_is_slept_and_cancelled_when_the_client_leaves() -> None:
    bench = Bench(a_snapshot(), rng=lambda: 0.5)
    client = bench.ask()
    bench.upstream.last.answer(status=500)
    assert bench.clock.armed == 1
    client.leave()
    assert bench.nothing_is_held()
    assert bench.upstream.asked == ["primary"]
    assert (bench.records[0].outcome, bench.records[0].status) == (Outcome.CANCELLED, 499)


# -- keys


def test_the_key_of_one_provider_never_reaches_another() -> None:
    keys = {"key-primary": "sk-one", "key-backup": "sk-two"}
    bench = Bench(keyed("primary", "backup"), MemoryCredentials(**keys))
    bench.ask(headers={"authorization": "Bearer the-clients", "cookie": "c=1"})
    bench.upstream.last.answer(status=500)
    sent = [dict(attempt.request.headers) for attempt in bench.upstream.attempts if attempt.request]
    assert [headers["authorization"] for headers in sent] == ["Bearer sk-one", "Bearer sk-two"]
    assert not any("cookie" in headers for headers in sent)


def test_after_a_401_a_rotated_key_is_tried_once_at_the_same_target() -> None:
    credentials = MemoryCredentials(**{"key-primary": "new"})
    credentials.old["key-primary"] = "old"
    bench = Bench(keyed("primary"), credentials)
    client = bench.ask()
    bench.upstream.last.answer(status=401)
    sent = [dict(attempt.request.headers)["authorization"] for attempt in bench.upstream.attempts if attempt.request]
    assert sent == ["Bearer new", "Bearer old"]
    bench.upstream.last.answer(status=401)
    assert client.error_code == "upstream_auth_error"
    assert len(bench.upstream.attempts) == 2


def test_a_key_that_came_while_the_attempt_ran_is_used_for_the_next() -> None:
    credentials = MemoryCredentials(**{"key-primary": "old"})
    bench = Bench(keyed("primary"), credentials)
    client = bench.ask()
    credentials.rotate("key-primary", "new")
    bench.upstream.last.answer(status=401)
    request = bench.upstream.last.request
    assert request is not None
    assert dict(request.headers)["authorization"] == "Bearer new"
    bench.upstream.last.answer()
    assert client.status == 200


def test_a_target_whose_key_is_not_mounted_waits_for_it() -> None:
    client = Bench(keyed("primary")).ask()
    assert (client.status, client.error_code) == (503, "credential_pending")


# -- before anything is attempted


def test_without_a_config_nothing_is_served_yet() -> None:
    client = Bench(None).ask()
    assert (client.status, client.error_code, client.headers["retry-after"]) == (503, "not_ready", "1")


def test_an_unknown_model_is_404_and_counts_as_unknown() -> None:
    bench = Bench(two())
    client = bench.ask({"model": "chta", "messages": []})
    assert (client.status, client.error_code) == (404, "model_not_found")
    assert "did you mean 'chat'" in client.json["error"]["message"]
    assert bench.records[0].pool_label == "unknown"


def test_a_closed_pool_is_503() -> None:
    closed = ClosedPool(name="chat", models=("chat",), code="no_target", message="provider primary is not there")
    bench = Bench(a_snapshot([], closed=[closed]))
    client = bench.ask()
    assert (client.status, client.error_code) == (503, "no_target")
    assert (client.headers["x-modelpool-pool"], bench.records[0].pool) == ("chat", "chat")
    assert client.json["error"]["message"] == "pool chat: provider primary is not there"


def test_a_web_page_must_not_spend_the_keys_of_a_laptop() -> None:
    bench = Bench(two())
    assert bench.ask(headers={"host": "evil.example"}).status == 403
    assert bench.ask(headers={"origin": "https://evil.example"}).status == 403
    assert bench.upstream.attempts == []
    assert bench.ask(headers={"host": "modelpool.svc"}, loopback=False).status is None


def test_models_are_listed_and_told_one_by_one() -> None:
    bench = Bench(a_snapshot([a_pool("chat"), a_pool("other", models=("gpt-*",))]))
    listed = bench.ask(b"", method="GET", path="/v1/models")
    assert [model["id"] for model in listed.json["data"]] == ["chat", "gpt-*"]
    assert bench.ask(b"", method="GET", path="/v1/models/gpt-4o").json["id"] == "gpt-4o"
    assert bench.ask(b"", method="GET", path="/v1/models/zzz").status == 404


# -- limits


def limited(**limits: Any) -> Snapshot:
    return a_snapshot([a_pool(limits={"requests": (), "concurrency": None, **limits})])


PER_MINUTE = {"name": "fair", "max": 2, "per": 60_000, "burst": 2, "scope": "Divided"}


def test_a_limit_refuses_with_its_name_its_wait_and_the_usual_headers() -> None:
    bench = Bench(limited(requests=(PER_MINUTE,)))
    first = bench.ask()
    bench.upstream.last.answer()
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    bench.ask()
    refused = bench.ask()
    assert (refused.status, refused.error_code) == (429, "rate_limit_exceeded")
    assert (refused.headers["retry-after"], refused.headers["x-ratelimit-remaining-requests"]) == ("30", "0")
    assert "x-should-retry" not in refused.headers
    assert "the limit 'fair' of 2 requests is reached; try again in 30.0 s" in refused.json["error"]["message"]


def test_concurrency_is_held_to_the_end_of_the_answer() -> None:
    bench = Bench(limited(concurrency={"max": 1}))
    first = bench.ask()
    refused = bench.ask()
    assert (refused.status, refused.error_code) == (429, "concurrency_exceeded")
    bench.upstream.last.answer()
    assert first.status == 200
    assert bench.ask().status is None


def test_a_request_that_reached_no_provider_costs_nothing() -> None:
    config = a_config(
        [a_pool(limits={"requests": (PER_MINUTE,), "concurrency": None})], [a_provider(auth=an_api_key("away"))]
    )
    bench = Bench(compile_config(config))
    codes = [bench.ask().error_code for _ in range(5)]
    assert codes == ["credential_pending"] * 5


# -- pinning


def test_a_pinned_target_is_asked_and_never_left() -> None:
    bench = Bench(two())
    client = bench.ask(headers={"x-modelpool-target": "backup"})
    bench.upstream.last.error("connect")
    bench.clock.advance(1)
    bench.upstream.last.error("connect")
    assert bench.upstream.asked == ["backup", "backup"]
    assert client.error_code == "upstream_unreachable"


@pytest.mark.parametrize(
    ("pinning", "name", "status", "code"),
    [("Allowed", "elsewhere", 400, "unknown_target"), ("Denied", "backup", 403, "pinning_denied")],
)
def test_a_pin_must_exist_and_be_allowed(pinning: str, name: str, status: int, code: str) -> None:
    client = Bench(two(pinning=pinning)).ask(headers={"x-modelpool-target": name})
    assert (client.status, client.error_code) == (status, code)


# -- health, as requests see it


def test_a_broken_primary_cools_is_probed_and_comes_back() -> None:
    health = {"failures": 2, "min_requests": 2, "cooldown": 5_000, "successes": 2, "ramp_up": 0}
    snapshot = a_snapshot(
        [a_pool(targets=[a_target(), a_target("backup", priority=1)])],
        [a_provider(health=health), a_provider("backup")],
    )
    bench = Bench(snapshot)

    def ask(primary: int) -> str:
        client = bench.ask()
        if bench.upstream.last.provider == "primary":
            bench.upstream.last.answer(status=primary)
        if bench.upstream.last.provider == "backup":
            bench.upstream.last.answer()
        return client.headers["x-modelpool-target"] + client.headers["x-modelpool-attempts"]

    assert [ask(500) for _ in range(4)] == ["backup2", "backup2", "backup1", "backup1"]
    bench.clock.advance(5)
    assert ask(500) == "backup2"  # the probe
    bench.clock.advance(5)
    assert ask(200) == "backup1"  # twice as long
    bench.clock.advance(5)
    assert [ask(200) for _ in range(3)] == ["primary1"] * 3


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


def test_content_policy_is_an_answer_unless_the_pool_asks_to_go_on() -> None:
    filtered = {"choices": [{"finish_reason": "content_filter", "message": {"content": ""}}]}
    plain = Bench(two())
    client = plain.ask()
    plain.upstream.last.answer(filtered)
    assert (client.status, client.headers["x-modelpool-target"]) == (200, "primary")
    asking = Bench(two(fallback={"outcomes": ("ContentPolicy",)}))
    client = asking.ask()
    asking.upstream.last.answer(filtered)
    asking.upstream.last.answer(filtered)
    assert asking.upstream.asked == ["primary", "backup"]
    assert (client.status, client.body) == (200, orjson.dumps(filtered))
