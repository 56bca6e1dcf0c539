"""The `modelpool` command: from words to the function that does it."""

import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from modelpool_cli import arguments, secrets
from modelpool_cli.client import Address
from modelpool_cli.exits import INTERRUPTED, WRONG_USE, fail
from modelpool_cli.secrets import SecretError

_SEPARATOR = "--"


def main() -> int:
    """The entry point; the process's exit code."""
    try:
        return command(sys.argv[1:], os.environ, sys.argv[0])
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough (`modelpool check | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def command(argv: Sequence[str], env: Mapping[str, str], called: str) -> int:
    """Do what the words say. `called`: argv[0], as hints repeat it."""
    words, program = _cut(argv)
    parser = arguments.parser()
    options, more = parser.parse_known_args(words)
    if more:
        hint = f"; a program stands after {_SEPARATOR}: {_rewritten(words, more)}" if options.command == "run" else ""
        parser.error(f"there is no option or argument {more[0]}{hint}")
    if program is not None and not program:
        parser.error("a program must stand after --")
    if options.command == "run":
        return _run(options, tuple(program or ()), env, called)
    return _COMMANDS[options.command](options, env)


def _cut(argv: Sequence[str]) -> tuple[Sequence[str], Sequence[str] | None]:
    """`run`'s own words, and the program after `--`; other commands keep all of theirs."""
    if not argv or argv[0] != "run" or _SEPARATOR not in argv:
        return argv, None
    at = argv.index(_SEPARATOR)
    return argv[:at], argv[at + 1 :]


def _rewritten(words: Sequence[str], more: Sequence[str]) -> str:
    """`modelpool run -f . -- python`: what was probably meant."""
    own = words[: words.index(more[0])] if more[0] in words else words
    return f"modelpool {shlex.join(own)} {_SEPARATOR} {shlex.quote(more[0])} ..."


# Each command imports what it needs when it is called: `--help` and `try` need neither the sidecar nor the compiler.


def _run(options: Namespace, program: tuple[str, ...], env: Mapping[str, str], called: str) -> int:
    from modelpool_cli import running  # noqa: PLC0415 - see above

    return running.run(
        running.RunOptions(
            paths=tuple(options.paths or ()),
            port=options.port,
            namespace=options.namespace,
            secrets=tuple(options.secrets),
            program=program,
            command=_spelled(called),
        ),
        env,
    )


def _check(options: Namespace, env: Mapping[str, str]) -> int:
    from modelpool_cli import checking  # noqa: PLC0415 - see above

    return checking.check(options.paths, options.namespace, options.secrets, options.output == "json", env)


def _explain(options: Namespace, env: Mapping[str, str]) -> int:
    from modelpool_cli import explaining, meant  # noqa: PLC0415 - see above

    wanted = meant.Wanted(
        options.request, options.model, options.operation, options.stream, tuple(options.headers), options.caller
    )
    as_json = options.output == "json"
    return explaining.explain(wanted, options.paths, options.namespace, options.secrets, as_json, env)


def _inject(options: Namespace, _env: Mapping[str, str]) -> int:
    from modelpool_cli import injecting  # noqa: PLC0415 - see above
    from modelpool_operator.inject_container import OptionsError  # noqa: PLC0415 - see above

    try:
        sidecar = arguments.sidecar(options)
    except OptionsError as error:
        return fail(str(error), WRONG_USE)
    return injecting.inject(options.paths, sidecar, as_json=options.output == "json")


def _try(options: Namespace, env: Mapping[str, str]) -> int:
    from modelpool_cli import trying  # noqa: PLC0415 - see above

    try:
        key = secrets.read_key(options.key, env)
    except SecretError as error:
        return fail(str(error), WRONG_USE)

    address = _address(options)
    if options.url:
        address = Address.of_url(options.url, options.admin)
    as_json = options.output == "json"
    return trying.attempt(address, options.model, options.text, stream=options.stream, as_json=as_json, key=key)


def _ask(options: Namespace, env: Mapping[str, str]) -> int:
    from modelpool_cli import asking  # noqa: PLC0415 - see above

    try:
        key = secrets.read_key(options.key, env)
    except SecretError as error:
        return fail(str(error), WRONG_USE)
    return asking.ask(_address(options), options.model, options.count, options.rate, key)


def _top(options: Namespace, env: Mapping[str, str]) -> int:
    from modelpool_cli import top  # noqa: PLC0415 - see above

    return top.top(_address(options).admin, env, once=options.once, as_json=options.output == "json")


def _break(options: Namespace, _env: Mapping[str, str]) -> int:
    from modelpool_cli import faking  # noqa: PLC0415 - see above

    return faking.break_it(_address(options).admin, options.name, options.fault)


def _mend(options: Namespace, _env: Mapping[str, str]) -> int:
    from modelpool_cli import faking  # noqa: PLC0415 - see above

    return faking.mend_it(_address(options).admin, options.name)


def _fake_provider(options: Namespace, _env: Mapping[str, str]) -> int:
    from modelpool_cli import faking  # noqa: PLC0415 - see above

    return faking.serve(options.port, options.script)


_COMMANDS: dict[str, Callable[[Namespace, Mapping[str, str]], int]] = {
    "check": _check,
    "explain": _explain,
    "inject": _inject,
    "try": _try,
    "ask": _ask,
    "top": _top,
    "break": _break,
    "mend": _mend,
    "fake-provider": _fake_provider,
}


def _address(options: Namespace) -> Address:
    return Address.of_port(options.port, options.admin)


def _spelled(called: str) -> str:
    """How to call us again from here: as it was typed, which `python -m` does not show."""
    path = Path(called)
    if path.name == "__main__.py":
        return f"{os.path.relpath(sys.executable)} -m modelpool_cli"
    relative = os.path.relpath(path)
    return called if relative.startswith("..") or os.sep not in called else relative


if __name__ == "__main__":
    sys.exit(main())
