"""`modelpool check`: every problem of some manifests, or one line that says what is there."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelpool_cli import manifests, printing, secrets
from modelpool_cli.compiling import Compiler, NamespaceError, Outcome, Told
from modelpool_cli.exits import NO, OK, WRONG_USE, fail
from modelpool_cli.manifests import NoManifestsError
from modelpool_cli.secrets import Given, SecretError


def check(
    paths: Sequence[Path], namespace: str | None, given: Sequence[Given], as_json: bool, env: Mapping[str, str]
) -> int:
    """Print what the operator would say about these manifests. 0: nothing is wrong, 1: something is."""
    try:
        sources = manifests.read_files(paths, getattr(sys.stdin, "buffer", None))
        outcome = Compiler(namespace).compile(sources, secrets.read(given, env))
        if namespace is not None:
            outcome.choose(namespace)
    except (NoManifestsError, SecretError, NamespaceError) as error:
        return fail(str(error), WRONG_USE)
    problems = [each for each in outcome.problems if _is_in(each, namespace)]
    if as_json:
        print(json.dumps(_as_data(outcome, problems, namespace), indent=2))
    else:
        for skipped in outcome.skipped:
            print(printing.line(str(skipped)), file=sys.stderr)
        for problem in problems:
            print(printing.line(str(problem)))
        print(summary(outcome, problems, namespace), file=sys.stderr if problems else sys.stdout)
    return NO if problems else OK


def summary(outcome: Outcome, problems: Sequence[Told], namespace: str | None) -> str:
    """What is there, in a line: `ok: 2 Providers and 1 ModelPool in namespace default`."""
    if problems:
        files = len({problem.place.file for problem in problems})
        return f"{counted(len(problems), 'problem')} in {counted(files, 'file')}"
    keys = [key for key in outcome.desired.verdicts if namespace in (None, key[1])]
    if not keys:
        return "ok: no Provider and no ModelPool is there"
    kinds = [
        counted(number, kind) for kind in ("Provider", "ModelPool") if (number := sum(key[0] == kind for key in keys))
    ]
    spaces = sorted({key[1] for key in keys})
    where = f"namespace{'s' if len(spaces) > 1 else ''} {', '.join(spaces)}"
    return f"ok: {' and '.join(kinds)} in {where}"


def counted(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _is_in(problem: Told, namespace: str | None) -> bool:
    """A problem without an object concerns everybody."""
    return namespace is None or problem.namespace in ("", namespace)


def _as_data(outcome: Outcome, problems: Sequence[Told], namespace: str | None) -> dict[str, object]:
    return {
        "ok": not problems,
        "problems": [
            {
                "file": each.place.file,
                "line": each.place.line,
                "object": each.about or None,
                "field": each.field or None,
                "message": each.message,
            }
            for each in problems
        ],
        "objects": [
            {"kind": kind, "namespace": space, "name": name, "accepted": verdict.accepted, "form": verdict.form.value}
            for (kind, space, name), verdict in outcome.desired.verdicts.items()
            if namespace in (None, space)
        ],
        "skipped": [
            {"file": each.place.file, "line": each.place.line, "message": each.message} for each in outcome.skipped
        ],
    }
