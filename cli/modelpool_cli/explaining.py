"""`modelpool explain`: which pool, which targets in which order and why, which limits and deadlines; or why none.

What is told is what the sidecar's own proxy does with the request (`rehearsal`); here it is only put into words.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelpool_cli import explained, manifests, secrets
from modelpool_cli.compiling import Compiler, NamespaceError, Outcome
from modelpool_cli.exits import NO, OK, WRONG_USE, fail
from modelpool_cli.manifests import NoManifestsError
from modelpool_cli.rehearsal import Asked, Rehearsal, Sent, Take
from modelpool_cli.secrets import Given, SecretError
from modelpool_operator.problems import nearest
from modelpool_sidecar.core import cacheable, matching, needs, operations, recovery, routing, verdict
from modelpool_sidecar.core import request as parsing
from modelpool_sidecar.core.catalogue import OPERATIONS, Operation
from modelpool_sidecar.core.checking import Check
from modelpool_sidecar.core.compiled import CannotCompileError
from modelpool_sidecar.core.dispatch import Outlook
from modelpool_sidecar.core.hedging import Hedging
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import ClosedPool, Pool, Target, Timeouts

_HOST = ("host", operations.DEFAULT_ADDRESS)
_JSON = ("content-type", "application/json")
_FORM = ("content-type", "multipart/form-data; boundary=form")
_LENT = "the-key-of-whoever-is-explained"
_SHOWN_CHARACTERS = 60
_KNOWN_FALLBACK = (
    *("outcomes", "statuses", "max_attempts", "retries", "backoff_initial", "backoff_max"),
    *("max_retry_after", "budget_percent", "budget_per_second", "pools"),
    "spills",  # LocalLimit among the outcomes says so
)


class RequestError(Exception):
    """What was given is no request; the message is a sentence."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for on the command line. `file`: None where the flags say all; `-` is standard input."""

    file: str | None
    model: str | None
    operation: str
    stream: bool
    headers: tuple[tuple[str, str], ...]
    caller: str | None = None


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


def request(wanted: Wanted) -> Asked:
    """The request that is meant. Raises RequestError."""
    row = next((each for each in OPERATIONS if wanted.operation in _spellings(each)), None)
    named, _, path = wanted.operation.rpartition(" ")
    raw = path.startswith("/")
    if row is None and not raw:
        raise RequestError(_no_operation(wanted.operation))
    method = row.method if row is not None else named or "POST"
    if row is not None:
        path = row.route.replace("{id}", (not row.state and wanted.model) or "ID").replace("{item}", "ITEM")
    kind = _JSON
    if row is not None and row.body in ("form", "upload"):
        kind, body = _FORM, _form(wanted)
    elif row is not None and row.state:
        body = _read(wanted.file) if wanted.file is not None and row.body == "json" else b""
    else:
        body = _body(wanted, path) if method == "POST" else b""
    shown = [] if wanted.caller is None else [("authorization", f"Bearer {_LENT}")]
    headers = {name.lower(): value for name, value in (_HOST, *([kind] if body else []), *wanted.headers, *shown)}
    return Asked(method, path, tuple(headers.items()), body)


def _spellings(row: Operation) -> tuple[str, ...]:
    """How it may be asked for."""
    return row.name, row.route, f"{row.method} {row.route}"


def _no_operation(named: str) -> str:
    near = nearest(named, [each.name for each in OPERATIONS])
    hint = f"did you mean {near}? A path will do too" if near else "a path will do"
    return f"--operation: none is called {named!r}; {hint}, such as /v1/embeddings; docs/operations.md lists them"


def _form(wanted: Wanted) -> bytes:
    """A form with what the flags say; a request on disk is JSON, so a form is none."""
    if wanted.file is not None:
        raise RequestError(
            f"--operation {wanted.operation} takes a form, and {wanted.file} is taken for JSON; leave it out"
        )
    fields = {"model": wanted.model, "stream": "true" if wanted.stream else None}
    part = '--form\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    said = "".join(part.format(name, value) for name, value in fields.items() if value is not None)
    return f"{said}--form--\r\n".encode()


def _body(wanted: Wanted, path: str) -> bytes:
    flags: dict[str, Any] = {"model": wanted.model} if wanted.model is not None else {}
    flags |= {"stream": True} if wanted.stream else {}
    if wanted.file is None:
        field = {"/v1/embeddings": "input", "/v1/responses": "input", "/v1/completions": "prompt"}.get(path)
        content = {field: "hello"} if field else {"messages": [{"role": "user", "content": "hello"}]}
        return json.dumps({**flags, **content}).encode()
    body = _read(wanted.file)
    if not flags:
        return body
    try:
        document = json.loads(body)
    except ValueError as error:
        raise RequestError(f"{wanted.file} is not JSON, so --model and --stream cannot be put into it") from error
    if not isinstance(document, dict):
        raise RequestError(f"{wanted.file} is no JSON object, so --model and --stream cannot be put into it")
    return json.dumps({**document, **flags}).encode()


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise RequestError(f"cannot read {file}: {error.strerror}") from error


