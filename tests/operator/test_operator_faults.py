"""Whatever goes wrong on the way to the API server: the operator heals, writes nothing stale, and is no burden.

The operator runs as it is in the image, but in this process and at a door of the fake API.
"""

import asyncio
import base64
import json
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fake_api import FakeApi
from fake_api_operator import healed, operating, published, trespasses, wrongs
from fake_api_scenes import (
    CONFIG_MAP,
    FAULTS,
    TAKEOVER_SECONDS,
    WATCHED,
    Fault,
    compacted,
    disturb,
    done,
    edit,
    mend,
    pool,
    provider,
    secret,
    shop,
    spoil,
    weights,
)

pytestmark = pytest.mark.slow


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with shop() as running:
        yield running


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
async def test_everything_heals_after(api: FakeApi, tmp_path: Path, fault: Fault) -> None:
    async with operating(api, tmp_path):
        await healed(api)
        await api.wait_for(lambda: all(map(api.watches, WATCHED)))
        await done(fault.begin(api))
        began = len(api.journal)
        edit(api, 3)
        await asyncio.sleep(fault.seconds)  # it lasts so long
        edit(api, 4)
        asked = len(api.journal) - began
        await done(fault.end(api))
        await healed(api, fault.within)
        assert weights(api) == sorted(weights(api))
        assert trespasses(api) == []
        assert asked <= 40 + 20 * fault.seconds


# What no watch tells


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Provider", "plain"),
        ("ModelPool", "spare"),
        ("Secret", "openai"),
        ("ConfigMap", "modelpool-config"),
        ("Secret", "modelpool-credentials"),
    ],
)
async def test_what_vanished_without_a_word_is_gone_after_the_next_list(
    api: FakeApi, tmp_path: Path, kind: str, name: str
) -> None:
    async with operating(api, tmp_path, resync_seconds=3):
        await healed(api)
        api.lose_deleted(kind, "shop", name)
        assert wrongs(api)
        await healed(api, 10)


@pytest.mark.parametrize(
    "item",
    [pool("chat", "plain", weight=7), provider("plain", secret="openai"), secret("second"), pool("unheard", "plain")],
    ids=["a pool", "a Provider", "a Secret", "a new pool"],
)
async def test_a_change_that_no_watch_told_is_seen_by_the_next_list(
    api: FakeApi, tmp_path: Path, item: dict[str, Any]
) -> None:
    async with operating(api, tmp_path, resync_seconds=3):
        await healed(api)
        api.lose_next_event()
        api.put(item)
        assert wrongs(api)
        await healed(api, 10)


async def test_objects_may_be_seen_in_any_order(api: FakeApi, tmp_path: Path) -> None:
    async with operating(api, tmp_path):
        await healed(api)
        api.hold_events("secrets")
        api.hold_events("providers")
        api.put(secret("late", "other"))
        api.put(provider("late", secret="other"))
        api.put(pool("late", "late", "plain"))
        await api.wait_for(lambda: (api.get("ModelPool", "shop", "late") or {}).get("status"))
        api.release_events("providers")
        await api.wait_for(lambda: (api.get("Provider", "shop", "late") or {}).get("status"))
        api.release_events("secrets")
        await healed(api)


async def test_a_config_map_that_no_watch_has_told_yet_and_somebody_else_made_is_left_alone(
    api: FakeApi, tmp_path: Path
) -> None:
    async with operating(api, tmp_path):
        await healed(api)
        await api.wait_for(lambda: api.watches("configmaps"))
        api.hold_events("configmaps")
        theirs = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "modelpool-config", "namespace": "theirs"},
            "data": {"theirs": "yes"},
        }
        before = api.put(theirs)
        api.put(provider("own", "theirs"))
        api.put(pool("theirs", "own", namespace="theirs"))
        began = len(api.journal)
        await api.wait_for(
            lambda: (
                len(api.asked(path="leases", method="PUT"))
                and api.journal[began:]
                and any(each.at > api.journal[began].at + 4 for each in api.journal[began:])
            )
        )
        assert len(api.journal) - began < 80
        api.release_events("configmaps")
        await api.wait_for(
            lambda: "NameConflict" in json.dumps((api.get("ModelPool", "theirs", "theirs") or {}).get("status"))
        )
        assert api.get("ConfigMap", "theirs", "modelpool-config") == before


