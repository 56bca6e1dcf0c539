"""A cluster with modelpool installed as its users install it: the chart by helm, the operator as a process that has no
more than the token of the chart's ServiceAccount, and the volume of a pod, filled as the kubelet would.
"""

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from controlplane import ControlPlane
from controlplane_running import running
from modelpool_config import mount
from process_support import Volume

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "modelpool"
SYSTEM = "modelpool-system"
READY_SECONDS = 20.0
_PORT = re.compile(r"probes on port (\d+)")


def until(holds: Callable[[], object], seconds: float = 15.0) -> Any:
    """Ask again and again until it holds; what it answered then. AssertionError at the deadline."""
    deadline = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < deadline, f"it did not come true within {seconds:g} s"
        time.sleep(0.02)
    return answer


class OperatorProcess:
    """`python -m modelpool_operator` with this kubeconfig."""

    def __init__(self, kubeconfig: Path, **env: str) -> None:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("MODELPOOL_", "OTEL_", "KUBE"))
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "modelpool_operator"],
            env={
                **inherited,
                "PYTHONPATH": os.pathsep.join(str(ROOT / each) for each in ("operator", "sidecar")),
                "KUBECONFIG": str(kubeconfig),
                "MODELPOOL_LISTEN": "127.0.0.1:0",
                **env,
            },
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def log(self) -> str:
        """Everything that it said."""
        return "\n".join(self.lines)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def leads(self) -> bool:
        """Whether it says that it leads."""
        return self.running and self.metric("modelpool_operator_leader") == 1.0

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of one of its own pages; 0 where it does not listen."""
        found = _PORT.search(self.log)
        if not found:
            return 0, ""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """One sample by its whole name, labels included; 0 where it is not there."""
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(f"{name} "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    def rss_bytes(self) -> int:
        """How much memory it holds now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]

    def until_leading(self, seconds: float = READY_SECONDS) -> None:
        """Wait until it leads and has listed everything."""
        with self._told():
            until(lambda: self.leads and self.get("/readyz")[0] == 200, seconds)

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        """It stands still, and does not know."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        if self.running:
            self._process.send_signal(signal.SIGCONT)

    def stop(self, seconds: float = 15.0) -> int:
        """As the kubelet ends it; the exit code."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end:\n{self.log}") from None
        self._reader.join(5)
        return code

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log}") from None

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as said:
            for line in said:
                self.lines.append(line.rstrip("\n"))


class Cluster:
    """A control plane with the chart installed; operators are started by the test."""

    def __init__(self, plane: ControlPlane, *values: str) -> None:
        self.plane = plane
        self.operators: list[OperatorProcess] = []
        plane.helm("install", "modelpool", str(CHART), "-n", SYSTEM, "--create-namespace", *values).ok()

    def operator(self, release: str = "modelpool", system: str = SYSTEM, **env: str) -> OperatorProcess:
        """One replica, with the rights of the chart's ServiceAccount and no others."""
        kubeconfig = self.plane.kubeconfig_for(system, f"{release}-operator")
        made = OperatorProcess(kubeconfig, MODELPOOL_INSTANCE=f"{system}/{release}", **env)
        self.operators.append(made)
        return made

    def apply(self, namespace: str, *manifests: Mapping[str, Any]) -> str:
        """kubectl apply; what it printed."""
        text = "\n---\n".join(json.dumps(each) for each in manifests)
        return self.plane.kubectl("apply", "-n", namespace, "-f", "-", input=text).ok().stdout

    def delete(self, namespace: str, what: str) -> None:
        """kubectl delete of `kind/name`, returning when it is gone."""
        self.plane.kubectl("delete", "-n", namespace, what).ok()

    def wait(self, namespace: str, what: str, condition: str = "Ready", status: str = "True") -> None:
        """kubectl wait."""
        wanted = f"--for=condition={condition}={status}"
        done = self.plane.kubectl("wait", "-n", namespace, what, wanted, "--timeout=20s")
        assert done.code == 0, f"{done.stderr}\n{self.describe(namespace, what)}\n{self.logs()}"

    def get(self, namespace: str, what: str) -> dict[str, Any] | None:
        """One object by `kind/name`, None where it is not there."""
        done = self.plane.kubectl("get", "-n", namespace, what, "-o", "json", "--ignore-not-found")
        found: dict[str, Any] | None = json.loads(done.ok().stdout) if done.stdout else None
        return found

    def condition(self, namespace: str, what: str, kind: str) -> dict[str, Any]:
        """One condition, empty where it is not there."""
        status = (self.get(namespace, what) or {}).get("status", {})
        return next((each for each in status.get("conditions", ()) if each["type"] == kind), {})

    def reason(self, namespace: str, what: str, kind: str = "Ready") -> tuple[str, str]:
        """Status and reason of one condition."""
        found = self.condition(namespace, what, kind)
        return found.get("status", ""), found.get("reason", "")

    def config(self, namespace: str) -> dict[str, Any]:
        """The config in the namespace's ConfigMap."""
        found = self.get(namespace, f"configmap/{mount.CONFIG_MAP}") or {}
        config: dict[str, Any] = json.loads(found.get("data", {}).get("config.json", "{}"))
        return config

    def describe(self, namespace: str, what: str) -> str:
        """kubectl describe."""
        return self.plane.kubectl("describe", "-n", namespace, what).stdout

    def logs(self) -> str:
        """What all operators said."""
        return "\n\n".join(each.log for each in self.operators)

    def close(self) -> None:
        """End the operators."""
        for each in self.operators:
            each.resume()
            each.stop()


def cluster(*values: str) -> Iterator[Cluster]:
    """A cluster of its own; skips where it cannot be built, and fails in CI."""
    for plane in running():
        made = Cluster(plane, *values)
        try:
            yield made
        finally:
            made.close()


class Kubelet:
    """Projects a namespace's ConfigMap and Secret into a volume, as a pod with the sidecar has it."""

    def __init__(self, plane: ControlPlane, namespace: str, root: Path) -> None:
        self._plane = plane
        self._namespace = namespace
        self.volume = Volume(root)
        self.swaps = 0
        self._files: dict[str, bytes] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._project()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            with contextlib.suppress(OSError):  # the API server is away: the volume stays as it is
                self._project()

    def _project(self) -> None:
        files: dict[str, bytes] = {}
        for plural, name in (("configmaps", mount.CONFIG_MAP), ("secrets", mount.SECRET)):
            answer = self._plane.request("GET", f"/api/v1/namespaces/{self._namespace}/{plural}/{name}")
            if answer.status == 404:
                continue
            found = answer.ok()
            for key, value in (found.get("data") or {}).items():
                files[key] = base64.b64decode(value) if plural == "secrets" else value.encode()
            for key, value in (found.get("binaryData") or {}).items():
                files[key] = base64.b64decode(value)
        if files != self._files:
            self._files = files
            self.volume.project(files)
            self.swaps += 1


async def in_thread(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """A blocking call beside the loop."""
    return await asyncio.to_thread(lambda: call(*arguments, **options))
