"""Where a control plane's programs come from: a cache that Go fills once, KUBEBUILDER_ASSETS, and never PATH."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controlplane_build import MODULES, Module, cache_dir, programs
from one_builder import CannotBuildError

ROOT = Path(__file__).parents[2]
GO = shutil.which("go")
pytestmark = pytest.mark.slow
needs_go = pytest.mark.skipif(GO is None and not os.environ.get("CI"), reason="there is no go to build with")


@pytest.fixture
def module(tmp_path: Path) -> Module:
    """A program that takes no time to build."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "go.mod").write_text("module tiny\n\ngo 1.24\n")
    (folder / "main.go").write_text('package main\n\nfunc main() { println("built") }\n')
    return Module(folder, {"tiny": "."}, assets=True)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment with a cache of its own, and without assets."""
    inherited = {name: value for name, value in os.environ.items() if name != "KUBEBUILDER_ASSETS"}
    return {**inherited, "MODELPOOL_TEST_CACHE": str(tmp_path / "cache")}


def _executable(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def _built(module: Module, environ: dict[str, str]) -> tuple[Path, list[str]]:
    said: list[str] = []
    return programs([module], say=said.append, environ=environ)["tiny/tiny"], said


@needs_go
def test_a_program_is_built_once_and_tells_of_it(module: Module, environ: dict[str, str]) -> None:
    program, said = _built(module, environ)
    assert subprocess.run([program], capture_output=True, text=True, check=True).stderr == "built\n"
    assert said[0] == "building tiny of tiny (1 of 1), once"
    assert re.fullmatch(r"built tiny in \d+ s", said[1])
    assert _built(module, {**environ, "PATH": ""}) == (program, [])


@needs_go
@pytest.mark.parametrize("file", ["go.mod", "go.sum", "main.go"])
def test_a_changed_module_is_built_anew(module: Module, environ: dict[str, str], file: str) -> None:
    before, _ = _built(module, environ)
    with (module.folder / file).open("a") as changed:
        changed.write("\n")
    after, said = _built(module, environ)
    assert after != before
    assert said
    assert before.exists()


def test_other_flags_make_another_program(module: Module) -> None:
    assert dataclasses.replace(module, ldflags="-s").key != module.key


@needs_go
def test_of_many_one_builds_and_the_others_wait(module: Module, environ: dict[str, str]) -> None:
    with ThreadPoolExecutor(4) as together:
        answers = list(together.map(lambda _: _built(module, environ), range(4)))
    assert len({program for program, _ in answers}) == 1
    assert sum(line.startswith("built ") for _, said in answers for line in said) == 1


@needs_go
def test_a_failed_build_says_why_and_leaves_nothing(module: Module, environ: dict[str, str]) -> None:
    (module.folder / "main.go").write_text("package main\n\nfunc main() { nonsense() }\n")
    with pytest.raises(CannotBuildError, match=r"go could not build tiny in .*tiny:\n(.|\n)*undefined: nonsense"):
        _built(module, environ)
    assert list((cache_dir(environ) / module.key).iterdir()) == []


@needs_go
def test_assets_are_taken_and_what_they_lack_is_built(tmp_path: Path, module: Module, environ: dict[str, str]) -> None:
    other = _executable(tmp_path / "assets" / "other")
    environ["KUBEBUILDER_ASSETS"] = str(other.parent)
    both = dataclasses.replace(module, packages={"tiny": ".", "other": "."})
    found = programs([both], say=lambda line: None, environ=environ)
    assert found["tiny/other"] == other
    assert found["tiny/tiny"].is_relative_to(cache_dir(environ))
    pinned = dataclasses.replace(both, assets=False)
    assert pinned.key == both.key
    assert programs([pinned], say=lambda line: None, environ=environ)["tiny/other"] != other


def test_what_lies_on_the_path_is_never_taken(tmp_path: Path, module: Module, environ: dict[str, str]) -> None:
    environ["PATH"] = str(_executable(tmp_path / "bin" / "tiny").parent)
    with pytest.raises(CannotBuildError, match=r"tiny is missing, and there is no go to build it: install Go 1.26 or"):
        _built(module, environ)


@pytest.mark.parametrize("name", ["v1.29", "v1.35"])
def test_a_program_calls_itself_what_its_module_pins(name: str) -> None:
    module = MODULES[name]
    pinned = re.findall(r"^\s*k8s.io/kubernetes (v\S+)", (module.folder / "go.mod").read_text(), re.MULTILINE)
    told = re.findall(r"Version=(\S+)", module.ldflags)
    assert set(told) == set(pinned)
    assert pinned[0].startswith(f"{name}.")


def test_every_folder_with_a_module_is_built() -> None:
    folders = {path.parent.name for path in Path(__file__).parent.glob("*/go.mod")}
    assert folders == set(MODULES)


@pytest.mark.parametrize(("ci", "outcome"), [("true", "1 error"), ("", "1 skipped")])
def test_without_go_the_tests_fail_in_ci_and_skip_with_the_reason_elsewhere(
    tmp_path: Path, environ: dict[str, str], ci: str, outcome: str
) -> None:
    test = "tests/controlplane/test_controlplane.py::test_helm_speaks_to_this_server_and_to_no_other"
    command = [sys.executable, "-m", "pytest", "-n0", "-v", "-p", "no:cacheprovider", test]
    env = {**environ, "PATH": str(tmp_path), "CI": ci}
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert outcome in ran.stdout
    assert "install Go 1.26 or later" in ran.stdout
    assert "control plane: certificates is missing" in ran.stderr
    assert (ran.returncode == 0) == (ci == "")
