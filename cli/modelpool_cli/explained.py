"""How an explanation reads in a terminal: under 100 columns, colours only where somebody looks at one."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from modelpool_cli import printing

WIDTH = 96
_PROBLEMS = 5
_BOLD, _GOOD, _BAD, _SOFT, _PLAIN = "\x1b[1m", "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
_INDENT = "  "

Line = tuple[str, str]
"""A colour, which may be empty, and the text."""


def show(told: Mapping[str, Any], out: TextIO, env: Mapping[str, str]) -> None:
    """Print it."""
    coloured = out.isatty() and not env.get("NO_COLOR") and env.get("TERM") != "dumb"
    for colour, text in lines(told):
        for part in _wrapped(printing.line(text)):
            print(f"{colour}{part}{_PLAIN}" if coloured and colour else part, file=out)


def lines(told: Mapping[str, Any]) -> Iterator[Line]:
    """The whole of it."""
    asked, pool, refusal = told["request"], told["pool"], told["refusal"]
    what = "stream" if asked["stream"] else "whole answer"
    by = f", by {asked['caller']}" if asked["caller"] else ""
    yield _BOLD, f"{asked['method']} {asked['path']}  model {asked['model'] or '-'}, {what}{by}"
    if pool is not None:
        yield "", _route(pool)
    if refusal is not None:
        yield _BAD, f"refused: {refusal['status']} {refusal['code']}"
        yield "", f"{_INDENT}{refusal['message']}"
        for name, value in refusal["headers"].items():
            yield "", f"{_INDENT}{name}: {value}"
    elif told["answer"] is not None:
        yield _GOOD, "answered by the sidecar itself, without a provider"
    if "targets" in told:
        yield from _targets(told["targets"])
        yield from _behind(told["behind"])
        yield from _walk(told["walk"])
        yield from _limits(told["limits"])
        yield from _fallback(told["fallback"])
        yield from _cache(told["cache"])
        yield from _deadlines(told["deadlines"])
        yield from _providers(told["providers"])
    yield from _problems(told["problems"])


def _route(pool: Mapping[str, Any]) -> str:
    rules = {"exact": "exactly", "prefix": f"by the prefix {pool['by']}", "*": "by *, which takes every other name"}
    rule = f", found {rules[pool['rule']]}" if pool["rule"] else ""
    strategy = f"strategy {pool['strategy']}, " if pool["strategy"] else ""
    return f"pool {pool['name']}{rule}; {strategy}config {pool['config']}"


def _targets(targets: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    there = [each for each in targets if each["priority"] is not None]
    for priority in sorted({each["priority"] for each in there}):
        tier = [each for each in there if each["priority"] == priority]
        turn = "asked first" if any(each["first"] > 0 for each in tier) else "asked when nobody before it is left"
        yield "", ""
        yield _BOLD, f"priority {priority}: {turn}"
        width = max(len(each["name"]) for each in tier)
        for each in tier:
            yield _target(each, width)
    left_out = [each for each in targets if each["priority"] is None]
    if left_out:
        yield "", ""
        yield _BOLD, "left out of the pool"
        for each in left_out:
            yield _BAD, f"{_INDENT}{each['name']}: {each['skipped']}: {each['why']}"


def _behind(pools: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    if pools:
        yield "", ""
        yield _BOLD, "targets that are pools"
    for each in pools:
        chosen = f"those of pool {each['pool']}, chosen by its strategy {each['strategy']}"
        yield "", f"{_INDENT}{each['name']}/...: {chosen}; together weight {each['weight']}"


def _target(each: Mapping[str, Any], width: int) -> Line:
    share = f"{each['first'] * 100:.3g} %" if each["first"] else "-"
    about = f"weight {each['weight']}, provider {each['provider']}, model {each['model'] or 'as asked'}"
    text = f"{_INDENT}{each['name']:<{width}}  {share:>6}  {about}"
    return (_BAD, f"{text}; skipped: {each['why']}") if each["skipped"] else ("", text)


def _walk(walk: Mapping[str, Any]) -> Iterator[Line]:
    if not walk["attempts"]:
        return
    yield "", ""
    yield _BOLD, "in this order, should none of them be reached"
    for number, attempt in enumerate(walk["attempts"], 1):
        when = "at once" if attempt["at"] == 0 else f"after {attempt['at']:g} s"
        again = ", once more" if attempt["again"] else ""
        yield "", f"{_INDENT}{number}. {attempt['target']} {when}{again}: {attempt['url'] or attempt['provider']}"
        changes = [
            f"{name} removed" if value is None else f"{name} = {value}" for name, value in attempt["changes"].items()
        ]
        if changes:
            yield _SOFT, f"{_INDENT * 2}sent with {', '.join(changes)}"
    end = walk["end"]
    if end is not None:
        how = end["status"] if end["status"] >= 400 else "an error event,"  # the head was out
        yield "", f"{_INDENT}then {how} {end['code']}"


def _limits(limits: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    yield "", ""
    yield _BOLD, "limits that it takes from" if limits else "limits: none"
    for limit in limits:
        known = ("name", "level", "max", "per", "remaining", "burst", "reset", "inFlight", "values", "queue")
        words = [f"at most {limit['max']}" + (f" per {limit['per']:g} s" if "per" in limit else " at once")]
        words += [f"burst {limit['burst']}"] if limit.get("burst") not in (None, limit["max"]) else []
        words += [f"{limit['remaining']} left after it"] if "remaining" in limit else []
        if limit.get("queue"):
            words.append(f"then {limit['queue']['max']} wait, {limit['queue']['timeout']:g} s at most")
        words += [f"{name} {value}" for name, value in limit.items() if name not in known and value is not None]
        yield "", f"{_INDENT}{limit['name']}: {', '.join(words)}"


def _fallback(rules: Mapping[str, Any]) -> Iterator[Line]:
    same, budget = rules["sameTarget"], rules["retryBudget"]
    yield "", ""
    yield _BOLD, f"falls back, {rules['maxAttempts']} attempts at most"
    yield "", f"{_INDENT}on {', '.join([*rules['outcomes'], *rules['statuses']]) or 'nothing'}"
    retries = "once, where no other is left" if same["retries"] is None else f"{same['retries']} times"
    first, longest = same["backoff"]
    patience = f"up to {same['maxRetryAfter']:g} s" if same["maxRetryAfter"] else "is not waited for"
    wait = f"backoff {first:g} s up to {longest:g} s, Retry-After {patience}"
    yield "", f"{_INDENT}the same target again: {retries}; {wait}"
    yield "", f"{_INDENT}retry budget: {budget['percent']} % of the requests + {budget['minPerSecond']} a second"
    yield "", f"{_INDENT}when all of them cool: {rules['lastResort']}"
    for when, names in rules["pools"].items():
        yield "", f"{_INDENT}then to pool {' or '.join(names)}: {when}"
    streams = rules["streaming"]
    held = "it is whole" if streams["commit"] == "Complete" else "its first token"
    yield "", f"{_INDENT}a stream falls back until {held}; its head waits {streams['headHold']:g} s at most"
    yield "", f"{_INDENT}in silence it brings a comment every {streams['keepAlive']:g} s"
    for way, targets in rules["recovery"].items():
        yield "", f"{_INDENT}a stream that breaks: {way} at {', '.join(targets) or 'no target: none declares Prefill'}"
    hedging = rules["hedging"]
    if hedging is not None:
        fixed = hedging["percentile"] is None
        when = f"{hedging['delay']:g} s" if fixed else f"what {hedging['percentile']} % of the last answers took"
        share = f"for at most {hedging['maxPercent']} % of the requests"
        yield "", f"{_INDENT}a second target beside a slow one after {when}, {share}"
    known = frozenset(("outcomes", "statuses", "maxAttempts", "sameTarget", "retryBudget", "lastResort", "pools"))
    known |= {"recovery", "hedging", "streaming"}
    for name, value in rules.items():
        if name not in known:
            yield "", f"{_INDENT}{name}: {value}"


def _cache(cache: Mapping[str, Any] | None) -> Iterator[Line]:
    if cache is None:
        return
    yield "", ""
    yield _BOLD, f"answers are kept for {cache['ttl']:g} s, {cache['maxEntries']} at most"
    yield "", f"{_INDENT}this one is not: {cache['bypass']}" if cache["bypass"] else f"{_INDENT}this one may be"


def _deadlines(deadlines: Mapping[str, Any]) -> Iterator[Line]:
    client = deadlines["client"]
    lowered = f", lowered to {client:g} s by the client" if client is not None else ""
    yield "", ""
    yield _BOLD, f"deadlines: {deadlines['total']:g} s for everything{lowered}"
    for name, timeouts in deadlines["providers"].items():
        yield "", f"{_INDENT}{name}: " + ", ".join(f"{what} {seconds:g} s" for what, seconds in timeouts.items())


def _providers(providers: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    if providers:
        yield "", ""
        yield _BOLD, "what else tells who is well"
    for each in providers:
        check = each["check"]
        words = [f"cools with all of quota domain {each['quotaDomain']}"] if each["quotaDomain"] is not None else []
        if check is not None:
            good = " or ".join(check["statuses"])
            asked = f"GET {check['url']} every {check['period']:g} s"
            words.append(f"{asked}, well with {good} within {check['timeout']:g} s")
        yield "", f"{_INDENT}{each['name']}: {'; '.join(words)}"


def _problems(problems: Sequence[str]) -> Iterator[Line]:
    if problems:
        yield "", ""
        yield _BAD, "problems of these manifests (modelpool check)"
        for problem in problems[:_PROBLEMS]:
            yield "", f"{_INDENT}{problem}"
        if len(problems) > _PROBLEMS:
            yield "", f"{_INDENT}and {len(problems) - _PROBLEMS} more"


def _wrapped(text: str) -> list[str]:
    indent = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(text, WIDTH, subsequent_indent=f"{indent}{_INDENT}", break_on_hyphens=False) or [""]
