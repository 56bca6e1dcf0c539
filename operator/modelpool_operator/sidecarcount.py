"""How many sidecars a namespace is said to have, for limits that are divided among them (B13).

More sidecars are told at once: until they hear of each other, they admit too much together. Fewer are told only when
the number has stayed below for a minute, so that a rollout, which takes old pods away and brings new ones, writes the
config once or twice and not once for each pod.
"""

from dataclasses import dataclass

SHRINK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Count:
    """`told`: the published number. `most`: the largest seen since `since`, while all were below `told`."""

    told: int
    most: int = 0
    since: float | None = None


def counted(count: Count, pods: int, now: float) -> Count:
    """The count after `pods` were seen at `now` (seconds, monotonic); at least 1 is told."""
    seen = max(1, pods)
    if seen >= count.told:
        return Count(seen)
    if count.since is None:
        return Count(count.told, seen, now)
    most = max(count.most, seen)
    if now >= count.since + SHRINK_SECONDS:
        return Count(most) if seen == most else Count(most, seen, now)
    return Count(count.told, most, count.since)


def due(count: Count) -> float | None:
    """When to look again though no pod came or went; None where nothing waits."""
    return None if count.since is None else count.since + SHRINK_SECONDS
