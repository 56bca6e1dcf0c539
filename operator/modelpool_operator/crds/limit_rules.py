"""What a limit must be beyond its schema: the rules of `checks.limits`."""

from modelpool_operator.checks import headers
from modelpool_operator.crds.rules import Rule, matches

_CREDENTIAL = f"(?i)^({'|'.join(sorted(headers.CREDENTIAL))})$"

_ENTRY = (
    Rule(
        "!has(self.by) || self.by != 'Header' || has(self.header)",
        "must be set where by is Header",
        ".header",
    ),
    Rule(
        "(has(self.by) && self.by == 'Header') || !has(self.header)",
        "must not be set where by is not Header",
        ".header",
    ),
)
_HEADER = (
    Rule(
        f"!{matches('self', _CREDENTIAL)}",
        "must not be a header which carries a credential: its value is not kept",
        says="'must not be ' + self + ': its value is a credential, and is not kept'",
    ),
)


def at(place: str) -> dict[str, tuple[Rule, ...]]:
    """The rules of limits that stand there."""
    return {
        name: rules
        for kind in ("requests", "tokens")
        for name, rules in ((f"{place}.{kind}[]", _ENTRY), (f"{place}.{kind}[].header", _HEADER))
    }
