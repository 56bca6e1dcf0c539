"""What a provider fails with is survived by the next one, within the deadlines (B15 to B22)."""

from typing import Any

import orjson
import pytest

from builders import a_pool, a_provider, a_snapshot, a_target
from modelpool_sidecar.core.outcome import Outcome
from virtual import Bench, MemoryCredentials
from walk_bench import keyed, two


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
