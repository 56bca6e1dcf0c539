"""B26: how a server is asked to go on from a text, and what cannot be asked so."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpool_config.models import Prefill
from modelpool_sidecar.core.catalogue import CHAT, COMPLETIONS
from modelpool_sidecar.dialects import openai_prefill

HI = {"role": "user", "content": "hi"}


def continued(
    body: dict[str, Any], text: str = "one", way: Prefill = "Message", tokens: int = 3, *, chat: bool = True
) -> Any:
    made = openai_prefill.body(CHAT if chat else COMPLETIONS, json.dumps(body).encode(), text, way, tokens)
    return None if made is None else json.loads(made)


@pytest.mark.parametrize(
    ("way", "marks", "more"),
    [
        ("Message", {}, {}),
        ("Prefix", {"prefix": True}, {}),
        ("Partial", {"partial": True}, {}),
        ("ContinueFinal", {}, {"continue_final_message": True, "add_generation_prompt": False}),
    ],
)
def test_the_text_is_the_last_message_and_marked_as_the_server_wants_it(
    way: Prefill, marks: dict[str, Any], more: dict[str, Any]
) -> None:
    body = {"model": "m", "messages": [HI], "unknown": 1.5}
    said = {"role": "assistant", "content": "one", **marks}
    assert continued(body, way=way) == {**body, "messages": [HI, said], **more}
    own = {"role": "assistant", "content": "zero ", "name": "x"}
    merged = {**own, "content": "zero one", **marks}
    assert continued({**body, "messages": [HI, own]}, way=way) == {**body, "messages": [HI, merged], **more}


def test_no_other_byte_of_the_body_changes() -> None:
    asked = b'{ "messages" : [ {"role":"user","content":"\\u00e9"} ] ,"seed":12345678901234567890123, "x":[1.50]}'
    said = b',{"role":"assistant","content":"one"}]'
    made = openai_prefill.body(CHAT, asked, "one", "Message", 1)
    assert made == asked.replace(b"} ]", b"} " + said)


@pytest.mark.parametrize(("limit", "left"), [(10, 7), (3, 1), (1, 1), (None, None), (True, True)])
def test_what_was_given_is_taken_from_the_limit_of_tokens(limit: int | None, left: int | None) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        assert continued({"messages": [HI], name: limit})[name] == left
    assert continued({"prompt": "p", "max_tokens": limit}, chat=False)["max_tokens"] == left


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "hi",
        [HI, {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}],
        [HI, {"role": "assistant", "content": [{"type": "text", "text": "a"}]}],
    ],
)
def test_messages_that_nothing_can_be_added_to_are_not_continued(messages: Any) -> None:
    assert continued({"messages": messages}) is None


def test_a_prompt_is_made_longer_where_it_is_one_text() -> None:
    assert continued({"prompt": "zero "}, chat=False) == {"prompt": "zero one"}
    assert continued({"prompt": ["zero "]}, chat=False) == {"prompt": "zero one"}
    for prompt in (None, ["a", "b"], [1, 2], 7):
        assert continued({"prompt": prompt}, chat=False) is None


@given(text=st.text(min_size=1))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") == text
    made = continued({"messages": [HI]}, text)
    assert (made["messages"][-1]["content"] if made is not None else None) == (text if whole else None)


def test_halves_of_a_pair_that_came_apart_are_sent_as_the_pair_and_one_half_is_not() -> None:
    assert continued({"messages": [HI]}, "a\ud83d\ude00")["messages"][-1]["content"] == "a😀"
    assert continued({"messages": [HI]}, "a\ud83d") is None
