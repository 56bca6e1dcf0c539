"""The pure side of the control plane stays pure: no clock, no chance, no I/O, no framework."""

import ast
from pathlib import Path

import pytest

import modelpool_operator

PACKAGE = Path(modelpool_operator.__file__).parent
PURE = [
    "api",
    "checks",
    "compiling.py",
    "conditions.py",
    "crds",
    "defaults.py",
    "desired.py",
    "durations.py",
    "forms.py",
    "inject.py",
    "inject_checks.py",
    "inject_container.py",
    "inject_quantities.py",
    "inject_workloads.py",
    "judged.py",
    "manifests.py",
    "namespaces.py",
    "paths.py",
    "problems.py",
    "render",
    "resources.py",
    "sidecarcount.py",
    "store.py",
    "table.py",
]
FORBIDDEN = {"aiohttp", "asyncio", "kopf", "kubernetes", "modelpool_sidecar", "os", "random", "socket", "time"}
MODULES = [
    file for name in PURE for file in ([PACKAGE / name] if name.endswith(".py") else (PACKAGE / name).glob("*.py"))
]


@pytest.mark.parametrize("module", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_pure_module_imports_nothing_that_acts(module: Path) -> None:
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    assert not found & FORBIDDEN


def test_no_module_lies_directly_in_the_operator_folder() -> None:
    assert [file.name for file in PACKAGE.parent.glob("*.py")] == []
