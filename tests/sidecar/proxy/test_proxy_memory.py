"""B30: what is held of answers has its room in memory, together with everything else; without room it is a 503."""

import orjson
import pytest

from builders import a_pool, a_snapshot, a_target
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.room import Room
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import DONE, JSON, ROLE, SSE, Bench, a_chunk

WHOLE = {"streaming": {"commit": "Complete"}}


def two(**changes: object) -> Snapshot:
    return a_snapshot([a_pool(targets=[a_target(), a_target("backup", priority=1)], **changes)])


def test_a_whole_answer_without_room_is_overloaded_and_blames_nobody() -> None:
    bench = Bench(two(), room=Room(100))
    client = bench.ask()
    bench.upstream.last.head(200, JSON)
    bench.upstream.last.data(b"x" * 60)
    assert bench.room.taken_bytes == 60
    bench.upstream.last.data(b"x" * 60)
    assert (client.status, client.error_code, client.headers["retry-after"]) == (503, "overloaded", "1")
    assert bench.upstream.last.cancelled
    assert bench.upstream.asked == ["primary"]
    assert bench.records[0].outcome is Outcome.CANCELLED
    assert bench.room.taken_bytes == 0
    assert bench.nothing_is_held()


def test_a_held_stream_without_room_ends_as_its_head_allows() -> None:
    bench = Bench(two(**WHOLE), room=Room(1000))
    early, late = bench.ask(stream=True), bench.ask(stream=True)
    bench.upstream.attempts[0].head(200, SSE)
    bench.upstream.attempts[0].data(a_chunk("x" * 700))
    bench.upstream.attempts[1].head(200, SSE)
    bench.upstream.attempts[1].data(a_chunk("y" * 700))
    assert (late.status, late.error_code) == (503, "overloaded")
    bench.clock.advance(16)
    bench.upstream.attempts[0].data(a_chunk("x" * 700))
    assert (early.status, early.end) == (200, "failed")
    assert b'"code":"overloaded"' in early.body
    assert bench.room.taken_bytes == 0
    assert bench.nothing_is_held()


def test_a_preamble_has_its_room_until_the_content_and_a_stream_that_flows_needs_none() -> None:
    bench = Bench(two(), room=Room(1000))
    bench.ask(stream=True)
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE)
    assert bench.room.taken_bytes == len(ROLE)
    for _ in range(20):
        bench.upstream.last.data(a_chunk("x" * 500))
        assert bench.room.taken_bytes == 0
    bench.upstream.last.data(a_chunk(finish="stop") + DONE)
    bench.clock.advance(0.2)
    assert bench.nothing_is_held()


@pytest.mark.parametrize("fault", ["cut", "empty", "leaves"])
def test_an_attempt_that_ends_gives_its_room_back(fault: str) -> None:
    bench = Bench(two(**WHOLE), room=Room(10_000))
    client = bench.ask(stream=True)
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE if fault == "empty" else ROLE + a_chunk("half"))
    assert bench.room.taken_bytes > 0
    match fault:
        case "cut":
            bench.upstream.last.error("cut")
        case "empty":
            bench.upstream.last.data(DONE)
        case "leaves":
            client.leave()
    assert bench.room.taken_bytes == 0


def test_what_goes_out_is_counted_where_it_waits_for_the_client_and_no_more_where_it_was_held() -> None:
    bench = Bench(two(**WHOLE), room=Room(10_000))
    client = bench.ask(stream=True)
    delivered = client.on_delivered
    assert delivered is not None
    seen: list[int] = []

    def note() -> None:
        seen.append(bench.room.taken_bytes)
        delivered()

    client.on_delivered = note
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE + a_chunk("hi"))
    bench.upstream.last.data(a_chunk(finish="stop") + DONE)
    assert client.body.endswith(DONE)
    assert seen == [0]
    assert bench.room.taken_bytes == 0


def test_an_event_that_does_not_end_has_its_room_too() -> None:
    bench = Bench(two(), room=Room(200_000))
    client = bench.ask(stream=True)
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE + a_chunk("hi") + b"data: " + b"x" * 150_000)
    assert bench.room.taken_bytes == 150_006 - 65_536
    bench.upstream.last.data(b"x" * 150_000)
    assert client.end == "failed"
    assert b'"code":"overloaded"' in client.body
    assert bench.room.taken_bytes == 0
    assert bench.nothing_is_held()


