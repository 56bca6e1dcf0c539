"""What makes something at a provider is sent once; what is kept there is asked for there (B15a, B20a)."""

from typing import Any

import orjson
import pytest

from builders import a_config, a_pool, a_provider, a_target
from modelpool_config import callerkeys
from modelpool_config.models import Parameter
from modelpool_sidecar.core.callers import Register
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.ports import ErrorKind
from virtual import Bench

BATCH = {"input_file_id": "file-a", "endpoint": "/v1/responses", "completion_window": "24h"}
OK = {"id": "batch_1", "object": "batch", "status": "validating"}


def a_bench(*, provider: dict[str, Any] | None = None, stateful: dict[str, str] | None = None, **pool: Any) -> Bench:
    targets = [a_target("primary"), a_target("backup", priority=1)]
    pools = [a_pool(targets=targets, stateful=stateful or {"target": "primary"}, **pool)]
    return Bench(compile_config(a_config(pools, [a_provider("primary", **provider or {}), a_provider("backup")])))


def test_a_batch_is_never_made_twice_when_the_provider_is_slow() -> None:
    bench = a_bench(provider={"timeouts": {"head": 10_000}})
    client = bench.ask(BATCH, path="/v1/batches")
    bench.clock.advance(11)
    assert (client.status, client.error_code) == (504, "deadline_exceeded")
    assert client.headers["x-should-retry"] == "false"
    assert bench.upstream.asked == ["primary"]
    assert bench.nothing_is_held()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_batch_is_never_made_twice_when_the_provider_fails(status: int) -> None:
    bench = a_bench()
    client = bench.ask(BATCH, path="/v1/batches")
    bench.upstream.last.answer({"error": {"message": "no"}}, status=status)
    bench.clock.advance(60)
    assert client.end == "finished"
    assert bench.upstream.asked == ["primary"]
    assert bench.nothing_is_held()


@pytest.mark.parametrize(
    ("kind", "again"),
    [
        ("connect", True),
        ("dns", True),
        ("tls", True),
        ("connect_timeout", True),
        ("reset", False),
        ("malformed", False),
    ],
)
def test_only_what_was_never_sent_is_sent_again_and_to_the_same_target(kind: ErrorKind, again: bool) -> None:
    bench = a_bench()
    client = bench.ask(BATCH, path="/v1/batches")
    bench.upstream.last.error(kind)
    bench.clock.advance(5)
    assert bench.upstream.asked == ["primary"] * (2 if again else 1)
    if again:
        bench.upstream.last.answer(OK)
    assert client.status == (200 if again else 502)
    assert bench.nothing_is_held()


def test_a_reused_connection_that_had_closed_counts_as_not_sent() -> None:
    bench = a_bench()
    client = bench.ask(BATCH, path="/v1/batches")
    bench.upstream.last.error("stale")
    assert len(bench.upstream.attempts) == 2
    bench.upstream.last.answer(OK)
    assert (client.status, client.headers["x-modelpool-attempts"]) == (200, "1")


def test_a_look_may_be_taken_again_but_never_elsewhere() -> None:
    bench = a_bench()
    client = bench.ask(b"", path="/v1/batches/batch_1", method="GET")
    bench.upstream.last.answer({"error": {"message": "no"}}, status=503)
    bench.clock.advance(5)
    bench.upstream.last.answer(
        {**OK, "status": "failed", "error": {"message": "it failed"}, "usage": {"input_tokens": 9}}
    )
    assert bench.upstream.asked == ["primary", "primary"]
    assert (client.status, client.json["status"]) == (200, "failed"), "what failed there is an answer all the same"
    assert bench.records[-1].usage.input_tokens is None
    assert bench.records[-1].route == "/v1/batches/{id}"


def test_an_id_that_is_not_there_says_nothing_about_the_operation() -> None:
    bench = a_bench()
    for _ in range(2):
        client = bench.ask(b"", path="/v1/files/file-x", method="GET")
        bench.upstream.last.answer({"error": {"message": "No such File object"}}, status=404)
        assert (client.status, client.json["error"]["message"]) == (404, "No such File object")
        assert "x-should-retry" not in client.headers
    assert len(bench.upstream.attempts) == 2


