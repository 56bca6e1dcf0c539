"""What is said about each object: its conditions with reasons, and for a pool its targets and its config.

The answer of `desired` and what was really published become a status. A time moves only where a status does; the order
of conditions never changes, because the API server takes another order for another object.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from modelpool_operator.api.modelpool import ModelPool, Target
from modelpool_operator.api.provider import Provider
from modelpool_operator.api.types import plain
from modelpool_operator.checks import callers, chains
from modelpool_operator.checks.names import claimed
from modelpool_operator.desired import Form, Verdict
from modelpool_operator.problems import Problem

TYPES = ("Accepted", "ResolvedRefs", "Programmed", "Ready")
PENDING = "Pending"
CREDENTIAL_PENDING = "CredentialPending"
_LISTED = 5
_LONGEST = 1024

State = Literal["True", "False", "Unknown"]
Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """One condition without its times."""

    status: State
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Publication:
    """What stands in a namespace's ConfigMap: the digest of each pool. `blocked`: why the desired config does not;
    `crowded`: there is not much room left."""

    pools: Mapping[str, str]
    written: datetime | None = None
    blocked: Said | None = None
    crowded: bool = False


def provider_status(
    verdict: Verdict,
    resource: Provider | None,
    publication: Publication,
    present: Mapping[str, Any],
    generation: int,
    now: datetime,
) -> Status:
    """The status of a Provider; `resource` is the form of it that is in force, None where there is none."""
    missing = [(each.reason, each.message) for each in verdict.problems if each.condition == "ResolvedRefs"]
    accepted, resolved = _accepted(verdict), _resolved(verdict, missing)
    if verdict.form is Form.NONE:
        programmed = Said("False", accepted.reason, "it was never accepted: pools do without it")
    elif not verdict.used:
        programmed = Said("True", "Unused", "no pool that can run sends requests to it")
    else:
        programmed = _programmed(verdict, publication, publication.blocked)
    ready = _first_not_true(accepted, resolved)
    if ready is None and resource is not None and resource.spec.traffic == "Drained":
        ready = Said("True", "Manual", "traffic is Drained by hand: no pool sends requests to it")
    said = (accepted, resolved, programmed, ready or Said("True", "Ready", "pools can send requests to it"))
    return {"observedGeneration": generation, "conditions": _conditions(said, present, generation, now)}


def pool_status(
    verdict: Verdict,
    resource: ModelPool | None,
    providers: Mapping[str, tuple[Verdict, Provider | None]],
    digest: str,
    publication: Publication,
    present: Mapping[str, Any],
    generation: int,
    now: datetime,
) -> Status:
    """The status of a pool. `providers`: those of its namespace, with the form in force; `digest`: of its section of
    the desired config."""
    targets = resource.spec.targets if resource else ()
    names = dict.fromkeys(each.provider_ref.name for each in targets if each.provider_ref)
    named = {name: providers[name] for name in names if name in providers}
    left_out = {each.target: each.reason for each in verdict.unresolved}
    asked = dict.fromkeys(each.provider_ref.name for each in targets if each.provider_ref and each.name not in left_out)
    missing = _missing_of_pool(verdict, {name: named[name][0] for name in asked if name in named})
    accepted, resolved = _accepted(verdict), _resolved(verdict, missing)
    if resource is not None and accepted.status == "True":
        able = [each for each in targets if each.provider_ref and each.name not in left_out]  # a pool says it itself
        seen = {name: each for name, (_, each) in named.items()}
        accepted = _unpriced(resource, able, seen) or _no_prefill(resource, able, seen) or accepted
    is_published = publication.pools.get(resource.metadata.name if resource else "") == digest
    if verdict.form is Form.NONE:
        programmed = Said("False", accepted.reason, "it was never accepted: its model names answer 503 invalid_pool")
    else:
        programmed = _programmed(verdict, publication, None if is_published else publication.blocked or _WAITING)
    drained = [name for name, (_, each) in named.items() if each is not None and each.spec.traffic == "Drained"]
    count = f"{len(targets) - len(left_out)}/{len(targets)}"
    ready = _first_not_true(accepted, programmed) or _keyless(verdict)
    ready = ready or _pool_ready(resolved, count, left_out, drained)
    status: Status = {
        "observedGeneration": generation,
        "conditions": _conditions((accepted, resolved, programmed, ready), present, generation, now),
    }
    if targets:
        status["targets"] = [_target(each.name, left_out.get(each.name)) for each in targets]
        status["targetsResolved"] = count
    if (config := _config(digest, is_published, publication, present)) is not None:
        status["config"] = config
    return status


def words(status: Mapping[str, Any]) -> tuple[object, ...]:
    """A status without its times: what has to differ before it is written again."""
    conditions = [
        tuple(each.get(name) for name in ("type", "status", "reason", "message", "observedGeneration"))
        for each in status.get("conditions") or ()
    ]
    targets = [tuple(sorted(each.items())) for each in status.get("targets") or ()]
    digest = (status.get("config") or {}).get("digest")
    return status.get("observedGeneration"), status.get("targetsResolved"), digest, *conditions, *targets


def find(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """One condition of a status, empty where it is not there."""
    return next((each for each in status.get("conditions") or () if each.get("type") == kind), {})


def moment(now: datetime) -> str:
    """A time as Kubernetes writes it."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_WAITING = Said("Unknown", PENDING, "its config is not written yet")


