"""What people hear: statuses at a bounded pace, and an event when Ready moved. On virtual time."""

import asyncio
import contextlib
import copy
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

import virtual_loop
from manifest_cases import pool, provider
from modelpool_operator import conditions, paths
from modelpool_operator.kube import ApiError, NotLeadingError
from modelpool_operator.problems import Key
from modelpool_operator.reporting import PACE_SECONDS, Reporter, event_of
from modelpool_operator.store import Seen, Store
from status_cases import NOW, POOL, world

Raw = dict[str, Any]


def _conditions(reason: str, status: str = "True", message: str = "a sentence") -> Raw:
    ready = {"type": "Ready", "status": status, "reason": reason, "message": message, "observedGeneration": 1}
    return {"observedGeneration": 1, "conditions": [ready]}


@dataclass
class Api:
    """Objects with an optimistic lock. `faults` by method, the next one first; `slow`: how long a write takes."""

    objects: dict[str, Raw] = field(default_factory=dict)
    version: int = 100
    faults: dict[str, list[Exception]] = field(default_factory=dict)
    slow: float = 0.0
    statuses: list[tuple[float, str]] = field(default_factory=list)
    events: list[Raw] = field(default_factory=list)
    gets: int = 0

    def put(self, manifest: Raw, **change: Any) -> Raw:
        self.version += 1
        metadata = {"uid": "u1", "generation": 1, **manifest["metadata"], "resourceVersion": str(self.version)}
        stored = {**copy.deepcopy(manifest), **change, "metadata": metadata}
        self.objects[self._path(stored)] = stored
        return stored

    def _path(self, manifest: Raw) -> str:
        return paths.resource(manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"])

    def _fail(self, method: str) -> None:
        if self.faults.get(method):
            raise self.faults[method].pop(0)

    async def apply(self, path: str, body: Raw, manager: str) -> Raw:
        assert manager == "modelpool-status"
        assert "spec" not in body
        self._fail("apply")
        await asyncio.sleep(self.slow)
        present = self.objects.get(path.removesuffix("/status"))
        if present is None:
            raise ApiError(404, "NotFound", "not found")
        if body["metadata"]["resourceVersion"] != present["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "the object has been modified")
        reason = conditions.find(body["status"], "Ready")["reason"]
        self.statuses.append((round(asyncio.get_running_loop().time() - 1000, 2), reason))
        return copy.deepcopy(self.put(present, status=body["status"]))

    async def get(self, path: str) -> Raw:
        self.gets += 1
        self._fail("get")
        if path not in self.objects:
            raise ApiError(404, "NotFound", "not found")
        return copy.deepcopy(self.objects[path])

    async def create(self, path: str, body: Raw, manager: str) -> Raw:
        assert path == "/apis/events.k8s.io/v1/namespaces/default/events"
        self._fail("create")
        self.events.append(body)
        return body


@dataclass
class Desk:
    """A reporter at work, about a pool that it knows."""

    api: Api = field(default_factory=Api)
    store: Store = field(default_factory=Store)
    moved: list[str] = field(default_factory=list)
    doubted: list[Key] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)
    clock: datetime = NOW

    def __post_init__(self) -> None:
        self.reporter = Reporter(
            self.api,
            self.store,
            "me",
            now=lambda: self.clock,
            chance=lambda: 0.0,
            moved=self.moved.append,
            doubted=self.doubted.append,
            counted=self.counted.append,
        )
        self.store.see("ModelPool", self.api.put(pool()))

    def want(self, reason: str, status: str = "True") -> None:
        self.reporter.want(POOL, lambda _seen, _now: _conditions(reason, status))

    @property
    def reason(self) -> str:
        """What the object says at the API server."""
        return conditions.find(self.api.objects[paths.resource(*POOL)]["status"], "Ready")["reason"]


def play(scene: Callable[[Desk], Coroutine[Any, Any, None]]) -> Desk:
    async def main() -> Desk:
        desk = Desk()
        task = asyncio.get_running_loop().create_task(desk.reporter.worklist.run())
        try:
            await scene(desk)
            assert not task.done()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return desk

    return virtual_loop.run(main())


def test_a_status_is_written_at_once_and_told_by_an_event() -> None:
    async def scene(desk: Desk) -> None:
        desk.want("Ready")
        await asyncio.sleep(1)

    desk = play(scene)
    assert desk.api.statuses == [(0.0, "Ready")]
    assert [each["reason"] for each in desk.api.events] == ["Ready"]
    assert desk.counted == ["status", "event"]
    assert desk.store.seen(POOL).status == _conditions("Ready"), "the answer is known before the watch brings it"


def test_a_status_that_keeps_changing_is_written_every_two_seconds_and_the_newest_last() -> None:
    async def scene(desk: Desk) -> None:
        for number in range(100):
            desk.want(f"R{number}")
            await asyncio.sleep(0.1)
        await asyncio.sleep(5)
        assert desk.reason == "R99"

    desk = play(scene)
    times = [at for at, _ in desk.api.statuses]
    assert len(times) <= 7
    assert all(after - before >= PACE_SECONDS for before, after in pairwise(times))


def test_what_the_object_says_already_is_not_written() -> None:
    async def scene(desk: Desk) -> None:
        desk.want("Ready")
        await asyncio.sleep(5)
        desk.want("Ready")
        await asyncio.sleep(5)

    assert len(play(scene).api.statuses) == 1


def test_what_was_judged_of_another_object_is_not_written() -> None:
    async def scene(desk: Desk) -> None:
        desk.reporter.want(POOL, lambda _seen, _now: None)
        await asyncio.sleep(5)

    desk = play(scene)
    assert desk.api.statuses == []
    assert desk.reporter._wanted == {}


def test_what_is_dropped_before_it_is_written_is_not() -> None:
    async def scene(desk: Desk) -> None:
        desk.want("Ready")
        desk.reporter.drop(POOL)
        desk.reporter.drop(POOL)
        await asyncio.sleep(5)

    assert play(scene).api.statuses == []


def test_what_was_found_right_while_something_else_was_being_written_is_looked_at_again() -> None:
    """Otherwise the wrong status would stand until the next resync: no event tells us of our own write."""

    async def scene(desk: Desk) -> None:
        desk.api.slow = 1.0
        desk.want("SecretNotFound", "False")
        await asyncio.sleep(0.5)
        desk.reporter.drop(POOL)
        await asyncio.sleep(5)

    desk = play(scene)
    assert desk.reason == "SecretNotFound"
    assert (desk.doubted, desk.moved) == ([POOL], [])


def test_what_is_wanted_anew_during_a_write_is_written_after_it() -> None:
    async def scene(desk: Desk) -> None:
        desk.api.slow = 1.0
        desk.want("Pending", "Unknown")
        await asyncio.sleep(0.5)
        desk.want("Ready")
        await asyncio.sleep(9)
        assert desk.reason == "Ready"
        assert desk.moved == []

    play(scene)


def test_an_object_that_moved_on_is_read_and_written_to_as_it_is_now() -> None:
    async def scene(desk: Desk) -> None:
        desk.api.put(pool(), spec={**pool()["spec"]})
        desk.want("Ready")
        await asyncio.sleep(2)
        assert desk.reason == "Ready"

    desk = play(scene)
    assert (desk.api.gets, desk.moved) == (1, [])


def test_an_object_that_says_something_else_now_is_judged_anew() -> None:
    async def scene(desk: Desk) -> None:
        edited = pool(models=[{"name": "x"}])
        edited["metadata"]["generation"] = 2
        desk.api.put(edited)
        desk.want("Ready")
        await asyncio.sleep(2)

    assert play(scene).moved == ["default"]


def test_a_conflict_that_nothing_explains_is_tried_again_more_and_more_slowly() -> None:
    async def scene(desk: Desk) -> None:
        desk.api.faults["apply"] = [ApiError(409, "Conflict", "no") for _ in range(100)]
        desk.want("Ready")
        await asyncio.sleep(60)

    assert play(scene).api.gets < 10


def test_an_object_that_is_gone_is_forgotten_without_an_event() -> None:
    async def scene(desk: Desk) -> None:
        desk.api.objects.clear()
        desk.want("Ready")
        await asyncio.sleep(5)

    desk = play(scene)
    assert (desk.api.statuses, desk.api.events) == ([], [])
    assert (desk.reporter._wanted, desk.reporter._written, len(desk.reporter.worklist)) == ({}, {}, 0)


def test_an_object_that_goes_between_two_requests_is_forgotten() -> None:
    async def scene(desk: Desk) -> None:
        desk.api.faults["apply"] = [ApiError(409, "Conflict", "modified")]
        desk.api.faults["get"] = [ApiError(404, "NotFound", "gone")]
        desk.api.objects.clear()
        desk.want("Ready")
        await asyncio.sleep(5)

    desk = play(scene)
    assert (desk.reporter._wanted, desk.reporter._written) == ({}, {})


def test_an_object_that_the_store_has_lost_is_forgotten() -> None:
    async def scene(desk: Desk) -> None:
        desk.want("Ready")
        await asyncio.sleep(1)
        desk.want("Degraded")
        desk.store.see("ModelPool", desk.api.put(pool()), deleted=True)
        await asyncio.sleep(5)

    desk = play(scene)
    assert len(desk.api.statuses) == 1
    assert (desk.reporter._wanted, desk.reporter._written) == ({}, {})


def test_a_namespace_that_ends_takes_no_status() -> None:
    async def scene(desk: Desk) -> None:
        desk.api.faults["apply"] = [ApiError(403, "Forbidden", "being terminated", ["NamespaceTerminating"])]
        desk.want("Ready")
        await asyncio.sleep(60)

    desk = play(scene)
    assert (desk.api.statuses, desk.api.events, desk.reporter._wanted) == ([], [], {})


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ApiError(500, "", "etcd is asleep"), "the status of ModelPool default/chat cannot be written: etcd is asleep"),
        (NotLeadingError("the Lease is not ours"), ""),
        (ValueError("a bug"), "the status of ModelPool default/chat cannot be made"),
    ],
    ids=["refused", "not leading", "a fault of ours"],
)
def test_a_write_that_fails_is_told_and_comes_again(
    error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(desk: Desk) -> None:
        desk.api.faults["apply"] = [error]
        desk.want("Ready")
        await asyncio.sleep(5)
        assert desk.reason == "Ready"

    play(scene)
    assert told in caplog.text
    assert told or not caplog.text


def test_a_read_that_fails_comes_again() -> None:
    async def scene(desk: Desk) -> None:
        desk.api.put(pool())
        desk.api.faults["get"] = [ApiError(503, "", "not now")]
        desk.want("Ready")
        await asyncio.sleep(5)
        assert desk.reason == "Ready"

    play(scene)


@pytest.mark.parametrize("error", [ApiError(403, "", "events is forbidden"), NotLeadingError("not ours")])
def test_an_event_that_cannot_be_made_holds_up_no_status(error: Exception) -> None:
    async def scene(desk: Desk) -> None:
        desk.api.faults["create"] = [error]
        desk.want("Ready")
        await asyncio.sleep(5)
        assert desk.reason == "Ready"

    assert play(scene).counted == ["status"]


def test_many_objects_are_reported_together() -> None:
    async def scene(desk: Desk) -> None:
        desk.api.slow = 0.1
        for number in range(120):
            desk.store.see("ModelPool", desk.api.put(pool(f"p{number}")))
            desk.reporter.want(("ModelPool", "default", f"p{number}"), lambda _seen, _now: _conditions("Ready"))
        await asyncio.sleep(1.2)
        assert len(desk.api.statuses) >= 120

    play(scene)


SEEN = Seen(7, "u1", 1, world(provider(), pool()).compiled.result.accepted[POOL], {})


def _event(before: Raw, after: Raw) -> Raw | None:
    seen = Seen(SEEN.version, SEEN.uid, SEEN.generation, SEEN.content, before)
    return event_of(POOL, seen, after, datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC), "me" * 100)


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ({}, _conditions("Ready"), "Normal"),
        ({}, _conditions("SecretNotFound", "False"), "Warning"),
        (_conditions("Ready"), _conditions("Degraded"), "Warning"),
        (_conditions("Degraded"), _conditions("Ready"), "Normal"),
        (_conditions("Ready"), _conditions("Manual"), "Normal"),
        (_conditions("SecretNotFound", "False"), _conditions("InvalidCredential", "False"), "Warning"),
        (_conditions("Ready"), _conditions("CredentialPending", "Unknown"), "Warning"),
        (_conditions("Ready"), _conditions("Ready"), None),
        (_conditions("Ready"), _conditions("Ready", message="other words"), None),
    ],
)
def test_an_event_tells_of_a_move_of_ready_and_of_nothing_else(before: Raw, after: Raw, kind: str | None) -> None:
    event = _event(before, after)
    assert (event["type"] if event else None) == kind


