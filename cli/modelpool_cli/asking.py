"""`modelpool ask`: many small requests at an even pace, with a live tally of who answered."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

from modelpool_cli import client
from modelpool_cli.client import Address, UnreachableError
from modelpool_cli.exits import NO, OK, fail

MOST_AT_ONCE = 64
_BAR = 30


def ask(address: Address, model: str, count: int, rate: float) -> int:
    """Send `count` requests, `rate` a second. 0: every one was answered, 1: some were not."""
    try:
        probe = client.get(f"{address.data}/v1/models")
    except UnreachableError as error:
        return fail(str(error))
    if probe.status != 200:
        return fail(f"{address.data} is no sidecar that is ready: {probe.error}")
    tally: Counter[str] = Counter()
    sentences: Counter[str] = Counter()
    pending: set[Future[tuple[str, str | None]]] = set()
    live = sys.stdout.isatty()
    begun, sent = time.monotonic(), 0
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        while sent < count or pending:
            due = begun + sent / rate - time.monotonic()
            if sent < count and due <= 0:
                pending.add(pool.submit(_one, address, model))
                sent += 1
                continue
            done, pending = wait(pending, timeout=min(due, 0.2) if sent < count else 0.2)
            for each in done:
                who, sentence = each.result()
                tally[who] += 1
                sentences.update([sentence] if sentence else [])
            if not pending and sent < count and due > 0:
                time.sleep(min(due, 0.2))
            if live and done:
                print(f"\r\x1b[K{short(tally, count)}", end="", flush=True)
    print("\r\x1b[K" if live else "", end="")
    for line in table(tally):
        print(line)
    for sentence, times in sentences.most_common(3):
        print(f"  {times} x {sentence}", file=sys.stderr)
    return NO if sentences else OK


def short(tally: Mapping[str, int], count: int) -> str:
    """`31/60  primary 28  backup 3`, for a line that is written over again and again."""
    return f"{sum(tally.values())}/{count}  " + "  ".join(f"{who} {number}" for who, number in sorted(tally.items()))


def table(tally: Mapping[str, int]) -> list[str]:
    """A bar for each, the most first."""
    total, width = sum(tally.values()), max((len(who) for who in tally), default=0)
    return [
        f"{who:<{width}}  {number:>4}  {number / total:>4.0%}  {'#' * round(_BAR * number / total)}".rstrip()
        for who, number in sorted(tally.items(), key=lambda item: (-item[1], item[0]))
    ]


def _one(address: Address, model: str) -> tuple[str, str | None]:
    """Who answered, or the kind of failure with its sentence."""
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    try:
        reply = client.post(f"{address.data}/v1/chat/completions", body)
    except UnreachableError as error:
        return "no answer", str(error)
    if reply.status >= 400:
        return f"refused {reply.status}", reply.error
    return reply.headers.get("x-modelpool-target", "unknown"), None
