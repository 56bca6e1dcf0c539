"""docs/conditions.md names every reason that the operator can say, each where it can be said, and no other."""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import modelpool_operator
from manifest_cases import keyed, pool, provider, secret
from modelpool_operator import conditions
from modelpool_operator.conditions import Publication, Said
from resource_reference import PAGE as RESOURCES
from status_cases import NOW, POOL, PROVIDER, World, world

PAGE = RESOURCES.with_name("conditions.md").read_text(encoding="utf-8")
CODE = Path(modelpool_operator.__file__).parent
Row = tuple[str, str, str, str]
"""Kind, condition, status, reason."""

KINDS = {"both": ("Provider", "ModelPool"), "pool": ("ModelPool",), "Provider": ("Provider",)}


def rows() -> list[list[str]]:
    table = PAGE.partition("## Every reason")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def told() -> list[Row]:
    return [
        (kind, condition, status, reason)
        for reason, on, named, status, _means, _do in rows()
        for kind in KINDS[on]
        for condition in named.split(", ")
    ]


NAMES_ITSELF = {"name": "chat", "models": [{"name": "chat"}]}
PROVIDERS: dict[str, list[Any]] = {
    "there": [provider(auth=keyed()), secret(api_key="k")],
    "drained": [provider(auth=keyed(), traffic="Drained"), secret(api_key="k")],
    "refused": [provider(auth=keyed(), baseURL="ftp://x"), secret(api_key="k")],
    "without its Secret": [provider(auth=keyed())],
    "with a key that cannot be sent": [provider(auth=keyed()), secret(api_key="a\nb")],
    "with a Secret that cannot be read": [provider(auth=keyed())],
    "absent": [secret(api_key="k")],
}
POOLS: dict[str, list[Any]] = {
    "there": [pool()],
    "refused": [pool(targets=[{"name": "mini", "providerRef": {"name": "openai"}, "weight": -5}])],
    "after another of the same name": [pool("another", models=[{"name": "chat"}]), pool()],
    "absent": [],
    "with a target elsewhere": [
        provider("other"),
        pool(targets=[{"name": each, "providerRef": {"name": each}} for each in ("openai", "other")]),
    ],
    "that falls back to itself": [pool(fallback={"pools": [{"when": "General", "poolRefs": [{"name": "chat"}]}]})],
    "that falls back to nobody": [pool(fallback={"pools": [{"when": "General", "poolRefs": [{"name": "gone"}]}]})],
    "that wants streams to be continued": [pool(streaming={"recovery": ["Continue"]})],
    "that is behind itself": [
        pool(
            targets=[{"name": "back", "poolRef": {"name": "chat"}}, {"name": "own", "providerRef": {"name": "openai"}}]
        )
    ],
    "that would ask a second target": [
        pool(targets=[{"name": "near", "poolRef": {"name": "near"}}], hedging={"delay": "1s"}),
        pool("near"),
    ],
    "with a price elsewhere": [
        provider("other", models=[{"name": "chat", "prices": {"inputPerMillion": "1"}}]),
        pool(targets=[{"name": each, "providerRef": {"name": each}} for each in ("openai", "other")]),
    ],
}
BEFORE = {"nothing": None, "all well": world(*PROVIDERS["there"], *POOLS["there"])}
WRITTEN: dict[str, Publication | None] = {
    "everything": None,
    "nothing, for somebody else's object": Publication({}, blocked=Said("False", "NameConflict", "")),
    "nothing, for its size": Publication({}, blocked=Said("False", "ConfigTooLarge", "")),
    "nothing, for a fault": Publication({}, blocked=Said("Unknown", "Pending", "")),
    "something older": Publication({"chat": "sha256:0"}, NOW),
}


def worlds() -> Iterator[World]:
    for (name, providers), pools, before, written in itertools.product(
        PROVIDERS.items(), POOLS.values(), BEFORE.values(), WRITTEN.values()
    ):
        unreadable = {("default", "openai"): "it did not answer in time"} if "cannot be read" in name else None
        made = world(*providers, *pools, last=before, unreadable=unreadable)
        yield made if written is None else made.with_publication(written)


def said() -> set[Row]:
    return {
        (key[0], each["type"], each["status"], each["reason"])
        for made in worlds()
        for key in (PROVIDER, POOL)
        if key in made.compiled.result.verdicts
        for each in made.status(key)["conditions"]
    }


def test_each_reason_stands_on_the_page_where_it_can_be_said_and_nowhere_else() -> None:
    on_the_page, can_be_said = set(told()), said()
    assert sorted(can_be_said - on_the_page) == []
    assert sorted(on_the_page - can_be_said) == []


def test_each_reason_comes_with_what_it_means_and_what_to_do() -> None:
    assert [row for row in rows() if not all(row)] == []


def reasons_in_code() -> set[str]:
    """Every word that is handed over as a reason."""
    found: set[str] = set()
    for path in sorted(CODE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            index = {"Said": 1, "Finding": 2, "Remark": 0}.get(getattr(call.func, "id", ""))
            named = [each.value for each in call.keywords if each.arg == "reason"]
            for each in (*([] if index is None else call.args[index : index + 1]), *named):
                if isinstance(each, ast.Constant):
                    found.add(str(each.value))
                elif isinstance(each, ast.Name) and each.id in constants:
                    found.add(str(constants[each.id]))
    return found


def test_every_reason_in_the_code_stands_on_the_page() -> None:
    found = reasons_in_code()
    assert {"SecretNotFound", "NameConflict", "LastGood", "Pending", "Unpriced"} <= found
    assert sorted(found - {row[0] for row in rows()}) == []


@pytest.mark.parametrize("kind", conditions.TYPES)
def test_every_condition_is_explained(kind: str) -> None:
    table = PAGE.partition("## The four conditions")[2].partition("\n## ")[0]
    assert re.search(rf"^\| {kind} \|", table, re.MULTILINE)


def sentences() -> list[str]:
    """What the page shows as said: condition, status, reason and message."""
    kinds = "|".join(conditions.TYPES)
    return re.findall(rf"^(?:{kinds}) (?:True|False|Unknown) [A-Za-z]+: .*$", PAGE, re.MULTILINE)


def test_what_the_page_shows_as_said_is_said_somewhere() -> None:
    shown = {tuple(each.partition(":")[0].split(" ")) for each in sentences()}
    assert len(shown) > 10
    assert shown <= {row[1:] for row in told()}


def test_the_status_in_the_reference_is_one_that_the_operator_says() -> None:
    found = re.search(r"```yaml\n(status:.*?)```", RESOURCES.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    status = yaml.safe_load(found[1])["status"]
    targets = [{"name": each, "providerRef": {"name": each}} for each in ("openai", "opnai")]
    real = world(provider(), pool(targets=targets)).status(POOL)
    assert {**status, "config": {}, "conditions": [_without_times(each) for each in status["conditions"]]} == {
        **real,
        "config": {},
        "conditions": [_without_times(each) for each in real["conditions"]],
    }


def _without_times(condition: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in condition.items() if name != "lastTransitionTime"}
