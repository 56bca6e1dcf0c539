"""The command line: every command, every option, and the help that goes with them."""

import argparse
import re
from pathlib import Path
from typing import NoReturn

from modelpool_cli import client, printing, secrets
from modelpool_cli.exits import HELP
from modelpool_operator import inject_quantities
from modelpool_operator.inject_container import Options
from modelpool_sidecar.settings import DATA_PORT, LOG_LEVELS
from modelpool_sidecar.version import IMAGE, VERSION

_TOP = """\
LLM traffic on localhost: pools of providers behind one address, without a cluster or beside one.

  modelpool run -f examples/quickstart      answers on 127.0.0.1:4891, no key needed
  OPENAI_API_KEY=... modelpool run          your own key, no manifests needed
  modelpool run -- python app.py            your program, its OPENAI_BASE_URL pointed here
  modelpool check -f DIR                    what the operator would say about these manifests
  modelpool top                             who serves, cools and comes back, live
  modelpool explain -f DIR --model chat     what would happen to a request, and why
  modelpool inject -f deploy.yaml           the same Deployment with the sidecar in its pods
"""
_RUN = """\
Runs the sidecar in this process with the manifests of a file or folder, and follows their edits.

Without -f it makes a Provider and a pool for every model name from OPENAI_API_KEY; OPENAI_BASE_URL, unless it is our
own address, is taken as the upstream then. What stands after -- is run with OPENAI_BASE_URL set; its exit code is ours.
One line tells of each request; Ctrl-C lets requests finish for a second, a second Ctrl-C ends at once. With a program
after -- Ctrl-C is the program's own.
"""
_CHECK = (
    "Prints every problem as file:line: sentence, as the operator would report it; else one line with what is there."
)
_INJECT = """\
Prints manifests with the sidecar in their pods, for kubectl apply; everything else passes through as it is.

  modelpool inject -f deploy.yaml | kubectl apply -f -
  kubectl get deployment web -o yaml | modelpool inject -f - | kubectl apply -f -

Pods stand in Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job, CronJob, and in Lists of
these. The sidecar is the first init container and goes on beside the app; OPENAI_BASE_URL leads the app to it, unless a
container sets it itself. It reads the ConfigMap modelpool-config and the Secret modelpool-credentials of its namespace,
which the operator writes, and follows them. Injecting again replaces an older sidecar, and changes nothing else.
Warnings go to standard error. A pod with the label modelpool.dev/inject: "false" is left out.
The order of objects and fields stays; comments are lost.
"""
_EXPLAIN = """\
Tells what the sidecar would do with a request, without asking anybody: which pool and by which name, which targets in
which order, how often each is the first choice, who is skipped and why, which limits it takes from, what falls back on
what, which deadlines count. It is the sidecar's own proxy that does it, just started: nothing has failed, nothing is
used up. A refusal is told the same way, with what would be right, and ends with 1.

  modelpool explain -f DIR --model chat
  modelpool explain request.json -f DIR              the body of a request, as a client sends it
  echo '{"model": "gpt-4o", ...}' | modelpool explain - -f DIR --stream
  modelpool explain -f DIR --model chat --header x-modelpool-target=backup
  modelpool explain -f DIR --operation /chat/completions --model chat       a path that is wrong
"""
_SIDECAR = Options(IMAGE)
_NO_LIMIT = "none"
_TRY = "Asks one question through the sidecar that runs here; prints the answer, and on standard error why that target."
_ASK = "Sends small requests at an even pace through the sidecar that runs here, and counts which target answered."
_FAKE = """\
Plays an OpenAI-compatible provider on a loopback port. The script is a YAML list of steps as in a Provider's
spec.fake.script; the last one stays:

  - {requests: 3, firstToken: 200ms, tokensPerSecond: 30}
  - {for: 10s, status: 429}
  - {}
"""
_TOP_VIEW = """\
Shows once a second what the sidecar that runs here does: who serves (> marks the targets that are asked first), cools
and why, is probed or ramps up, what is left of the limits, what is in flight, what is closed, and what of the newest
edit is not in use. q or Ctrl-C ends it; j, k, space and b scroll. The same in a browser: the status page, whose
address modelpool run prints.

  modelpool top                       what modelpool run started on its usual port
  modelpool top --port 5000           what runs with --port 5000
  modelpool top --once                one frame, for a log or a message
  modelpool top --once -o json        the same as data
  kubectl port-forward POD 4893       in another terminal: then modelpool top shows the sidecar of that pod
"""
_BREAK = "Lets a Fake provider of the running sidecar fail until it is mended. Only Fake providers can be broken."


