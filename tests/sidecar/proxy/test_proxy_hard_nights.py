"""What is found at three in the morning: rotations, long probes, hurried clients, half bodies, faults of our own."""

from typing import Any

import pytest

from builders import a_config, a_pool, a_provider, a_snapshot, a_target, an_api_key, the_pool
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.health import Stance
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import DONE, ROLE, SSE, Bench, HeldDownstream, MemoryCredentials, a_chunk

SOON = {"failures": 2, "min_requests": 2, "cooldown": 5_000, "successes": 2, "ramp_up": 0}


def two(**changes: Any) -> Snapshot:
    return a_snapshot([a_pool(targets=[a_target(), a_target("backup", priority=1)], **changes)])


def stance(bench: Bench, name: str = "primary") -> Stance:
    assert bench.snapshot is not None
    return bench.state.health(the_pool(bench.snapshot).targets[name]).stance(bench.clock.now())


def cooled(snapshot: Snapshot, **bench: Any) -> Bench:
    """The primary has been unreachable three times and cools."""
    held = Bench(snapshot, **bench)
    health = held.state.health(the_pool(snapshot).targets["primary"])
    for _ in range(3):
        health.end(health.begin(held.clock.now()), Outcome.UNREACHABLE, held.clock.now(), lambda: 0.0)
    return held


# -- keys


def rotated(*targets: str) -> Bench:
    config = a_config(
        [a_pool(targets=[a_target(name, priority=index) for index, name in enumerate(targets)])],
        [a_provider(name, auth=an_api_key(f"key-{name}")) for name in targets],
    )
    credentials = MemoryCredentials(**{f"key-{name}": "new" for name in targets})
    credentials.old["key-primary"] = "old"
    return Bench(compile_config(config, credential_digest=lambda name: name), credentials)


def test_a_rotation_that_the_provider_has_not_learnt_takes_no_target_out() -> None:
    bench = rotated("primary")
    for _ in range(5):
        client = bench.ask()
        bench.upstream.last.answer(status=401)
        bench.upstream.last.answer()
        assert client.status == 200
    assert stance(bench) is Stance.SERVING


def test_only_the_last_keys_401_is_a_verdict() -> None:
    bench = rotated("primary")
    bench.ask()
    bench.upstream.last.answer(status=401)
    bench.upstream.last.answer(status=401)
    assert stance(bench) is Stance.COOLING


def test_another_key_takes_no_attempt_from_the_fallback() -> None:
    bench = rotated("primary", "backup")
    client = bench.ask()
    for _ in range(2):
        bench.upstream.last.answer(status=401)
    bench.upstream.last.answer()
    assert bench.upstream.asked == ["primary", "primary", "backup"]
    assert client.status == 200


# -- probes


def test_a_probe_that_is_a_long_stream_proves_itself_by_its_first_token() -> None:
    bench = cooled(a_snapshot(None, [a_provider(health=SOON)]))
    bench.clock.advance(5)
    for _ in range(3):
        client = bench.ask(stream=True)
        bench.upstream.last.head(200, SSE)
        bench.upstream.last.data(ROLE + a_chunk("a long story"))
        assert client.status == 200
    assert stance(bench) is Stance.SERVING
    assert bench.proxy.in_flight == 3


def test_a_probe_that_breaks_after_its_first_token_still_counts_as_a_failure() -> None:
    bench = cooled(a_snapshot(None, [a_provider(health=SOON)]))
    bench.clock.advance(5)
    bench.ask(stream=True)
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE + a_chunk("once upon"))
    bench.upstream.last.error("cut")
    assert stance(bench) is Stance.COOLING


def test_a_target_that_cools_is_asked_by_one_request_at_a_time() -> None:
    bench = cooled(a_snapshot())
    first = bench.ask()
    others = [bench.ask() for _ in range(30)]
    assert first.status is None
    assert {client.error_code for client in others} == {"all_cooling"}
    assert len(bench.upstream.attempts) == 1
    first.leave()
    bench.ask()
    assert len(bench.upstream.attempts) == 2


