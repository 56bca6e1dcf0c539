"""Whatever goes wrong on the way to the API server: the operator heals, writes nothing stale, and is no burden.

The operator runs as it is in the image, but in this process and at a door of the fake API.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fake_api import FakeApi
from fake_api_operator import healed, operating, published, trespasses, wrongs
from modelpool_operator.worklist import Worklist

CONFIG_MAP = "configmaps/modelpool-config"
HOLD_SECONDS = 10.0
TAKEOVER_SECONDS = 25.0
"""15 s until a silent holder counts as gone, 2 s between two looks, and the new one's start."""


def provider(name: str, namespace: str = "shop", secret: str = "") -> dict[str, Any]:
    auth = {"type": "APIKey", "apiKey": {"secretRef": {"name": secret, "key": "key"}}} if secret else {"type": "None"}
    return {
        "apiVersion": "modelpool.dev/v1alpha1",
        "kind": "Provider",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"dialect": "OpenAI", "auth": auth},
    }


def pool(name: str, *providers: str, namespace: str = "shop", weight: int = 1) -> dict[str, Any]:
    targets = [{"name": each, "providerRef": {"name": each}, "model": "m", "weight": weight} for each in providers]
    return {
        "apiVersion": "modelpool.dev/v1alpha1",
        "kind": "ModelPool",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"targets": targets},
    }


def secret(key: str, name: str = "openai") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"key": key}}


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    """Two namespaces with pools, and one that is labelled."""
    async with FakeApi() as running:
        running.put(secret("first"))
        running.put(provider("openai", secret="openai"))
        running.put(provider("plain"))
        running.put(pool("chat", "openai", "plain"))
        running.put(pool("spare", "plain"))
        running.put(provider("own", "lab"))
        running.put(pool("lab", "own", namespace="lab"))
        labels = {"modelpool.dev/injection": "enabled"}
        running.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "empty", "labels": labels}})
        yield running


def weights(api: FakeApi) -> list[int]:
    """The weight of chat in every config that was to be written, in that order."""
    configs = [json.loads(asked.body["data"]["config.json"]) for asked in api.writes(f"shop/{CONFIG_MAP}$")]
    chats = [each for config in configs for each in config["pools"] if each["name"] == "chat"]
    return [chat["targets"][0]["weight"] for chat in chats]


def holder(api: FakeApi) -> str:
    lease = api.get("Lease", "modelpool-system", "modelpool-operator")
    return str(lease["spec"]["holderIdentity"]) if lease else ""


def edit(api: FakeApi, weight: int) -> None:
    """What people do meanwhile: edits, a new pool, a Provider that goes, a Secret that rotates, a config by hand."""
    api.put(pool("chat", "openai", "plain", weight=weight))
    api.put(pool(f"new-{weight}", "own", namespace="lab"))
    api.put(secret(f"key-{weight}"))
    if weight % 2:
        api.put(provider("own", "lab"))
    else:
        api.remove("Provider", "lab", "own")
    config = api.get("ConfigMap", "empty", "modelpool-config")
    if config is not None:
        api.put({**config, "data": {**config["data"], "config.json": "{}"}})


@dataclass(frozen=True)
class Fault:
    """`seconds`: how long it lasts; `within`: how long healing may take then."""

    name: str
    begin: Callable[[FakeApi], Any]
    end: Callable[[FakeApi], Any] = lambda api: api.mend()
    seconds: float = 0.0
    within: float = 8.0

    def __repr__(self) -> str:
        return self.name


async def done(answer: Any) -> None:
    if isinstance(answer, Awaitable):
        await answer


def compacted(*, as_status: bool) -> Callable[[FakeApi], Any]:
    def begin(api: FakeApi) -> None:
        api.compact(as_status=as_status)
        api.drop_watches()

    return begin


def both(*begins: Callable[[FakeApi], Any]) -> Callable[[FakeApi], Any]:
    def begin(api: FakeApi) -> None:
        for each in begins:
            each(api)

    return begin


WATCHED = ("providers", "modelpools", "secrets", "configmaps", "namespaces", "pods", "customresourcedefinitions")
FAULTS = (
    Fault("watches break in the middle of a line", lambda api: api.drop_watches()),
    Fault("watches end", lambda api: api.end_watches()),
    Fault("410 as an event", compacted(as_status=False)),
    Fault("410 as a status", compacted(as_status=True)),
    *(
        Fault(f"ERROR 500 in the watch of {plural}", lambda api, plural=plural: api.error_event(500, plural))
        for plural in WATCHED
    ),
    Fault("every event twice", lambda api: api.duplicate_next_event(2)),
    Fault("connections are reset", lambda api: api.cut(), seconds=3),
    Fault("nobody listens", lambda api: api.refuse(), lambda api: api.listen(), seconds=3),
    Fault("silence that is shorter than the hold", lambda api: api.silence(), seconds=4),
    Fault("429 to everything", lambda api: api.throttle(times=None, retry_after_seconds=1), seconds=3),
    Fault("500 to every write", lambda api: api.fail("PATCH", "", 500, times=None), seconds=3),
    Fault(
        "503 to every list",
        both(lambda api: api.fail("GET", r"^(?!.*watch=true)", 503, times=None), lambda api: api.drop_watches()),
        seconds=3,
    ),
    Fault("403 to every write", lambda api: api.fail("PATCH", "", 403, times=None), seconds=3, within=12),
    Fault("401 to everything", lambda api: api.fail("*", "", 401, times=None), seconds=3),
    Fault("409 to every write", lambda api: api.fail("PATCH", "", 409, times=None), seconds=3),
    Fault("every answer takes a second", lambda api: api.slow(1.0), seconds=5, within=15),
    Fault("answers to writes are lost", lambda api: api.lose_answers("PATCH", "", times=4)),
    Fault("answers about the Lease are lost", lambda api: api.lose_answers("PUT", "leases", times=2)),
)


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
async def test_everything_heals_after(api: FakeApi, tmp_path: Path, fault: Fault) -> None:
    async with operating(api, tmp_path):
        await healed(api)
        await api.wait_for(lambda: all(map(api.watches, WATCHED)))
        await done(fault.begin(api))
        began = len(api.journal)
        edit(api, 2)
        await asyncio.sleep(fault.seconds)  # it lasts so long
        edit(api, 3)
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
    [fault for fault in FAULTS if fault.seconds or "lost" in fault.name],
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


