"""On what this was measured: facts that explain figures, none that name the machine or its user."""

import os
import platform
import sysconfig
from pathlib import Path


def facts() -> dict[str, str | int]:
    usable = len(os.sched_getaffinity(0))
    return {
        "cpu": _cpu(),
        "cores": usable,
        "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_000_000,
        "system": platform.system(),
        "kernel": ".".join(platform.release().split("-")[0].split(".")[:2]),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "python_build": "optimised" if _profiled() else "plain",
    }


def busy() -> float:
    """How many processes wanted to run in the last minute: a loaded neighbour spoils every figure."""
    return os.getloadavg()[0]


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown"


def _profiled() -> bool:
    """Whether this interpreter was built with profile-guided optimisation: about a fifth less CPU."""
    return "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
