"""B32 through the proxy: the usage of a stream is known although the client did not ask for it, and does not see it."""

from typing import Any

import orjson
import pytest

from builders import a_pool, a_snapshot, a_target
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import DONE, ROLE, SSE, Bench, a_chunk

USAGE = b'data: {"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}\n\n'
ANSWER = ROLE + a_chunk("hi") + a_chunk(finish="stop")
UNKNOWN = {"error": {"message": "Unrecognized request argument supplied: stream_options", "type": "invalid_request"}}


def two(**changes: Any) -> Snapshot:
    return a_snapshot([a_pool(targets=[a_target(), a_target("backup", priority=1)], **changes)])


def asked(bench: Bench) -> Any:
    request = bench.upstream.last.request
    assert request is not None
    return orjson.loads(request.body)


def answer(bench: Bench) -> None:
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ANSWER + USAGE + DONE)
    bench.clock.advance(0.2)


def test_usage_is_asked_for_and_the_client_does_not_see_the_chunk() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    assert asked(bench)["stream_options"] == {"include_usage": True}
    answer(bench)
    assert client.body == ANSWER + DONE
    assert (bench.records[0].usage.input_tokens, bench.records[0].usage.output_tokens) == (7, 2)
    assert bench.nothing_is_held()


@pytest.mark.parametrize("wanted", [True, False])
def test_a_client_that_says_itself_whether_it_wants_usage_is_left_alone(wanted: bool) -> None:
    bench = Bench(two())
    body = {"model": "chat", "messages": [], "stream": True, "stream_options": {"include_usage": wanted}}
    client = bench.ask(body)
    assert asked(bench)["stream_options"] == {"include_usage": wanted}
    answer(bench)
    assert client.body == ANSWER + USAGE + DONE


@pytest.mark.parametrize(
    ("path", "stream"), [("/v1/chat/completions", False), ("/v1/responses", True), ("/v1/completions", False)]
)
def test_what_has_no_such_option_is_sent_as_it_came(path: str, stream: bool) -> None:
    bench = Bench(two())
    bench.ask({"model": "chat", "input": "hi", "prompt": "hi", "messages": [], "stream": stream}, path=path)
    assert "stream_options" not in asked(bench)


@pytest.mark.parametrize("action", ["Remove", "Set"])
def test_a_pool_that_decides_on_the_option_itself_has_it_so(action: str) -> None:
    value = None if action == "Remove" else '{"include_usage":false}'
    bench = Bench(two(parameters=[{"name": "stream_options", "action": action, "value": value}]))
    bench.ask(stream=True)
    assert asked(bench).get("stream_options") == (None if value is None else {"include_usage": False})


@pytest.mark.parametrize("whole", [True, False])
def test_a_target_that_refuses_the_option_is_asked_again_without_it_and_never_with_it_again(whole: bool) -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    refusing = bench.upstream.last
    refusing.head(400)
    refusing.data(orjson.dumps(UNKNOWN))
    if whole:
        refusing.end()
    else:
        bench.clock.advance(5)
    assert refusing.cancelled is not whole
    assert bench.upstream.asked == ["primary", "primary"]
    assert "stream_options" not in asked(bench)
    answer(bench)
    assert client.body == ANSWER + USAGE + DONE  # nothing was added, so nothing is taken out
    assert client.headers["x-modelpool-attempts"] == "1"
    assert [attempt.outcome for attempt in bench.records[0].attempts] == [Outcome.OK]
    bench.ask(stream=True)
    assert bench.upstream.asked[2:] == ["primary"]
    assert "stream_options" not in asked(bench)


def test_the_second_word_of_a_target_that_refused_the_option_counts() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    bench.upstream.last.answer(UNKNOWN, 400)
    bench.upstream.last.answer(UNKNOWN, 400)
    assert (client.status, client.json) == (400, UNKNOWN)
    assert bench.nothing_is_held()


def test_the_deadline_of_the_head_holds_for_the_second_asking() -> None:
    bench = Bench(two(streaming={"head_hold": 600_000}))
    bench.ask(stream=True)
    bench.upstream.last.answer(UNKNOWN, 400)
    bench.clock.advance(120)
    assert bench.upstream.asked == ["primary", "primary", "backup"]
    assert asked(bench)["stream_options"] == {"include_usage": True}
