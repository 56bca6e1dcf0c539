"""What the operator gets from its environment at the start: who it is, what it watches, where it is probed."""

import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]{1,9}")
_LOG_LEVELS = ("debug", "info", "warning", "error")


class SettingsError(ValueError):
    """A variable that cannot be used; the message names it, its value and what would be right."""


@dataclass(frozen=True, slots=True)
class Instance:
    """Which installation this is: what it writes carries this name, and another instance's objects are left alone."""

    namespace: str
    release: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.release}"

    @property
    def lease(self) -> str:
        """The Lease that the replicas of this instance compete for, in its own namespace."""
        return f"{self.release}-operator"


@dataclass(frozen=True, slots=True)
class Settings:
    """`watch_namespaces` empty = the whole cluster; `kubeconfig` None = in a cluster; `identity`: the holder."""

    instance: Instance = Instance("modelpool-system", "modelpool")
    watch_namespaces: tuple[str, ...] = ()
    host: str = "0.0.0.0"  # noqa: S104 - the probes come from the node, and nothing secret is served
    port: int = 8080
    identity: str = field(default_factory=lambda: f"{socket.gethostname()}_{secrets.token_hex(4)}")
    log_level: str = "info"
    kubeconfig: str | None = None
    resync_seconds: float = 300.0
    """How often everything is listed anew, give or take a tenth."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Every variable is optional; an empty one counts as absent. Raises SettingsError."""
        default = cls()
        host, port = _listen(env.get("MODELPOOL_LISTEN") or f"{default.host}:{default.port}")
        return cls(
            instance=_instance(env.get("MODELPOOL_INSTANCE") or str(default.instance)),
            watch_namespaces=_namespaces(env.get("MODELPOOL_WATCH_NAMESPACES") or ""),
            host=host,
            port=port,
            identity=env.get("MODELPOOL_IDENTITY") or default.identity,
            log_level=_log_level(env.get("MODELPOOL_LOG_LEVEL") or default.log_level),
            kubeconfig=env.get("KUBECONFIG") or None,
            resync_seconds=_seconds(env.get("MODELPOOL_RESYNC_SECONDS") or f"{default.resync_seconds:.0f}"),
        )


def _instance(value: str) -> Instance:
    namespace, slash, release = value.partition("/")
    if slash and _LABEL.fullmatch(namespace) and _LABEL.fullmatch(release):
        return Instance(namespace, release)
    raise SettingsError(f"MODELPOOL_INSTANCE={value!r}: must be NAMESPACE/RELEASE, like modelpool-system/modelpool")


def _namespaces(value: str) -> tuple[str, ...]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    for name in names:
        if not _LABEL.fullmatch(name):
            raise SettingsError(
                f"MODELPOOL_WATCH_NAMESPACES={value!r}: must be names of namespaces with commas between, not {name!r}"
            )
    return tuple(dict.fromkeys(names))


def _listen(value: str) -> tuple[str, int]:
    host, colon, port = value.rpartition(":")
    if colon and _NUMBER.fullmatch(port) and int(port) <= 65_535:
        return host.strip("[]"), int(port)
    raise SettingsError(f"MODELPOOL_LISTEN={value!r}: must be HOST:PORT, like 0.0.0.0:8080 or [::]:8080")


def _log_level(value: str) -> str:
    if value.lower() in _LOG_LEVELS:
        return value.lower()
    raise SettingsError(f"MODELPOOL_LOG_LEVEL={value!r}: must be one of {', '.join(_LOG_LEVELS)}")


def _seconds(value: str) -> float:
    if _NUMBER.fullmatch(value) and 1 <= int(value) <= 86_400:
        return float(value)
    raise SettingsError(f"MODELPOOL_RESYNC_SECONDS={value!r}: must be whole seconds from 1 to 86400")
