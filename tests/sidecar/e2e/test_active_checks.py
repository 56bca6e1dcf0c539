"""Active checks on real sockets: who is down is out before any client meets it, and comes back by itself (B38)."""

import asyncio
from typing import Any

import aiohttp

from builders import a_pool, a_target
from modelpool_sidecar.fake.raw import RawAnswer
from running import Running, running

HEALTH = {
    "failures": 2,
    "successes": 2,
    "ramp_up": 0,
    "active": {"path": "/health", "period": 200, "timeout": 190, "statuses": ("2xx",)},
}
WELL = RawAnswer(200, (("content-type", "text/plain"),), (b"ok",))


async def stance(held: Running) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{held.local}/-/state") as answer:
        return str((await answer.json())["pools"][0]["targets"][0]["stance"])


async def until(held: Running, wanted: str) -> None:
    async with asyncio.timeout(10):
        while await stance(held) != wanted:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)


async def ask(held: Running) -> tuple[int, str | None]:
    body: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{held.base_url}/chat/completions", json=body) as answer,
    ):
        await answer.read()
        return answer.status, answer.headers.get("x-modelpool-attempts")


async def test_what_is_down_is_out_before_a_client_meets_it_and_back_when_it_is_well() -> None:
    pool = a_pool(targets=[a_target("primary"), a_target("backup", priority=1)])
    async with running(pools=[pool], changes={"primary": {"health": HEALTH}}) as held:
        primary = held.fakes["primary"]
        primary.answer_with(lambda attempt: WELL if attempt.path == "/health" else None)
        assert await ask(held) == (200, "1")
        primary.break_as("Refuse")
        await until(held, "cooling")
        assert await ask(held) == (200, "1"), "nobody tried the one that is down"
        primary.mend()
        await until(held, "serving")
        assert await ask(held) == (200, "1")
        assert [record.target for record in held.records] == ["primary", "backup", "primary"]
        assert len(held.records) == 3, "checks are no requests"
        async with aiohttp.ClientSession() as session, session.get(f"{held.admin}/metrics") as answer:
            text = await answer.text()
        assert 'modelpool_active_checks_total{outcome="Ok",provider="primary"}' in text
        assert 'modelpool_active_checks_total{outcome="Unreachable",provider="primary"}' in text


async def test_a_config_without_the_check_ends_it() -> None:
    async with running("primary", changes={"primary": {"health": HEALTH}}) as held:
        primary = held.fakes["primary"]
        primary.answer_with(WELL)
        await primary.until(lambda provider: len(provider.attempts) >= 2)
        await held.apply([a_pool(targets=[a_target("primary")])], [held.provider("primary")])
        await held.quiet()
        assert repr(held.sidecar._checks) == "<ActiveChecks of nobody>"
