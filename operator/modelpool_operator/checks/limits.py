"""What is wrong with limits, wherever they stand."""

from collections.abc import Iterator, Sequence

from modelpool_operator.api.callers import CallerLimits, CallerRequestLimit
from modelpool_operator.api.limits import AttemptLimits, Limits, RequestLimit
from modelpool_operator.checks import headers
from modelpool_operator.checks.finding import Finding, repeated
from modelpool_operator.problems import Path


def judge(path: Path, limits: Limits | AttemptLimits | None) -> Iterator[Finding]:
    """Of one object, whose limits stand at this place."""
    if limits is not None:
        yield from _entries((*path, "requests"), limits.requests or ())
        yield from _entries((*path, "tokens"), limits.tokens or ())


def lists(
    path: Path, limits: Limits | AttemptLimits | CallerLimits | None
) -> Iterator[tuple[Path, Sequence[RequestLimit | CallerRequestLimit]]]:
    """The lists of one object's limits, each with its place."""
    if limits is not None:
        yield (*path, "requests"), limits.requests or ()
        yield (*path, "tokens"), limits.tokens or ()


def _entries(path: Path, limits: Sequence[RequestLimit]) -> Iterator[Finding]:
    """A name that stands twice; a header that nobody reads, that is missing, or that would hold a credential."""
    yield from repeated(path, (limit.name for limit in limits), "name")
    for index, limit in enumerate(limits):
        place = (*path, index, "header")
        if limit.by == "Header" and limit.header is None:
            yield Finding(place, "is required where by is Header")
        if limit.by != "Header" and limit.header is not None:
            yield Finding(place, "does nothing where by is not Header")
        if limit.header is not None and limit.header.lower() in headers.CREDENTIAL:
            yield Finding(place, f"must not be {limit.header}: its value is a credential, and is not kept")
