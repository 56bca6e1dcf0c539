"""Manifests that `modelpool explain` is asked about, and how it is asked."""

import json
from pathlib import Path
from typing import Any

import pytest

from explain_support import KEY, MANIFESTS, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "all.yaml").write_text(MANIFESTS)
    return tmp_path


@pytest.fixture
def told(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """The exit code and the JSON of an explanation."""

    def ask(*words: str) -> tuple[int, Any]:
        code = run(folder, *words, "-o", "json")
        out = capsys.readouterr().out
        assert KEY not in out
        return code, json.loads(out)

    return ask
