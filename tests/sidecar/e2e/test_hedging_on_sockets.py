"""A second target beside a slow one, on real sockets (B23): the client is quick, the slow provider is left at once."""

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson
import pytest

from builders import a_pool, a_target
from modelpool_config import models as contract
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.fake.raw import RawAnswer
from running import Running, running
from stillness import again
from virtual import DONE, ROLE, a_chunk, a_completion

QUICK_SECONDS = 1.0
CLOSED_WITHIN = 0.1
SLOW = 2.0


def pools() -> Sequence[contract.Pool]:
    targets = [a_target("primary"), a_target("backup", priority=1)]
    return [a_pool(targets=targets, hedging={"percentile": None, "delay": 100, "max_percent": 100})]


def says(word: str, *, stream: bool, after: float) -> RawAnswer:
    """An answer that thinks that long: in the middle of its stream, or before all."""
    if stream:
        return RawAnswer(body=(ROLE, after, a_chunk(word) + a_chunk(finish="stop") + DONE))
    body = orjson.dumps(a_completion(word))
    return RawAnswer(headers=(("content-type", "application/json"),), body=(body,), before=after)


async def ask(house: Running, *, stream: bool) -> tuple[float, float, str, Any]:
    """Seconds to the first content, when it came, the whole body, the headers."""
    body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    loop = asyncio.get_running_loop()
    began, came, read = loop.time(), 0.0, b""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{house.base_url}/chat/completions", json=body) as answer,
    ):
        async for data in answer.content.iter_any():
            read += data
            came = came or (loop.time() if b"content" in read else 0.0)
        return came - began, came, read.decode(), answer.headers


@pytest.mark.parametrize("stream", [True, False])
@again
async def test_the_client_has_its_answer_and_the_slow_provider_is_left_within_a_tenth_of_a_second(stream: bool) -> None:
    async with running(pools=pools()) as house:
        house.fakes["primary"].answer_with(says("late", stream=stream, after=SLOW))
        house.fakes["backup"].answer_with(says("quick", stream=stream, after=0.0))
        took, came, body, headers = await ask(house, stream=stream)
        await house.quiet()
        assert took < QUICK_SECONDS
        assert "quick" in body
        assert "late" not in body
        assert (headers["x-modelpool-target"], headers["x-modelpool-attempts"]) == ("backup", "2")
        (slow,) = house.fakes["primary"].attempts
        assert slow.client_left is not None
        assert slow.client_left - came < CLOSED_WITHIN
        (record,) = house.records
        assert [(each.target, each.outcome) for each in record.attempts] == [
            ("primary", Outcome.CANCELLED),
            ("backup", Outcome.OK),
        ]


@pytest.mark.parametrize("stream", [True, False])
@again
async def test_where_the_second_is_slower_it_is_the_one_that_is_left(stream: bool) -> None:
    async with running(pools=pools()) as house:
        house.fakes["primary"].answer_with(says("first", stream=stream, after=0.3))
        house.fakes["backup"].answer_with(says("late", stream=stream, after=SLOW))
        _, came, body, headers = await ask(house, stream=stream)
        await house.quiet()
        assert "first" in body
        assert headers["x-modelpool-target"] == "primary"
        (slow,) = house.fakes["backup"].attempts
        assert slow.client_left is not None
        assert slow.client_left - came < CLOSED_WITHIN


@again
async def test_what_a_hedge_did_is_counted_and_shown() -> None:
    async with running(pools=pools()) as house:
        house.fakes["primary"].answer_with(says("late", stream=True, after=SLOW))
        house.fakes["backup"].answer_with(says("quick", stream=True, after=0.0))
        await ask(house, stream=True)
        await house.quiet()
        async with aiohttp.ClientSession() as session:
            metrics = await (await session.get(f"{house.admin}/metrics")).text()
            state = await (await session.get(f"{house.local}/-/state")).json()
        assert 'modelpool_hedges_total{pool="chat",result="won",target="backup"} 1.0' in metrics
        assert state["pools"][0]["hedging"] == {
            "percentile": None,
            "delayMs": 100.0,
            "maxPercent": 100,
            "left": 0,
            "waits": [],
        }
