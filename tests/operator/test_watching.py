"""A collection followed by its metadata: on virtual time against a scripted API, and over HTTP against the fake one."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import virtual_loop
from fake_api import FakeApi
from modelpool_operator import access
from modelpool_operator.kube import ApiError, Kube, Listed
from modelpool_operator.store import Mark
from modelpool_operator.table import Name, Table
from modelpool_operator.watching import Collection, Watcher

Event = tuple[str, dict[str, Any]]
VALUE = "SHOUT-1"


def _item(name: str, version: int, namespace: str = "shop") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "resourceVersion": str(version)}}


@dataclass
class Script:
    """An API that lists what it has, and whose watches do what is next in `watches`: seconds that pass, events, errors,
    None = quiet until its time is over, as every watch is when there is nothing next."""

    items: list[dict[str, Any]] = field(default_factory=list)
    version: int = 10
    watches: list[list[Any]] = field(default_factory=list)
    list_faults: list[ApiError] = field(default_factory=list)
    always: ApiError | None = None
    lists: list[float] = field(default_factory=list)
    from_versions: list[str] = field(default_factory=list)

    async def list(self, path: str, selectors: Any, *, metadata: bool) -> Listed:
        assert metadata
        self.lists.append(round(asyncio.get_running_loop().time() - 1000.0, 2))
        await asyncio.sleep(0.001)
        if self.list_faults:
            raise self.list_faults.pop(0)
        return Listed(tuple(self.items), str(self.version))

    async def watch(
        self, path: str, version: str, selectors: Any, *, seconds: int, metadata: bool
    ) -> AsyncGenerator[Event, None]:
        assert metadata
        self.from_versions.append(version)
        await asyncio.sleep(0.001)
        if self.always is not None:
            raise self.always
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        for act in self.watches.pop(0) if self.watches else [None]:
            if act is None:
                await asyncio.sleep(max(0.0, until - loop.time()))
            elif isinstance(act, ApiError):
                raise act
            elif isinstance(act, tuple):
                yield act
            else:
                await asyncio.sleep(act)


@dataclass
class Seat:
    """A watcher at work. `moved`: what it told, in order."""

    script: Script
    relist: float = 300.0
    chance: float = 0.5
    table: Table[Mark] = field(default_factory=Table)
    moved: list[set[Name]] = field(default_factory=list)

    def __post_init__(self) -> None:
        collection = Collection("Secrets", "/api/v1/secrets", self.table)
        self.watcher = Watcher(
            self.script, collection, lambda names: self.moved.append(set(names)), self.relist, lambda: self.chance
        )


def play(scene: Callable[[Seat], Coroutine[Any, Any, None]], script: Script, **how: Any) -> Seat:
    """The scene beside a watcher that runs all the while."""

    async def main() -> Seat:
        seat = Seat(script, **how)
        task = asyncio.get_running_loop().create_task(seat.watcher.run())
        try:
            await scene(seat)
            assert not task.done()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return seat

    return virtual_loop.run(main())


def _after(seconds: float) -> Callable[[Seat], Coroutine[Any, Any, None]]:
    async def scene(_: Seat) -> None:
        await asyncio.sleep(seconds)

    return scene


def test_what_is_there_is_listed_and_what_moves_is_told() -> None:
    async def scene(seat: Seat) -> None:
        assert not seat.watcher.synced.is_set()
        await asyncio.sleep(5)
        assert seat.watcher.synced.is_set()

    script = Script([_item("a", 3)], watches=[[("ADDED", _item("b", 11)), ("MODIFIED", _item("a", 12)), None]])
    seat = play(scene, script)
    assert seat.moved == [{("shop", "a")}, {("shop", "b")}, {("shop", "a")}]
    assert dict(seat.table.of("shop")) == {"a": Mark(12), "b": Mark(11)}


def test_an_event_that_is_no_news_is_not_told() -> None:
    again = ("MODIFIED", _item("a", 3))
    seat = play(_after(5), Script([_item("a", 3)], watches=[[again, ("BOOKMARK", _item("", 20)), None]]))
    assert seat.moved == [{("shop", "a")}]


def test_a_deletion_is_told_once() -> None:
    gone = ("DELETED", _item("a", 12))
    seat = play(_after(5), Script([_item("a", 3)], watches=[[gone, gone, None]]))
    assert seat.moved == [{("shop", "a")}, {("shop", "a")}]
    assert seat.table.size == 0


def test_a_watch_that_ends_goes_on_from_the_last_version_it_heard() -> None:
    script = Script(watches=[[5.0, ("ADDED", _item("a", 11))], [5.0, ("BOOKMARK", _item("", 40))], [5.0], [None]])
    play(_after(30), script)
    assert script.from_versions == ["10", "11", "40", "40"]
    assert len(script.lists) == 1


def test_a_watch_that_ends_at_once_again_and_again_is_opened_once_a_second() -> None:
    script = Script(watches=[[] for _ in range(100)])
    play(_after(30.5), script)
    assert 25 <= len(script.from_versions) <= 31
    assert len(script.lists) == 1


@pytest.mark.parametrize(("chance", "at"), [(0.0, 270.0), (0.5, 300.0), (0.999, 330.0)])
def test_everything_is_listed_anew_every_five_minutes_give_or_take_a_tenth(chance: float, at: float) -> None:
    script = Script()
    play(_after(at + 5), script, chance=chance)
    assert len(script.lists) == 2
    assert at - 3 <= script.lists[1] <= at + 2


def test_what_vanished_without_a_word_is_told_by_the_next_list() -> None:
    async def scene(seat: Seat) -> None:
        await asyncio.sleep(5)
        script.items, script.version = [], 50
        await asyncio.sleep(310)
        assert seat.table.size == 0
        assert seat.moved[-1] == {("shop", "a")}

    script = Script([_item("a", 3)])
    play(scene, script)


def test_a_version_that_is_too_old_is_listed_again_at_once_and_nobody_hears_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone = ApiError(410, "Expired", "too old resource version")
    script = Script(watches=[[30.0, gone], [None]])
    play(_after(40), script)
    assert script.lists == [0.0, 30.0]
    assert caplog.text == ""


@pytest.mark.parametrize(
    "error",
    [
        ApiError(410, "Expired", "too old resource version"),
        ApiError(403, "Forbidden", "secrets is forbidden: User cannot watch"),
        ApiError(500, "InternalError", "etcd"),
        ApiError(0, "Unreachable", "it did not answer in time"),
    ],
    ids=["410", "403", "500", "no answer"],
)
def test_a_watch_that_never_works_does_not_list_everything_again_and_again(
    error: ApiError, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script(always=error)
    with caplog.at_level(logging.INFO):
        play(_after(600), script)
    assert len(script.lists) <= 25
    assert caplog.text.count("Secrets cannot be watched: ") == 1
    assert "can be watched again" not in caplog.text


def test_a_list_that_fails_comes_again_up_to_every_half_minute_and_then_all_is_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = Script(list_faults=[ApiError(503, "", "etcdserver: no leader") for _ in range(9)])
    with caplog.at_level(logging.INFO):
        seat = play(_after(400), script, chance=0.0)
    waits = [round(after - before) for before, after in zip(script.lists, script.lists[1:], strict=False)]
    assert waits[:9] == [0, 1, 2, 4, 8, 16, 32, 32, 32]
    assert seat.watcher.synced.is_set()
    assert caplog.text.count("cannot be watched: etcdserver: no leader") == 1
    assert caplog.text.count("Secrets can be watched again") == 1


def test_after_a_fault_that_a_long_watch_ended_with_the_list_comes_soon() -> None:
    broken = ApiError(0, "Unreachable", "reset")
    script = Script(watches=[[20.0, broken], [20.0, broken], [20.0, broken], [None]])
    play(_after(100), script, chance=0.0)
    assert len(script.lists) == 4
    assert script.lists[-1] < 62


def test_the_server_says_how_long_to_wait() -> None:
    script = Script(list_faults=[ApiError(429, "TooManyRequests", "too many", retry_after=60.0)])
    play(_after(100), script, chance=0.0)
    assert len(script.lists) == 2
    assert script.lists[1] >= 60


@asynccontextmanager
async def followed(
    api: FakeApi, folder: Path, path: str = "/api/v1/secrets", within: str | None = None, **selectors: str
) -> AsyncIterator[tuple[Table[Mark], list[AbstractSet[Name]]]]:
    """A watcher of the fake API over HTTP, when it has listed and watches."""
    table: Table[Mark] = Table()
    moved: list[AbstractSet[Name]] = []
    found = await access.configuration(str(api.kubeconfig(folder)))
    async with access.client(found) as client:

        def changed(names: AbstractSet[Name]) -> None:
            moved.append(names)
            api.changed.fire()

        watcher = Watcher(
            Kube(client), Collection("Secrets", path, table, within, selectors), changed, 300.0, lambda: 0.0
        )
        task = asyncio.create_task(watcher.run())
        try:
            await api.wait_for(lambda: watcher.synced.is_set() and api.watches())
            yield table, moved
        finally:
            task.cancel()
            await asyncio.wait({task})


def _secret(name: str, namespace: str = "shop", value: str = VALUE) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"k": value},
    }


async def test_over_http_what_comes_changes_and_goes_is_heard_and_no_value_passes(tmp_path: Path) -> None:
    async with FakeApi() as api:
        api.put(_secret("a"))
        async with followed(api, tmp_path) as (table, moved):
            assert moved[0] == {("shop", "a")}
            api.put(_secret("b"))
            await api.wait_for(lambda: table.get(("shop", "b")))
            api.put(_secret("b", value="other"))
            await api.wait_for(lambda: len(moved) == 3)
            api.remove("Secret", "shop", "a")
            await api.wait_for(lambda: table.get(("shop", "a")) is None)
            assert VALUE not in repr(table.of("shop"))


async def test_over_http_an_empty_collection_is_listed_and_followed(tmp_path: Path) -> None:
    async with FakeApi() as api, followed(api, tmp_path) as (table, _):
        assert table.size == 0
        api.put(_secret("a"))
        await api.wait_for(lambda: table.size == 1)


async def test_over_http_only_what_is_selected_is_followed(tmp_path: Path) -> None:
    async with FakeApi() as api, followed(api, tmp_path, fieldSelector="metadata.name=a") as (table, _):
        api.put(_secret("b"))
        api.put(_secret("a"))
        await api.wait_for(lambda: table.size == 1)
        assert table.get(("shop", "b")) is None


async def test_over_http_dropped_watches_and_an_expired_version_lose_nothing(tmp_path: Path) -> None:
    async with FakeApi() as api, followed(api, tmp_path) as (table, _):
        for number, fault in enumerate((api.drop_watches, api.end_watches, api.error_event)):
            fault()
            api.compact()
            api.put(_secret(str(number)))
            await api.wait_for(lambda number=number: table.get(("shop", str(number))))


async def test_over_http_metadata_as_large_as_it_may_be_ends_no_watch(tmp_path: Path) -> None:
    async with FakeApi() as api, followed(api, tmp_path) as (table, _):
        large = _secret("large")
        large["metadata"]["annotations"] = {"note": "x" * 255 * 1024}
        api.put(large)
        await api.wait_for(lambda: table.get(("shop", "large")))
        assert len(api.asked("GET", "/secrets")) == 2, "one list and one watch"
