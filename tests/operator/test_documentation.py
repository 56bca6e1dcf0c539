"""What the page and the descriptions say is what the compiler does."""

import re
from typing import Any

import pytest
import yaml

from manifest_cases import keyed, pool, provider, secret
from modelpool_operator import durations
from modelpool_operator.desired import desired
from modelpool_operator.resources import observe
from resource_reference import PAGE, SPECS, refreshed, rows

TEXT = PAGE.read_text(encoding="utf-8")

COMPILED = {
    "Provider": {
        "baseURL": "baseUrl",
        "auth.apiKey.header": "auth.header",
        "traffic": "traffic",
        "timeouts.connect": "timeouts.connect",
        "timeouts.firstToken": "timeouts.firstToken",
        "timeouts.idle": "timeouts.idle",
        "health.failures": "health.failures",
        "health.minRequests": "health.minRequests",
        "health.window": "health.window",
        "health.cooldown": "health.cooldown",
        "health.maxCooldown": "health.maxCooldown",
        "health.successes": "health.successes",
        "health.rampUp": "health.rampUp",
        "connections.maxOpen": "connections.maxOpen",
        "limits.concurrency.mode": "limits.concurrency.mode",
        "connections.idleTimeout": "connections.idleTimeout",
    },
    "ModelPool": {
        "models": "models.0",
        "targets[].weight": "targets.0.weight",
        "targets[].priority": "targets.0.priority",
        "strategy.type": "strategy",
        "fallback.sameTarget.backoff.initial": "fallback.sameTarget.initial",
        "fallback.sameTarget.backoff.max": "fallback.sameTarget.max",
        "fallback.sameTarget.maxRetryAfter": "fallback.sameTarget.maxRetryAfter",
        "fallback.retryBudget.percent": "fallback.retryBudget.percent",
        "fallback.retryBudget.minPerSecond": "fallback.retryBudget.minPerSecond",
        "limits.requests[].scope": "limits.requests.0.scope",
        "limits.concurrency.mode": "limits.concurrency.mode",
        "timeouts.total": "total",
        "lastResort": "lastResort",
        "pinning": "pinning",
        "response.model": "responseModel",
    },
}
DIFFERENTLY = {"models": "the pool's name"}


def _compiled(kind: str) -> Any:
    """The smallest Provider or pool as the compiler fills it."""
    limited = pool(limits={"requests": [{"name": "m", "max": 9, "per": "1s"}], "concurrency": {"max": 9}})
    account = {"concurrency": {"max": 9}}
    result = desired(observe([provider(auth=keyed(), limits=account), limited, secret(api_key="k")]))
    config = result.namespaces["default"].config
    return (config.providers[0] if kind == "Provider" else config.pools[0]).model_dump(mode="json", by_alias=True)


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value[int(part)] if part.isdigit() else value[part]
    return value


@pytest.mark.parametrize(
    ("kind", "field", "path"),
    [(kind, field, path) for kind, pairs in COMPILED.items() for field, path in pairs.items()],
)
def test_the_default_that_a_description_tells_is_the_compilers(kind: str, field: str, path: str) -> None:
    told = {name: default for name, _meaning, default in rows(SPECS[kind])}[field]
    value = _at(_compiled(kind), path)
    if told == DIFFERENTLY.get(field):
        assert value == "chat"
    elif isinstance(value, int) and re.match(r"\d+(ms|s|m|h)", told):
        assert durations.render(value) == re.split(r"[,;]", told)[0]
    else:
        assert str(value) == re.split(r"[,; ]", told)[0]


def test_every_default_outcome_is_named_in_the_description() -> None:
    told = {name: default for name, _meaning, default in rows(SPECS["ModelPool"])}["fallback.outcomes"]
    named = re.findall(r"[A-Z][A-Za-z]+", told.partition(": ")[2])
    assert named == _compiled("ModelPool")["fallback"]["outcomes"]


def test_the_tables_of_the_page_are_those_of_the_models() -> None:
    assert refreshed(TEXT) == TEXT, "bring it up to date: python tests/support/resource_reference.py"


def test_the_examples_of_the_page_compile() -> None:
    blocks = [each for each in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) if "kind:" in each]
    assert len(blocks) == 3
    smallest = desired(observe(list(yaml.safe_load_all(blocks[0]))))
    assert smallest.problems == ()
    first_two = [*yaml.safe_load_all(blocks[0])][:2]
    whole = desired(observe([*first_two, *yaml.safe_load_all(blocks[1]), *yaml.safe_load_all(blocks[2])]))
    assert whole.problems == ()
    assert len(whole.namespaces["default"].config.pools[0].targets) == 3
