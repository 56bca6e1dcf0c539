"""What survives a reload and what does not (B46 to B48), with real sockets on both sides."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from builders import a_config, a_pool, a_provider, a_target, an_api_key
from modelpool_config.models import Pool
from modelpool_sidecar.core.compiled import CannotCompileError
from modelpool_sidecar.fake.raw import RawAnswer
from process_support import Told, fetch, metric, question
from running import Running, running
from virtual import DONE, ROLE, a_chunk

KEY = {"openai.api-key": "key-1"}


async def ask(house: Running, model: str = "chat", **headers: str) -> Told:
    return await fetch(f"{house.base_url}/chat/completions", method="POST", headers=headers, body=question(model=model))


def chat(**changes: Any) -> Pool:
    """The pool over primary and backup. `weight`: an edit that concerns nothing else."""
    weight = changes.pop("weight", 1)
    return a_pool(targets=[a_target(weight=weight), a_target("backup", priority=1)], **changes)


async def apply(house: Running, pools: Sequence[Pool], credentials: dict[str, str] | None = None) -> None:
    auth = None if credentials is None else an_api_key()
    providers = [house.provider("backup"), house.provider("primary", auth=auth)]
    await house.apply(pools, providers, credentials=credentials or {})


def tried(house: Running) -> int:
    return len(house.fakes["primary"].attempts)


async def target(house: Running, name: str = "primary") -> Any:
    (pool,) = (pool for pool in (await fetch(f"{house.local}/-/state")).json["pools"] if pool["name"] == "chat")
    return next(target for target in pool["targets"] if target["name"] == name)


async def test_a_cooldown_outlives_an_edit_that_does_not_concern_it() -> None:
    async with running() as house:
        await apply(house, [chat()], KEY)
        house.fakes["primary"].break_as("402")
        assert (await ask(house)).headers["x-modelpool-attempts"] == "2"
        until = (await target(house))["until"]
        await apply(house, [chat(weight=7), a_pool("other", targets=[a_target("backup")])], KEY)
        house.fakes["primary"].mend()
        answer = await ask(house)
        assert (answer.headers["x-modelpool-target"], answer.headers["x-modelpool-attempts"]) == ("backup", "1")
        assert tried(house) == 1
        after = await target(house)
        assert (after["stance"], after["weight"]) == ("cooling", 7)
        assert after["until"] == pytest.approx(until, abs=5)


async def test_a_new_key_is_a_new_identity_and_serves_at_once() -> None:
    async with running() as house:
        await apply(house, [chat()], KEY)
        house.fakes["primary"].break_as("401")
        assert (await ask(house)).headers["x-modelpool-target"] == "backup"
        assert (await target(house))["stance"] == "cooling"
        house.fakes["primary"].mend()
        await apply(house, [chat()], {"openai.api-key": "key-2"})
        assert (await target(house))["stance"] == "serving"
        assert (await ask(house)).headers["x-modelpool-target"] == "primary"
        assert house.fakes["primary"].attempts[-1].header("authorization") == "Bearer key-2"


async def test_the_used_share_of_a_limit_outlives_an_edit() -> None:
    def limited(maximum: int, weight: int) -> Pool:
        limit = {"name": "rate", "max": maximum, "per": 3_600_000, "burst": maximum, "scope": "Sidecar"}
        return chat(limits={"requests": [limit], "concurrency": None}, weight=weight)

    async with running() as house:
        await apply(house, [limited(4, weight=1)])
        for _ in range(2):
            await ask(house)
        await apply(house, [limited(4, weight=9)])
        assert (await ask(house)).headers["x-ratelimit-remaining-requests"] == "1"
        await apply(house, [limited(8, weight=9)])
        answers = [await ask(house) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert answers[-1].code == "rate_limit_exceeded"


async def test_an_operation_that_a_provider_does_not_know_is_tried_again_after_an_edit() -> None:
    async with running() as house:
        await apply(house, [chat()])
        house.fakes["primary"].break_as("501")
        for _ in range(3):
            assert (await ask(house)).headers["x-modelpool-target"] == "backup"
        assert tried(house) == 1
        await apply(house, [chat()])
        await ask(house)
        assert tried(house) == 1
        house.fakes["primary"].mend()
        await apply(house, [chat(weight=2)])
        assert (await ask(house)).headers["x-modelpool-target"] == "primary"
        assert tried(house) == 2


async def test_connections_to_a_provider_stay_open_over_an_edit_and_close_with_its_end() -> None:
    async with running() as house:
        await apply(house, [chat()])
        await ask(house)
        await apply(house, [chat(weight=5)])
        await ask(house)
        primary = house.fakes["primary"]
        assert (primary.connections_accepted, primary.open_connections) == (1, 1)
        await house.apply([a_pool(targets=[a_target("backup")])], [house.provider("backup")])
        async with asyncio.timeout(5):
            await primary.until(lambda fake: fake.open_connections == 0)


async def test_a_stream_goes_on_over_the_removal_of_its_pool() -> None:
    gate = asyncio.Event()
    async with running() as house:
        await apply(house, [chat()])
        parts = (ROLE, a_chunk("first"), gate, a_chunk("last", "stop"), DONE)
        house.fakes["primary"].answer_with(RawAnswer(body=parts))
        body = question(stream=True)
        asking = asyncio.create_task(fetch(f"{house.base_url}/chat/completions", method="POST", body=body))
        async with asyncio.timeout(5):
            await house.fakes["primary"].until(lambda fake: bool(fake.attempts) and bool(fake.attempts[0].sent_bytes))
        await house.apply([a_pool("other", targets=[a_target("backup")])], [house.provider("backup")])
        assert (await ask(house)).status == 404
        gate.set()
        answer = await asking
        assert (answer.status, answer.body.endswith(DONE)) == (200, True)


async def test_equal_ones_are_no_reload() -> None:
    async with running() as house:
        for _ in range(3):
            await apply(house, [chat()], KEY)
        text = (await fetch(f"{house.admin}/metrics")).body
        assert metric(text, "modelpool_config_reloads_total", result="ok") == 2


async def test_a_config_that_does_not_compile_leaves_everything_as_it_was() -> None:
    async with running() as house:
        await apply(house, [chat()])
        before = (await fetch(f"{house.admin}/-/digest")).json
        toy = a_provider("toy", dialect="Fake", base_url=None)
        twice = [a_pool("a", [a_target("toy")], models=["m"]), a_pool("b", [a_target("toy")], models=["m"])]
        with pytest.raises(CannotCompileError, match="both claim"):
            await house.sidecar.apply(a_config(twice, [toy]), {"new": "key"})
        assert (await fetch(f"{house.admin}/-/digest")).json == before
        assert (await fetch(f"{house.local}/-/state")).json["fakes"] == {}
        assert (await ask(house)).status == 200
