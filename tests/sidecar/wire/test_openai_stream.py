"""What a stream has said so far, and which of its bytes go on (B24 to B29, B34, B40, B41)."""

# ruff: noqa: E501 (a row of a table stays one line, so that the tables can be read down)

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpool_sidecar.core.operations import CHAT, COMPLETIONS, RESPONSES, Operation
from modelpool_sidecar.core.outcome import Outcome, ProviderError
from modelpool_sidecar.core.record import Usage
from modelpool_sidecar.dialects.openai import Answer, StreamReader
from modelpool_sidecar.dialects.openai_stream import MAX_EVENT_BYTES, MAX_PICTURE_EVENT_BYTES
from wire_texts import cuts

DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 3, "completion_tokens": 5}


def event(document: Any, name: str | None = None) -> bytes:
    head = b"" if name is None else b"event: %b\n" % name.encode()
    return head + b"data: %b\n\n" % json.dumps(document).encode()


def chunk(delta: dict[str, Any] | None = None, reason: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta or {}, "finish_reason": reason}
    return event({"id": "c1", "model": "gpt-4o", "choices": [choice], **more})


def typed(kind: str, **more: Any) -> bytes:
    return event({"type": kind, **more}, kind)


def read(*parts: bytes, operation: Operation = CHAT, model: str | None = None) -> StreamReader:
    reader = StreamReader(operation, model)
    for part in parts:
        reader.feed(part)
    return reader


ROLE = chunk({"role": "assistant", "content": ""})
HI = chunk({"content": "hi"})
STOP = chunk({}, "stop")
CREATED = typed(
    "response.created", response={"id": "r1", "model": "gpt-4o", "status": "in_progress", "created_at": 9.0}
)
COMPLETED = typed(
    "response.completed", response={"id": "r1", "status": "completed", "usage": {"input_tokens": 1, "output_tokens": 2}}
)

