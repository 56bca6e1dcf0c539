"""B26: a stream that breaks in its middle is brought to its end by another target, as one stream; or it is B25."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_pool, a_pool_target, a_provider, a_snapshot, a_target
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.record import Recovery
from modelpool_sidecar.core.room import Room
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import DONE, SSE, Bench, HeldDownstream

NAMES = ("primary", "backup", "third")
TEXT = "one two three four five"
WORDS = [" one", " two", " three", " four", " five"]


def pool_of(
    *ways: str,
    targets: int = 2,
    prefill: tuple[str, ...] = (),
    prefix: bool = False,
    tokens: Any = None,
    **changes: Any,
) -> Snapshot:
    names = NAMES[:targets]
    way = "Prefix" if prefix else "Message"
    if tokens is not None:
        changes["limits"] = {"requests": (), "tokens": (tokens,), "concurrency": None}
    able = {name: ["JSONSchema", "Audio", *(["Prefill"] if name in prefill else [])] for name in names}
    providers = [
        a_provider(name, models=[{"name": f"{name}-model", "capabilities": able[name], "prefill": way}])
        for name in sorted(names)
    ]
    pools = [a_pool(targets=[a_target(n, priority=p) for p, n in enumerate(names)], recovery=ways, **changes)]
    return a_snapshot(pools, providers)


def chunk(provider: str, delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    frame = {"id": f"id-{provider}", "created": len(provider), "model": f"{provider}-model", "choices": choices}
    return b"data: " + orjson.dumps({**frame, **more}) + b"\n\n"


def texts(provider: str, words: list[str]) -> bytes:
    role = chunk(provider, {"role": "assistant", "content": ""})
    return role + b"".join(chunk(provider, {"content": word}) for word in words)


def end(provider: str) -> bytes:
    return chunk(provider, {}, "stop") + DONE


def begun(bench: Bench, words: int = 3, **more: Any) -> HeldDownstream:
    client = bench.ask(stream=True, **more)
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(texts("primary", WORDS[:words]))
    return client


def goes_on(bench: Bench, provider: str, words: list[str], *, ends: bool = True) -> None:
    assert bench.upstream.last.provider == provider
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(texts(provider, words) + (end(provider) if ends else b""))


def chunks(client: HeldDownstream) -> list[Any]:
    events = [each.removeprefix(b"data: ") for each in client.body.split(b"\n\n") if each.startswith(b"data: ")]
    return [orjson.loads(each) for each in events if each != b"[DONE]"]


def one_stream(client: HeldDownstream) -> str:
    """The text, where everything else is as one answer has it."""
    assert client.end == "finished"
    assert client.body.count(DONE) == 1
    assert client.body.endswith(DONE)
    assert {each["id"] for each in chunks(client)} == {"id-primary"}
    assert {each["model"] for each in chunks(client)} == {"primary-model"}
    assert {each["created"] for each in chunks(client)} == {7}
    choices = [choice for each in chunks(client) for choice in each["choices"]]
    assert {choice["index"] for choice in choices} == {0}
    assert sum("role" in choice["delta"] for choice in choices) == 1
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop"]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def asked(bench: Bench) -> Any:
    request = bench.upstream.last.request
    assert request is not None
    return orjson.loads(request.body)


def breaks(bench: Bench, fault: str) -> None:
    attempt = bench.upstream.last
    match fault:
        case "cut":
            attempt.data(b'data: {"choices":[{"delta":{"con')
            attempt.error("cut")
        case "end":
            attempt.end()
        case "stall":
            bench.clock.advance(120)
        case "error event":
            attempt.data(b'data: {"error":{"message":"overloaded"}}\n\n')
        case "oversized":
            attempt.data(b"data: " + b"x" * 1_100_000)


FAULTS = ["cut", "end", "stall", "error event", "oversized"]


@pytest.mark.parametrize("fault", FAULTS)
def test_continue_goes_on_from_the_text_so_far_at_a_target_that_declares_prefill(fault: str) -> None:
    bench = Bench(pool_of("Continue", "Replay", targets=3, prefill=("third",)))
    client = begun(bench)
    breaks(bench, fault)
    assert asked(bench)["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": " one two three"},
    ]
    assert asked(bench)["model"] == "third-model"
    goes_on(bench, "third", WORDS[3:])
    assert one_stream(client) == "".join(WORDS)
    record = bench.records[0]
    assert record.recoveries == (Recovery("Continue", "Recovered"),)
    assert record.outcome is Outcome.OK
    assert [each.outcome for each in record.attempts][1:] == [Outcome.OK]
    assert record.response_id == "id-primary"
    bench.clock.advance(1)
    assert bench.nothing_is_held()


@pytest.mark.parametrize("fault", FAULTS)
def test_replay_holds_back_what_equals_the_text_that_was_sent(fault: str) -> None:
    bench = Bench(pool_of("Replay"))
    client = begun(bench)
    breaks(bench, fault)
    before = client.body
    assert asked(bench)["messages"] == [{"role": "user", "content": "hi"}]
    goes_on(bench, "backup", ["".join(WORDS[:2]), " thr"], ends=False)
    assert client.body == before
    assert client.end is None
    bench.upstream.last.data(texts("backup", ["ee", *WORDS[3:]]) + end("backup"))
    assert one_stream(client) == "".join(WORDS)
    assert bench.records[0].recoveries == (Recovery("Replay", "Recovered"),)
    assert bench.records[0].first_token == 0


text_pieces = st.lists(st.text(st.sampled_from('a é😀"\n'), min_size=1, max_size=4), min_size=2, max_size=6)


@given(pieces=text_pieces, share=st.floats(0, 1), size=st.integers(1, 200), again=st.integers(1, 5))
def test_wherever_the_first_stream_is_cut_the_text_is_whole(
    pieces: list[str], share: float, size: int, again: int
) -> None:
    bench = Bench(pool_of("Replay"))
    stream = texts("primary", pieces) + end("primary")
    first = stream[: int(len(stream) * share)]
    client = bench.ask(stream=True)
    bench.upstream.last.head(200, SSE)
    for at in range(0, len(first), size):
        bench.upstream.last.data(first[at : at + size])
    if client.end is None:
        bench.upstream.last.error("cut")
    if client.end is None:
        whole = "".join(pieces)
        second = [whole[at : at + again] for at in range(0, len(whole), again)]
        stream = texts("backup", second) + end("backup")
        bench.upstream.last.head(200, SSE)
        for at in range(0, len(stream), size):
            if bench.upstream.last.open:
                bench.upstream.last.data(stream[at : at + size])
    if client.headers["x-modelpool-target"] == "primary":
        assert one_stream(client) == "".join(pieces)
    bench.clock.advance(3)
    assert client.body.endswith(DONE)
    assert bench.nothing_is_held()


def test_a_replay_that_differs_ends_as_any_broken_stream_and_nothing_of_it_is_seen() -> None:
    bench = Bench(pool_of("Replay", targets=3))
    client = begun(bench)
    breaks(bench, "cut")
    before = client.body
    goes_on(bench, "backup", [" one", " TWO"], ends=False)
    assert bench.upstream.last.cancelled
    bench.clock.advance(0)
    assert client.end == "failed"
    assert DONE not in client.body
    [told] = chunks(client)[-1:]
    assert client.body.startswith(before)
    assert told["error"]["code"] == "upstream_error"
    assert told["error"]["message"].endswith("cut short: it broke; not recovered: no target is left for it")
    record = bench.records[0]
    assert record.recoveries == (Recovery("Replay", "Differs"),)
    assert record.outcome is Outcome.BROKEN
    assert [each.outcome for each in record.attempts] == [Outcome.BROKEN, Outcome.CANCELLED]
    assert bench.nothing_is_held()


def test_after_a_replay_that_differs_the_next_way_is_tried() -> None:
    bench = Bench(pool_of("Replay", "Continue", targets=3, prefill=("third",)))
    client = begun(bench)
    breaks(bench, "cut")
    goes_on(bench, "backup", [" 1"], ends=False)
    bench.clock.advance(0)
    goes_on(bench, "third", WORDS[3:])
    assert one_stream(client) == "".join(WORDS)
    assert bench.records[0].recoveries == (Recovery("Replay", "Differs"), Recovery("Continue", "Recovered"))


@pytest.mark.parametrize("known", [[" one"], []], ids=["after some of it", "with its first text"])
def test_a_replay_that_differs_in_its_very_last_bytes_does_not_cost_the_attempt_after_it(known: list[str]) -> None:
    bench = Bench(pool_of("Replay", "Continue", targets=3, prefill=("third",)))
    client = begun(bench)
    breaks(bench, "cut")
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(texts("backup", known) + chunk("backup", {"content": " TWO"}).rstrip())
    bench.upstream.last.end()
    bench.clock.advance(0)
    goes_on(bench, "third", WORDS[3:])
    assert one_stream(client) == "".join(WORDS)
    assert bench.records[0].recoveries == (Recovery("Replay", "Differs"), Recovery("Continue", "Recovered"))
    bench.clock.advance(1)
    assert bench.nothing_is_held()


def test_a_second_break_is_recovered_again_from_the_text_by_then() -> None:
    bench = Bench(pool_of("Continue", "Replay", targets=3, prefill=("backup",)))
    client = begun(bench, words=2)
    breaks(bench, "cut")
    goes_on(bench, "backup", [" three"], ends=False)
    breaks(bench, "end")
    goes_on(bench, "third", ["".join(WORDS)])
    assert one_stream(client) == "".join(WORDS)
    assert bench.records[0].recoveries == (Recovery("Continue", "Failed"), Recovery("Replay", "Recovered"))


def test_a_target_that_refuses_the_text_does_not_end_the_recovery() -> None:
    bench = Bench(pool_of("Continue", "Replay", targets=3, prefill=("backup",)))
    client = begun(bench)
    breaks(bench, "cut")
    bench.upstream.last.answer({"error": {"message": "no prefill here", "type": "invalid_request_error"}}, status=400)
    goes_on(bench, "third", WORDS)
    assert one_stream(client) == "".join(WORDS)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_recovery_that_fails_goes_on_as_far_as_attempts_reach(status: int) -> None:
    bench = Bench(pool_of("Replay", targets=3))
    client = begun(bench)
    breaks(bench, "cut")
    bench.upstream.last.answer({"error": {"message": "no"}}, status=status)
    bench.upstream.last.error("connect")
    assert bench.upstream.asked == list(NAMES)
    assert client.end == "failed"
    assert DONE not in client.body
    assert bench.records[0].outcome is Outcome.BROKEN
    assert bench.records[0].recoveries == (Recovery("Replay", "Failed"), Recovery("Replay", "Failed"))
    assert bench.nothing_is_held()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"n": 2}, "n > 1"),
        ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, "an answer of a given form"),
        ({"response_format": {"type": "json_object"}}, "an answer of a given form"),
        ({"guided_json": {}, "guided_regex": "a+"}, "an answer of a given form"),
        ({"store": True}, "an answer that is stored"),
        ({"modalities": ["text", "audio"]}, "sound"),
        ({"audio": {"voice": "x"}}, "sound"),
    ],
)
def test_what_a_second_answer_cannot_be_compared_with_is_not_recovered(body: dict[str, Any], why: str) -> None:
    bench = Bench(pool_of("Continue", "Replay", prefill=("backup",)))
    whole = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": "hi"}], **body}
    client = begun(bench, body=whole)
    breaks(bench, "cut")
    assert bench.upstream.asked == ["primary"]
    assert client.end == "failed"
    assert client.body.count(b'"error"') == 1
    assert bench.records[0].recoveries == (Recovery(None, "NotPossible", why),)


@pytest.mark.parametrize(
    ("delta", "why"),
    [
        ({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}, "after a tool call"),
        ({"reasoning_content": "hm"}, "inside reasoning"),
        ({"refusal": "no"}, "after output that is no text"),
    ],
)
def test_after_such_output_nothing_is_recovered(delta: dict[str, Any], why: str) -> None:
    bench = Bench(pool_of("Continue", "Replay", prefill=("backup",)))
    client = begun(bench)
    bench.upstream.last.data(chunk("primary", delta))
    breaks(bench, "end")
    assert bench.upstream.asked == ["primary"]
    assert client.end == "failed"
    assert bench.records[0].recoveries == (Recovery(None, "NotPossible", why),)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"fallback": {"outcomes": ("Stalled",)}}, "Broken goes on nowhere"),
        ({"fallback": {"max_attempts": 1}}, "no target is left for it"),
        ({"targets": 1}, "no target is left for it"),
    ],
)
def test_what_the_fallback_forbids_is_not_recovered(changes: dict[str, Any], why: str) -> None:
    bench = Bench(pool_of("Replay", **changes))
    client = begun(bench)
    breaks(bench, "cut")
    assert bench.upstream.asked == ["primary"]
    assert client.end == "failed"
    assert bench.records[0].recoveries == (Recovery(None, "NotPossible", why),)


def test_the_providers_own_error_event_is_told_only_where_nothing_helps() -> None:
    bench = Bench(pool_of("Continue"))
    client = begun(bench)
    breaks(bench, "error event")
    assert client.end == "failed"
    assert client.body.endswith(b'data: {"error":{"message":"overloaded"}}\n\n')


def test_without_recovery_nothing_is_kept_and_nothing_recovered() -> None:
    bench = Bench(pool_of())
    client = begun(bench)
    breaks(bench, "cut")
    assert bench.upstream.asked == ["primary"]
    assert client.end == "failed"
    assert bench.records[0].recoveries == ()


def test_a_pinned_target_never_falls_back_so_it_is_not_recovered() -> None:
    bench = Bench(pool_of("Replay"))
    client = begun(bench, headers={"x-modelpool-target": "primary"})
    breaks(bench, "cut")
    assert bench.upstream.asked == ["primary"]
    assert client.end == "failed"


def test_a_client_that_leaves_meanwhile_ends_the_recovery() -> None:
    bench = Bench(pool_of("Replay"))
    client = begun(bench)
    breaks(bench, "cut")
    client.leave()
    assert bench.upstream.last.cancelled
    assert bench.records[0].recoveries == (Recovery("Replay", "Cancelled"),)
    assert bench.records[0].outcome is Outcome.CANCELLED
    assert bench.nothing_is_held()


def test_a_client_that_leaves_just_after_a_difference_ends_it_too() -> None:
    bench = Bench(pool_of("Replay", targets=3))
    client = begun(bench)
    breaks(bench, "cut")
    goes_on(bench, "backup", [" 1"], ends=False)
    client.leave()
    bench.clock.advance(1)
    assert bench.upstream.asked == ["primary", "backup"]
    assert bench.nothing_is_held()


def test_a_drain_in_the_middle_of_a_recovery_ends_the_stream_by_its_error_event() -> None:
    bench = Bench(pool_of("Replay"))
    client = begun(bench)
    breaks(bench, "cut")
    assert client.on_drain_deadline is not None
    client.on_drain_deadline()
    assert client.end == "failed"
    assert b'"code":"draining"' in client.body
    assert bench.nothing_is_held()


def test_an_answer_that_is_no_stream_is_no_rest() -> None:
    bench = Bench(pool_of("Replay"))
    client = begun(bench)
    breaks(bench, "cut")
    bench.upstream.last.answer()
    bench.clock.advance(0)
    assert client.end == "failed"
    assert b"hello" not in client.body
    assert bench.records[0].recoveries == (Recovery("Replay", "Failed"),)
    assert bench.nothing_is_held()


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


def test_a_text_completion_is_gone_on_with_by_a_longer_prompt() -> None:
    def piece(text: str, finish: str | None = None) -> bytes:
        choice = {"index": 0, "text": text, "finish_reason": finish}
        return b"data: " + orjson.dumps({"id": "cmpl-1", "choices": [choice]}) + b"\n\n"

    bench = Bench(pool_of("Continue", prefill=("backup",)))
    client = bench.ask({"model": "chat", "prompt": "Say:", "stream": True}, path="/v1/completions")
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(piece(" one") + piece(" two"))
    bench.upstream.last.end()
    assert asked(bench)["prompt"] == "Say: one two"
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(piece(" three", "stop") + DONE)
    assert client.end == "finished"
    assert client.body == piece(" one") + piece(" two") + piece(" three", "stop") + DONE


def test_the_responses_api_is_not_recovered() -> None:
    bench = Bench(pool_of("Continue", "Replay", prefill=("backup",)))
    client = bench.ask({"model": "chat", "input": "hi", "stream": True, "store": False}, path="/v1/responses")
    bench.upstream.last.head(200, SSE)
    event = {"type": "response.output_text.delta", "delta": "one", "sequence_number": 3}
    bench.upstream.last.data(b"event: response.output_text.delta\ndata: " + orjson.dumps(event) + b"\n\n")
    bench.upstream.last.end()
    assert bench.upstream.asked == ["primary"]
    assert client.end == "failed"


def test_a_slow_client_slows_the_second_target_too() -> None:
    bench = Bench(pool_of("Replay"))
    client = begun(bench, downstream=HeldDownstream(room=600))
    breaks(bench, "cut")
    goes_on(bench, "backup", [*WORDS, "x" * 1000], ends=False)
    assert bench.upstream.last.paused
    client.leave()
    assert bench.nothing_is_held()


def test_after_the_finish_an_error_event_begins_nothing_anew() -> None:
    bench = Bench(pool_of("Continue", "Replay", prefill=("backup",)))
    client = begun(bench)
    bench.upstream.last.data(chunk("primary", {}, "stop"))
    breaks(bench, "error event")
    assert bench.upstream.asked == ["primary"]
    assert client.end == "failed"
    assert client.body.count(b'"finish_reason":"stop"') == 1
    assert bench.records[0].recoveries == (Recovery(None, "NotPossible", "after its finish"),)


def test_a_missing_done_of_the_second_one_is_supplied() -> None:
    bench = Bench(pool_of("Replay"))
    client = begun(bench)
    breaks(bench, "cut")
    goes_on(bench, "backup", WORDS, ends=False)
    bench.upstream.last.data(chunk("backup", {}, "stop"))
    assert client.end is None
    bench.clock.advance(2)
    assert one_stream(client) == "".join(WORDS)


def test_an_answer_that_repeats_the_text_first_loses_that_part_where_its_way_is_known_for_it() -> None:
    bench = Bench(pool_of("Continue", prefill=("backup",), prefix=True))
    client = begun(bench)
    breaks(bench, "cut")
    assert asked(bench)["messages"][-1] == {"role": "assistant", "content": "".join(WORDS[:3]), "prefix": True}
    goes_on(bench, "backup", ["".join(WORDS[:2]), " three four", *WORDS[4:]])
    assert one_stream(client) == "".join(WORDS)


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


def test_a_stream_of_a_pool_that_was_fallen_back_to_is_recovered_there() -> None:
    """B20: by that pool's own ways and targets."""
    first = a_pool(
        targets=[a_target("primary")],
        fallback={"max_attempts": 1, "pools": [{"when": "General", "pools": ["other"]}]},
    )
    further = [a_target(name, priority=place) for place, name in enumerate(("backup", "busy", "third"))]
    other = a_pool("other", targets=further, recovery=("Replay",))
    bench = Bench(a_snapshot([first, other]))
    client = bench.ask(stream=True)
    bench.upstream.last.error("connect")
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(texts("backup", WORDS[:3]))
    bench.upstream.last.end()
    bench.upstream.last.answer({"error": {"message": "no"}}, status=503)
    assert bench.upstream.asked == ["primary", "backup", "busy", "third"]
    goes_on(bench, "third", WORDS)
    assert client.end == "finished"
    assert {each["id"] for each in chunks(client)} == {"id-backup"}
    told = [each.target for each in bench.records[0].attempts]
    assert told == ["primary", "other/backup", "other/busy", "other/third"]
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