def _accepted(verdict: Verdict) -> Said:
    found = [problem for problem in verdict.problems if problem.condition == "Accepted"]
    if not found:
        return Said("True", "Accepted", "the spec makes sense")
    kept = "; the last accepted form stays in force" if verdict.form is Form.LAST_GOOD else ""
    return Said("False", found[0].reason, _sentence(found) + kept)


def _unpriced(pool: ModelPool, targets: Sequence[Target], providers: Mapping[str, Provider | None]) -> Said | None:
    """Some of its targets have prices and others none: the sum of its costs would look like all of them (B14)."""
    without = [target for target in targets if not _has_price(target, pool, providers)]
    if not without or len(without) == len(targets):
        return None
    told = ", ".join(f"target {each.name} (Provider {_provider(each)})" for each in without)
    message = f"the spec makes sense; no price is declared for {told}: what is answered there counts as no cost"
    return Said("True", "Unpriced", plain(message, _LONGEST))


def _no_prefill(pool: ModelPool, targets: Sequence[Target], providers: Mapping[str, Provider | None]) -> Said | None:
    """It wants streams to be continued, and nobody says that he can (B26)."""
    ways = (pool.spec.streaming.recovery if pool.spec.streaming else None) or ()
    if any(target.pool_ref for target in pool.spec.targets):
        return None  # it may stand in that pool
    if "Continue" not in ways or any(_declares_prefill(target, pool, providers) for target in targets):
        return None
    message = "the spec makes sense; streaming.recovery names Continue, but no target's model declares Prefill: a "
    return Said("True", "NoPrefill", message + "stream that breaks is not continued")


def _declares_prefill(target: Target, pool: ModelPool, providers: Mapping[str, Provider | None]) -> bool:
    """Of the model that it asks for, or of any name that clients may send on to it."""
    provider = providers.get(_provider(target))
    models = (provider.spec.models if provider is not None else None) or ()
    able = {model.name for model in models if "Prefill" in (model.capabilities or ())}
    asked = [target.model] if target.model is not None else [model for _, model in claimed(pool)]
    return bool(able) and any(model in able or model.endswith("*") for model in asked)


def _provider(target: Target) -> str:
    return target.provider_ref.name if target.provider_ref else ""


def _has_price(target: Target, pool: ModelPool, providers: Mapping[str, Provider | None]) -> bool:
    """Of the model that it asks for, or of every name that clients may send on to it; a pattern is none of them."""
    provider = providers.get(_provider(target))
    models = (provider.spec.models if provider is not None else None) or ()
    priced = {model.name for model in models if model.prices is not None}
    asked = [target.model] if target.model is not None else [model for _, model in claimed(pool)]
    return bool(priced) and all(model in priced or model.endswith("*") for model in asked)


def _resolved(verdict: Verdict, found: Sequence[tuple[str, str]]) -> Said:
    """`found`: what is missing, each as reason and sentence."""
    if verdict.form is Form.NONE:
        return Said("Unknown", PENDING, "it is looked at when the spec is accepted")
    if not found:
        return Said("True", "ResolvedRefs", "everything that it names is there")
    # What is wrong for good comes before what is on its way.
    reason = next((each for each, _ in found if each != CREDENTIAL_PENDING), CREDENTIAL_PENDING)
    state: State = "Unknown" if reason == CREDENTIAL_PENDING else "False"
    return Said(state, reason, _listed(dict.fromkeys(message for _, message in found)))