def test_refused_together_they_do_not_all_come_back_together() -> None:
    bench = Bench(a_snapshot(), rng=lambda: 0.5)
    clients = [bench.ask() for _ in range(30)]
    for attempt in list(bench.upstream.attempts):
        attempt.error("connect")
    bench.clock.advance(2)
    again = [attempt for attempt in bench.upstream.attempts[30:] if attempt.open]
    assert len(again) == 1
    assert sum(client.status is None for client in clients) == 1


# -- clients


def test_a_hurried_client_blames_nobody_but_itself() -> None:
    bench = Bench(a_snapshot(None, [a_provider(health=SOON)]))
    for _ in range(10):
        client = bench.ask(headers={"x-stainless-read-timeout": "1"})
        bench.clock.advance(1)
        assert client.status == 504
    assert stance(bench) is Stance.SERVING


def test_the_pools_own_deadline_blames_the_target() -> None:
    bench = Bench(a_snapshot([a_pool(total=1_000)], [a_provider(health=SOON)]))
    for _ in range(2):
        bench.ask(headers={"x-stainless-read-timeout": "600"})
        bench.clock.advance(1)
    assert stance(bench) is Stance.COOLING


# -- half bodies


def test_an_unknown_model_whose_words_come_late_is_not_taken_for_an_unknown_path() -> None:
    bench = Bench(a_snapshot([a_pool(models=("*",), targets=[a_target(model=None)])]))
    client = bench.ask({"model": "typo", "messages": []})
    bench.upstream.last.head(404)
    bench.clock.advance(0.5)
    bench.upstream.last.data(b'{"error":{"message":"no","code":"model_not_found"}}')
    bench.upstream.last.end()
    assert client.status == 404
    assert bench.ask().status is None, "the target is asked again"


def test_a_404_whose_words_never_come_is_not_remembered() -> None:
    bench = Bench(a_snapshot())
    bench.ask()
    bench.upstream.last.head(404)
    bench.clock.advance(2)
    bench.ask()
    assert len(bench.upstream.attempts) == 2


def test_a_quota_that_is_told_late_is_still_a_quota() -> None:
    bench = Bench(two())
    bench.ask()
    bench.upstream.last.head(429)
    bench.clock.advance(0.5)
    bench.upstream.last.data(b'{"error":{"code":"insufficient_quota"}}')
    bench.upstream.last.end()
    bench.upstream.last.answer()
    assert bench.records[0].attempts[0].outcome is Outcome.QUOTA_EXHAUSTED


@pytest.mark.parametrize("status", [400, 503])
def test_a_body_that_breaks_off_keeps_the_providers_status_and_wait(status: int) -> None:
    bench = Bench(a_snapshot([a_pool(fallback={"max_attempts": 1})]))
    client = bench.ask()
    bench.upstream.last.head(status, (("content-type", "application/json"), ("retry-after", "7")))
    bench.upstream.last.data(b'{"error":{"mess')
    bench.upstream.last.error("cut")
    assert (client.status, client.error_code) == (status, "upstream_error")
    assert client.headers["retry-after"] == "7"
    assert client.headers["x-should-retry"] == "false"


# -- repeating


def test_a_first_fallback_is_free_whatever_was_repeated_before() -> None:
    same = {"initial": 10, "max": 10, "max_retry_after": 0, "retries": 1}
    fallback = {"same_target": same, "max_attempts": 4, "retry_budget": {"percent": 100, "min_per_second": 0}}
    bench = Bench(two(fallback=fallback))
    client = bench.ask()
    for _ in range(2):
        bench.upstream.last.answer(status=500)
        bench.clock.advance(0.1)
    bench.upstream.last.answer()
    assert bench.upstream.asked == ["primary", "primary", "backup"]
    assert client.status == 200


