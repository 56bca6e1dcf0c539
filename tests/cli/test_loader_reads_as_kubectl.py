"""The loader against what kubectl's own YAML reader makes of the same text.

`kubectl_yaml.json` was recorded from sigs.k8s.io/yaml v1.6.0 (the reader of kubectl 1.37): `YAMLToJSON` and, where it
differs, the complaint of `YAMLToJSONStrict`, for each text.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from modelpool_cli import documents
from modelpool_cli.documents import Document, Unreadable

FACTS: list[dict[str, str]] = json.loads((Path(__file__).parent / "kubectl_yaml.json").read_text())

# Where we are stricter on purpose: kubectl drops something without a word, or PyYAML knows better than Go's port.
STRICTER = {
    "1: a\n'1': b": "stands twice",
    "true: a\n'true': b": "stands twice",
    "1: x\n1.0: y": "stands twice",
    ".inf: a": "cannot be written in JSON",
    "y: {<<: {a: 1}, <<: {b: 2}}": "the merge key << stands twice",
    "a: 1\n...\nb: 2": "something follows the end of the document",
    "{a: 1} b": "something follows the end of the document",
    "a:\tb": "a tab stands where YAML wants spaces",
}
# Where we read what kubectl refuses, and lose nothing by it.
KINDER = {
    "18446744073709551615: a": {"18446744073709551615": "a"},
    'a: "\\u00e9\\x41\\n\\/"': {"a": "éA\n/"},
    'a: "\\ud83d\\ude00"': {"a": "😀"},
}
# kubectl cuts a stream at its separators first, and this table holds what it makes of one piece.
SEPARATED = {each["yaml"] for each in FACTS if "\n---" in each["yaml"]}


def read(text: str) -> Any:
    found = documents.parse(text.encode())
    assert len(found) <= 1
    return found[0] if found else Document(None, documents.Lines({}))


@pytest.mark.parametrize(
    "fact", [each for each in FACTS if each["yaml"] not in SEPARATED], ids=lambda f: repr(f["yaml"])
)
def test_a_text_means_what_it_means_to_kubectl(fact: dict[str, str]) -> None:
    found = read(fact["yaml"])
    if fact["yaml"] in STRICTER:
        assert isinstance(found, Unreadable)
        assert STRICTER[fact["yaml"]] in found.message
    elif fact["yaml"] in KINDER:
        assert found.value == KINDER[fact["yaml"]]
    elif "error" in fact:
        assert isinstance(found, Unreadable)
    elif isinstance(found, Unreadable):
        assert "strict" in fact, f"kubectl reads this: {found.message}"
    else:
        wanted = json.loads(fact["json"])
        assert found.value == wanted
        assert json.dumps(found.value, sort_keys=True) == json.dumps(wanted, sort_keys=True), "types differ"


def test_every_duplicate_that_strict_kubectl_reports_is_refused_but_own_fields_below_a_merge() -> None:
    kept = {
        fact["yaml"]
        for fact in FACTS
        if "strict" in fact and fact["yaml"] not in STRICTER and isinstance(read(fact["yaml"]), Document)
    }
    assert kept == {
        "x: &a {b: 1}\ny: {<<: *a, b: 3}",
        "x: &a {b: 1}\nz: &b {b: 5, c: 2}\ny: {<<: [*a, *b]}",
        "y: {<<: {a: 1}, a: 2}",
        "y:\n  <<: {a: {c: 1}}\n  a: {d: 2}",
    }
