"""Caps on real sockets: streams at once, and whose place comes back when (B5, B11, B17, B31)."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import aiohttp

from builders import a_pool, a_target
from modelpool_sidecar.fake.raw import RawAnswer
from running import Running, running
from virtual import ROLE, a_chunk

ENDLESS = RawAnswer(body=(ROLE, a_chunk("hello")), ends="stall")


async def stream(house: Running, held: AsyncExitStack) -> tuple[aiohttp.ClientSession, str | None]:
    """A stream that has begun and does not end; its client, and where it is."""
    session = await held.enter_async_context(aiohttp.ClientSession())
    body: dict[str, Any] = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    answer = await session.post(f"{house.base_url}/chat/completions", json=body)
    held.callback(answer.close)
    if answer.status == 200:
        await answer.content.readuntil(b"hello")
        return session, answer.headers["x-modelpool-target"]
    return session, (await answer.json())["error"]["code"]


async def test_the_third_stream_goes_elsewhere_and_a_client_that_leaves_frees_its_place() -> None:
    targets = [a_target("primary", limits={"concurrency": {"max": 2}}), a_target("backup", priority=1)]
    async with running(pools=[a_pool(targets=targets)]) as house, AsyncExitStack() as held:
        for fake in house.fakes.values():
            fake.answer_with(ENDLESS)
        asked = [await stream(house, held) for _ in range(3)]
        assert [where for _, where in asked] == ["primary", "primary", "backup"]
        assert [record.attempts for record in house.records] == []
        async with aiohttp.ClientSession() as session, session.get(f"{house.local}/-/state") as answer:
            [cap] = (await answer.json())["pools"][0]["targets"][0]["limits"]
            assert (cap["name"], cap["max"], cap["inFlight"], cap["remaining"]) == ("concurrency", 2, 2, 0)
        await asked[0][0].close()
        async with asyncio.timeout(5):
            while house.sidecar.in_flight == 3:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0)
        assert (await stream(house, held))[1] == "primary"
        assert [(record.status, len(record.attempts)) for record in house.records] == [(200, 1)]


async def test_a_providers_cap_counts_all_pools_and_refuses_where_nobody_else_is() -> None:
    pools = [a_pool(), a_pool("other", [a_target("primary")])]
    cap = {"primary": {"limits": {"concurrency": {"max": 1}}}}
    async with running("primary", pools=pools, changes=cap) as house, AsyncExitStack() as held:
        house.fakes["primary"].answer_with(ENDLESS)
        body = {"model": "other", "messages": [{"role": "user", "content": "hi"}]}
        assert (await stream(house, held))[1] == "primary"
        session = await held.enter_async_context(aiohttp.ClientSession())
        async with session.post(f"{house.base_url}/chat/completions", json=body) as answer:
            assert (answer.status, answer.headers["retry-after"]) == (429, "1")
            assert answer.headers["x-modelpool-attempts"] == "0"
            said = (await answer.json())["error"]
        assert said["code"] == "all_limited"
        assert "primary is at its provider's limit of 1 at once for 1.0 s" in said["message"]
