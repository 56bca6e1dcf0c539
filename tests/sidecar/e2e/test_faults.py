"""A provider that fails in every way it can, judged from both sides: what the client got, what the providers saw."""

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest

from builders import a_pool, a_target
from modelpool_sidecar.fake.raw import RawAnswer
from running import Running, running
from stillness import again
from virtual import ROLE

QUICK = {"first_token": 300, "attempt": 300, "connect": 300}
IMPATIENT = {"primary": {"timeouts": QUICK}}


async def ask(house: Running, *, stream: bool = False, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One request as plain HTTP."""
    body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{house.base_url}/chat/completions", json=body, headers=headers) as answer,
    ):
        data = await answer.read()
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, data


def seen(house: Running) -> dict[str, int]:
    return {name: len(fake.attempts) for name, fake in house.fakes.items()}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["429", "500", "502", "503", "504", "529", "401", "404", "Refuse", "Reset", "Hang"])
async def test_a_failing_primary_costs_one_attempt_and_the_backup_answers(fault: str, stream: bool) -> None:
    async with running(changes=IMPATIENT) as house:
        house.fakes["primary"].break_as(fault)
        status, headers, body = await ask(house, stream=stream)
        assert (status, headers["x-modelpool-target"], headers["x-modelpool-attempts"]) == (200, "backup", "2")
        assert b"backup" in body
        assert seen(house) == {"primary": 1, "backup": 1}
        await house.quiet()


@pytest.mark.parametrize("ends", ["cut", "reset", "stall"])
@pytest.mark.parametrize("parts", [(), (b": ping\n\n",), (ROLE,)])
async def test_a_stream_that_fails_before_its_first_token_is_survived(ends: Any, parts: tuple[bytes, ...]) -> None:
    async with running(changes=IMPATIENT) as house:
        house.fakes["primary"].answer_with(RawAnswer(body=parts, ends=ends))
        status, headers, body = await ask(house, stream=True)
        assert (status, headers["x-modelpool-target"]) == (200, "backup")
        assert body.endswith(b"data: [DONE]\n\n")
        assert body.count(b'"role":"assistant"') == 1
        assert seen(house) == {"primary": 1, "backup": 1}
        await house.quiet()


@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_a_whole_answer_that_is_cut_is_survived(framing: Any) -> None:
    async with running() as house:
        headers = (("content-type", "application/json"),)
        lie = 1000 if framing == "length" else None
        cut = RawAnswer(headers=headers, body=(b'{"choices":[',), ends="cut", framing=framing, content_length=lie)
        house.fakes["primary"].answer_with(cut)
        _, told, _ = await ask(house)
        assert told["x-modelpool-target"] == "backup"
        assert seen(house) == {"primary": 1, "backup": 1}


async def test_all_down_is_told_once_with_the_last_words_and_bounded_attempts() -> None:
    async with running() as house:
        for fake in house.fakes.values():
            fake.break_as("503")
        status, headers, body = await ask(house)
        assert (status, headers["x-should-retry"]) == (503, "false")
        assert orjson.loads(body)["error"]["message"]
        assert seen(house) == {"primary": 1, "backup": 1}


async def test_a_client_error_is_the_clients_and_costs_one_attempt() -> None:
    async with running() as house:
        error = b'{"error":{"message":"too long","code":"context_length_exceeded","odd":1.0e3}}'
        headers = (("content-type", "application/json"),)
        house.fakes["primary"].answer_with(RawAnswer(400, headers, (error,), framing="length"))
        status, _, body = await ask(house)
        assert (status, body) == (400, error)
        assert seen(house) == {"primary": 1, "backup": 0}


@again
async def test_a_rate_limit_that_may_be_waited_for_is_waited_for_at_the_same_target() -> None:
    same = {"initial": 10, "max": 20, "max_retry_after": 3_000, "retries": None}
    pool = a_pool(targets=[a_target()], fallback={"same_target": same})
    async with running("primary", pools=[pool]) as house:
        limited = RawAnswer(429, (("retry-after-ms", "200"), ("content-type", "application/json")), (b"{}",))
        house.fakes["primary"].answer_with(lambda attempt: limited if attempt.number == 1 else None)
        status, _, _ = await ask(house)
        first, second = house.fakes["primary"].attempts
        assert status == 200
        assert 0.2 <= second.started - first.started < 1.5


async def test_a_persistent_429_is_not_hammered() -> None:
    async with running("primary") as house:
        house.fakes["primary"].break_as("429")
        answers = [await ask(house) for _ in range(20)]
        assert {status for status, _, _ in answers} == {429}
        assert all(1 <= int(headers["retry-after"]) <= 60 for _, headers, _ in answers)
        assert seen(house)["primary"] <= 4


async def test_a_primary_that_refuses_connections_costs_probes_only_and_comes_back() -> None:
    health = {"cooldown": 200, "max_cooldown": 200, "successes": 1, "ramp_up": 0}
    async with running(changes={"primary": {"health": health}}) as house:
        primary = house.fakes["primary"]
        primary.break_as("Refuse")
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(30):
            await ask(house)
        assert primary.connections_accepted <= 3 + (loop.time() - began) // 0.2 + 1, "three in a row, then probes"
        primary.mend()
        async with asyncio.timeout(5):
            while (await ask(house))[1]["x-modelpool-target"] != "primary":
                pass


async def test_a_connection_that_the_provider_closed_while_idle_is_no_failure() -> None:
    async with running("primary") as house:
        await ask(house)
        for connection in tuple(house.fakes["primary"].connections):
            connection.close()
        status, headers, _ = await ask(house)
        assert (status, headers["x-modelpool-attempts"]) == (200, "1")


async def test_redirects_are_not_followed_with_a_key() -> None:
    async with running() as house:
        away = RawAnswer(307, (("location", house.fakes["backup"].base_url + "/steal"),), (), framing="length")
        house.fakes["primary"].answer_with(away)
        _, headers, _ = await ask(house)
        assert headers["x-modelpool-target"] == "backup"
        assert [attempt.path for attempt in house.fakes["backup"].attempts] == ["/v1/chat/completions"]