def test_an_event_says_what_it_is_about_and_who_says_so() -> None:
    event = _event({}, _conditions("Ready"))
    assert event is not None
    name = event["metadata"].pop("name")
    assert name.startswith("chat.")
    assert len(name) <= 80
    assert event == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": "default"},
        "eventTime": "2026-01-02T03:04:05.000678Z",
        "type": "Normal",
        "reason": "Ready",
        "action": "Reconcile",
        "note": "a sentence",
        "reportingController": "modelpool.dev/operator",
        "reportingInstance": ("me" * 100)[:128],
        "regarding": {
            "apiVersion": "modelpool.dev/v1alpha1",
            "kind": "ModelPool",
            "namespace": "default",
            "name": "chat",
            "uid": "u1",
            "resourceVersion": "7",
        },
    }


def test_a_note_is_cut_where_the_api_server_counts_bytes_and_no_character_is_halved() -> None:
    event = _event({}, _conditions("Ready", message="x" + "ü" * 1024))
    assert event is not None
    assert event["note"] == "x" + "ü" * 511


def test_two_events_have_two_names() -> None:
    first, second = _event({}, _conditions("Ready")), _event({}, _conditions("Degraded"))
    assert first is not None
    assert second is not None
    assert first["metadata"]["name"] != second["metadata"]["name"]
