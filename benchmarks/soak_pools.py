"""What the soak's pools are: all that a pool can do, together, with other numbers in each config."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from builders import a_chain, a_pool, a_pool_target, a_target
from conformance.house import CALLERS
from modelpool_config import models as contract

TOTAL = 4_000
NAMES = ("chat", "steady", "spare", "whole", "kept", "hedged", "nested", "deep", "keyed", "adapting")
"""The models that clients ask for."""
ENTRIES, BYTES = 20, 1 << 16
"""Of each cache at most."""


def drawn(rng: random.Random) -> Sequence[contract.Pool]:
    """A config's pools. `chat` loses and regains targets, `nested` its inner pool; `deep` is a pool of these pools."""
    names = ["primary", "backup", "spare"]
    chat = [a_target(name, weight=rng.randint(1, 5)) for name in names[: rng.choice((1, 2, 2, 3))]]
    steady = [a_target("primary"), a_target("backup", priority=1)]
    queue = {"concurrency": {"max": rng.choice((8, 64)), "queue": {"max": 8, "timeout": 500}}}
    hedging = {"percentile": None, "delay": rng.choice((5, 50)), "max_percent": 50}
    early = {"head_hold": rng.choice((0, 100)), "keep_alive": 100}
    complete = {"commit": "Complete", **early}
    both = ("Continue", "Replay")
    nested = [a_pool_target("steady"), a_pool_target("chat", "others", priority=1)]
    adaptive = [{**target, "limits": {"concurrency": {"max": 16, "mode": "Adaptive"}}} for target in steady]
    return [
        a_pool("chat", chat, total=TOTAL, limits=queue, hedging=hedging),
        a_pool("steady", steady, total=TOTAL, recovery=both),
        a_pool("spare", [a_target("spare")], total=TOTAL, limits=_spent(rng), streaming=early),
        a_pool("whole", steady, total=TOTAL, streaming=complete, hedging=rng.choice((None, hedging))),
        a_pool("kept", steady, total=TOTAL, cache=_cache()),
        a_pool("hedged", steady, total=TOTAL, hedging=hedging, recovery=both, streaming=early),
        a_chain("nested", *nested[: rng.choice((1, 2))], a_target("spare", priority=2), total=TOTAL, recovery=both),
        a_chain(
            "deep",
            a_pool_target("nested", weight=rng.randint(1, 5)),
            a_pool_target("keyless", weight=rng.randint(1, 5)),
            total=TOTAL,
            limits=queue,
            hedging=hedging,
            cache=_cache(),
        ),
        a_pool("keyless", steady, total=TOTAL, limits=_spent(rng)),
        a_pool("keyed", steady, total=TOTAL, callers=_callers(rng)),
        a_pool("adapting", adaptive, total=TOTAL, streaming=rng.choice((complete, early))),
    ]


def _cache() -> Mapping[str, Any]:
    return {"ttl": 500, "max_entries": ENTRIES, "max_bytes": BYTES, "temperature": "Any"}


def _spent(rng: random.Random) -> Mapping[str, Any]:
    """A limit that is sometimes there."""
    if rng.random() < 0.5:
        return {}
    limit = {"name": "all", "max": 100, "per": 1_000, "burst": 100, "scope": "Sidecar"}
    return {"requests": (limit,)}


def _callers(rng: random.Random) -> Mapping[str, Any]:
    few = {"name": "few", "max": 5, "per": 1_000, "burst": 5, "scope": "Sidecar"}
    limits = {"requests": (few,), "concurrency": {"max": rng.choice((2, 8))}}
    return {**CALLERS, "entries": ({"name": "alice", "limits": limits},)}
