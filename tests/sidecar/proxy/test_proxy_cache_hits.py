"""B53 from both sides: who is answered from the cache, what is kept, and how it is given again."""

from typing import Any

import orjson
import pytest

from builders import a_chain, a_pool, a_pool_target, a_provider, a_snapshot, a_target
from cached_bench import QUESTION, SETTINGS, STREAM, WITH_USAGE, bench, cached, kept, said, stream
from virtual import DONE, JSON, ROLE, Bench, a_chunk, a_completion

USAGE = b"data: " + orjson.dumps({"id": "c", "choices": [], "usage": a_completion()["usage"]}) + b"\n\n"
SAID = ROLE + a_chunk("hello") + a_chunk(finish="stop")


def test_the_second_request_asks_no_provider() -> None:
    it = bench()
    first = it.ask(QUESTION)
    it.upstream.last.answer()
    it.clock.advance(3)
    second = it.ask(QUESTION)
    assert said(first, second) == ["miss", "hit"]
    assert (second.status, second.body, second.end) == (200, first.body, "finished")
    assert len(it.upstream.attempts) == 1
    assert second.headers == {
        "content-type": "application/json",
        "content-length": str(len(first.body)),
        "x-modelpool-pool": "chat",
        "x-modelpool-target": "primary",
        "x-modelpool-attempts": "0",
        "x-modelpool-config": first.headers["x-modelpool-config"],
        "x-modelpool-cache": "hit",
        "x-modelpool-cost": "0",
        "age": "3",
    }
    assert [record.cache for record in it.records] == ["miss", "hit"]
    hit = it.records[1]
    assert (hit.status, hit.attempts, hit.target, hit.usage.output_tokens) == (200, (), None, None)
    assert (kept(it)["entries"], kept(it)["ratio"]) == (1, 0.5)
    assert it.nothing_is_held()
    it.clock.advance(297)
    it.ask(QUESTION)
    assert len(it.upstream.attempts) == 2, "it is too old"


def test_a_pool_without_a_cache_says_nothing_of_one() -> None:
    it = Bench(a_snapshot())
    first, second = it.ask(QUESTION), it.ask(QUESTION)
    assert len(it.upstream.attempts) == 2
    it.upstream.last.answer()
    assert "x-modelpool-cache" not in second.headers
    assert (it.records[0].cache, first.status) == (None, None)


FORMS: dict[str, tuple[dict[str, Any], tuple[bytes, ...], dict[str, Any], bool]] = {
    "a stream again": (STREAM, (SAID, DONE), STREAM, True),
    "a stream with its usage again": (WITH_USAGE, (SAID, USAGE, DONE), WITH_USAGE, True),
    "a stream with its usage, without it": (WITH_USAGE, (SAID, USAGE, DONE), STREAM, True),
    "a stream with its usage, whole": (WITH_USAGE, (SAID, USAGE, DONE), QUESTION, True),
}


@pytest.mark.parametrize("case", FORMS, ids=list(FORMS))
def test_a_stream_is_given_again_as_it_is_asked_for(case: str) -> None:
    first, parts, second, hits = FORMS[case]
    it = bench()
    it.ask(first)
    stream(it, *parts)
    told = it.ask(second)
    assert said(told) == ["hit"] if hits else told.status is None
    assert (b"usage" in told.body) == (second is not STREAM)
    assert ("content-length" in told.headers) == (second is QUESTION)
    kind = "application/json" if second is QUESTION else "text/event-stream"
    assert told.headers["content-type"].startswith(kind)
    assert b"hello" in told.body


def test_an_answer_is_given_again_as_a_stream() -> None:
    it = bench()
    it.ask(QUESTION)
    it.upstream.last.answer()
    plain, told = it.ask(STREAM), it.ask(WITH_USAGE)
    assert said(plain, told) == ["hit", "hit"]
    assert (b"usage" in plain.body, b'"completion_tokens":5' in told.body) == (False, True)
    assert plain.body.endswith(DONE)
    assert plain.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert len(it.upstream.attempts) == 1


