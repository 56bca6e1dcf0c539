"""What a recovery costs and whom: health, tokens, time, room, the retry budget (B11, B26, B30)."""

import pytest

from modelpool_sidecar.core.record import Recovery
from modelpool_sidecar.core.room import Room
from recovery_bench import WORDS, asked, begun, breaks, chunk, chunks, end, goes_on, one_stream, pool_of, texts
from virtual import DONE, SSE, Bench, HeldDownstream


def test_a_recovery_has_as_long_as_a_request_has_counted_from_the_break() -> None:
    bench = Bench(pool_of("Replay", total=50_000))
    client = begun(bench)
    bench.clock.advance(100)
    breaks(bench, "cut")
    bench.clock.advance(49)
    assert client.end is None
    bench.clock.advance(1)
    assert client.end == "failed"
    slow = Bench(pool_of("Replay", total=50_000))
    client = begun(slow)
    breaks(slow, "cut")
    goes_on(slow, "backup", [" one"], ends=False)
    slow.clock.advance(50)
    slow.upstream.last.data(chunk("backup", {"content": " two"}))
    slow.clock.advance(0)
    assert client.end == "failed"
    assert slow.nothing_is_held()


def test_who_broke_is_blamed_and_who_brought_it_to_its_end_is_not() -> None:
    bench = Bench(pool_of("Replay"))
    pool = bench.snapshot.pools["chat"] if bench.snapshot else None
    for _ in range(10):
        begun(bench)
        if bench.upstream.last.provider != "primary":
            break
        breaks(bench, "cut")
        goes_on(bench, "backup", WORDS)
    assert pool is not None
    primary, backup = (bench.state.health(pool.targets[name]) for name in ("primary", "backup"))  # type: ignore[union-attr]
    assert not primary.available(bench.clock.now())
    assert backup.available(bench.clock.now())


def test_tokens_are_told_as_the_sum_and_the_answer_remembers_who_gave_which() -> None:
    bench = Bench(pool_of("Continue", prefill=("backup",)))
    body = {
        "model": "chat",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "hi"}],
    }
    client = bench.ask(body)
    bench.upstream.last.head(200, SSE)
    told = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
    bench.upstream.last.data(texts("primary", WORDS[:2]) + chunk("primary", {"content": WORDS[2]}, usage=told))
    breaks(bench, "cut")
    assert asked(bench)["max_tokens"] == 7
    bench.upstream.last.head(200, SSE)
    told = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    bench.upstream.last.data(texts("backup", WORDS[3:]) + chunk("backup", {}, "stop"))
    bench.upstream.last.data(chunk("backup", None, usage=told) + DONE)
    assert one_stream(client) == "".join(WORDS)
    assert chunks(client)[-1]["usage"] == {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    assert (bench.records[0].usage.input_tokens, bench.records[0].usage.output_tokens) == (11, 5)


def test_a_slow_client_slows_the_second_target_too() -> None:
    bench = Bench(pool_of("Replay"))
    client = begun(bench, downstream=HeldDownstream(room=600))
    breaks(bench, "cut")
    goes_on(bench, "backup", [*WORDS, "x" * 1000], ends=False)
    assert bench.upstream.last.paused
    client.leave()
    assert bench.nothing_is_held()


def test_each_attempt_settles_its_own_tokens_and_the_pool_the_sum() -> None:
    """B10, B11: each permit is given back once, by whoever took it."""
    minute = {"name": "minute", "max": 10_000, "per": 60_000, "burst": 10_000, "scope": "Sidecar", "mode": "Enforce"}
    tokens = {**minute, "count": "Total", "by": "Pool", "header": None}
    bench = Bench(pool_of("Continue", prefill=("backup",), tokens=tokens))
    body = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": "x" * 400}]}
    client = begun(bench, body=body)
    breaks(bench, "cut")
    bench.upstream.last.head(200, SSE)
    told = {"prompt_tokens": 130, "completion_tokens": 2, "total_tokens": 132}
    bench.upstream.last.data(texts("backup", WORDS[3:]) + chunk("backup", {}, "stop", usage=told) + DONE)
    assert one_stream(client) == "".join(WORDS)
    assert bench.snapshot is not None
    pool = bench.snapshot.pools["chat"]
    levels = bench.state.describe(bench.snapshot, bench.clock.now())["pools"][0]["limits"]
    left = {limit["name"]: limit["remaining"] for limit in levels}
    assert 10_000 - left["minute"] == pytest.approx(100 + 3 + 132, abs=30), pool
    bench.clock.advance(1)
    assert bench.nothing_is_held()


def test_what_is_kept_takes_room_that_all_share_and_gives_it_back() -> None:
    """B30."""
    bench = Bench(pool_of("Replay"), room=Room(20))
    client, other = begun(bench, words=3), begun(bench, words=3)
    assert bench.room.taken_bytes == len("".join(WORDS[:3])) == 14
    breaks(bench, "cut")
    assert other.end == "failed"
    assert bench.records[0].recoveries == (Recovery(None, "NotPossible", "no room in memory to keep it"),)
    bench.upstream.attempts[0].error("cut")
    goes_on(bench, "backup", WORDS[:4], ends=False)
    assert bench.room.taken_bytes == 19
    bench.upstream.last.data(chunk("backup", {"content": WORDS[4]}) + end("backup"))
    assert one_stream(client) == "".join(WORDS)
    bench.clock.advance(1)
    assert bench.nothing_is_held()


def test_while_a_recovery_waits_the_client_sees_comments_and_nothing_else() -> None:
    """B33."""
    bench = Bench(pool_of("Replay"))
    client = begun(bench)
    breaks(bench, "cut")
    before = client.body
    bench.clock.advance(31)
    goes_on(bench, "backup", WORDS[:2], ends=False)
    bench.clock.advance(16)
    assert client.body == before + b": keep-alive\n\n" * 3
    bench.upstream.last.data(texts("backup", WORDS[2:]) + end("backup"))
    assert one_stream(client) == "".join(WORDS)


def test_the_first_recovery_is_free_and_the_next_is_paid_from_the_retry_budget() -> None:
    """B18."""
    broke = {"retry_budget": {"percent": 0, "min_per_second": 0}, "max_attempts": 3}
    bench = Bench(pool_of("Replay", targets=3, fallback=broke))
    client = begun(bench)
    breaks(bench, "cut")
    goes_on(bench, "backup", WORDS[:4], ends=False)
    breaks(bench, "cut")
    assert bench.upstream.asked == ["primary", "backup"]
    assert client.end == "failed"
    assert b"no target is left for it" in client.body


def test_usage_that_only_we_asked_for_is_counted_and_not_shown() -> None:
    """B32."""
    bench = Bench(pool_of("Continue", prefill=("backup",)))
    client = begun(bench)
    breaks(bench, "cut")
    assert asked(bench)["stream_options"] == {"include_usage": True}
    goes_on(bench, "backup", WORDS[3:], ends=False)
    told = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    bench.upstream.last.data(chunk("backup", {}, "stop") + chunk("backup", None, usage=told) + DONE)
    assert one_stream(client) == "".join(WORDS)
    assert b'"usage"' not in client.body
    assert (bench.records[0].usage.input_tokens, bench.records[0].usage.output_tokens) == (7, 2)
