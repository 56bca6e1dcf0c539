"""Writes what is generated: the definitions here and in the chart, and install.yaml: `python deploy/generate.py`.

With --check it only tells what differs. What install.yaml takes from the chart is rendered by helm, so it is renewed
where one is named, `--helm PATH`, and otherwise left as it is; a test compares it with the chart.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from modelpool_operator.crds import definition

HERE = Path(__file__).parent
INSTALL = HERE / "install.yaml"
CHART = HERE.parent / "charts" / "modelpool"
NAMESPACE = "modelpool-system"
NOTE = "# Generated from the API models by `make generate`; edit those.\n"
INSTALL_NOTE = """\
# Everything that an installation needs: kubectl apply --server-side -f deploy/install.yaml
# Generated from the API models and from charts/modelpool with its default values; edit those.
"""
PLACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
}
_BREAK = "---\n"
_KEEP = """\
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""


class _Dumper(yaml.SafeDumper):
    """YAML as Kubernetes projects write it: lists indented, nothing by reference."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def files(helm: Path | None = None) -> dict[Path, str]:
    """Every generated file with its content."""
    rendered = [definition.render(kind) for kind in definition.DEFINITIONS]
    texts = {f"{crd['metadata']['name']}.yaml": text(crd) for crd in rendered}
    wanted = {HERE / "crds" / name: content for name, content in texts.items()}
    wanted |= {CHART / "templates" / "crds" / name: templated(content) for name, content in texts.items()}
    if helm is not None or INSTALL.exists():
        chart = _of_chart(INSTALL.read_text() if helm is None else template(helm))
        wanted[INSTALL] = INSTALL_NOTE + _BREAK.join([_dump(PLACE), *(_bare(each) for each in texts.values()), *chart])
    return wanted


def text(document: dict[str, Any]) -> str:
    """One document, the same bytes for the same content."""
    return NOTE + _dump(document)


def templated(content: str) -> str:
    """A definition as a template of the chart: switched by its values, and nothing in it taken for one."""
    escaped = _bare(content).replace("{{", '{{ "{{" }}')
    head, spec, body = escaped.partition("spec:\n")
    return f"{{{{- if .Values.crds.enabled -}}}}\n{NOTE}{head}{_KEEP}{spec}{body}{{{{- end }}}}\n"


def template(helm: Path) -> str:
    """What the chart renders for install.yaml, apart from the definitions and from `helm test`."""
    options = ["--namespace", NAMESPACE, "--no-hooks", "--set=crds.enabled=false"]
    command = [str(helm), "template", "modelpool", str(CHART), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - the helm that was named
    return done.stdout


def _of_chart(manifests: str) -> list[str]:
    """The documents of several that come from the chart's templates, without what says which one."""
    lines = [line for line in manifests.splitlines(keepends=True) if not line.startswith("# Source: ")]
    documents = [each.strip("\n") + "\n" for each in f"\n{''.join(lines)}".split(f"\n{_BREAK}")]
    ours = {"Namespace", "CustomResourceDefinition"}
    return [each for each in documents if (loaded := yaml.safe_load(each)) and loaded["kind"] not in ours]


def _dump(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


def _bare(content: str) -> str:
    return content.removeprefix(NOTE)


def main(arguments: list[str]) -> int:
    """0 where the files are as they should be."""
    parser = argparse.ArgumentParser(description="Write what is generated from the API models and from the chart.")
    parser.add_argument("--check", action="store_true", help="only tell what differs")
    parser.add_argument("--helm", type=Path, metavar="PATH", help="the helm that renders the chart for install.yaml")
    options = parser.parse_args(arguments)
    wanted = files(options.helm)
    folders = {path.parent for path in wanted if path.parent.name == "crds"}
    stray = [path for folder in sorted(folders) for path in sorted(folder.glob("*.yaml")) if path not in wanted]
    different = [path for path, content in wanted.items() if not path.exists() or path.read_text() != content]
    if options.check:
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
