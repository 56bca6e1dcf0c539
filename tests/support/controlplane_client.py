"""What tests ask a control plane: how a command or a request was answered, and the kubeconfig files for it."""

import base64
import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REQUEST_SECONDS = 30.0
COMMAND_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    command: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    def ok(self) -> "Ran":
        """Itself, where it went well; AssertionError with all that was said elsewhere."""
        assert self.code == 0, f"{' '.join(self.command)} ended with {self.code}\n{self.stdout}\n{self.stderr}"
        return self

    @property
    def json(self) -> Any:
        """What it printed, where it went well."""
        return json.loads(self.ok().stdout)


def run(command: list[str], *, stdin: str, env: Mapping[str, str], seconds: float = COMMAND_SECONDS) -> Ran:
    """Run a command to its end, with this for its standard input."""
    done = subprocess.run(
        command, input=stdin, env=dict(env), capture_output=True, text=True, timeout=seconds, check=False
    )
    return Ran(tuple(command), done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of the API server. `json`: the object, or the Status that says why not; text where it is neither."""

    status: int
    headers: Mapping[str, str]
    json: Any

    def ok(self) -> Any:
        """The object, where it went well; AssertionError elsewhere."""
        assert self.status < 300, f"{self.status}: {self.json}"
        return self.json


class Client:
    """Plain requests to one API server, as the administrator or with a token."""

    def __init__(self, url: str, certificates: Path) -> None:
        self._url = url
        self._certificates = certificates
        self._openers: dict[bool, urllib.request.OpenerDirector] = {}

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        content_type: str = "application/json",
        seconds: float = REQUEST_SECONDS,
    ) -> Answered:
        """One request. Raises OSError where nobody answers."""
        headers = {"Accept": "application/json", "Content-Type": content_type}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self._url}{path}", data, headers, method=method)
        try:
            with self._opener(as_admin=token is None).open(asked, timeout=seconds) as answer:
                return Answered(answer.status, dict(answer.headers), _read(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answered(error.code, dict(error.headers), _read(error.read()))

    def _opener(self, *, as_admin: bool) -> urllib.request.OpenerDirector:
        if as_admin not in self._openers:
            context = ssl.create_default_context(cafile=str(self._certificates / "ca.crt"))
            if as_admin:
                context.load_cert_chain(self._certificates / "admin.crt", self._certificates / "admin.key")
            handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
            self._openers[as_admin] = urllib.request.build_opener(*handlers)
        return self._openers[as_admin]


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")


def kubeconfig(path: Path, url: str, ca: Path, user: Mapping[str, str], namespace: str = "default") -> Path:
    """Write the file by which a user reaches a server."""
    cluster = {"server": url, "certificate-authority-data": encoded(ca)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "user", "user": dict(user)}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "user", "namespace": namespace}}],
        "current-context": "tests",
    }
    path.write_text(json.dumps(content))
    return path


def encoded(path: Path) -> str:
    """A file's content, as a kubeconfig holds it."""
    return base64.b64encode(path.read_bytes()).decode()