def parser() -> argparse.ArgumentParser:
    """The whole command line. `run`'s program is cut off before (`--`), see `__main__`."""
    top = _Parser(prog="modelpool", description=_TOP, epilog=HELP, formatter_class=_Formatter)
    top.add_argument("--version", action="version", version=f"modelpool {VERSION}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    run = _add(commands, "run", "answer on localhost, from manifests or from a key", _RUN)
    run.usage = "modelpool run [-f PATH] [--port N] [--namespace NS] [--secret ...] [-- PROGRAM ...]"
    _add_manifests(run, required=False)
    run.add_argument(
        "--port",
        type=_port,
        default=DATA_PORT,
        metavar="N",
        help="take the ports N, N+1 and N+2; 0: any free three (default %(default)s)",
    )

    check = _add(commands, "check", "judge manifests, without running them", _CHECK)
    _add_manifests(check, required=True)
    _add_json(check)

    _add_explain(commands)
    _add_inject(commands)

    attempt = _add(commands, "try", "ask one question", _TRY)
    attempt.add_argument("model", metavar="MODEL", help="a pool's name")
    attempt.add_argument("text", metavar="TEXT", help="what to ask")
    attempt.add_argument("--stream", action="store_true", help="print the answer as it comes")
    _add_key(attempt)
    attempt.add_argument("--url", type=_url, metavar="URL", help="a sidecar elsewhere, like http://127.0.0.1:4891")
    _add_address(attempt)
    _add_json(attempt)

    ask = _add(commands, "ask", "ask many times, with a tally", _ASK)
    ask.add_argument("model", metavar="MODEL", help="a pool's name")
    ask.add_argument("--count", type=_count, default=60, metavar="N", help="requests (default %(default)s)")
    ask.add_argument("--rate", type=_rate, default=5.0, metavar="R", help="requests a second (default %(default)g)")
    _add_key(ask)
    _add_address(ask)

    view = _add(commands, "top", "watch who serves, cools and comes back", _TOP_VIEW)
    view.add_argument("--once", action="store_true", help="print one frame and end")
    _add_address(view)
    _add_json(view)

    broken = _add(commands, "break", "let a Fake provider fail", _BREAK)
    broken.add_argument("name", metavar="NAME", help="the Provider's name")
    broken.add_argument(
        "--as",
        dest="fault",
        default="500",
        metavar="FAULT",
        help="Refuse, Reset, Hang, Cut, Stall or a status such as 429 (default %(default)s)",
    )
    _add_address(broken)

    mend = _add(commands, "mend", "let it work again", "Lets a Fake provider play its script again.")
    mend.add_argument("name", metavar="NAME", help="the Provider's name")
    _add_address(mend)

    fake = _add(commands, "fake-provider", "play a provider, for tests and demos", _FAKE)
    fake.add_argument(
        "--port", type=_port, default=0, metavar="N", help="the port; 0: any free one (default %(default)s)"
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
        super().__init__(prog, max_help_position=30, width=100)


class _Parser(argparse.ArgumentParser):
    """Names what to do when something is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"modelpool: {printing.text(message)}\ntry: {self.prog} --help\n")


def _add(
    commands: "argparse._SubParsersAction[_Parser]", name: str, summary: str, description: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name, help=summary, description=description, epilog=HELP, formatter_class=_Formatter, allow_abbrev=False
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
    command = _add(commands, "explain", "what would happen to a request, and why", _EXPLAIN)
    command.usage = "modelpool explain [REQUEST] -f PATH [--model M] [--operation OP] [--stream] [--header K=V ...]"
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
        type=_header,
        default=[],
        metavar="K=V",
        help="a header of the request, like x-modelpool-target=backup; may be repeated",
    )
    command.add_argument("--caller", metavar="NAME", help="who asks: a caller with a key, which is not needed for this")
    _add_json(command)


def _add_inject(commands: "argparse._SubParsersAction[_Parser]") -> None:
    command = _add(commands, "inject", "put the sidecar into a Deployment's pods", _INJECT)
    _add_paths(command, required=True)
    command.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml", help="default: yaml")
    image = command.add_mutually_exclusive_group()
    image.add_argument("--image", type=_reference, metavar="IMAGE", help=f"the sidecar's image (default {IMAGE})")
    image.add_argument(
        "--registry", type=_reference, metavar="HOST/PATH", help="where that image was pushed, like ghcr.io/acme"
    )
    for option, kind, default, what in (
        ("--cpu", _quantity, _SIDECAR.cpu, "CPU that it asks for"),
        ("--cpu-limit", _limit, _SIDECAR.cpu_limit, "CPU at most; none: no limit"),
        ("--memory", _quantity, _SIDECAR.memory, "memory that it asks for"),
        ("--memory-limit", _limit, _SIDECAR.memory_limit, "memory at most; none: no limit"),
    ):
        command.add_argument(
            option, type=kind, default=default, metavar="Q", help=f"{what} (default {default or _NO_LIMIT})"
        )
    command.add_argument("--log-level", choices=LOG_LEVELS, default=_SIDECAR.log_level, help="default: %(default)s")
    command.add_argument(
        "--env",
        action="append",
        type=_variable,
        default=[],
        metavar="NAME=VALUE",
        help="a variable of the sidecar, like OTEL_EXPORTER_OTLP_ENDPOINT=http://otel.monitoring:4318; may be repeated",
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
        "--port", type=_port, default=DATA_PORT, metavar="N", help="the port of modelpool run (default %(default)s)"
    )
    command.add_argument("--admin", type=_url, metavar="URL", help="its admin address (default http://127.0.0.1:N+2)")


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65_533:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a port up to 65533, not {text!r}")


def _quantity(text: str) -> str:
    try:
        inject_quantities.amount(text)
    except inject_quantities.QuantityError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _limit(text: str) -> str | None:
    return None if text == _NO_LIMIT else _quantity(text)


def _reference(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_./:@-]*", text):
        return text
    raise argparse.ArgumentTypeError(f"must be an image or a registry such as ghcr.io/acme, not {text!r}")


def _variable(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if sign and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return name, value
    raise argparse.ArgumentTypeError(f"must be NAME=VALUE, not {text!r}")


def _header(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if sign and re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
        return name, value.strip()
    raise argparse.ArgumentTypeError(f"must be NAME=VALUE, not {text!r}")


def _url(text: str) -> str:
    try:
        client.parts_of(text)
    except client.AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 1_000_000:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a number from 1 to 1000000, not {text!r}")


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if 0.01 <= rate <= 1000:
        return rate
    raise argparse.ArgumentTypeError(f"must be a number from 0.01 to 1000, not {text!r}")
