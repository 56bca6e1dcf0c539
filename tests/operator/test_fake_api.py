"""What the fake API promises to the tests that stand on it, seen with the clients that the operator uses."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import kopf
import pytest
from kubernetes.aio import client, config, watch

from fake_api import FakeApi

GROUP, VERSION = "modelpool.dev", "v1alpha1"
PROVIDERS = "/apis/modelpool.dev/v1alpha1/namespaces/shop/providers"
CONFIG_MAPS = "/api/v1/namespaces/shop/configmaps"
APPLY = {"Content-Type": "application/apply-patch+yaml"}


def provider(name: str = "one", **parts: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop"}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Provider",
        "metadata": metadata,
        "spec": {"dialect": "OpenAI"},
        **parts,
    }


def config_map(name: str = "c", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, "data": data}


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with FakeApi() as running:
        running.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        yield running


@pytest.fixture
async def http(api: FakeApi) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(api.url, timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session


async def apply(http: aiohttp.ClientSession, path: str, body: dict[str, Any], manager: str = "m") -> tuple[int, Any]:
    query = {"fieldManager": manager, "force": "true"}
    async with http.patch(path, params=query, data=json.dumps(body), headers=APPLY) as answer:
        return answer.status, await answer.json()


class Watched:
    """A watch in the background: what came, and how it ended."""

    def __init__(self, api: FakeApi, http: aiohttp.ClientSession, path: str, since: int | str) -> None:
        self.events: list[dict[str, Any]] = []
        self.rest = b""
        self._api = api
        self._http = http
        self._path = path
        self._since = str(since)

    @property
    def seen(self) -> list[tuple[str, str]]:
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in self.events]

    async def run(self) -> str:
        query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": self._since}
        try:
            async with self._http.get(self._path, params=query, timeout=aiohttp.ClientTimeout()) as answer:
                if answer.status != 200:
                    return str(answer.status)
                async for data in answer.content.iter_any():
                    *lines, self.rest = (self.rest + data).split(b"\n")
                    self.events += map(json.loads, lines)
                    self._api.changed.fire()
        except aiohttp.ClientError as error:
            return type(error).__name__
        return "ended"


@contextlib.asynccontextmanager
async def watching(
    api: FakeApi, http: aiohttp.ClientSession, path: str = PROVIDERS, since: int | None = None
) -> AsyncIterator[tuple[Watched, "asyncio.Task[str]"]]:
    running = api.watches()
    watched = Watched(api, http, path, api.version if since is None else since)
    task = asyncio.create_task(watched.run())
    task.add_done_callback(lambda _: api.changed.fire())
    await api.wait_for(lambda: task.done() or api.watches() > running)
    yield watched, task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Operator:
    """A kopf operator of three lines, and what it was told."""

    def __init__(self, api: FakeApi) -> None:
        self.seen: list[tuple[str | None, str]] = []
        self.stop = asyncio.Event()
        registry = kopf.OperatorRegistry()

        @kopf.on.startup(registry=registry)
        async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
            settings.posting.enabled = False
            settings.networking.error_backoffs = (0.1,) * 100
            settings.networking.request_timeout = 5

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.ConnectionInfo:
            return kopf.ConnectionInfo(server=api.url)

        @kopf.on.event(GROUP, VERSION, "providers", registry=registry)
        async def see(event: Any, **_: Any) -> None:
            self.seen.append((event["type"], event["object"]["metadata"]["name"]))
            api.changed.fire()

        self.registry = registry


@contextlib.asynccontextmanager
async def operating(api: FakeApi) -> AsyncIterator[Operator]:
    operator = Operator(api)
    running = asyncio.create_task(
        kopf.operator(
            registry=operator.registry, standalone=True, clusterwide=True, identity="test", stop_flag=operator.stop
        )
    )
    try:
        await api.wait_for(lambda: api.watches("providers"))
        yield operator
    finally:
        operator.stop.set()
        await running


# What it is


async def test_kopf_sees_what_is_there_and_what_comes(api: FakeApi) -> None:
    api.put(provider("before"))
    async with operating(api) as operator:
        api.put(provider("after"))
        api.put(provider("after", spec={"dialect": "Ollama"}))
        api.remove("Provider", "shop", "before")
        expected = [(None, "before"), ("ADDED", "after"), ("MODIFIED", "after"), ("DELETED", "before")]
        await api.wait_for(lambda: sorted(map(str, operator.seen)) == sorted(map(str, expected)), seconds=2)


async def test_the_official_client_creates_lists_and_watches(api: FakeApi, tmp_path: Path) -> None:
    configuration = client.Configuration()
    await config.load_kube_config(config_file=str(api.kubeconfig(tmp_path)), client_configuration=configuration)
    async with client.ApiClient(configuration) as made:
        core = client.CoreV1Api(made)
        await core.create_namespaced_config_map("shop", config_map(a="1"))
        listed = await core.list_namespaced_config_map("shop")
        assert [item.metadata.name for item in listed.items] == ["c"]
        api.put(config_map(a="2"))
        async with watch.Watch() as watcher:
            stream = watcher.stream(
                core.list_namespaced_config_map,
                "shop",
                resource_version=listed.metadata.resource_version,
                timeout_seconds=10,
            )
            event = await anext(aiter(stream))
        assert (event["type"], event["object"].data) == ("MODIFIED", {"a": "2"})


async def test_a_write_that_changes_nothing_is_no_event(api: FakeApi, http: aiohttp.ClientSession) -> None:
    async with watching(api, http, CONFIG_MAPS) as (watched, _):
        assert (await apply(http, f"{CONFIG_MAPS}/c", config_map(a="1")))[0] == 201
        _, first = await apply(http, f"{CONFIG_MAPS}/c", config_map(a="1"))
        _, second = await apply(http, f"{CONFIG_MAPS}/c", config_map(a="1"))
        assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]
        api.put(config_map("last"))
        await api.wait_for(lambda: watched.seen == [("ADDED", "c"), ("ADDED", "last")])


async def test_status_and_spec_are_written_apart(api: FakeApi, http: aiohttp.ClientSession) -> None:
    api.put(provider())
    body = provider(spec={"dialect": "Ollama"}, status={"observedGeneration": 1})
    _, told = await apply(http, f"{PROVIDERS}/one/status", body)
    assert (told["spec"], told["status"]) == ({"dialect": "OpenAI"}, {"observedGeneration": 1})
    assert told["metadata"]["generation"] == 1
    _, told = await apply(http, f"{PROVIDERS}/one", provider(spec={"dialect": "Ollama"}, status={}))
    assert (told["spec"], told["status"]) == ({"dialect": "Ollama"}, {"observedGeneration": 1})
    assert told["metadata"]["generation"] == 2


async def test_the_kinds_of_a_definition_come_and_go_with_it(api: FakeApi, http: aiohttp.ClientSession) -> None:
    api.put(provider())
    definition = api.get("CustomResourceDefinition", None, "providers.modelpool.dev")
    async with watching(api, http) as (watched, task):
        api.remove("CustomResourceDefinition", None, "providers.modelpool.dev")
        await api.wait_for(task.done)
        assert watched.seen == [("DELETED", "one")]
        assert await task == "ended"
    async with http.get(PROVIDERS) as answer:
        assert answer.status == 404
    api.put(definition)
    async with http.get(PROVIDERS) as answer:
        assert (await answer.json())["items"] == []


async def test_a_namespace_goes_with_all_that_is_in_it(api: FakeApi, http: aiohttp.ClientSession) -> None:
    api.put(config_map())
    api.terminate("shop")
    assert (await apply(http, f"{CONFIG_MAPS}/new", config_map("new")))[0] == 403
    assert (await apply(http, f"{CONFIG_MAPS}/c", config_map(a="1")))[0] == 200
    api.remove("Namespace", None, "shop")
    assert (await apply(http, f"{CONFIG_MAPS}/new", config_map("new")))[0] == 404
    assert api.objects("ConfigMap") == []


async def test_the_journal_tells_who_asked_what_and_who_held_the_lease(
    api: FakeApi, http: aiohttp.ClientSession
) -> None:
    spec = {"holderIdentity": "somebody"}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l", "namespace": "shop"}}
    api.put({**lease, "spec": spec})
    await apply(http, f"{CONFIG_MAPS}/c", config_map(a="1"), manager="modelpool")
    (written,) = api.writes("configmaps")
    assert (written.method, written.manager, written.body["data"]) == ("PATCH", "modelpool", {"a": "1"})
    assert (written.status, written.holders, written.door) == (201, {"shop/l": "somebody"}, "main")


# What goes wrong


@pytest.mark.parametrize("as_status", [False, True], ids=["as an event", "as a status"])
async def test_after_a_compaction_an_older_watch_is_gone(
    api: FakeApi, http: aiohttp.ClientSession, *, as_status: bool
) -> None:
    before = api.version
    api.put(provider())
    api.compact(as_status=as_status)
    async with watching(api, http, since=before) as (watched, task):
        await api.wait_for(task.done)
        if as_status:
            assert await task == "410"
        else:
            assert [event["object"]["code"] for event in watched.events] == [410]
    async with watching(api, http) as (watched, _):
        api.put(provider("two"))
        await api.wait_for(lambda: watched.seen == [("ADDED", "two")])


async def test_a_list_that_was_begun_before_a_compaction_cannot_be_continued(
    api: FakeApi, http: aiohttp.ClientSession
) -> None:
    api.put(provider("one"))
    api.put(provider("two"))
    async with http.get(PROVIDERS, params={"limit": "1"}) as answer:
        token = (await answer.json())["metadata"]["continue"]
    api.compact()
    async with http.get(PROVIDERS, params={"limit": "1", "continue": token}) as answer:
        assert answer.status == 410


async def test_kopf_lists_again_after_a_410(api: FakeApi) -> None:
    api.put(provider())
    async with operating(api) as operator:
        api.compact()
        api.drop_watches("providers")
        await api.wait_for(lambda: operator.seen == [(None, "one"), (None, "one")])
        await api.wait_for(lambda: api.watches("providers"))
        api.put(provider("two"))
        await api.wait_for(lambda: ("ADDED", "two") in operator.seen)


async def test_a_dropped_watch_breaks_in_the_middle_of_a_line(api: FakeApi, http: aiohttp.ClientSession) -> None:
    async with watching(api, http) as (watched, task):
        assert api.drop_watches("configmaps") == 0
        assert api.drop_watches("providers") == 1
        assert await task == "ClientPayloadError"
        assert watched.rest.startswith(b'{"type":"MODIFIED"')
        assert watched.events == []


async def test_a_watch_ends_and_takes_bookmarks_when_it_is_told(api: FakeApi, http: aiohttp.ClientSession) -> None:
    async with watching(api, http) as (watched, task):
        api.send_bookmarks()
        await api.wait_for(lambda: watched.events)
        assert watched.events[0]["type"] == "BOOKMARK"
        assert watched.events[0]["object"]["metadata"]["resourceVersion"] == str(api.version)
        api.end_watches()
        assert await task == "ended"


async def test_an_error_event_ends_a_running_watch(api: FakeApi, http: aiohttp.ClientSession) -> None:
    async with watching(api, http) as (watched, task):
        api.error_event(500, "providers")
        assert await task == "ended"
        assert [(event["type"], event["object"]["code"]) for event in watched.events] == [("ERROR", 500)]


async def test_while_it_is_silent_nothing_comes_and_afterwards_everything(
    api: FakeApi, http: aiohttp.ClientSession
) -> None:
    async with watching(api, http) as (watched, _):
        api.silence()
        api.put(provider("one"))
        asking = asyncio.create_task(apply(http, f"{CONFIG_MAPS}/c", config_map()))
        await api.wait_for(lambda: api.asked("PATCH"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asking), 0.05)
        assert watched.events == []
        assert api.get("ConfigMap", "shop", "c") is None
        api.speak()
        assert (await asking)[0] == 201
        await api.wait_for(lambda: watched.seen == [("ADDED", "one")])


async def test_what_was_asked_in_silence_is_not_done_for_one_who_has_left(
    api: FakeApi, http: aiohttp.ClientSession
) -> None:
    api.silence()
    asking = asyncio.create_task(apply(http, f"{CONFIG_MAPS}/c", config_map()))
    await api.wait_for(lambda: api.asked("PATCH"))
    asking.cancel()
    await api.wait_for(lambda: api.journal[-1].left)
    api.speak()
    assert (await apply(http, f"{CONFIG_MAPS}/other", config_map("other")))[0] == 201
    assert api.get("ConfigMap", "shop", "c") is None


async def test_lost_duplicate_and_held_events_are_what_they_say(api: FakeApi, http: aiohttp.ClientSession) -> None:
    api.put(provider("ghost"))
    async with watching(api, http) as (watched, _), watching(api, http, CONFIG_MAPS) as (others, _):
        api.lose_deleted("Provider", "shop", "ghost")
        assert api.get("Provider", "shop", "ghost") is None
        api.lose_next_event()
        api.put(provider("unheard"))
        api.duplicate_next_event()
        api.put(provider("twice"))
        api.hold_events("providers")
        api.put(provider("late"))
        api.put(config_map())
        await api.wait_for(lambda: others.seen == [("ADDED", "c")])
        assert watched.seen == [("ADDED", "twice"), ("ADDED", "twice")]
        api.release_events("providers")
        await api.wait_for(lambda: watched.seen[2:] == [("ADDED", "late")])
        api.repeat_events(copies=3)
        api.put(provider("late", spec={"dialect": "Ollama"}))
        await api.wait_for(lambda: watched.seen[3:] == [("MODIFIED", "late")] * 3)


async def test_answers_are_throttled_failed_cut_and_lost(api: FakeApi, http: aiohttp.ClientSession) -> None:
    api.throttle(times=1, retry_after_seconds=3)
    async with http.get(PROVIDERS) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
    rule = api.fail("GET", r"providers\?limit=1$", 503, times=None)[0]
    for limit, status in ((1, 503), (1, 503), (2, 200)):
        async with http.get(PROVIDERS, params={"limit": limit}) as answer:
            assert answer.status == status
    rule.times = 0
    async with http.get(PROVIDERS, params={"limit": 1}) as answer:
        assert answer.status == 200
    api.lose_answers("PATCH", "configmaps")
    with pytest.raises(aiohttp.ClientConnectionError):
        await apply(http, f"{CONFIG_MAPS}/c", config_map(a="1"))
    assert api.get("ConfigMap", "shop", "c") is not None
    api.cut()
    with pytest.raises(aiohttp.ClientConnectionError):
        await apply(http, f"{CONFIG_MAPS}/c", config_map(a="2"))
    api.mend()
    assert (await apply(http, f"{CONFIG_MAPS}/c", config_map(a="3")))[0] == 200


async def test_it_answers_slowly_where_it_is_told(api: FakeApi, http: aiohttp.ClientSession) -> None:
    loop = asyncio.get_running_loop()
    api.slow(0.2, "providers")
    began = loop.time()
    async with http.get(PROVIDERS) as answer:
        assert answer.status == 200
    assert loop.time() - began >= 0.2


async def test_it_refuses_connections_and_listens_again_at_the_same_port(
    api: FakeApi, http: aiohttp.ClientSession
) -> None:
    url = api.url
    async with watching(api, http) as (_, task):
        await api.refuse()
        assert await task == "ClientPayloadError"
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(PROVIDERS)
    await api.listen()
    assert api.url == url
    async with http.get(PROVIDERS) as answer:
        assert answer.status == 200


async def test_one_door_can_be_closed_while_another_stands_open(api: FakeApi, http: aiohttp.ClientSession) -> None:
    door = await api.open_door("b")
    door.silence()
    async with aiohttp.ClientSession(door.url, timeout=aiohttp.ClientTimeout(total=0.1)) as other:
        with pytest.raises(TimeoutError):
            await other.get(PROVIDERS)
    async with http.get(PROVIDERS) as answer:
        assert answer.status == 200
    assert [asked.door for asked in api.journal] == ["b", "main"]


async def test_waiting_says_what_was_asked_last_when_it_does_not_come_true(
    api: FakeApi, http: aiohttp.ClientSession
) -> None:
    async with http.get(PROVIDERS):
        pass
    with pytest.raises(AssertionError, match=f"GET {PROVIDERS} -> 200"):
        await api.wait_for(lambda: False, seconds=0.01)
