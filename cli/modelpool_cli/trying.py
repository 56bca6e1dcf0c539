"""`modelpool try`: one question through the sidecar that runs here, its answer, and why that target answered."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from modelpool_cli import client, printing
from modelpool_cli.client import Address, Streaming, UnreachableError
from modelpool_cli.exits import NO, OK, fail

_OURS = "x-modelpool-"


def attempt(address: Address, model: str, text: str, *, stream: bool, as_json: bool, key: str | None = None) -> int:
    """Ask, print, explain. 0: there was an answer, 1: there was none."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    try:
        answer = Streaming(f"{address.data}/v1/chat/completions", body, key)
        found = _streamed(answer, quiet=as_json) if _is_stream(answer) else _whole(answer, quiet=as_json)
        told = {name.removeprefix(_OURS): value for name, value in answer.headers.items() if name.startswith(_OURS)}
        why = explain(told, _pool_state(address, told.get("pool")))
    except UnreachableError as error:
        return fail(str(error))
    if as_json:
        print(json.dumps({"status": answer.status, **found, "modelpool": told, "why": why}, indent=2))
    else:
        if found["error"] is not None:
            print(printing.text(f"{answer.status}: {found['error']}"), file=sys.stderr)
        for line in why:
            print(f"  {printing.line(line)}", file=sys.stderr)
    return OK if found["error"] is None else NO


def explain(told: Mapping[str, str], pool: Mapping[str, Any] | None) -> list[str]:
    """Why it was that target: what the answer's headers say, and how the pool stands now."""
    lines = []
    if "target" in told:
        attempts = told.get("attempts", "1")
        tries = "on the first attempt" if attempts == "1" else f"after {attempts} attempts"
        if told.get("cache") == "hit":
            tries = "kept from an earlier request"
        lines.append(f"pool {told.get('pool')} -> target {told['target']}, {tries} (config {told.get('config', '-')})")
    elif "pool" in told:
        lines.append(f"pool {told['pool']}: no target answered")
    targets = (pool or {}).get("targets") or []
    total = {
        priority: sum(each["weight"] for each in targets if each["priority"] == priority)
        for priority in {each["priority"] for each in targets}
    }
    return lines + [
        f"{_mark(each, told)} {each['name']}: {_standing(each, each.get('of', total[each['priority']]))}"
        for each in targets
    ]


def _mark(target: Mapping[str, Any], told: Mapping[str, str]) -> str:
    return "*" if target["name"] == told.get("target") else "-"


def _standing(target: Mapping[str, Any], total: int) -> str:
    """`serving, priority 0, weight 90 of 100`."""
    words = [str(target["stance"])]
    if target.get("reason"):
        words[0] += f" ({target['reason']})"
    if target.get("until") is not None:
        words[0] += f" for {target['until']:.1f} s more"
    if target.get("drained"):
        words.append("drained by hand")
    words.append(f"priority {target['priority']}")
    where = f" in pool {through[-1]}" if (through := target.get("through")) else ""
    words.append(f"weight {target['weight']} of {total}{where}")
    if target.get("share", 1) < 1:
        why = "its account runs short" if target.get("shaped") else "it comes back"
        words.append(f"{target['share']:.0%} of it while {why}")
    return ", ".join(words)


def _is_stream(answer: Streaming) -> bool:
    return answer.headers.get("content-type", "").startswith("text/event-stream")


def _whole(answer: Streaming, *, quiet: bool) -> dict[str, Any]:
    reply = answer.whole()
    if reply.status >= 400 or not isinstance(reply.data, dict):
        return {"answer": None, "usage": None, "error": reply.error}
    choices = reply.data.get("choices") or [{}]
    text = (choices[0].get("message") or {}).get("content") or ""
    if not quiet:
        print(printing.text(text))
    return {"answer": text, "usage": reply.data.get("usage"), "error": None}


def _streamed(answer: Streaming, *, quiet: bool) -> dict[str, Any]:
    """Prints each delta as it comes."""
    parts: list[str] = []
    usage, error = None, None
    for event in answer.events():
        usage = event.get("usage") or usage
        if isinstance(event.get("error"), dict):
            error = str(event["error"].get("message"))
        for choice in event.get("choices") or []:
            delta = (choice.get("delta") or {}).get("content") or ""
            parts.append(delta)
            if not quiet:
                print(printing.text(delta), end="", flush=True)
    if not quiet:
        print()
    return {"answer": "".join(parts), "usage": usage, "error": error}


def _pool_state(address: Address, name: str | None) -> Mapping[str, Any] | None:
    """How the pool stands, None where it has no admin port to ask: the answer counts more than the reason."""
    if name is None or not address.admin:
        return None
    try:
        state = client.get(f"{address.admin}/-/state").data
    except UnreachableError:
        return None
    pools = state.get("pools", []) if isinstance(state, dict) else []
    return next((pool for pool in pools if pool.get("name") == name), None)
