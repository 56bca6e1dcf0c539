"""The CustomResourceDefinition of each kind: names, schema, status, and what `kubectl get` shows in one line."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from modelpool_operator.api.meta import GROUP, VERSION
from modelpool_operator.api.modelpool import ModelPool, ModelPoolSpec
from modelpool_operator.api.provider import Provider, ProviderSpec
from modelpool_operator.api.status import ModelPoolStatus, ProviderStatus
from modelpool_operator.crds import lists, pool_rules, provider_rules
from modelpool_operator.crds.schema import Schema, Tables, UntranslatableError, forgotten, structural

CATEGORY = "llm"
NAME_MOST = 63
"""An object's name becomes a label's value and part of other names."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; a wide one only with `-o wide`."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False

    def render(self) -> dict[str, Any]:
        """As it stands in `additionalPrinterColumns`."""
        rendered: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "jsonPath": self.path,
            "description": self.description,
        }
        return rendered | ({"priority": 1} if self.wide else {})


def _of_condition(name: str, kind: str, part: str, description: str, *, wide: bool = False) -> Column:
    return Column(name, f'.status.conditions[?(@.type=="{kind}")].{part}', description, wide=wide)


_FIRST = (
    _of_condition("Ready", "Ready", "status", "Whether it does its work; empty until the operator has seen it."),
    _of_condition("Reason", "Ready", "reason", "Why it is ready or not, in one word."),
)
_WIDE = (
    *(
        _of_condition(kind, kind, "status", f"Status of the condition {kind}.", wide=True)
        for kind in ("Accepted", "ResolvedRefs", "Programmed")
    ),
    _of_condition("Message", "Ready", "message", "Why it is ready or not, in a sentence.", wide=True),
)
_AGE = Column("Age", ".metadata.creationTimestamp", "Since when it exists.", "date")


@dataclass(frozen=True, slots=True)
class Definition:
    """What is special about one kind."""

    kind: type[BaseModel]
    plural: str
    short: str
    spec: type[BaseModel]
    status: type[BaseModel]
    tables: Tables
    columns: tuple[Column, ...]


PROVIDER = Definition(
    Provider,
    "providers",
    "mprov",
    ProviderSpec,
    ProviderStatus,
    Tables(provider_rules.RULES, lists.PROVIDER),
    (
        *_FIRST,
        Column("Dialect", ".spec.dialect", "The shape of the API."),
        _AGE,
        Column("Traffic", ".spec.traffic", "Normal or Drained; empty is Normal.", wide=True),
        Column("Base-URL", ".spec.baseURL", "Where it is; empty is the dialect's own.", wide=True),
        *_WIDE,
    ),
)
MODEL_POOL = Definition(
    ModelPool,
    "modelpools",
    "mpool",
    ModelPoolSpec,
    ModelPoolStatus,
    Tables(pool_rules.RULES, lists.MODEL_POOL),
    (
        *_FIRST,
        Column("Targets", ".status.targetsResolved", "How many targets can be asked, of how many."),
        _AGE,
        Column("Written", ".status.config.writtenTime", "Since when its present config is written.", "date", wide=True),
        Column("Digest", ".status.config.digest", "Hash of its present config.", wide=True),
        *_WIDE,
    ),
)
DEFINITIONS = (PROVIDER, MODEL_POOL)


def render(definition: Definition) -> dict[str, Any]:
    """The whole object, as `kubectl apply` takes it."""
    kind = definition.kind.__name__
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{definition.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": definition.plural,
                "singular": kind.lower(),
                "shortNames": [definition.short],
                "categories": [CATEGORY],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.render() for column in definition.columns],
                    "schema": {"openAPIV3Schema": _root(definition)},
                }
            ],
        },
    }


def _root(definition: Definition) -> Schema:
    parts = {
        name: structural(model, name, definition.tables) | {"description": description}
        for name, model, description in (
            ("spec", definition.spec, definition.spec.__doc__),
            ("status", definition.status, definition.status.__doc__),
        )
    }
    if lost := forgotten(parts, definition.tables):
        raise UntranslatableError(f"rules or list types for places that are not there: {', '.join(lost)}")
    name = {
        "description": f"The object's name; at most {NAME_MOST} characters.",
        "type": "string",
        "maxLength": NAME_MOST,
    }
    return {
        "description": definition.kind.__doc__,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": f"{GROUP}/{VERSION}.", "type": "string"},
            "kind": {"description": f"{definition.kind.__name__}.", "type": "string"},
            "metadata": {"type": "object", "properties": {"name": name}},
            **parts,
        },
    }
