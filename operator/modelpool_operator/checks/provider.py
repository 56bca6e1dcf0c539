"""Whether a Provider makes sense, as far as it can be said without looking at anything else."""

from collections.abc import Callable, Iterator

from modelpool_operator import defaults, durations
from modelpool_operator.api.fake import FakeStep
from modelpool_operator.api.provider import Provider, ProviderSpec
from modelpool_operator.checks import headers, limits, urls
from modelpool_operator.checks.finding import Finding, repeated
from modelpool_operator.problems import Path, Problem

Check = Callable[[ProviderSpec], Iterator[Finding]]


def judge(provider: Provider) -> tuple[Problem, ...]:
    """All that is wrong with it."""
    key = ("Provider", provider.metadata.namespace, provider.metadata.name)
    return tuple(finding.problem(key) for check in CHECKS for finding in check(provider.spec))


def star_in_a_model(spec: ProviderSpec) -> Iterator[Finding]:
    """What is known is known of one model."""
    for index, model in enumerate(spec.models or ()):
        if "*" in model.name:
            yield Finding(("spec", "models", index, "name"), "must name one model; there are no patterns here")


def prefill_that_is_not_declared(spec: ProviderSpec) -> Iterator[Finding]:
    """How is told, that it can is not."""
    for index, model in enumerate(spec.models or ()):
        if model.prefill is not None and "Prefill" not in (model.capabilities or ()):
            text = "must not be set where capabilities do not name Prefill: nothing would be asked so"
            yield Finding(("spec", "models", index, "prefill"), text)


def base_url_is_not_one_to_call(spec: ProviderSpec) -> Iterator[Finding]:
    """The rules for where we go."""
    sentence = urls.judge(spec.base_url) if spec.base_url is not None else None
    if sentence:
        yield Finding(("spec", "baseURL"), sentence)


def key_in_the_clear(spec: ProviderSpec) -> Iterator[Finding]:
    """Plain http with a credential to a public host."""
    url = spec.base_url
    if url is None or urls.judge(url) or not url.lower().startswith("http://") or not holds_credential(spec):
        return
    host = urls.host_of(url)
    if urls.is_public(host):
        yield Finding(("spec", "baseURL"), f"must be https: a key would go in the clear to the public host {host}")


def member_does_not_fit(spec: ProviderSpec) -> Iterator[Finding]:
    """A union whose member is missing, or one that belongs to another type."""
    if spec.auth is not None:
        if spec.auth.type == "APIKey" and spec.auth.api_key is None:
            yield Finding(("spec", "auth", "apiKey"), "is required where auth.type is APIKey")
        if spec.auth.type == "None" and spec.auth.api_key is not None:
            yield Finding(("spec", "auth", "apiKey"), "does nothing where auth.type is None; set type: APIKey")
    if spec.dialect == "Fake":
        if spec.base_url is not None:
            yield Finding(("spec", "baseURL"), "does nothing with dialect Fake, which the sidecar plays itself")
    elif spec.fake is not None:
        yield Finding(("spec", "fake"), f"does nothing with dialect {spec.dialect}; it belongs to dialect Fake")


def key_header_not_usable(spec: ProviderSpec) -> Iterator[Finding]:
    """A key in a header that the transport or somebody else needs, or a scheme that would melt into the key."""
    if spec.auth is None or spec.auth.api_key is None:
        return
    path: Path = ("spec", "auth", "apiKey")
    api_key = spec.auth.api_key
    header = api_key.header or defaults.API_KEY_HEADER
    why = headers.why_not_sent(header)
    if why:
        yield Finding((*path, "header"), f"must not be {header}, which {why}")
    if header.lower() == "authorization" and api_key.prefix is not None and api_key.prefix[-1:].isalnum():
        yield Finding((*path, "prefix"), 'must end in a space, in quotes: prefix: "Bearer "')


def header_not_ours_to_set(spec: ProviderSpec) -> Iterator[Finding]:
    """`headers` and `responseHeaders` with names that are taken."""
    keyed = _key_header(spec)
    for index, header in enumerate(spec.headers or ()):
        path: Path = ("spec", "headers", index)
        why = headers.why_not_sent(header.name)
        if why:
            yield Finding((*path, "name"), f"must not be {header.name}, which {why}")
        elif header.name.lower() == keyed:
            yield Finding((*path, "name"), f"must not be {header.name}, which carries the key of auth")
        if (header.value is None) == (header.secret_ref is None):
            yield Finding(path, "must have exactly one of value and secretRef")
    for index, added in enumerate(spec.response_headers or ()):
        why = headers.why_not_added(added.name)
        if why:
            yield Finding(("spec", "responseHeaders", index, "name"), f"must not be {added.name}, which {why}")


def credential_written_out(spec: ProviderSpec) -> Iterator[Finding]:
    """A key that everybody can read who can read the Provider. The sentence never repeats it."""
    for index, header in enumerate(spec.headers or ()):
        if header.value is not None and header.name.lower() in headers.CREDENTIAL:
            text = "must not hold a credential: use secretRef, so that it stays in a Secret"
            yield Finding(("spec", "headers", index, "value"), text)


