"""The two images: built from the real Dockerfiles, started as Kubernetes starts them, and nothing in them too much."""

import os
import re
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

import image_build
from image_build import Built
from image_run import Container, run, started
from modelpool_cli.compiling import Compiler
from modelpool_cli.manifests import read_files
from modelpool_operator.inject_container import USER_ID, Options, container
from modelpool_sidecar.settings import Settings
from modelpool_sidecar.version import IMAGE, VERSION
from one_builder import CannotBuildError
from process_support import Volume, eventually

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("images")]
ROOT = Path(__file__).parents[2]
LARGEST = {"sidecar": 190, "operator": 340}
"""MB, unpacked. Half of it is Debian with Python, and half of the operator's is the kubernetes client."""
OWN = {
    "sidecar": {"modelpool_config", "modelpool_sidecar"},
    "operator": {"modelpool_config", "modelpool_operator"},
}


@pytest.fixture(scope="module")
def images() -> dict[str, Built]:
    try:
        return image_build.images(say=image_build.tell)
    except CannotBuildError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.fixture
def sidecar(images: dict[str, Built]) -> Built:
    return images["sidecar"]


@pytest.fixture
def operator(images: dict[str, Built]) -> Built:
    return images["operator"]


@pytest.fixture(params=["sidecar", "operator"])
def each(request: pytest.FixtureRequest, images: dict[str, Built]) -> Built:
    return images[request.param]


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """The quickstart's pool, whose providers the sidecar plays itself."""
    namespace = Compiler().compile(read_files([ROOT / "examples" / "quickstart"])).of("default")
    assert namespace is not None
    root = tmp_path / "volume"
    root.mkdir(mode=0o755)
    volume = Volume(root)
    volume.put(namespace.config)
    return volume


async def listens(process: Container) -> None:
    await eventually(lambda: process.listens or process.process.returncode is not None)
    assert process.listens, process.err


# -- the sidecar


async def test_the_sidecar_answers_from_its_mount_as_a_nobody_on_a_read_only_root_and_drains(
    sidecar: Built, volume: Volume
) -> None:
    async with started(sidecar, volume=volume.root, env={"MODELPOOL_PORT": "0"}) as process:
        await listens(process)
        await eventually(process.is_ready)
        answer = await process.ask()
        assert (answer.status, answer.headers["x-modelpool-pool"]) == (200, "chat")
        assert answer.json["choices"][0]["message"]["content"]
        streamed = await process.ask(stream=True)
        assert streamed.body.rstrip().endswith(b"data: [DONE]")
        assert process.status("Uid") == process.status("Gid") == [str(USER_ID)] * 4
        assert process.status("NSpid")[-1] == "1"
        assert (process.status("CapEff"), process.status("NoNewPrivs")) == (["0" * 16], ["1"])
        process.terminate()
        assert await process.ended() == 0


async def test_a_config_that_is_swapped_in_is_followed(sidecar: Built, volume: Volume) -> None:
    async with started(sidecar, volume=volume.root, env={"MODELPOOL_PORT": "0"}) as process:
        await listens(process)
        await eventually(process.is_ready)
        before = (await process.get("/-/digest")).json["config"]
        manifests = read_files([ROOT / "examples" / "quickstart"])
        manifests = [type(each)(each.name, each.data.replace(b"weight: 90", b"weight: 50")) for each in manifests]
        namespace = Compiler().compile(manifests).of("default")
        assert namespace is not None
        volume.put(namespace.config)

        async def followed() -> bool:
            return bool((await process.get("/-/digest")).json["config"] != before)

        await eventually(followed)


def test_the_probes_listen_where_inject_says(sidecar: Built) -> None:
    ports = {int(port.partition("/")[0]) for port in sidecar.config["ExposedPorts"]}
    assert ports == {Settings().admin_port}
    assert {each["containerPort"] for each in container(Options(IMAGE))["ports"]} == ports