def test_url_body_and_query_go_as_they_came_and_no_model_is_put_into_them() -> None:
    bench = a_bench(parameters=(Parameter(name="n", action="Default", value="2"),), fallback={"max_attempts": 3})
    bench.ask(BATCH, path="/v1/batches?a=b%20c")
    sent = bench.upstream.last.request
    assert sent is not None
    assert (sent.method, sent.url, orjson.loads(sent.body)) == (
        "POST",
        "http://primary.internal/v1/batches?a=b%20c",
        BATCH,
    )
    bench.ask(b"", path="/v1/conversations/c/items/m", method="DELETE")
    sent = bench.upstream.last.request
    assert sent is not None
    assert (sent.method, sent.url, sent.body) == ("DELETE", "http://primary.internal/v1/conversations/c/items/m", b"")


def test_a_pin_a_header_and_a_provider_that_does_not_take_it() -> None:
    bench = a_bench()
    bench.ask(b"", path="/v1/files", method="GET", headers={"x-modelpool-target": "backup"})
    assert bench.upstream.asked == ["backup"], "who names a target means it"
    client = bench.ask(b"", path="/v1/files", method="GET", headers={"x-modelpool-pool": "nope"})
    assert (client.status, client.error_code) == (404, "unknown_pool")
    assert "x-modelpool-pool" not in client.headers
    bench = a_bench(provider={"operations": ("Chat",)})
    client = bench.ask(b"", path="/v1/files", method="GET")
    assert (client.status, client.error_code) == (400, "capability_missing")
    assert "primary does not take Files" in client.json["error"]["message"]


def test_a_deletion_may_be_answered_with_nothing() -> None:
    bench = a_bench()
    client = bench.ask(b"", path="/v1/responses/resp_1", method="DELETE")
    bench.upstream.last.head(204, ())
    bench.upstream.last.end()
    assert (client.status, client.body, client.end) == (204, b"", "finished")
    client = bench.ask(b"", path="/v1/files/f/content", method="GET")
    bench.upstream.last.head(200, (("content-type", "text/plain"),))
    bench.upstream.last.end()
    assert (client.status, client.body) == (200, b""), "an empty file is one"
    client = bench.ask(b"", path="/v1/files", method="GET")
    bench.upstream.last.answer(b"{}")
    bench.clock.advance(5)
    bench.upstream.last.answer(b"")
    assert client.status == 502


def test_content_goes_out_as_it_comes_even_where_it_is_json() -> None:
    bench = a_bench()
    client = bench.ask(b"", path="/v1/files/f/content", method="GET")
    bench.upstream.last.head(200)
    bench.upstream.last.data(b'{"error":')
    assert client.body == b'{"error":'


def test_a_kept_response_is_made_where_it_can_be_found_and_elsewhere_only_where_that_fails() -> None:
    bench = a_bench(stateful={"target": "backup"})
    client = bench.ask({"model": "chat", "input": "hi"}, path="/v1/responses")
    assert bench.upstream.asked == ["backup"]
    bench.upstream.last.answer({"error": {"message": "no"}}, status=500)
    bench.upstream.last.answer({"id": "resp_1", "output": [], "status": "completed"})
    assert (client.status, bench.upstream.asked) == (200, ["backup", "primary"])
    bench.ask({"model": "chat", "input": "hi", "store": False}, path="/v1/responses")
    assert bench.upstream.asked[2:] == ["primary"]


def test_a_response_in_the_background_is_started_once() -> None:
    bench = a_bench()
    client = bench.ask({"model": "chat", "input": "hi", "background": True}, path="/v1/responses")
    bench.upstream.last.answer({"error": {"message": "no"}}, status=500)
    assert (client.status, bench.upstream.asked) == (500, ["primary"])
    bench.ask({"model": "chat", "input": "hi", "previous_response_id": "resp_1"}, path="/v1/responses")
    bench.upstream.last.answer({"error": {"message": "no"}}, status=500)
    bench.clock.advance(5)
    assert bench.upstream.asked == ["primary"] * 3, "an answer may be made again, where its id is known"


def event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))


@pytest.mark.parametrize("end", ["response.completed", "response.failed", "response.incomplete"])
def test_a_response_is_told_once_more_whatever_became_of_it(end: str) -> None:
    bench = a_bench()
    client = bench.ask(b"", path="/v1/responses/resp_1?stream=true&starting_after=3", method="GET")
    last = event(end, response={"id": "resp_1", "error": {"code": "x"}, "usage": {"output_tokens": 3}})
    bench.upstream.last.head(200, (("content-type", "text/event-stream"),))
    bench.upstream.last.data(last)
    bench.upstream.last.end()
    assert (client.status, client.body, client.end) == (200, last, "finished")
    assert bench.records[-1].usage.output_tokens is None
    assert bench.nothing_is_held()


