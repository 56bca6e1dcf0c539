"""B28: a malformed event in the text of an answer that goes on well costs nothing else; elsewhere it breaks it."""

from collections.abc import Callable

import pytest

from modelpool_sidecar.core.operations import CHAT, RESPONSES, Operation
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.dialects import openai_form
from modelpool_sidecar.dialects.openai_stream import StreamReader

HI = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
TOOL = b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0}]},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
BAD = b"data: {nonsense\n\n"
TEXT = b'data: {"type":"response.output_text.delta","delta":"hi","sequence_number":4}\n\n'
CALL = b'data: {"type":"response.output_item.added","item":{"type":"function_call"},"sequence_number":5}\n\n'


def reader(operation: Operation = CHAT, strict: Callable[[], bool] | None = lambda: False) -> StreamReader:
    return StreamReader(operation, strict=strict)


def test_it_is_left_out_and_counted_and_the_rest_goes_on() -> None:
    said = reader()
    assert said.feed(HI + BAD + HI + b"data: []\n\n" + STOP + DONE) == HI + HI + STOP + DONE
    assert (said.broken, said.done, said.answer().dropped) == (None, True, 2)


@pytest.mark.parametrize(
    ("operation", "before", "bad"),
    [
        (CHAT, b"", BAD),
        (CHAT, HI, BAD + BAD),
        (CHAT, HI + TOOL, BAD),
        (CHAT, HI, b'data: {"choices":[{"delta":{"tool_calls":[\n\n'),
        (CHAT, HI, b'data: {"choices":[{"delta":{"function_call":{\n\n'),
        (RESPONSES, TEXT + CALL, BAD),
    ],
    ids=["before the content", "twice in a row", "after a tool", "in a tool", "in a function", "after a call"],
)
def test_where_it_may_matter_it_is_a_fault(operation: Operation, before: bytes, bad: bytes) -> None:
    said = reader(operation)
    assert said.feed(before + bad + DONE) == before
    assert said.broken is not None


def test_the_text_of_a_response_goes_on_too() -> None:
    said = reader(RESPONSES)
    assert said.feed(TEXT + BAD + TEXT) == TEXT + TEXT
    assert (said.broken, said.dropped) == (None, 1)


@pytest.mark.parametrize("strict", [None, lambda: True])
def test_an_answer_of_which_no_part_may_be_missing_is_broken(strict: Callable[[], bool] | None) -> None:
    said = reader(strict=strict)
    assert said.feed(HI + BAD + HI) == HI
    assert (said.broken or "").startswith("event 2 is not valid JSON: Expecting property name")


@pytest.mark.parametrize("said", [HI, TOOL], ids=["text", "a tool"])
def test_what_cannot_be_read_after_the_finish_does_not_make_a_whole_answer_a_broken_one(said: bytes) -> None:
    """B27: a finish without `[DONE]` is complete."""
    strict = reader(strict=lambda: True)
    assert strict.feed(said + STOP + BAD + b"data: bye\n\n" + DONE) == said + STOP + DONE
    assert (strict.broken, strict.finished, strict.done, strict.dropped) == (None, True, True, 2)


@pytest.mark.parametrize("nothing", [b"data:\n\n", b"data: \r\n\r\n", b"data\n\n", b"event: ping\nid: 3\ndata:\n\n"])
@pytest.mark.parametrize("before", [b"", HI, HI + TOOL], ids=["at the beginning", "in the text", "after a tool"])
def test_an_event_without_a_word_in_its_data_is_none_and_breaks_nothing(before: bytes, nothing: bytes) -> None:
    """The specification dispatches no such event; SDKs would fail to read it as JSON."""
    said = reader(strict=None)
    assert said.feed(before + nothing + nothing + HI + STOP + DONE) == before + HI + STOP + DONE
    assert (said.broken, said.dropped, said.answer().outcome) == (None, 0, Outcome.OK)
    ended = reader(strict=None)
    assert ended.feed(HI + STOP + nothing[:-1]) + ended.close() == HI + STOP
    assert ended.finished


def test_whether_it_is_strict_is_asked_only_then() -> None:
    asked: list[int] = []
    said = reader(strict=lambda: bool(asked.append(1)))
    said.feed(HI + HI)
    assert asked == []
    said.feed(BAD)
    assert asked == [1]


def test_a_stream_that_ends_on_it_without_a_finish_is_no_success() -> None:
    said = reader()
    said.feed(HI + BAD)
    said.close()
    assert not said.finished


@pytest.mark.parametrize(
    ("operation", "body", "given"),
    [
        (CHAT, b'{"messages":[]}', False),
        (CHAT, b'{"response_format":{"type":"text"}}', False),
        (CHAT, b'{"response_format":{"type":"json_object"}}', True),
        (CHAT, b'{"response_format":{"type":"json_schema"}}', True),
        (CHAT, b'{"guided_regex":"a"}', True),
        (RESPONSES, b'{"text":{"format":{"type":"json_schema"}}}', True),
        (RESPONSES, b'{"text":{"format":{"type":"text"}}}', False),
        (RESPONSES, b'{"text":{"verbosity":"low"}}', False),
        (RESPONSES, b"{}", False),
        (CHAT, b"{", True),
        (CHAT, b"[]", True),
    ],
)
def test_a_form_is_seen_in_the_request(operation: Operation, body: bytes, given: bool) -> None:
    assert openai_form.is_given(operation, body) is given
