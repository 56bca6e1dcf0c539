"""Keys, limits and pins on the way through the proxy, and what is answered before anything is attempted."""

from typing import Any

import pytest

from builders import a_config, a_pool, a_provider, a_snapshot, an_api_key
from modelpool_config.models import ClosedPool
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import Bench, MemoryCredentials
from walk_bench import keyed, two


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
