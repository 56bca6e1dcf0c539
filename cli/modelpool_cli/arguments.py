"""The command line: every command and every option. Their words: `helptexts`; what may stand behind them: `words`."""

import argparse
from pathlib import Path
from typing import NoReturn

from modelpool_cli import helptexts, printing, secrets, words
from modelpool_operator.inject_container import Options
from modelpool_sidecar.settings import DATA_PORT, LOG_LEVELS
from modelpool_sidecar.version import IMAGE, VERSION

_SIDECAR = Options(IMAGE)


def parser() -> argparse.ArgumentParser:
    """The whole command line. `run`'s program is cut off before (`--`), see `__main__`."""
    top = _Parser(prog="modelpool", description=helptexts.TOP, epilog=helptexts.EXIT_CODES, formatter_class=_Formatter)
    top.add_argument("--version", action="version", version=f"modelpool {VERSION}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    run = _add(commands, "run", "answer on localhost, from manifests or from a key", helptexts.RUN)
    run.usage = (
        "modelpool run [-f PATH] [--port N] [--namespace NS] [--secret ...]\n                     [-- PROGRAM ...]"
    )
    _add_manifests(run, required=False)
    run.add_argument(
        "--port",
        type=words.port,
        default=DATA_PORT,
        metavar="N",
        help="take the ports N, N+1 and N+2; 0: any free three (default %(default)s)",
    )

    check = _add(commands, "check", "judge manifests, without running them", helptexts.CHECK)
    _add_manifests(check, required=True)
    _add_json(check)

    _add_explain(commands)
    _add_inject(commands)

    attempt = _add(commands, "try", "ask one question", helptexts.TRY)
    attempt.add_argument("model", metavar="MODEL", help="a pool's name")
    attempt.add_argument("text", metavar="TEXT", help="what to ask")
    attempt.add_argument("--stream", action="store_true", help="print the answer as it comes")
    _add_key(attempt)
    attempt.add_argument("--url", type=words.url, metavar="URL", help="a sidecar elsewhere, like http://127.0.0.1:4891")
    _add_address(attempt)
    _add_json(attempt)

    ask = _add(commands, "ask", "ask many times, with a tally", helptexts.ASK)
    ask.add_argument("model", metavar="MODEL", help="a pool's name")
    ask.add_argument("--count", type=words.count, default=60, metavar="N", help="requests (default %(default)s)")
    ask.add_argument(
        "--rate", type=words.rate, default=5.0, metavar="R", help="requests a second (default %(default)g)"
    )
    _add_key(ask)
    _add_address(ask)

    view = _add(commands, "top", "watch who serves, cools and comes back", helptexts.TOP_VIEW)
    view.add_argument("--once", action="store_true", help="print one frame and end")
    _add_address(view)
    _add_json(view)

    broken = _add(commands, "break", "let a Fake provider fail", helptexts.BREAK)
    broken.add_argument("name", metavar="NAME", help="the Provider's name")
    broken.add_argument(
        "--as",
        dest="fault",
        default="500",
        metavar="FAULT",
        help="Refuse, Reset, Hang, Cut, Stall or a status such as 429 (default %(default)s)",
    )
    _add_address(broken)

    mend = _add(commands, "mend", "let it work again", helptexts.MEND)
    mend.add_argument("name", metavar="NAME", help="the Provider's name")
    _add_address(mend)

    fake = _add(commands, "fake-provider", "play a provider, for tests and demos", helptexts.FAKE_PROVIDER)
    fake.add_argument(
        "--port", type=words.port, default=0, metavar="N", help="the port; 0: any free one (default %(default)s)"
    )
    fake.add_argument("--script", type=Path, metavar="FILE", help="a list of steps (default: healthy)")
    return top


def sidecar(options: argparse.Namespace) -> Options:
    """What `inject` is to put into pods. OptionsError where the words do not fit each other."""
    return Options(
        image=options.image or (f"{options.registry.rstrip('/')}/{IMAGE}" if options.registry else IMAGE),
        cpu=options.cpu,
        cpu_limit=options.cpu_limit,
        memory=options.memory,
        memory_limit=options.memory_limit,
        log_level=options.log_level,
        env=tuple(options.env),
    )


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps our line breaks, and one column for all options."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=80)


class _Parser(argparse.ArgumentParser):
    """Names what to do when something is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"modelpool: {printing.text(message)}\ntry: {self.prog} --help\n")


def _add(
    commands: "argparse._SubParsersAction[_Parser]", name: str, summary: str, description: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=helptexts.EXIT_CODES,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )


def _add_paths(command: argparse.ArgumentParser, *, required: bool) -> None:
    command.add_argument(
        "-f",
        "--filename",
        dest="paths",
        action="append",
        type=Path,
        required=required,
        default=None,
        metavar="PATH",
        help="a file, or a folder with *.yaml, *.yml and *.json; may be repeated",
    )


def _add_manifests(command: argparse.ArgumentParser, *, required: bool) -> None:
    _add_paths(command, required=required)
    command.add_argument("--namespace", metavar="NS", help="which one, where there are several")
    command.add_argument(
        "--secret",
        dest="secrets",
        action="append",
        type=secrets.parse,
        default=[],
        metavar="NAME/KEY=FROM",
        help="a key that is not on disk; FROM is env:VARIABLE or file:PATH; may be repeated",
    )


def _add_explain(commands: "argparse._SubParsersAction[_Parser]") -> None:
    command = _add(commands, "explain", "what would happen to a request, and why", helptexts.EXPLAIN)
    command.usage = (
        "modelpool explain [REQUEST] -f PATH [--model M] [--operation OP]\n"
        "                         [--stream] [--header K=V ...] [--caller NAME]"
    )
    command.add_argument(
        "request", nargs="?", metavar="REQUEST", help="a file with the JSON body; -: standard input; absent: the flags"
    )
    _add_manifests(command, required=True)
    command.add_argument("--model", metavar="M", help="the model that is asked for; over the file's")
    command.add_argument(
        "--operation", default="chat", metavar="OP", help="its name, or the path of a request (default %(default)s)"
    )
    command.add_argument("--stream", action="store_true", help="a stream is asked for; over the file's")
    command.add_argument(
        "--header",
        dest="headers",
        action="append",
        type=words.header,
        default=[],
        metavar="K=V",
        help="a header of the request, like x-modelpool-target=backup; may be repeated",
    )
    command.add_argument("--caller", metavar="NAME", help="who asks: a caller with a key, which is not needed for this")
    _add_json(command)


def _add_inject(commands: "argparse._SubParsersAction[_Parser]") -> None:
    command = _add(commands, "inject", "put the sidecar into a Deployment's pods", helptexts.INJECT)
    _add_paths(command, required=True)
    command.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml", help="default: yaml")
    image = command.add_mutually_exclusive_group()
    image.add_argument("--image", type=words.reference, metavar="IMAGE", help=f"its image (default {IMAGE})")
    image.add_argument(
        "--registry", type=words.reference, metavar="HOST/PATH", help="where that image was pushed, like ghcr.io/acme"
    )
    for option, kind, default, what in (
        ("--cpu", words.quantity, _SIDECAR.cpu, "CPU that it asks for"),
        ("--cpu-limit", words.limit, _SIDECAR.cpu_limit, "CPU at most; none: no limit"),
        ("--memory", words.quantity, _SIDECAR.memory, "memory that it asks for"),
        ("--memory-limit", words.limit, _SIDECAR.memory_limit, "memory at most; none: no limit"),
    ):
        command.add_argument(
            option, type=kind, default=default, metavar="Q", help=f"{what} (default {default or words.NO_LIMIT})"
        )
    command.add_argument("--log-level", choices=LOG_LEVELS, default=_SIDECAR.log_level, help="default: %(default)s")
    command.add_argument(
        "--env",
        action="append",
        type=words.variable,
        default=[],
        metavar="NAME=VALUE",
        help="a variable of the sidecar, like OTEL_SERVICE_NAME=web; may be repeated",
    )


def _add_key(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--key",
        type=secrets.parse_key,
        metavar="FROM",
        help="the caller's key, for a pool with callers; FROM is env:VARIABLE or file:PATH",
    )


def _add_address(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--port",
        type=words.port,
        default=DATA_PORT,
        metavar="N",
        help="the port of modelpool run (default %(default)s)",
    )
    command.add_argument(
        "--admin", type=words.url, metavar="URL", help="its admin address (default http://127.0.0.1:N+2)"
    )


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")
