"""What the process gets from its environment at the start: where to listen, what to read, how to end."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA_PORT = 4891
_LOOPBACK = ("127.0.0.1", "::1")
LOG_LEVELS = ("debug", "info", "warning", "error")
_DURATION = re.compile(r"(?:(\d{1,5})h)?(?:(\d{1,5})m(?!s))?(?:(\d{1,5})s)?(?:(\d{1,5})ms)?")
_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://.*")
"""A Service named `modelpool` makes Kubernetes set MODELPOOL_PORT to its address, in every pod of the namespace."""


class SettingsError(ValueError):
    """A variable that cannot be used; the message names it, its value and what would be right."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`port` is the data port; the probes' and the loopback admin port are the next two. 0 = any free ones."""

    config_dir: Path = Path("/etc/modelpool")
    data_hosts: tuple[str, ...] = _LOOPBACK
    port: int = DATA_PORT
    admin_host: str = "127.0.0.1"
    """Where /livez, /readyz, /metrics and /-/digest are served: the pod's address in a cluster."""
    local_hosts: tuple[str, ...] = _LOOPBACK
    drain_seconds: float = 25.0
    log_level: str = "info"

    @property
    def admin_port(self) -> int:
        """4892 by default."""
        return self.port + 1 if self.port else 0

    @property
    def local_port(self) -> int:
        """4893 by default."""
        return self.port + 2 if self.port else 0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Every variable is optional; an empty one counts as absent. Raises SettingsError."""
        port = env.get("MODELPOOL_PORT", "")
        if _SERVICE_LINK.fullmatch(port):
            port = ""
        default = cls()
        return cls(
            config_dir=Path(env.get("MODELPOOL_CONFIG_DIR") or default.config_dir),
            port=_port("MODELPOOL_PORT", port) if port else default.port,
            admin_host=_host("MODELPOOL_ADMIN_HOST", env.get("MODELPOOL_ADMIN_HOST") or default.admin_host),
            drain_seconds=_seconds("MODELPOOL_DRAIN", env.get("MODELPOOL_DRAIN") or f"{default.drain_seconds:.0f}s"),
            log_level=_log_level("MODELPOOL_LOG_LEVEL", env.get("MODELPOOL_LOG_LEVEL") or default.log_level),
        )


def _port(name: str, value: str) -> int:
    if value.isascii() and value.isdigit() and int(value) <= 65533:
        return int(value)
    raise SettingsError(f"{name}={value!r}: must be a port from 1 to 65533 (the next two are used too), or 0 for any")


def _host(name: str, value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise SettingsError(f"{name}={value!r}: must be an IP address to listen on, like 127.0.0.1 or ::") from None


def _seconds(name: str, value: str) -> float:
    match = _DURATION.fullmatch(value)
    if value and match is not None:
        hours, minutes, seconds, milliseconds = (int(part or 0) for part in match.groups())
        return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    raise SettingsError(f"{name}={value!r}: must be a duration, like 25s or 1m30s")


def _log_level(name: str, value: str) -> str:
    if value.lower() in LOG_LEVELS:
        return value.lower()
    raise SettingsError(f"{name}={value!r}: must be one of {', '.join(LOG_LEVELS)}")
