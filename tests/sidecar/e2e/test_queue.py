"""A queue on real sockets: who is served, in which order; who is refused; who leaves frees its room (B8, B31, B51)."""

import asyncio
from typing import Any

import aiohttp

from builders import a_pool, a_target
from modelpool_config import models as contract
from modelpool_sidecar.fake.raw import RawAnswer
from running import Running, running
from stillness import again


def answers_when(house: Running) -> asyncio.Event:
    """Whoever asks the provider is answered once this is set."""
    gate = asyncio.Event()
    answer = RawAnswer(headers=(("content-type", "application/json"),), body=(b'{"choices":[{}]}',), before=gate)
    house.fakes["primary"].answer_with(answer)
    return gate


def a_queue(places: int, waiting: int, timeout: int = 10_000) -> list[contract.Pool]:
    concurrency = {"max": places, "queue": {"max": waiting, "timeout": timeout}}
    return [a_pool(targets=[a_target("primary")], limits={"requests": (), "concurrency": concurrency})]


async def ask(house: Running, session: aiohttp.ClientSession, number: int) -> tuple[int, int, str]:
    """Status, which request it was, the code of a refusal."""
    body: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": str(number)}]}
    async with session.post(f"{house.base_url}/chat/completions", json=body) as answer:
        said = await answer.json()
        return answer.status, number, said["error"]["code"] if answer.status != 200 else ""


async def waiting(house: Running, count: int) -> None:
    """Until so many wait; five seconds at most."""
    async with asyncio.timeout(5):
        while house.sidecar.waiting != count:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0)


async def test_two_run_three_wait_in_order_and_five_are_refused() -> None:
    async with running("primary", pools=a_queue(2, 3)) as house, aiohttp.ClientSession() as session:
        gate = answers_when(house)
        asked = []
        for number in range(5):
            asked.append(asyncio.create_task(ask(house, session, number)))
            await house.fakes["primary"].until(lambda fake, number=number: len(fake.attempts) >= min(2, number + 1))  # type: ignore[misc]  # the default binds it
            await waiting(house, max(0, number - 1))
        refused = await asyncio.gather(*(ask(house, session, number) for number in range(5, 10)))
        assert {(status, code) for status, _, code in refused} == {(429, "concurrency_exceeded")}
        gate.set()
        done = [await each for each in asyncio.as_completed(asked)]
        assert [status for status, _, _ in done] == [200] * 5
        assert {number for _, number, _ in done[:2]} == {0, 1}
        sent = [bytes(attempt.body) for attempt in house.fakes["primary"].attempts]
        assert [b'"content":"%d"' % number in body.replace(b" ", b"") for number, body in enumerate(sent)][2:] == [
            True
        ] * 3
        await house.quiet()
        assert (
            sorted(record.queued is not None for record in house.records if record.status == 200)
            == [False] * 2 + [True] * 3
        )


@again
async def test_a_client_that_leaves_the_queue_frees_its_room_within_a_tenth_of_a_second() -> None:
    async with running("primary", pools=a_queue(1, 1)) as house, aiohttp.ClientSession() as session:
        gate = answers_when(house)
        first = asyncio.create_task(ask(house, session, 0))
        await house.fakes["primary"].until(lambda fake: len(fake.attempts) == 1)
        second = asyncio.create_task(ask(house, session, 1))
        await waiting(house, 1)
        assert (await ask(house, session, 2))[0] == 429
        second.cancel()
        left = asyncio.get_running_loop().time()
        await waiting(house, 0)
        assert asyncio.get_running_loop().time() - left < 0.1
        third = asyncio.create_task(ask(house, session, 3))
        await waiting(house, 1)
        gate.set()
        assert (await first)[0] == (await third)[0] == 200
        await house.quiet()
        assert sorted(record.status for record in house.records) == [200, 200, 429, 499]


async def test_a_sidecar_that_ends_refuses_who_waits_and_finishes_what_runs() -> None:
    async with running("primary", pools=a_queue(1, 1)) as house, aiohttp.ClientSession() as session:
        gate = answers_when(house)
        first = asyncio.create_task(ask(house, session, 0))
        await house.fakes["primary"].until(lambda fake: len(fake.attempts) == 1)
        second = asyncio.create_task(ask(house, session, 1))
        await waiting(house, 1)
        drain = asyncio.create_task(house.sidecar.drain(5.0))
        assert await second == (503, 1, "draining")
        gate.set()
        assert (await first)[0] == 200
        await drain


async def test_metrics_and_state_tell_who_waits() -> None:
    async with running("primary", pools=a_queue(1, 4)) as house, aiohttp.ClientSession() as session:
        gate = answers_when(house)
        asked = [asyncio.create_task(ask(house, session, number)) for number in range(3)]
        await waiting(house, 2)
        async with session.get(f"{house.admin}/metrics") as answer:
            assert 'modelpool_queue_length{pool="chat"} 2.0' in await answer.text()
        async with session.get(f"{house.local}/-/state") as answer:
            [pool] = (await answer.json())["pools"]
            assert pool["queue"] == {"waiting": 2, "max": 4, "timeout": 10.0}
        gate.set()
        await asyncio.gather(*asked)
        await house.quiet()
        async with session.get(f"{house.admin}/metrics") as answer:
            assert 'modelpool_queue_wait_seconds_count{pool="chat"} 2.0' in await answer.text()
