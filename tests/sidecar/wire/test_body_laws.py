"""A request's body changes in its model and in nothing else, whatever else it holds (B40); an answer's too (B41)."""

import contextlib
import itertools
import json
import time

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpool_sidecar.core import jsonspan, request
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.dialects import openai
from wire_cases import HOST, JSON, post
from wire_texts import CHARACTERS, VALUES, with_model

NAMES = st.text(CHARACTERS, min_size=1, max_size=20).filter(lambda name: not request._UNFIT.search(name))


def spelled(parts: tuple[bytes, bytes, bytes]) -> bytes:
    return b"".join(parts)


@settings(max_examples=100, deadline=None)
@given(st.lists(with_model("chat"), min_size=5, max_size=5), NAMES)
def test_ten_thousand_bodies_differ_in_their_model_only(bodies: list[tuple[bytes, bytes, bytes]], target: str) -> None:
    for parts in itertools.product(*zip(*bodies, strict=True)):  # 125 of each five
        the_model_only(parts, target)


def the_model_only(parts: tuple[bytes, bytes, bytes], target: str) -> None:
    before, literal, after = parts
    asked = post(spelled(parts))
    assert asked.model == "chat"
    assert asked.model_span == (len(before), len(before) + len(literal))
    assert openai.attempt_body(asked, "chat") == asked.body
    assert (
        openai.attempt_body(asked, target) == before + (orjson.dumps(target) if target != "chat" else literal) + after
    )


@settings(max_examples=1000, deadline=None)
@given(with_model("gpt-4o"), NAMES)
def test_an_answer_differs_in_its_model_only(parts: tuple[bytes, bytes, bytes], name: str) -> None:
    before, _, after = parts
    assert openai.rewrite_model(spelled(parts), name) == before + orjson.dumps(name) + after


@settings(max_examples=500, deadline=None)
@given(VALUES)
def test_what_has_no_top_level_model_is_not_rewritten(text: str) -> None:
    body = text.encode()
    document = json.loads(body)
    if not (isinstance(document, dict) and isinstance(document.get("model"), str)):
        assert openai.rewrite_model(f'{{"x":{text}}}'.encode(), "new") == f'{{"x":{text}}}'.encode()


@settings(max_examples=300, deadline=None)
@given(with_model("a"), with_model("b"))
def test_a_second_model_is_found_however_it_is_spelled(
    first: tuple[bytes, bytes, bytes], second: tuple[bytes, bytes, bytes]
) -> None:
    refused_as_duplicate(joined(spelled(first), spelled(second)), "model")


@settings(max_examples=300, deadline=None)
@given(with_model("a"), with_model("", "stream"), with_model("", "stream"))
def test_a_second_stream_is_found_however_it_is_spelled(
    model: tuple[bytes, bytes, bytes], first: tuple[bytes, bytes, bytes], second: tuple[bytes, bytes, bytes]
) -> None:
    once = joined(spelled(model), first[0] + b"true" + first[2])
    asked = parse(once)
    assert isinstance(asked, Request)
    assert asked.stream
    refused_as_duplicate(joined(once, second[0] + b"true" + second[2]), "stream")


def joined(first: bytes, second: bytes) -> bytes:
    """The members of two objects in one."""
    return first.rstrip()[:-1] + b"," + second.lstrip()[1:]


def refused_as_duplicate(body: bytes, key: str) -> None:
    refusal = parse(body)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.param) == ("duplicate_key", key)


def parse(body: bytes) -> Request | Refusal:
    return request.parse("POST", "/v1/chat/completions", (HOST, JSON), body)


@settings(max_examples=1000, deadline=None)
@given(st.one_of(st.binary(max_size=60), with_model("chat").map(spelled), VALUES.map(str.encode)), st.data())
def test_parsing_never_fails_but_by_a_refusal(body: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(body)))
    for text in (body, body[:cut], body[cut:]):
        asked = parse(text)
        if isinstance(asked, Request):
            assert asked.model == json.loads(text)["model"]


