"""A sidecar under all faults at once, for as long as you like; at the end the books are checked.

    python benchmarks/soak.py [SECONDS [SEED]]        (make soak SECONDS=120)

Providers, sidecar and clients live in one process and one loop. Each request meets a fault of the conformance table, or
none; providers refuse connections now and then; the config changes every second; clients read slowly, pipeline, keep
their connections, leave. The pools recover, hedge, cache, commit late, queue, adapt, ask for keys, and are pools of
pools. Every answer must be lawful, and carry the id of its request. In the end nothing may be open, caches must be
within their bounds, and memory must not have grown since it had warmed up. The exit status tells.
"""

import argparse
import asyncio
import contextlib
import ctypes
import gc
import os
import random
import statistics
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "sidecar"), str(ROOT / "tests" / "support")]

import soak_pools  # noqa: E402 - the paths come first
from conformance.client import Client, Got  # noqa: E402
from conformance.faults import REFUSED  # noqa: E402
from conformance.house import HEALTH, KEYS, House, count_tasks, house  # noqa: E402
from conformance.provider import Provider  # noqa: E402
from conformance.seen import judge  # noqa: E402
from conformance.speech import WAYS, Way  # noqa: E402
from conformance.table import ROWS  # noqa: E402
from conformance.turns import Fault  # noqa: E402

CLIENTS = 24
WELL = 0.75
"""The part of the requests that meet no fault; else hardly an answer would be whole."""
WARM_SECONDS = 120.0
GROWTH_BYTES = 6 * 1024 * 1024
"""What the process may grow by after that: the allocator's own breathing, not a leak."""
TELL_SECONDS = 10.0
KEPT = {"store": False}
"""What the Responses API must be told, so that its answers may be given again."""

CACHED = ("kept", "deep")

FAULTS = [
    row.primary
    for row in ROWS
    if row.primary is not None and row.play is None and not row.padding and not (row.primary.door or row.primary.tls)
    if not (row.primary.dns or row.primary.plain) and row.blame != "long" and row.lasting and not row.partial
]


FAULT_NAMES = {id(row.primary): f"{row.group} / {row.name}" for row in ROWS}
REMEMBERED_SECONDS = 10.0


