"""What a sidecar tells about itself on its admin ports: an admin.AdminSource over the running parts."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelpool_config import models
from modelpool_config.models import Callers, Config
from modelpool_sidecar import credentials as keys
from modelpool_sidecar.core import verdict
from modelpool_sidecar.core.callers import Register
from modelpool_sidecar.core.dispatch import Dispatch
from modelpool_sidecar.core.snapshot import Pool, Snapshot
from modelpool_sidecar.core.state import State
from modelpool_sidecar.credentials import MountedCredentials
from modelpool_sidecar.keyring import Keyring
from modelpool_sidecar.ports import Clock
from modelpool_sidecar.proxy import Proxy
from modelpool_sidecar.telemetry.service import TargetState, TelemetryService
from modelpool_sidecar.version import VERSION

if TYPE_CHECKING:
    from modelpool_sidecar.fake import FakeProvider

_NAMED_AT_MOST = 20
"""Callers of a pool that are told by name."""


class View:
    """Reads, and breaks Fakes. `draining` is set by the app, the config and its problems by `take` and `tell`."""

    def __init__(
        self,
        proxy: Proxy,
        state: State,
        credentials: MountedCredentials,
        callers: Register,
        telemetry: TelemetryService,
        fakes: "Mapping[str, FakeProvider]",
        clock: Clock,
    ) -> None:
        self.config_in_force: Config | None = None
        self.draining = False
        self._taken_over: float | None = None  # wall time, as is the next
        self._problems: tuple[tuple[str, ...], float] = ((), 0.0)
        self._proxy, self._state, self._credentials = proxy, state, credentials
        self._callers = callers
        self._telemetry, self._fakes, self._clock = telemetry, fakes, clock

    def take(self, config: Config) -> None:
        """This config, or new keys under it, is in force from now on."""
        self.config_in_force, self._taken_over = config, self._clock.wall()

    def tell(self, problems: Sequence[str]) -> None:
        """What of the newest config is not in use; the time is that of the first look that said so."""
        if tuple(problems) != self._problems[0]:
            self._problems = tuple(problems), self._clock.wall()

    def ready(self) -> str | None:
        """None once a valid config is in force (B49), else why not."""
        if self.draining:
            return "draining: nothing new is accepted"
        return None if self._proxy.snapshot is not None else "no valid config has been read yet"

    def metrics(self) -> bytes:
        """The Prometheus text."""
        return self._telemetry.metrics_text()

    def digest(self) -> Mapping[str, object]:
        """What runs here: digests of config, pools and credentials; version, schema and features (B52)."""
        snapshot = self._proxy.snapshot
        digests = self._credentials.digests()
        return {
            "config": snapshot.digest if snapshot is not None else None,
            "pools": {name: pool.digest for name, pool in snapshot.pools.items()} if snapshot is not None else {},
            "credentials": keys.digest_of_digests(digests),
            "version": VERSION,
            "schemaVersion": models.SCHEMA_VERSION,
            "features": sorted(models.FEATURES),
        }

    def config(self) -> Mapping[str, object]:
        """The config in force, as the contract writes it: it names keys and holds none."""
        config = self.config_in_force
        return {} if config is None else dict[str, Any](config.model_dump(mode="json", by_alias=True))

    def state(self) -> Mapping[str, object]:
        """Pools with their targets' stances, limits and what is in flight; the Fakes and how they are broken.

        `config`: since when it is in force, and what of the newest one is not; times are Unix seconds, as is `now`.
        """
        snapshot = self._proxy.snapshot
        problems, since = self._problems
        fakes = {name: {"baseURL": fake.base_url, "broken": fake.broken_as} for name, fake in self._fakes.items()}
        return {
            "version": VERSION,
            "now": self._clock.wall(),
            "notReady": self.ready(),
            "inFlight": self._proxy.in_flight,
            **({} if snapshot is None else self._described(snapshot)),
            "config": {
                "takenOver": self._taken_over,
                "problems": list(problems),
                "problemsSince": since if problems else None,
            },
            "fakes": fakes,
        }

    def _described(self, snapshot: Snapshot) -> dict[str, Any]:
        """What the state tells, and for each pool what a request would find: who is asked first, who cannot be."""
        now = self._clock.now()
        described = self._state.describe(snapshot, now)
        for told in described["pools"]:
            pool = snapshot.pools[told["name"]]
            told["callers"] = None if pool.callers is None else self._described_callers(pool.callers)
            if isinstance(pool, Pool):
                told["stateful"] = pool.stateful
                told["commit"] = "Complete" if pool.streaming.complete else "FirstToken"
                told["recovery"] = list(pool.recovery)
                walk = Dispatch(pool, self._state, "", math.inf, lambda: 0.0, Keyring(self._credentials).missing)
                outlook = walk.outlook(now)
                told["servingPriority"] = outlook.priority
                for target in told["targets"]:
                    block = outlook.blocks[target["name"]]
                    target["blocked"] = None if block is None else block.kind
                    target["why"] = None if block is None else verdict.words(pool.targets[target["name"]], block)
        return described

    def _described_callers(self, callers: Callers) -> dict[str, Any]:
        """Where their keys come from, how many are there, and the first names."""
        names = itertools.islice(self._callers.names(callers.keys), _NAMED_AT_MOST)
        return {"keys": callers.source, "count": self._callers.count(callers.keys), "names": list(names)}

    def fakes(self) -> Sequence[str]:
        """Who can be broken."""
        return list(self._fakes)

    def break_fake(self, name: str, fault: str) -> None:
        """Fail from now on; ValueError where there is no such fault."""
        self._fakes[name].break_as(fault)

    def mend_fake(self, name: str) -> None:
        """Go on."""
        self._fakes[name].mend()

    def queue_lengths(self) -> Iterator[tuple[str, int]]:
        """How many wait in each pool where they may, for a scrape."""
        snapshot = self._proxy.snapshot
        for pool in snapshot.pools.values() if snapshot is not None else ():
            if isinstance(pool, Pool) and pool.queue is not None:
                yield pool.name, self._state.waiting(pool)

    def cache_sizes(self) -> Iterator[tuple[str, int, int]]:
        """How many answers of how many bytes each pool with a cache keeps, for a scrape."""
        snapshot = self._proxy.snapshot
        return iter(()) if snapshot is None else self._state.cache.sizes(snapshot, self._clock.now())

    def target_states(self) -> Iterator[TargetState]:
        """The stance of every target, for a scrape."""
        snapshot, now = self._proxy.snapshot, self._clock.now()
        for pool in snapshot.pools.values() if snapshot is not None else ():
            if isinstance(pool, Pool):
                for target in pool.targets.values():
                    stance = self._state.health(target).stance(now)
                    share = self._state.share(target, now)
                    yield TargetState(pool.name, target.name, target.provider.name, stance.value, share)
