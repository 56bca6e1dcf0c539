"""Whether a pool's streams can be recovered as it asks: fields that would do nothing are named (B26)."""

from collections.abc import Iterator

from modelpool_operator.api.modelpool import ModelPoolSpec
from modelpool_operator.checks.finding import Finding, repeated

PATH = ("spec", "streaming", "recovery")
AFTER = ("Stalled", "Broken")
"""What becomes of a stream in its middle."""


def recovery_that_cannot_be(spec: ModelPoolSpec) -> Iterator[Finding]:
    """A way that stands twice, and a recovery that the same pool makes needless or forbids."""
    ways = (spec.streaming.recovery if spec.streaming else None) or ()
    yield from repeated(PATH, ways)
    if not ways:
        return
    if spec.streaming is not None and spec.streaming.commit == "Complete":
        yield Finding(PATH, "must not be set where commit is Complete: nothing goes out before the answer is whole")
    fallback = spec.fallback
    if fallback is None:
        return
    if fallback.outcomes is not None and not any(outcome in fallback.outcomes for outcome in AFTER):
        yield Finding(
            PATH, "must not be set where fallback.outcomes names neither Stalled nor Broken: it would do nothing"
        )
    if fallback.max_attempts == 1:
        yield Finding(PATH, "must not be set where fallback.maxAttempts is 1: it takes a second attempt")