# Before everything is known


@pytest.mark.parametrize("plural", ["providers", "modelpools", "secrets", "namespaces", "configmaps"])
async def test_a_leader_that_has_not_seen_everything_writes_nothing(api: FakeApi, tmp_path: Path, plural: str) -> None:
    (rule,) = api.fail("GET", rf"/{plural}\?", 500, times=None)
    async with operating(api, tmp_path):
        await api.wait_for(lambda: len(api.asked("GET", f"/{plural}$")) >= 2)
        await api.wait_for(lambda: len(api.asked("PUT", "leases")) >= 2)
        assert api.writes() == []
        assert len(api.journal) < 100
        rule.times = 0
        await healed(api, 15)
    configs = [json.loads(asked.body["data"]["config.json"]) for asked in api.writes("configmaps")]
    assert sorted(len(config["pools"]) for config in configs) == [0, 1, 2]
    assert all(each["closed"] == [] for each in configs)


async def test_it_starts_before_its_definitions_are_there(api: FakeApi, tmp_path: Path) -> None:
    definitions = api.objects("CustomResourceDefinition")
    objects = [*api.objects("Provider"), *api.objects("ModelPool")]
    for each in definitions:
        api.remove("CustomResourceDefinition", None, each["metadata"]["name"])
    async with operating(api, tmp_path):
        await api.wait_for(lambda: len(api.asked("PUT", "leases")) >= 2)
        assert api.writes() == []
        for each in (*definitions, *objects):
            api.put(each)
        await healed(api, 15)


@pytest.mark.parametrize(
    "fault",
    [fault for fault in FAULTS if fault.starts],
    ids=repr,
)
async def test_it_starts_in_the_middle_of(api: FakeApi, tmp_path: Path, fault: Fault) -> None:
    await done(fault.begin(api))
    async with operating(api, tmp_path):
        await asyncio.sleep(fault.seconds)  # it lasts so long
        asked = len(api.journal)
        await done(fault.end(api))
        await healed(api, fault.within + 8)
        assert trespasses(api) == []
        assert asked <= 60 + 20 * fault.seconds


# Definitions and namespaces that go


async def test_definitions_go_and_come_back(api: FakeApi, tmp_path: Path) -> None:
    definitions = api.objects("CustomResourceDefinition")
    objects = [*api.objects("Provider"), *api.objects("ModelPool")]
    async with operating(api, tmp_path):
        await healed(api)
        for each in definitions:
            api.remove("CustomResourceDefinition", None, each["metadata"]["name"])
        await api.wait_for(lambda: (found := published(api, "shop")) and b'"pools":[]' in (found.content.config or b""))
        for each in (*definitions, *objects):
            api.put(each)
        await healed(api, 15)


async def test_a_namespace_that_is_being_deleted_is_left_alone(api: FakeApi, tmp_path: Path) -> None:
    async with operating(api, tmp_path):
        await healed(api)
        await api.wait_for(lambda: len(api.objects("Event", "lab")) == 2)
        api.terminate("lab")
        began = len(api.journal)
        for kind, name in (("Secret", "modelpool-credentials"), ("ConfigMap", "modelpool-config"), ("Provider", "own")):
            api.remove(kind, "lab", name)
        api.put(pool("chat", "plain", weight=5))
        await healed_in(api, "shop")
        api.remove("Namespace", None, "lab")
        api.put(pool("chat", "plain", weight=6))
        await healed(api)
        assert [asked for asked in api.journal[began:] if asked.writes and "/lab/" in asked.path] == []


async def healed_in(api: FakeApi, namespace: str) -> None:
    await api.wait_for(lambda: not [wrong for wrong in wrongs(api) if f"of {namespace} " in wrong])


# Writes that come to nothing


async def test_a_server_that_asks_for_patience_gets_it(api: FakeApi, tmp_path: Path) -> None:
    async with operating(api, tmp_path):
        await healed(api)
        api.throttle(times=1, retry_after_seconds=3, path=f"shop/{CONFIG_MAP}")
        api.put(pool("chat", "plain", weight=4))
        await healed(api)
        refused = next(asked for asked in api.journal if asked.status == 429)
        again = [each for each in api.writes(f"shop/{CONFIG_MAP}") if each.at > refused.at]
        assert again[0].at - refused.at >= 3


