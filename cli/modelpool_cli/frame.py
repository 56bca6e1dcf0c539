"""The state of a sidecar as lines for a terminal of some width: pure, so that a frame is a value.

Everything that is shown came over the wire and passes `printing.line`. Keys that are not known here are shown as they
are called: a newer sidecar is not silent.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelpool_cli import printing

BOLD, GOOD, WAIT, BAD, SOFT, PLAIN = "1", "32", "33", "31", "2", ""
Line = Sequence[tuple[str, str]]
"""Pieces with the colour of each."""
_BAR = 10
_TARGET = frozenset(
    ("name", "provider", "model", "priority", "weight", "drained", "stance", "reason", "until", "share", "probe")
) | {"inFlight", "unsupported", "blocked", "why", "limits", "through", "of", "part"}
_CALLERS_AT_MOST = 10
_POOL = frozenset(
    ("name", "models", "closed", "message", "digest", "inFlight", "concurrency", "retriesLeft", "limits", "targets")
) | {
    "unresolved",
    "servingPriority",
    "strategy",
    "queue",
    "callers",
    "stateful",
    "recovery",
    "hedging",
    "commit",
    "cache",
}
_LIMIT = frozenset(("owner", "name", "level", "max", "per", "burst", "remaining", "reset", "inFlight"))


def frame(state: Mapping[str, Any], lost: str | None = None) -> list[Line]:
    """All of it. `lost`: why the state is old, where nobody answers any more."""
    lines = [_head(state)]
    if lost is not None:
        lines.append([(f"! no answer: {lost}; what stands below is old, it is asked again every second", BAD)])
    elif state.get("notReady"):
        lines.append([(f"! not ready: {state['notReady']}", WAIT)])
    lines += [[(f"! {problem}", WAIT)] for problem in (state.get("config") or {}).get("problems", ())]
    for pool in state.get("pools", ()):
        lines.append([])
        lines += _pool(pool)
    if not state.get("pools"):
        lines += [[], [("there is no pool", SOFT)]]
    fakes = [f"{name}{_broken(fake)}" for name, fake in (state.get("fakes") or {}).items()]
    if fakes:
        lines += [[], [("fakes: ", SOFT), (", ".join(fakes), PLAIN)]]
    return lines


def draw(line: Line, width: int, *, coloured: bool) -> str:
    """One line, cut at the width."""
    left, drawn = width, ""
    for text, colour in line:
        shown = printing.line(text)
        if len(shown) > left:
            shown = shown[: max(0, left - 1)] + "…" if left else ""
        left -= len(shown)
        drawn += f"\x1b[{colour}m{shown}\x1b[0m" if coloured and colour and shown else shown
    return drawn.rstrip() if not coloured else drawn


def standing(target: Mapping[str, Any]) -> tuple[str, str]:
    """In words, and the colour: who serves, cools, is probed, ramps up or is drained."""
    blocked, stance = target.get("blocked"), target["stance"]
    if blocked == "drained" or target.get("drained"):
        return "drained by hand", SOFT
    if blocked == "pending":
        return "no key yet", WAIT
    if stance == "cooling":
        why = f" {target['reason']}" if target.get("reason") else ""
        return f"cooling{why} {seconds(target['until'])}", BAD
    if stance == "probing":
        return ("probing" if target.get("probe") else "to be probed"), WAIT
    if blocked not in (None, "unsupported"):
        return str(blocked), WAIT
    if target.get("shaped"):
        return f"shaped {target['share']:.0%}", WAIT
    if target["share"] < 1:
        return f"ramping up {target['share']:.0%}", WAIT
    return ("serving", GOOD) if target["weight"] else ("weight 0", SOFT)


def seconds(value: float) -> str:
    """`3.4 s`, `2 min 5 s`, `1 h 3 min`."""
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(int(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def _head(state: Mapping[str, Any]) -> Line:
    taken, now = (state.get("config") or {}).get("takenOver"), state.get("now")
    words = [f"namespace {state.get('namespace', '-')}", f"in flight {state.get('inFlight', 0)}"]
    if state.get("digest"):
        words.append(f"config {state['digest'].removeprefix('sha256:')[:12]}")
    if taken is not None and now is not None:
        words.append(f"taken over {seconds(max(0, int(now - taken)))} ago")
    if state.get("sidecars", 1) > 1:
        words.append(f"{state['sidecars']} sidecars share limits")
    return [("modelpool", BOLD), (f"  {'  '.join(words)}", PLAIN)]


def _broken(fake: Mapping[str, Any]) -> str:
    return f" is broken: {fake['broken']}" if fake.get("broken") else ""


def _pool(pool: Mapping[str, Any]) -> Iterator[Line]:
    name = f"pool {pool['name']}"
    aliases = [each for each in pool["models"] if each != pool["name"]]
    also = f"  answers to {', '.join(pool['models'])}" if aliases else ""
    if pool["closed"]:
        yield [(name, BOLD), (f"  closed: 503 {pool['closed']}", BAD), (also, SOFT)]
        yield [(f"  {pool['message']}", PLAIN)]
        return
    most = f" of {pool['concurrency']}" if pool["concurrency"] is not None else ""
    facts = [f"in flight {pool['inFlight']}{most}", f"retries left {pool['retriesLeft']}"]
    if pool.get("queue"):
        facts.insert(1, f"waiting {pool['queue']['waiting']} of {pool['queue']['max']}")
    if pool.get("hedging"):
        facts.append(f"hedges left {pool['hedging']['left']}")
    facts += [pool["strategy"]] if pool.get("strategy") else []
    nobody = ("  nobody can be asked", BAD) if pool.get("servingPriority", 0) is None else ("", PLAIN)
    more = "  ".join(_extras(pool, _POOL))
    yield [(name, BOLD), nobody, (f"  {'  '.join(facts)}", PLAIN), (f"  {more}" if more else "", SOFT), (also, SOFT)]
    if pool.get("callers"):
        yield [("  for ", PLAIN), (_callers(pool["callers"]), PLAIN)]
    if pool.get("stateful"):
        yield [(f"  files, batches and kept answers live at {pool['stateful']}", SOFT)]
    if pool.get("commit") == "Complete":
        yield [("  streams are held until they are whole", SOFT)]
    if pool.get("recovery"):
        yield [(f"  streams that break are recovered: {', then '.join(pool['recovery'])}", SOFT)]
    if pool.get("cache"):
        yield [(f"  {_cache(pool['cache'])}", SOFT)]
    yield from _targets(pool)
    for left_out in pool.get("unresolved", ()):
        yield [(f"    {left_out['name']}  ", PLAIN), (f"left out: {left_out['reason']}", WAIT)]
        yield [(f"      {left_out['message']}", SOFT)]
    for limit in [*pool["limits"], *_of_targets(pool["targets"])]:
        yield _limit(limit)
    yield from _of_callers(pool.get("callerLimits", ()))


def _of_callers(limits: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """Callers' own limits, as far as they are in use: those of which the least is left."""
    used = sorted(
        (limit for limit in limits if limit["remaining"] < _size(limit)),
        key=lambda limit: float(limit["remaining"]) / _size(limit),
    )
    for limit in used[:_CALLERS_AT_MOST]:
        yield _limit({**limit, "name": f"{limit['name']} of caller {limit['caller']}", "caller": None})
    if len(used) > _CALLERS_AT_MOST:
        yield [(f"    and {len(used) - _CALLERS_AT_MOST} limits more of callers that are in use", SOFT)]