CHAT_PREAMBLE = [
    b": keep-alive\n\n",
    b"\n",
    event({"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}),
    event({"id": "c1"}),
    event({"choices": None}),
    event({"choices": ["x"]}),
    ROLE,
    chunk({"role": "assistant", "content": None, "tool_calls": [], "refusal": None}),
    chunk({"role": "assistant", "obfuscation": "xyz"}),
    event({"choices": [{"index": 0, "delta": None, "finish_reason": None}]}),
    event({"choices": [{"index": 0, "text": "", "finish_reason": None}]}),
    event({"choices": [], "usage": None, "error": None}),
]
CHAT_OUTPUT = [
    HI,
    chunk({"content": [{"type": "text", "text": "hi"}]}),
    chunk({"reasoning_content": "hm"}),
    chunk({"reasoning": "hm"}),
    chunk({"refusal": "no"}),
    chunk({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]}),
    chunk({"function_call": {"name": "f"}}),
    chunk({"audio": {"id": "a"}}),
    event({"choices": [{"index": 0, "text": "hi", "finish_reason": None}]}),
    event({"choices": [{"delta": {"content": "no index"}}]}),
    event({"choices": [{"index": "0", "message": {"content": "whole"}}]}),
]
RESPONSE_PREAMBLE = [
    b": ping\n\n",
    CREATED,
    typed("response.queued", response={"status": "queued"}),
    typed("response.in_progress", response={}),
    typed("response.output_item.added", item={"type": "message", "content": []}),
    typed("response.output_item.added", item={"type": "reasoning", "summary": []}),
    typed("response.content_part.added", part={"type": "output_text", "text": ""}),
    typed("response.reasoning_summary_part.added", part={"type": "summary_text", "text": ""}),
    typed("response.content_part.added"),
    typed("keepalive", sequence_number=3),
    event({"x": 1}),
]
RESPONSE_OUTPUT = [
    typed("response.output_text.delta", delta="hi"),
    typed("response.reasoning_summary_text.delta", delta="hm"),
    typed("response.refusal.delta", delta="no"),
    typed("response.function_call_arguments.delta", delta="{"),
    typed("response.output_item.added", item={"type": "function_call", "name": "f"}),
    typed("response.output_item.added", item={"type": "message", "content": [{"text": "hi"}]}),
    typed("response.content_part.added", part={"type": "output_text", "text": "hi"}),
    typed("response.output_text.done", text="hi"),
    typed("response.web_search_call.in_progress"),
    event({"type": "response.output_text.delta", "delta": "without a name"}),
]
TABLE = [
    *((CHAT, CHAT_PREAMBLE, part) for part in CHAT_OUTPUT),
    *((RESPONSES, RESPONSE_PREAMBLE, part) for part in RESPONSE_OUTPUT),
]


@pytest.mark.parametrize(("operation", "preamble", "output"), TABLE, ids=range(len(TABLE)))
def test_the_first_output_commits_and_no_preamble_does(
    operation: Operation, preamble: list[bytes], output: bytes
) -> None:
    reader = StreamReader(operation)
    for part in preamble:
        assert reader.feed(part) == part
        assert (reader.committed, reader.tokens_seen, reader.finished) == (False, 0, False)
    assert reader.feed(output) == output
    assert (reader.committed, reader.tokens_seen, reader.finished, reader.done) == (True, 1, False, False)


def test_a_whole_chat_stream_goes_on_as_it_came_and_tells_of_itself() -> None:
    last = event({"id": "c1", "choices": [], "usage": USAGE})
    stream = [ROLE, HI, HI, STOP, last, DONE]
    reader = StreamReader(CHAT)
    assert b"".join(reader.feed(part) for part in stream) == b"".join(stream)
    assert (reader.events, reader.tokens_seen, reader.done, reader.terminator) == (6, 2, True, DONE)
    assert reader.answer() == Answer(Outcome.OK, Usage(3, 5), "gpt-4o", "c1", ("stop",))
    assert repr(reader) == "<StreamReader chat: 6 events, committed finished done>"
    assert repr(StreamReader(COMPLETIONS)) == "<StreamReader text_completion: 0 events, preamble>"


def test_nothing_goes_on_after_the_terminal_event() -> None:
    reader = StreamReader(CHAT)
    assert reader.feed(HI + STOP + DONE + HI) == HI + STOP + DONE
    assert reader.feed(HI) == b""
    assert reader.close() == b""


def test_a_response_stream_ends_with_its_own_terminal_event() -> None:
    delta = typed("response.output_text.delta", delta="hi", sequence_number=4)
    done = typed("response.output_text.done", text="hi")
    reader = StreamReader(RESPONSES)
    assert reader.feed(CREATED + delta + done + COMPLETED + delta) == CREATED + delta + done + COMPLETED
    assert (reader.committed, reader.finished, reader.done, reader.tokens_seen) == (True, True, True, 1)
    assert reader.terminator == b""
    assert reader.answer() == Answer(Outcome.OK, Usage(1, 2), "gpt-4o", "r1", ("completed",))


def test_an_incomplete_response_is_complete_as_a_stream() -> None:
    response = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    reader = read(CREATED, typed("response.incomplete", response=response), operation=RESPONSES)
    assert (reader.done, reader.answer().outcome) == (True, Outcome.CONTENT_POLICY)
    assert reader.answer().finish_reasons == ("content_filter",)


def test_every_choice_must_finish() -> None:
    reader = read(chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, "stop"))
    assert not reader.finished
    reader.feed(chunk({}, "length", index=1))
    assert reader.finished
    assert reader.answer().finish_reasons == ("stop", "length")
    reader.feed(chunk({"content": "a third"}, index=2))
    assert not reader.finished


def test_a_finish_reason_stays_when_a_later_chunk_repeats_the_choice() -> None:
    reader = read(HI, STOP, chunk({}))
    assert reader.finished


