"""What should exist, from what was observed: the heart of the control plane, without clock, client or framework.

For each namespace a config and the credentials that it needs; for each object a verdict with its problems. An edit
that is refused leaves the last accepted form of that object in force (B47); a Provider that cannot be used leaves its
targets out, with the reason (B47a). Nothing that is wrong with one object stops another.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from modelpool_operator.forms import Accepted, Judged, judge
from modelpool_operator.namespaces import Compiler, Namespace, Verdict
from modelpool_operator.problems import Key, Problem
from modelpool_operator.resources import Observed


@dataclass(frozen=True, slots=True)
class Desired:
    """The whole answer. `problems` are all there are, those of unreadable manifests first; `accepted` is what to pass
    as `last_good` the next time."""

    namespaces: Mapping[str, Namespace]
    verdicts: Mapping[Key, Verdict]
    problems: tuple[Problem, ...]
    accepted: Accepted


def desired(
    observed: Observed,
    *,
    last_good: Accepted | None = None,
    copied: Mapping[str, Mapping[str, str]] | None = None,
) -> Desired:
    """What should exist. `last_good`: `accepted` of the call before; `copied`: by namespace, the credentials that were
    handed out last, which stay in force where a Secret went missing."""
    judged = judge(observed, last_good or {})
    verdicts: dict[Key, Verdict] = {}
    namespaces: dict[str, Namespace] = {}
    parts: dict[str, dict[Key, Judged]] = {namespace: {} for namespace in observed.namespaces}
    for key, entry in judged.items():
        parts.setdefault(key[1], {})[key] = entry
    for namespace, part in sorted(parts.items()):
        rendered, told = Compiler(namespace, part, observed, (copied or {}).get(namespace, {})).compile()
        verdicts.update(told)
        if namespace in observed.namespaces or any(key[0] == "ModelPool" for key in part):
            namespaces[namespace] = rendered
    known = set(observed.problems)
    later = [problem for verdict in verdicts.values() for problem in verdict.problems if problem not in known]
    return Desired(
        namespaces=namespaces,
        verdicts=verdicts,
        problems=(*observed.problems, *later),
        accepted={key: entry.resource for key, entry in judged.items() if entry.resource is not None},
    )
