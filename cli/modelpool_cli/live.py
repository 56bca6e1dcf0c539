"""One line for each request that is over: pool, target, attempts, first token, tokens, duration, and what went wrong.

Names and numbers only, as in the record: never a prompt, an answer or a key (B44).
"""

from modelpool_cli import printing
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.record import Record

_COLUMNS = (("pool", 12), ("target", 12), ("attempts", 8), ("first token", 11), ("tokens", 9), ("duration", 8))

_OF_CACHE: dict[str | None, str] = {"hit": "from the cache", "shared": "shares another one's answer"}

HEADING = "  ".join(f"{name:<{width}}" for name, width in _COLUMNS).rstrip()


def line(record: Record) -> str:
    """`chat          primary       1         0.21 s       9+14       0.68 s`."""
    cells = (
        record.pool or "-",
        record.target or "-",
        str(len(record.attempts)) if record.attempts else "-",
        _seconds(record.first_token),
        _tokens(record),
        _seconds(record.duration),
    )
    fixed = "  ".join(f"{_short(cell, width):<{width}}" for cell, (_, width) in zip(cells, _COLUMNS, strict=True))
    return printing.line(f"{fixed}  {_remark(record)}".rstrip())


def _remark(record: Record) -> str:
    """What is worth a word: the refusal, the outcome if it is not Ok, the cache, who failed or was outrun, a probe."""
    failed = [each for each in record.attempts[:-1] if each.outcome is not Outcome.OK and not each.outrun]
    words = []
    if record.refusal is not None:
        words.append(f"{record.status} {record.refusal}")
    elif record.cache in _OF_CACHE:
        words.append(_OF_CACHE[record.cache])
    elif record.outcome is None:
        words.append(record.route.removeprefix("/v1"))
    elif record.outcome is not Outcome.OK:
        words.append(f"{record.status} {record.outcome.value}")
    if failed:
        words.append("after " + ", ".join(f"{each.target} {each.outcome.value}" for each in failed))
    words += [f"faster than {each.target}" for each in record.attempts if each.outrun]
    if record.attempts and record.attempts[-1].probe:
        words.append("probe")
    return "; ".join(words)


def _tokens(record: Record) -> str:
    usage = record.usage
    if usage.input_tokens is None and usage.output_tokens is None:
        return "-"
    return "+".join("-" if count is None else str(count) for count in (usage.input_tokens, usage.output_tokens))


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