def test_a_finish_without_output_commits_a_complete_empty_answer() -> None:
    reader = read(ROLE, STOP)
    assert (reader.committed, reader.finished, reader.tokens_seen) == (True, True, 0)
    assert reader.answer().outcome is Outcome.OK


def test_a_filtered_stream_without_output_says_so() -> None:
    reader = read(ROLE, chunk({}, "content_filter"))
    assert (reader.tokens_seen, reader.answer().outcome) == (0, Outcome.CONTENT_POLICY)


def test_a_response_that_is_only_said_to_be_done_is_no_success() -> None:
    """Its SDK waits for the end of the response, which tells its usage: half of one would be taken for all (B25)."""
    reader = read(operation=RESPONSES)
    delta = typed("response.output_text.delta", delta="x")
    assert reader.feed(CREATED + delta + DONE) == CREATED + delta
    assert reader.broken == "the stream says that it is done, without the end of the response"
    assert (reader.finished, reader.done, reader.answer().outcome) == (False, False, Outcome.BROKEN)


def test_done_without_a_finish_reason_is_complete_where_a_choice_was_seen() -> None:
    assert read(HI, DONE).finished
    assert read(HI, DONE).answer().outcome is Outcome.OK


def test_done_without_any_choice_is_empty() -> None:
    reader = read(event({"choices": []}), DONE)
    assert (reader.done, reader.finished, reader.committed) == (True, False, False)
    assert reader.answer().outcome is Outcome.EMPTY


@pytest.mark.parametrize(
    ("parts", "outcome"), [([], Outcome.EMPTY), ([ROLE], Outcome.BROKEN), ([ROLE, HI], Outcome.BROKEN)]
)
def test_a_stream_that_ends_without_a_finish_is_broken_or_empty(parts: list[bytes], outcome: Outcome) -> None:
    assert read(*parts).answer().outcome is outcome


def test_usage_may_come_with_groqs_own_member() -> None:
    assert read(event({"choices": [], "x_groq": {"usage": USAGE}})).answer().usage == Usage(3, 5)
    assert read(event({"choices": [], "x_groq": None})).answer().usage == Usage()


ERRORS = [
    (CHAT, event({"error": {"message": "m", "code": 429, "type": "rate"}}), ProviderError("429", "rate", "m")),
    (CHAT, event({"error": "m"}), ProviderError(message="m")),
    (CHAT, event({"message": "m", "code": "c"}, "error"), ProviderError("c", None, "m")),
    (CHAT, event({"object": "error", "message": "m", "code": 500}), ProviderError("500", None, "m")),
    (CHAT, chunk({}, "error", error={"code": 502, "message": "m"}), ProviderError("502", None, "m")),
    (RESPONSES, typed("error", code="rate_limit_exceeded", message="m"), ProviderError("rate_limit_exceeded", "error", "m")),
    (RESPONSES, event({"type": "error", "code": "c", "message": "m"}), ProviderError("c", "error", "m")),
    (RESPONSES, event({"type": "error", "error": {"code": "c", "message": "m"}}), ProviderError("c", None, "m")),
    (RESPONSES, event({"error": {"code": "c", "message": "m"}}), ProviderError("c", None, "m")),
    (RESPONSES, typed("response.failed", response={"error": {"code": "server_error", "message": "m"}}), ProviderError("server_error", None, "m")),
    (RESPONSES, typed("response.failed"), ProviderError()),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "raw", "error"), ERRORS, ids=range(len(ERRORS)))
def test_an_error_event_ends_the_stream_in_the_clients_own_terms(
    operation: Operation, raw: bytes, error: ProviderError
) -> None:
    output = HI if operation is CHAT else RESPONSE_OUTPUT[0]
    first = StreamReader(operation)
    assert first.feed(raw + DONE) == raw
    assert (first.error, first.committed, first.finished) == (error, False, False)
    assert first.answer().outcome is Outcome.EMPTY
    assert first.answer().error == error
    later = read(output, raw, output, operation=operation)
    assert (later.error, later.tokens_seen, later.finished) == (error, 1, False)
    assert later.answer().outcome is Outcome.BROKEN


