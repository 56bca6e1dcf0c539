"""Every example of docs/fallback.md runs: compiled as on disk, in front of Fake providers on real sockets."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from manifest_cases import provider
from modelpool_config import models as contract
from modelpool_operator.desired import desired
from modelpool_operator.resources import observe
from modelpool_sidecar.core.outcome import RULES, Again, Outcome
from modelpool_sidecar.core.refusal import CODES
from modelpool_sidecar.fake.raw import RawAnswer
from running import Running, running
from stillness import again

PAGE = Path(__file__).parents[3] / "docs" / "fallback.md"
TEXT = PAGE.read_text(encoding="utf-8")
PLACES = ("east", "west")


def examples() -> dict[str, contract.Pool]:
    """The pools of the page, by name, as the compiler renders them."""
    blocks = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    documents = [document for block in blocks for document in yaml.safe_load_all(block)]
    result = desired(observe([*(provider(name, dialect="Fake") for name in PLACES), *documents]))
    assert result.problems == ()
    return {pool.name: pool for pool in result.namespaces["default"].config.pools}


async def ask(held: Running, model: str) -> tuple[int, str | None]:
    """The status, and who gave the answer."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{held.base_url}/chat/completions", json=body) as answer,
    ):
        await answer.read()
        return answer.status, answer.headers.get("x-modelpool-target")


def seen(held: Running) -> Sequence[int]:
    return [len(held.fakes[name].attempts) for name in PLACES]


def rows(heading: str) -> list[list[str]]:
    """The rows of the table under a heading."""
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines][1:]


async def test_an_outcome_that_the_page_leaves_out_ends_the_request_and_a_status_that_it_adds_goes_on() -> None:
    async with running(*PLACES, pools=[examples()["strict"]]) as held:
        held.fakes["east"].break_as("500")
        assert await ask(held, "strict") == (200, "spare")
        held.fakes["east"].break_as("418")
        assert await ask(held, "strict") == (200, "spare")
        held.fakes["east"].break_as("429")
        assert (await ask(held, "strict"))[0] == 429
        assert seen(held) == [3, 2]


@again
async def test_a_wait_of_a_second_is_waited_for_by_the_patient_pool() -> None:
    async with running(*PLACES, pools=[examples()["patient"]]) as held:
        limited = RawAnswer(429, (("retry-after", "1"), ("content-type", "application/json")), (b"{}",))
        held.fakes["east"].answer_with(lambda attempt: limited if attempt.number == 1 else None)
        began = time.monotonic()
        assert await ask(held, "patient") == (200, "only")
        assert 1.0 <= time.monotonic() - began < 3.0


async def test_without_a_budget_only_the_free_fallback_is_left() -> None:
    async with running(*PLACES, pools=[examples()["thrifty"]]) as held:
        held.fakes["east"].break_as("500")
        assert await ask(held, "thrifty") == (200, "spare")
        assert seen(held) == [1, 1]


@again
async def test_a_slow_answer_is_overtaken_by_the_other_target() -> None:
    async with running(*PLACES, pools=[examples()["quick"]]) as held:
        held.fakes["east"].answer_with(lambda attempt: RawAnswer(before=30.0) if attempt.number == 1 else None)
        began = time.monotonic()
        for _ in range(20):  # one of the two is chosen at random, and the slow one is so once
            status, _ = await ask(held, "quick")
            assert status == 200
        assert time.monotonic() - began < 10.0
        await held.quiet()
        hedged = [record for record in held.records if record.hedges]
        assert [record.target for record in hedged] == ["spare"]
        assert len(held.records) == 20


async def test_what_is_too_long_goes_to_the_large_pool_and_what_is_limited_to_the_overflow() -> None:
    names = ("assistant", "large", "overflow")
    async with running(*PLACES, pools=[examples()[name] for name in names]) as held:
        too_long = b'{"error": {"code": "context_length_exceeded", "message": "too long"}}'
        answers = (RawAnswer(400, (("content-type", "application/json"),), (too_long,)), None)
        held.fakes["east"].answer_with(lambda attempt: answers[attempt.number > 1])
        assert await ask(held, "assistant") == (200, "large/big")
        held.fakes["east"].break_as("429")
        assert await ask(held, "assistant") == (200, "overflow/spare")
        assert await ask(held, "assistant") == (200, "overflow/spare"), "it cools, and is not asked"
        assert seen(held) == [2, 3]
        rest = [held.provider(name) for name in PLACES]
        await held.apply([examples()["large"].model_copy(update={"models": ("assistant",)})], rest)
        assert await ask(held, "assistant") == (200, "big"), "what is deleted is gone at once"


def test_the_page_has_an_example_tried_here_for_each_name() -> None:
    assert {"assistant", "patient", "quick", "strict", "thrifty"} <= set(examples())


@pytest.mark.parametrize("outcome", [each for each in Outcome if each not in {"Ok", "Stalled", "Cancelled"}])
def test_the_page_tells_of_each_outcome_what_the_table_in_the_code_says(outcome: Outcome) -> None:
    again, elsewhere, _ = next(row[2:] for row in rows("Outcomes") if row[0] == outcome)
    rule = RULES[outcome]
    if outcome is not Outcome.DENIED:  # asked again with another key, which the table in the code does not know
        assert again.startswith("no") == (rule.again is Again.NO)
    assert elsewhere.startswith("no") == (not rule.elsewhere)
    assert elsewhere.startswith("only if") == (rule.elsewhere and not rule.by_default)


def test_every_code_that_the_page_names_exists() -> None:
    named = {code for row in rows("What the client is told in the end") for code in re.findall(r"`(\w+)`", row[2])}
    assert named <= set(CODES)
