"""A real control plane on loopback: etcd, kube-apiserver with RBAC, kube-controller-manager, and the tools that ask it.

Nodes and a scheduler are not there: a pod is stored and stays Pending. Everything lies in one temporary folder and ends
with the process that started it, however that ends. tests/controlplane/README.md shows how to use it.
"""

import contextlib
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import controlplane_build
from controlplane_client import Answered, Client, Ran, encoded, kubeconfig, run
from controlplane_process import Child
from controlplane_room import Room, free_ports, sweep

START_SECONDS = 60.0
CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "deployment-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "validatingadmissionpolicy-status-controller",
)
_NO_LABELS: Mapping[str, str] = {}


class ControlPlane:
    """One control plane, running from its making to `close`."""

    def __init__(self, api: str = "v1.35", *, controllers: bool = True) -> None:
        """`api`: the module that the API server is from. Raises CannotBuildError."""
        modules = [controlplane_build.MODULES[name] for name in {"certificates", "v1.35", "helm", api}]
        self._programs = controlplane_build.programs(modules, say=lambda line: None)
        sweep()
        self._room = Room()
        self.dir = self._room.dir
        self.api = api
        self._children: dict[str, Child] = {}
        try:
            self.certificates = self.dir / "certificates"
            self.certificates.mkdir()
            subprocess.run([self._programs["certificates/certificates"], self.certificates], check=True)
            self._start(controllers=controllers)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<ControlPlane {self.api} at {self.url}: {', '.join(map(repr, self._children.values()))}>"

    # What there is

    @property
    def ca(self) -> Path:
        """The certificate of the authority that signed the API server's."""
        return self.certificates / "ca.crt"

    def kubectl(self, *args: str, input: str | None = None, as_: str | None = None) -> Ran:  # noqa: A002 - as subprocess
        """kubectl as the administrator, or as the user `as_` (`system:serviceaccount:<namespace>:<name>`)."""
        impersonated = [] if as_ is None else ["--as", as_]
        command = [str(self._programs["v1.35/kubectl"]), "--kubeconfig", str(self.admin), *impersonated, *args]
        return run(command, stdin=input or "", env=self._tool_env())

    def helm(self, *args: str, input: str | None = None) -> Ran:  # noqa: A002 - as subprocess
        """helm as the administrator."""
        return run([str(self._programs["helm/helm"]), *args], stdin=input or "", env=self._tool_env())

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        content_type: str = "application/json",
    ) -> Answered:
        """One request to the API server, as the administrator or with this token. Raises OSError where it is away."""
        return self.client.request(method, path, body, token=token, content_type=content_type)

    def namespace(self, prefix: str = "test", labels: Mapping[str, str] = _NO_LABELS) -> str:
        """A new namespace with its default ServiceAccount, under a name that nobody had before."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        metadata = {"name": name, "labels": dict(labels)}
        self.request("POST", "/api/v1/namespaces", {"metadata": metadata}).ok()
        if "kube-controller-manager" in self._children:
            self.until(lambda: self._is_there(f"/api/v1/namespaces/{name}/serviceaccounts/default"))
        return name

    def token(self, namespace: str, serviceaccount: str, seconds: int = 3600) -> str:
        """A new token of a ServiceAccount (TokenRequest), as a pod's volume holds it."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{serviceaccount}/token"
        made = self.request("POST", path, {"spec": {"expirationSeconds": seconds}}).ok()
        return str(made["status"]["token"])

    def kubeconfig_for(self, namespace: str, serviceaccount: str) -> Path:
        """A kubeconfig that reads a new token of this ServiceAccount from a file beside it."""
        folder = self.dir / "users" / f"{namespace}-{serviceaccount}-{secrets.token_hex(4)}"
        folder.mkdir(parents=True)
        token = folder / "token"
        token.write_text(self.token(namespace, serviceaccount))
        return kubeconfig(folder / "kubeconfig", self.url, self.ca, {"tokenFile": str(token)}, namespace)

    def until(self, holds: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Ask again and again until it holds; AssertionError at the deadline, and where a part of this has ended."""
        deadline = time.monotonic() + seconds
        while not holds():
            for child in self._children.values():
                assert child.running, f"{child}\n{child.tail()}"
            assert time.monotonic() < deadline, "\n".join(f"{each}\n{each.tail()}" for each in self._children.values())
            time.sleep(0.05)

    # Faults

    def stop_api(self) -> None:
        """The API server dies; etcd keeps what is stored."""
        self._children.pop("kube-apiserver").kill()

    def start_api(self) -> None:
        """It is back, at the same address; returns when it is ready."""
        self._start_api()
        self._ready()

    def pause_api(self) -> None:
        """The API server hangs: connections stay open, and nothing is answered."""
        self._children["kube-apiserver"].pause()

    def resume_api(self) -> None:
        """It goes on."""
        self._children["kube-apiserver"].resume()

    @contextlib.contextmanager
    def api_away(self) -> Iterator[None]:
        """The API server is away inside, and ready again after."""
        self.stop_api()
        try:
            yield
        finally:
            self.start_api()

    @contextlib.contextmanager
    def api_hanging(self) -> Iterator[None]:
        """The API server hangs inside."""
        self.pause_api()
        try:
            yield
        finally:
            self.resume_api()

    def close(self) -> None:
        """End everything and remove what it wrote."""
        for name in ("kube-controller-manager", "kube-apiserver", "etcd"):
            if child := self._children.pop(name, None):
                child.kill()
        self._room.close()

    # How it starts

    def _start(self, *, controllers: bool) -> None:
        etcd, peers, self.port = free_ports(3)
        self.url = f"https://127.0.0.1:{self.port}"
        self.client = Client(self.url, self.certificates)
        admin = {
            "client-certificate-data": encoded(self.certificates / "admin.crt"),
            "client-key-data": encoded(self.certificates / "admin.key"),
        }
        self.admin = kubeconfig(self.dir / "admin.kubeconfig", self.url, self.ca, admin)
        self._etcd = f"http://127.0.0.1:{etcd}"
        peer = f"http://127.0.0.1:{peers}"
        self._run(
            "v1.35/etcd",
            f"--data-dir={self.dir / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={self._etcd}",
            f"--advertise-client-urls={self._etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
        )
        self._start_api()
        self._ready()
        if controllers:
            self._run(
                "v1.35/kube-controller-manager",
                f"--kubeconfig={self.admin}",
                f"--controllers={','.join(CONTROLLERS)}",
                f"--root-ca-file={self.ca}",
                f"--service-account-private-key-file={self.certificates / 'serviceaccounts.key'}",
                "--leader-elect=false",
                "--secure-port=0",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
                "--concurrent-gc-syncs=4",
            )
            self.until(lambda: self._is_there("/api/v1/namespaces/default/serviceaccounts/default"))

    def _start_api(self) -> None:
        key, certificate = self.certificates / "apiserver.key", self.certificates / "apiserver.crt"
        accounts = self.certificates / "serviceaccounts"
        self._run(
            f"{self.api}/kube-apiserver",
            f"--etcd-servers={self._etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self.ca}",
            "--authorization-mode=RBAC",
            "--anonymous-auth=false",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={accounts}.pub",
            f"--service-account-signing-key-file={accounts}.key",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
            "--allow-privileged=true",
            "--profiling=false",
        )

    def _run(self, program: str, *args: str) -> None:
        path = self._programs[program]
        self._children[path.name] = Child([str(path), *args], self.dir / f"{path.name}.log")

    def _ready(self) -> None:
        self.until(lambda: self._answers("/readyz") and self._is_there("/api/v1/namespaces/default"))

    def _answers(self, path: str) -> bool:
        try:
            return self.client.request("GET", path, seconds=5.0).status == 200
        except OSError:
            return False

    def _is_there(self, path: str) -> bool:
        return self.request("GET", path).status == 200

    def _tool_env(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "HELM_"))}
        home = self.dir / "tools"
        folders = {f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        return {**inherited, **folders, "KUBECONFIG": str(self.admin), "KUBECACHEDIR": str(home / "kube")}
