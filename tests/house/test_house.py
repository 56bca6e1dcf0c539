"""The house itself: names that must not shadow, folders that must not be packages, links that must lead somewhere."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from modelpool_sidecar.version import VERSION

ROOT = Path(__file__).parents[2]


def tracked(*patterns: str) -> list[Path]:
    """The files that belong to the repository."""
    found = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in found.stdout.splitlines() if (ROOT / line).is_file()]


def test_the_folder_operator_never_shadows_the_standard_library() -> None:
    assert not list((ROOT / "operator").glob("*.py"))
    code = "import operator; print(operator.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert str(ROOT) not in found.stdout


def test_no_test_folder_is_a_package() -> None:
    assert [path for path in tracked("tests") if path.name == "__init__.py"] == []


def test_test_files_have_names_of_their_own() -> None:
    """But for what pytest finds by its folder."""
    found = {*tracked("tests/**/test_*.py", "tests/**/*.py")}
    names = [path.name for path in found if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


def test_the_version_is_told_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


def test_every_module_says_in_its_first_line_what_it_answers() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in tracked("operator/**/*.py", "sidecar/**/*.py", "cli/**/*.py", "benchmarks/**/*.py")
        if (text := path.read_text()) and not text.startswith('"""')
    ]
    assert silent == []


@pytest.mark.parametrize("page", tracked("*.md", "docs/*.md"), ids=lambda path: path.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target