def _callers(callers: Mapping[str, Any]) -> str:
    """`2 callers with a key of Secret team-keys: search, batch`."""
    names, count = callers["names"], callers["count"]
    more = f" and {count - len(names)} more" if count > len(names) else ""
    told = f": {', '.join(names)}{more}" if names else ""
    return f"{count} caller{'' if count == 1 else 's'} with a key of {callers['keys']}{told}"


def _cache(cache: Mapping[str, Any]) -> str:
    """`keeps 12 of 1000 answers, 0.3 of 64.0 MiB; 40 % were hits`."""
    ratio = f"; {cache['ratio']:.0%} were hits" if cache["ratio"] is not None else ""
    size = f"{cache['bytes'] / 2**20:.1f} of {cache['maxBytes'] / 2**20:.1f} MiB"
    return f"keeps {cache['entries']} of {cache['maxEntries']} answers, {size}{ratio}"


def _targets(pool: Mapping[str, Any]) -> Iterator[Line]:
    targets = sorted(pool["targets"], key=lambda target: target["priority"])
    names = max((len(target["name"]) for target in targets), default=0)
    totals = {
        priority: sum(each["weight"] for each in targets if each["priority"] == priority)
        for priority in {each["priority"] for each in targets}
    }
    stands = [standing(target) for target in targets]
    widest = max((len(words) for words, _ in stands), default=0)
    for target, (words, colour) in zip(targets, stands, strict=True):
        total = target.get("of", totals[target["priority"]])
        whole = target.get("part", target["weight"] / total if total else 0.0)
        part = whole * target["share"] if not target.get("blocked") else 0.0
        here = ">" if target["priority"] == pool.get("servingPriority") else " "
        left = f"  {here} {target['priority']:>2}  {target['name']:<{min(names, 24)}}  "
        bar = "#" * round(part * _BAR)
        right = f"  {bar:<{_BAR}} {target['weight']:>4} of {total:<4} {target['inFlight']:>4} in flight  "
        about = f"{target['provider']} {target['model'] or '(as asked)'}"
        more = "  ".join(_extras(target, _TARGET))
        yield [
            (left, PLAIN),
            (f"{words:<{widest}}", colour),
            (right, PLAIN),
            (about, SOFT),
            (f"  {more}" if more else "", SOFT),
        ]


