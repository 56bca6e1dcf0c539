"""docs/callers.md, run with the official SDK over real sockets: whose key opens what, rotation, revocation (B43)."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import openai
import pytest
import yaml
from openai import OpenAI

from manifest_cases import provider
from modelpool_operator.desired import desired
from modelpool_operator.namespaces import Namespace
from modelpool_operator.resources import observe
from running import Running, running

T = TypeVar("T")
TEXT = (Path(__file__).parents[3] / "docs" / "callers.md").read_text(encoding="utf-8")
HELLO: Any = [{"role": "user", "content": "hello"}]
SEARCH, BILLING = "mp-1f0c7ad2b5a94c3e8d6b7a90", "mp-93b1e0c4d7f2485a9e6c1b38"
CANARY = "canary-of-a-wrong-key-0123"


def compiled(**keys: str) -> Namespace:
    """The page's example, with other keys where some are given."""
    blocks = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    documents = [document for block in blocks for document in yaml.safe_load_all(block)]
    if keys:
        documents[0]["stringData"] = keys
    result = desired(observe([provider("cloud", dialect="Fake"), *documents]))
    assert [each.message for each in result.problems if "search" in keys or not keys] == []
    return result.namespaces["default"]


@pytest.fixture
async def house() -> AsyncIterator[Running]:
    made = compiled()
    async with running("cloud", pools=made.config.pools, credentials=made.credentials) as held:
        yield held


async def rekey(house: Running, **keys: str) -> None:
    made = compiled(**keys)
    await house.apply(made.config.pools, [house.provider("cloud")], credentials=made.credentials)


async def asks(house: Running, key: str, work: Callable[[OpenAI], T]) -> T:
    def run() -> T:
        with OpenAI(base_url=house.base_url, api_key=key, max_retries=0) as client:
            return work(client)

    return await asyncio.to_thread(run)


def chat(model: str) -> Callable[[OpenAI], str]:
    return lambda client: str(client.chat.completions.create(model=model, messages=HELLO).choices[0].message.content)


def models(client: OpenAI) -> list[str]:
    return [model.id for model in client.models.list()]


async def test_the_right_key_works_and_the_list_of_models_has_what_it_opens(house: Running) -> None:
    assert await asks(house, SEARCH, chat("gold")) == "I am cloud as gpt-4o."
    assert await asks(house, SEARCH, models) == ["free", "gold", "shared"]
    assert (await asks(house, SEARCH, lambda client: client.models.retrieve("gold"))).id == "gold"
    assert house.records[0].caller == "search"
    [attempt] = house.fakes["cloud"].attempts
    assert SEARCH not in repr(attempt.headers)


async def test_a_wrong_key_is_an_authentication_error_and_what_is_free_stays_free(house: Running) -> None:
    for model in ("gold", "nowhere"):
        with pytest.raises(openai.AuthenticationError) as refused:
            await asks(house, CANARY, chat(model))
        assert refused.value.code == "invalid_api_key"
        assert "gold" not in str(refused.value).replace(f"'{model}'", "")
    assert await asks(house, CANARY, chat("free")) == "I am cloud as gpt-4o-mini."
    assert await asks(house, CANARY, models) == ["free"]
    with pytest.raises(openai.NotFoundError):
        await asks(house, SEARCH, chat("nowhere"))


async def test_a_replaced_key_is_good_for_a_while_and_a_removed_one_is_not(house: Running) -> None:
    await rekey(house, search="mp-new-0123456789abcdef", billing=BILLING)
    assert await asks(house, SEARCH, models) == ["free", "gold", "shared"]
    assert await asks(house, "mp-new-0123456789abcdef", models) == ["free", "gold", "shared"]
    await rekey(house, billing=BILLING)
    for key in (SEARCH, "mp-new-0123456789abcdef"):
        with pytest.raises(openai.AuthenticationError):
            await asks(house, key, chat("gold"))
    assert await asks(house, BILLING, chat("gold")) == "I am cloud as gpt-4o."


async def test_a_rotation_under_load_refuses_nobody(house: Running) -> None:
    """Ten clients ask while the key is replaced again and again; all go over to the new key after the Secret did."""
    keys, codes = [SEARCH], []  # type: list[str], list[int]
    body = {"model": "gold", "messages": HELLO}
    async with aiohttp.ClientSession() as session:

        async def ask() -> None:
            headers = {"Authorization": f"Bearer {keys[-1]}"}
            async with session.post(f"{house.base_url}/chat/completions", json=body, headers=headers) as answer:
                codes.append(answer.status)

        async def client() -> None:
            for _ in range(20):
                await ask()

        async def rotate() -> None:
            for number in range(5):
                new = f"mp-rotated-{number}-0123456789"
                await rekey(house, search=new, billing=BILLING)
                for _ in range(2):
                    await ask()
                keys.append(new)
                for _ in range(2):
                    await ask()

        await asyncio.gather(rotate(), *(client() for _ in range(10)))
    assert codes == [200] * 220


async def test_no_key_is_in_any_signal_of_the_sidecar(house: Running) -> None:
    """B44."""
    await asks(house, SEARCH, chat("gold"))
    with pytest.raises(openai.AuthenticationError) as refused:
        await asks(house, CANARY, chat("gold"))
    signals = [str(refused.value.response.text), repr(house.records), repr(house.sidecar)]
    async with aiohttp.ClientSession() as session:
        for url in (f"{house.admin}/metrics", f"{house.admin}/-/digest", f"{house.local}/-/config"):
            async with session.get(url) as answer:
                signals.append(await answer.text())
        async with session.get(f"{house.local}/-/state") as answer:
            signals.append(await answer.text())
            told = {pool["name"]: pool["callers"] for pool in (await answer.json())["pools"]}
    both = {"keys": "Secret team-keys", "count": 2, "names": ["billing", "search"]}
    assert told == {"free": None, "gold": both, "shared": both}
    assert 'modelpool_caller_requests_total{caller="search",pool="gold",status="2xx"} 1.0' in "".join(signals)
    for key in (SEARCH, BILLING, CANARY):
        assert not [signal for signal in signals if key in signal]


async def test_each_caller_has_the_limits_that_the_page_says(house: Running) -> None:
    """B8."""
    for key, allowed in ((SEARCH, 2), (BILLING, 3)):
        for _ in range(allowed):
            assert await asks(house, key, chat("shared")) == "I am cloud as gpt-4o."
        with pytest.raises(openai.RateLimitError):
            await asks(house, key, chat("shared"))
