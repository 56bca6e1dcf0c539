"""How much a Kubernetes quantity is: `50m`, `0.5`, `64Mi`, `1e3`."""

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(?:([KMGTPE]i|[numkMGTPE])|[eE]([-+]?[0-9]{1,2}))?")
_SUFFIXES = {
    **{
        suffix: Decimal(1000) ** power
        for power, suffix in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), -3)
    },
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
}


class QuantityError(ValueError):
    """It is no quantity, or one that no container can have; the message is a sentence."""


def amount(text: str) -> Decimal:
    """Cores or bytes. QuantityError."""
    match = _QUANTITY.fullmatch(text)
    if match is not None:
        number, suffix, exponent = match.groups()
        found = Decimal(number) * (Decimal(10) ** int(exponent) if exponent else _SUFFIXES[suffix or ""])
        if found > 0:
            return found
    raise QuantityError(f"must be a quantity such as 50m, 0.5 or 64Mi, not {text!r}")
