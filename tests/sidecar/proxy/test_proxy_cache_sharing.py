"""Who shares a call, what it takes from limits, and who shares nothing (B9, B31, B53)."""

from typing import Any

import pytest

from builders import a_config, a_pool
from cached_bench import QUESTION, SETTINGS, STREAM, WITH_USAGE, bench, kept, left, said, stream
from modelpool_config import callerkeys
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.outcome import Outcome
from virtual import DONE, ROLE, Bench, HeldDownstream, a_chunk, a_completion

SECRET = "what a provider said"


# Limits


def limited(**changes: Any) -> Bench:
    requests = ({"name": "all", "max": 3, "per": 3_600_000, "burst": 3, "scope": "Sidecar"},)
    tokens = (
        {"name": "words", "max": 20_000, "per": 3_600_000, "burst": 20_000, "scope": "Sidecar", "count": "Total"},
    )
    limits = {"requests": requests, "tokens": tokens, "concurrency": {"max": 1, **changes}}
    return bench(limits=limits)


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
