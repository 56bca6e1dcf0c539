"""Writes what is generated in this folder: `python deploy/generate.py`; with --check it only tells what differs."""

import sys
from pathlib import Path
from typing import Any

import yaml

from modelpool_operator.crds import definition

HERE = Path(__file__).parent
NOTE = "# Generated from the API models by `make generate`; edit those.\n"


class _Dumper(yaml.SafeDumper):
    """YAML as Kubernetes projects write it: lists indented, nothing by reference."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def files() -> dict[Path, str]:
    """Every generated file with its content."""
    rendered = [definition.render(kind) for kind in definition.DEFINITIONS]
    return {HERE / "crds" / f"{crd['metadata']['name']}.yaml": text(crd) for crd in rendered}


def text(document: dict[str, Any]) -> str:
    """One document, the same bytes for the same content."""
    return NOTE + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


def main(arguments: list[str]) -> int:
    """0 where the files are as they should be."""
    wanted = files()
    stray = [path for path in sorted((HERE / "crds").glob("*.yaml")) if path not in wanted]
    different = [path for path, content in wanted.items() if not path.exists() or path.read_text() != content]
    if arguments == ["--check"]:
        for path in [*different, *stray]:
            print(f"{path.relative_to(HERE.parent)} is not what the API models say; bring it up to date: make generate")
        return 1 if different or stray else 0
    for path in different:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
    for path in stray:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