def test_the_sidecar_has_no_kubernetes_in_it(sidecar: Built) -> None:
    for module in ("kubernetes", "kopf", "modelpool_operator", "modelpool_cli"):
        found = run(sidecar, "python3", "-c", f"import {module}")
        assert f"No module named '{module}'" in found.stderr


def test_a_wrong_variable_ends_the_sidecar_with_a_sentence(sidecar: Built) -> None:
    found = run(sidecar, MODELPOOL_LOG_LEVEL="loud")
    assert (found.returncode, found.stderr) == (
        2,
        "MODELPOOL_LOG_LEVEL='loud': must be one of debug, info, warning, error\n",
    )


# -- the operator


def test_without_a_cluster_the_operator_says_so_and_ends(operator: Built) -> None:
    found = run(operator)
    assert (found.returncode, found.stdout) == (2, "")
    (line,) = found.stderr.splitlines()
    assert "no API server can be found" in line
    assert "KUBECONFIG" in line, "what to do outside a cluster"


def test_the_operator_has_what_it_works_with(operator: Built) -> None:
    found = run(operator, "python3", "-c", "import modelpool_operator.process, kopf, kubernetes.aio; print('ok')")
    assert found.stdout == "ok\n", found.stderr


# -- both


def test_a_runtime_is_told_all_that_it_needs(each: Built) -> None:
    config = each.config
    assert config["User"] == f"{USER_ID}:{USER_ID}", "a number: else runAsNonRoot cannot be judged"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"][:2] == ["python3", "-m"], "no shell, which would keep the signal to itself"
    assert not config.get("Cmd")
    assert config["Labels"]["org.opencontainers.image.version"] == VERSION
    assert config["Labels"]["org.opencontainers.image.title"] == config["Entrypoint"][2].replace("_", "-")


def installed(built: Built) -> dict[str, str]:
    """Distributions with their versions."""
    found = [PathDistribution(path) for path in (built.root / "opt" / "modelpool").glob("*.dist-info")]
    return {re.sub(r"[-_.]+", "-", each.name).lower(): each.version for each in found}


@pytest.mark.parametrize("name", OWN)
def test_what_is_installed_is_what_the_lock_pins_and_our_own_packages(images: dict[str, Built], name: str) -> None:
    locked = image_build.pins(name)
    found = installed(images[name])
    assert found.pop("modelpool") == VERSION
    assert found.items() <= locked.items()
    assert len(found) > len(locked) / 2, "the rest is for other systems"
    ours = {path.name for path in (images[name].root / "opt" / "modelpool").glob("modelpool_*")}
    assert ours == OWN[name]


def test_every_module_is_compiled_for_nothing_can_be_written_there(each: Built) -> None:
    lacking = [
        path
        for path in (each.root / "opt" / "modelpool").rglob("*.py")
        if not (path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc").exists()
    ]
    assert lacking == []
    assert run(each, "touch", "/opt/modelpool/x").returncode != 0
    assert "Read-only file system" in run(each, "touch", "/tmp/x").stderr


def test_no_build_tool_and_no_setting_of_the_build_machine_is_left(each: Built) -> None:
    for path in ("venv", "build", "etc/pip.conf", "usr/bin/pip", "usr/bin/pip3", "usr/bin/gcc", "opt/modelpool/bin"):
        assert not (each.root / path).exists(), path
    assert (each.root / "etc/ssl/certs/ca-certificates.crt").stat().st_size > 100_000


def test_the_size_stays_within_what_the_page_says(images: dict[str, Built]) -> None:
    page = (ROOT / "docs" / "images.md").read_text()
    for name, built in images.items():
        assert built.megabytes <= LARGEST[name]
        told = int(re.search(rf"\| `modelpool-{name}` \|[^|]*\| (\d+) MB", page)[1])
        assert abs(built.megabytes - told) <= told / 10, f"docs/images.md says {told} MB"
