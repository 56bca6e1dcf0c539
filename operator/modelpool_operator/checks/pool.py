"""Whether a ModelPool makes sense, as far as it can be said without looking at anything else."""

from collections.abc import Callable, Iterator

from modelpool_operator import durations
from modelpool_operator.api.limits import AttemptLimits, Limits, RequestLimit
from modelpool_operator.api.modelpool import ModelPool, ModelPoolSpec
from modelpool_operator.api.types import shown
from modelpool_operator.checks import headers, limits, parameters, recovery
from modelpool_operator.checks.finding import Finding, repeated
from modelpool_operator.problems import Path, Problem

Check = Callable[[ModelPoolSpec], Iterator[Finding]]


def judge(pool: ModelPool) -> tuple[Problem, ...]:
    """All that is wrong with it."""
    key = ("ModelPool", pool.metadata.namespace, pool.metadata.name)
    return tuple(finding.problem(key) for check in CHECKS for finding in check(pool.spec))


def target_does_not_fit(spec: ModelPoolSpec) -> Iterator[Finding]:
    """A target is at a Provider or is a pool; what would be ignored in a pool is refused."""
    for index, target in enumerate(spec.targets):
        path: Path = ("spec", "targets", index)
        if (target.provider_ref is None) == (target.pool_ref is None):
            yield Finding(path, "must have exactly one of providerRef and poolRef")
        elif target.pool_ref is not None and target.model is not None:
            yield Finding((*path, "model"), "must not be set beside poolRef: the targets of that pool say it")
        at_once = target.limits.concurrency if target.limits else None
        if target.pool_ref is not None and at_once is not None and at_once.mode == "Adaptive":
            text = "must not be Adaptive beside poolRef: what a model bears is found out where it is asked"
            yield Finding((*path, "limits", "concurrency", "mode"), text)


def every_weight_is_zero(spec: ModelPoolSpec) -> Iterator[Finding]:
    """No target could ever be chosen (B2)."""
    if all(target.weight == 0 for target in spec.targets):
        yield Finding(("spec", "targets"), "must have at least one weight above 0: with 0 everywhere nothing is chosen")


def star_inside_a_name(spec: ModelPoolSpec) -> Iterator[Finding]:
    """`*` is a prefix match and stands at the end (B7); an upstream model is one model."""
    for index, model in enumerate(spec.models or ()):
        if "*" in model.name[:-1]:
            yield Finding(("spec", "models", index, "name"), f"must have * only at its end, not {shown(model.name)}")
    for index, target in enumerate(spec.targets):
        if target.model is not None and "*" in target.model:
            text = "must name one model; * stands only in models. Leave model out to send the name that was asked for"
            yield Finding(("spec", "targets", index, "model"), text)


def name_stands_twice(spec: ModelPoolSpec) -> Iterator[Finding]:
    """Lists by name, and sets."""
    yield from repeated(("spec", "models"), (model.name for model in spec.models or ()), "name")
    yield from repeated(("spec", "targets"), (target.name for target in spec.targets), "name")
    for index, target in enumerate(spec.targets):
        asked = (header.name for header in target.match.headers) if target.match else ()
        yield from repeated(("spec", "targets", index, "match", "headers"), asked, "name", fold=True)
    if spec.fallback:
        yield from repeated(("spec", "fallback", "outcomes"), spec.fallback.outcomes or ())
        yield from repeated(("spec", "fallback", "statuses"), spec.fallback.statuses or ())
        pools = spec.fallback.pools or ()
        yield from repeated(("spec", "fallback", "pools"), (each.when for each in pools), "when")
        for index, each in enumerate(pools):
            path = ("spec", "fallback", "pools", index, "poolRefs")
            yield from repeated(path, (ref.name for ref in each.pool_refs), "name")


def limit_does_not_fit(spec: ModelPoolSpec) -> Iterator[Finding]:
    """The pool's and the targets'."""
    yield from limits.judge(("spec", "limits"), spec.limits)
    at_once = spec.limits.concurrency if spec.limits else None
    if at_once is not None and at_once.mode == "Adaptive":
        text = "must be Fixed: what is found out is what a target or a Provider bears, so Adaptive stands there"
        yield Finding(("spec", "limits", "concurrency", "mode"), text)
    for index, target in enumerate(spec.targets):
        yield from limits.judge(("spec", "targets", index, "limits"), target.limits)


def backoff_above_its_cap(spec: ModelPoolSpec) -> Iterator[Finding]:
    """A first wait that is longer than the longest one."""
    same = spec.fallback.same_target if spec.fallback else None
    first, most = (same.backoff.initial, same.backoff.max) if same and same.backoff else (None, None)
    if first is not None and most is not None and durations.parse(first) > durations.parse(most):
        path = ("spec", "fallback", "sameTarget", "backoff", "initial")
        yield Finding(path, f"must be at most max ({most}), not {first}")


