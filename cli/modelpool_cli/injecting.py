"""`modelpool inject`: manifests in, the same manifests with the sidecar in their pods out."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelpool_cli import documents, manifests, printing, yamltext
from modelpool_cli.documents import Unreadable
from modelpool_cli.exits import OK, WRONG_USE, fail
from modelpool_cli.manifests import Manifest, NoManifestsError, Place, Source
from modelpool_operator.inject_checks import CannotInjectError
from modelpool_operator.inject_container import OPT_OUT_LABEL, Options
from modelpool_operator.inject_workloads import PODS, OptedOut, inject_manifest


@dataclass(slots=True)
class _Told:
    """What goes to standard error, in the order of the files. Each object adds its own while it is read."""

    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    injected: int = 0

    def note(self, manifest: Manifest, sentence: str) -> None:
        self.notes.append(f"{manifest.place()}: {manifest.title}: {sentence}")

    def problem(self, place: Place, sentence: str) -> None:
        self.problems.append(f"{place}: {sentence}")


def inject(paths: Sequence[Path], options: Options, *, as_json: bool) -> int:
    """Print the manifests, ready for `kubectl apply -f -`. Where one cannot be injected, none is printed."""
    try:
        sources = manifests.read_files(paths, getattr(sys.stdin, "buffer", None))
    except NoManifestsError as error:
        return fail(str(error), WRONG_USE)
    told = _Told()
    values = [value for source in sources for value in _documents(source, options, told)]
    for line in (*told.notes, *told.problems):
        print(printing.line(line), file=sys.stderr)
    if told.problems:
        out = f'mend that, or leave a pod out with the label {OPT_OUT_LABEL}: "false" in its metadata'
        return fail(f"nothing is printed; {out}")
    if not told.injected:
        kinds = ", ".join(kind for _group, kind in PODS)
        return fail(f"there is no pod to inject; they stand in {kinds}, and in Lists of these")
    print(_as_json(values) if as_json else "---\n".join(yamltext.dump(value) for value in values), end="")
    return OK


def _documents(source: Source, options: Options, told: _Told) -> Iterator[Any]:
    for document in documents.parse(source.data):
        if isinstance(document, Unreadable):
            told.problem(Place(source.name, document.line), document.message)
        else:
            yield _mutated(Manifest(document.value, source.name, document.lines), options, told)


def _mutated(manifest: Manifest, options: Options, told: _Told) -> Any:
    """The object; of a List each item."""
    value = manifest.value
    if not isinstance(value, Mapping):
        told.problem(manifest.place(), "an object must be a map with apiVersion and kind")
        return value
    if manifests.is_list(value):
        return {**value, "items": [_mutated(item, options, told) for item in manifests.items(manifest)]}
    return _mutated_object(manifest, options, told)


def _mutated_object(manifest: Manifest, options: Options, told: _Told) -> Any:
    try:
        found = inject_manifest(manifest.value, options)
    except CannotInjectError as error:
        told.problem(manifest.place(), f"{manifest.title}: {error}")
        return manifest.value
    if found is None:
        return manifest.value
    if isinstance(found, OptedOut):
        told.note(manifest, f'left out by its label {OPT_OUT_LABEL}: "false"')
        return manifest.value
    told.injected += 1
    for warning in found.warnings:
        told.note(manifest, f"warning: {warning}")
    return found.pod


def _as_json(values: Sequence[Any]) -> str:
    """One object as it is, several as a List: what kubectl prints, and takes."""
    if len(values) == 1:
        return json.dumps(values[0], indent=2) + "\n"
    items = [item for value in values for item in _items(value)]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2) + "\n"


def _items(value: Mapping[str, Any]) -> Iterator[Any]:
    if manifests.is_list(value):
        for item in value["items"]:
            yield from _items(item)
    else:
        yield value