@pytest.mark.parametrize(
    ("raw", "broken"),
    [
        (b'data: {"choices":[}\n\n', "event 2 is not valid JSON: Expecting value at line 1 column 13"),
        (b"data: hello\n\n", "event 2 is not valid JSON: Expecting value at line 1 column 1"),
        (b"data:  \n\n", "event 2 is not valid JSON: it is empty"),
        (b"data: \xff\n\n", "event 2 is not valid JSON: byte 0 is not UTF-8"),
        (b"data: []\n\n", "event 2 is not a JSON object"),
        (b"data: " + b"x" * MAX_EVENT_BYTES + b"\n\n", "an event is larger than 1048576 bytes"),
        (b": " + b"x" * MAX_EVENT_BYTES + b"\n\n", "an event is larger than 1048576 bytes"),
        (b"x" * (MAX_EVENT_BYTES + 1), "an event is larger than 1048576 bytes"),
    ],
)
def test_a_fault_never_reaches_the_client_half(raw: bytes, broken: str) -> None:
    reader = read(HI)
    assert reader.feed(raw) == b""
    assert reader.broken == broken
    assert reader.feed(DONE) == b""
    assert reader.close() == b""
    assert reader.answer().outcome is Outcome.BROKEN


def test_a_picture_in_a_response_is_no_fault_until_it_is_larger_than_any_picture() -> None:
    drawn = typed("response.output_item.done", item={"type": "image_generation_call", "result": "x" * MAX_EVENT_BYTES})
    reader = read(CREATED, operation=RESPONSES)
    assert reader.feed(drawn) == drawn
    assert reader.committed
    assert reader.feed(b"data: " + b"x" * MAX_PICTURE_EVENT_BYTES) == b""
    assert reader.broken == "an event is larger than 16777216 bytes"


def test_what_came_before_a_fault_still_goes_on() -> None:
    reader = StreamReader(CHAT)
    assert reader.feed(HI + b"data: nonsense\n\n" + HI) == HI
    assert reader.broken is not None


def test_half_a_surrogate_pair_is_no_fault() -> None:
    raw = b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"},"finish_reason":null}]}\n\n'
    reader = StreamReader(CHAT)
    assert reader.feed(raw) == raw
    assert reader.tokens_seen == 1


@pytest.mark.parametrize(
    ("rest", "supplied", "done"),
    [
        (b"data: [DONE]", DONE, True),
        (b"data: [DONE]\n", DONE, True),
        (STOP[:-2], STOP, False),
        (STOP[:-1], STOP, False),
        (STOP[:-5], b"", False),
        (b": comment", b"", False),
        (b"data: [DO", b"", False),
        (b"", b"", False),
    ],
)
def test_a_last_event_that_only_lacks_its_line_ends_is_whole(rest: bytes, supplied: bytes, done: bool) -> None:
    reader = read(HI, rest)
    assert reader.close() == supplied
    assert reader.done is done
    assert reader.broken is None


def test_a_last_event_that_the_line_ends_make_too_large_is_not_supplied() -> None:
    reader = read(b"data: " + b"x" * (MAX_EVENT_BYTES - 6))
    assert reader.close() == b""


def test_the_terms_of_a_response_are_kept_for_its_error_event() -> None:
    reader = read(CREATED, typed("response.output_text.delta", delta="x", sequence_number=6), operation=RESPONSES)
    flat, failed = (json.loads(part.split(b"data: ")[1]) for part in reader.error_event("c", "m").split(b"\n\n")[:2])
    assert (flat["sequence_number"], failed["sequence_number"]) == (7, 8)
    assert (failed["response"]["id"], failed["response"]["model"]) == ("r1", "gpt-4o")
    assert failed["response"]["created_at"] == 9
    assert StreamReader(CHAT).error_event("c", "m").startswith(b'data: {"error":')


