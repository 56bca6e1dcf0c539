"""B26: a stream that breaks in its middle is brought to its end by another target, as one stream."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_pool, a_pool_target, a_provider, a_snapshot, a_target
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.record import Recovery
from recovery_bench import NAMES, WORDS, asked, begun, breaks, chunk, chunks, end, goes_on, one_stream, pool_of, texts
from virtual import DONE, SSE, Bench

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
