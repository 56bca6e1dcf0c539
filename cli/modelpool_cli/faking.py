"""`break` and `mend`, for the Fake providers of a running sidecar, and `fake-provider`, which is one alone."""

import asyncio
import sys
from pathlib import Path
from urllib.parse import quote

from modelpool_cli import client, documents, freeports, portholder, printing
from modelpool_cli.client import UnreachableError
from modelpool_cli.documents import Unreadable
from modelpool_cli.exits import NO, OK, WRONG_USE, fail
from modelpool_cli.printing import Printer
from modelpool_cli.signals import Signals
from modelpool_config.models import Fake
from modelpool_operator.api.provider import Provider
from modelpool_operator.checks import provider as checks
from modelpool_operator.render import provider as render
from modelpool_operator.resources import observe
from modelpool_sidecar.fake import FakeAttempt, FakeProvider

_NAME = "fake"


class ScriptError(Exception):
    """The file is no script; the message has its line."""


def break_it(admin: str, name: str, fault: str) -> int:
    """Let a Fake provider fail from now on."""
    return _post(f"{admin}/-/fake/{quote(name, safe='')}/break?as={quote(fault, safe='')}", f"{name} fails: {fault}")


def mend_it(admin: str, name: str) -> int:
    """Let it play its script again."""
    return _post(f"{admin}/-/fake/{quote(name, safe='')}/mend", f"{name} is mended")


def serve(port: int, script: Path | None) -> int:
    """Play one Fake provider until a signal, and print what it sees."""
    try:
        steps = read_script(script) if script is not None else Fake()
    except ScriptError as error:
        return fail(str(error), WRONG_USE)
    return asyncio.run(_serve(port, steps))


def read_script(path: Path) -> Fake:
    """The script in a file: a list of steps as in `Provider.spec.fake.script`, judged by the same checks."""
    try:
        read = documents.parse(path.read_bytes())
    except OSError as error:
        raise ScriptError(f"cannot read {path}: {error.strerror}") from error
    if len(read) != 1:
        raise ScriptError(f"{path}: one list of steps must stand here, like [{{requests: 3, status: 500}}, {{}}]")
    document = read[0]
    if isinstance(document, Unreadable):
        raise ScriptError(f"{path}:{document.line}: {document.message}")
    manifest = {
        "apiVersion": "modelpool.dev/v1alpha1",
        "kind": "Provider",
        "metadata": {"name": _NAME},
        "spec": {"dialect": "Fake", "fake": {"script": document.value}},
    }
    observed = observe([manifest])
    provider: Provider | None = next(iter(observed.providers.values()), None)
    for problem in (*observed.problems, *(checks.judge(provider) if provider else ())):
        line = document.lines.of(problem.path[3:])
        raise ScriptError(f"{path}:{line}: {problem.message}")
    assert provider is not None, "an object without problems was read"
    return render.provider(provider).fake or Fake()


async def _serve(port: int, script: Fake) -> int:
    say = Printer(sys.stdout).say
    provider = FakeProvider(_NAME, script, on_ended=lambda attempt: say(_told(attempt)))
    try:
        await provider.start(port=port)
    except OSError as error:
        other = f"take another port: --port {freeports.free_port(port + 100)}"
        return fail(portholder.refusal(error, (port,), other))
    say(f"a fake OpenAI provider answers on {provider.base_url}; any key will do; Ctrl-C ends it")
    with Signals() as signals:
        await signals.next()
    await provider.stop()
    return OK


def _told(attempt: FakeAttempt) -> str:
    asked = f"{attempt.method} {attempt.target}".strip() or "a connection"
    took = (attempt.ended or attempt.started) - attempt.started
    model = attempt.model or "-"
    return printing.line(f"{asked}  model {model}  {attempt.status or '-'} {attempt.outcome}  {took:.2f} s")


def _post(url: str, done: str) -> int:
    try:
        reply = client.post(url)
    except UnreachableError as error:
        return fail(str(error))
    if reply.status != 200:
        return fail(reply.error, NO)
    print(printing.text(done))
    return OK
