"""`modelpool ask`: many small requests at an even pace, with a live tally of who answered."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from modelpool_cli import client, printing
from modelpool_cli.client import Address, UnreachableError
from modelpool_cli.exits import INTERRUPTED, NO, OK, fail

MOST_AT_ONCE = 64
_BAR = 30
_LOOK_SECONDS = 0.2

Answer = tuple[str, str | None]
"""Who answered, or the kind of failure with its sentence."""


def ask(address: Address, model: str, count: int, rate: float, key: str | None = None) -> int:
    """Send `count` requests, `rate` a second. 0: every one was answered, 1: some were not, 130: Ctrl-C."""
    try:
        probe = client.get(f"{address.data}/v1/models", key=key)
    except UnreachableError as error:
        return fail(str(error))
    if probe.status != 200:
        return fail(f"{address.data} is no sidecar that is ready: {probe.error}")
    answers = _Answers()
    interrupted = False
    try:
        _walk(_Askers(lambda: _one(address, model, key)), answers, count, rate)
    except KeyboardInterrupt:
        interrupted = True  # what still waits for its answer is left behind
    print("\r\x1b[K" if sys.stdout.isatty() else "", end="")
    for line in table(answers.tally):
        print(printing.line(line))
    for sentence, times in answers.sentences.most_common(3):
        print(f"  {times} x {printing.line(sentence)}", file=sys.stderr)
    if interrupted:
        print(f"  ended after {answers.tally.total()} answers of {count}", file=sys.stderr)
        return INTERRUPTED
    return NO if answers.sentences else OK


@dataclass(slots=True)
class _Answers:
    """What came back so far."""

    tally: Counter[str] = field(default_factory=Counter)
    sentences: Counter[str] = field(default_factory=Counter)

    def add(self, who: str, sentence: str | None) -> None:
        self.tally[who] += 1
        self.sentences.update([sentence] if sentence else [])


class _Askers:
    """Threads that ask. They are daemons: one that waits for an answer does not hold up the end of the program."""

    def __init__(self, one: Callable[[], Answer]) -> None:
        self._one = one
        self._jobs: SimpleQueue[None] = SimpleQueue()
        self._answers: SimpleQueue[Answer] = SimpleQueue()
        self._threads = 0

    def send(self, in_flight: int) -> None:
        """One request more, beside those in flight."""
        self._jobs.put(None)
        if self._threads < min(in_flight + 1, MOST_AT_ONCE):
            threading.Thread(target=self._work, daemon=True).start()
            self._threads += 1

    def next(self, timeout: float) -> Answer | None:
        """The next answer, None where there is none in time."""
        try:
            return self._answers.get(timeout=timeout)
        except Empty:
            return None

    def _work(self) -> None:
        while True:
            self._jobs.get()
            try:
                self._answers.put(self._one())
            except Exception as error:  # an answer that is awaited has to come
                self._answers.put(("no answer", f"{type(error).__name__}: {error}"))


def _walk(askers: _Askers, answers: _Answers, count: int, rate: float) -> None:
    """Send at the pace, and count what comes back."""
    live = sys.stdout.isatty()
    begun, sent = time.monotonic(), 0
    while answers.tally.total() < count:
        due = begun + sent / rate - time.monotonic()
        if sent < count and due <= 0:
            askers.send(sent - answers.tally.total())
            sent += 1
            continue
        answer = askers.next(min(due, _LOOK_SECONDS) if sent < count else _LOOK_SECONDS)
        if answer is not None:
            answers.add(*answer)
            if live:
                print(f"\r\x1b[K{printing.line(short(answers.tally, count))}", end="", flush=True)


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


def _one(address: Address, model: str, key: str | None) -> Answer:
    """One question."""
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    try:
        reply = client.post(f"{address.data}/v1/chat/completions", body, key=key)
    except UnreachableError as error:
        return "no answer", str(error)
    if reply.status >= 400:
        return f"refused {reply.status}", reply.error
    return reply.headers.get("x-modelpool-target", "unknown"), None
