"""The process follows its mount: configs, keys and the number of sidecars, as the kubelet swaps them (B47 to B50)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import aiohttp
import pytest

from builders import a_config, a_pool, a_provider, a_target, an_api_key
from modelpool_config import codec
from modelpool_config.models import SCHEMA_VERSION, Config
from modelpool_sidecar.fake import FakeProvider
from modelpool_sidecar.fake.log import FakeAttempt
from modelpool_sidecar.fake.raw import RawAnswer
from process_support import FOLLOWED_WITHIN, Process, Told, Volume, eventually, question, ready

CREDENTIAL = "openai.api-key"


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


@asynccontextmanager
async def providers(*names: str) -> AsyncIterator[dict[str, FakeProvider]]:
    fakes = {name: FakeProvider(name) for name in names}
    for fake in fakes.values():
        await fake.start()
    try:
        yield fakes
    finally:
        for fake in fakes.values():
            await fake.stop()


def a_config_at(fake: FakeProvider, *, key: bool = True, name: str = "primary") -> Config:
    """A pool with one target at this provider."""
    auth = an_api_key() if key else None
    return a_config([a_pool(targets=[a_target(name)])], [a_provider(name, base_url=fake.base_url, auth=auth)])


def keys_seen(fake: FakeProvider) -> list[str]:
    return [(attempt.header("authorization") or "").removeprefix("Bearer ") for attempt in fake.attempts]


def takes_only(fake: FakeProvider, *keys: str) -> None:
    """The provider knows these keys from now on; every other one is answered with 401."""
    denied = RawAnswer(
        401, (("content-type", "application/json"),), (b'{"error":{"message":"bad key"}}',), framing="length"
    )

    def answer(attempt: FakeAttempt) -> RawAnswer | None:
        key = (attempt.header("authorization") or "").removeprefix("Bearer ")
        return None if key in keys else denied

    fake.answer_with(answer)


class Load:
    """A few clients that ask without a pause; `answers` in the order in which they came."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.answers: list[tuple[int, str]] = []
        self.failures: list[BaseException] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        self._tasks = [asyncio.create_task(self._ask(stream=number % 2 == 0)) for number in range(4)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def more(self, count: int = 8) -> None:
        """Wait until so many more answers have come."""
        enough = len(self.answers) + count
        await eventually(lambda: len(self.answers) >= enough)

    async def _ask(self, *, stream: bool) -> None:
        url = self.process.url("/v1/chat/completions")
        while True:
            try:
                async with self._session.post(url, json=question(stream=stream)) as answer:
                    await answer.read()
                    self.answers.append((answer.status, answer.headers["x-modelpool-target"]))
            except (aiohttp.ClientError, KeyError) as error:
                self.failures.append(error)
            await asyncio.sleep(0.01)


async def test_config_and_keys_swap_together_and_no_request_is_lost(volume: Volume) -> None:
    """Each provider takes its own key only: a mix of an old config and a new key would be answered with 401."""
    async with providers("primary", "backup") as fakes:
        takes_only(fakes["primary"], "key-1")
        takes_only(fakes["backup"], "key-2")
        volume.put(a_config_at(fakes["primary"]), {CREDENTIAL: "key-1"})
        async with ready(volume) as process, Load(process) as load:
            await load.more()
            volume.put(a_config_at(fakes["backup"], name="backup"), {CREDENTIAL: "key-2"}, gzipped=True)
            await eventually(lambda: fakes["backup"].attempts, FOLLOWED_WITHIN)
            await load.more()
            assert not load.failures
            assert {status for status, _ in load.answers} == {200}
            assert [name for _, name in load.answers][-1] == "backup"
            assert (set(keys_seen(fakes["primary"])), set(keys_seen(fakes["backup"]))) == ({"key-1"}, {"key-2"})


async def test_a_rotated_key_is_used_and_no_request_is_lost(volume: Volume) -> None:
    async with providers("primary") as fakes:
        takes_only(fakes["primary"], "key-1", "key-2")
        volume.put(a_config_at(fakes["primary"]), {CREDENTIAL: "key-1"})
        async with ready(volume) as process, Load(process) as load:
            await load.more()
            volume.put(keys={CREDENTIAL: "key-2"})
            await eventually(lambda: "key-2" in keys_seen(fakes["primary"]))
            takes_only(fakes["primary"], "key-2")
            await load.more()
            assert not load.failures
            assert {status for status, _ in load.answers} == {200}
            assert keys_seen(fakes["primary"])[-1] == "key-2"


async def test_where_the_provider_is_slower_than_we_the_key_before_still_answers(volume: Volume) -> None:
    async with providers("primary") as fakes:
        takes_only(fakes["primary"], "key-1")
        volume.put(a_config_at(fakes["primary"]), {CREDENTIAL: "key-1"})
        async with ready(volume) as process:
            before = (await process.get("/-/digest")).json
            volume.put(keys={CREDENTIAL: "key-2"})

            async def rotated() -> bool:
                return bool((await process.get("/-/digest")).json["credentials"] != before["credentials"])

            await eventually(rotated)
            answer = await process.ask()
            assert (answer.status, answer.headers["x-modelpool-attempts"]) == (200, "2")
            assert keys_seen(fakes["primary"]) == ["key-2", "key-1"]
            after = (await process.get("/-/digest")).json
            assert after["config"] == before["config"]


async def test_a_target_whose_key_is_not_there_yet_is_closed_alone(volume: Volume) -> None:
    async with providers("primary", "backup") as fakes:
        config = a_config(
            [a_pool(targets=[a_target()]), a_pool("open", targets=[a_target("backup")])],
            [
                a_provider("backup", base_url=fakes["backup"].base_url),
                a_provider("primary", base_url=fakes["primary"].base_url, auth=an_api_key()),
            ],
        )
        volume.put(config, {})
        async with ready(volume) as process:
            pending = await process.ask()
            assert (pending.status, pending.code) == (503, "credential_pending")
            message = pending.json["error"]["message"]
            assert "a key is on its way: primary has no key yet (Secret openai, key api-key)" in message
            assert (await process.ask(model="open")).status == 200
            volume.put(keys={CREDENTIAL: "key-1"})

            async def arrived() -> bool:
                return (await process.ask()).status == 200

            await eventually(arrived)
            assert set(keys_seen(fakes["primary"])) == {"key-1"}


async def test_with_four_sidecars_a_divided_limit_is_a_quarter(volume: Volume) -> None:
    async with providers("primary") as fakes:
        limit = {"name": "rate", "max": 8, "per": 3_600_000, "burst": 8, "scope": "Divided"}
        pool = a_pool(limits={"requests": [limit], "concurrency": {"max": 8}})
        volume.put(a_config([pool], [a_provider(base_url=fakes["primary"].base_url)]))
        async with ready(volume) as process:
            assert (await process.ask()).headers["x-ratelimit-limit-requests"] == "8"
            before = (await process.get("/-/digest")).json
            volume.put(sidecars=4)

            async def followed() -> bool:
                return bool((await process.get("/-/state")).json["sidecars"] == 4)

            await eventually(followed)
            (told,) = (await process.get("/-/state")).json["pools"]
            assert (told["limits"][0]["max"], told["concurrency"]) == (2, 2)
            statuses = [(await process.ask()).status for _ in range(3)]
            assert statuses == [200, 429, 429]
            assert (await process.get("/-/digest")).json == before


@pytest.mark.slow
async def test_what_cannot_be_used_is_told_once_and_the_last_good_config_stays(volume: Volume) -> None:
    async with providers("primary") as fakes:
        volume.put(a_config_at(fakes["primary"], key=False))
        async with ready(volume) as process:
            before = (await process.get("/-/digest")).json
            volume.put(b'{"schemaVersion":"1.0"}')

            async def refused() -> bool:
                return await process.reloads("invalid") == 1

            await eventually(refused)
            volume.swap()
            first = codec.encode(a_config_at(fakes["primary"], key=False))
            volume.put(first.replace(SCHEMA_VERSION.encode(), b"2.0", 1))

            async def refused_again() -> bool:
                return await process.reloads("invalid") == 2

            await eventually(refused_again)
            assert (await process.get("/-/digest")).json == before
            assert (await process.get("/readyz")).status == 200
            assert_answered(await process.ask())
            once, twice = process.said("ERROR")
            assert "providers must be a list" in once
            assert "schemaVersion 2.0 is not readable here" in twice


def assert_answered(answer: Told) -> None:
    assert (answer.status, answer.headers["x-modelpool-target"]) == (200, "primary")