class Moody(Provider):
    """Each connection, and each request, meets a fault or none."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self._rng = rng
        self._shut: Fault | None = None
        super().__init__(name)

    @property
    def fault(self) -> Fault | None:
        if self._shut is not None or self._rng.random() < WELL:
            return self._shut
        return self._rng.choice(FAULTS)

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        self._shut = fault

    def forget(self) -> None:
        """What has been over for long need not be remembered."""
        before = asyncio.get_running_loop().time() - REMEMBERED_SECONDS
        self.asks = [ask for ask in self.asks if not ask.over or ask.started > before]

    def met(self, ident: str) -> list[str]:
        """What the asks for that request met here, in order."""
        asks = [ask for ask in self.asks if ask.ident == ident]
        return [f"{self.name} ({FAULT_NAMES.get(id(ask.fault), 'well')})" for ask in asks]


class Soak:
    """One run. `wrong`: what may not be, a sentence each."""

    def __init__(self, held: House, seconds: float, rng: random.Random) -> None:
        self.held, self.seconds, self.rng = held, seconds, rng
        self.seen: Counter[str] = Counter()
        self.cached: Counter[str] = Counter()
        """What the answers of pools with a cache say of it."""
        self.wrong: list[str] = []
        self.reloads = 0
        self.memory: list[tuple[float, int]] = []
        self._over = asyncio.Event()
        self._began = time.monotonic()

    @property
    def moody(self) -> list[Moody]:
        return [each for each in self.held.providers.values() if isinstance(each, Moody)]

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    async def run(self) -> None:
        """All of it, to the closed books."""
        await self._reload()
        workers = [self._client() for _ in range(CLIENTS)] + [self._reloading(), self._doors(), self._watching()]
        tasks = [asyncio.create_task(worker) for worker in workers]
        done, _ = await asyncio.wait(tasks, timeout=self.seconds, return_when=asyncio.FIRST_EXCEPTION)
        self._over.set()
        for task in done:
            self.wrong.append(f"a worker ended: {task.exception()!r}")
        _, late = await asyncio.wait(tasks, timeout=20)
        self.wrong += [f"a worker did not end: {task!r}" for task in late]
        for provider in self.held.providers.values():
            await provider.turn(Fault())
        await self._reload()
        self.wrong += await self.held.settled()
        self.wrong += self._grown()

    async def _rest(self, seconds: float) -> bool:
        """Whether the run goes on after so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
        return not self._over.is_set()

    # -- clients

    async def _client(self) -> None:
        kept = Client(self.held.sidecar.data_port)
        while await self._rest(self.rng.uniform(0.0, 0.4)):
            way, kind = self.rng.choice(WAYS), self.rng.random()
            if kind < 0.4:
                await self._asks(kept, way)
            elif kind < 0.7:
                await self._once(way, self._asks)
            elif kind < 0.78:
                await self._once(way, self._asks, receive_buffer=4096)
            elif kind < 0.84:
                await self._once(way, self._pipelines)
            elif kind < 0.9:
                await self._share(way)
            else:
                await self._once(way, self._leaves)
        kept.close()

    async def _once(self, way: Way, act: Any, receive_buffer: int | None = None) -> None:
        client = Client(self.held.sidecar.data_port, receive_buffer)
        await act(client, way)
        client.close()

    async def _asks(self, client: Client, way: Way) -> None:
        ident = self.held.ident()
        pool = self.rng.choice(soak_pools.NAMES)
        body, key = way.body(ident, pool, **KEPT), self._key(pool)
        for _ in range(2 if pool in CACHED else 1):  # the second one may be given again
            self._judge(way, ident, await client.ask(way.path, body, *key, patience=20))

    async def _share(self, way: Way) -> None:
        """Some ask the same at once, each on a connection of its own, and some of them do not stay."""
        ident, pool = self.held.ident(), self.rng.choice(CACHED)
        body = way.body(ident, pool, **KEPT)

        async def one(client: Client) -> None:
            await client.post(way.path, body)
            if self.rng.random() < 0.3:
                await self._rest(self.rng.choice((0.0, 0.01, 0.1)))
                self.seen["left"] += 1
            else:
                self._judge(way, ident, await client.answer(20))
            client.close()

        await asyncio.gather(*(one(Client(self.held.sidecar.data_port)) for _ in range(self.rng.randint(2, 4))))

    def _key(self, pool: str) -> tuple[str, ...]:
        """What a caller shows: now and then nothing, or what is nobody's."""
        if pool != "keyed" or self.rng.random() < 0.1:
            return ()
        return (f"authorization: Bearer {self.rng.choice([*KEYS.values(), 'nobody-has-this-long-key'])}",)

    async def _pipelines(self, client: Client, way: Way) -> None:
        idents = [self.held.ident() for _ in range(2)]
        for ident in idents:
            await client.post(way.path, way.body(ident))
        for ident in idents:
            if client.reader is None:
                break  # a broken answer takes its connection with it
            self._judge(way, ident, await client.answer(20))

    async def _leaves(self, client: Client, way: Way) -> None:
        with contextlib.suppress(ConnectionError):
            pool = self.rng.choice(soak_pools.NAMES)
            await client.post(way.path, way.body(self.held.ident(), pool, **KEPT), *self._key(pool))
            await self._rest(self.rng.choice((0.0, 0.01, 0.05, self.rng.uniform(0.0, 1.5))))
            if client.writer is not None and self.rng.random() < 0.5:
                client.half_close()
                await self._rest(0.05)
        self.seen["left"] += 1

    def _judge(self, way: Way, ident: str, got: Got) -> None:
        seen = judge(way, ident, got, alike=True)
        words = seen.words.split(",")[0]
        self.seen[words] += 1
        if "x-modelpool-cache" in got.headers:
            self.cached[got.headers["x-modelpool-cache"]] += 1
        if seen.wrong:
            met = [each for moody in self.moody for each in moody.met(ident)]
            pool = got.headers.get("x-modelpool-pool", "no pool")
            self.wrong.append(
                f"{way} {ident} of {pool}: {seen.words}: {seen.wrong}; {', '.join(met)}: {got.body[-400:]!r}"
            )

    # -- the house

    async def _reloading(self) -> None:
        while await self._rest(1.0):
            await self._reload()

    async def _reload(self) -> None:
        """Weights, limits, cooldowns; targets and callers that come and go."""
        self.reloads += 1
        keys = KEYS if self.rng.random() < 0.8 else {"bob": KEYS["bob"]}
        health = {**HEALTH, "cooldown": self.rng.choice((100, 700))}
        await self.held.apply(soak_pools.drawn(self.rng), keys, health=health)

    async def _doors(self) -> None:
        while await self._rest(self.rng.uniform(1.0, 4.0)):
            provider = self.rng.choice(list(self.held.providers.values()))
            await provider.turn(REFUSED)
            await self._rest(self.rng.uniform(0.1, 1.0))
            await provider.turn(None)

    # -- what is told

    async def _watching(self) -> None:
        told = 0.0
        while await self._rest(1.0):
            for provider in self.moody:
                provider.forget()
            self.memory.append((self.elapsed, resident_bytes()))
            if self.elapsed - told >= TELL_SECONDS:
                told = self.elapsed
                print(
                    f"{told:6.0f} s  {sum(self.seen.values()):7} requests  {self.reloads:5} reloads  "
                    f"{self.held.sidecar.in_flight:3} in flight  {len(self.held.tasks):4} tasks  "
                    f"{self.memory[-1][1] / 2**20:6.1f} MiB  {len(self.wrong)} wrong",
                    flush=True,
                )

    @property
    def warm(self) -> float:
        """The moment from which on memory counts: after two minutes, or half of a shorter run."""
        return min(WARM_SECONDS, self.seconds / 2)

    def growth(self) -> int | None:
        """Bytes, from the quarter after that moment to the last one; None where there is too little to compare."""
        after = [size for at, size in self.memory if at >= self.warm]
        quarter = len(after) // 4
        if quarter < 3:
            return None
        return int(statistics.median(after[-quarter:]) - statistics.median(after[:quarter]))

    def _grown(self) -> list[str]:
        growth = self.growth()
        if growth is None or growth <= GROWTH_BYTES:
            return []
        return [f"the process has grown by {growth / 2**20:.1f} MiB since {self.warm:.0f} s"]

    def table(self) -> str:
        """The sum of it."""
        growth = self.growth()
        lines = [f"{count:8}  {words}" for words, count in self.seen.most_common()]
        grown = "not measured" if growth is None else f"{growth / 2**20:+.1f} MiB since {self.warm:.0f} s"
        lines += [
            "",
            "cache: " + ", ".join(f"{count} {words}" for words, count in self.cached.most_common()),
            f"{sum(self.seen.values())} requests, {self.reloads} reloads, {self.elapsed:.0f} s, memory {grown}",
        ]
        told = deque(self.wrong, maxlen=20)
        return "\n".join([*lines, *(f"WRONG: {sentence}" for sentence in told), f"{len(self.wrong)} wrong"])


