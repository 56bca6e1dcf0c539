"""Whether an installation does its work: `helm test` asks it in a pod, `python -m modelpool_operator.selftest --help`.

It asks with an account of its own and changes nothing: what it sends to the API server are dry runs, under one name.
"""

import argparse
import json
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from modelpool_operator.api.meta import API_VERSION

NAME = "modelpool-selftest"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ANSWER_SECONDS = 10.0

PROVIDER = {
    "apiVersion": API_VERSION,
    "kind": "Provider",
    "metadata": {"name": NAME},
    "spec": {"dialect": "Fake"},
}
POOL = {
    "apiVersion": API_VERSION,
    "kind": "ModelPool",
    "metadata": {"name": NAME},
    "spec": {"targets": [{"name": "only", "providerRef": {"name": NAME}}]},
}
WRONG_POOL = {**POOL, "spec": {"targets": [{"name": "only", "providerRef": {"name": NAME}, "weight": -5}]}}


class FailedError(Exception):
    """Something is not as it should be; the message is a sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `told`: the object, the Status that says why not, or text."""

    status: int
    now: datetime
    told: Any


@dataclass(frozen=True, slots=True)
class Installation:
    """Where to ask, and as whom."""

    namespace: str
    lease: str
    operator: str
    server: str
    token: str
    trust: ssl.SSLContext

    def ready(self) -> str:
        """The operator answers through its Service."""
        answer = self._ask("GET", f"{self.operator}/readyz")
        if answer.status != 200:
            raise FailedError(f"the operator is not ready: {answer.told}; its log says more")
        return "the operator is ready"

    def led(self) -> str:
        """One operator holds the Lease, and renews it."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/{self.lease}"
        answer = self._ask_server("GET", path)
        if answer.status == 404:
            raise FailedError(f"no operator has led so far: there is no Lease {self.lease}; their logs say why")
        if answer.status != 200:
            raise FailedError(f"the Lease {self.lease} cannot be read: {_message(answer)}")
        spec = answer.told["spec"]
        holder = spec.get("holderIdentity")
        if not holder:
            raise FailedError(f"no operator leads: the Lease {self.lease} was given up; are its pods running?")
        since = (answer.now - datetime.fromisoformat(spec["renewTime"])).total_seconds()
        lasting = spec["leaseDurationSeconds"]
        if since > lasting:
            raise FailedError(
                f"no operator leads: {holder} renewed the Lease {since:.0f} s ago, which lasts {lasting} s; "
                "are its pods running?"
            )
        return f"{holder} leads"

    def taken(self) -> str:
        """The API server takes a Provider and a pool."""
        for manifest in (PROVIDER, POOL):
            answer = self._dry_run(manifest)
            if answer.status not in (200, 201):
                raise FailedError(f"the API server does not take a {manifest['kind']}: {_message(answer)}")
        return "the API server takes a Provider and a ModelPool"

    def refused(self) -> str:
        """The API server knows our schema: what is wrong is refused with the field's name."""
        answer = self._dry_run(WRONG_POOL)
        if answer.status in (200, 201):
            raise FailedError("the API server takes a weight of -5: the definitions are not those of this release")
        if "spec.targets[0].weight" not in _message(answer):
            raise FailedError(f"a weight of -5 is refused for another reason: {_message(answer)}")
        return "the API server refuses a weight of -5"

    def _dry_run(self, manifest: dict[str, Any]) -> Answer:
        collection = f"/apis/{API_VERSION}/namespaces/{self.namespace}/{manifest['kind'].lower()}s"
        return self._ask_server("PATCH", f"{collection}/{NAME}?fieldManager={NAME}&dryRun=All", manifest)

    def _ask_server(self, method: str, path: str, body: object = None) -> Answer:
        return self._ask(method, f"{self.server}{path}", body, {"Authorization": f"Bearer {self.token}"})

    def _ask(self, method: str, url: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        apply = {"Content-Type": "application/apply-patch+yaml"}
        request = urllib.request.Request(url, data, {**apply, **(headers or {})}, method=method)  # noqa: S310 - ours
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.trust)
        )
        try:
            with opener.open(request, timeout=ANSWER_SECONDS) as response:
                return _answer(response.status, response.headers["Date"], response.read())
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.headers["Date"], error.read())
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise FailedError(f"{url.partition('?')[0]} does not answer: {reason}") from error


def _answer(status: int, date: str | None, data: bytes) -> Answer:
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    try:
        return Answer(status, now, json.loads(data))
    except ValueError:
        return Answer(status, now, data.decode(errors="replace").strip())


def _message(answer: Answer) -> str:
    told = answer.told
    return str(told["message"]) if isinstance(told, dict) and "message" in told else f"HTTP {answer.status}"


def run(checks: Sequence[Callable[[], str]], say: Callable[[str], object]) -> int:
    """Ask everything, tell each result in a line; 0 where all is well."""
    failures = 0
    for check in checks:
        try:
            say(f"ok    {check()}\n")
        except FailedError as error:
            failures += 1
            say(f"FAIL  {error}\n")
    return 1 if failures else 0


def main(arguments: Sequence[str]) -> int:
    """0 where all is well, 1 where something is not, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m modelpool_operator.selftest", description=__doc__.splitlines()[0])
    parser.add_argument("--namespace", required=True, help="the release's namespace")
    parser.add_argument("--lease", required=True, help="name of the operator's Lease")
    parser.add_argument("--operator", required=True, metavar="URL", help="where the operator's probes are")
    parser.add_argument("--server", default="https://kubernetes.default.svc", metavar="URL", help="the API server")
    parser.add_argument("--account", type=Path, default=ACCOUNT, metavar="DIR", help="where token and ca.crt lie")
    options = parser.parse_args(arguments)
    try:
        token = (options.account / "token").read_text().strip()
        trust = ssl.create_default_context(cafile=str(options.account / "ca.crt"))
    except OSError as error:
        parser.error(f"--account must be a folder with token and ca.crt: {error}")
    found = Installation(options.namespace, options.lease, options.operator, options.server, token, trust)
    return run([found.ready, found.led, found.taken, found.refused], sys.stdout.write)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