def test_a_target_that_has_just_cooled_is_not_repeated_while_another_serves() -> None:
    same = {"initial": 10, "max": 10, "max_retry_after": 0, "retries": 1}
    bench = Bench(two(fallback={"same_target": same, "max_attempts": 4}))
    health = bench.state.health(the_pool(two()).targets["primary"])
    for _ in range(2):
        health.end(health.begin(bench.clock.now()), Outcome.UNREACHABLE, bench.clock.now(), lambda: 0.0)
    bench.ask()
    bench.upstream.last.error("connect")
    assert bench.upstream.asked == ["primary", "backup"]


def test_a_repetition_goes_elsewhere_when_its_target_was_refused_meanwhile() -> None:
    same = {"initial": 1_000, "max": 1_000, "max_retry_after": 0, "retries": 1}
    bench = Bench(two(fallback={"same_target": same, "max_attempts": 4}), rng=lambda: 0.5)
    client = bench.ask()
    bench.upstream.last.answer(status=500)
    health = bench.state.health(the_pool(two()).targets["primary"])
    health.end(health.begin(bench.clock.now()), Outcome.DENIED, bench.clock.now(), lambda: 0.0)
    bench.clock.advance(1)
    bench.upstream.last.answer()
    assert bench.upstream.asked == ["primary", "backup"]
    assert client.status == 200


def test_what_the_budget_refuses_is_not_slept_for_first() -> None:
    same = {"initial": 250, "max": 2_000, "max_retry_after": 30_000, "retries": None}
    fallback = {"same_target": same, "retry_budget": {"percent": 0, "min_per_second": 0}}
    bench = Bench(a_snapshot([a_pool(fallback=fallback)]))
    client = bench.ask()
    bench.upstream.last.answer(status=503, headers=(("retry-after", "20"), ("content-type", "application/json")))
    assert client.status == 503


def test_a_second_round_waits_as_long_as_each_target_asked() -> None:
    same = {"initial": 250, "max": 2_000, "max_retry_after": 5_000, "retries": None}
    bench = Bench(two(fallback={"same_target": same, "max_attempts": 4}))
    bench.ask()
    asks = (("retry-after", "2"), ("content-type", "application/json"))
    bench.upstream.last.answer(status=503, headers=asks)
    bench.clock.advance(1)
    bench.upstream.last.answer(status=503, headers=asks)
    bench.clock.advance(1)
    assert bench.upstream.asked == ["primary", "backup", "primary"]
    bench.upstream.last.answer(status=503)
    assert bench.upstream.asked == ["primary", "backup", "primary"]
    bench.clock.advance(1)
    assert bench.upstream.asked == ["primary", "backup", "primary", "backup"]


def test_requests_that_a_limit_refuses_earn_no_retries() -> None:
    limit = {"name": "one", "max": 1, "per": 60_000, "burst": 1, "scope": "Sidecar"}
    fallback = {"retry_budget": {"percent": 100, "min_per_second": 0}}
    bench = Bench(a_snapshot([a_pool(limits={"requests": (limit,), "concurrency": None}, fallback=fallback)]))
    for _ in range(100):
        bench.ask()
    assert bench.state.budget(the_pool(a_snapshot())).remaining(bench.clock.now()) <= 31


def test_every_request_hears_that_the_base_url_may_lack_v1() -> None:
    bench = Bench(a_snapshot(None, [a_provider(base_url="http://primary.internal")]))
    bench.ask()
    bench.upstream.last.answer(b"not found", status=404)
    assert bench.ask().json["error"]["message"].endswith("does baseURL miss /v1?")


# -- streams


def test_all_choices_that_were_asked_for_are_waited_for() -> None:
    bench = Bench(two())
    client = bench.ask({"model": "chat", "messages": [], "n": 2, "stream": True})
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE + a_chunk("one") + a_chunk(finish="stop"))
    bench.clock.advance(10)
    assert client.end is None
    second = b'data: {"choices":[{"index":1,"delta":{"content":"two"},"finish_reason":"stop"}]}\n\n'
    bench.upstream.last.data(second + DONE)
    assert client.end == "finished"


def test_fewer_choices_than_asked_for_are_complete_where_the_stream_ends() -> None:
    bench = Bench(two())
    client = bench.ask({"model": "chat", "messages": [], "n": 2, "stream": True})
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE + a_chunk("one") + a_chunk(finish="stop"))
    bench.upstream.last.end()
    assert (client.end, client.body.endswith(DONE)) == ("finished", True)


