"""No request is sent to a model that has said it cannot serve it, and who gets a 400 is told what is lacking (B6)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_pool, a_provider, a_snapshot, a_target, the_pool
from modelpool_sidecar.core import needs
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.snapshot import Pool
from wire_cases import post

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
EMBEDDINGS, RESPONSES = "/v1/embeddings", "/v1/responses"
TOOL = {"type": "function", "function": {"name": "f"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}


def said(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}]


NEEDED: list[tuple[str, dict[str, Any], set[str]]] = [
    (CHAT, {"messages": said({"type": "text", "text": "hi"})}, set()),
    (CHAT, {"messages": [{"role": "user", "content": "hi"}, "odd", None]}, set()),
    (CHAT, {"tools": [TOOL]}, {"Tools"}),
    (CHAT, {"functions": [{"name": "f"}]}, {"Tools"}),
    (CHAT, {"tools": [], "parallel_tool_calls": True}, set()),
    (CHAT, {"tools": [TOOL], "parallel_tool_calls": True}, {"Tools", "ParallelTools"}),
    (CHAT, {"tools": [TOOL], "parallel_tool_calls": False}, {"Tools"}),
    (CHAT, {"response_format": SCHEMA}, {"JSONSchema"}),
    (CHAT, {"response_format": {"type": "json_object"}}, set()),
    (CHAT, {"response_format": "odd", "modalities": "audio"}, set()),
    (CHAT, {"reasoning_effort": "low"}, {"Reasoning"}),
    (CHAT, {"reasoning_effort": "none"}, set()),
    (CHAT, {"modalities": ["text", "audio"]}, {"Audio"}),
    (CHAT, {"modalities": ["text"]}, set()),
    (CHAT, {"messages": said({"type": "image_url", "image_url": {"url": "data:"}})}, {"Vision"}),
    (CHAT, {"messages": said({"type": "input_audio"}, {"type": "file"})}, {"Audio", "Documents"}),
    (COMPLETIONS, {"prompt": "hi"}, set()),
    (EMBEDDINGS, {"input": "hi", "tools": [TOOL]}, {"Embeddings"}),
    (RESPONSES, {"input": "hi", "text": {"format": SCHEMA}}, {"JSONSchema"}),
    (RESPONSES, {"input": "hi", "response_format": SCHEMA}, set()),
    (RESPONSES, {"input": "hi", "reasoning": {"effort": "high"}}, {"Reasoning"}),
    (RESPONSES, {"input": said({"type": "input_image"}, {"type": "input_file"})}, {"Vision", "Documents"}),
    (RESPONSES, {"input": [{"type": "function_call_output", "output": [{"type": "input_image"}]}]}, {"Vision"}),
    (RESPONSES, {"input": [{"type": "input_audio"}]}, {"Audio"}),
]


@pytest.mark.parametrize(("path", "body", "needed"), NEEDED)
def test_what_a_request_needs_is_seen_in_its_body(path: str, body: dict[str, Any], needed: set[str]) -> None:
    asked = post({"model": "chat", **body}, path=path)
    assert needs.read(asked.body, asked.operation.name).capabilities == needed


TOKENS: list[tuple[str, dict[str, Any], int]] = [
    (CHAT, {"messages": said({"type": "text", "text": "x" * 400})}, 101 + 1),
    (CHAT, {"messages": [], "tools": [{"description": "x" * 400}], "metadata": {"a": "x" * 9999}}, 100),
    (CHAT, {"messages": said({"type": "image_url", "image_url": {"url": "x" * 9999}})}, 3),
    (CHAT, {"messages": [{"content": "\u00e9" * 400}, 7, True]}, 200),
    (RESPONSES, {"input": "x" * 400, "instructions": "x" * 400}, 200),
    (COMPLETIONS, {"prompt": ["x" * 40, "x" * 400]}, 100),
    (COMPLETIONS, {"prompt": [1] * 70}, 70),
    (COMPLETIONS, {"prompt": [[1] * 70, [1] * 90]}, 90),
    (COMPLETIONS, {}, 0),
    (EMBEDDINGS, {"input": []}, 0),
    (EMBEDDINGS, {"input": "x" * 400}, 100),
]


@pytest.mark.parametrize(("path", "body", "tokens"), TOKENS)
def test_tokens_are_a_quarter_of_the_bytes_of_text(path: str, body: dict[str, Any], tokens: int) -> None:
    asked = post({"model": "chat", **body}, path=path)
    assert needs.read(asked.body, asked.operation.name).input_tokens() == tokens


TEXTS = st.recursive(st.one_of(st.text(), st.integers(0), st.none()), lambda inner: st.lists(inner, max_size=4))


@given(st.sampled_from([CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES]), TEXTS, st.booleans())
def test_no_body_has_more_tokens_than_its_bytes_allow(path: str, value: Any, ascii_only: bool) -> None:
    """So a body that is short enough needs no look at its text."""
    body = {"model": "chat", "messages": value, "prompt": value, "input": value}
    asked = post(json.dumps(body, ensure_ascii=ascii_only).encode("utf-8", "replace"), path=path)
    found = needs.read(asked.body, asked.operation.name)
    assert found.input_tokens() <= found.most_tokens


def pool_of(*models: dict[str, Any], operations: tuple[str, ...] | None = None, **pool: Any) -> Pool:
    """A pool whose targets have these models, one provider each; the first one may be limited in its operations."""
    names = ["mini", "big", "third"][: len(models)]
    providers = [
        a_provider(name, models=({"name": f"{name}-model", **model},), operations=None if index else operations)
        for index, (name, model) in enumerate(zip(names, models, strict=True))
    ]
    targets = [a_target(name, priority=index) for index, name in enumerate(names)]
    return the_pool(a_snapshot([a_pool(targets=targets, **pool)], providers))


def left(pool: Pool, body: dict[str, Any], path: str = CHAT) -> list[list[str]] | Refusal:
    """The names that are left, by tier."""
    found = needs.fitting(pool, post({"model": "chat", **body}, path=path), pool.tiers)
    return found if isinstance(found, Refusal) else [[target.name for target in tier] for tier in found]


def test_a_target_that_cannot_is_passed_over_and_its_tier_with_it() -> None:
    pool = pool_of({"capabilities": ["Tools"]}, {"capabilities": ["Tools", "Vision"]}, {})
    picture = {"messages": said({"type": "image_url"})}
    assert left(pool, {"messages": []}) == [["mini"], ["big"], ["third"]]
    assert left(pool, picture) == [["big"], ["third"]]
    assert left(pool, {**picture, "response_format": SCHEMA}) == [["third"]]


def test_a_model_that_declares_nothing_is_asked_for_everything_and_a_pool_of_such_looks_at_no_body() -> None:
    pool = pool_of({}, {"prices": {"inputPerMillion": "1", "cachedInputPerMillion": "1", "outputPerMillion": "1"}})
    assert not pool.selective
    assert needs.fitting(pool, post({"model": "chat", "tools": [TOOL]}), pool.tiers) is pool.tiers


def test_an_empty_list_of_capabilities_is_plain_text_only() -> None:
    assert isinstance(left(pool_of({"capabilities": []}), {"tools": [TOOL]}), Refusal)
    assert left(pool_of({"capabilities": []}), {"messages": []}) == [["mini"]]


def test_the_model_that_the_client_names_is_the_one_that_is_looked_up() -> None:
    providers = [a_provider(models=({"name": "chat", "capabilities": []},))]
    pool = the_pool(a_snapshot([a_pool(targets=[a_target(model=None)])], providers))
    assert isinstance(left(pool, {"tools": [TOOL]}), Refusal)


def test_an_operation_that_is_not_declared_is_not_sent_there() -> None:
    pool = pool_of({}, {}, operations=("Chat", "Unheard"))
    assert left(pool, {"input": "x"}, EMBEDDINGS) == [["big"]]
    assert left(pool, {"messages": []}) == [["mini"], ["big"]]


@pytest.mark.parametrize(
    ("model", "body", "path", "code", "lack"),
    [
        ({"capabilities": []}, {"tools": [TOOL]}, CHAT, "capability_missing", "lacks Tools"),
        (
            {"capabilities": ["Tools"]},
            {"response_format": SCHEMA, "messages": said({"type": "image_url"})},
            CHAT,
            "capability_missing",
            "lacks JSONSchema and Vision",
        ),
        ({"capabilities": ["Tools"]}, {"input": "x"}, EMBEDDINGS, "capability_missing", "lacks Embeddings"),
        ({}, {"prompt": "x"}, COMPLETIONS, "capability_missing", "does not take Completions"),
        (
            {"maxOutputTokens": 4096},
            {"max_completion_tokens": 5000, "max_tokens": True},
            CHAT,
            "capability_missing",
            "answers with at most 4096 tokens, not 5000",
        ),
        (
            {"contextTokens": 100},
            {"messages": [{"content": "x" * 800}]},
            CHAT,
            "context_length_exceeded",
            "has a context of 100 tokens, and about 200 are sent",
        ),
        (
            {"contextTokens": 250},
            {"input": "x" * 800, "max_output_tokens": 60},
            RESPONSES,
            "context_length_exceeded",
            "has a context of 250 tokens, and about 200 are sent and 60 asked for",
        ),
    ],
)
def test_the_answer_names_what_is_lacking(
    model: dict[str, Any], body: dict[str, Any], path: str, code: str, lack: str
) -> None:
    refused = left(pool_of(model, operations=("Chat", "Embeddings", "Responses")), body, path)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code) == (400, code)
    assert refused.message == f"pool chat: no target can serve this request: mini {lack}"


def test_each_target_is_told_with_its_own_lack() -> None:
    refused = left(pool_of({"capabilities": []}, {"maxOutputTokens": 5}), {"tools": [TOOL], "max_tokens": 6})
    assert isinstance(refused, Refusal)
    assert refused.message.endswith(": mini lacks Tools; big answers with at most 5 tokens, not 6")


def test_the_longest_request_that_fits_is_sent() -> None:
    body = {"messages": [{"content": "x" * 400}], "metadata": {"a": "x" * 9999}, "max_tokens": 50}
    assert left(pool_of({"contextTokens": 150}), body) == [["mini"]]
    assert isinstance(left(pool_of({"contextTokens": 149}), body), Refusal)


def test_what_parameters_take_out_or_lower_is_not_needed() -> None:
    remove = {"name": "tools", "action": "Remove", "value": None}
    ceiling = {"name": "max_tokens", "action": "Max", "value": "5"}
    model = {"capabilities": [], "maxOutputTokens": 5}
    body = {"tools": [TOOL], "max_tokens": 6}
    assert left(pool_of(model, parameters=(remove, ceiling)), body) == [["mini"]]
    assert isinstance(left(pool_of(model, parameters=(ceiling,)), body), Refusal)
