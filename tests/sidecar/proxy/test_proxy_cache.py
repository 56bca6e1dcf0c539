"""B53 from both sides: who is answered from the cache, who shares a call, what it takes, what is kept (B9, B31)."""

from typing import Any

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from builders import a_chain, a_config, a_pool, a_pool_target, a_provider, a_snapshot, a_target
from modelpool_config import callerkeys
from modelpool_config import models as contract
from modelpool_sidecar import sharing
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import DONE, JSON, ROLE, SSE, Bench, HeldDownstream, a_chunk, a_completion

QUESTION: dict[str, Any] = {"model": "chat", "temperature": 0, "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**QUESTION, "stream": True}
WITH_USAGE = {**STREAM, "stream_options": {"include_usage": True}}
SECRET = "what a provider said"
SETTINGS = {"ttl": 300_000, "max_entries": 10, "max_bytes": 1 << 20}
USAGE = b"data: " + orjson.dumps({"id": "c", "choices": [], "usage": a_completion()["usage"]}) + b"\n\n"
SAID = ROLE + a_chunk("hello") + a_chunk(finish="stop")


def cached(providers: list[contract.Provider] | None = None, **changes: Any) -> Snapshot:
    cache = {**SETTINGS, **changes.pop("cache", {})}
    return a_snapshot([a_pool(cache=cache, **changes)], providers)


def bench(**changes: Any) -> Bench:
    return Bench(cached(**changes))


def stream(it: Bench, *parts: bytes) -> None:
    """A provider's stream, from its head on."""
    it.upstream.last.head(200, SSE)
    for part in parts:
        it.upstream.last.data(part)


def kept(it: Bench) -> dict[str, Any]:
    assert it.proxy.snapshot is not None
    [pool] = it.state.describe(it.proxy.snapshot, it.clock.now())["pools"][:1]
    return dict(pool["cache"])


def said(*clients: HeldDownstream) -> list[str]:
    return [client.headers["x-modelpool-cache"] for client in clients]


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


# Limits


def limited(**changes: Any) -> Bench:
    requests = ({"name": "all", "max": 3, "per": 3_600_000, "burst": 3, "scope": "Sidecar"},)
    tokens = (
        {"name": "words", "max": 20_000, "per": 3_600_000, "burst": 20_000, "scope": "Sidecar", "count": "Total"},
    )
    limits = {"requests": requests, "tokens": tokens, "concurrency": {"max": 1, **changes}}
    return bench(limits=limits)


def left(it: Bench) -> list[int]:
    assert it.proxy.snapshot is not None
    [pool] = it.state.describe(it.proxy.snapshot, it.clock.now())["pools"]
    return [limit["remaining"] for limit in pool["limits"]]


def test_a_hit_takes_a_request_and_no_token_and_no_place() -> None:
    it = limited()
    it.ask(QUESTION)
    it.upstream.last.answer()
    before = left(it)
    it.ask({**QUESTION, "seed": 1})
    assert it.ask({**QUESTION, "seed": 2}).error_code == "concurrency_exceeded"
    busy = left(it)
    hit = it.ask(QUESTION)
    assert said(hit) == ["hit"]
    assert hit.headers["x-ratelimit-remaining-requests"] == "0"
    assert left(it) == [0, busy[1]]
    assert before[0] == 2
    refused = it.ask(QUESTION)
    assert (refused.status, refused.error_code) == (429, "rate_limit_exceeded")
    assert (it.records[-1].cache, len(it.upstream.attempts)) == (None, 2)
    it.upstream.last.answer()
    assert it.nothing_is_held()


def test_who_shares_a_call_takes_a_request_and_no_place_and_has_limits_of_its_own() -> None:
    it = limited()
    first, second = it.ask(QUESTION), it.ask(QUESTION)
    it.upstream.last.answer()
    assert said(first, second) == ["miss", "shared"]
    assert (first.headers["x-ratelimit-remaining-requests"], second.headers["x-ratelimit-remaining-requests"]) == (
        "2",
        "1",
    )
    assert (second.headers["x-modelpool-cost"], second.body) == ("0", first.body)
    assert left(it)[0] == 1
    assert it.nothing_is_held()


def test_nothing_that_reached_no_provider_is_taken_from_anybody() -> None:
    """B9, B10: the call waits for a place until it is refused; who shares it is refused, too."""
    it = limited(queue={"max": 1, "timeout": 1_000})
    it.ask({**QUESTION, "seed": 1})
    clients = [it.ask(QUESTION), it.ask(QUESTION)]
    assert left(it)[0] == 0
    it.clock.advance(1.1)
    assert [client.error_code for client in clients] == ["queue_timeout"] * 2
    assert left(it)[0] == 2
    assert {record.refusal for record in it.records} <= {"queue_timeout", None}


# Callers


def keys_of(*names: str) -> str:
    return callerkeys.encode({name: callerkeys.digest(f"key-of-{name}-0123456789") for name in names})


def test_callers_share_nothing() -> None:
    pool = a_pool(cache=SETTINGS, callers={"keys": "team", "source": "Secret team"}, requires=("callers",))
    it = Bench(compile_config(a_config([pool]), credential_digest=lambda _name: "d"))
    it.callers.replace({"team": keys_of("alice", "bob")}, it.clock.now())
    alice, bob = ({"authorization": f"Bearer key-of-{name}-0123456789"} for name in ("alice", "bob"))
    first, other = it.ask(QUESTION, headers=alice), it.ask(QUESTION, headers=bob)
    assert len(it.upstream.attempts) == 2
    it.upstream.attempts[0].answer(a_completion("for alice"))
    it.upstream.attempts[1].answer(a_completion("for bob"))
    assert said(first, other) == ["miss", "miss"]
    assert b"for alice" in it.ask(QUESTION, headers=alice).body
    assert b"for bob" in it.ask(QUESTION, headers=bob).body
    assert [record.caller for record in it.records] == ["alice", "bob", "alice", "bob"]


# Sharing


def test_fifty_equal_requests_make_one_call() -> None:
    it = bench()
    clients = [it.ask(QUESTION) for _ in range(50)]
    assert len(it.upstream.attempts) == 1
    it.upstream.last.answer()
    assert {client.body for client in clients} == {clients[0].body}
    assert said(*clients) == ["miss", *["shared"] * 49]
    assert sorted(record.cache or "" for record in it.records) == ["miss", *["shared"] * 49]
    assert it.nothing_is_held()


def test_who_comes_late_to_a_stream_hears_it_from_its_beginning() -> None:
    it = bench()
    early = it.ask(STREAM)
    stream(it, ROLE, a_chunk("hel"))
    late = it.ask(STREAM)
    assert late.body == early.body != b""
    it.upstream.last.data(a_chunk("lo") + a_chunk(finish="stop") + DONE)
    assert (late.body, late.end) == (early.body, "finished")
    assert len(it.upstream.attempts) == 1


def test_a_stream_and_an_answer_that_are_on_their_way_are_two_calls() -> None:
    it = bench()
    it.ask(STREAM)
    it.ask(QUESTION)
    it.ask(WITH_USAGE)
    assert len(it.upstream.attempts) == 3


@pytest.mark.parametrize("who", [0, 1])
def test_a_client_that_leaves_ends_nothing_while_another_waits(who: int) -> None:
    """B31."""
    it = bench()
    clients = [it.ask(QUESTION), it.ask(QUESTION)]
    clients[who].leave()
    assert not it.upstream.last.cancelled
    it.upstream.last.answer()
    assert clients[1 - who].status == 200
    assert clients[who].status is None
    assert said(it.ask(QUESTION)) == ["hit"]
    assert it.nothing_is_held()


def test_with_the_last_client_the_call_ends() -> None:
    """B31."""
    it = bench()
    clients = [it.ask(QUESTION) for _ in range(3)]
    for client in clients:
        assert not it.upstream.last.cancelled
        client.leave()
    assert it.upstream.last.cancelled
    assert [record.status for record in it.records] == [499, 499, 499]
    assert {record.outcome for record in it.records} == {Outcome.CANCELLED}
    assert it.nothing_is_held()
    it.ask(QUESTION)
    assert len(it.upstream.attempts) == 2


def test_an_error_is_for_all_who_waited_and_nobody_after() -> None:
    it = bench()
    clients = [it.ask(QUESTION), it.ask(QUESTION)]
    it.upstream.last.answer({"error": {"message": "no", "code": "bad"}}, 400)
    assert [client.status for client in clients] == [400, 400]
    it.ask(QUESTION)
    assert len(it.upstream.attempts) == 2


def test_a_client_in_a_hurry_leads_and_shares_and_its_hurry_is_its_own() -> None:
    """B15: it leaves when it has waited long enough, and others wait on."""
    hurry = {"x-stainless-read-timeout": "5"}
    it = bench()
    first, patient, sharing = it.ask(QUESTION, headers=hurry), it.ask(QUESTION), it.ask(QUESTION, headers=hurry)
    assert len(it.upstream.attempts) == 1
    it.clock.advance(6)
    assert patient.status is None
    first.leave()
    it.upstream.last.answer()
    assert said(patient, sharing) == ["shared", "shared"]
    alone = it.ask({**QUESTION, "temperature": 1}, headers=hurry)
    it.clock.advance(6)
    assert alone.status == 504
    assert it.nothing_is_held()


def test_an_answer_that_is_too_large_to_keep_is_relayed_and_joined_by_nobody() -> None:
    it = bench(cache={"max_bytes": 2_000})
    first = it.ask(STREAM)
    stream(it, ROLE, a_chunk("x" * 3_000))
    second = it.ask(STREAM)
    assert len(it.upstream.attempts) == 2
    it.upstream.attempts[0].data(a_chunk(finish="stop") + DONE)
    assert (first.end, second.status) == ("finished", None)
    assert kept(it)["entries"] == 0


class Slow(HeldDownstream):
    """A client that takes one piece, and the next one when it is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = False

    def write(self, data: bytes) -> bool:
        assert not self.is_full, "nothing is pushed into a full connection"
        super().write(data)
        self.is_full = True
        return False

    def ready(self) -> None:
        self.is_full = False
        if self.on_writable is not None:
            self.on_writable()


class Late(Slow):
    """The same, which is told the rest where the answer breaks."""

    def write(self, data: bytes) -> bool:
        self.is_full = False
        return super().write(data)


def test_a_slow_client_slows_nobody_until_the_answer_is_too_large_to_keep() -> None:
    """B30."""
    it, slow = bench(cache={"max_bytes": 4_000}), Slow()
    it.ask(STREAM, downstream=slow)
    quick = it.ask(STREAM)
    stream(it, ROLE + a_chunk("x"), a_chunk("x" * 1_000))
    assert (slow.body, quick.body) == (ROLE + a_chunk("x"), ROLE + a_chunk("x") + a_chunk("x" * 1_000))
    assert not it.upstream.last.paused
    it.upstream.last.data(a_chunk("x" * 3_000))
    assert it.upstream.last.paused
    slow.ready()
    assert it.upstream.last.paused, "there is more that it has not got"
    slow.ready()
    slow.ready()
    assert not it.upstream.last.paused
    assert slow.body == quick.body
    it.upstream.last.data(a_chunk("y"))
    assert it.upstream.last.paused
    slow.leave()
    assert not it.upstream.last.paused, "the slow one is gone"
    it.upstream.last.data(a_chunk(finish="stop") + DONE)
    it.upstream.last.end()
    assert quick.end == "finished"
    assert it.nothing_is_held()
    assert it.room.taken_bytes == 0


def test_a_slow_client_gets_all_of_it_after_the_others_have_theirs() -> None:
    it, slow = bench(), Slow()
    quick = it.ask(STREAM)
    it.ask(STREAM, downstream=slow)
    stream(it, ROLE, a_chunk("hel"), a_chunk("lo"), a_chunk(finish="stop") + DONE)
    it.upstream.last.end()
    assert (quick.end, slow.end) == ("finished", None)
    assert said(it.ask(STREAM)) == ["hit"], "it is kept already"
    assert it.proxy.in_flight == 1, "its place is held to the end"
    while slow.end is None:
        assert it.room.taken_bytes > 0
        slow.ready()
    assert (slow.body, slow.end) == (quick.body, "finished")
    slow.ready()
    assert it.room.taken_bytes == 0
    assert it.nothing_is_held()


def test_a_slow_client_hears_what_came_before_it_hears_that_it_broke() -> None:
    """B25: whatever is pushed then is no more than what was held anyway."""

    it, slow = bench(), Late()
    quick = it.ask(STREAM)
    it.ask(STREAM, downstream=slow)
    stream(it, ROLE, a_chunk("hel"), a_chunk("lo"))
    it.upstream.last.error("cut")
    assert (quick.end, slow.end) == ("failed", "failed")
    assert slow.body == quick.body
    assert it.nothing_is_held()


def test_answers_that_are_recorded_share_one_room() -> None:
    """B30."""
    it = bench()
    it.room.max_bytes = sharing.SPARE_BYTES + 2_000
    first, second = it.ask(STREAM), it.ask({**STREAM, "seed": 1})
    for attempt in it.upstream.attempts:
        attempt.head(200, SSE)
        attempt.data(ROLE + a_chunk("x" * 1_000))
    assert len(it.proxy._caching._calls) == 1, "for the second there was no room"
    for attempt in it.upstream.attempts:
        attempt.data(a_chunk(finish="stop") + DONE)
        attempt.end()
    assert (first.end, second.end, kept(it)["entries"]) == ("finished", "finished", 1)
    assert it.room.taken_bytes == 0


def test_a_drain_ends_the_call_for_everybody() -> None:
    """B51."""
    it = bench()
    clients = [it.ask(QUESTION), it.ask(QUESTION)]
    for client in clients:
        assert client.on_drain_deadline is not None
        if client.end is None:
            client.on_drain_deadline()
    assert [client.error_code for client in clients] == ["draining", "draining"]
    assert it.nothing_is_held()


def test_a_drain_cuts_who_is_still_being_told() -> None:
    class Lazy(HeldDownstream):
        def finish(self) -> None:
            """It takes its time."""

    it, slow = bench(), Lazy()
    it.ask(QUESTION, downstream=slow)
    it.upstream.last.answer()
    assert (it.proxy.in_flight, slow.end) == (1, None)
    assert slow.on_drain_deadline is not None
    slow.on_drain_deadline()
    assert slow.end == "failed"
    assert it.nothing_is_held()


def test_what_is_shared_while_it_waits_for_a_place_goes_when_it_has_one() -> None:
    it = limited(queue={"max": 1, "timeout": 10_000})
    it.ask({**QUESTION, "seed": 1})
    clients = [it.ask(QUESTION), it.ask(QUESTION)]
    clients[0].leave()
    it.upstream.last.answer()
    assert len(it.upstream.attempts) == 2
    it.upstream.last.answer()
    assert (clients[1].status, said(clients[1])) == (200, ["shared"])
    assert it.nothing_is_held()


def test_a_fault_of_ours_in_keeping_it_costs_nobody_the_answer(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = bench()

    def broken(*_: object) -> bool:
        raise ValueError(SECRET)

    monkeypatch.setattr(it.state.cache, "keep", broken)
    client = it.ask(QUESTION)
    it.upstream.last.answer()
    assert (client.status, client.end) == (200, "finished")
    assert "an answer could not be kept" in caplog.text
    assert SECRET not in caplog.text
    assert it.nothing_is_held()


def test_things_introduce_themselves_without_content() -> None:
    """B44."""
    it = bench()
    it.ask(QUESTION)
    [call] = it.proxy._caching._calls.values()
    assert repr(call) == "<Call running: 1 clients, 0 bytes>"
    assert repr(it.proxy._caching) == "<Caching: <Cache: 0 answers, 0 bytes>, 1 calls>"
    it.upstream.last.answer()
    assert repr(call) == "<Call over: 0 clients, 0 bytes>"
    assert it.room.taken_bytes == 0


# Laws


class Sharing(RuleBasedStateMachine):
    """Clients with two questions that ask, hurry, dawdle and leave, and a provider that answers in whatever way.

    B9, B11, B31: while anyone waits there is one call for each question, as long as its answer is small enough to be
    shared; nobody's leaving ends another's answer; and in the end nothing is held.
    """

    def __init__(self) -> None:
        super().__init__()
        limit = {"name": "all", "max": 1_000, "per": 3_600_000, "burst": 1_000, "scope": "Sidecar"}
        self.it = bench(cache={"ttl": 1, "max_bytes": 3_000}, limits={"requests": (limit,), "concurrency": None})
        self.waiting: dict[str, list[HeldDownstream]] = {"one": [], "two": []}
        self.attempts: dict[str, list[Any]] = {"one": [], "two": []}
        self.everybody: list[HeldDownstream] = []

    @rule(name=st.sampled_from(["one", "two"]), slow=st.booleans())
    def ask(self, name: str, slow: bool) -> None:
        self.it.clock.advance(0.01)  # what is kept is gone by now
        client = Late() if slow else HeldDownstream()
        before = len(self.it.upstream.attempts)
        self.it.ask({**STREAM, "user": name}, downstream=client)
        self.attempts[name] += self.it.upstream.attempts[before:]
        self.waiting[name].append(client)
        self.everybody.append(client)

    @rule()
    def ready(self) -> None:
        for client in self.there:
            if isinstance(client, Slow):
                client.ready()

    @property
    def there(self) -> list[HeldDownstream]:
        return [*self.waiting["one"], *self.waiting["two"]]

    @rule(name=st.sampled_from(["one", "two"]), place=st.sampled_from([0, -1]))
    def leave(self, name: str, place: int) -> None:
        if self.waiting[name]:
            self.waiting[name].pop(place).leave()

    @rule(name=st.sampled_from(["one", "two"]), size=st.sampled_from([1, 3_000]))
    def speak(self, name: str, size: int) -> None:
        for attempt in self.begun(name):
            attempt.data(a_chunk("x" * size))
            attempt.large = attempt.large or size > 1

    @rule(name=st.sampled_from(["one", "two"]))
    def end(self, name: str) -> None:
        for attempt in self.begun(name):
            attempt.data(a_chunk("hi") + a_chunk(finish="stop") + DONE)
            attempt.end()

    @rule(name=st.sampled_from(["one", "two"]))
    def cut(self, name: str) -> None:
        for attempt in self.begun(name):
            attempt.data(a_chunk("hi"))
            attempt.error("cut")

    @rule(name=st.sampled_from(["one", "two"]))
    def refuse(self, name: str) -> None:
        for attempt in self.attempts[name]:
            if not getattr(attempt, "is_begun", False):
                attempt.answer({"error": {"message": "no"}}, 400)

    def begun(self, name: str) -> list[Any]:
        for attempt in self.attempts[name]:
            if not getattr(attempt, "is_begun", False):
                attempt.is_begun, attempt.large = True, False
                attempt.head(200, SSE)
                attempt.data(ROLE)
        return self.attempts[name]

    @invariant()
    def one_call_for_each_question(self) -> None:
        for name, clients in self.waiting.items():
            self.waiting[name] = [client for client in clients if client.end is None]
            self.attempts[name] = running = [attempt for attempt in self.attempts[name] if attempt.open]
            assert self.waiting[name] or not running, "nobody waits for it"
            assert len([each for each in running if not getattr(each, "large", False)]) <= 1
        assert self.it.proxy.in_flight <= len(self.everybody)

    def teardown(self) -> None:
        while slow := [each for each in self.there if isinstance(each, Slow) and each.end is None and each.is_full]:
            for client in slow:
                client.ready()
        for client in self.everybody:
            if client.end == "finished" and client.status == 200:
                assert client.body.startswith(ROLE)
                assert client.body.endswith(DONE)
        for client in self.there:
            client.leave()
        assert self.it.nothing_is_held()
        assert self.it.room.taken_bytes == 0
        assert not self.it.proxy._caching._calls
        assert len(self.it.records) == len(self.everybody)
        assert left(self.it)[0] == 1_000 - len(self.everybody)


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
