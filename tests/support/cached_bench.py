"""A pool that keeps answers, what is asked of it, and what was said of the cache."""

from typing import Any

from builders import a_pool, a_snapshot
from modelpool_config import models as contract
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import SSE, Bench, HeldDownstream

QUESTION: dict[str, Any] = {"model": "chat", "temperature": 0, "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**QUESTION, "stream": True}
WITH_USAGE = {**STREAM, "stream_options": {"include_usage": True}}


SETTINGS = {"ttl": 300_000, "max_entries": 10, "max_bytes": 1 << 20}


def cached(providers: list[contract.Provider] | None = None, **changes: Any) -> Snapshot:
    cache = {**SETTINGS, **changes.pop("cache", {})}
    return a_snapshot([a_pool(cache=cache, **changes)], providers)


def bench(**changes: Any) -> Bench:
    return Bench(cached(**changes))


def stream(it: Bench, *parts: bytes) -> None:
    """A provider's stream, from its head on."""
    it.upstream.last.head(200, SSE)
    for part in parts:
        it.upstream.last.data(part)


def kept(it: Bench) -> dict[str, Any]:
    assert it.proxy.snapshot is not None
    [pool] = it.state.describe(it.proxy.snapshot, it.clock.now())["pools"][:1]
    return dict(pool["cache"])


def said(*clients: HeldDownstream) -> list[str]:
    return [client.headers["x-modelpool-cache"] for client in clients]


def left(it: Bench) -> list[int]:
    assert it.proxy.snapshot is not None
    [pool] = it.state.describe(it.proxy.snapshot, it.clock.now())["pools"]
    return [limit["remaining"] for limit in pool["limits"]]


class Slow(HeldDownstream):
    """A client that takes one piece, and the next one when it is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = False

    def write(self, data: bytes) -> bool:
        assert not self.is_full, "nothing is pushed into a full connection"
        super().write(data)
        self.is_full = True
        return False

    def ready(self) -> None:
        self.is_full = False
        if self.on_writable is not None:
            self.on_writable()


class Late(Slow):
    """The same, which is told the rest where the answer breaks."""

    def write(self, data: bytes) -> bool:
        self.is_full = False
        return super().write(data)
