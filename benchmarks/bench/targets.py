"""What a request may cost: the project's targets, and whether a run meets them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.figures import Round

Verdict = Literal["aim met", "met", "missed"]
ROUNDS_NEEDED = 7
"""Fewer rounds show a direction; they judge nothing."""


@dataclass(frozen=True, slots=True)
class Target:
    """A figure must be at most `must`, better `aim`: as a multiple of the rival's, or as it stands (`rival` None)."""

    what: str
    key: str
    rival: str | None
    must: float
    aim: float
    unit: str


TARGETS: tuple[Target, ...] = (
    Target("CPU per request / nginx", "cpu_us_per_request", "nginx", 2.0, 1.3, "x"),
    Target("CPU per request / onwards", "cpu_us_per_request", "onwards", 0.6, 0.4, "x"),
    Target("CPU per request / Envoy", "cpu_us_per_request", "envoy", 0.5, 0.3, "x"),
    Target("CPU per request / LiteLLM", "cpu_us_per_request", "litellm", 1 / 300, 1 / 600, "x"),
    Target("added p50 at c=1 / nginx", "added_p50_us", "nginx", 2.0, 1.3, "x"),
    Target("CPU per chunk / nginx", "cpu_us_per_chunk", "nginx", 1.6, 1.2, "x"),
    Target("CPU per chunk / Envoy", "cpu_us_per_chunk", "envoy", 0.85, 0.65, "x"),
    Target("memory after load", "rss_after_mb", None, 64.0, 48.0, " MB"),
    Target("start to first answer", "start_ms", None, 600.0, 350.0, " ms"),
)


@dataclass(frozen=True, slots=True)
class Judgement:
    target: Target
    value: float
    verdict: Verdict


def judge(name: str, medians: Mapping[str, Round]) -> list[Judgement]:
    """Every target that this run can tell about for the contender of that name."""
    found = []
    for target in TARGETS:
        value = medians[name].get(target.key)
        if value is None:
            continue
        if target.rival is not None:
            theirs = medians.get(target.rival, {}).get(target.key, 0.0)
            if theirs <= 0:
                continue
            value /= theirs
        found.append(Judgement(target, value, verdict(value, target)))
    return found


def verdict(value: float, target: Target) -> Verdict:
    if value <= target.aim:
        return "aim met"
    return "met" if value <= target.must else "missed"
