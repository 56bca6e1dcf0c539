"""Fake providers of the config: broken and mended by command, kept over reloads, stopped with their provider."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from builders import a_pool, a_provider, a_target
from modelpool_config.models import Provider
from process_support import Told, fetch, question
from running import Running, running

UNTOUCHED = {"cooldown": 0, "max_cooldown": 0, "failures": 1_000, "min_requests": 1_000}


def toy(name: str = "toy", **changes: Any) -> Provider:
    """A Fake provider that never cools."""
    return a_provider(name, dialect="Fake", base_url=None, health=UNTOUCHED, **{"fake": {"script": ()}, **changes})


async def apply(house: Running, *providers: Provider, weight: int = 1) -> None:
    """A pool over these, in this order."""
    targets = [a_target(provider.name, priority=index, weight=weight) for index, provider in enumerate(providers)]
    await house.apply([a_pool(targets=targets)], sorted(providers, key=lambda provider: provider.name))


@pytest.fixture
async def house() -> AsyncIterator[Running]:
    async with running() as house:
        await apply(house, toy())
        yield house


async def ask(house: Running) -> Told:
    return await fetch(f"{house.base_url}/chat/completions", method="POST", body=question())


async def post(house: Running, path: str, **headers: str) -> Told:
    return await fetch(f"{house.local}{path}", method="POST", headers=headers)


async def fakes(house: Running) -> Any:
    return (await fetch(f"{house.local}/-/state")).json["fakes"]


async def test_a_fake_answers_like_any_provider(house: Running) -> None:
    answer = await ask(house)
    assert (answer.status, answer.headers["x-modelpool-target"]) == (200, "toy")
    assert "toy" in answer.json["choices"][0]["message"]["content"]


async def test_a_fake_without_a_script_is_healthy(house: Running) -> None:
    await apply(house, toy(fake=None))
    assert (await ask(house)).status == 200


async def test_breaking_and_mending_by_command(house: Running) -> None:
    broken = await post(house, "/-/fake/toy/break?as=503")
    assert (broken.status, broken.json) == (200, {"name": "toy", "broken": "503"})
    assert (await ask(house)).status == 503
    assert (await fakes(house))["toy"]["broken"] == "503"
    assert (await post(house, "/-/fake/toy/mend")).json == {"name": "toy", "broken": None}
    assert (await ask(house)).status == 200


async def test_a_fault_that_does_not_exist_and_a_fake_that_does_not_exist_are_told(house: Running) -> None:
    fault = await post(house, "/-/fake/toy/break?as=Sulk")
    assert fault.status == 400
    assert "a fault is one of Refuse, Reset, Hang, Cut, Stall or a status" in fault.json["error"]["message"]
    name = await post(house, "/-/fake/openai/break")
    assert name.status == 404
    assert "there is toy" in name.json["error"]["message"]
    assert (await fetch(f"{house.local}/-/fake/toy/break")).status == 405
    assert (await ask(house)).status == 200


@pytest.mark.parametrize(
    "headers", [{"host": "modelpool.example"}, {"origin": "https://page.example"}, {"origin": "null"}]
)
async def test_a_web_page_breaks_nothing_and_reads_nothing(house: Running, headers: dict[str, str]) -> None:
    assert (await post(house, "/-/fake/toy/break", **headers)).status == 403
    for path in ("/-/state", "/-/config"):
        assert (await fetch(f"{house.local}{path}", headers=headers)).status == 403
    assert (await fakes(house))["toy"]["broken"] is None


async def test_a_reload_keeps_a_fakes_port_and_how_it_is_broken(house: Running) -> None:
    before = await fakes(house)
    await post(house, "/-/fake/toy/break?as=503")
    await apply(house, toy(), toy("other"), weight=5)
    after = await fakes(house)
    assert after["toy"] == {**before["toy"], "broken": "503"}
    assert after["other"]["broken"] is None
    assert (await ask(house)).headers["x-modelpool-target"] == "other"


async def test_another_script_takes_over_in_a_running_fake(house: Running) -> None:
    before = await fakes(house)
    await apply(house, toy(fake={"script": ({"status": 418},)}))
    assert (await ask(house)).status == 418
    assert await fakes(house) == before


async def test_a_fake_ends_with_its_provider(house: Running) -> None:
    await apply(house, toy(), toy("other"))
    address = (await fakes(house))["toy"]["baseURL"]
    await post(house, "/-/fake/toy/break?as=503")
    await apply(house, toy("other"))
    assert set(await fakes(house)) == {"other"}
    with pytest.raises(aiohttp.ClientConnectorError):
        await fetch(f"http://{urlsplit(address).netloc}/v1/models")
    assert (await post(house, "/-/fake/toy/mend")).status == 404
    await apply(house, toy(), toy("other"))
    assert (await fakes(house))["toy"]["broken"] is None
