"""`modelpool run`: manifests from disk, the operator's compiler, the sidecar itself, in one process.

start -> follow the files | follow the program | wait for a signal -> drain -> stop. A broken edit is told with its line
and changes nothing; Ctrl-C drains for at most a second, a second one ends at once (B51).
"""

import asyncio
import errno
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelpool_cli import (
    environment,
    freeports,
    hints,
    live,
    manifests,
    portholder,
    printing,
    program,
    secrets,
    watching,
)
from modelpool_cli.compiling import Compiler, NamespaceError, Outcome
from modelpool_cli.exits import NO, OK, WRONG_USE, fail
from modelpool_cli.following import Follower
from modelpool_cli.hints import Start
from modelpool_cli.manifests import NoManifestsError
from modelpool_cli.printing import Printer
from modelpool_cli.program import Interrupts, Program, ProgramError
from modelpool_cli.secrets import Given, SecretError
from modelpool_cli.signals import Signals
from modelpool_cli.watching import Watch
from modelpool_operator.namespaces import Namespace
from modelpool_sidecar.app import Sidecar
from modelpool_sidecar.core.record import Record
from modelpool_sidecar.settings import DATA_PORT, Settings
from modelpool_sidecar.telemetry import service

CTRL_C_GRACE_SECONDS = 1.0
STARTED_BY = "MODELPOOL_STARTED_BY"
_FLUSH_SECONDS = 3.0
_TRIES = 5
"""A port may be taken between the look and the listening."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What was asked for on the command line. `port` 0 takes any free ones. `command`: how we were called."""

    paths: tuple[Path, ...] = ()
    port: int = DATA_PORT
    namespace: str | None = None
    secrets: tuple[Given, ...] = ()
    program: tuple[str, ...] = ()
    command: str = "modelpool"


