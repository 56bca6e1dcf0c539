"""A Provider as the sidecar reads it, with the names of the files that hold its credentials."""

from modelpool_config import models as contract
from modelpool_operator import defaults
from modelpool_operator.api.credentials import APIKey, SecretRef
from modelpool_operator.api.fake import Fake
from modelpool_operator.api.health import ActiveCheck, Health
from modelpool_operator.api.model import Prices
from modelpool_operator.api.provider import Connections, Provider, ProviderTimeouts
from modelpool_operator.checks import urls
from modelpool_operator.checks.credentials import file_name
from modelpool_operator.render import filled, limits


def provider(resource: Provider) -> contract.Provider:
    """A Provider, with the files of its credentials."""
    spec, namespace = resource.spec, resource.metadata.namespace
    base_url = spec.base_url or defaults.BASE_URLS[spec.dialect]
    public = base_url is not None and urls.is_public(urls.host_of(base_url))
    api_key = spec.auth.api_key if spec.auth else None
    return contract.Provider(
        name=resource.metadata.name,
        dialect=spec.dialect,
        base_url=base_url.rstrip("/") if base_url is not None else None,
        auth=_api_key(api_key, namespace) if api_key else None,
        headers=tuple(
            contract.Header(
                name=header.name,
                value=header.value,
                credential=file_name(namespace, header.secret_ref) if header.secret_ref else None,
                source=_source(header.secret_ref) if header.secret_ref else "",
            )
            for header in spec.headers or ()
        ),
        forward_headers=spec.forward_headers or (),
        response_headers=tuple(
            contract.Header(name=header.name, value=header.value) for header in spec.response_headers or ()
        ),
        traffic=spec.traffic or defaults.TRAFFIC,
        timeouts=_timeouts(spec.timeouts or ProviderTimeouts()),
        health=_health(spec.health or Health()),
        quota_domain=spec.quota_domain,
        connections=_connections(spec.connections or Connections()),
        trace_propagation=spec.trace_propagation or defaults.trace_propagation(public),
        fake=_fake(spec.fake) if spec.dialect == "Fake" else None,
        models=tuple(
            contract.Model(
                name=model.name,
                prices=_prices(model.prices) if model.prices else None,
                context_tokens=model.context_tokens,
                max_output_tokens=model.max_output_tokens,
                capabilities=model.capabilities,
                prefill=model.prefill or defaults.PREFILL,
            )
            for model in spec.models or ()
        ),
        operations=spec.operations,
        limits=limits.render(spec.limits),
        requires=tuple(
            name
            for name, needed in {
                "concurrency": limits.at_once(spec.limits),
                "limits": limits.any_limit(spec.limits),
            }.items()
            if needed
        ),
    )


def _api_key(spec: APIKey, namespace: str) -> contract.APIKey:
    header = spec.header or defaults.API_KEY_HEADER
    prefix = defaults.api_key_prefix(header) if spec.prefix is None else spec.prefix
    return contract.APIKey(
        header=header,
        prefix=prefix,
        credential=file_name(namespace, spec.secret_ref),
        source=_source(spec.secret_ref),
    )


def _source(ref: SecretRef) -> str:
    """How people know a credential."""
    return f"Secret {ref.name}, key {ref.key}"


def _prices(spec: Prices) -> contract.Prices:
    return contract.Prices(
        input_per_million=spec.input_per_million,
        cached_input_per_million=spec.cached_input_per_million or spec.input_per_million,
        output_per_million=spec.output_per_million,
    )


def _timeouts(spec: ProviderTimeouts) -> contract.ProviderTimeouts:
    return contract.ProviderTimeouts(
        connect=filled.time(spec.connect, defaults.CONNECT),
        head=filled.time_or_none(spec.head),
        first_token=filled.time(spec.first_token, defaults.FIRST_TOKEN),
        idle=filled.time(spec.idle, defaults.IDLE),
        attempt=filled.time_or_none(spec.attempt),
    )


def _health(spec: Health) -> contract.Health:
    cooldown, max_cooldown = filled.rising(spec.cooldown, defaults.COOLDOWN, spec.max_cooldown, defaults.MAX_COOLDOWN)
    return contract.Health(
        failures=spec.failures or defaults.FAILURES,
        min_requests=spec.min_requests or defaults.MIN_REQUESTS,
        window=filled.time(spec.window, defaults.WINDOW),
        cooldown=cooldown,
        max_cooldown=max_cooldown,
        successes=spec.successes or defaults.SUCCESSES,
        ramp_up=filled.time(spec.ramp_up, defaults.RAMP_UP),
        active=_active(spec.active) if spec.active else None,
    )


def _active(spec: ActiveCheck) -> contract.ActiveCheck:
    timeout, period = filled.rising(spec.timeout, defaults.CHECK_TIMEOUT, spec.period, defaults.CHECK_PERIOD)
    return contract.ActiveCheck(
        path=spec.path,
        period=period,
        timeout=min(timeout, period),
        statuses=spec.statuses or defaults.CHECK_STATUSES,
    )


def _connections(spec: Connections) -> contract.Connections:
    return contract.Connections(
        max_open=spec.max_open or defaults.MAX_OPEN, idle_timeout=filled.time(spec.idle_timeout, defaults.IDLE_TIMEOUT)
    )


def _fake(spec: Fake | None) -> contract.Fake:
    script = (spec.script if spec else None) or ()
    return contract.Fake(
        script=tuple(
            contract.FakeStep(
                requests=step.requests,
                duration=filled.time_or_none(step.for_),
                status=step.status,
                error=step.error,
                first_token=filled.time_or_none(step.first_token),
                tokens_per_second=step.tokens_per_second,
                tokens=step.tokens,
                fault=step.fault,
            )
            for step in script
        )
    )
