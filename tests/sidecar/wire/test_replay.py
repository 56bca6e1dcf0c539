"""B53: an answer that is given again says the same in either form; what cannot be read whole is not kept."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from modelpool_sidecar.core.cache import Entry
from modelpool_sidecar.core.catalogue import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, Operation
from modelpool_sidecar.core.record import Usage
from modelpool_sidecar.core.usage import NO_USAGE
from modelpool_sidecar.dialects import openai_replay
from virtual import DONE, ROLE, a_chunk, a_completion

KNOWN = Usage(input_tokens=3, output_tokens=5)


def whole(**message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return a_completion(choices=[choice])


def event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def keepable(operation: Operation, found: Any, stream: bool = False) -> bool:
    body = found if isinstance(found, bytes) else json.dumps(found).encode()
    return openai_replay.kept(operation, body, stream=stream) is not None


STOP = a_chunk(finish="stop")
RESPONSE = {"id": "resp_1", "status": "completed", "output": [{"type": "reasoning"}, {"type": "message"}]}
TOLD_RESPONSE = event({"type": "response.created", "response": {}}) + event(
    {"type": "response.completed", "response": RESPONSE}
)
KEPT: dict[str, tuple[Operation, Any, bool]] = {
    "an answer": (CHAT, a_completion(), False),
    "two choices": (CHAT, a_completion(choices=[*a_completion()["choices"]] * 2), False),
    "a refusal": (CHAT, whole(content=None, refusal="no"), False),
    "a text": (COMPLETIONS, {"choices": [{"text": "a", "finish_reason": "stop"}]}, False),
    "vectors": (EMBEDDINGS, {"data": [{"embedding": [0.1]}]}, False),
    "a response": (RESPONSES, RESPONSE, False),
    "a stream": (CHAT, ROLE + a_chunk("hi") + STOP + DONE, True),
    "a stream with comments": (CHAT, b": wait\n\n" + ROLE + a_chunk("hi") + STOP + DONE, True),
    "a stream of a response": (RESPONSES, TOLD_RESPONSE, True),
    "a stream with a word in each chunk": (
        CHAT,
        a_chunk("h", name="bob") + a_chunk("i", name="bob") + STOP + DONE,
        True,
    ),
    "a stream whose last line lacks its end": (CHAT, a_chunk("hi") + STOP + b"data: [DONE]", True),
}
NOT: dict[str, tuple[Operation, Any, bool]] = {
    "cut off by length": (
        CHAT,
        a_completion(choices=[{"message": {"content": "a"}, "finish_reason": "length"}]),
        False,
    ),
    "a text that we do not know": (CHAT, a_chunk("h", song="la") + a_chunk("i", song="lu") + STOP + DONE, True),
    "no finish": (CHAT, a_completion(choices=[{"message": {"content": "a"}}]), False),
    "filtered": (CHAT, a_completion(choices=[{"message": {"content": "a"}, "finish_reason": "content_filter"}]), False),
    "tool calls": (CHAT, whole(content="a", tool_calls=[{"id": "1"}]), False),
    "a function call": (CHAT, whole(content="a", function_call={"name": "f"}), False),
    "sound": (CHAT, whole(content="a", audio={"id": "a"}), False),
    "empty": (CHAT, whole(content=""), False),
    "one empty choice": (
        CHAT,
        a_completion(choices=[*a_completion()["choices"], *whole(content="")["choices"]]),
        False,
    ),
    "no message": (CHAT, a_completion(choices=[{"finish_reason": "stop"}]), False),
    "no choice": (CHAT, a_completion(choices=[]), False),
    "odd choices": (CHAT, a_completion(choices=[5]), False),
    "an error inside": (CHAT, {**a_completion(), "error": {"message": "no"}}, False),
    "no JSON": (CHAT, b"hello", False),
    "no object": (CHAT, b"[]", False),
    "empty text": (COMPLETIONS, {"choices": [{"text": "", "finish_reason": "stop"}]}, False),
    "no vectors": (EMBEDDINGS, {"data": []}, False),
    "an incomplete response": (RESPONSES, {**RESPONSE, "status": "incomplete"}, False),
    "a response that calls": (
        RESPONSES,
        {**RESPONSE, "output": [{"type": "message"}, {"type": "function_call"}]},
        False,
    ),
    "a response of nothing": (RESPONSES, {**RESPONSE, "output": []}, False),
    "an odd response": (RESPONSES, {**RESPONSE, "output": ["a"]}, False),
    "a response without output": (RESPONSES, {"status": "completed"}, False),
    "a stream that was cut": (CHAT, ROLE + a_chunk("hi"), True),
    "a stream cut off by length": (CHAT, a_chunk("hi") + a_chunk(finish="length") + DONE, True),
    "an empty stream": (CHAT, ROLE + STOP + DONE, True),
    "a stream with an error": (CHAT, a_chunk("hi") + event({"error": {"message": "no"}}) + STOP, True),
    "a stream with an error event": (CHAT, a_chunk("hi") + b"event: error\ndata: {}\n\n" + STOP, True),
    "a stream with a broken event": (CHAT, a_chunk("hi") + b"data: {\n\n" + STOP, True),
    "a stream of tool calls": (CHAT, a_chunk("hi", tool_calls=[{"index": 0}]) + STOP + DONE, True),
    "a delta that nobody knows": (CHAT, a_chunk("hi", reasoning_details=[{"text": "a"}]) + STOP + DONE, True),
    "an odd delta": (CHAT, event({"choices": [{"index": 0, "delta": 5}]}) + STOP + DONE, True),
    "an odd choice": (CHAT, event({"choices": [5]}) + STOP + DONE, True),
    "an odd index": (CHAT, event({"choices": [{"index": "a", "delta": {}}]}) + STOP + DONE, True),
    "odd probabilities": (CHAT, event({"choices": [{"delta": {"content": "a"}, "logprobs": [1]}]}) + STOP, True),
    "an odd text": (
        COMPLETIONS,
        event({"choices": [{"text": 5}]}) + event({"choices": [{"finish_reason": "stop"}]}),
        True,
    ),
    "a stream of a response that failed": (RESPONSES, event({"type": "response.failed", "response": {}}), True),
    "an odd end of a response": (RESPONSES, event({"type": "response.completed"}), True),
}


@pytest.mark.parametrize("case", KEPT, ids=list(KEPT))
def test_these_answers_are_kept(case: str) -> None:
    assert keepable(*KEPT[case])


@pytest.mark.parametrize("case", NOT, ids=list(NOT))
def test_these_answers_are_not(case: str) -> None:
    assert not keepable(*NOT[case])


def entry(body: bytes, stream: bool, usage: Usage = NO_USAGE, *, told: bool = False) -> Entry:
    return Entry(stream, told, body, (), usage, 0.0)


def events(body: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n\n") if line]
    assert lines.pop() == b"[DONE]"
    return [json.loads(line) for line in lines]


def test_what_came_as_it_is_asked_for_goes_out_byte_for_byte() -> None:
    for stream, body in ((False, b' {"choices": []}'), (True, b"data: {}\n\n")):
        assert openai_replay.replay(CHAT, entry(body, stream), stream=stream, include_usage=False) == body
    assert openai_replay.replay(CHAT, entry(b"{}", False), stream=False, include_usage=True) == b"{}"


def test_comments_are_not_kept() -> None:
    said = ROLE + a_chunk("hi") + STOP + DONE
    assert openai_replay.kept(CHAT, b": a\n\n" + ROLE + b": b\n\n" + said.removeprefix(ROLE), stream=True) == said
    whole_one = json.dumps(a_completion()).encode()
    assert openai_replay.kept(CHAT, whole_one, stream=False) == whole_one


def test_an_answer_becomes_a_stream_as_the_api_sends_it() -> None:
    body = json.dumps(a_completion("héllo", created=7, system_fingerprint="fp", odd=1)).encode()
    told = openai_replay.replay(CHAT, entry(body, False), stream=True, include_usage=True)
    assert told is not None
    role, content, finish, usage = events(told)
    assert role["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    ]
    assert content["choices"][0]["delta"] == {"content": "héllo"}
    assert (finish["choices"][0]["delta"], finish["choices"][0]["finish_reason"]) == ({}, "stop")
    assert (usage["choices"], usage["usage"]) == ([], a_completion()["usage"])
    for chunk in (role, content, finish, usage):
        named = (chunk["id"], chunk["created"], chunk["object"], chunk["system_fingerprint"])
        assert named == ("chatcmpl-1", 7, "chat.completion.chunk", "fp")
        ChatCompletionChunk.model_validate(chunk)
    without = openai_replay.replay(CHAT, entry(body, False), stream=True, include_usage=False)
    assert without is not None
    assert len(events(without)) == 3


def test_a_stream_becomes_an_answer_with_the_usage_that_its_provider_told() -> None:
    body = ROLE + a_chunk("hel") + a_chunk("lo", refusal=None, obfuscation="x") + STOP + DONE
    usage = Usage(3, 5, 1, 2)
    told = openai_replay.replay(CHAT, entry(body, True, usage), stream=False, include_usage=False)
    assert told is not None
    found = json.loads(told)
    assert found["choices"][0]["message"] == {"role": "assistant", "content": "hello"}
    assert (found["object"], found["choices"][0]["finish_reason"]) == ("chat.completion", "stop")
    assert found["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 5,
        "total_tokens": 8,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    ChatCompletion.model_validate({"created": 0, **found})


def test_a_word_that_a_provider_repeats_in_each_chunk_is_no_text_to_be_joined() -> None:
    kept = Entry(True, False, a_chunk("h", name="bob") + a_chunk("i", name="bob") + STOP + DONE, (), KNOWN, 0.0)
    told = openai_replay.replay(CHAT, kept, stream=False, include_usage=False)
    assert told is not None
    assert json.loads(told)["choices"][0]["message"] == {"role": "assistant", "name": "bob", "content": "hi"}


def test_usage_that_nobody_knows_is_not_made_up() -> None:
    body = ROLE + a_chunk("hi") + STOP + DONE
    half = Usage(input_tokens=3)
    for usage in (NO_USAGE, half):
        for stream in (False, True):
            assert openai_replay.replay(CHAT, entry(body, True, usage), stream=stream, include_usage=stream) is None
    told = openai_replay.replay(CHAT, entry(body, True, KNOWN), stream=True, include_usage=True)
    assert told is not None
    assert events(told)[-1]["usage"]["total_tokens"] == 8


def test_usage_inside_a_stream_is_left_out_where_it_is_not_asked_for() -> None:
    usage = event({"id": "chatcmpl-1", "choices": [], "usage": a_completion()["usage"]})
    kept = entry(ROLE + a_chunk("hi") + STOP + usage + DONE, True, told=True)
    told = openai_replay.replay(CHAT, kept, stream=True, include_usage=False)
    assert told is not None
    assert not any("usage" in chunk for chunk in events(told))
    as_answer = openai_replay.replay(CHAT, kept, stream=False, include_usage=False)
    assert as_answer is not None
    assert json.loads(as_answer)["usage"] == a_completion()["usage"]


def test_a_response_is_given_again_in_its_own_form_only() -> None:
    body = json.dumps(RESPONSE).encode()
    assert openai_replay.replay(RESPONSES, entry(body, False), stream=True, include_usage=False) is None
    assert openai_replay.replay(RESPONSES, entry(TOLD_RESPONSE, True), stream=False, include_usage=False) is None
    assert openai_replay.replay(CHAT, entry(b"{", False), stream=True, include_usage=False) is None


def test_text_completions_are_told_in_both_forms() -> None:
    probabilities = {"tokens": ["a", "b"], "token_logprobs": [-1.0, -2.0]}
    choice = {"index": 0, "text": "ab", "logprobs": probabilities, "finish_reason": "stop"}
    answer = {"id": "cmpl-1", "created": 1, "model": "m", "object": "text_completion", "choices": [choice]}
    answer["usage"] = a_completion()["usage"]
    stream = openai_replay.replay(
        COMPLETIONS, entry(json.dumps(answer).encode(), False), stream=True, include_usage=True
    )
    assert stream is not None
    assert [chunk["choices"][0]["text"] for chunk in events(stream)[:-1]] == ["ab", ""]
    back = openai_replay.replay(COMPLETIONS, entry(stream, True), stream=False, include_usage=False)
    assert back is not None
    assert json.loads(back) == answer
    Completion.model_validate(answer)


def test_half_a_surrogate_pair_goes_through_and_takes_no_number_with_it() -> None:
    odd = json.dumps(whole(content="\ud83d", annotations=[{"n": 2**70}])).encode()
    told = openai_replay.replay(CHAT, entry(odd, False), stream=True, include_usage=False)
    assert told is not None
    assert events(told)[1]["choices"][0]["delta"] == {"content": "\ud83d", "annotations": [{"n": 2**70}]}


texts = st.text(min_size=1, max_size=20)
tokens = st.lists(st.fixed_dictionaries({"token": st.text(max_size=3), "logprob": st.floats(-9, 0)}), max_size=3)
messages = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": texts},
    optional={"refusal": texts, "reasoning_content": texts, "annotations": st.just([{"type": "url_citation"}])},
)
choices = st.lists(
    st.fixed_dictionaries(
        {
            "message": messages,
            "finish_reason": st.just("stop"),
            "logprobs": st.none() | st.fixed_dictionaries({"content": tokens, "refusal": st.none() | tokens}),
        }
    ),
    min_size=1,
    max_size=3,
).map(lambda found: [{"index": index, **choice} for index, choice in enumerate(found)])


@given(choices)
def test_there_and_back_it_says_the_same(found: list[dict[str, Any]]) -> None:
    answer = a_completion(choices=found, created=1)
    assert keepable(CHAT, answer)
    kept = entry(json.dumps(answer).encode(), False)
    stream = openai_replay.replay(CHAT, kept, stream=True, include_usage=True)
    assert stream is not None
    assert keepable(CHAT, stream, stream=True)
    back = openai_replay.replay(CHAT, entry(stream, True, told=True), stream=False, include_usage=False)
    assert back is not None
    assert json.loads(back) == answer


@given(st.lists(texts, min_size=1, max_size=6), st.integers(1, 3))
def test_however_a_stream_is_cut_into_events_its_text_is_whole(pieces: list[str], count: int) -> None:
    body = b""
    for piece in pieces:
        for index in range(count):
            body += event({"choices": [{"index": index, "delta": {"content": piece}}]})
    body += (
        event({"choices": [{"index": index, "delta": {}, "finish_reason": "stop"} for index in range(count)]}) + DONE
    )
    assert keepable(CHAT, body, stream=True)
    told = openai_replay.replay(CHAT, entry(body, True, KNOWN), stream=False, include_usage=False)
    assert told is not None
    said = [choice["message"]["content"] for choice in json.loads(told)["choices"]]
    assert said == ["".join(pieces)] * count


members = st.sampled_from(
    [
        "choices",
        "delta",
        "message",
        "content",
        "role",
        "text",
        "finish_reason",
        "index",
        "logprobs",
        "usage",
        "annotations",
    ]
)
leaves = st.none() | st.integers(0, 2) | st.sampled_from(["stop", "hi", "length", "assistant"])
odd = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(members, inner, max_size=4))
deltas = st.dictionaries(st.sampled_from(["content", "role", "annotations", "refusal"]), odd, max_size=3)
pieces = st.fixed_dictionaries(
    {"index": st.integers(0, 1)},
    optional={"delta": deltas, "finish_reason": st.sampled_from(["stop", None]), "text": odd, "logprobs": odd},
)
chunks = st.fixed_dictionaries({}, optional={"choices": st.lists(pieces, max_size=2) | odd, "usage": odd, "id": odd})


@given(st.sampled_from([CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES]), st.lists(chunks, max_size=5))
def test_whatever_a_provider_streams_it_is_kept_only_if_it_can_be_given_again(
    operation: Operation, found: list[dict[str, Any]]
) -> None:
    body = b"".join(map(event, found)) + DONE
    if keepable(operation, body, stream=True):
        assert openai_replay.replay(operation, entry(body, True, KNOWN), stream=False, include_usage=False) is not None


@given(st.sampled_from([CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES]), st.dictionaries(members, odd) | odd)
def test_whatever_a_provider_answers_it_is_kept_only_if_it_can_be_given_again(operation: Operation, found: Any) -> None:
    if keepable(operation, found) and operation in (CHAT, COMPLETIONS):
        kept = entry(json.dumps(found).encode(), False, KNOWN)
        assert openai_replay.replay(operation, kept, stream=True, include_usage=True) is not None


def test_names_that_are_none_are_no_fault() -> None:
    for odd_name in ([], {}, 5):
        assert not keepable(CHAT, a_completion(choices=[{"message": {"content": "a"}, "finish_reason": odd_name}]))
        assert not keepable(RESPONSES, {**RESPONSE, "output": [{"type": odd_name}, {"type": "message"}]})
    assert not keepable(CHAT, event({"choices": 5}) + a_chunk("hi") + STOP + DONE, stream=True)
