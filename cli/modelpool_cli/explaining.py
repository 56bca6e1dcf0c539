"""`modelpool explain`: which pool, which targets in which order and why, which limits and deadlines; or why none.

What is told is what the sidecar's own proxy does with the request (`rehearsal`); here it is only put into words.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelpool_cli import explained, manifests, rulestold, secrets
from modelpool_cli.compiling import Compiler, NamespaceError, Outcome
from modelpool_cli.exits import NO, OK, WRONG_USE, fail
from modelpool_cli.manifests import NoManifestsError
from modelpool_cli.meant import LENT, RequestError, Wanted, request
from modelpool_cli.rehearsal import Asked, Rehearsal, Sent, Take
from modelpool_cli.secrets import Given, SecretError
from modelpool_sidecar.core import matching, needs, routing, verdict
from modelpool_sidecar.core import request as parsing
from modelpool_sidecar.core.checking import Check
from modelpool_sidecar.core.compiled import CannotCompileError
from modelpool_sidecar.core.dispatch import Outlook
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import ClosedPool, Pool, Target

_SHOWN_CHARACTERS = 60


def explain(
    wanted: Wanted,
    paths: Sequence[Path],
    namespace: str | None,
    given: Sequence[Given],
    as_json: bool,
    env: Mapping[str, str],
) -> int:
    """Print it. 0: somebody would be asked, 1: it would be refused, 2: wrong use."""
    try:
        asked = request(wanted)
        outcome = Compiler(namespace).compile(manifests.read_files(paths), secrets.read(given, env))
        space = outcome.choose(namespace)
        told = tell(outcome, space, asked, wanted.caller)
    except (RequestError, NoManifestsError, SecretError, NamespaceError, CannotCompileError) as error:
        return fail(str(error), WRONG_USE)
    if as_json:
        print(json.dumps(told, indent=2))
    else:
        explained.show(told, sys.stdout, env)
    return OK if told["refusal"] is None else NO


def tell(outcome: Outcome, namespace: str, asked: Asked, caller: str | None = None) -> dict[str, Any]:
    """Everything about it, in plain values. `caller`: who asks, where `request` gave it a key to show."""
    start = outcome.of(namespace)
    if start is None:
        raise RequestError(f"there is no ModelPool in namespace {namespace}")
    rehearsal = Rehearsal.of(start.config, start.credentials)
    if caller is not None and not rehearsal.lend(caller, LENT):
        raise RequestError(_no_caller(rehearsal, caller))
    chances = rehearsal.first(asked)
    take = rehearsal.walk(asked, chances.most_common(1)[0][0] if chances else None)
    record = take.record
    pool = rehearsal.snapshot.pools.get(record.pool) if record.pool is not None else None
    found = routing.match(rehearsal.snapshot, record.requested_model or "") if pool is not None else None
    told: dict[str, Any] = {
        "request": {
            "operation": record.operation,
            "method": asked.method,
            "path": asked.target,
            "model": record.requested_model,
            "stream": record.stream,
            "caller": record.caller,
        },
        "refusal": None if record.attempts else _refusal(take),
        "answer": _answer(take) if not record.attempts and take.status < 400 else None,
        "pool": None if pool is None else _pool(pool, found[1] if found and found[0] is pool else None),
        "problems": [str(each) for each in outcome.problems if each.namespace in ("", namespace)],
    }
    if isinstance(pool, Pool):
        outlook = take.outlook or rehearsal.untouched(pool, record.operation)
        parsed = parsing.parse(asked.method, asked.target, asked.headers, asked.body) if take.outlook else None
        meant = parsed if isinstance(parsed, Request) else None
        told |= {
            "targets": _targets(pool, outlook, chances, meant),
            "behind": _behind(pool),
            "providers": _providers(pool),
            "walk": _walk(take, asked),
            "limits": rulestold.limits(pool, take),
            "fallback": rulestold.fallback(pool),
            "cache": rulestold.cache(pool, meant),
            "deadlines": rulestold.deadlines(pool, take, stream=record.stream),
        }
    return told


def _no_caller(rehearsal: Rehearsal, caller: str) -> str:
    names = sorted({name for file in rehearsal.snapshot.caller_files for name in rehearsal.callers.names(file)})
    there = f"there is {routing.listed(names)}" if names else "no pool asks for one"
    return f"no caller {caller!r} has a key here; {there}"


def _refusal(take: Take) -> dict[str, Any] | None:
    if take.record.refusal is None and take.status < 400:
        return None
    told = json.loads(take.body)
    error = told.get("error", told)  # the Responses API's event is flat
    helpful = {name: value for name, value in take.headers if name in ("retry-after", "allow", "www-authenticate")}
    return {"status": take.status, "code": error["code"], "message": error["message"], "headers": helpful}


def _answer(take: Take) -> Any:
    """What the sidecar answers itself, such as the list of models."""
    return json.loads(take.body)


def _pool(pool: Pool | ClosedPool, name: str | None) -> dict[str, Any]:
    rule = None if name is None else "*" if name == "*" else "prefix" if name.endswith("*") else "exact"
    strategy = getattr(pool, "strategy", None)
    return {
        "name": pool.name,
        "rule": rule,
        "by": name,
        "models": list(pool.models),
        "strategy": None if isinstance(pool, ClosedPool) else getattr(strategy, "type", "Weighted"),
        "closed": pool.code if isinstance(pool, ClosedPool) else None,
        "config": pool.short_digest,
    }


def _targets(pool: Pool, outlook: Outlook, chances: Mapping[str, int], meant: Request | None) -> list[dict[str, Any]]:
    """All of them, tier by tier, then those that were left out when the config was made.

    `meant`: the request, where a walk for it began.
    """
    told = [_target(target, outlook, chances, meant) for tier in pool.tiers for target in tier]
    return told + [
        {"name": each.target, "skipped": each.reason, "why": each.message, "first": 0.0, "priority": None}
        for each in pool.unresolved
    ]


def _behind(pool: Pool) -> list[dict[str, Any]]:
    """The targets that are pools."""
    return [
        {"name": each.name, "pool": each.pool.name, "strategy": each.pool.strategy.type, "weight": each.weight}
        for each in pool.pool_targets
    ]


def _target(target: Target, outlook: Outlook, chances: Mapping[str, int], meant: Request | None) -> dict[str, Any]:
    block = outlook.blocks.get(target.name)
    skipped: str | None = None if block is None else block.kind
    why = None if block is None else verdict.words(target, block)
    if meant is not None and target.name not in outlook.blocks:
        skipped = "not for this request"
        why = _not_meant(target, meant)
    return {
        "name": target.name,
        "provider": target.provider.name,
        "dialect": target.provider.dialect,
        "model": target.model,
        "priority": target.priority,
        "weight": target.weight,
        "first": chances.get(target.name, 0) / max(1, sum(chances.values())),
        "skipped": skipped,
        "why": why,
    }


def _not_meant(target: Target, request: Request) -> str:
    """Why a target is none for this request, though it could be asked."""
    if not all(map(request.headers.__contains__, target.match)):
        return f"it {matching.asked(target)}, which the request does not carry with its value"
    lack = needs.lacks(request, [target]).get(target.name)
    return f"it {lack}" if lack is not None else "the request is for another target"


def _providers(pool: Pool) -> list[dict[str, Any]]:
    """What beside the request decides whether they are well: whom each shares an account with, and what is asked."""
    providers = {target.provider.name: target.provider for target in pool.targets.values()}
    return [
        {
            "name": each.name,
            "quotaDomain": each.quota_domain,
            "check": None if each.check is None else _check(each.check),
        }
        for each in providers.values()
        if each.quota_domain is not None or each.check is not None
    ]


def _check(check: Check) -> dict[str, Any]:
    return {
        "url": check.url,
        "period": check.period,
        "timeout": check.timeout,
        "statuses": list(check.statuses),
    }


def _walk(take: Take, asked: Asked) -> dict[str, Any]:
    """Who is asked while nobody can be reached, and what is said in the end."""
    attempts = [
        {
            "target": attempt.target,
            "provider": sent.provider,
            "again": attempt.same_target,
            "at": round(sent.at, 3),
            "url": sent.request.url if attempt.provider == sent.provider else None,
            "changes": _changes(asked.body, sent),
        }
        for attempt, sent in zip(take.record.attempts, take.sent, strict=False)
    ]
    return {"attempts": attempts, "end": _refusal(take) if attempts else None}


def _changes(body: bytes, sent: Sent) -> dict[str, Any]:
    """The top-level members of the body that the provider gets differently; None = removed."""
    try:
        before, after = json.loads(body), json.loads(sent.request.body)
    except ValueError:
        return {}  # a form, or no body at all
    missing = object()
    names = [name for name in {**before, **after} if before.get(name, missing) != after.get(name, missing)]
    return {name: _short(after.get(name)) for name in names}


def _short(value: Any) -> Any:
    text = json.dumps(value)
    return value if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
