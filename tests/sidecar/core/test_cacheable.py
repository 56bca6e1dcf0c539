"""B53: whose answers are kept, as a table of requests; the others by the reason that `explain` tells."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_pool, a_snapshot, a_target, the_pool
from modelpool_sidecar.core import cacheable, cachekey
from modelpool_sidecar.core import request as parsing
from modelpool_sidecar.core.request import Request

CACHE = {"ttl": 300_000, "max_entries": 10, "max_bytes": 1 << 20}
USER = {"role": "user", "content": "hi"}
CHAT: dict[str, Any] = {"model": "chat", "temperature": 0, "messages": [USER]}
RESPONSES: dict[str, Any] = {"model": "chat", "temperature": 0, "input": "hi", "store": False}

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
KEPT: dict[str, tuple[str, dict[str, Any]]] = {
    "temperature 0": ("chat", CHAT),
    "temperature 0.0": ("chat", {**CHAT, "temperature": 0.0}),
    "several choices": ("chat", {**CHAT, "n": 3, "logprobs": True}),
    "a schema": ("chat", {**CHAT, "response_format": {"type": "json_object"}}),
    "no tools": ("chat", {**CHAT, "tools": []}),
    "parts of text": ("chat", {**CHAT, "messages": [{**USER, "content": [{"type": "text", "text": "hi"}]}]}),
    "text as output": ("chat", {**CHAT, "modalities": ["text"]}),
    "a tool's earlier result": ("chat", {**CHAT, "messages": [USER, {"role": "tool", "content": "4"}]}),
    "no content": ("chat", {**CHAT, "messages": [{"role": "assistant", "content": None}]}),
    "a completion": ("completions", {"model": "chat", "temperature": 0, "prompt": "hi"}),
    "embeddings": ("embeddings", {"model": "chat", "input": ["a", "b"]}),
    "a response": ("responses", RESPONSES),
    "items": ("responses", {**RESPONSES, "input": [{"type": "message", **USER}, "ho"]}),
}
TEXT, CALM, KEEPS = "it is not about text alone", "its temperature is not 0", "its answer is kept at the provider"
NOT: dict[str, tuple[str, dict[str, Any], str]] = {
    "no temperature": ("chat", {"model": "chat", "messages": [USER]}, CALM),
    "some temperature": ("chat", {**CHAT, "temperature": 0.1}, CALM),
    "a temperature that is none": ("chat", {**CHAT, "temperature": False}, CALM),
    "a word": ("chat", {**CHAT, "temperature": "0"}, CALM),
    "tools": ("chat", {**CHAT, "tools": [{"type": "function"}]}, "it has tools"),
    "functions": ("chat", {**CHAT, "functions": [{}]}, "it has functions"),
    "a search": ("chat", {**CHAT, "web_search_options": {"a": 1}}, "it has web_search_options"),
    "a voice": ("chat", {**CHAT, "audio": {"voice": "a"}}, "it has audio"),
    "kept chat": ("chat", {**CHAT, "store": True}, KEEPS),
    "speech": ("chat", {**CHAT, "modalities": ["text", "audio"]}, TEXT),
    "a picture": ("chat", {**CHAT, "messages": [{**USER, "content": [{"type": "image_url"}]}]}, TEXT),
    "what is no part": ("chat", {**CHAT, "messages": [{**USER, "content": ["hi"]}]}, TEXT),
    "an earlier voice": ("chat", {**CHAT, "messages": [{"role": "assistant", "audio": {"id": "a"}}]}, TEXT),
    "odd content": ("chat", {**CHAT, "messages": [{**USER, "content": 5}]}, TEXT),
    "no messages": ("chat", {"model": "chat", "temperature": 0}, TEXT),
    "a kept response": ("responses", {**RESPONSES, "store": True}, KEEPS),
    "a response of which nothing is said": ("responses", {"model": "chat", "temperature": 0, "input": "hi"}, KEEPS),
    "one that goes on": ("responses", {**RESPONSES, "previous_response_id": "resp_1"}, KEEPS),
    "one in the background": ("responses", {**RESPONSES, "background": True}, KEEPS),
    "one of a conversation": ("responses", {**RESPONSES, "conversation": "conv_1"}, KEEPS),
    "a prompt elsewhere": ("responses", {**RESPONSES, "prompt": {"id": "pmpt_1"}}, TEXT),
    "an item elsewhere": ("responses", {**RESPONSES, "input": [{"type": "item_reference", "id": "a"}]}, TEXT),
    "no input": ("responses", {"model": "chat", "temperature": 0, "store": False}, TEXT),
    "a moderation": ("moderations", {"model": "chat", "input": "hi"}, "only chat, text completions, embeddings and"),
    "a picture to make": ("images/generations", {"model": "chat", "prompt": "a"}, "only chat, text completions,"),
}


def asked(operation: str, body: dict[str, Any] | bytes, **pool: Any) -> dict[str, Any] | str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = (("host", "localhost"), ("content-type", "application/json"))
    request = parsing.parse("POST", PATHS.get(operation, f"/v1/{operation}"), headers, raw)
    assert isinstance(request, Request)
    found = the_pool(a_snapshot([a_pool(cache={**CACHE, **pool.pop("cache", {})}, **pool)]))
    return cacheable.asked(found, request, found.targets.values())


@pytest.mark.parametrize("case", KEPT, ids=list(KEPT))
def test_these_are_kept(case: str) -> None:
    operation, body = KEPT[case]
    assert asked(operation, body) == body


@pytest.mark.parametrize("case", NOT, ids=list(NOT))
def test_these_are_not_and_the_reason_is_told(case: str) -> None:
    operation, body, why = NOT[case]
    found = asked(operation, body)
    assert isinstance(found, str)
    assert found.startswith(why)


@pytest.mark.parametrize("temperature", [None, 0.7, 2])
def test_a_pool_may_keep_answers_by_chance(temperature: float | None) -> None:
    body = {**CHAT, "temperature": temperature}
    assert asked("chat", body, cache={"temperature": "Any"}) == body
    assert asked("chat", {**body, "tools": [{}]}, cache={"temperature": "Any"}) == "it has tools"


def test_what_a_pool_does_to_the_temperature_counts() -> None:
    warm = {"model": "chat", "temperature": 1, "messages": [USER]}
    unset = {"model": "chat", "messages": [USER]}
    default, force = ({"name": "temperature", "action": action, "value": "0"} for action in ("Default", "Set"))
    assert asked("chat", unset, parameters=(default,)) == unset
    assert asked("chat", warm, parameters=(default,)) == CALM
    assert asked("chat", warm, parameters=(force,)) == warm
    assert asked("chat", CHAT, parameters=({"name": "temperature", "action": "Remove", "value": None},)) == CALM
    tools = {"name": "tools", "action": "Set", "value": '[{"type": "web_search"}]'}
    assert asked("chat", CHAT, parameters=(tools,)) == "it has tools"
    twice = {"name": "metadata", "action": "Set", "value": '{"a": 1, "a": 2}'}
    assert "the parameters of the pool make a body" in str(asked("chat", CHAT, parameters=(twice,)))


def test_every_target_that_may_answer_must_leave_it_calm() -> None:
    warm = a_target("warm", parameters=({"name": "temperature", "action": "Set", "value": "1"},))
    assert asked("chat", CHAT, targets=[a_target("calm"), warm]) == CALM


def test_a_body_that_is_read_differently_is_not_kept() -> None:
    assert "stands twice" in str(asked("chat", b'{"model": "chat", "n": 1, "n": 2}'))


names = st.sampled_from(
    ["messages", "input", "tools", "store", "type", "content", "role", "temperature", "audio", "prompt"]
)
words = st.sampled_from(["text", "message", "user", "hi", "input_text"])
odd = st.recursive(
    st.none() | st.booleans() | st.integers(0, 1) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
)


@given(st.dictionaries(names, odd), st.sampled_from(["chat", "responses", "completions", "embeddings"]))
def test_whatever_a_client_sends_there_is_an_answer(body: dict[str, Any], operation: str) -> None:
    body = {"model": "chat", "temperature": 0, "store": False, **body}
    found = asked(operation, body)
    assert isinstance(found, str) or found == body
    assert isinstance(found, str) or cachekey.canonical(found)
