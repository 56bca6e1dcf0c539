"""Answers that are no model's text: what is judged whole, what goes out as it comes, and streams of typed events."""

import json
from typing import Any

import pytest

from modelpool_sidecar.core.catalogue import IMAGES, MODERATIONS, SPEECH, TRANSCRIPTIONS, Operation
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.dialects import openai

JSON = "application/json"
# operation, media type, body, outcome
ANSWERS: list[tuple[Operation, str, bytes, Outcome]] = [
    (MODERATIONS, JSON, b'{"id":"m","results":[{}]}', Outcome.OK),
    (MODERATIONS, JSON, b'{"id":"m","results":[]}', Outcome.EMPTY),
    (MODERATIONS, JSON, b'{"error":{"message":"no"},"results":[{}]}', Outcome.EMPTY),
    (MODERATIONS, "text/plain", b"hello", Outcome.BROKEN),
    (MODERATIONS, JSON, b"[]", Outcome.BROKEN),
    (IMAGES, JSON, b'{"data":[{"b64_json":"x"}]}', Outcome.OK),
    (IMAGES, JSON, b'{"created":1}', Outcome.EMPTY),
    (TRANSCRIPTIONS, JSON, b'{"text":""}', Outcome.OK),
    (TRANSCRIPTIONS, JSON, b"{}", Outcome.EMPTY),
    (TRANSCRIPTIONS, JSON, b'{"text":', Outcome.BROKEN),
    (TRANSCRIPTIONS, "", b'{"text":"a"}', Outcome.OK),
    (TRANSCRIPTIONS, "text/vtt", b"WEBVTT", Outcome.OK),
    (TRANSCRIPTIONS, "text/plain", b" \n", Outcome.EMPTY),
    (SPEECH, "audio/mpeg", b"", Outcome.EMPTY),
    (SPEECH, JSON, b'{"error":{"code":"overloaded"}}', Outcome.EMPTY),
    (SPEECH, "application/problem+json", b"{}", Outcome.EMPTY),
]


@pytest.mark.parametrize(("operation", "kind", "body", "outcome"), ANSWERS, ids=range(len(ANSWERS)))
def test_what_a_whole_answer_comes_to(operation: Operation, kind: str, body: bytes, outcome: Outcome) -> None:
    assert openai.judge(operation, body, kind).outcome is outcome


def test_an_answer_tells_its_usage_its_model_and_its_error() -> None:
    answer = openai.judge(IMAGES, b'{"data":[{}],"usage":{"input_tokens":3,"output_tokens":16}}')
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 16)
    assert openai.judge(MODERATIONS, b'{"model":"omni","results":[{}]}').model == "omni"
    assert openai.judge(SPEECH, b'{"error":{"code":"overloaded"}}').error.code == "overloaded"


def test_only_sound_goes_out_before_it_is_whole() -> None:
    assert not openai.reads_whole(SPEECH, "audio/mpeg")
    assert openai.reads_whole(SPEECH, "application/json")
    assert openai.reads_whole(TRANSCRIPTIONS, "text/plain")


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def test_a_stream_of_sound_ends_with_its_last_event_and_nothing_is_supplied() -> None:
    reader = openai.stream_reader(SPEECH, None, 1)
    first = event(type="speech.audio.delta", audio="UklG")
    assert reader.feed(first) == first
    assert (reader.committed, reader.finished) == (True, False)
    last = event(type="speech.audio.done", usage={"input_tokens": 1, "output_tokens": 2})
    assert reader.feed(last) == last
    assert reader.finished
    assert reader.terminator == b""
    answer = reader.answer()
    assert (answer.outcome, answer.usage.output_tokens, answer.finish_reasons) == (Outcome.OK, 2, ())


def test_a_stream_of_pictures_waits_for_as_many_as_were_asked_for() -> None:
    reader = openai.stream_reader(IMAGES, None, 2)
    reader.feed(event(type="image_generation.partial_image", b64_json="x" * 2_000_000))
    assert reader.broken is None, "a picture is one event, however large"
    reader.feed(event(type="image_generation.completed", b64_json="x"))
    assert not reader.finished
    reader.close()
    assert reader.finished, "fewer came, and no more will"
    reader = openai.stream_reader(IMAGES, None, 2)
    for _ in range(2):
        reader.feed(event(type="image_generation.completed", b64_json="x"))
    assert reader.finished


@pytest.mark.parametrize("said", [{"type": "error", "error": {"code": "bad"}}, {"error": {"code": "bad"}}])
def test_an_error_event_is_no_output(said: dict[str, Any]) -> None:
    reader = openai.stream_reader(TRANSCRIPTIONS, None, 1)
    reader.feed(event(**said))
    assert reader.error is not None
    assert reader.error.code == "bad"
    assert not reader.committed