@settings(max_examples=1000, deadline=None)
@given(st.one_of(st.binary(max_size=60), with_model("chat").map(spelled)), st.data())
def test_walking_what_is_not_json_ends_without_a_guess(body: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(body)))
    for text in (body, body[:cut], body[cut:]):
        with contextlib.suppress(jsonspan.NotJsonError):
            for member in jsonspan.members(text):
                assert 0 < member.start < member.end <= len(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"[]", "it is not an object"),
        (b"", "it is not an object"),
        (b"{1:2}", "a key was expected at byte 1"),
        (b'{"a"}', "a key was expected at byte 1"),
        (b'{"\\x":1}', "a key is not a JSON string"),
        (b'{"a":}', "a value was expected at byte 5"),
        (b'{"a":"b}', "a value was expected at byte 5"),
        (b'{"a":[{"]"}', "the value at byte 5 does not end"),
        (b'{"a":1', "a comma was expected at byte 6"),
        (b'{"a":1,}', "a key was expected at byte 7"),
    ],
)
def test_what_is_no_object_is_said_in_half_a_sentence(text: bytes, sentence: str) -> None:
    with pytest.raises(jsonspan.NotJsonError, match=sentence):
        list(jsonspan.members(text))


def test_a_string_that_does_not_end_costs_one_look() -> None:
    text = b'{"a":[' + b'"' + b'\\"' * 100_000
    started = time.process_time()
    with pytest.raises(jsonspan.NotJsonError):
        list(jsonspan.members(text))
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"input":"x"}', b'{"model":"m","input":"x"}'),
        (b" { }", b' {"model":"m" }'),
        (b"{}", b'{"model":"m"}'),
    ],
)
def test_a_model_named_by_the_header_is_put_into_a_body_without_one(body: bytes, sent: bytes) -> None:
    assert openai.attempt_body(post(body, ("x-modelpool-model", "chat")), "m") == sent


def test_a_model_named_by_the_header_replaces_the_bodys() -> None:
    asked = post(b'{"model":"mine","n":1}', ("x-modelpool-model", "chat"))
    assert openai.attempt_body(asked, "chat") == b'{"model":"chat","n":1}'
    assert openai.attempt_body(asked, "mine") == b'{"model":"mine","n":1}'


def test_a_request_without_a_model_is_sent_as_it_came() -> None:
    asked = request.parse("GET", "/v1/models", (HOST,), b"")
    assert isinstance(asked, Request)
    assert openai.attempt_body(asked, "m") == b""


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"[]", b'{"model":null}', b'{"model":', b'{"choices":[{"model":"x"}]}', b'{"model" "x"}']
)
def test_an_answer_without_a_model_to_rewrite_stays_as_it_came(body: bytes) -> None:
    assert openai.rewrite_model(body, "new") == body


def test_every_top_level_model_of_an_answer_is_rewritten_because_clients_take_the_last() -> None:
    body = b'{"model":"a","x":{"model":"b"},"mod\\u0065l":"c","model":null}'
    assert openai.rewrite_model(body, "n") == b'{"model":"n","x":{"model":"b"},"mod\\u0065l":"n","model":null}'


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://api.openai.com/v1", "/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("http://h:1/openai/v1", "/v1/responses?a=%20b", "http://h:1/openai/v1/responses?a=%20b"),
        ("http://h", "/v1/embeddings", "http://h/embeddings"),
    ],
)
def test_the_path_is_appended_to_the_base_url_and_v1_is_never_doubled(base: str, path: str, url: str) -> None:
    assert openai.attempt_url(base, post({"model": "chat"}, path=path)) == url


def test_the_name_in_a_models_path_is_encoded_again() -> None:
    asked = request.parse("GET", "/v1/models/a/b%20c", (HOST,), b"")
    assert isinstance(asked, Request)
    assert openai.attempt_url("http://h/v1", asked) == "http://h/v1/models/a%2Fb%20c"
