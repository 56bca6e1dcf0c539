"""The API models: names on the wire, descriptions, bounds."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from manifest_cases import keyed, pool, provider
from modelpool_operator.api.modelpool import ModelPool
from modelpool_operator.api.provider import Provider

WIRE_NAMES = {
    "api_key": "apiKey",
    "api_version": "apiVersion",
    "base_url": "baseURL",
    "cached_input_per_million": "cachedInputPerMillion",
    "consistent_hash": "consistentHash",
    "context_tokens": "contextTokens",
    "creation_timestamp": "creationTimestamp",
    "first_token": "firstToken",
    "for_": "for",
    "forward_headers": "forwardHeaders",
    "head_hold": "headHold",
    "idle_timeout": "idleTimeout",
    "input_per_million": "inputPerMillion",
    "keep_alive": "keepAlive",
    "last_resort": "lastResort",
    "max_attempts": "maxAttempts",
    "max_cooldown": "maxCooldown",
    "max_open": "maxOpen",
    "max_output_tokens": "maxOutputTokens",
    "max_percent": "maxPercent",
    "max_retry_after": "maxRetryAfter",
    "max_entries": "maxEntries",
    "max_bytes": "maxBytes",
    "min_per_second": "minPerSecond",
    "min_requests": "minRequests",
    "output_per_million": "outputPerMillion",
    "pool_ref": "poolRef",
    "pool_refs": "poolRefs",
    "provider_ref": "providerRef",
    "ramp_up": "rampUp",
    "response_headers": "responseHeaders",
    "retry_budget": "retryBudget",
    "same_target": "sameTarget",
    "secret_ref": "secretRef",
    "tokens_per_second": "tokensPerSecond",
    "quota_domain": "quotaDomain",
    "trace_propagation": "tracePropagation",
}

FIELDS = {
    "Provider": {
        "": "dialect baseURL auth headers forwardHeaders responseHeaders operations traffic timeouts health "
        "quotaDomain connections tracePropagation limits models fake",
        "limits": "requests tokens concurrency",
        "limits.concurrency": "max mode",
        "limits.tokens": "name max per burst by header scope mode count",
        "limits.requests": "name max per burst by header scope mode",
        "auth": "type apiKey",
        "auth.apiKey": "secretRef header prefix",
        "auth.apiKey.secretRef": "name key",
        "headers": "name value secretRef",
        "responseHeaders": "name value",
        "timeouts": "connect head firstToken idle attempt",
        "health": "failures minRequests window cooldown maxCooldown successes rampUp active",
        "health.active": "path period timeout statuses",
        "connections": "maxOpen idleTimeout",
        "models": "name contextTokens maxOutputTokens capabilities prefill prices",
        "models.prices": "inputPerMillion cachedInputPerMillion outputPerMillion",
        "fake": "script",
        "fake.script": "requests for status error firstToken tokensPerSecond tokens fault",
    },
    "ModelPool": {
        "": "models targets strategy fallback limits parameters timeouts lastResort pinning stateful hedging cache "
        "response streaming callers",
        "cache": "mode ttl maxEntries maxBytes temperature",
        "streaming": "commit headHold keepAlive recovery",
        "callers": "keys entries",
        "callers.entries": "name limits",
        "callers.entries.limits": "requests tokens concurrency",
        "callers.entries.limits.concurrency": "max",
        "callers.entries.limits.tokens": "name max per burst scope mode count",
        "callers.entries.limits.requests": "name max per burst scope mode",
        "callers.keys": "secretRef",
        "callers.keys.secretRef": "name",
        "models": "name",
        "targets": "name providerRef poolRef model weight priority parameters match limits",
        "targets.parameters": "name action value",
        "parameters": "name action value",
        "targets.providerRef": "name",
        "targets.poolRef": "name",
        "targets.match": "headers",
        "targets.match.headers": "name value",
        "strategy": "type consistentHash",
        "strategy.consistentHash": "by header",
        "fallback": "outcomes statuses maxAttempts sameTarget retryBudget pools",
        "fallback.pools": "when poolRefs",
        "fallback.pools.poolRefs": "name",
        "fallback.sameTarget": "retries backoff maxRetryAfter",
        "fallback.sameTarget.backoff": "initial max",
        "fallback.retryBudget": "percent minPerSecond",
        "limits": "requests tokens concurrency",
        "limits.tokens": "name max per burst by header scope mode count",
        "limits.requests": "name max per burst by header scope mode",
        "targets.limits": "requests tokens concurrency",
        "targets.limits.concurrency": "max mode",
        "targets.limits.tokens": "name max per burst by header scope mode count",
        "targets.limits.requests": "name max per burst by header scope mode",
        "limits.concurrency": "max mode queue",
        "limits.concurrency.queue": "max timeout",
        "timeouts": "total",
        "stateful": "target",
        "hedging": "percentile delay maxPercent",
        "response": "model",
    },
}


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _walk(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for name, info in model.model_fields.items():
        for inner in _models_in(info.annotation):
            yield from _walk(inner, f"{path}.{info.alias or name}".lstrip("."))


EVERY_MODEL = [(f"{root.__name__}:{path}", model) for root in (Provider, ModelPool) for path, model in _walk(root)]
EVERY_FIELD = [(where, name, info) for where, model in EVERY_MODEL for name, info in model.model_fields.items()]


@pytest.mark.parametrize("kind", [Provider, ModelPool])
def test_the_spec_has_exactly_the_fields_that_work(kind: type[BaseModel]) -> None:
    spec = next(iter(_models_in(kind.model_fields["spec"].annotation)))
    found = {path: " ".join(i.alias or n for n, i in model.model_fields.items()) for path, model in _walk(spec)}
    want = dict(FIELDS[kind.__name__])
    if kind is Provider:
        want["headers.secretRef"] = "name key"
    assert found == want


def test_names_on_the_wire_are_explicit() -> None:
    found = {name: info.alias for _where, name, info in EVERY_FIELD if info.alias is not None}
    assert found == WIRE_NAMES
    assert all("_" not in name for _where, name, info in EVERY_FIELD if info.alias is None)


@pytest.mark.parametrize(("where", "model"), EVERY_MODEL)
def test_every_part_introduces_itself(where: str, model: type[BaseModel]) -> None:
    assert (model.__doc__ or "").strip().endswith(".")


@pytest.mark.parametrize(("where", "name", "info"), EVERY_FIELD)
def test_every_field_has_a_description_and_an_optional_one_tells_its_default(where: str, name: str, info: Any) -> None:
    description = info.description or ""
    assert description.endswith(".")
    if not info.is_required() and name not in ("status", "creation_timestamp"):
        assert "Default: " in description
    if info.is_required():
        assert "Default: " not in description


@pytest.mark.parametrize(("where", "name", "info"), EVERY_FIELD)
def test_no_default_is_written_into_an_object(where: str, name: str, info: Any) -> None:
    assert info.is_required() or info.default is None or name == "namespace"


@pytest.mark.parametrize("model", [Provider, ModelPool])
def test_every_list_map_and_string_is_bounded_in_the_schema(model: type[BaseModel]) -> None:
    def judge(node: object) -> None:
        if isinstance(node, dict):
            if node.get("type") == "string" and "x-kubernetes-int-or-string" not in node:
                assert {"maxLength", "enum", "const", "format"} & node.keys(), node
            if node.get("type") == "array":
                assert "maxItems" in node, node
            if node.get("type") == "integer":
                assert {"minimum", "maximum"} <= node.keys(), node
            if "x-kubernetes-int-or-string" in node:
                return
            for value in node.values():
                judge(value)
        elif isinstance(node, list):
            for value in node:
                judge(value)

    judge(model.model_json_schema())


def test_what_is_read_stays_as_it_was_written() -> None:
    raw = pool(fallback={"statuses": [429, "5xx"], "outcomes": []}, timeouts={"total": "90s"}, pinning=None)
    parsed = ModelPool.model_validate(raw)
    assert parsed.spec.timeouts is not None
    assert parsed.spec.timeouts.total == "90s"
    assert parsed.spec.fallback is not None
    assert parsed.spec.fallback.statuses == ("429", "5xx")
    assert parsed.spec.fallback.outcomes == ()
    assert parsed.spec.pinning is None


def test_nothing_where_a_field_is_optional_is_the_same_as_leaving_it_out() -> None:
    bare = Provider.model_validate(provider())
    assert Provider.model_validate(provider(auth=None, headers=None, timeouts=None, baseURL=None)) == bare


def test_models_cannot_be_changed() -> None:
    parsed = Provider.model_validate(provider(auth=keyed()))
    with pytest.raises(ValidationError):
        parsed.spec.dialect = "Fake"