@pytest.mark.parametrize("code", [409, 422, 500, 503])
async def test_a_write_that_fails_for_long_is_tried_ever_more_rarely(api: FakeApi, tmp_path: Path, code: int) -> None:
    async with operating(api, tmp_path):
        await healed(api)
        api.fail("PATCH", f"shop/{CONFIG_MAP}", code, times=None)
        began = len(api.journal)
        api.put(pool("chat", "plain", weight=4))
        api.put(pool("lab", "own", namespace="lab", weight=9))
        await asyncio.sleep(8)  # it lasts so long
        tries = [asked for asked in api.journal[began:] if asked.path.endswith(f"shop/{CONFIG_MAP}")]
        assert 1 < len(tries) < 12
        await healed_in(api, "lab")


# What it looks at, also while something is wrong


async def test_where_it_watches_namespaces_by_name_it_asks_for_nothing_beside_them(
    api: FakeApi, tmp_path: Path
) -> None:
    async with operating(api, tmp_path, watch_namespaces=("shop", "empty")):
        await healed_in(api, "shop")
        for begin in (compacted(as_status=False), lambda api: api.error_event(500, "modelpools")):
            begin(api)
            api.put(pool("chat", "plain", weight=len(api.journal)))
            await healed_in(api, "shop")
        await healed_in(api, "empty")
        assert published(api, "lab") is None
    discovery = (
        "/api",
        "/apis",
        "/api/v1",
        "/apis/modelpool.dev/v1alpha1",
        "/apis/apiextensions.k8s.io/v1",
        "/version",
    )
    beside = re.compile("/namespaces/(shop|empty)/|/namespaces/modelpool-system/leases")
    assert [asked for asked in api.journal if asked.path not in discovery and not beside.search(asked.path)] == []


async def test_no_secret_is_read_that_nobody_names_and_no_key_is_written_elsewhere(
    api: FakeApi, tmp_path: Path
) -> None:
    api.put(secret("canary-one"))
    api.put(secret("canary-two", "unnamed"))
    async with operating(api, tmp_path):
        await healed(api)
        api.put(secret("canary-three"))
        api.compact()
        api.drop_watches()
        await healed(api)
        api.remove("Secret", "shop", "openai")
        await api.wait_for(lambda: "SecretNotFound" in str((api.get("Provider", "shop", "openai") or {})["status"]))
    read = {asked.path.rpartition("/")[2] for asked in api.asked("GET", "/secrets/")}
    assert read - {"modelpool-credentials"} == {"openai"}
    assert all("as=PartialObjectMetadata" in asked.accept for asked in api.asked("GET", "/secrets$"))
    written = [str(asked.body) for asked in api.writes() if "/secrets/" not in asked.path]
    coded = [base64.b64encode(f"canary-{which}".encode()).decode() for which in ("one", "two", "three")]
    assert [body for body in written if "canary" in body or any(each in body for each in coded)] == []


async def test_a_secret_with_very_long_annotations_hides_no_other(api: FakeApi, tmp_path: Path) -> None:
    async with operating(api, tmp_path):
        await healed(api)
        await api.wait_for(lambda: api.watches("secrets"))
        large = secret("any", "large")
        large["metadata"]["annotations"] = {"long": "x" * 250_000}
        api.put(large)
        api.put(secret("second"))
        await healed(api, 5)


@pytest.mark.parametrize("seed", [4])
async def test_everything_heals_after_anything(api: FakeApi, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    await api.open_door("b")
    async with operating(api, tmp_path, resync_seconds=5), operating(api, tmp_path, "b", resync_seconds=5):
        await healed(api)
        for weight in range(2, 22):
            disturb(api, chance)
            edit(api, weight)
            if chance.random() < 0.5:
                spoil(api, chance)
            await asyncio.sleep(chance.random() * 2)  # it lasts so long
            if chance.random() < 0.6:
                mend(api)
        mend(api)
        await healed(api, TAKEOVER_SECONDS + 10)
        assert weights(api) == sorted(weights(api))
        assert trespasses(api) == []
