"""B32: usage is asked for in the bytes of the request, and only the chunk that comes of it is taken out again."""

import json
from typing import Any

import pytest

from modelpool_sidecar.core.operations import CHAT, COMPLETIONS
from modelpool_sidecar.dialects import openai_usage
from modelpool_sidecar.dialects.openai_stream import StreamReader

OPTION = b'"stream_options":{"include_usage":true}'
USAGE = b'data: {"id":"a","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}\n\n'


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        (b'{"model": "m",\n "stream": true}', b"{" + OPTION + b',"model": "m",\n "stream": true}'),
        (b" {}", b" {" + OPTION + b"}"),
        (b'{"stream_options": null}', b'{"stream_options": {"include_usage":true}}'),
        (b'{"stream_options" : { } }', b'{"stream_options" : {"include_usage":true } }'),
        (
            b'{"stream_options":{"include_obfuscation": false}}',
            b'{"stream_options":{"include_usage":true,"include_obfuscation": false}}',
        ),
        (b'{"a":"\\"stream_options\\"","b":{"stream_options":1}}', None),
        (b'{"\\u0073tream_options":null}', b'{"\\u0073tream_options":{"include_usage":true}}'),
    ],
)
def test_the_option_is_put_in_and_no_other_byte_changes(body: bytes, asks: bytes | None) -> None:
    asked = openai_usage.asking(body)
    assert asked == (asks if asks is not None else b"{" + OPTION + b"," + body[1:])
    assert asked is not None
    assert json.loads(asked)["stream_options"]["include_usage"] is True


@pytest.mark.parametrize(
    "options",
    [
        b'{"include_usage":false}',
        b'{"include_usage":true}',
        b'{"include_usage":null}',
        b'"yes"',
        b'null,"stream_options":{}',
    ],
)
def test_what_the_client_has_decided_is_left_alone(options: bytes) -> None:
    assert openai_usage.asking(b'{"stream_options":%b}' % options) is None


@pytest.mark.parametrize(
    ("status", "body", "is_refusal"),
    [
        (400, b'{"error":{"message":"Unrecognized request argument supplied: stream_options"}}', True),
        (422, b'{"detail":[{"loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}', True),
        (400, b'{"error":{"param":"include_usage"}}', True),
        (400, b'{"error":{"message":"max_tokens is too large"}}', False),
        (500, b"stream_options", False),
    ],
)
def test_a_refusal_names_the_option(status: int, body: bytes, is_refusal: bool) -> None:
    assert openai_usage.refused(status, body) is is_refusal


@pytest.mark.parametrize(
    ("chunk", "is_extra"),
    [
        ({"choices": [], "usage": {"prompt_tokens": 1}}, True),
        ({"choices": [], "usage": None}, False),
        ({"choices": [], "prompt_filter_results": []}, False),
        ({"choices": [{"delta": {}}], "usage": {"prompt_tokens": 1}}, False),
        ({"choices": None, "usage": {"prompt_tokens": 1}}, True),
        ({"usage": {"prompt_tokens": 1}}, True),
        ({"usage": None}, False),
    ],
)
def test_only_usage_without_choices_is_extra(chunk: dict[str, Any], is_extra: bool) -> None:
    assert openai_usage.is_extra(chunk) is is_extra


@pytest.mark.parametrize("operation", [CHAT, COMPLETIONS])
def test_the_extra_chunk_is_read_and_not_handed_on(operation: Any) -> None:
    delta = b'data: {"id":"a","choices":[{"index":0,"text":"x","delta":{"content":"x"}}],"usage":null}\n\n'
    end = b'data: {"id":"a","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}\n\n'
    done = b"data: [DONE]\n\n"
    reader = StreamReader(operation, hides_usage=True)
    assert reader.feed(delta + end + USAGE + done) == delta + end + done
    assert (reader.answer().usage.input_tokens, reader.answer().usage.output_tokens) == (7, 2)
    last = StreamReader(operation, hides_usage=True)
    assert last.feed(delta + end + USAGE[:-2]) + last.close() == delta + end
    shown = StreamReader(operation)
    assert shown.feed(delta + end + USAGE + done) == delta + end + USAGE + done
