"""The command: reads its options, runs the rounds, prints the table; everything it started is stopped when it ends."""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bench import machine, rivals
from bench.loads import Bench, LoadError
from bench.processes import Cores, pinned
from bench.report import Run, as_json, table
from bench.rounds import Plan, Result, run
from bench.starting import StartError
from bench.tools import BuildError, build

QUICK = Plan(rounds=1, seconds=0.5)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOT_MEASURED, WRONG_ANSWERS, INTERRUPTED = 2, 1, 130


def main(arguments: list[str] | None = None) -> int:
    """0 = every answer was whole and the right one, whatever it cost; 1 = one was not; 2 = it could not be measured."""
    options = _parser().parse_args(arguments)
    try:
        with _interruptible():
            found = _measure(_plan(options), options.only)
    except KeyboardInterrupt:
        say("stopped; nothing is left running")
        return INTERRUPTED
    except (BuildError, LoadError, StartError, rivals.UnknownContenderError) as error:
        say(str(error))
        return NOT_MEASURED
    text = json.dumps(as_json(found), indent=2) + "\n"
    if options.json:
        options.json.write_text(text)
    print(text if options.output == "json" else table(found))
    return WRONG_ANSWERS if found.faults() else 0


def _measure(plan: Plan, only: str | None) -> Run:
    contenders = rivals.chosen(only)
    for contender in list(contenders):
        if reason := contender.missing():
            say(f"{contender.name} is left out: {reason}")
            contenders.remove(contender)
    say("building the tools")
    tools = build()
    cores = Cores.pick()
    if cores.proxy == cores.tools:
        say("only one core: proxy and tools share it, and no figure here is worth comparing")
    if machine.busy() > 1.0:
        say(f"the machine is busy (load {machine.busy():.1f}): expect figures that move")
    results: dict[str, list[Result]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="modelpool-bench-") as folder, pinned(cores.tools):
        bench = Bench(tools.load, tools.upstream, cores, Path(folder))
        for name, result in run(bench, plan, contenders, say):
            results[name].append(result)
    return Run(
        plan=plan,
        machine=machine.facts(),
        versions={contender.name: contender.version() for contender in contenders},
        results=results,
        reference=rivals.REFERENCE,
    )


def _plan(options: argparse.Namespace) -> Plan:
    default = QUICK if options.quick else Plan()
    return Plan(
        rounds=default.rounds if options.rounds is None else options.rounds,
        seconds=default.seconds if options.seconds is None else options.seconds,
    )


def _parser() -> argparse.ArgumentParser:
    names = ", ".join(contender.name for contender in rivals.CONTENDERS)
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.py",
        description="What a request costs in modelpool, beside nginx, in the same run on this machine.",
        epilog="docs/performance.md tells what is measured, how, and how to read it.",
    )
    parser.add_argument("--rounds", type=_rounds, help="rounds of every contender (default 7; --quick: 1)")
    parser.add_argument("--seconds", type=_seconds, help="length of a measured window (default 2; --quick: 0.5)")
    parser.add_argument("--quick", action="store_true", help="one short round: does everything work?")
    parser.add_argument("--only", metavar="NAMES", help=f"comma-separated, of: {names}")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="what is printed")
    parser.add_argument("--json", type=_file, metavar="FILE", help="write the JSON into this file as well")
    return parser


def _rounds(text: str) -> int:
    return int(_between(text, 1, 1000))


def _seconds(text: str) -> float:
    return _between(text, 0.1, 60)


def _file(text: str) -> Path:
    """A file that can be written: better told now than after five minutes."""
    path = Path(text)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"a file that can be written, not {text!r}")
    return path


def _between(text: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"a number from {least:g} to {most:g}, not {text!r}")
    return value


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block in the same way."""
    before = [(number, signal.signal(number, _interrupt)) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """The first one unwinds everything; a second must not interrupt that and leave processes behind."""
    for one in _SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


def say(words: str) -> None:
    """Progress and problems; the table alone goes to stdout."""
    print(words, file=sys.stderr, flush=True)
