"""What an answer costs, by the prices that are declared for its model (B14).

Money is decimal from the manifest to the log: no float is counted with. What has no price has no cost, which is not
the same as a cost of nothing.
"""

from dataclasses import dataclass
from decimal import Context, Decimal

from modelpool_sidecar.core.record import Usage

_EXACT = Context(prec=60)
"""More digits than a price times a count of tokens can have."""
INPUT_PER_OUTPUT = 3
"""Tokens of input for one of output: what a request is expected to need, for want of a better guess."""
_MOST_TOKENS = 10**12
"""What a provider counts beyond this is nonsense, and nothing to charge for."""


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars per million tokens. `output` None: not declared, so that an answer with output has no cost."""

    input: Decimal
    cached_input: Decimal
    output: Decimal | None


def of(usage: Usage, prices: Prices) -> Decimal | None:
    """The cost of an answer in US dollars; None where it cannot be told. Cached tokens are part of the input."""
    if usage.input_tokens is None or max(usage.input_tokens, usage.output_tokens or 0) > _MOST_TOKENS:
        return None
    cached = min(usage.cached_tokens or 0, usage.input_tokens)
    cost = _EXACT.add(
        _EXACT.multiply(prices.input, usage.input_tokens - cached), _EXACT.multiply(prices.cached_input, cached)
    )
    if usage.output_tokens:
        if prices.output is None:
            return None
        cost = _EXACT.add(cost, _EXACT.multiply(prices.output, usage.output_tokens))
    return _EXACT.scaleb(cost, -6)


def expected(prices: Prices | None, *, answers: bool = True) -> Decimal | None:
    """What tokens cost before they are counted, in US dollars for three million of input and one of output.

    None where that cannot be told: no prices, or none of output where the operation `answers` in tokens (B14).
    """
    if prices is None or (answers and prices.output is None):
        return None
    cost = _EXACT.multiply(prices.input, INPUT_PER_OUTPUT)
    return _EXACT.add(cost, prices.output) if answers and prices.output is not None else cost


def plain(cost: Decimal) -> str:
    """As people write it: `0.000123`, never with an exponent, no zeros at its end."""
    return f"{_EXACT.normalize(cost):f}"