# Who may write


async def test_a_new_lease_whose_making_was_not_answered_is_ours(api: FakeApi, tmp_path: Path) -> None:
    api.lose_answers("POST", "leases")
    async with operating(api, tmp_path):
        await healed(api, 6)
        assert trespasses(api) == []


async def test_who_finds_another_holder_in_the_lease_stops(api: FakeApi, tmp_path: Path) -> None:
    async with operating(api, tmp_path):
        await healed(api)
        lease = api.get("Lease", "modelpool-system", "modelpool-operator")
        api.put({**lease, "spec": {**lease["spec"], "holderIdentity": "somebody else"}})
        await api.wait_for(lambda: api.watches("secrets") == 0)
        noticed = len(api.journal)
        api.put(pool("chat", "plain", weight=4))
        await api.wait_for(lambda: len([each for each in api.journal[noticed:] if "leases" in each.path]) >= 3)
        assert [asked for asked in trespasses(api) if asked in api.journal[noticed:]] == []
        await healed(api, TAKEOVER_SECONDS)


async def test_who_ends_hands_the_lease_over(api: FakeApi, tmp_path: Path) -> None:
    await api.open_door("b")
    async with operating(api, tmp_path) as first:
        await healed(api)
        async with operating(api, tmp_path, "b"):
            await api.wait_for(lambda: len(api.asked(path="leases", door="b")) >= 2)
            first.task.cancel()
            api.put(pool("chat", "plain", weight=4))
            await healed(api, 10)
            assert trespasses(api) == []
            assert {asked.door for asked in api.writes(f"shop/{CONFIG_MAP}")} == {"main", "b"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        Fault("silence", lambda door: door.silence()),
        Fault("resets", lambda door: door.cut()),
        Fault("refusal", lambda door: door.refuse(), lambda door: door.listen()),
        Fault("answers that take three seconds", lambda door: door.slow(3.0)),
        Fault("no way to the Lease", lambda door: door.fail("*", "leases", 503, times=None)),
    ],
    ids=repr,
)
async def test_a_leader_that_is_cut_off_writes_no_more_and_another_does(
    api: FakeApi, tmp_path: Path, fault: Fault
) -> None:
    other = await api.open_door("b")
    async with operating(api, tmp_path), operating(api, tmp_path, "b"):
        await healed(api)
        leader = api.doors[holder(api)]
        follower = other if leader is not other else api.doors["main"]
        await done(fault.begin(leader))
        edit(api, 2)
        await api.wait_for(lambda: holder(api) == follower.name, TAKEOVER_SECONDS)
        await healed(api)
        edit(api, 3)
        await done(fault.end(leader))
        leader.mend()
        began = len(api.journal)
        await healed(api)
        edit(api, 4)
        await healed(api)
        assert trespasses(api) == []
        assert weights(api) == sorted(weights(api))
        assert {asked.door for asked in api.journal[began:] if asked.writes and "leases" not in asked.path} == {
            follower.name
        }


@pytest.mark.slow
async def test_a_leader_alone_that_hears_nothing_for_long_writes_nothing_and_recovers(
    api: FakeApi, tmp_path: Path
) -> None:
    async with operating(api, tmp_path):
        await healed(api)
        api.silence()
        began = len(api.journal)
        edit(api, 2)
        await asyncio.sleep(HOLD_SECONDS + 8)  # the silence
        asked = len(api.journal) - began
        api.speak()
        await healed(api, TAKEOVER_SECONDS)
        assert asked < 60
        assert trespasses(api) == []


async def test_a_mark_in_the_very_moment_of_the_end_keeps_nobody_from_ending() -> None:
    looked = asyncio.Event()

    async def work(_key: str) -> None:
        looked.set()

    worklist: Worklist[str] = Worklist("test", work, chance=lambda: 0.0, gather_seconds=0.0)
    running = asyncio.create_task(worklist.run())
    worklist.mark("in an hour", 3600)
    worklist.mark("now")
    await looked.wait()
    await asyncio.sleep(0)
    worklist.mark("in two hours", 7200)
    running.cancel()
    ended, _ = await asyncio.wait({running}, timeout=2)
    assert ended


async def test_a_secret_with_very_long_annotations_hides_no_other(api: FakeApi, tmp_path: Path) -> None:
    async with operating(api, tmp_path):
        await healed(api)
        await api.wait_for(lambda: api.watches("secrets"))
        large = secret("any", "large")
        large["metadata"]["annotations"] = {"long": "x" * 250_000}
        api.put(large)
        api.put(secret("second"))
        await healed(api, 5)
