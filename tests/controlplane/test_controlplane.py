"""What the other tests rely on: a control plane is real, its faults are faults, and nothing of it is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane import ControlPlane

SUPPORT = Path(__file__).parents[1] / "support"


def _eventually(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not come true within {seconds:g} s"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_service_account_may_do_what_its_role_says_and_no_more(controlplane: ControlPlane, namespace: str) -> None:
    controlplane.kubectl("create", "role", "reader", "--verb=get", "--resource=configmaps", "-n", namespace).ok()
    bind = f"--serviceaccount={namespace}:default"
    controlplane.kubectl("create", "rolebinding", "reader", "--role=reader", bind, "-n", namespace).ok()
    token = controlplane.token(namespace, "default")
    path = f"/api/v1/namespaces/{namespace}"
    assert controlplane.request("GET", f"{path}/configmaps/kube-root-ca.crt", token=token).status == 200
    assert controlplane.request("GET", f"{path}/secrets/any", token=token).status == 403
    user = f"system:serviceaccount:{namespace}:default"
    assert controlplane.kubectl("auth", "can-i", "get", "configmaps", "-n", namespace, as_=user).code == 0
    assert controlplane.kubectl("auth", "can-i", "get", "secrets", "-n", namespace, as_=user).code == 1


def test_a_kubeconfig_of_a_service_account_reads_its_token_anew(controlplane: ControlPlane, namespace: str) -> None:
    path = controlplane.kubeconfig_for(namespace, "default")
    who = controlplane.kubectl("--kubeconfig", str(path), "auth", "whoami", "-o", "json").json
    assert who["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:default"
    path.with_name("token").write_text("nonsense")
    assert controlplane.kubectl("--kubeconfig", str(path), "auth", "whoami").code == 1


def test_a_namespace_is_deleted_with_all_that_is_in_it(controlplane: ControlPlane) -> None:
    name = controlplane.namespace(labels={"a": "b"})
    assert controlplane.kubectl("get", "namespace", name, "-o", "json").json["metadata"]["labels"]["a"] == "b"
    controlplane.kubectl("create", "configmap", "any", "-n", name).ok()
    controlplane.kubectl("delete", "namespace", name).ok()
    assert controlplane.request("GET", f"/api/v1/namespaces/{name}").status == 404


def test_helm_speaks_to_this_server_and_to_no_other(controlplane: ControlPlane, namespace: str) -> None:
    assert controlplane.helm("list", "-n", namespace, "-o", "json").json == []
    assert "HELM_CACHE_HOME=" + str(controlplane.dir) in controlplane.helm("env").stdout.replace('"', "")


def test_the_faults_of_an_api_server_are_real(own_controlplane: ControlPlane) -> None:
    plane = own_controlplane
    plane.kubectl("create", "configmap", "kept", "--from-literal=a=b").ok()
    with plane.api_away(), pytest.raises(OSError, match="refused"):
        plane.request("GET", "/readyz")
    assert plane.request("GET", "/api/v1/namespaces/default/configmaps/kept").ok()["data"] == {"a": "b"}
    with plane.api_hanging(), pytest.raises(OSError, match="timed out"):
        plane.client.request("GET", "/readyz", seconds=0.3)
    assert plane.request("GET", "/readyz").status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at a parent's death is Linux's")
@pytest.mark.usefixtures("controlplane")
def test_nothing_runs_on_where_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, controlplane\n"
        "plane = controlplane.ControlPlane()\n"
        "print(*[child.pid for child in plane._children.values()], plane.dir, flush=True)\n"
        "sys.stdin.read()\n"
    )
    env = {**os.environ, "PYTHONPATH": str(SUPPORT), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout is not None
        *pids, folder = process.stdout.readline().split()
        running = [int(pid) for pid in pids if _alive(int(pid))]
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(running) == 3
    _eventually(lambda: not any(map(_alive, running)))
    assert Path(folder).exists()
    subprocess.run([sys.executable, "-c", "import controlplane_room; controlplane_room.sweep()"], env=env, check=True)
    assert not Path(folder).exists()


def test_a_closed_control_plane_leaves_no_process_and_no_file(own_controlplane: ControlPlane) -> None:
    pids = [child.pid for child in own_controlplane._children.values()]
    assert all(map(_alive, pids))
    own_controlplane.close()
    assert not any(map(_alive, pids))
    assert not own_controlplane.dir.exists()
