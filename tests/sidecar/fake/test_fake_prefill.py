"""B26: a fake goes on from a text that it is given as the beginning of its answer."""

import json
from typing import Any

import pytest

from modelpool_sidecar.fake import question
from modelpool_sidecar.fake.question import Question
from modelpool_sidecar.fake.speech import plain, speak

SAYS = "I am one as m."
USER = {"role": "user", "content": "hi"}


def asked(operation: str, **body: Any) -> Question:
    made = question.read(operation, json.dumps({"model": "m", **body}).encode())
    assert isinstance(made, Question)
    return made


@pytest.mark.parametrize("known", range(13))
def test_a_conversation_goes_on_after_as_many_tokens_as_were_begun_whoever_said_them(known: int) -> None:
    others = "".join(plain("I am two as m.", 12)[:known])
    wanted = asked("chat", messages=[USER, {"role": "assistant", "content": others}])
    assert speak(wanted, SAYS, "1", 12).tokens == plain(SAYS, 12)[known:]


@pytest.mark.parametrize("known", range(13))
def test_a_prompt_goes_on_after_the_tokens_that_it_ends_with(known: int) -> None:
    wanted = asked("completions", prompt="Say:" + "".join(plain(SAYS, 12)[:known]))
    assert speak(wanted, SAYS, "1", 12).tokens == plain(SAYS, 12)[known:]


@pytest.mark.parametrize(
    "last",
    [
        USER,
        {"role": "assistant", "content": None},
        {"role": "assistant", "content": [{"type": "text", "text": "I am"}]},
        {"role": "assistant", "content": "I am", "tool_calls": [{"id": "a"}]},
        "nonsense",
    ],
)
def test_what_is_no_beginning_changes_nothing(last: Any) -> None:
    assert speak(asked("chat", messages=[USER, last]), SAYS, "1", 12).tokens == plain(SAYS, 12)


def test_the_limit_counts_what_is_said_and_not_what_was_there() -> None:
    wanted = asked("chat", messages=[USER, {"role": "assistant", "content": "I am"}], max_tokens=2)
    assert speak(wanted, SAYS, "1").tokens == (" one", " as")