def resident_bytes() -> int:
    """What the process has in memory; what the allocator keeps of what was freed goes back to the system first."""
    gc.collect(0)
    _trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _trimmer() -> Callable[[int], object]:
    """glibc's malloc_trim; without it the peaks of half an hour would look like a leak. Nothing, elsewhere."""
    try:
        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return int
    return trim


_trim = _trimmer()


async def soak(seconds: float, seed: int = 0) -> Soak:
    """One run, over; RuntimeError where tasks are left when the sidecar has stopped."""
    count_tasks(asyncio.get_running_loop())
    rng = random.Random(seed)
    names = ("primary", "backup", "spare")
    async with house(providers={name: Moody(name, rng) for name in names}, prefill=True) as held:
        held.backup.voice = "primary"
        run = Soak(held, seconds, rng)
        await run.run()
    return run


def main(argv: Sequence[str] | None = None) -> int:
    """Prints as it goes, and the sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=float, nargs="?", default=120.0, metavar="SECONDS", help="default: %(default)g")
    parser.add_argument(
        "seed", type=int, nargs="?", default=0, metavar="SEED", help="of all chance (default %(default)s)"
    )
    options = parser.parse_args(argv)
    run = asyncio.run(soak(options.seconds, options.seed))
    print(run.table())
    return 1 if run.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
