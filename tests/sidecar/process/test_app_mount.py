"""A mount and a sidecar in one loop: what is taken over, what is refused, and that the last good config stays."""

import errno
import gzip
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from builders import a_config, a_pool, a_provider, a_target, an_api_key
from modelpool_config import codec
from modelpool_config.models import SCHEMA_VERSION, Config
from modelpool_sidecar.app import Sidecar
from modelpool_sidecar.following import Follower
from modelpool_sidecar.reload import Mount
from modelpool_sidecar.settings import Settings
from modelpool_sidecar.telemetry import service
from process_support import Told, Volume, fetch, metric, question
from running import Running, running

LOGGER = "modelpool_sidecar"
CREDENTIAL = "openai.api-key"


class House:
    """A sidecar that follows a volume whenever the test says so."""

    def __init__(self, running: Running, volume: Volume) -> None:
        self.running, self.volume = running, volume
        self.follower = Follower(Mount(volume.root), running.sidecar)
        self.polls = 0

    def config(self, *pools: Any) -> Config:
        return a_config(pools or None, [self.running.provider("primary")])

    def keyed(self, *pools: Any) -> Config:
        """The same with a provider that needs a key."""
        return a_config(pools or None, [self.running.provider("primary", auth=an_api_key())])

    def key_seen(self) -> str | None:
        return self.running.fakes["primary"].attempts[-1].header("authorization")

    async def sidecars(self) -> int:
        return int((await fetch(f"{self.running.local}/-/state")).json["sidecars"])

    async def poll(self) -> None:
        """Look, as the process does every second."""
        self.polls += 1
        await self.follower.poll(float(self.polls))

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
    "a field of nobody's": (
        lambda config: written(config, surprise=1),
        f"surprise is not a field of schema {SCHEMA_VERSION}",
    ),
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


