"""What a sidecar tells about itself on its admin ports: an admin.AdminSource over the running parts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelpool_config import models
from modelpool_config.models import Config
from modelpool_sidecar import credentials as keys
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.core.state import State
from modelpool_sidecar.credentials import MountedCredentials
from modelpool_sidecar.proxy import Proxy
from modelpool_sidecar.telemetry.service import TargetState, TelemetryService
from modelpool_sidecar.version import VERSION

if TYPE_CHECKING:
    from modelpool_sidecar.fake import FakeProvider


class View:
    """Reads, and breaks Fakes. `config_in_force` and `draining` are set by the app."""

    def __init__(
        self,
        proxy: Proxy,
        state: State,
        credentials: MountedCredentials,
        telemetry: TelemetryService,
        fakes: "Mapping[str, FakeProvider]",
        now: Callable[[], float],
    ) -> None:
        self.config_in_force: Config | None = None
        self.draining = False
        self._proxy, self._state, self._credentials = proxy, state, credentials
        self._telemetry, self._fakes, self._now = telemetry, fakes, now

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
        """Pools with their targets' stances, limits and what is in flight; the Fakes and how they are broken."""
        snapshot = self._proxy.snapshot
        described: dict[str, Any] = {} if snapshot is None else self._state.describe(snapshot, self._now())
        fakes = {name: {"baseURL": fake.base_url, "broken": fake.broken_as} for name, fake in self._fakes.items()}
        return {"inFlight": self._proxy.in_flight, **described, "fakes": fakes}

    def fakes(self) -> Sequence[str]:
        """Who can be broken."""
        return list(self._fakes)

    def break_fake(self, name: str, fault: str) -> None:
        """Fail from now on; ValueError where there is no such fault."""
        self._fakes[name].break_as(fault)

    def mend_fake(self, name: str) -> None:
        """Go on."""
        self._fakes[name].mend()

    def target_states(self) -> Iterator[TargetState]:
        """The stance of every target, for a scrape."""
        snapshot, now = self._proxy.snapshot, self._now()
        for pool in snapshot.pools.values() if snapshot is not None else ():
            if isinstance(pool, Pool):
                for target in pool.targets.values():
                    stance = self._state.health(target).stance(now)
                    yield TargetState(pool.name, target.name, target.provider.name, stance.value)
