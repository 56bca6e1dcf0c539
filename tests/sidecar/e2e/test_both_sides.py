"""How often a provider that cannot answer is asked, and when, seen from both sides (B17 to B19, B35 to B37).

Real sockets, real seconds. Only the recovery is scaled: its cooldowns are a twentieth of the defaults, three seconds
stand for a minute. With the defaults, on virtual time, it is in policy/test_policy_recovery.py.
"""

import asyncio
import json
import time
from collections.abc import Callable

import aiohttp
import pytest

from builders import a_pool, a_target
from modelpool_sidecar.fake import FakeProvider
from modelpool_sidecar.fake.log import FakeAttempt
from modelpool_sidecar.fake.raw import RawAnswer
from running import Running, running
from stillness import again

JSON = ("content-type", "application/json")


async def ask(held: Running, *, stream: bool = False) -> tuple[int, str]:
    """The status, and who gave the answer."""
    body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{held.base_url}/chat/completions", json=body) as answer,
    ):
        await answer.read()
        return answer.status, answer.headers.get("x-modelpool-target", "")


def once(answer: RawAnswer) -> Callable[[FakeAttempt], RawAnswer | None]:
    """The first request gets that, the others what the script says."""
    return lambda attempt: answer if attempt.number == 1 else None


@pytest.mark.parametrize("stream", [False, True])
@again
async def test_two_seconds_of_retry_after_are_waited_for_at_the_same_target(stream: bool) -> None:
    """B17, B19: `maxRetryAfter` of 3 s; not sooner than it was told, and not at another provider's cost."""
    same = {"initial": 250, "max": 2_000, "max_retry_after": 3_000, "retries": None}
    pool = a_pool(targets=[a_target()], fallback={"same_target": same})
    async with running("primary", pools=[pool]) as held:
        held.fakes["primary"].answer_with(once(RawAnswer(429, (("retry-after", "2"), JSON), (b"{}",))))
        assert await ask(held, stream=stream) == (200, "primary")
        first, second = held.fakes["primary"].attempts
        assert 1.8 <= second.started - first.started < 3.0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_silent_provider_is_asked_once(stream: bool) -> None:
    """B17: what timed out may still be at work; a second question would double the load that made it slow."""
    quick = {"timeouts": {"first_token": 300, "attempt": 300}}
    async with running("primary", changes={"primary": quick}) as held:
        held.fakes["primary"].break_as("Hang")
        assert (await ask(held, stream=stream))[0] == 504
        await held.quiet()
        assert len(held.fakes["primary"].attempts) == 1


@pytest.mark.parametrize("patience", [0, 3_000])
@pytest.mark.parametrize("told", [(), (("retry-after", "1"),)])
async def test_a_persistent_429_is_asked_at_most_four_times_in_three_seconds(
    told: tuple[tuple[str, str], ...], patience: int
) -> None:
    """B19, B35: whatever clients do, and whether or not a wait is told."""
    same = {"initial": 250, "max": 2_000, "max_retry_after": patience, "retries": None}
    pool = a_pool(targets=[a_target()], fallback={"same_target": same})
    async with running("primary", pools=[pool]) as held:
        held.fakes["primary"].answer_with(RawAnswer(429, (*told, JSON), (b"{}",)))
        end = time.monotonic() + 3.0
        while time.monotonic() < end:
            assert (await ask(held))[0] == 429
            await asyncio.sleep(0.01)
        first = held.fakes["primary"].attempts[0].started
        assert 1 <= sum(each.started - first < 3.0 for each in held.fakes["primary"].attempts) <= 4


LONG = {
    "OpenAI": (400, {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}),
    "vLLM": (400, {"message": "This model's maximum context length is 10 tokens.", "type": "BadRequestError"}),
    "llama.cpp": (500, {"message": "too long", "type": "exceed_context_size_error", "code": 500}),
    "Together": (403, {"message": "Input validation error: `inputs` must have less than 4096 tokens. Given: 4545"}),
}


@pytest.mark.parametrize("who", LONG)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_that_is_too_long_is_sent_once(who: str, stream: bool) -> None:
    """B17: it would be as long the second time; and the target keeps its good name."""
    status, error = LONG[who]
    same = {"initial": 10, "max": 20, "max_retry_after": 0, "retries": 3}
    targets = [a_target("primary"), a_target("backup", priority=1)]
    async with running(pools=[a_pool(targets=targets, fallback={"same_target": same})]) as held:
        body = json.dumps({"error": error}).encode()
        held.fakes["primary"].answer_with(RawAnswer(status, (JSON,), (body,), framing="length"))
        for asked in (1, 2, 3, 4, 5, 6):
            assert await ask(held, stream=stream) == (status, "primary")
            assert len(held.fakes["primary"].attempts) == asked
        assert not held.fakes["backup"].attempts


async def recovered(held: Running, primary: FakeProvider) -> float:
    """Seconds from now to the first answer that the primary gives, while clients go on asking."""
    began = time.monotonic()
    while (await ask(held))[1] != "primary":  # noqa: ASYNC110 - clients ask again and again, and nothing announces it
        await asyncio.sleep(0.01)
    assert primary.attempts
    return time.monotonic() - began


@again
async def test_a_minute_of_refused_connections_costs_probes_only_and_is_over_half_a_minute_later() -> None:
    """B35 to B37, scaled by 20."""
    health = {"cooldown": 250, "max_cooldown": 1_500, "window": 1_500, "successes": 1, "ramp_up": 0}
    async with running(changes={"primary": {"health": health}}) as held:
        primary = held.fakes["primary"]
        primary.break_as("Refuse")
        end, served = time.monotonic() + 3.0, 0
        while time.monotonic() < end:
            assert await ask(held) == (200, "backup")
            served += 1
            await asyncio.sleep(0.005)
        assert served > 20
        # three in a row, then a probe after each of 0.25, 0.5, 1 and 1.5 s
        assert 4 <= primary.connections_accepted <= 7
        primary.mend()
        assert await recovered(held, primary) < 1.5 * 1.2 + 0.3
