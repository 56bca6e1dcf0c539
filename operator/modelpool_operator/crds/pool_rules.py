"""What a ModelPool must be beyond its schema: the rules of `checks.pool`."""

from modelpool_operator.checks import headers, parameters
from modelpool_operator.crds import limit_rules
from modelpool_operator.crds.rules import Rule, at_most, literal, matches, present, unique_names, where

_DIGITS = "['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']"
_CREDENTIAL = f"(?i)^({'|'.join(sorted(headers.CREDENTIAL))})$"
_WRITTEN = f"{_DIGITS}[status / 100] + {_DIGITS}[status / 10 % 10] + {_DIGITS}[status % 10]"
"""A number as a string; `string()` of a value that may be long costs more than a rule may."""

_PARAMETER = (
    Rule(
        "self.action == 'Remove' || has(self.value)",
        "must be set where action is not Remove",
        ".value",
        "'must be set where action is ' + self.action",
    ),
    Rule("self.action != 'Remove' || !has(self.value)", "must not be set where action is Remove", ".value"),
)
"""Whether a value is JSON no rule can say."""

_FIELD = (
    Rule(
        f"!(self in [{', '.join(literal(name) for name in parameters.ROUTED)}])",
        "must not be a field which belongs to routing",
        says="'must not be ' + self + ', which belongs to routing'",
    ),
)

_RECOVERS = f"{present('streaming.recovery')} && self.streaming.recovery.size() > 0"

RULES: dict[str, tuple[Rule, ...]] = {
    "spec.models[].name": (Rule(f"!{matches('self', '[*].')}", "must have * only at its end"),),
    "spec.targets": (
        Rule(
            "self.size() == 0 || self.exists(target, !has(target.weight) || target.weight != 0)",
            "must have at least one weight above 0: with 0 everywhere nothing is chosen",
        ),
    ),
    "spec.targets[]": (
        Rule("has(self.providerRef) != has(self.poolRef)", "must have exactly one of providerRef and poolRef"),
        Rule(
            "!has(self.poolRef) || !has(self.model)",
            "must not be set beside poolRef: the targets of that pool say it",
            ".model",
        ),
        Rule(
            where(present("poolRef", "limits.concurrency.mode"), "self.limits.concurrency.mode != 'Adaptive'"),
            "must not be Adaptive beside poolRef: what a model bears is found out where it is asked",
            ".limits.concurrency.mode",
        ),
    ),
    "spec.targets[].model": (
        Rule(
            "!self.contains('*')",
            "must name one model; * stands only in models. Leave model out to send the name that was asked for",
        ),
    ),
    "spec.parameters[]": _PARAMETER,
    "spec.parameters[].name": _FIELD,
    "spec.targets[].parameters[]": _PARAMETER,
    "spec.targets[].parameters[].name": _FIELD,
    "spec.targets[].match.headers": (unique_names(),),
    "spec.targets[].match.headers[].name": (
        Rule(
            f"!{matches('self', _CREDENTIAL)}",
            "must not be a header which carries a credential: its value is no secret here",
            says="'must not be ' + self + ': its value is a credential, and no secret here'",
        ),
    ),
    **limit_rules.at("spec.limits"),
    "spec.limits.concurrency": (
        Rule(
            where(present("mode"), "self.mode == 'Fixed'"),
            "must be Fixed: what is found out is what a target or a Provider bears, so Adaptive stands there",
            ".mode",
        ),
    ),
    **limit_rules.at("spec.targets[].limits"),
    "spec": (
        Rule(
            "!has(self.stateful) || self.targets.exists("
            "target, target.name == self.stateful.target && has(target.providerRef))",
            "must name one of the targets",
            ".stateful.target",
        ),
        Rule(
            where(
                f"{_RECOVERS} && {present('fallback.outcomes')}",
                "self.fallback.outcomes.exists(outcome, outcome in ['Stalled', 'Broken'])",
            ),
            "must not be set where fallback.outcomes names neither Stalled nor Broken: it would do nothing",
            ".streaming.recovery",
        ),
        Rule(
            where(f"{_RECOVERS} && {present('fallback.maxAttempts')}", "self.fallback.maxAttempts > 1"),
            "must not be set where fallback.maxAttempts is 1: it takes a second attempt",
            ".streaming.recovery",
        ),
        Rule(
            "!has(self.hedging) || self.targets.size() != 1 || has(self.targets[0].poolRef)",
            "must not be set in a pool with one target: there is no second one to ask",
            ".hedging",
        ),
        Rule(
            where(present("hedging", "fallback.maxAttempts"), "self.fallback.maxAttempts != 1"),
            "must not be set where fallback.maxAttempts is 1: the second request is an attempt, too",
            ".hedging",
        ),
    ),
    "spec.streaming": (
        Rule(
            where(f"{present('recovery', 'commit')} && self.recovery.size() > 0", "self.commit != 'Complete'"),
            "must not be set where commit is Complete: nothing goes out before the answer is whole",
            ".recovery",
        ),
    ),
    "spec.streaming.recovery": (
        Rule(
            "self.all(way, self.filter(other, other == way).size() == 1)",
            "must not name a way twice",
        ),
    ),
    "spec.hedging": (Rule("has(self.percentile) != has(self.delay)", "must have exactly one of percentile and delay"),),
    "spec.strategy": (
        Rule(
            "!has(self.type) || self.type != 'ConsistentHash' || has(self.consistentHash)",
            "must be set where strategy.type is ConsistentHash",
            ".consistentHash",
        ),
        Rule(
            "(has(self.type) && self.type == 'ConsistentHash') || !has(self.consistentHash)",
            "must not be set where strategy.type is not ConsistentHash",
            ".consistentHash",
        ),
    ),
    "spec.strategy.consistentHash": (
        Rule("self.by != 'Header' || has(self.header)", "must be set where by is Header", ".header"),
        Rule("self.by == 'Header' || !has(self.header)", "must not be set where by is not Header", ".header"),
    ),
    "spec.fallback": (
        Rule(
            where(present("maxAttempts", "sameTarget.retries"), "self.sameTarget.retries < self.maxAttempts"),
            "must be below maxAttempts, which counts the first attempt too",
            ".sameTarget.retries",
        ),
    ),
    "spec.fallback.sameTarget.backoff": (at_most("initial", "max"),),
    "spec.fallback.statuses": (
        Rule(
            f"self.all(status, type(status) != int || status < 300 || status > 599 || !({_WRITTEN} in self))",
            'must not name a status twice; 429 and "429" are the same',
        ),
    ),
}
"""By the place that they stand on."""