def _of_targets(targets: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Their limits and those of their providers, each once, under a name that says whose it is."""
    found: dict[tuple[str, str | None], Mapping[str, Any]] = {}
    for target in targets:
        for limit in target.get("limits", ()):
            owner = target["name"] if limit["level"] == "target" else target["provider"]
            owner = limit.get("owner", owner)
            name = f"{limit['name']} of {limit['level']} {owner}"
            found[name, limit.get("count")] = {**limit, "name": name}  # one name may be of requests and of tokens
    return list(found.values())


def _size(limit: Mapping[str, Any]) -> int:
    """What is left of it while nobody uses it."""
    return int(limit.get("burst") or limit["max"])


def _limit(limit: Mapping[str, Any]) -> Line:
    size = _size(limit)
    part = limit["remaining"] / size if size else 0.0
    colour = BAD if limit["remaining"] <= 0 else WAIT if part < 0.2 else GOOD
    per = f" per {seconds(limit['per']).replace('.0', '')}" if limit.get("per") else ""
    per += f", burst {limit['burst']}" if limit.get("burst") not in (None, limit["max"]) else ""
    if "inFlight" in limit:
        per, whole = " at once", f"{limit['inFlight']} in flight"
    else:
        whole = f"whole in {seconds(limit['reset'])}" if limit["reset"] > 0 else "whole"
    return [
        (f"    limit {limit['name']}  ", PLAIN),
        (f"{limit['remaining']} left", colour),
        (f" of {limit['max']}{per}, {whole}", PLAIN),
        ("".join(f"  {each}" for each in _extras(limit, _LIMIT)), SOFT),
    ]


def _extras(thing: Mapping[str, Any], known: frozenset[str]) -> list[str]:
    return [words for name, value in thing.items() if name not in known for words in _flat(name, value)]


def _flat(name: str, value: object) -> list[str]:
    """`waitSeconds 0.21`; nothing for what says nothing."""
    if isinstance(value, Mapping):
        return [words for inner, each in value.items() for words in _flat(f"{name} {inner}", each)]
    if value is None or value is False or value in ("", [], ()):
        return []
    if isinstance(value, list):
        return [] if any(isinstance(each, dict | list) for each in value) else [f"{name} {', '.join(map(str, value))}"]
    if value is True:
        return [name]
    return [f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"]