def tell(outcome: Outcome, namespace: str, asked: Asked, caller: str | None = None) -> dict[str, Any]:
    """Everything about it, in plain values. `caller`: who asks, where `request` gave it a key to show."""
    start = outcome.of(namespace)
    if start is None:
        raise RequestError(f"there is no ModelPool in namespace {namespace}")
    rehearsal = Rehearsal.of(start.config, start.credentials)
    if caller is not None and not rehearsal.lend(caller, _LENT):
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
            "limits": _limits(pool, take),
            "fallback": _fallback(pool),
            "cache": _cache(pool, meant),
            "deadlines": _deadlines(pool, take, stream=record.stream),
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


def _limits(pool: Pool, take: Take) -> list[dict[str, Any]]:
    """What the state tells of the pool's limits once the request holds its share."""
    pools = take.told["pools"]
    assert isinstance(pools, list), "the state lists its pools"
    told = next(each for each in pools if each["name"] == pool.name)
    limits = [_of_caller(limit) for limit in told["callerLimits"] if limit["caller"] == take.record.caller]
    limits += [dict(limit) for limit in told["limits"]]
    if told["concurrency"] is not None:
        queue = {"queue": told["queue"]} if told["queue"] is not None else {}
        limits.append({"name": "concurrency", "max": told["concurrency"], "inFlight": told["inFlight"], **queue})
    for each in pools:
        if each["name"] in pool.behind and each["concurrency"] is not None:
            name = f"pool {each['name']}, concurrency"
            limits.append({"name": name, "max": each["concurrency"], "inFlight": each["inFlight"]})
    for target in told["targets"]:
        limits += [_named(target, limit) for limit in target["limits"]]
    return list({(limit["name"], limit.get("count")): limit for limit in limits}.values())


def _of_caller(limit: Mapping[str, Any]) -> dict[str, Any]:
    return {**limit, "name": f"caller {limit['caller']}, {limit['name']}", "caller": None}


def _named(target: Mapping[str, Any], limit: Mapping[str, Any]) -> dict[str, Any]:
    """A target's limit, its provider's or that of a pool on the way to it, which several targets may share."""
    owner = target["name"] if limit["level"] == "target" else target["provider"]
    owner = limit.get("owner", owner)
    return {**limit, "name": f"{limit['level']} {owner}, {limit['name']}", "owner": None}


def _fallback(pool: Pool) -> dict[str, Any]:
    rules = pool.fallback
    more = {
        field.name: getattr(rules, field.name)
        for field in dataclasses.fields(rules)
        if field.name not in _KNOWN_FALLBACK
    }
    return {
        "outcomes": sorted(outcome.value for outcome in rules.outcomes),
        "statuses": list(rules.statuses),
        "maxAttempts": rules.max_attempts,
        "sameTarget": {
            "retries": rules.retries,
            "backoff": [rules.backoff_initial, rules.backoff_max],
            "maxRetryAfter": rules.max_retry_after,
        },
        "retryBudget": {"percent": rules.budget_percent, "minPerSecond": rules.budget_per_second},
        "lastResort": "SoonestToRecover" if pool.last_resort else "Refuse",
        "pools": {when: list(names) for when, names in rules.pools.items()},
        "streaming": {
            "commit": "Complete" if pool.streaming.complete else "FirstToken",
            "headHold": pool.streaming.head_hold,
            "keepAlive": pool.streaming.keep_alive,
        },
        "recovery": {way: _recover(pool, way) for way in pool.recovery},
        "hedging": None if pool.hedging is None else _hedging(pool.hedging),
        **{name: str(value) for name, value in more.items()},
    }


def _cache(pool: Pool, request: Request | None) -> dict[str, Any] | None:
    """What is kept of the answers, and why this one would not be; None where the pool keeps none (B53)."""
    settings = pool.cache
    if settings is None:
        return None
    asked = "" if request is None else cacheable.asked(pool, request, pool.targets.values())
    return {
        "ttl": settings.ttl,
        "maxEntries": settings.max_entries,
        "maxBytes": settings.max_bytes,
        "temperature": "Any" if settings.any_temperature else "Zero",
        "bypass": (asked or None) if isinstance(asked, str) else None,
    }


def _recover(pool: Pool, way: str) -> list[str]:
    """The targets that may go on with a stream in this way (B26)."""
    names = [name for name in pool.models if not name.endswith("*")] or [""]
    able = {
        target.name: any(recovery.continues(target, target.model or name) is not None for name in names)
        for target in pool.targets.values()
    }
    return [name for name, declares in able.items() if declares or way == "Replay"]


def _hedging(hedging: Hedging) -> dict[str, Any]:
    return {"percentile": hedging.percentile, "delay": hedging.delay, "maxPercent": hedging.max_percent}


def _deadlines(pool: Pool, take: Take, *, stream: bool) -> dict[str, Any]:
    providers = {target.provider.name: target.provider.timeouts for target in pool.targets.values()}
    return {
        "total": pool.total,
        "client": take.total if take.total is not None and take.total < pool.total else None,
        "providers": {name: _timeouts(each, stream) for name, each in providers.items()},
    }


def _timeouts(timeouts: Timeouts, stream: bool) -> dict[str, float]:
    """Those that count for this request: seconds (B16)."""
    told = {"connect": timeouts.connect, "head": timeouts.head, "attempt": timeouts.attempt}
    if stream:
        told |= {"firstToken": timeouts.first_token, "idle": timeouts.idle}
    return {name: seconds for name, seconds in told.items() if seconds is not None}