def test_an_answer_whose_usage_nobody_knows_does_not_stand_for_one_that_tells_it() -> None:
    it = bench()
    it.ask(QUESTION)
    silent = a_completion()
    del silent["usage"]
    it.upstream.last.answer(silent)
    assert said(it.ask(STREAM)) == ["hit"]
    it.ask(WITH_USAGE)
    assert len(it.upstream.attempts) == 2


def test_the_model_in_the_answer_is_the_one_that_was_asked_for_where_the_pool_says_so() -> None:
    """B41."""
    it = bench(response_model="Requested", models=("chat", "gpt"))
    for name in ("chat", "gpt"):
        it.ask({**QUESTION, "model": name})
        it.upstream.last.answer()
        assert it.ask({**QUESTION, "model": name}).json["model"] == name
        assert f'"model":"{name}"'.encode() in it.ask({**STREAM, "model": name}).body
    assert len(it.upstream.attempts) == 2


BAD: dict[str, tuple[Any, int]] = {
    "an error": ({"error": {"message": "no", "code": "bad"}}, 400),
    "cut off": (a_completion(choices=[{"message": {"content": "a"}, "finish_reason": "length"}]), 200),
    "tools": (
        a_completion(choices=[{"message": {"content": "a", "tool_calls": [{}]}, "finish_reason": "tool_calls"}]),
        200,
    ),
    "empty": (a_completion(""), 200),
}


@pytest.mark.parametrize("case", BAD, ids=list(BAD))
def test_what_is_no_whole_answer_is_not_kept(case: str) -> None:
    it = bench()
    it.ask(QUESTION)
    it.upstream.last.answer(*BAD[case])
    it.ask(QUESTION)
    assert len(it.upstream.attempts) == 2
    assert kept(it)["entries"] == 0


def test_an_answer_that_lost_an_event_is_not_kept() -> None:
    """B28."""
    it = bench()
    first = it.ask(STREAM)
    stream(it, ROLE + a_chunk("hel"), b"data: {nonsense\n\n", a_chunk("lo") + a_chunk(finish="stop") + DONE)
    assert first.end == "finished"
    assert kept(it)["entries"] == 0


def test_what_passed_the_time_of_the_first_client_is_not_given_again() -> None:
    """B24, B33: an early head, comments, and who answered."""
    it = bench()
    first = it.ask(STREAM)
    it.clock.advance(40)
    stream(it, SAID + DONE)
    second = it.ask(STREAM)
    assert first.body.endswith(SAID + DONE)
    assert first.body.startswith(b": keep-alive")
    assert second.body == SAID + DONE
    assert (second.headers["content-type"], second.headers["x-modelpool-target"]) == (
        "text/event-stream; charset=utf-8",
        "primary",
    )


def test_a_stream_that_breaks_is_not_kept() -> None:
    it = bench()
    first, second = it.ask(STREAM), it.ask(STREAM)
    stream(it, SAID[:-20])
    it.upstream.last.error("cut")
    assert [first.end, second.end] == ["failed", "failed"]
    assert first.body == second.body
    assert kept(it)["entries"] == 0
    it.ask(STREAM)
    assert len(it.upstream.attempts) == 2


@pytest.mark.parametrize("body", [{**QUESTION, "temperature": 1}, {**QUESTION, "tools": [{"type": "function"}]}])
def test_what_is_not_to_be_kept_passes_by_and_says_so(body: dict[str, Any]) -> None:
    it = bench()
    clients = [it.ask(body), it.ask(body)]
    for attempt in it.upstream.attempts:
        attempt.answer()
    assert said(*clients) == ["bypass", "bypass"]
    assert (kept(it)["entries"], kept(it)["misses"]) == (0, 0)


def test_no_cache_asks_anew_and_keeps_the_new_answer_and_no_store_keeps_out() -> None:
    it = bench()
    it.ask(QUESTION)
    it.upstream.last.answer()
    fresh = it.ask(QUESTION, headers={"cache-control": "no-cache"})
    it.upstream.last.answer(a_completion("new"))
    assert said(fresh) == ["bypass"]
    assert b"new" in it.ask(QUESTION).body
    out = it.ask(QUESTION, headers={"cache-control": "no-store"})
    it.upstream.last.answer(a_completion("secret"))
    assert said(out) == ["bypass"]
    assert b"new" in it.ask(QUESTION).body
    assert len(it.upstream.attempts) == 3


