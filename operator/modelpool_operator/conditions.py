"""What is said about each object: its conditions with reasons, and for a pool its targets and its config.

The answer of `desired` and what was really published become a status. A time moves only where a status does; the order
of conditions never changes, because the API server takes another order for another object.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from modelpool_operator.api.modelpool import ModelPool
from modelpool_operator.api.provider import Provider
from modelpool_operator.api.types import plain
from modelpool_operator.checks import callers, chains, remarks
from modelpool_operator.checks.reached import Inner, Reached
from modelpool_operator.forms import Form
from modelpool_operator.namespaces import Verdict
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


@dataclass(frozen=True, slots=True)
class Behind:
    """What a pool's targets come to: those at Providers, by name the verdicts of these, and of each pool in between.
    `lost`: the pools that it would fall back to and that cannot run."""

    reached: Sequence[Reached] = ()
    providers: Mapping[str, Verdict] = field(default_factory=dict)
    pools: Sequence[tuple[Inner, Verdict]] = ()
    lost: Sequence[tuple[str, Verdict]] = ()


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
    behind: Behind,
    digest: str,
    publication: Publication,
    present: Mapping[str, Any],
    generation: int,
    now: datetime,
) -> Status:
    """The status of a pool. `behind`: what its targets come to; `digest`: of its section of the desired config."""
    targets = resource.spec.targets if resource else ()
    left_out = {each.target: each.reason for each in verdict.unresolved}
    resolved = _resolved(verdict, [*_missing_of_pool(verdict), *_missing_behind(behind)])
    accepted = _remarked(_accepted(verdict), resource, behind.reached)
    is_published = publication.pools.get(resource.metadata.name if resource else "") == digest
    if verdict.form is Form.NONE:
        programmed = Said("False", accepted.reason, "it was never accepted: its model names answer 503 invalid_pool")
    else:
        programmed = _programmed(verdict, publication, None if is_published else publication.blocked or _WAITING)
    drained = dict.fromkeys(each.provider.name for each in behind.reached if each.provider.traffic == "Drained")
    count = f"{len(targets) - len(left_out)}/{len(targets)}"
    ready = _first_not_true(accepted, programmed) or _keyless(verdict, behind)
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


_KEPT = "; the last accepted form stays in force"
_WAITING = Said("Unknown", PENDING, "its config is not written yet")


def _accepted(verdict: Verdict) -> Said:
    found = [problem for problem in verdict.problems if problem.condition == "Accepted"]
    if not found:
        return Said("True", "Accepted", "the spec makes sense")
    kept = _KEPT if verdict.form is Form.LAST_GOOD else ""
    return Said("False", found[0].reason, _sentence(found) + kept)


def _remarked(accepted: Said, resource: ModelPool | None, reached: Sequence[Reached]) -> Said:
    """An accepted pool that lacks something says so, and is accepted all the same."""
    found = remarks.on(resource.spec, reached) if resource is not None and accepted.status == "True" else ()
    if not found:
        return accepted
    message = "; ".join((accepted.message, *(remark.message for remark in found)))
    return Said("True", found[0].reason, plain(message, _LONGEST))


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


def _missing_of_pool(verdict: Verdict) -> list[tuple[str, str]]:
    """What is wrong with the keys of its callers, targets that are left out, and fallback pools that are not there."""
    found = [(each.reason, f"target {each.target}: {each.message}") for each in verdict.unresolved]
    lost = (each for each in verdict.problems if each.reason == chains.NOT_FOUND and each.path[:2] == chains.FALLBACK)
    found += [(each.reason, each.message) for each in lost]
    return [*_missing_of_callers(verdict), *found]


def _missing_behind(behind: Behind) -> list[tuple[str, str]]:
    """What the pools behind it have to do without; Providers and pools that can be asked although something is wrong
    with them; and pools that it would fall back to."""
    found: list[tuple[str, str]] = []
    for inner, pool in behind.pools:
        found += [(each.reason, f"target {inner.target}/{each.target}: {each.message}") for each in pool.unresolved]
        found += [(reason, f"ModelPool {inner.pool}: {message}") for reason, message in _missing_of_callers(pool)]
        found += [(each.reason, f"ModelPool {inner.pool}: {each.message}{_KEPT}") for each in _refused(pool)]
    for name in dict.fromkeys(each.provider.name for each in behind.reached):
        for problem in behind.providers[name].problems:
            kept = _KEPT if problem.condition == "Accepted" else "; the last copied value stays in force"
            found.append((problem.reason, f"Provider {name}: {problem.message}{kept}"))
    for name, pool in behind.lost:
        why = pool.unresolved[0] if pool.unresolved else pool.problems[0]
        found.append((why.reason, f"fallback.pools: ModelPool {name} cannot be asked: {why.message}"))
    return found


def _refused(pool: Verdict) -> list[Problem]:
    """Why the form that was written last is not the one in force; a name that it lost is another matter."""
    problems = [each for each in pool.problems if (each.condition, each.reason) == ("Accepted", "InvalidSpec")]
    return problems if pool.form is Form.LAST_GOOD else []


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


def _pool_ready(resolved: Said, count: str, left_out: Mapping[str, str], drained: Iterable[str]) -> Said:
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


def _keyless(verdict: Verdict, behind: Behind) -> Said | None:
    """Nobody has a key of a pool that is for callers with one, or of the pools behind all of its targets."""
    found = _missing_of_callers(verdict) if verdict.keyless else _keyless_behind(behind)
    if not found:
        return None
    state: State = "Unknown" if found[0][0] == CREDENTIAL_PENDING else "False"
    return Said(state, found[0][0], _listed(dict.fromkeys(message for _, message in found)))


def _keyless_behind(behind: Behind) -> list[tuple[str, str]]:
    shut = {inner.pool: pool for inner, pool in behind.pools if pool.keyless}
    if not all(shut.keys() & set(each.through) for each in behind.reached):
        return []
    each = ((name, found) for name, pool in shut.items() for found in _missing_of_callers(pool))
    return [(reason, f"ModelPool {name}: {message}") for name, (reason, message) in each]


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
