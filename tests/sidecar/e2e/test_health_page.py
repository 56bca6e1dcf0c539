"""Every example of docs/fallback.md about health runs, in front of Fake providers on real sockets (B22, B39)."""

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from manifest_cases import provider
from modelpool_config import models as contract
from modelpool_operator.desired import desired
from modelpool_operator.resources import observe
from modelpool_sidecar.core import ratelimits, shaping
from modelpool_sidecar.fake.raw import RawAnswer
from running import Running, running

PAGE = Path(__file__).parents[3] / "docs" / "fallback.md"
TEXT = PAGE.read_text(encoding="utf-8").split("## Health\n")[1]


def examples() -> contract.Config:
    """The objects of the section, as the compiler renders them."""
    found = [list(yaml.safe_load_all(block)) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]
    documents = [document for block in found for document in block]
    result = desired(observe([*(provider(name, dialect="Fake") for name in ("east", "west")), *documents]))
    assert result.problems == ()
    return result.namespaces["default"].config


async def apply(held: Running, *pools: str) -> None:
    """Those pools of the page, with its providers at the addresses of the Fakes."""
    config = examples()
    providers = [
        each.model_copy(update={"dialect": "OpenAI", "fake": None, "base_url": held.fakes[each.name].base_url})
        for each in config.providers
        if each.name in held.fakes
    ]
    await held.apply([pool for pool in config.pools if pool.name in pools], providers)


async def ask(held: Running, model: str, count: int = 1) -> Counter[Any]:
    """Who answered, or with what status it ended."""
    seen: Counter[Any] = Counter()
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    async with aiohttp.ClientSession() as session:
        for _ in range(count):
            async with session.post(f"{held.base_url}/chat/completions", json=body) as answer:
                await answer.read()
                seen[answer.headers["x-modelpool-target"] if answer.status == 200 else answer.status] += 1
    return seen


async def state(held: Running, pool: str) -> dict[str, dict[str, Any]]:
    """The pool's targets, as `/-/state` tells them."""
    async with aiohttp.ClientSession() as session, session.get(f"{held.local}/-/state") as answer:
        told = await answer.json()
    return {target["name"]: target for each in told["pools"] if each["name"] == pool for target in each["targets"]}


async def test_a_429_of_one_provider_spares_its_twin_the_request() -> None:
    async with running("team-eu", "team-us", "west") as held:
        await apply(held, "account")
        held.fakes["team-eu"].break_as("429")
        assert await ask(held, "account", 3) == {"own": 3}
        assert [len(held.fakes[name].attempts) for name in ("team-eu", "team-us")] == [1, 0]
        told = await state(held, "account")
        assert {name: target["stance"] for name, target in told.items()} == {
            "eu": "cooling", "us": "cooling", "own": "serving",
        }  # fmt: skip


async def test_an_outage_of_one_provider_is_not_its_twins() -> None:
    async with running("team-eu", "team-us", "west") as held:
        await apply(held, "account")
        held.fakes["team-eu"].break_as("Refuse")
        assert await ask(held, "account", 5) == {"us": 5}


async def test_an_account_that_runs_short_is_asked_less_and_says_so() -> None:
    async with running("team-eu", "team-us", "west") as held:
        await apply(held, "account")
        headers = (
            ("content-type", "application/json"),
            ("x-ratelimit-limit-requests", "1000"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "50s"),
        )
        body = b'{"id":"1","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}'
        held.fakes["team-eu"].answer_with(lambda _attempt: RawAnswer(200, headers, (body,)))
        assert await ask(held, "account", 3) == {"eu": 3}, "alone in its tier it keeps its traffic"
        told = await state(held, "account")
        assert told["eu"]["shaped"]["by"] == "requests"
        assert told["us"]["share"] == told["eu"]["share"] == 0.001
        assert (told["own"]["share"], told["own"]["shaped"]) == (1.0, None)


async def test_what_its_checks_find_down_no_client_meets() -> None:
    async with running("gpu", "west") as held:
        await apply(held, "house")
        held.fakes["gpu"].answer_with(lambda attempt: RawAnswer(200) if attempt.path == "/health" else None)
        assert await ask(held, "house") == {"gpu": 1}
        held.fakes["gpu"].break_as("500")
        async with asyncio.timeout(20):
            while (await state(held, "house"))["gpu"]["stance"] != "cooling":  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.05)
        asked = len(held.records)
        assert await ask(held, "house") == {"cloud": 1}
        assert [len(record.attempts) for record in held.records[asked:]] == [1]


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    assert f"While {ratelimits.PLENTY * 100:.0f} % of each limit" in TEXT
    assert f"to {shaping.FLOOR * 100:.0f} %;" in TEXT
    assert f"up to {shaping.EMPTY_SECONDS:.0f} s" in TEXT
    assert shaping.RISE == 2
    assert "in two resets" in TEXT