def test_the_winner_of_a_race_that_breaks_is_gone_on_with_by_a_third() -> None:
    """B23."""
    hedging = {"percentile": None, "delay": 100, "max_percent": 100}
    bench = Bench(pool_of("Replay", targets=3, hedging=hedging))
    client = bench.ask(stream=True)
    bench.clock.advance(0.1)
    assert bench.upstream.asked == ["primary", "backup"]
    bench.upstream.attempts[0].head(200, SSE)
    bench.upstream.attempts[0].data(texts("primary", WORDS[:2]))
    assert bench.upstream.attempts[1].cancelled
    bench.upstream.attempts[0].error("cut")
    goes_on(bench, "third", WORDS)
    assert one_stream(client) == "".join(WORDS)
    bench.clock.advance(1)
    assert bench.nothing_is_held()


def test_a_target_behind_an_inner_pool_goes_on_and_the_outer_pool_says_how() -> None:
    """B7."""
    inner = a_pool("inner", targets=[a_target("backup"), a_target("third", priority=1)])
    outer = a_pool(
        targets=[a_target("primary")],
        pool_targets=[a_pool_target("inner", "further", priority=1)],
        recovery=("Continue", "Replay"),
        fallback={"max_attempts": 3},
    )
    able = [{"name": "third-model", "capabilities": ["Prefill"]}]
    providers = [a_provider("backup"), a_provider("primary"), a_provider("third", models=able)]
    bench = Bench(a_snapshot([outer, inner], providers))
    client = begun(bench)
    breaks(bench, "cut")
    goes_on(bench, "third", WORDS[3:])
    assert one_stream(client) == "".join(WORDS)
    assert bench.records[0].target == "further/third"
    bench.clock.advance(1)
    assert bench.nothing_is_held()


def test_after_an_early_head_a_stream_is_recovered_as_any_other() -> None:
    """B24."""
    bench = Bench(pool_of("Replay"))
    client = bench.ask(stream=True)
    bench.upstream.last.head(200, SSE)
    bench.clock.advance(16)
    assert client.status == 200
    bench.upstream.last.data(texts("primary", WORDS[:3]))
    breaks(bench, "cut")
    before = client.body
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(b": thinking\n\n" * 6000)  # so much without content that a head would be due
    goes_on_from = client.body
    assert goes_on_from.removeprefix(before).replace(b": thinking\n\n", b"") == b""
    bench.upstream.last.data(texts("backup", WORDS) + end("backup"))
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
