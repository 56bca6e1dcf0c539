"""A mount and a sidecar in one loop: what is taken over, what is refused, and that the last good config stays."""

import gzip
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from builders import a_config, a_pool, a_provider, a_target
from modelpool_config import codec
from modelpool_config.models import Config
from modelpool_sidecar import __main__ as entry
from modelpool_sidecar.reload import Mount
from process_support import Told, Volume, fetch, metric, question
from running import Running, running

LOGGER = "modelpool_sidecar"


class House:
    """A sidecar that follows a volume whenever the test says so."""

    def __init__(self, running: Running, volume: Volume) -> None:
        self.running, self.volume = running, volume
        self.mount = Mount(volume.root)
        self.polls = 0

    def config(self, *pools: Any) -> Config:
        return a_config(pools or None, [self.running.provider("primary")])

    async def poll(self) -> None:
        """Look, as the process does every second."""
        self.polls += 1
        await entry.poll(self.mount, self.running.sidecar, float(self.polls))

    async def ask(self, model: str = "chat") -> Told:
        url = f"{self.running.base_url}/chat/completions"
        return await fetch(url, method="POST", body=question(model=model))

    async def public(self, path: str) -> Told:
        return await fetch(self.running.admin + path)

    async def reloads(self, result: str) -> float:
        return metric((await self.public("/metrics")).body, "modelpool_config_reloads_total", result=result)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with running("primary") as held:
        house = House(held, Volume(tmp_path))
        house.volume.put(house.config())
        await house.poll()
        yield house


def written(config: Config, **changes: Any) -> bytes:
    """The config's bytes with other fields at the top."""
    return json.dumps({**json.loads(codec.encode(config)), **changes}).encode()


CANNOT_BE_USED: dict[str, tuple[Callable[[Config], bytes], str]] = {
    "empty": (lambda config: b"", "config.json: the config is empty"),
    "cut": (lambda config: codec.encode(config)[:-10], "config.json: the config is not JSON"),
    "a list": (lambda config: b"[]", "config.json: the config must be a JSON object, not list"),
    "nested without end": (lambda config: b'{"a":' * 100_000, "config.json: the config is nested too deeply"),
    "half a gzip": (lambda config: gzip.compress(codec.encode(config))[:-9], "the gzipped config is cut short"),
    "another major version": (lambda config: written(config, schemaVersion="2.0"), "schemaVersion 2.0 is not readable"),
    "no version": (lambda config: written(config, schemaVersion=None), "schemaVersion must be like 1.0"),
    "a field of nobody's": (lambda config: written(config, surprise=1), "surprise is not a field of schema 1.0"),
    "no providers": (lambda config: written(config, providers=[]), "pool chat, target primary: no provider 'primary'"),
    "one name twice": (
        lambda config: codec.encode(a_config([a_pool("a", models=["m"]), a_pool("b", models=["m"])])),
        "pools a and b both claim the model name 'm'",
    ),
}


@pytest.mark.parametrize("what", CANNOT_BE_USED)
async def test_what_cannot_be_used_replaces_nothing_and_is_told_once(
    house: House, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoil, sentence = CANNOT_BE_USED[what]
    before = (await house.public("/-/digest")).json
    good = house.config()
    house.volume.put(spoil(good))
    with caplog.at_level(logging.INFO, LOGGER):
        for _ in range(3):
            await house.poll()
            house.volume.swap()
    assert (await house.ask()).status == 200
    assert (await house.public("/readyz")).status == 200
    assert (await house.public("/-/digest")).json == before
    assert (await house.reloads("ok"), await house.reloads("invalid")) == (1, 1)
    (record,) = caplog.records
    assert sentence in record.getMessage()
    house.volume.put(house.config(a_pool("other", targets=[a_target()])))
    await house.poll()
    assert (await house.ask("other")).status == 200


async def test_a_config_that_is_gone_stays_in_force(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.volume.remove_config()
    with caplog.at_level(logging.INFO, LOGGER):
        for _ in range(3):
            await house.poll()
            house.volume.swap()
    assert (await house.ask()).status == 200
    assert await house.reloads("invalid") == 1
    (record,) = caplog.records
    assert "the last good one stays: there is no config.json or config.json.gz" in record.getMessage()


async def test_an_unforeseen_fault_is_logged_without_its_words_and_the_following_goes_on(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Mount):
        def poll(self, now: float) -> None:
            raise RuntimeError("canary")

    await entry.poll(Failing(house.volume.root), house.running.sidecar, 0.0)
    assert await house.reloads("invalid") == 1
    assert "by a fault of ours: RuntimeError" in caplog.text
    assert "canary" not in caplog.text.replace('raise RuntimeError("canary")', "")


async def test_unknown_fields_of_a_higher_minor_version_are_read_over(house: House) -> None:
    config = json.loads(codec.encode(house.config(a_pool("next", targets=[a_target()]))))
    config["schemaVersion"] = "1.7"
    config["future"] = {"is": "bright"}
    config["pools"][0]["future"] = config["providers"][0]["future"] = 1
    house.volume.put(json.dumps(config).encode())
    await house.poll()
    assert (await house.ask("next")).status == 200


@pytest.mark.parametrize("where", ["pools", "providers"])
async def test_what_requires_more_than_this_sidecar_can_closes_its_pool_alone(house: House, where: str) -> None:
    """The pool `new` requires it itself, or through its provider."""
    pools = [a_pool(), a_pool("new", targets=[a_target("future")])]
    providers = [house.running.provider("primary"), a_provider("future")]
    raw = json.loads(codec.encode(a_config(pools, providers)))
    raw["schemaVersion"] = "1.7"
    next(item for item in raw[where] if item["name"] in ("new", "future"))["requires"] = ["telepathy"]
    house.volume.put(json.dumps(raw).encode())
    await house.poll()
    refused = await house.ask("new")
    assert (refused.status, refused.code) == (503, "sidecar_too_old")
    assert "telepathy" in refused.json["error"]["message"]
    assert (await house.ask()).status == 200
    assert set((await house.public("/-/digest")).json["pools"]) == {"chat", "new"}


async def test_the_digests_name_config_pools_and_keys_apart(house: House) -> None:
    async def digest() -> Any:
        await house.poll()
        return (await house.public("/-/digest")).json

    first = await digest()
    assert first["config"] == codec.config_digest(house.config())
    assert first["pools"] == {"chat": codec.pool_digest(house.config(), house.config().pools[0])}
    house.volume.put(keys={"openai.api-key": "canary"})
    keyed = await digest()
    assert keyed == {**first, "credentials": keyed["credentials"]}
    assert keyed["credentials"] != first["credentials"]
    house.volume.put(sidecars=7)
    assert await digest() == keyed
    more = house.config(*house.config().pools, a_pool("more", targets=[a_target()]))
    house.volume.put(more)
    edited = await digest()
    assert edited["config"] == codec.config_digest(more) != first["config"]
    assert edited["pools"]["chat"] == first["pools"]["chat"]


async def test_equal_bytes_in_a_new_directory_are_nothing(house: House, caplog: pytest.LogCaptureFixture) -> None:
    await house.ask()
    with caplog.at_level(logging.DEBUG, LOGGER):
        house.volume.swap()
        await house.poll()
        house.volume.put(house.config(), gzipped=True)
        await house.poll()
    assert not caplog.records
    assert await house.reloads("ok") == 1
    await house.ask()
    assert house.running.fakes["primary"].connections_accepted == 1