@pytest.mark.parametrize("what", CANNOT_BE_USED)
async def test_under_a_config_that_cannot_be_used_keys_and_the_number_of_sidecars_are_followed_all_the_same(
    house: House, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A rotated key must not wait for a valid config, and the refused config is not told again for its sake."""
    house.volume.put(house.keyed(), {CREDENTIAL: "key-1"})
    await house.poll()
    before = (await house.public("/-/digest")).json
    spoil, _ = CANNOT_BE_USED[what]
    with caplog.at_level(logging.WARNING, LOGGER):
        house.volume.put(spoil(house.keyed()), {CREDENTIAL: "key-2"}, sidecars=2)
        await house.poll()
        assert ((await house.ask()).status, house.key_seen(), await house.sidecars()) == (200, "Bearer key-2", 2)
        house.volume.put(keys={CREDENTIAL: "key-3"}, sidecars=3)
        await house.poll()
        assert ((await house.ask()).status, house.key_seen(), await house.sidecars()) == (200, "Bearer key-3", 3)
    assert len(caplog.records) == 1
    assert await house.reloads("invalid") == 1
    after = (await house.public("/-/digest")).json
    assert (after["config"], after["pools"]) == (before["config"], before["pools"])
    assert after["credentials"] != before["credentials"]


async def test_without_any_good_config_keys_wait_for_the_first_one(tmp_path: Path) -> None:
    async with running("primary") as held:
        settings = Settings(data_hosts=("127.0.0.1",), local_hosts=("127.0.0.1",), port=0)
        fresh = Sidecar(settings, service.build({}), lambda _record: None)
        await fresh.start()
        try:
            house = House(Running(fresh, [], held.fakes), Volume(tmp_path))
            house.volume.put(b"", {CREDENTIAL: "key-1"}, 2)
            await house.poll()
            assert (await house.ask()).code == "not_ready"
            house.volume.put(house.keyed())
            await house.poll()
            assert ((await house.ask()).status, house.key_seen(), await house.sidecars()) == (200, "Bearer key-1", 2)
        finally:
            await fresh.stop()


async def test_each_content_that_cannot_be_used_is_told_once_also_for_one_reason(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [written(house.config(), schemaVersion="2.0", more=more) for more in ("a", "b")]
    with caplog.at_level(logging.INFO, LOGGER):
        for content in bad:
            house.volume.put(content)
            for _ in range(3):
                await house.poll()
                house.volume.swap()
    assert await house.reloads("invalid") == 2
    lines = [record.getMessage() for record in caplog.records]
    assert len(set(lines)) == len(lines) == 2
    assert all("schemaVersion 2.0 is not readable" in line for line in lines)


async def test_a_key_that_cannot_be_read_is_absent_alone_and_named_once(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    pools = [a_pool(), a_pool("open", targets=[a_target("open")])]
    primary = house.running.fakes["primary"].base_url
    providers = [a_provider("open", base_url=primary), a_provider(base_url=primary, auth=an_api_key())]
    house.volume.put(a_config(pools, providers), {CREDENTIAL: "key-1"})
    house.volume.swap()
    file = house.volume.root / "..data" / f"credential.{CREDENTIAL}"
    file.unlink()
    file.mkdir()
    with caplog.at_level(logging.WARNING, LOGGER):
        for _ in range(3):
            await house.poll()
    assert ((await house.ask()).code, (await house.ask("open")).status) == ("credential_pending", 200)
    assert caplog.messages == [f"credential {CREDENTIAL} is left out: it cannot be read: it is no file"]
    file.rmdir()
    file.write_bytes(b"key-2")
    await house.poll()
    assert ((await house.ask()).status, house.key_seen()) == (200, "Bearer key-2")


async def test_a_number_of_sidecars_that_is_none_leaves_it_as_it_was_and_is_told_once(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.volume.put(sidecars=3)
    await house.poll()
    house.volume.write("sidecars.json", b"many")
    with caplog.at_level(logging.ERROR, LOGGER):
        for _ in range(3):
            await house.poll()
            house.volume.swap()
    assert await house.sidecars() == 3
    (line,) = caplog.messages
    assert "sidecars.json: it must hold the number of sidecars" in line


async def test_what_fails_for_a_passing_reason_is_tried_again_with_every_look_and_told_once(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """No port is free for a Fake: keys are followed meanwhile, and the config as soon as there is one."""
    sidecar = Unlucky(house.running.sidecar, OSError(errno.EADDRNOTAVAIL, "no port is free"))
    house.follower = Follower(Mount(house.volume.root), sidecar)
    with caplog.at_level(logging.INFO, LOGGER):
        house.volume.put(house.keyed(a_pool("next", targets=[a_target()])), {CREDENTIAL: "key-1"})
        for _ in range(3):
            await house.poll()
        assert sidecar.refused == 3
        assert ((await house.ask()).status, (await house.ask("next")).status) == (200, 404)
        sidecar.is_lucky = True
        await house.poll()
        await house.poll()
    assert ((await house.ask("next")).status, house.key_seen()) == (200, "Bearer key-1")
    assert (await house.reloads("invalid"), sidecar.refused) == (1, 3)
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(told) == 1
    assert "the last good one stays: no port is free; it is tried again every second" in told[0]


class Unlucky:
    """A sidecar whose next configs cannot be applied, until `is_lucky`."""

    def __init__(self, sidecar: Sidecar, error: Exception) -> None:
        self.sidecar, self.error, self.refused = sidecar, error, 0
        self.is_lucky = False

    @property
    def has_config(self) -> bool:
        return self.sidecar.has_config

    async def apply(self, config: Config, credentials: Mapping[str, str], sidecars: int) -> bool:
        if not self.is_lucky:
            self.refused += 1
            raise self.error
        return await self.sidecar.apply(config, credentials, sidecars)

    async def apply_keys(self, credentials: Mapping[str, str], sidecars: int) -> bool:
        return await self.sidecar.apply_keys(credentials, sidecars)

    def invalid(self) -> None:
        self.sidecar.invalid()

    def tell(self, problems: Sequence[str]) -> None:
        self.sidecar.tell(problems)


async def test_a_fault_of_ours_with_one_config_keeps_no_key_waiting(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.volume.put(house.keyed(), {CREDENTIAL: "key-1"})
    await house.poll()
    house.follower = Follower(Mount(house.volume.root), Unlucky(house.running.sidecar, RuntimeError("canary")))
    house.volume.put(keys={CREDENTIAL: "key-2"})
    await house.poll()
    assert ((await house.ask()).status, house.key_seen()) == (200, "Bearer key-2")
    assert "by a fault of ours: RuntimeError" in caplog.text


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

    await Follower(Failing(house.volume.root), house.running.sidecar).poll(0.0)
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


async def test_what_is_not_in_use_is_told_with_the_state_until_it_is(house: House) -> None:
    async def told() -> Any:
        return (await fetch(f"{house.running.local}/-/state")).json["config"]

    assert (await told())["problems"] == []
    house.volume.put(b"{}")
    await house.poll()
    (problem,) = (await told())["problems"]
    since = (await told())["problemsSince"]
    assert "schema" in problem.lower()
    await house.poll()
    assert (await told())["problemsSince"] == since
    house.volume.put(house.keyed(), {CREDENTIAL: "key-1"})
    await house.poll()
    after = await told()
    assert (after["problems"], after["problemsSince"]) == ([], None)
    assert after["takenOver"] >= since
    house.follower = Follower(Mount(house.volume.root), Unlucky(house.running.sidecar, RuntimeError("canary")))
    house.volume.put(keys={CREDENTIAL: "key-2"})
    await house.poll()
    assert (await told())["problems"] == [
        "the config is not used, by a fault of ours; the log of the sidecar says which"
    ]
