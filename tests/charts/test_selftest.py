"""The command of `helm test`: run as its pod would, with its account's token, it says yes only where all is well."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

import chart_support
from chart_support import CHART, OWN, PYTHON_ENV, selftest
from controlplane import ControlPlane
from controlplane_definitions import established
from controlplane_running import running

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("charts")]

LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{OWN}/leases"


@pytest.fixture(scope="module")
def own_controlplane() -> Iterator[ControlPlane]:
    """An installation, with the account that `helm test` makes for its pod."""
    for plane in running():
        plane.helm("install", "modelpool", str(CHART), "--namespace", OWN, "--create-namespace").ok()
        hooks = chart_support.rendered(plane, "--show-only=templates/tests/selftest.yaml")
        chart_support.apply(plane, [each for each in hooks if each["kind"] != "Pod"])
        established(plane, ["providers.modelpool.dev", "modelpools.modelpool.dev"])
        yield plane


class _Probes(BaseHTTPRequestHandler):
    """What an operator answers on :8080."""

    answers: ClassVar[Mapping[str, tuple[int, bytes]]] = {}

    def do_GET(self) -> None:
        status, body = self.answers.get(self.path, (404, b""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Nothing is logged."""


@contextmanager
def _operator(status: int, body: bytes) -> Iterator[str]:
    probes = type("_Answering", (_Probes,), {"answers": {"/readyz": (status, body)}})
    with ThreadingHTTPServer(("127.0.0.1", 0), probes) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def _lease(plane: ControlPlane, holder: str, age_seconds: int) -> Iterator[None]:
    renewed = (datetime.now(UTC) - timedelta(seconds=age_seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed}
    plane.request("POST", LEASES, {"metadata": {"name": "modelpool-operator"}, "spec": spec}).ok()
    try:
        yield
    finally:
        plane.request("DELETE", f"{LEASES}/modelpool-operator").ok()


def test_where_all_is_well_it_says_so_and_has_changed_nothing(own_controlplane: ControlPlane, tmp_path: Path) -> None:
    with _operator(200, b"ok") as operator, _lease(own_controlplane, "modelpool-operator-1", 1):
        done = selftest(own_controlplane, operator, tmp_path)
    assert done.stdout.splitlines() == [
        "ok    the operator is ready",
        "ok    modelpool-operator-1 leads",
        "ok    the API server takes a Provider and a ModelPool",
        "ok    the API server refuses a weight of -5",
    ]
    assert (done.returncode, done.stderr) == (0, "")
    for plural in ("providers", "modelpools"):
        path = f"/apis/modelpool.dev/v1alpha1/{plural}"
        assert own_controlplane.request("GET", path).ok()["items"] == []


@pytest.mark.parametrize(
    ("ready", "holder", "age_seconds", "said"),
    [
        ((503, b"not in sync"), "one", 1, "FAIL  the operator is not ready: not in sync; its log says more"),
        (
            (200, b"ok"),
            "",
            1,
            "FAIL  no operator leads: the Lease modelpool-operator was given up; are its pods running?",
        ),
        ((200, b"ok"), "one", 105, "FAIL  no operator leads: one renewed the Lease 10"),
    ],
)
def test_what_is_wrong_with_the_operator_is_told_in_a_sentence(
    ready: tuple[int, bytes],
    holder: str,
    age_seconds: int,
    said: str,
    own_controlplane: ControlPlane,
    tmp_path: Path,
) -> None:
    with _operator(*ready) as operator, _lease(own_controlplane, holder, age_seconds):
        done = selftest(own_controlplane, operator, tmp_path)
    assert done.returncode == 1
    (failed,) = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert failed.startswith(said)


def test_an_operator_that_is_not_there_is_told(own_controlplane: ControlPlane, tmp_path: Path) -> None:
    with _operator(200, b"ok") as operator:
        pass
    done = selftest(own_controlplane, operator, tmp_path)
    assert done.returncode == 1
    unreachable, unled, *rest = done.stdout.splitlines()
    assert unreachable.startswith(f"FAIL  {operator}/readyz does not answer: ")
    assert unled.startswith("FAIL  no operator has led so far: there is no Lease modelpool-operator")
    assert [line[:2] for line in rest] == ["ok", "ok"], "one failure does not stop the other questions"


def _definition(plane: ControlPlane) -> dict[str, Any]:
    return dict(plane.kubectl("get", "crd", "modelpools.modelpool.dev", "-o", "json").json)


def test_a_definition_that_is_not_ours_is_told(own_controlplane: ControlPlane, tmp_path: Path) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modelpools.modelpool.dev"
    open_ = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    loose = [{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": open_}]
    before = _definition(own_controlplane)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    patch = "application/json-patch+json"
    own_controlplane.request("PATCH", path, loose, content_type=patch).ok()
    try:
        with _operator(200, b"ok") as operator, _lease(own_controlplane, "one", 1):
            said = "FAIL  the API server takes a weight of -5: the definitions are not those of this release"
            # The server serves the new schema a moment after it is stored.
            for _ in range(50):
                done = selftest(own_controlplane, operator, tmp_path)
                if said in done.stdout:
                    break
            assert said in done.stdout
            assert done.returncode == 1
    finally:
        own_controlplane.request("PATCH", path, [{**loose[0], "value": before}], content_type=patch).ok()


def test_an_account_without_rights_fails_and_wrong_arguments_are_told(
    own_controlplane: ControlPlane, tmp_path: Path
) -> None:
    own_controlplane.kubectl("create", "serviceaccount", "nobody", "-n", OWN).ok()
    with _operator(200, b"ok") as operator:
        done = selftest(own_controlplane, operator, tmp_path, own_controlplane.token(OWN, "nobody"))
    assert done.returncode == 1
    assert "the Lease modelpool-operator cannot be read: leases.coordination.k8s.io" in done.stdout
    assert "the API server does not take a Provider: providers.modelpool.dev" in done.stdout
    assert "a weight of -5 is refused for another reason: modelpools.modelpool.dev" in done.stdout

    command = [sys.executable, "-m", "modelpool_operator.selftest", "--namespace=x", "--lease=x", "--operator=x"]
    absent = subprocess.run(
        [*command, f"--account={tmp_path / 'absent'}"], env=PYTHON_ENV, capture_output=True, text=True, check=False
    )
    assert absent.returncode == 2
    assert "--account must be a folder with token and ca.crt" in absent.stderr
