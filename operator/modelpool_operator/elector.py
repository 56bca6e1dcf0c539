"""Who leads: the holder of a Lease, and nobody else (client-go's protocol: 15, 10 and 2 seconds).

The Lease's times are never compared with our clock: what counts is for how long we have seen it unchanged. We believe
in our own hold for ten seconds from before the renewal that succeeded; a write that begins then is given up after four
and a half (`kube.WRITE`), so that it has ended before anybody else can hold the Lease.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from modelpool_operator import paths
from modelpool_operator.kube import ApiError, Kube

LEASE_SECONDS = 15
HOLD_SECONDS = 10.0
RETRY_SECONDS = 2.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Elector:
    """Competes for one Lease. `heard`: when the API server answered last (seconds of the loop's clock)."""

    kube: Kube
    namespace: str
    name: str
    identity: str
    clock: Callable[[], float]
    heard: float | None = None
    _seen: tuple[object, ...] = ()
    _seen_at: float = 0.0
    _until: float = float("-inf")
    _taken: int = 0
    """How often the Lease became ours from somebody else."""
    _told: str = ""

    @property
    def held(self) -> bool:
        """Whether the Lease is surely ours now."""
        return self.clock() < self._until

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Lead whenever the Lease is ours, until cancelled. `lead` is cancelled and awaited before the Lease goes."""
        while True:
            await self._acquire()
            logger.info("leading as %s", self.identity)
            leading = asyncio.ensure_future(lead())
            try:
                await self._hold(leading)
            finally:
                await self._end(leading)
            _tell_of(leading)
            # Others get their turn where it was our own fault.
            await asyncio.sleep(RETRY_SECONDS)

    async def _acquire(self) -> None:
        told = ""
        while not await self._attempt():
            holder = self._seen[0] if self._seen else ""
            if holder and holder != told:
                logger.info("standing by: %s leads", holder)
                told = str(holder)
            await asyncio.sleep(RETRY_SECONDS)

    async def _hold(self, leading: "asyncio.Future[None]") -> None:
        taken = self._taken
        while not leading.done():
            await asyncio.wait({leading}, timeout=RETRY_SECONDS)
            if leading.done():
                return
            if not await self._attempt() and not self.held:
                logger.warning("the Lease could not be renewed for %.0f s: not leading any more", HOLD_SECONDS)
                return
            if self._taken != taken:
                logger.warning("somebody else held the Lease meanwhile: what is known is too old to lead on")
                return

    async def _end(self, leading: "asyncio.Future[None]") -> None:
        """Cancel what leads, await it however often we are cancelled meanwhile, and give the Lease up."""
        leading.cancel()
        cancelled = False
        while not leading.done():
            try:
                await asyncio.wait({leading})
            except asyncio.CancelledError:
                cancelled = True
        await self._release()
        if cancelled:
            raise asyncio.CancelledError

    async def _attempt(self) -> bool:
        """Take or renew the Lease once; whether that succeeded."""
        began = self.clock()
        try:
            won = await self._take()
        except ApiError as error:
            if error.status:
                self.heard = began
            if not error.stale:
                self._tell(str(error))
            return False
        self._tell("")
        self.heard = began
        self._until = began + HOLD_SECONDS if won else float("-inf")
        return won

    async def _take(self) -> bool:
        path = f"{paths.leases(self.namespace)}/{self.name}"
        try:
            lease = await self.kube.elect("GET", path, None, RETRY_SECONDS)
        except ApiError as error:
            if not error.absent:
                raise
            if self._seen and self._seen[0] != self.identity and self.clock() - self._seen_at < LEASE_SECONDS:
                # Somebody deleted it, and not its holder, who believes in it for a while.
                return False
            await self.kube.elect("POST", paths.leases(self.namespace), self._new(), RETRY_SECONDS)
            return True
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        seen = (holder, spec.get("renewTime"), lease["metadata"].get("resourceVersion"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, self.clock()
        mine = holder == self.identity
        lasting = spec.get("leaseDurationSeconds") or LEASE_SECONDS
        if holder and not mine and self.clock() - self._seen_at < lasting:
            return False
        lease["spec"] = self._spec(spec, changes=not mine)
        await self.kube.elect("PUT", path, lease, RETRY_SECONDS)
        self._taken += not mine
        return True

    async def _release(self) -> None:
        """Give the Lease up at once, where it is surely ours; failing that, it runs out by itself."""
        if not self.held:
            return
        path = f"{paths.leases(self.namespace)}/{self.name}"
        with contextlib.suppress(ApiError):
            lease = await self.kube.elect("GET", path, None, RETRY_SECONDS)
            if (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
                self._until = float("-inf")
                await self.kube.elect("PUT", path, lease, RETRY_SECONDS)
        self._until = float("-inf")

    def _tell(self, fault: str) -> None:
        """Say what is wrong with the Lease once, and not every two seconds."""
        if fault and fault != self._told:
            logger.warning("the Lease %s/%s cannot be taken: %s", self.namespace, self.name, fault)
        self._told = fault

    def _new(self) -> dict[str, Any]:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": self._spec({"leaseTransitions": -1}, changes=True),
        }

    def _spec(self, before: dict[str, Any], *, changes: bool) -> dict[str, Any]:
        spec = {
            **before,
            "holderIdentity": self.identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": _now(),
        }
        if changes:
            spec["acquireTime"] = spec["renewTime"]
            spec["leaseTransitions"] = (before.get("leaseTransitions") or 0) + 1
        return spec


def _tell_of(leading: "asyncio.Future[None]") -> None:
    if not leading.cancelled() and (error := leading.exception()) is not None:
        logger.error("leading failed, and is tried again: %s", error, exc_info=error)


def _now() -> str:
    """As MicroTime is written."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