def test_odd_numbers_in_a_response_are_ignored() -> None:
    response = {"created_at": "now", "status": 5, "model": None}
    reader = read(typed("response.created", sequence_number="x", response=response), operation=RESPONSES)
    assert reader.answer() == Answer(Outcome.EMPTY)


def test_the_requested_model_is_written_into_every_chunk_and_nothing_else_changes() -> None:
    odd = b'event: x\r\ndata: {"choices":[{"index":0,"delta":{"content":"\\"model\\": \\"gpt-4o\\""}}],\r\ndata:  "model" : "gpt-4o","x":{"model":"gpt-4o"}}\r\n\r\n'
    reader = StreamReader(CHAT, "chat é")
    assert reader.feed(HI) == HI.replace(b'"gpt-4o"', '"chat é"'.encode())
    assert reader.feed(odd) == odd.replace(b'"model" : "gpt-4o"', '"model" : "chat é"'.encode())
    assert reader.feed(event({"choices": [], "model": None})) == event({"choices": [], "model": None})
    assert reader.feed(b": ping\n\n" + DONE) == b": ping\n\n" + DONE
    assert reader.answer().model == "gpt-4o"


def test_the_requested_model_is_written_into_a_response_and_not_into_its_items() -> None:
    document = b'data: {"type":"response.created","model":"top","response":{"x":{"model":"b"},"model":"gpt-4o"}}\n\n'
    reader = StreamReader(RESPONSES, "chat")
    assert reader.feed(document) == document.replace(b'"gpt-4o"', b'"chat"')
    delta = typed("response.output_text.delta", delta="model")
    assert reader.feed(delta) == delta


def test_a_model_that_stands_twice_is_rewritten_twice() -> None:
    raw = b'data: {"model":"a-long-name","choices":[],"mod\\u0065l":"b"}\n\n'
    assert StreamReader(CHAT, "n").feed(raw) == b'data: {"model":"n","choices":[],"mod\\u0065l":"n"}\n\n'


PARTS = st.lists(st.sampled_from([*CHAT_PREAMBLE, *CHAT_OUTPUT, STOP, chunk({}, "length", index=1), DONE]), max_size=15)
ALL = st.lists(
    st.sampled_from(
        [*CHAT_PREAMBLE, *CHAT_OUTPUT, *(raw for _, raw, _ in ERRORS), *RESPONSE_PREAMBLE, *RESPONSE_OUTPUT, STOP, DONE,
         COMPLETED, b"data: {\n\n", b"garbage", b"\r", b"\r\n"]
    ),
    max_size=12,
)  # fmt: skip


def state(reader: StreamReader, out: bytes) -> tuple[object, ...]:
    marks = (reader.committed, reader.finished, reader.done, reader.error, reader.broken, reader.events)
    return (out, *marks, reader.tokens_seen, reader.answer())


@settings(max_examples=500, deadline=None)
@given(ALL, st.sampled_from([CHAT, RESPONSES]), st.sampled_from([None, "chat"]), st.data())
def test_a_stream_reads_the_same_however_it_is_cut(
    parts: list[bytes], operation: Operation, model: str | None, data: st.DataObject
) -> None:
    stream = b"".join(parts)
    whole, cut = StreamReader(operation, model), StreamReader(operation, model)
    out = whole.feed(stream) + whole.close()
    again = b"".join(cut.feed(piece) for piece in data.draw(cuts(stream)) if piece) + cut.close()
    assert state(whole, out) == state(cut, again)


@settings(max_examples=500, deadline=None)
@given(PARTS)
def test_a_sound_stream_passes_byte_for_byte_up_to_its_end(parts: list[bytes]) -> None:
    stream = b"".join(parts)
    reader = StreamReader(CHAT)
    out = reader.feed(stream)
    assert out == (stream[: stream.index(DONE) + len(DONE)] if DONE in parts else stream)
    assert reader.done is (DONE in parts)
    assert reader.close() == b""
