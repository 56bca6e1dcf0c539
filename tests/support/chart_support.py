"""What the tests of the chart share: a control plane per module, what the chart renders, and who may do what."""

import http.client
import json
import os
import ssl
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from controlplane import ControlPlane

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "modelpool"
OWN = "modelpool-system"
INSTALL = ROOT / "deploy" / "install.yaml"
PYTHON_ENV = {**os.environ, "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'sidecar'}"}

Manifest = dict[str, Any]


def helm_path(plane: ControlPlane) -> Path:
    """The helm that a control plane was given."""
    return plane._programs["helm/helm"]


def documents(text: str) -> list[Manifest]:
    """The manifests of a file with several."""
    return [each for each in yaml.safe_load_all(text) if each]


def rendered(plane: ControlPlane, *options: str, release: str = "modelpool") -> list[Manifest]:
    """What `helm template` makes of the chart."""
    done = plane.helm("template", release, str(CHART), "--namespace", OWN, *options).ok()
    return documents(done.stdout)


def apply(plane: ControlPlane, manifests: list[Manifest]) -> None:
    """kubectl apply."""
    plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(manifests)).ok()


def identity(manifest: Manifest) -> tuple[str, str, str]:
    """Kind, namespace and name."""
    metadata = manifest["metadata"]
    return manifest["kind"], metadata.get("namespace", ""), metadata["name"]


def selftest(
    plane: ControlPlane, operator: str, folder: Path, token: str | None = None
) -> "subprocess.CompletedProcess[str]":
    """The command of the test's pod, with what a pod has: its account's token and the authority's certificate."""
    (pod,) = [each for each in rendered(plane) if each["kind"] == "Pod"]
    (container,) = pod["spec"]["containers"]
    python, *command = container["command"]
    assert python == "python3"
    args = {each.partition("=")[0]: each for each in container["args"]}
    assert args["--operator"] == f"--operator=http://modelpool-operator.{OWN}:8080"
    args |= {"--operator": f"--operator={operator}", "--server": f"--server={plane.url}"}
    (folder / "token").write_text(token or plane.token(OWN, pod["spec"]["serviceAccountName"]))
    (folder / "ca.crt").write_bytes(plane.ca.read_bytes())
    return subprocess.run(
        [sys.executable, *command, *args.values(), f"--account={folder}"],
        env=PYTHON_ENV,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@dataclass(frozen=True, slots=True)
class Right:
    """What somebody may do. `names` empty: with every object. `namespaces` None: in all of them, and cluster-wide."""

    group: str
    resource: str
    verbs: str
    names: tuple[str, ...] = ()
    namespaces: tuple[str, ...] | None = None

    def permits(self, group: str, resource: str, verb: str, namespace: str, name: str) -> bool:
        """Whether one attempt is covered."""
        return (
            (group, resource) == (self.group, self.resource)
            and verb in self.verbs.split()
            and (not self.names or name in self.names)
            and (self.namespaces is None or namespace in self.namespaces)
        )


@dataclass(slots=True)
class Reviews:
    """Asks the API server about others' rights, many times over one connection."""

    plane: ControlPlane
    _connection: http.client.HTTPSConnection = field(init=False)

    def __post_init__(self) -> None:
        context = ssl.create_default_context(cafile=str(self.plane.ca))
        certificates = self.plane.certificates
        context.load_cert_chain(certificates / "admin.crt", certificates / "admin.key")
        self._connection = http.client.HTTPSConnection("127.0.0.1", self.plane.port, context=context)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def allows(self, user: str, group: str, resource: str, verb: str, namespace: str, name: str) -> bool:
        """Whether `user` may do this. `resource` may be `modelpools/status`; namespace "" is all of them."""
        kind, _, below = resource.partition("/")
        attributes = {"group": group, "resource": kind, "subresource": below, "verb": verb}
        attributes |= {"namespace": namespace, "name": name}
        review = {"spec": {"user": user, "groups": groups(user), "resourceAttributes": attributes}}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        self._connection.request("POST", path, json.dumps(review), {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        told = json.loads(answer.read())
        assert answer.status == 201, told
        return bool(told["status"]["allowed"])

    def rules(self, token: str, namespace: str) -> set[tuple[str, str, str, str]]:
        """Every single right of an account in a namespace: group, resource, verb, name ("" = any)."""
        path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
        told = self.plane.request("POST", path, {"spec": {"namespace": namespace}}, token=token).ok()["status"]
        assert told["incomplete"] is False
        return {
            (group, resource, verb, name)
            for rule in told["resourceRules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
            for name in rule.get("resourceNames") or [""]
        }


def groups(user: str) -> list[str]:
    """The groups that the API server puts a user into."""
    everybody = ["system:authenticated"]
    if user.startswith("system:serviceaccount:"):
        return ["system:serviceaccounts", f"system:serviceaccounts:{user.split(':')[2]}", *everybody]
    return everybody
