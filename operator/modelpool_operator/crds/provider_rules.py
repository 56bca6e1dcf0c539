"""What a Provider must be beyond its schema: the rules of `checks.provider` that look at one object only."""

from collections.abc import Callable

from modelpool_operator import durations
from modelpool_operator.checks import headers, urls
from modelpool_operator.crds import base_urls, limit_rules
from modelpool_operator.crds.rules import Rule, at_most, literal, matches, present, unique_entries, unique_names, where

_KEY_HEADER = "(has(self.auth.apiKey.header) ? self.auth.apiKey.header.lowerAscii() : 'authorization')"
_CREDENTIAL = f"(?i)^({'|'.join(sorted(headers.CREDENTIAL))})$"
_BILLING = (
    rf"(?i)^https?://([^/:@]*\.)?({'|'.join(domain.replace('.', chr(92) + '.') for domain in urls.BILLING)})\.?(:|/|$)"
)
_FREE = f"(!has(self.baseURL) || !{matches('self.baseURL', _BILLING)})"
_SILENT = ("Refuse", "Reset", "Hang")
"""Faults that send nothing, so that nothing can be said about the answer."""


def taken(why: Callable[[str], str | None]) -> tuple[Rule, ...]:
    """One rule for each reason why a header may not be named. What is refused is a known word, and no secret."""
    shapes: dict[str, list[str]] = {}
    for name in sorted(headers.KNOWN):
        if reason := why(name):
            shapes.setdefault(reason, []).append(f"{name}$")
    for beginning in headers.BEGINNINGS:
        if reason := why(beginning):
            shapes.setdefault(reason, []).append(beginning)
    return tuple(
        Rule(
            "!" + matches("self", f"(?i)^({'|'.join(shape)})"),
            f"must not be a header which {reason}",
            says=f"'must not be ' + self + {literal(f', which {reason}')}",
        )
        for reason, shape in sorted(shapes.items())
    )


def _keeps_clear_of_the_key(member: str, name: str) -> Rule:
    """No entry of a list is the header that carries the key."""
    return Rule(
        where(present("auth.apiKey", member), f"!self.{member}.exists(entry, {name}.lowerAscii() == {_KEY_HEADER})"),
        "must not hold the header which carries the key of auth",
        f".{member}",
    )


def _says_nothing(member: str) -> Rule:
    """A field about the answer of a step whose fault sends none."""
    silent = f"self.fault in [{', '.join(literal(fault) for fault in _SILENT)}]"
    return Rule(
        f"!has(self.{member}) || !has(self.fault) || !({silent})",
        "must not be set with a fault that sends nothing",
        f".{member}",
        "'must not be set with fault ' + self.fault + ', which sends nothing'",
    )


RULES: dict[str, tuple[Rule, ...]] = {
    **limit_rules.at("spec.limits"),
    "spec": (
        *base_urls.rules(),
        Rule(
            "self.dialect != 'Fake' || !has(self.baseURL)",
            "must not be set with dialect Fake, which the sidecar plays itself",
            ".baseURL",
        ),
        Rule("self.dialect == 'Fake' || !has(self.fake)", "must not be set where dialect is not Fake", ".fake"),
        Rule(
            where(present("health.active"), f"(has(self.baseURL) || self.dialect != 'OpenAI') && {_FREE}"),
            "must not be set for an API that is paid by use; what clients meet there tells enough",
            ".health.active",
        ),
        _keeps_clear_of_the_key("headers", "entry.name"),
        _keeps_clear_of_the_key("forwardHeaders", "entry"),
    ),
    "spec.auth": (
        Rule("self.type != 'APIKey' || has(self.apiKey)", "must be set where auth.type is APIKey", ".apiKey"),
        Rule(
            "self.type == 'APIKey' || !has(self.apiKey)",
            "must not be set where auth.type is None; set type: APIKey",
            ".apiKey",
        ),
    ),
    "spec.auth.apiKey": (
        Rule(
            where(
                f"{present('prefix')} && (!has(self.header) || self.header.lowerAscii() == 'authorization')",
                f"!{matches('self.prefix', '[0-9A-Za-z]$')}",
            ),
            'must end in a space, in quotes: prefix: "Bearer "',
            ".prefix",
        ),
    ),
    "spec.auth.apiKey.header": taken(headers.why_not_sent),
    "spec.headers": (unique_names(),),
    "spec.headers[]": (
        Rule("has(self.value) != has(self.secretRef)", "must have exactly one of value and secretRef"),
        Rule(
            f"!has(self.value) || !{matches('self.name', _CREDENTIAL)}",
            "must not hold a credential: use secretRef, so that it stays in a Secret",
            ".value",
        ),
    ),
    "spec.headers[].name": taken(headers.why_not_sent),
    "spec.forwardHeaders": (
        unique_entries(),
        Rule(
            "!self.exists(entry, entry.contains('*'))",
            "must hold whole names of headers; there are no patterns",
        ),
    ),
    "spec.forwardHeaders[]": taken(headers.why_not_forwarded),
    "spec.responseHeaders": (unique_names(),),
    "spec.responseHeaders[].name": taken(headers.why_not_added),
    "spec.models[].name": (Rule("!self.contains('*')", "must name one model; there are no patterns here"),),
    "spec.models[]": (
        Rule(
            "!has(self.prefill) || (has(self.capabilities) && self.capabilities.exists(each, each == 'Prefill'))",
            "must not be set where capabilities do not name Prefill: nothing would be asked so",
            ".prefill",
        ),
    ),
    "spec.health": (at_most("cooldown", "maxCooldown"),),
    "spec.health.active": (
        at_most("timeout", "period"),
        Rule(
            where(
                f"{present('timeout')} && !has(self.period) && {matches('self.timeout', durations.SHAPE)}",
                "duration(self.timeout) <= duration('10s')",
            ),
            "must be at most period",
            ".timeout",
            "'must be at most period (10s), not ' + self.timeout",
        ),
    ),
    "spec.fake.script": (
        Rule(
            "self.size() == 0 || self.filter(step, !has(step.requests) && !has(step.__for__)).size() == 0 || "
            "(!has(self[self.size() - 1].requests) && !has(self[self.size() - 1].__for__) && "
            "self.filter(step, !has(step.requests) && !has(step.__for__)).size() == 1)",
            "must have requests or for in every step but the last: without an end, the steps after it never come",
        ),
    ),
    "spec.fake.script[]": (
        Rule("!(has(self.requests) && has(self.__for__))", "must have at most one of requests and for"),
        *(_says_nothing(member) for member in ("status", "error", "firstToken", "tokensPerSecond", "tokens")),
    ),
}
"""By the place that they stand on."""