# -- failed answers (B21)

BAD = {"error": {"message": "x" * 500, "type": "invalid_request_error"}}
SORRY = {"error": {"message": "y" * 500, "type": "server_error"}}


def test_a_failed_answer_has_its_room_while_it_is_read_and_as_long_as_the_client_may_be_told() -> None:
    bench = Bench(two(), room=Room(10_000))
    client = bench.ask()
    said = orjson.dumps(SORRY)
    bench.upstream.last.head(500, JSON)
    bench.upstream.last.data(said[:100])
    assert bench.room.taken_bytes == 100
    bench.upstream.last.data(said[100:])
    bench.upstream.last.end()
    assert bench.upstream.asked == ["primary", "backup"]
    assert bench.room.taken_bytes == len(said)
    bench.upstream.last.answer(SORRY, 503)
    assert (client.status, client.json) == (503, SORRY)
    assert bench.nothing_is_held()


@pytest.mark.parametrize("status", [401, 429])
def test_a_failed_answer_that_no_client_is_told_is_not_kept(status: int) -> None:
    bench = Bench(two(), room=Room(10_000))
    bench.ask()
    bench.upstream.last.answer(SORRY, status)
    assert bench.upstream.asked == ["primary", "backup"]
    assert bench.room.taken_bytes == 0


def test_a_failed_answer_that_is_not_read_to_its_end_is_not_kept() -> None:
    bench = Bench(two(), room=Room(1_000_000))
    bench.ask()
    bench.upstream.last.head(500, JSON)
    bench.upstream.last.data(b"x" * (16 * 1024 + 1))
    assert bench.upstream.asked == ["primary", "backup"]
    assert bench.room.taken_bytes == 0


def test_a_failed_answer_without_room_is_read_no_further_and_others_are_asked() -> None:
    bench = Bench(two(), room=Room(100))
    client = bench.ask(stream=True)
    bench.upstream.attempts[0].head(500, JSON)
    bench.upstream.attempts[0].data(orjson.dumps(SORRY))
    assert bench.upstream.attempts[0].cancelled
    assert bench.upstream.asked == ["primary", "backup"]
    assert bench.room.taken_bytes == 0
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(a_chunk(""))
    assert (client.status, client.error_code) == (503, "overloaded")
    assert [attempt.outcome for attempt in bench.records[0].attempts] == [Outcome.FAILED, Outcome.CANCELLED]
    assert bench.nothing_is_held()


def test_the_clients_own_fault_without_room_to_relay_it_is_overloaded() -> None:
    bench = Bench(two(), room=Room(100))
    client = bench.ask()
    bench.upstream.last.head(400, JSON)
    bench.upstream.last.data(orjson.dumps(BAD))
    assert (client.status, client.error_code, client.headers["retry-after"]) == (503, "overloaded", "1")
    assert bench.upstream.asked == ["primary"]
    assert bench.nothing_is_held()


def test_two_of_a_race_that_fail_give_each_their_own_room_back() -> None:
    bench = Bench(two(hedging={"percentile": None, "delay": 1000, "max_percent": 100}), room=Room(10_000))
    client = bench.ask()
    bench.clock.advance(1.1)
    first, second = bench.upstream.attempts
    for attempt in (first, second):
        attempt.head(500, JSON)
        attempt.data(orjson.dumps(SORRY)[:100])
    assert bench.room.taken_bytes == 200
    client.leave()
    assert bench.nothing_is_held()


def test_the_words_of_a_provider_that_refuses_to_tell_the_usage_give_their_room_back_before_it_is_asked_again() -> None:
    bench = Bench(two(), room=Room(10_000))
    bench.ask(stream=True)
    bench.upstream.last.answer({"error": {"message": "Unknown parameter: stream_options"}}, 400)
    assert bench.upstream.asked == ["primary", "primary"]
    assert bench.room.taken_bytes == 0
