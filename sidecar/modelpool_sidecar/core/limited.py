"""How a client is told that a limit lets nothing more in for now: which one, and when it opens (B12)."""

from modelpool_sidecar.core.limits import Limited
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.snapshot import Pool


def refused(pool: Pool, limited: Limited, caller: str | None) -> Refusal:
    """429 in our own name: which limit, and the earliest moment at which it opens (B12)."""
    wait = f"try again in {limited.retry_after:.1f} s"
    if limited.kind == "concurrency" and limited.own:
        message = f"pool {pool.name}: caller {caller} has {limited.max} requests in flight, which is its limit; {wait}"
        return Refusal("concurrency_exceeded", message, retry_after=limited.retry_after, headers=limited.headers)
    if limited.kind == "concurrency" and limited.level == "target":
        message = f"pool {pool.name}: every target has as many in flight as it may, and {limited.waiting} wait; {wait}"
        return Refusal("concurrency_exceeded", message, retry_after=limited.retry_after, headers=limited.headers)
    if limited.kind == "concurrency":
        queue = f", and {limited.waiting} wait" if limited.waiting else ""
        message = f"pool {pool.name}: {limited.max} requests are in flight, which is its limit{queue}; {wait}"
        return Refusal("concurrency_exceeded", message, retry_after=limited.retry_after, headers=limited.headers)
    values = f" for this value of {limited.header}" if limited.header else ""
    values = f" for caller {caller}" if limited.own and caller is not None else values
    if limited.never:
        message = (
            f"pool {pool.name}: the request is for about {limited.asked} tokens, and the limit {limited.limit!r} lets "
            f"at most {limited.max} come at once{values}; send less"
        )
        return Refusal("tokens_above_limit", message, headers=limited.headers)
    asked = f" for about {limited.asked}" if limited.kind == "tokens" else ""
    what = f"the limit {limited.limit!r} of {limited.max} {limited.kind}"
    message = f"pool {pool.name}: {what} is reached{values}{asked}; {wait}"
    return Refusal("rate_limit_exceeded", message, retry_after=limited.retry_after, headers=limited.headers)