def run(options: RunOptions, env: Mapping[str, str]) -> int:
    """Run until a signal, or until the program ends; the exit code."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s: %(message)s")
    if options.secrets and not options.paths:
        return fail(secrets.NEEDS_MANIFESTS, WRONG_USE)
    read = _reader(options, env)
    try:
        watch = Watch(read)
        compiler = Compiler(options.namespace)
        outcome = compiler.compile(*watch.known)
        if not watch.known[0]:
            return fail(_nothing_to_run(options), WRONG_USE)
        namespace = outcome.choose(options.namespace)
    except (NoManifestsError, SecretError, NamespaceError) as error:
        return fail(str(error), WRONG_USE)
    for told in (*outcome.skipped, *outcome.problems):
        print(printing.text(str(told)), file=sys.stderr)
    start = outcome.of(namespace)
    if start is None or not start.config.pools:
        what = "no pool can serve" if start is not None and start.config.closed else "there is no ModelPool"
        return fail(f"nothing to run in namespace {namespace}: {what}", NO)
    compiler.keep(outcome)
    return asyncio.run(_Run(options, env, watch, compiler, namespace, outcome).serve(start))


class _Run:
    """One run, from listening to stopped."""

    def __init__(
        self,
        options: RunOptions,
        env: Mapping[str, str],
        watch: Watch,
        compiler: Compiler,
        namespace: str,
        outcome: Outcome,
    ) -> None:
        self._options, self._env, self._pool_file = options, env, outcome.pool_file
        self._problems = [str(told) for told in outcome.problems]
        self._make = env.get(STARTED_BY) == "make"
        # A program's own output stays its own.
        self._say = Printer(sys.stderr if options.program else sys.stdout).say
        self._follower = Follower(watch, compiler, namespace, self._say)

    async def serve(self, first: Namespace) -> int:
        """Start, follow, drain, stop."""
        telemetry = service.build(self._env, monotonic=asyncio.get_running_loop().time)
        try:
            sidecar = await self._listen(telemetry)
        except OSError as error:
            return fail(self._port_taken(error), NO)
        try:
            with Signals() as signals:
                return await self._follow(sidecar, first, signals)
        finally:
            await sidecar.stop()
            await asyncio.to_thread(telemetry.shutdown, _FLUSH_SECONDS)

    async def _listen(self, telemetry: service.TelemetryService) -> Sidecar:
        """A started sidecar. Any port means three in a row, so that what is printed finds all of them."""
        for _ in range(_TRIES if self._options.port == 0 else 0):
            try:
                return await self._start(telemetry, freeports.any_port())
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        return await self._start(telemetry, self._options.port or freeports.any_port())

    async def _start(self, telemetry: service.TelemetryService, port: int) -> Sidecar:
        sidecar = Sidecar(Settings(port=port), telemetry, self._tell_request, fake_greeting=self._greeting())
        await sidecar.start()
        return sidecar

    async def _follow(self, sidecar: Sidecar, first: Namespace, signals: Signals) -> int:
        await sidecar.apply(first.config, first.credentials)
        sidecar.tell(self._problems)
        files = asyncio.create_task(self._follower.follow(sidecar, first))
        try:
            if self._options.program:
                return await self._run_program(sidecar, signals)
            self._say("\n".join(self._hints(sidecar, first)) + "\n")
            self._say(live.HEADING)
            number = await signals.next()
            await self._drain(sidecar, number, signals)
            return OK
        finally:
            files.cancel()

    async def _run_program(self, sidecar: Sidecar, signals: Signals) -> int:
        base_url = f"http://127.0.0.1:{sidecar.data_port}/v1"
        self._say(f"modelpool answers on {base_url}; running {program.title(self._options.program)}")
        self._say(f"status page: http://127.0.0.1:{sidecar.local_port}/")
        try:
            running = await Program.start(self._options.program, program.environment(self._env, base_url))
        except ProgramError as error:
            return fail(str(error), error.code)
        ended = asyncio.create_task(running.wait())
        passing = asyncio.create_task(_pass_on(running, signals))
        try:
            return await ended
        finally:
            passing.cancel()
            await sidecar.drain(CTRL_C_GRACE_SECONDS)

    async def _drain(self, sidecar: Sidecar, number: int, signals: Signals) -> None:
        """Let requests finish: a second after Ctrl-C, the usual grace after SIGTERM; another signal cuts it short."""
        grace = CTRL_C_GRACE_SECONDS if number == signal.SIGINT else Settings().drain_seconds
        if sidecar.in_flight:
            self._say(f"ending: {sidecar.in_flight} in flight get {grace:.0f} s; once more ends at once")
        await _first(sidecar.drain(grace), signals.next())

    def _tell_request(self, record: Record) -> None:
        self._say(live.line(record))

    def _hints(self, sidecar: Sidecar, first: Namespace) -> list[str]:
        start = Start(
            make=self._make,
            command=self._options.command,
            port=sidecar.data_port,
            python=_shown(sys.executable) if importlib.util.find_spec("openai") else None,
            paths=[str(path) for path in self._options.paths],
            pool_file=self._pool_file if self._options.paths else None,
        )
        return hints.ready(start, first.config, (sidecar.data_port, sidecar.admin_port, sidecar.local_port))

    def _greeting(self) -> str:
        how = "make break NAME={name}" if self._make else f"{self._options.command} break {{name}}"
        return f"I am {{name}} as {{model}}; break me with `{how}`."

    def _port_taken(self, error: OSError) -> str:
        first = self._options.port
        free = freeports.free_port(first + 100)
        other = f"make run PORT={free}" if self._make else f"--port {free}"
        taken = range(first, first + freeports.IN_A_ROW)
        return portholder.refusal(error, taken, f"take other ports: {other}")


async def _pass_on(running: Program, signals: Signals) -> None:
    """Hand signals on to the program, for as long as it runs."""
    now, interrupts = asyncio.get_running_loop().time, Interrupts()
    while True:
        sent = interrupts.decide(await signals.next(), now(), foreground=program.in_foreground())
        if sent is not None:
            running.send(sent)


async def _first(*waiting: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(each) for each in waiting]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def _reader(options: RunOptions, env: Mapping[str, str]) -> watching.Read:
    """Files and keys, or those of the environment where no file was named."""
    if options.paths:
        return lambda: (manifests.read_files(options.paths), secrets.read(options.secrets, env))
    found = environment.sources(env, options.port), environment.secrets(env)
    return lambda: found


def _nothing_to_run(options: RunOptions) -> str:
    return (
        "nothing to run: there is no key in the environment and no -f.\n"
        f"  with a key:       OPENAI_API_KEY=... {options.command} run\n"
        f"  with manifests:   {options.command} run -f DIR    (examples/quickstart needs no key)"
    )


def _shown(path: str) -> str:
    """A path as somebody would type it here."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
