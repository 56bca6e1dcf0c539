"""One namespace brought to what it should be, whatever it is now: gather, compile, apply, report.

Level-triggered: every look reads the whole namespace from the store and writes only what differs. The Secret goes
before the ConfigMap that needs it; a credential that nobody names any more stays until the sidecars must have moved.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import ParamSpec, TypeVar

from modelpool_config.codec import InvalidConfigError
from modelpool_operator import compiling, manifests, sidecarcount
from modelpool_operator.compiling import Compiled, Present
from modelpool_operator.conditions import PENDING, Publication, Said
from modelpool_operator.forms import Accepted
from modelpool_operator.judged import Judged
from modelpool_operator.kube import ApiError, Kube, NotLeadingError
from modelpool_operator.manifests import Content
from modelpool_operator.owned import Objects, Owned, TooLargeError
from modelpool_operator.problems import Key
from modelpool_operator.reporting import Reporter
from modelpool_operator.secretvalues import SecretValues, Values
from modelpool_operator.sidecarcount import Count
from modelpool_operator.store import Seen, Store, named
from modelpool_operator.telemetry import Telemetry
from modelpool_operator.worklist import RetryError, Worklist

PRUNE_AFTER = timedelta(minutes=5)
"""A mounted volume is brought up to date within 90 seconds, also where nobody helps."""

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Memory:
    """What outlives a look at a namespace. `told`: what was logged about it last."""

    accepted: Accepted | None = None
    judged: Judged | None = None
    count: Count | None = None
    told: str = ""


@dataclass(frozen=True, slots=True)
class _Gathered:
    objects: Objects
    seen: Mapping[Key, Seen]
    values: Values
    compiled: Compiled
    sidecars: int
    wanted: Mapping[str, str] = field(repr=False)
    """The credentials that the Secret should hold, those on their way out included."""


class Reconciler:
    """Everything that is done for one namespace. `now` is wall time, for dates alone."""

    def __init__(
        self,
        kube: Kube,
        store: Store,
        instance: str,
        telemetry: Telemetry,
        *,
        identity: str,
        now: Callable[[], datetime],
        chance: Callable[[], float],
    ) -> None:
        self._store = store
        self._instance = instance
        self._telemetry = telemetry
        self._now = now
        self._owned = Owned(kube, store, instance, telemetry.wrote)
        self._secrets = SecretValues(kube, store)
        self._memory: dict[str, _Memory] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compile")
        self.worklist: Worklist[str] = Worklist("reconcile", self._reconcile, chance=chance, explain=self._explain)
        self.reporter = Reporter(
            kube,
            store,
            identity,
            now=now,
            chance=chance,
            moved=self.worklist.mark,
            doubted=self.look_at_status,
            counted=telemetry.wrote,
        )

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def needs(self, namespace: str, secret: str) -> bool:
        """Whether something names this Secret, as it stands or in the form that is in force."""
        return self._store.refers_to(namespace, secret) or self._secrets.holds(namespace, secret)

    def look_at_status(self, key: Key) -> None:
        """Somebody, or we ourselves, wrote the status of this object: see to it that it says what it should."""
        memory = self._memory.get(key[1])
        if memory is not None and memory.judged is not None:
            presents = memory.judged.presents([key], self._store.seen)
            self._hear(memory.judged, presents, memory.judged.different(presents, self._now()))

    def gone(self, key: Key) -> None:
        """The object was deleted."""
        self.reporter.forget(key)

    async def _reconcile(self, namespace: str) -> None:
        with self._telemetry.reconciling(namespace) as look:
            if self._store.is_ending(namespace):
                self._forget(namespace)
                return
            memory = self._memory.setdefault(namespace, _Memory())
            objects = await self._owned.read(namespace)
            if objects == Objects() and not self._store.is_used(namespace):
                self._forget(namespace)
                return
            other = objects.other_instance(self._instance)
            if other is not None:
                self._tell(memory, namespace, f"is served by another instance, {other}: nothing is written there")
                self._telemetry.conflict(namespace, True)
                memory.judged = None
                return
            self._telemetry.conflict(namespace, objects.foreign is not None)
            gathered = await self._gather(namespace, memory, objects)
            look.pools(len(gathered.compiled.digests))
            try:
                publication = await self._publish(namespace, memory, gathered)
            except ApiError as error:
                if error.terminating:
                    self._forget(namespace)
                    return
                if error.stale:
                    self._owned.doubt(namespace)
                    raise
                await self._report(memory, gathered, await self._blocked(gathered, _pending(str(error))))
                raise
            await self._report(memory, gathered, publication)
            if publication.blocked is None and memory.told:
                self._tell(memory, namespace, "")
            if gathered.values.passing:
                raise RetryError(2.0)
            if gathered.values.unreadable:  # the right to read may come back, and nobody tells
                raise RetryError(60.0)

    async def _gather(self, namespace: str, memory: _Memory, objects: Objects) -> _Gathered:
        ours = objects.config_map if objects.foreign is None else None
        content = ours.content if ours else Content(None, None, None)
        if memory.accepted is None:
            memory.accepted = manifests.unpack(content.accepted, namespace)
        observed, seen = self._store.observed(namespace), self._store.all_of(namespace)
        each = [*observed.providers.values(), *observed.pools.values(), *memory.accepted.values()]
        names = {name for resource in each for name in named(resource)}
        values = await self._secrets.read(namespace, sorted(names))
        wanted = self._store.wants_config(namespace) or ours is not None
        observed = replace(
            observed,
            secrets=values.secrets,
            unreadable=values.unreadable,
            namespaces=frozenset({namespace} if wanted else ()),
        )
        copied = objects.secret.credentials if objects.secret and objects.foreign is None else {}
        compiled = await self._aside(compiling.compile_namespace, namespace, observed, memory.accepted, copied)
        kept = (
            {} if self._may_prune(namespace, compiled, content, ours.since(self._now()) if ours else None) else copied
        )
        sidecars = self._count(namespace, memory, content)
        return _Gathered(objects, seen, values, compiled, sidecars, {**kept, **compiled.credentials})

    def _may_prune(self, namespace: str, compiled: Compiled, content: Content, written: datetime | None) -> bool:
        """Whether no sidecar can still run a config that names a credential which ours does not name any more."""
        if compiled.config is None or content.config != compiled.config or written is None:
            return False
        left = PRUNE_AFTER - (self._now() - written)
        if left > timedelta(0):
            self.worklist.mark(namespace, left.total_seconds() + 1)
            return False
        return True

    def _count(self, namespace: str, memory: _Memory, content: Content) -> int:
        clock = asyncio.get_running_loop().time()
        pods = len(self._store.pods.of(namespace))
        memory.count = sidecarcount.counted(memory.count or Count(content.sidecars or 1), pods, clock)
        if (due := sidecarcount.due(memory.count)) is not None:
            self.worklist.mark(namespace, max(0.1, due - clock))
        return memory.count.told

    async def _publish(self, namespace: str, memory: _Memory, gathered: _Gathered) -> Publication:
        """Write what differs. What comes back is what really stands there."""
        compiled = gathered.compiled
        if compiled.config is None:
            memory.accepted = compiled.result.accepted
            return Publication({})
        if gathered.objects.foreign is not None:
            message = f"the {gathered.objects.foreign} in namespace {namespace} was not made by modelpool: remove it"
            self._tell(memory, namespace, message)
            return await self._blocked(gathered, Said("False", "NameConflict", message))
        content = manifests.fitted(Content(compiled.config, compiled.accepted, gathered.sidecars))
        found = gathered.objects.config_map
        try:
            await self._write_secret(namespace, gathered)
            if found is None or found.content != content or found.strange or found.since(self._now()) is None:
                found = await self._owned.write_config_map(namespace, content, self._now())
        except TooLargeError as error:
            self._tell(memory, namespace, str(error))
            said = Said("False", "ConfigTooLarge", f"{error}; the last config that fits stays")
            return await self._blocked(gathered, said)
        memory.accepted = compiled.result.accepted
        self._telemetry.config_bytes(namespace, found.size)
        return Publication(compiled.digests, found.written, crowded=found.size > manifests.WARN_BYTES)

    async def _write_secret(self, namespace: str, gathered: _Gathered) -> None:
        found = gathered.objects.secret
        if found is None or found.credentials != gathered.wanted or found.strange:
            await self._owned.write_secret(namespace, gathered.wanted, self._now())

    async def _blocked(self, gathered: _Gathered, why: Said) -> Publication:
        """What stands there is not what should: the pools whose section is the same are published all the same."""
        found = gathered.objects.config_map if gathered.objects.foreign is None else None
        if found is None:
            return Publication({}, None, why)
        return Publication(await self._aside(compiling.digests_of, found.content.config), found.written, why)

    async def _report(self, memory: _Memory, gathered: _Gathered, publication: Publication) -> None:
        memory.judged = judged = Judged(gathered.compiled, publication, gathered.seen)
        presents = judged.presents(gathered.seen, self._store.seen)
        self._hear(judged, presents, await self._aside(judged.different, presents, self._now()))

    def _hear(self, judged: Judged, presents: Mapping[Key, Present], differing: Collection[Key]) -> None:
        for key in presents:
            if key in differing:
                self.reporter.want(key, judged.maker(key))
            else:
                self.reporter.drop(key)

    async def _aside(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """In a thread, so that Lease and probes are served meanwhile; in one, so that its memory is used again."""
        call = functools.partial(work, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _forget(self, namespace: str) -> None:
        self._memory.pop(namespace, None)
        self._owned.forget(namespace)
        self._secrets.forget(namespace)
        self._telemetry.conflict(namespace, False)
        self._telemetry.config_bytes(namespace, None)

    def _tell(self, memory: _Memory, namespace: str, what: str) -> None:
        if what != memory.told:
            memory.told = what
            logger.warning("namespace %s: %s", namespace, what or "all is well again")

    def _explain(self, namespace: str, error: Exception) -> float | None:
        if isinstance(error, NotLeadingError):
            return None
        if isinstance(error, ApiError) and error.stale:
            return None
        memory = self._memory.setdefault(namespace, _Memory())
        if isinstance(error, ApiError):
            self._tell(memory, namespace, str(error))
            return error.retry_after_seconds
        what = "the config that was made cannot be read" if isinstance(error, InvalidConfigError) else "it failed"
        logger.error("namespace %s: %s", namespace, what, exc_info=error)
        return None


def _pending(why: str) -> Said:
    return Said("Unknown", PENDING, f"its config could not be written yet: {why}")