def retries_beyond_the_attempts(spec: ModelPoolSpec) -> Iterator[Finding]:
    """More repeats than `maxAttempts` allows would silently not happen."""
    fallback = spec.fallback
    if fallback is None or fallback.max_attempts is None or fallback.same_target is None:
        return
    retries = fallback.same_target.retries or 0
    if retries >= fallback.max_attempts:
        text = f"must be below maxAttempts ({fallback.max_attempts}), which counts the first attempt too, not {retries}"
        yield Finding(("spec", "fallback", "sameTarget", "retries"), text)


def parameter_out_of_place(spec: ModelPoolSpec) -> Iterator[Finding]:
    """What cannot be put into a request, or is not a parameter's to change (B40)."""
    yield from parameters.judge(spec)


def match_on_a_credential(spec: ModelPoolSpec) -> Iterator[Finding]:
    """A key that everybody can read who can read the pool. The sentence never repeats it."""
    for index, target in enumerate(spec.targets):
        for place, header in enumerate(target.match.headers if target.match else ()):
            if header.name.lower() in headers.CREDENTIAL:
                path = ("spec", "targets", index, "match", "headers", place, "name")
                yield Finding(path, f"must not be {header.name}: its value is a credential, and no secret here")


def hash_does_not_fit(spec: ModelPoolSpec) -> Iterator[Finding]:
    """A key that nobody hashes, a strategy without its key, or a header that nobody reads."""
    strategy = spec.strategy
    if strategy is None:
        return
    hashed, path = strategy.consistent_hash, ("spec", "strategy", "consistentHash")
    if hashed is None:
        if strategy.type == "ConsistentHash":
            yield Finding(path, "is required where strategy.type is ConsistentHash")
        return
    if strategy.type != "ConsistentHash":
        yield Finding(path, "does nothing where strategy.type is not ConsistentHash")
    if hashed.by == "Header" and hashed.header is None:
        yield Finding((*path, "header"), "is required where by is Header")
    if hashed.by != "Header" and hashed.header is not None:
        yield Finding((*path, "header"), "does nothing where by is not Header")


def callers_do_not_fit(spec: ModelPoolSpec) -> Iterator[Finding]:
    """Names that stand twice; what is divided by callers in a pool that knows none."""
    path: Path = ("spec", "callers", "entries")
    entries = (spec.callers.entries if spec.callers else None) or ()
    yield from repeated(path, (entry.name for entry in entries), "name")
    for index, entry in enumerate(entries):
        for kind, own in limits.lists((*path, index, "limits"), entry.limits):
            yield from repeated(kind, (limit.name for limit in own), "name")
    if spec.callers is not None:
        return
    why = "must not be Caller in a pool without callers: nobody has a name there"
    hashed = spec.strategy.consistent_hash if spec.strategy else None
    if hashed is not None and hashed.by == "Caller":
        yield Finding(("spec", "strategy", "consistentHash", "by"), why)
    each: list[tuple[Path, Limits | AttemptLimits | None]] = [(("spec", "limits"), spec.limits)]
    each += [(("spec", "targets", index, "limits"), target.limits) for index, target in enumerate(spec.targets)]
    for place, limited in each:
        for kind, own in limits.lists(place, limited):
            for index, limit in enumerate(own):
                if isinstance(limit, RequestLimit) and limit.by == "Caller":
                    yield Finding((*kind, index, "by"), why)


def hedging_does_not_fit(spec: ModelPoolSpec) -> Iterator[Finding]:
    """Two ways to say when, or none; nobody else to ask, or no second attempt (B23)."""
    hedging, path = spec.hedging, ("spec", "hedging")
    if hedging is None:
        return
    if (hedging.percentile is None) == (hedging.delay is None):
        yield Finding(path, "must have exactly one of percentile and delay")
    if len(spec.targets) == 1 and spec.targets[0].pool_ref is None:
        yield Finding(path, "must not be set in a pool with one target: there is no second one to ask")
    if spec.fallback is not None and spec.fallback.max_attempts == 1:
        yield Finding(path, "must not be set where fallback.maxAttempts is 1: the second request is an attempt, too")


def stateful_at_no_target(spec: ModelPoolSpec) -> Iterator[Finding]:
    """Files and ids live at one of the pool's own targets (B20a)."""
    if spec.stateful is None:
        return
    names = [target.name for target in spec.targets if target.pool_ref is None]
    if spec.stateful.target not in names:
        is_pool = any(target.name == spec.stateful.target for target in spec.targets)
        why = ", which is a pool: what is kept stays at one Provider" if is_pool else ""
        known = f"({', '.join(names)})" if names else "with providerRef, of which there is none"
        text = f"must name one of the targets {known}, not {shown(spec.stateful.target)}{why}"
        yield Finding(("spec", "stateful", "target"), text)


CHECKS: tuple[Check, ...] = (
    target_does_not_fit,
    every_weight_is_zero,
    star_inside_a_name,
    name_stands_twice,
    limit_does_not_fit,
    callers_do_not_fit,
    backoff_above_its_cap,
    retries_beyond_the_attempts,
    parameter_out_of_place,
    match_on_a_credential,
    hash_does_not_fit,
    stateful_at_no_target,
    recovery.recovery_that_cannot_be,
    hedging_does_not_fit,
)
