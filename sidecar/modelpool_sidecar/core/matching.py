"""Which of a pool's targets a request may be sent to, by the headers that it carries (`targets[].match.headers`)."""

from modelpool_sidecar.core.needs import Tiers
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Headers
from modelpool_sidecar.core.snapshot import Pool, Target


def tiers(pool: Pool, headers: Headers, within: Tiers | None = None) -> Tiers | Refusal:
    """The candidates by priority, without the tiers that are empty then; a refusal where nobody is left.

    A target without `match` takes every request; one with it only those that carry each of its headers: names without
    case, values exactly. `within`: the only ones that may be asked.
    """
    whole = pool.tiers if within is None else within
    if not pool.conditional:
        return whole
    left = tuple(
        kept
        for tier in whole
        if (kept := tuple(target for target in tier if all(map(headers.__contains__, target.match))))
    )
    return left or _nobody(pool, [target for tier in whole for target in tier])


def _nobody(pool: Pool, wanting: list[Target]) -> Refusal:
    """Names only: a value may be what one tenant knows and another does not."""
    asks = "; ".join(f"{target.name} {asked(target)}" for target in wanting)
    message = f"pool {pool.name}: no target takes a request with these headers: {asks}, each with a value of its own"
    return Refusal("no_matching_target", message)


def asked(target: Target) -> str:
    """Which headers it wants, as the end of a sentence: their names only."""
    return f"asks for {' and '.join(name for name, _ in target.match)}"
