"""A small shop with pools and Providers in the fake API: what people do to it, and what goes wrong meanwhile."""

import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fake_api import FakeApi

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


@contextlib.asynccontextmanager
async def shop() -> AsyncIterator[FakeApi]:
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
    applied = [asked.body.get("data") or {} for asked in api.writes(f"shop/{CONFIG_MAP}$")]
    configs = [json.loads(data["config.json"]) for data in applied if data.get("config.json")]
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
    elif api.get("Provider", "lab", "own") is not None:
        api.remove("Provider", "lab", "own")
    config = api.get("ConfigMap", "empty", "modelpool-config")
    if config is not None:
        api.put({**config, "data": {"config.json": "{}"}})


@dataclass(frozen=True)
class Fault:
    """`seconds`: how long it lasts; `within`: how long healing may take then; `starts`: it is no less interesting while
    the operator starts."""

    name: str
    begin: Callable[[FakeApi], Any]
    end: Callable[[FakeApi], Any] = lambda api: api.mend()
    seconds: float = 0.0
    within: float = 8.0
    starts: bool = False

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
        for plural in ("providers", "modelpools", "secrets", "configmaps")
    ),
    Fault("every event twice", lambda api: api.repeat_events(), seconds=2),
    Fault("connections are reset", lambda api: api.cut(), seconds=3, starts=True),
    Fault("nobody listens", lambda api: api.refuse(), lambda api: api.listen(), seconds=3, starts=True),
    Fault("silence that is shorter than the hold", lambda api: api.silence(), seconds=4, starts=True),
    Fault("429 to everything", lambda api: api.throttle(times=None, retry_after_seconds=1), seconds=3, starts=True),
    Fault("500 to every write", lambda api: api.fail("PATCH", "", 500, times=None), seconds=3),
    Fault(
        "503 to every list",
        both(lambda api: api.fail("GET", r"^(?!.*watch=true)", 503, times=None), lambda api: api.drop_watches()),
        seconds=3,
        starts=True,
    ),
    Fault("403 to every write", lambda api: api.fail("PATCH", "", 403, times=None), seconds=3, within=12),
    Fault("401 to everything", lambda api: api.fail("*", "", 401, times=None), seconds=3, starts=True),
    Fault("409 to every write", lambda api: api.fail("PATCH", "", 409, times=None), seconds=3),
    Fault("every answer takes a second", lambda api: api.slow(1.0), seconds=5, within=15),
    Fault("answers to writes are lost", lambda api: api.lose_answers("PATCH", "", times=4), starts=True),
    Fault("answers about the Lease are lost", lambda api: api.lose_answers("PUT", "leases", times=2)),
)


def mend(api: FakeApi) -> None:
    api.mend()
    for plural in WATCHED:
        api.release_events(plural)


def spoil(api: FakeApi, chance: random.Random) -> None:
    """Something that somebody does to what is ours, or to a namespace."""
    kind, name = chance.choice([("ConfigMap", "modelpool-config"), ("Secret", "modelpool-credentials")])
    namespace = chance.choice(["shop", "lab", "empty"])
    found = api.get(kind, namespace, name)
    what = chance.randrange(4)
    if what == 0 and found is not None:
        api.remove(kind, namespace, name)
    elif what == 1 and found is not None:
        api.put({**found, "data": {"by hand": "eWVz"}})
    elif what == 2:
        api.terminate("lab")
        api.remove("Namespace", None, "lab")
    else:
        api.put(provider("own", "lab"))
        api.put(pool("lab", "own", namespace="lab"))


def disturb(api: FakeApi, chance: random.Random) -> None:
    """A fault at one door or at all, for the next moments."""
    where: Any = chance.choice([api, *api.doors.values()])
    chance.choice(
        [
            where.drop_watches,
            where.end_watches,
            lambda: where.error_event(500, chance.choice(WATCHED)),
            where.silence,
            where.cut,
            lambda: where.slow(chance.random()),
            lambda: where.throttle(times=5),
            lambda: where.fail("PATCH", "", chance.choice([409, 500, 503]), times=3),
            lambda: where.fail("GET", "", chance.choice([401, 500, 503]), times=3),
            lambda: where.lose_answers("PATCH", "", times=2),
            lambda: where.lose_answers("PUT", "leases"),
            lambda: (api.compact(), where.drop_watches()),
            api.lose_next_event,
            api.duplicate_next_event,
            lambda: api.hold_events(chance.choice(WATCHED)),
        ]
    )()
