"""B26: the answer of a second target as the rest of the first one's: one id, one role, one finish, the text whole."""

import itertools
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpool_sidecar.core import sse
from modelpool_sidecar.core.recovery import MAX_KEPT_BYTES
from modelpool_sidecar.dialects.openai_shown import Shown
from modelpool_sidecar.dialects.openai_splice import Splice, dump, units

DONE = b"data: [DONE]\n\n"
STAMP = {"id": "chatcmpl-1", "created": 11, "model": "first", "system_fingerprint": "fp_1"}
OTHER = {"id": "chatcmpl-2", "created": 22, "model": "second", "system_fingerprint": "fp_2"}


def event(frame: dict[str, Any], delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return b"data: " + dump({**frame, "object": "chat.completion.chunk", "choices": choices, **more}) + b"\n\n"


def said(*texts: str, frame: dict[str, Any] = STAMP) -> bytes:
    role = event(frame, {"role": "assistant", "content": ""})
    return role + b"".join(event(frame, {"content": text}) for text in texts)


def end(frame: dict[str, Any] = OTHER, finish: str = "stop") -> bytes:
    return event(frame, {}, finish) + DONE


def shown(*texts: str) -> Shown:
    kept = Shown()
    stream = said(*texts)
    assert kept.pass_on(stream) == stream
    kept.close()
    return kept


def chunks(stream: bytes) -> list[dict[str, Any]]:
    scanner = sse.Scanner()
    events = scanner.feed(stream)
    assert scanner.pending == 0
    return [json.loads(each.data) for each in events if not each.comment_only and each.data != b"[DONE]"]


def text_of(stream: bytes) -> str:
    deltas = [choice.get("delta", {}) for chunk in chunks(stream) for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def cut(text: str, places: list[int]) -> list[str]:
    """A text in pieces, by UTF-16 units, so that a pair of surrogates may come apart."""
    whole = units(text)
    at = sorted({0, len(whole), *(2 * (place % (len(whole) // 2 + 1)) for place in places)})
    return [whole[a:b].decode("utf-16-le", "surrogatepass") for a, b in itertools.pairwise(at)]


texts = st.text(st.sampled_from('ab \n"\\é世😀👩\u200d'), min_size=1, max_size=30)
places = st.lists(st.integers(0, 60), max_size=8)


@given(text=texts, first=places, second=places, kept=st.integers(0, 9), size=st.integers(1, 400))
def test_a_replay_in_whatever_pieces_makes_the_text_whole_and_one_stream(
    text: str, first: list[int], second: list[int], kept: int, size: int
) -> None:
    sent = said(*cut(text, first)[: kept + 1])
    before = Shown()
    before.pass_on(sent)
    before.close()
    again = said(*cut(text, second), frame=OTHER) + end()
    splice = Splice(before, replay=True)
    out = b"".join(splice.pass_on(again[at : at + size]) for at in range(0, len(again), size)) + splice.close()
    assert splice.complete
    assert splice.differs is None
    assert units(text_of(sent + out)) == units(text)
    whole = chunks(sent + out)
    assert {tuple(chunk[name] for name in STAMP) for chunk in whole} == {tuple(STAMP.values())}
    assert sum("role" in choice["delta"] for chunk in whole for choice in chunk["choices"]) == 1
    assert [c["finish_reason"] for chunk in whole for c in chunk["choices"] if c["finish_reason"]] == ["stop"]
    assert (sent + out).count(DONE) == 1
    assert out.endswith(DONE)


@given(text=texts, first=places, second=places, at=st.integers(0, 100))
def test_a_replay_that_differs_in_what_was_sent_shows_nothing(
    text: str, first: list[int], second: list[int], at: int
) -> None:
    before = shown(*cut(text, first))
    whole = text[: at % len(text)] + "X" + text[at % len(text) + 1 :]
    splice = Splice(before, replay=True)
    out = splice.pass_on(said(*cut(whole, second), frame=OTHER) + end())
    assert splice.differs == "its text is another one"
    assert out == b""
    assert not splice.complete
    assert splice.close() == b""


@given(text=texts, rest=texts, first=places, second=places, echoes=st.booleans())
def test_a_continuation_is_the_rest_whether_the_text_is_repeated_first_or_not(
    text: str, rest: str, first: list[int], second: list[int], echoes: bool
) -> None:
    if not echoes and units(rest).startswith(units(text)):
        return  # nobody can tell the two apart
    before = shown(*cut(text, first))
    splice = Splice(before, replay=False, echoes=True)
    out = splice.pass_on(said(*cut(text + rest if echoes else rest, second), frame=OTHER) + end())
    assert splice.complete
    assert text_of(out)
    assert units(text_of(out)) == units(rest)
    assert before.why_not == "after its finish"


def test_what_goes_out_is_added_to_the_text_from_which_the_next_one_goes_on() -> None:
    before = shown("ab", "c")
    Splice(before, replay=False).pass_on(said("d", frame=OTHER))
    Splice(before, replay=True).pass_on(said("abcdef", frame=OTHER))
    assert before.text == "abcdef"
    assert before.tokens == 4


@pytest.mark.parametrize(
    ("again", "why"),
    [
        (said("ab", frame=OTHER) + end(), "it ended before the text that was sent"),
        (said("ab", frame=OTHER) + DONE, "it ended before the text that was sent"),
        (said("abX", frame=OTHER), "its text is another one"),
        (event(OTHER, {"tool_calls": [{"index": 0, "id": "c"}]}), "it has other output than text"),
        (event(OTHER, {"content": "abc"}).replace(b'"index":0', b'"index":1'), "it has several answers"),
        (event(OTHER, {"content": [{"type": "text"}]}), "it has other output than text"),
    ],
)
def test_what_is_no_replay_is_told_by_its_reason(again: bytes, why: str) -> None:
    splice = Splice(shown("abc"), replay=True)
    assert splice.pass_on(again + end()) == b""
    assert splice.differs == why
    assert not splice.begun


def test_a_replay_may_end_exactly_where_the_first_one_broke() -> None:
    splice = Splice(shown("abc"), replay=True)
    out = splice.pass_on(said("abc", frame=OTHER) + end())
    assert text_of(out) == ""
    assert splice.complete
    assert [choice["finish_reason"] for chunk in chunks(out) for choice in chunk["choices"]] == ["stop"]


def test_a_tool_call_may_follow_the_text_and_then_nothing_can_go_on_from_it() -> None:
    before = shown("abc")
    splice = Splice(before, replay=True)
    call = {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": ""}}]}
    out = splice.pass_on(said("abc", frame=OTHER) + event(OTHER, call))
    assert chunks(out)[0]["choices"][0]["delta"] == call
    assert before.why_not == "after a tool call"


def test_reasoning_of_the_second_one_stays_away() -> None:
    splice = Splice(shown("abc"), replay=False)
    thought = event(OTHER, {"reasoning_content": "hm"})
    out = splice.pass_on(thought + event(OTHER, {"reasoning_content": "so", "content": "d"}) + end())
    assert b"reasoning" not in out
    assert text_of(out) == "d"


def test_comments_pass_and_events_that_hold_nothing_new_do_not() -> None:
    splice = Splice(shown("abc"), replay=True)
    assert splice.pass_on(b": ping\n\n") == b": ping\n\n"
    assert splice.pass_on(b"data: {nonsense\n\ndata: 7\n\n") == b""
    assert splice.pass_on(event(OTHER, None, prompt_filter_results=[])) == b""
    assert splice.pass_on(event(OTHER, {"role": "assistant", "content": "abc"})) == b""
    assert splice.pass_on(event(OTHER, {"content": ""})) == b""
    assert not splice.begun
    assert "going on" in repr(splice)


def test_members_that_the_second_one_lacks_or_adds_are_those_of_the_first() -> None:
    plain = {"id": "x", "model": "second", "service_tier": "flex"}
    splice = Splice(shown("abc"), replay=False)
    [chunk] = chunks(splice.pass_on(event(plain, {"content": "d"}, unknown={"a": [1.50]})))
    assert {name: chunk[name] for name in STAMP} == STAMP
    assert chunk["unknown"] == {"a": [1.5]}
    assert chunk["service_tier"] == "flex"
    bare = Shown()
    bare.pass_on(event({"id": "only"}, {"content": "a"}))
    [chunk] = chunks(Splice(bare, replay=False).pass_on(event(OTHER, {"content": "d"})))
    assert chunk["id"] == "only"
    assert not chunk.keys() & {"model", "created", "system_fingerprint"}


def test_events_keep_their_name_and_lose_their_line_ends() -> None:
    splice = Splice(shown("abc"), replay=False)
    spread = b'event: chunk\r\ndata: {"choices":\r\ndata: [{"index":0,"delta":{"content":"d"}}]}\r\n\r\n'
    out = splice.pass_on(spread + b"x")
    assert out.startswith(b"event: chunk\ndata: {")
    assert out.endswith(b"\n\n")
    assert out.count(b"\n") == 3
    assert text_of(out) == "d"


def test_an_event_that_waits_for_a_byte_comes_at_the_end() -> None:
    before = Shown()
    before.pass_on(event(STAMP, {"content": "abc"})[:-2] + b"\r\r")
    assert before.text == ""
    before.close()
    assert before.text == "abc"
    splice = Splice(before, replay=True)
    assert splice.pass_on(event(OTHER, {"content": "abcd"})[:-2] + b"\r\r") == b""
    assert text_of(splice.close()) == "d"


@pytest.mark.parametrize("replay", [True, False])
def test_an_error_event_is_kept_back_because_others_may_go_on(replay: bool) -> None:
    fault = b'data: {"error":{"message":"overloaded"}}\n\n'
    before = Shown()
    assert before.pass_on(said("abc") + fault + said("never")) == said("abc")
    assert before.pass_on(said("never")) == b""
    assert before.error == fault
    assert before.text == "abc"
    before.error = b""
    splice = Splice(before, replay=replay)
    assert splice.pass_on(fault + said("abcd")) == b""
    assert before.error == fault
    assert not splice.complete


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (said("a"), None),
        (event(STAMP, {"reasoning": "hm"}), "inside reasoning"),
        (event(STAMP, {"reasoning": "hm"}) + said("a"), None),
        (event(STAMP, {"thinking": "hm"}) + said("a") + event(STAMP, {"thinking": "hm"}), "inside reasoning"),
        (said("a") + event(STAMP, {"tool_calls": [{"index": 0}]}) + said("b"), "after a tool call"),
        (event(STAMP, {"refusal": "no"}), "after output that is no text"),
        (event(STAMP, {"content": [{"type": "thinking"}]}), "after output that is no text"),
        (said("a").replace(b'"logprobs":null', b'"logprobs":{"content":[]}'), "logprobs"),
        (event(STAMP, {"content": "a"}).replace(b'"logprobs":null', b'"logprobs":{"content":[1]}'), "logprobs"),
        (event(STAMP, {"content": "a"}).replace(b'"index":0', b'"index":1'), "several answers"),
        (said("a" * 1024) * (MAX_KEPT_BYTES // 1024) + said("a"), "longer than what is kept"),
        (said("a") + event(STAMP, {}, "stop"), "after its finish"),
        (b'data: {"choices":[7]}\n\n', "several answers"),
        (b'data: {"choices":[{"delta":7}]}\n\n' + said("a"), None),
    ],
)
def test_what_was_shown_decides_whether_anything_can_go_on(stream: bytes, why: str | None) -> None:
    kept = Shown()
    kept.pass_on(stream)
    assert kept.why_not == why
    if why is not None and why != "inside reasoning":
        assert kept.text == ""
        assert why in repr(kept)


def usage(prompt: int, completion: int, cached: int | None = None) -> dict[str, Any]:
    details = {"prompt_tokens_details": {"cached_tokens": cached, "kind": "x"}} if cached is not None else {}
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **details}


def test_tokens_of_all_attempts_are_added_up_as_far_as_they_were_told() -> None:
    before = Shown()
    before.pass_on(event(STAMP, {"content": "abc"}, usage=usage(5, 1)) + event(STAMP, {"content": "d"}))
    before.pass_on(event(STAMP, {"content": "e"}, usage=usage(5, 3, 2)))
    before.close()
    splice = Splice(before, replay=False)
    assert chunks(splice.pass_on(event(OTHER, {"content": "f"}, usage=None)))[0]["usage"] is None
    [told] = chunks(splice.pass_on(event(OTHER, None, usage=usage(8, 4, 1))))
    assert told["usage"] == usage(13, 7, 3)
    assert told["choices"] == []
    assert told["id"] == STAMP["id"]


def test_a_cut_attempt_that_told_nothing_adds_nothing() -> None:
    splice = Splice(shown("abc"), replay=False)
    [told] = chunks(splice.pass_on(event(OTHER, None, usage=usage(8, 4))))
    assert told["usage"] == usage(8, 4)


def test_tokens_that_are_told_while_nothing_may_go_out_are_not_shown() -> None:
    before = shown("abc")
    assert Splice(before, replay=True).pass_on(event(OTHER, None, usage=usage(8, 0))) == b""
    before.close()
    assert before.earlier == [usage(8, 0)]


def test_a_text_completion_is_spliced_in_its_own_form() -> None:
    def piece(text: str, finish: str | None = None, identity: str = "cmpl-1") -> bytes:
        choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
        return b"data: " + orjson.dumps({"id": identity, "choices": [choice]}) + b"\n\n"

    before = Shown()
    before.pass_on(piece("ab") + piece("c"))
    before.close()
    splice = Splice(before, replay=True)
    out = splice.pass_on(piece("a", identity="cmpl-2") + piece("bcde", identity="cmpl-2") + piece("", "stop") + DONE)
    assert [(chunk["id"], chunk["choices"][0]["text"]) for chunk in chunks(out)] == [("cmpl-1", "de"), ("cmpl-1", "")]
    held = Splice(before, replay=False, echoes=True)
    out = held.pass_on(
        piece("ab", identity="cmpl-3") + b'data: {"choices":[{"index":0,"text":"","finish_reason":"x"}]}\n\n'
    )
    assert chunks(out)[0]["choices"][0]["text"] == "ab"


def test_what_was_held_as_a_repetition_comes_with_whatever_ends_it() -> None:
    for last in (event(OTHER, {}, "stop"), event(OTHER, {"tool_calls": [{"index": 0}]}), event(OTHER, None, "stop")):
        splice = Splice(shown("abcdef"), replay=False, echoes=True)
        last = last if b'"choices":[]' not in last else b'data: {"choices":[{"index":0,"finish_reason":"stop"}]}\n\n'
        assert splice.pass_on(event(OTHER, {"content": "abc"})) == b""
        assert text_of(splice.pass_on(last)) == "abc"
        assert repr(splice).startswith("<Splice continue")


def test_a_message_instead_of_a_delta_is_understood() -> None:
    splice = Splice(shown("abc"), replay=True)
    out = splice.pass_on(b'data: {"choices":[{"index":0,"message":{"role":"assistant","content":"abcd"}}]}\n\n')
    assert chunks(out)[0]["choices"][0]["message"] == {"content": "d"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["content", "role", "text"]), inner),
    max_leaves=6,
)
odd_choices = st.dictionaries(
    st.sampled_from(["index", "delta", "message", "text", "finish_reason", "logprobs"]), json_values, max_size=4
)
odd_chunks = st.dictionaries(
    st.sampled_from(["id", "choices", "usage", "error", "model"]), json_values | st.lists(odd_choices, max_size=2)
)


@given(first=st.lists(odd_chunks, max_size=3), second=st.lists(odd_chunks, max_size=4), replay=st.booleans())
def test_whatever_a_provider_sends_it_is_read_without_a_fault_of_ours(
    first: list[Any], second: list[Any], replay: bool
) -> None:
    before = shown("a")
    before.pass_on(b"".join(b"data: " + dump(each) + b"\n\n" for each in first))
    before.close()
    before.error = b""
    splice = Splice(before, replay=replay, echoes=not replay)
    out = splice.pass_on(b"".join(b"data: " + dump(each) + b"\n\n" for each in second))
    assert all(isinstance(chunk, dict) for chunk in chunks(out))
