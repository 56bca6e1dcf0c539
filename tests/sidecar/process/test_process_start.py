"""How the process starts: with what, without what, and with what it cannot use."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import modelpool_sidecar
from builders import a_config, a_provider
from modelpool_config.models import SCHEMA_VERSION
from modelpool_sidecar.fake import FakeProvider
from process_support import Process, Volume, eventually, fetch, listening, ready, started


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


async def stances(process: Process) -> tuple[int, int]:
    """Of /livez and /readyz."""
    return (await process.get("/livez")).status, (await process.get("/readyz")).status


async def test_without_a_config_it_is_live_and_not_ready_until_one_appears(volume: Volume) -> None:
    provider = FakeProvider("primary")
    await provider.start()
    async with listening(volume.root) as process:
        assert await stances(process) == (200, 503)
        await eventually(lambda: process.said("not ready, there is no config to use yet"))
        refused = await process.ask()
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "not_ready", "1")
        digest = (await process.get("/-/digest")).json
        assert (digest["config"], digest["pools"], digest["schemaVersion"]) == (None, {}, SCHEMA_VERSION)
        volume.put(a_config(providers=[a_provider(base_url=provider.base_url)]))
        await eventually(process.is_ready)
        assert await stances(process) == (200, 200)
        answer = await process.ask()
        assert (answer.status, answer.headers["x-modelpool-target"]) == (200, "primary")
        process.terminate()
        assert await process.ended() == 0
    await provider.stop()


async def test_a_config_that_is_there_at_the_start_is_in_force_with_the_first_look(volume: Volume) -> None:
    volume.put(a_config(), gzipped=True)
    async with ready(volume) as process:
        in_force = (await process.get("/-/config")).json
        assert [pool["name"] for pool in in_force["pools"]] == ["chat"]
        assert await process.reloads("ok") == 1
        assert not process.said("ERROR")


def test_what_only_fakes_and_traces_need_is_not_loaded_without_them() -> None:
    """Start and memory are paid in every pod: a Fake is for the quickstart, the SDK for those who export traces."""
    code = "import sys, modelpool_sidecar.process; print(*sys.modules, sep='\\n')"
    env = {"PYTHONPATH": str(Path(modelpool_sidecar.__file__).parent.parent)}
    told = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    loaded = set(told.stdout.split())
    assert "modelpool_sidecar.app" in loaded
    needless = ("modelpool_sidecar.fake", "opentelemetry", "requests", "urllib3", "google.protobuf")
    assert {name for name in loaded if name.startswith(needless)} == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODELPOOL_PORT", "abc"),
        ("MODELPOOL_ADMIN_HOST", "everywhere"),
        ("MODELPOOL_DRAIN", "soon"),
    ],
)
async def test_a_variable_that_cannot_be_used_is_told_in_one_sentence(tmp_path: Path, name: str, value: str) -> None:
    async with started(tmp_path, {name: value}) as process:
        assert await process.ended() == 2
    assert len(process.err) == 1
    assert process.err[0].startswith(f"{name}={value!r}: must be ")
    assert not process.out


@pytest.mark.parametrize("which", [0, 1, 2], ids=["data", "probes", "loopback"])
async def test_a_port_that_is_taken_is_named(tmp_path: Path, which: int) -> None:
    named, line = -1, ""
    for _ in range(5):  # another process of this machine may have taken one of the other two meanwhile
        base, taken = three_free_ports(which)
        with taken:
            async with started(tmp_path, {"MODELPOOL_PORT": str(base)}) as process:
                assert await process.ended() == 2
        (line,) = process.err
        named = int(line.partition(" port ")[2].partition(":")[0])
        if named == base + which:
            break
    assert f"cannot listen on 127.0.0.1 port {named}: Address already in use" in line
    assert named == base + which
    assert "MODELPOOL_PORT" in line


async def test_the_three_ports_follow_each_other(volume: Volume) -> None:
    volume.put(a_config())
    for _ in range(5):
        base, taken = three_free_ports(0)
        taken.close()
        async with started(volume.root, {"MODELPOOL_PORT": str(base)}) as process:
            await eventually(lambda: process.listens or process.process.returncode is not None)
            if not process.listens:
                continue  # another process of this machine has taken one of them meanwhile
            assert process.ports == (base, base + 1, base + 2)
            assert (await fetch(f"http://127.0.0.1:{base + 1}/-/state")).status == 404
            assert (await fetch(f"http://127.0.0.1:{base + 2}/-/state")).status == 200
            return
    raise AssertionError(process.err)


async def test_a_log_that_nobody_reads_stops_no_request(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        async with listening(tmp_path, stdout=writing) as process:
            assert [(await process.ask()).status for _ in range(3)] == [503, 503, 503]
            process.terminate()
            assert await process.ended() == 0
    finally:
        os.close(writing)
    assert not process.said("Traceback")


def three_free_ports(taken: int) -> tuple[int, socket.socket]:
    """The first of three neighbours that are free, but for this one, which is listened on."""
    while True:
        listener = socket.create_server(("127.0.0.1", 0))
        base = listener.getsockname()[1] - taken
        others = [base + offset for offset in range(3) if offset != taken]
        if base + 2 < 65536 and all(_is_free(port) for port in others):
            return base, listener
        listener.close()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