def test_another_config_answers_for_itself() -> None:
    it = bench()
    it.ask(QUESTION)
    late = it.ask({**QUESTION, "seed": 1})
    it.upstream.attempts[0].answer()
    later = cached(total=9_000)
    it.proxy.snapshot = later
    it.state.retain(later)
    it.upstream.attempts[1].answer()
    assert late.status == 200
    assert kept(it)["entries"] == 0, "it was answered by the rules before"
    it.ask(QUESTION)
    assert len(it.upstream.attempts) == 3
    it.proxy.snapshot = a_snapshot([a_pool("other")])
    it.upstream.last.answer()
    assert it.state.cache.bytes == 0, "its pool is no more"


def test_what_another_pool_answered_is_not_kept() -> None:
    pools = [
        a_pool(cache=SETTINGS, fallback={"pools": ({"when": "General", "pools": ("spare",)},)}),
        a_pool("spare", [a_target("backup")]),
    ]
    it = Bench(a_snapshot(pools))
    client = it.ask(QUESTION)
    it.upstream.last.answer({"error": {"message": "no"}}, 500)
    it.clock.advance(5)
    while it.upstream.last.provider == "primary":
        it.upstream.last.answer({"error": {"message": "no"}}, 500)
        it.clock.advance(5)
    it.upstream.last.answer()
    assert (client.status, said(client)) == (200, ["miss"])
    assert kept(it)["entries"] == 0


def test_what_a_pool_behind_a_target_answered_is_kept_by_the_pool_that_was_asked() -> None:
    """B7."""
    near = a_pool("near", [a_target("east")], cache=SETTINGS)
    it = Bench(a_snapshot([near, a_chain("chat", a_pool_target("near"), cache=SETTINGS)]))
    first = it.ask(QUESTION)
    it.upstream.last.answer()
    hit = it.ask(QUESTION)
    assert said(first, hit) == ["miss", "hit"]
    assert hit.headers["x-modelpool-target"] == first.headers["x-modelpool-target"] == "near/east"
    it.ask({**QUESTION, "model": "near"})
    assert len(it.upstream.attempts) == 2


def test_a_target_that_is_pinned_answers_for_itself() -> None:
    """B20."""
    it = bench(targets=[a_target("one"), a_target("two")])
    for name in ("one", "two"):
        it.ask(QUESTION, headers={"x-modelpool-target": name})
        it.upstream.last.answer(a_completion(name))
    for name in ("one", "two"):
        assert name in it.ask(QUESTION, headers={"x-modelpool-target": name}).json["choices"][0]["message"]["content"]
    assert len(it.upstream.attempts) == 2


def test_what_no_target_of_the_pool_can_take_passes_by() -> None:
    """B20: it is too long for all of them, and another pool may take it."""
    small = a_provider(models=({"name": "primary-model", "context_tokens": 1},))
    rule = {"when": "ContextLength", "pools": ("spare",)}
    pools = [a_pool(cache=SETTINGS, fallback={"pools": (rule,)}), a_pool("spare", [a_target("backup")])]
    it = Bench(a_snapshot(pools, [small, a_provider("backup")]))
    client = it.ask({**QUESTION, "messages": [{"role": "user", "content": "hi " * 100}]})
    assert it.upstream.asked == ["backup"]
    it.upstream.last.answer()
    assert said(client) == ["bypass"]


def test_headers_that_the_provider_is_to_add_are_added_to_hits() -> None:
    it = bench(providers=[a_provider(response_headers=({"name": "X-Region", "value": "eu"},))])
    it.ask(QUESTION)
    it.upstream.last.answer(headers=(*JSON, ("x-request-id", "req_1")))
    hit = it.ask(QUESTION)
    assert hit.headers["x-region"] == "eu"
    assert "x-request-id" not in hit.headers