def _missing_of_pool(verdict: Verdict, asked: Mapping[str, Verdict]) -> list[tuple[str, str]]:
    """Targets that are left out, and Providers that can be asked although something is wrong with them."""
    found = [(each.reason, f"target {each.target}: {each.message}") for each in verdict.unresolved]
    lost = (each for each in verdict.problems if each.reason == chains.NOT_FOUND and each.path[:2] == chains.FALLBACK)
    found += [(each.reason, each.message) for each in lost]
    for name, provider in asked.items():
        for problem in provider.problems:
            kept = "accepted form" if problem.condition == "Accepted" else "copied value"
            found.append((problem.reason, f"Provider {name}: {problem.message}; the last {kept} stays in force"))
    return [*_missing_of_callers(verdict), *found]


def _missing_of_callers(verdict: Verdict) -> list[tuple[str, str]]:
    """What is wrong with the keys of the pool's callers."""
    return [(each.reason, each.message) for each in verdict.problems if each.path[: len(callers.PATH)] == callers.PATH]


def _programmed(verdict: Verdict, publication: Publication, blocked: Said | None) -> Said:
    if blocked is not None:
        return blocked
    full = "; that is nearly as large as it can be: split the namespace" if publication.crowded else ""
    if verdict.form is Form.LAST_GOOD:
        return Said("True", "LastGood", f"the last accepted form runs on; mend the edit{full}")
    return Said("True", "Programmed", f"it stands in the namespace's config{full}")


def _pool_ready(resolved: Said, count: str, left_out: Mapping[str, str], drained: Sequence[str]) -> Said:
    able, _, total = count.partition("/")
    told = f"{able} of {total} target{'s' if total != '1' else ''} can be asked"
    if able == "0":
        return Said(resolved.status, resolved.reason, f"{told}: {resolved.message}"[:_LONGEST])
    if left_out or resolved.status != "True":
        return Said("True", "Degraded", f"{told}: {resolved.message}"[:_LONGEST])
    if drained:
        names = ", ".join(drained)
        return Said("True", "Manual", f"{told}; traffic is Drained by hand at Provider {names}"[:_LONGEST])
    return Said("True", "Ready", told)


def _keyless(verdict: Verdict) -> Said | None:
    """Nobody has a key of a pool that is for callers with one."""
    if not verdict.keyless:
        return None
    found = _missing_of_callers(verdict)
    state: State = "Unknown" if found[0][0] == CREDENTIAL_PENDING else "False"
    return Said(state, found[0][0], _listed(message for _, message in found))


def _first_not_true(*said: Said) -> Said | None:
    return next((each for each in said if each.status != "True"), None)


def _target(name: str, reason: str | None) -> dict[str, str]:
    return {"name": name, "state": "Resolved"} if reason is None else _unresolved(name, reason)


def _unresolved(name: str, reason: str) -> dict[str, str]:
    return {"name": name, "state": "Unresolved", "reason": reason}


def _config(
    digest: str, is_published: bool, publication: Publication, present: Mapping[str, Any]
) -> dict[str, str] | None:
    before = present.get("config")
    if not is_published or publication.written is None:
        return dict(before) if before else None
    if before and before.get("digest") == digest:
        return dict(before)
    return {"digest": digest, "writtenTime": moment(publication.written)}


def _conditions(
    said: Sequence[Said], present: Mapping[str, Any], generation: int, now: datetime
) -> list[dict[str, Any]]:
    made = []
    for kind, each in zip(TYPES, said, strict=True):
        before = find(present, kind)
        since = before.get("lastTransitionTime") if before.get("status") == each.status else None
        made.append(
            {
                "type": kind,
                "status": each.status,
                "observedGeneration": generation,
                "lastTransitionTime": since or moment(now),
                "reason": each.reason,
                "message": each.message,
            }
        )
    return made


def _sentence(found: Sequence[Problem]) -> str:
    return _listed(dict.fromkeys(problem.message for problem in found))


def _listed(messages: Iterable[str]) -> str:
    each = list(messages)
    more = f"; and {len(each) - _LISTED} more" if len(each) > _LISTED else ""
    return plain("; ".join(each[:_LISTED]), _LONGEST - len(more)) + more
