"""Asks providers of its own accord whether they are well, where they say so (B38).

One check at a time and provider, over the connections that requests use. What it finds goes to the health of all
targets of that provider; clients, logs and traces of requests see nothing of it.
"""

from collections.abc import Callable

from modelpool_sidecar.core.checking import MAX_BODY_BYTES, Check
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Pool, Provider, Snapshot, Target
from modelpool_sidecar.core.state import State
from modelpool_sidecar.dialects.openai_headers import check_headers
from modelpool_sidecar.ports import Attempt, Clock, Credentials, ErrorKind, Headers, Timer, Upstream, UpstreamRequest

_CUT: frozenset[ErrorKind] = frozenset({"malformed", "cut"})
"""Somebody was reached."""


class ActiveChecks:
    """All checks of the snapshot in force. `on_checked` hears the provider's name and the outcome of each."""

    def __init__(
        self,
        upstream: Upstream,
        credentials: Credentials,
        clock: Clock,
        rng: Callable[[], float],
        state: State,
        on_checked: Callable[[str, str], None],
    ) -> None:
        self.upstream, self.credentials, self.clock, self.rng = upstream, credentials, clock, rng
        self._state, self._on_checked = state, on_checked
        self._running: dict[str, _Running] = {}

    def __repr__(self) -> str:
        return f"<ActiveChecks of {', '.join(self._running) or 'nobody'}>"

    def take(self, snapshot: Snapshot) -> None:
        """Check what it asks for: providers that some pool sends requests to. What did not change goes on."""
        wanted: dict[str, dict[tuple[str, ...], Target]] = {}
        for pool in snapshot.pools.values():
            for target in pool.targets.values() if isinstance(pool, Pool) else ():
                if target.provider.check is not None and not target.provider.drained:
                    wanted.setdefault(target.provider.name, {})[target.key] = target
        for name, running in list(self._running.items()):
            if name not in wanted or snapshot.providers[name] != running.provider:
                self._running.pop(name).stop()
        for name, targets in wanted.items():
            found, provider = self._running.get(name), snapshot.providers[name]
            if found is None:
                assert provider.check is not None, "it is wanted"
                found = self._running[name] = _Running(self, provider, provider.check)
            found.targets = tuple(targets.values())

    def close(self) -> None:
        """Check nobody any more; twice is fine."""
        for running in self._running.values():
            running.stop()
        self._running.clear()

    def checked(self, running: "_Running", outcome: Outcome) -> None:
        """One is over."""
        now = self.clock.now()
        for target in running.targets:
            self._state.health(target).checked(outcome, now, self.rng, running.check.hold)
        self._on_checked(running.provider.name, outcome.value)


class _Running:
    """The checks of one provider: waiting, or the Sink of the one that is on its way."""

    def __init__(self, owner: ActiveChecks, provider: Provider, check: Check) -> None:
        self.provider, self.check = provider, check
        self.targets: tuple[Target, ...] = ()
        self._owner = owner
        self._attempt: Attempt | None = None
        self._fresh = False
        self._found = Outcome.FAILED
        self._read = 0
        self._timer: Timer = owner.clock.call_later(check.first(owner.rng()), self._due)

    def stop(self) -> None:
        """No more of it; one that is on its way is dropped."""
        self._timer.cancel()
        self._drop()

    def _due(self) -> None:
        credentials = self._owner.credentials
        if any(credentials.get(secret.credential) is None for secret in self.provider.secrets):
            self._wait()  # nobody is asked there until the key is mounted (B50)
            return
        self._timer = self._owner.clock.call_later(self.check.timeout, self._too_late)
        self._start(fresh=False)

    def _start(self, *, fresh: bool) -> None:
        self._fresh, self._read = fresh, 0
        headers = check_headers(self.provider, self._owner.credentials.get)
        self._attempt = self._owner.upstream.attempt(self.provider.name, self.provider.idle_timeout)
        connect = min(self.provider.timeouts.connect, self.check.timeout)
        self._attempt.start(UpstreamRequest("GET", self.check.url, headers, b"", connect, fresh), self)

    def _wait(self) -> None:
        self._timer = self._owner.clock.call_later(self.check.next(self._owner.rng()), self._due)

    def _too_late(self) -> None:
        self._over(Outcome.TIMED_OUT)

    def _over(self, outcome: Outcome) -> None:
        self._timer.cancel()
        self._drop()
        self._wait()
        self._owner.checked(self, outcome)

    def _drop(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()

    # -- ports.Sink

    def head(self, status: int, headers: Headers) -> None:
        """The answer begins."""
        self._found = self.check.judge(status)

    def data(self, data: bytes) -> None:
        """Read and forgotten."""
        self._read += len(data)
        if self._read > MAX_BODY_BYTES:
            self._over(self._found)

    def end(self) -> None:
        """The answer is complete."""
        self._attempt = None
        self._over(self._found)

    def error(self, kind: ErrorKind, detail: str) -> None:
        """It failed. A connection that had been closed while it was kept says nothing of the provider."""
        self._attempt = None
        if kind == "stale" and not self._fresh:
            self._start(fresh=True)
        else:
            self._over(Outcome.BROKEN if kind in _CUT else Outcome.UNREACHABLE)