def test_a_telling_that_breaks_does_not_say_that_the_response_failed() -> None:
    bench = a_bench()
    client = bench.ask(b"", path="/v1/responses/resp_1?stream=true", method="GET")
    bench.upstream.last.head(200, (("content-type", "text/event-stream"),))
    bench.upstream.last.data(event("response.output_text.delta", delta="hi"))
    bench.upstream.last.error("cut")
    assert client.end == "failed"
    assert b"response.failed" not in client.body
    assert b'"error"' in client.body


def test_a_stored_answer_that_was_filtered_is_what_was_asked_for() -> None:
    bench = a_bench(fallback={"outcomes": ("ContentPolicy",)})
    client = bench.ask(b"", path="/v1/responses/resp_1?stream=true", method="GET")
    bench.upstream.last.head(200, (("content-type", "text/event-stream"),))
    details = {"id": "resp_1", "status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    bench.upstream.last.data(event("response.incomplete", response=details))
    assert client.status == 200


def test_a_caller_reaches_what_their_own_pool_keeps_and_nobody_elses() -> None:
    keys = {name: f"{name}-0123456789abcdef" for name in ("alice", "bob")}
    held = Register()
    held.replace({name: callerkeys.encode({name: callerkeys.digest(key)}) for name, key in keys.items()}, 0.0)
    pools = [
        a_pool(name, [a_target(name)], stateful={"target": name}, callers={"keys": name, "source": f"Secret {name}"})
        for name in keys
    ]
    bench = Bench(compile_config(a_config(pools)), callers=held)

    def look(key: str | None = None, **headers: str) -> Any:
        shown = {} if key is None else {"authorization": f"Bearer {key}"}
        return bench.ask(b"", path="/v1/files", method="GET", headers={**shown, **headers})

    for name, key in keys.items():
        look(key)
        assert bench.upstream.last.provider == name
    asked = len(bench.upstream.attempts)
    for refused in (look(), look("wrong"), look(**{"x-modelpool-pool": "bob"})):
        assert (refused.status, refused.error_code) == (401, "invalid_api_key")
    hidden = look(keys["alice"], **{"x-modelpool-pool": "bob"})
    absent = look(keys["alice"], **{"x-modelpool-pool": "xyz"})
    assert (hidden.status, hidden.body) == (404, absent.body.replace(b"xyz", b"bob"))
    assert b"there is alice" in hidden.body
    assert len(bench.upstream.attempts) == asked


def test_what_is_kept_costs_no_tokens_and_a_sound_only_those_that_are_told() -> None:
    limit = {"name": "day", "max": 1_000, "per": 86_400_000, "burst": 1_000, "scope": "Sidecar", "count": "Total"}
    bench = a_bench(limits={"requests": (), "tokens": (limit,), "concurrency": None})

    def spent() -> int:
        [pool] = bench.state.describe(bench.snapshot, bench.clock.now())["pools"]
        return sum(each["burst"] - each["remaining"] for each in pool["limits"])

    bench.ask(b"", path="/v1/files/f/content", method="GET")
    bench.upstream.last.answer(b"x" * 100_000)
    bench.ask(BATCH, path="/v1/batches")
    bench.upstream.last.answer(OK)
    assert spent() == 0
    bench.ask({"model": "chat", "input": "hello there"}, path="/v1/audio/speech", headers={"accept": "audio/wav"})
    bench.upstream.last.answer(b"x" * 100_000, headers=(("content-type", "audio/wav"),))
    assert spent() <= 11
    assert bench.nothing_is_held()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/files/file-1", b""),
        ("DELETE", "/v1/responses/resp_1", b""),
        ("POST", "/v1/batches", BATCH),
        ("POST", "/v1/responses", {"model": "chat", "input": "hi", "previous_response_id": "resp_1"}),
        ("POST", "/v1/chat/completions", {"model": "chat", "messages": [{"content": [{"file_id": "file-1"}]}]}),
    ],
)
def test_an_id_never_reaches_another_pool(method: str, path: str, body: Any) -> None:
    onward = {"pools": ({"when": "General", "pools": ("other",)},)}
    pools = [
        a_pool("chat", [a_target("primary")], stateful={"target": "primary"}, fallback=onward),
        a_pool("other", [a_target("backup")]),
    ]
    bench = Bench(compile_config(a_config(pools)))
    client = bench.ask(body, path=path, method=method)
    while bench.upstream.last.open:
        bench.upstream.last.answer({"error": {"message": "no"}}, status=503)
        bench.clock.advance(5)
    assert client.status == 503
    assert set(bench.upstream.asked) == {"primary"}
    assert bench.nothing_is_held()