def test_usage_and_done_are_not_lost_to_a_slow_client() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True, downstream=HeldDownstream(room=10))
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE + a_chunk("hi") + a_chunk(finish="stop"))
    assert bench.upstream.last.paused
    bench.clock.advance(30)
    assert client.end is None
    assert client.on_writable is not None
    client.on_writable()
    bench.upstream.last.data(DONE)
    assert client.end == "finished"


def test_a_stream_without_a_content_type_is_a_stream_to_who_asked_for_one() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    bench.upstream.last.head(200, ())
    bench.upstream.last.data(ROLE + a_chunk("hi") + a_chunk(finish="stop") + DONE)
    assert (client.status, client.end) == (200, "finished")


def test_a_whole_answer_that_stalls_after_its_head_is_left() -> None:
    bench = Bench(two())
    client = bench.ask()
    bench.upstream.last.head(200)
    bench.upstream.last.data(b"{")
    bench.clock.advance(120)
    bench.upstream.last.answer()
    assert client.headers["x-modelpool-target"] == "backup"


# -- faults of our own


class Broken(HeldDownstream):
    """A client's connection whose code fails at the first write of a body."""

    def write(self, data: bytes) -> bool:
        if b"internal_error" not in data:
            raise RuntimeError("a fault of ours")
        return super().write(data)


def test_a_fault_of_ours_while_relaying_gives_everything_back() -> None:
    bench = Bench(two())
    client = bench.ask(downstream=Broken())
    bench.upstream.last.answer()
    assert client.end == "failed"
    assert bench.nothing_is_held()


def test_a_fault_of_ours_before_the_head_is_answered_with_500() -> None:
    bench = Bench(two())

    def broken() -> float:
        raise RuntimeError("a fault of ours")

    bench.rng = broken
    bench.__post_init__()
    client = bench.ask()
    assert (client.status, client.error_code) == (500, "internal_error")
    assert bench.nothing_is_held()


def test_a_fault_in_a_backoff_is_answered_too() -> None:
    bench = Bench(a_snapshot(), rng=lambda: 0.5)
    client = bench.ask()
    bench.upstream.last.answer(status=500)
    bench.state.health = None  # type: ignore[method-assign, assignment]  # the fault
    bench.clock.advance(1)
    assert (client.status, client.error_code) == (500, "internal_error")
    assert bench.proxy.in_flight == 0


def test_a_listener_that_fails_loses_no_request_and_holds_none() -> None:
    bench = Bench(two())
    services = bench.proxy._services

    def fails(_record: object) -> None:
        raise RuntimeError("a fault of ours")

    object.__setattr__(services, "on_record", fails)
    client = bench.ask()
    bench.upstream.last.answer()
    assert client.status == 200
    assert bench.proxy.in_flight == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_sidecar_without_a_file_to_connect_with_blames_no_provider_for_it(stream: bool) -> None:
    """B17, B30: three refused connections in a row would cool every provider that is well."""
    targets = [a_target("primary"), a_target("backup", priority=1)]
    bench = Bench(a_snapshot([a_pool(targets=targets, fallback={"max_attempts": 2})]))
    for _ in range(6):
        client = bench.ask(stream=stream)
        bench.upstream.last.error("no_files", "h: this process has no file left to connect with")
        bench.upstream.last.error("no_files", "h: this process has no file left to connect with")
        assert (client.status, client.error_code, client.headers["retry-after"]) == (503, "overloaded", "1")
        assert "no file left to connect with" in client.json["error"]["message"]
        assert "x-should-retry" not in client.headers
    assert bench.upstream.asked == ["primary", "backup"] * 6
    bench.ask(stream=stream)
    bench.upstream.last.error("no_files")
    bench.upstream.last.answer(status=500)
    assert bench.upstream.asked[-2:] == ["primary", "backup"], "a connection that is kept there needs no new file"