def header_never_passes(spec: ProviderSpec) -> Iterator[Finding]:
    """`forwardHeaders` with names that B42 keeps back."""
    keyed = _key_header(spec)
    for index, name in enumerate(spec.forward_headers or ()):
        if "*" in name:
            text = "must be the whole name of a header; there are no patterns"
            yield Finding(("spec", "forwardHeaders", index), text)
            continue
        why = headers.why_not_forwarded(name)
        if why is None and name.lower() == keyed:
            why = "carries the key of auth"
        if why:
            yield Finding(("spec", "forwardHeaders", index), f"must not be {name}, which {why}")


def name_stands_twice(spec: ProviderSpec) -> Iterator[Finding]:
    """Lists by name, and sets."""
    yield from repeated(("spec", "headers"), (header.name for header in spec.headers or ()), "name", fold=True)
    yield from repeated(("spec", "forwardHeaders"), spec.forward_headers or (), fold=True)
    added = (header.name for header in spec.response_headers or ())
    yield from repeated(("spec", "responseHeaders"), added, "name", fold=True)
    yield from repeated(("spec", "models"), (model.name for model in spec.models or ()), "name")
    yield from repeated(("spec", "operations"), spec.operations or ())
    for index, model in enumerate(spec.models or ()):
        yield from repeated(("spec", "models", index, "capabilities"), model.capabilities or ())


def limit_does_not_fit(spec: ProviderSpec) -> Iterator[Finding]:
    """What the account allows."""
    yield from limits.judge(("spec", "limits"), spec.limits)


def cooldown_above_its_cap(spec: ProviderSpec) -> Iterator[Finding]:
    """A first cooldown that is longer than the longest one."""
    first, most = (spec.health.cooldown, spec.health.max_cooldown) if spec.health else (None, None)
    if first is not None and most is not None and durations.parse(first) > durations.parse(most):
        yield Finding(("spec", "health", "cooldown"), f"must be at most maxCooldown ({most}), not {first}")


def check_does_not_fit(spec: ProviderSpec) -> Iterator[Finding]:
    """An active check that costs money, or one that is not over before the next."""
    active = spec.health.active if spec.health else None
    if active is None:
        return
    path: Path = ("spec", "health", "active")
    url = spec.base_url or defaults.BASE_URLS[spec.dialect]
    if url is not None and urls.judge(url) is None and urls.bills_requests(urls.host_of(url)):
        yield Finding(path, "must not be set for an API that is paid by use; what clients meet there tells enough")
    period = active.period or f"{defaults.CHECK_PERIOD // defaults.SECOND}s"
    if active.timeout is not None and durations.parse(active.timeout) > durations.parse(period):
        yield Finding((*path, "timeout"), f"must be at most period ({period}), not {active.timeout}")
    yield from repeated((*path, "statuses"), active.statuses or ())


def step_never_comes(spec: ProviderSpec) -> Iterator[Finding]:
    """A script with a step that lasts for ever before others, ends in two ways, or says what its fault makes void."""
    script = (spec.fake.script if spec.fake else None) or ()
    for index, step in enumerate(script):
        path: Path = ("spec", "fake", "script", index)
        if step.requests is not None and step.for_ is not None:
            yield Finding(path, "must have at most one of requests and for")
        if index < len(script) - 1 and step.requests is None and step.for_ is None:
            yield Finding(path, "must have requests or for: without an end, the steps after it never come")
        if step.fault in ("Refuse", "Reset", "Hang"):
            yield from (
                Finding((*path, name), f"does nothing with fault {step.fault}, which sends nothing")
                for name, value in _of_an_answer(step).items()
                if value is not None
            )


def holds_credential(spec: ProviderSpec) -> bool:
    """Whether requests carry a secret: a key, or a header from a Secret."""
    keyed = spec.auth is not None and spec.auth.type == "APIKey"
    return keyed or any(header.secret_ref is not None for header in spec.headers or ())


def _of_an_answer(step: FakeStep) -> dict[str, object]:
    """The fields of a step that say something about its answer."""
    return {
        "status": step.status,
        "error": step.error,
        "firstToken": step.first_token,
        "tokensPerSecond": step.tokens_per_second,
        "tokens": step.tokens,
    }


def _key_header(spec: ProviderSpec) -> str | None:
    """The header that the key goes in, in lower case."""
    api_key = spec.auth.api_key if spec.auth else None
    return (api_key.header or defaults.API_KEY_HEADER).lower() if api_key else None


CHECKS: tuple[Check, ...] = (
    base_url_is_not_one_to_call,
    key_in_the_clear,
    member_does_not_fit,
    key_header_not_usable,
    header_not_ours_to_set,
    credential_written_out,
    header_never_passes,
    name_stands_twice,
    limit_does_not_fit,
    cooldown_above_its_cap,
    check_does_not_fit,
    step_never_comes,
    star_in_a_model,
    prefill_that_is_not_declared,
)
