"""B26: which requests can be recovered at all, and which targets can go on from a text."""

from typing import Any

import orjson
import pytest

from builders import a_pool, a_provider, a_snapshot, the_pool
from modelpool_sidecar.core import recovery, usage
from modelpool_sidecar.core import request as parsing
from modelpool_sidecar.core.record import Recovery, Usage
from modelpool_sidecar.core.request import Request

TEXT = {"model": "m", "stream": True, "messages": [], "prompt": "a", "input": "a"}


@pytest.mark.parametrize(
    ("path", "more", "concerned"),
    [
        ("/v1/chat/completions", {}, True),
        ("/v1/completions", {}, True),
        ("/v1/chat/completions", {"stream": False}, False),
        ("/v1/responses", {}, False),
        ("/v1/responses", {"background": True}, False),
        ("/v1/audio/speech", {"stream_format": "sse"}, False),
    ],
)
def test_streams_of_chat_and_text_completions_are_concerned(path: str, more: dict[str, Any], concerned: bool) -> None:
    headers = (("content-type", "application/json"),)
    request = parsing.parse("POST", path, headers, orjson.dumps({**TEXT, **more}))
    assert isinstance(request, Request)
    assert recovery.concerns(request) is concerned


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, None),
        ({"n": 1, "logprobs": False, "top_logprobs": 0, "echo": False, "store": False, "audio": None}, None),
        ({"n": "2"}, None),
        ({"n": 2}, "n > 1"),
        ({"best_of": 2}, "best_of > 1"),
        ({"prompt": ["a", "b"]}, "several prompts"),
        ({"prompt": ["a"]}, None),
        ({"prompt": [1, 2]}, None),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": 0}, "logprobs"),
        ({"top_logprobs": 2}, "logprobs"),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, "an answer of a given form"),
        ({"response_format": "json"}, "an answer of a given form"),
        ({"grammar": "root ::= x"}, "an answer of a given form"),
        ({"store": True}, "an answer that is stored"),
        ({"modalities": ["text"]}, None),
        ({"modalities": ["text", "audio"]}, "sound"),
        ({"audio": {"voice": "a"}}, "sound"),
        ({"echo": True}, "echo"),
    ],
)
def test_what_nobody_can_go_on_with_is_told_by_its_reason(body: dict[str, Any], why: str | None) -> None:
    assert recovery.excluded(body) == why


@pytest.mark.parametrize(
    ("model", "way"),
    [
        ({"capabilities": ["Tools", "Prefill"]}, "Message"),
        ({"capabilities": ["Prefill"], "prefill": "Prefix"}, "Prefix"),
        ({"capabilities": ["Tools"], "prefill": "Prefix"}, None),
        ({"capabilities": None}, None),
        ({"capabilities": None, "context_tokens": 8}, None),
    ],
)
def test_only_who_declares_prefill_continues(model: dict[str, Any], way: str | None) -> None:
    snapshot = a_snapshot([a_pool()], [a_provider(models=[{"name": "primary-model", **model}])])
    target = the_pool(snapshot).targets["primary"]
    assert recovery.continues(target, "primary-model") == way
    assert recovery.continues(target, "another") is None


def test_a_pool_keeps_its_ways_in_order() -> None:
    assert the_pool(a_snapshot([a_pool(recovery=("Replay", "Continue"))])).recovery == ("Replay", "Continue")
    assert the_pool(a_snapshot()).recovery == ()


def test_a_recovery_is_told_in_a_few_words() -> None:
    assert str(Recovery("Continue", "Recovered")) == "Continue: Recovered"
    assert str(Recovery(None, "NotPossible", "inside reasoning")) == "NotPossible: inside reasoning"


def test_tokens_are_added_up_as_far_as_they_are_told() -> None:
    assert usage.total([]) == usage.NO_USAGE
    assert usage.total([usage.NO_USAGE, Usage(3, None, 1), Usage(4, 5)]) == Usage(7, 5, 1, None)
