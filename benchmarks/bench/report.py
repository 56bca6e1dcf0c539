"""What the reader sees: a table of at most 100 columns, and the same as JSON with every round."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.figures import FIGURES, Round, medians, ratios, spread
from bench.rounds import SATURATED, Plan, Result
from bench.targets import ROUNDS_NEEDED, Judgement, judge

JSON_VERSION = 1
_NAME_WIDTH = 17


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that one run found out."""

    plan: Plan
    machine: Mapping[str, str | int]
    versions: Mapping[str, str]
    results: Mapping[str, Sequence[Result]]
    """By name, one for each round; `direct` is one of them."""
    reference: str

    def medians(self) -> dict[str, Round]:
        return {name: medians([result.figures for result in results]) for name, results in self.results.items()}

    def faults(self) -> dict[str, Counter[str]]:
        """What went wrong, by contender; empty when every answer was whole and the right one."""
        found = {name: sum((r.faults for r in results), Counter[str]()) for name, results in self.results.items()}
        return {name: faults for name, faults in found.items() if faults}

    def ratios(self) -> dict[str, dict[str, float]]:
        """Each contender's figures as multiples of the reference's."""
        middle = self.medians()
        if self.reference not in middle:
            return {}
        others = [name for name in middle if name not in ("direct", self.reference)]
        return {name: ratios(middle[name], middle[self.reference]) for name in others}

    def judgements(self) -> dict[str, list[Judgement]]:
        """Ours only: nobody promised anything for the others."""
        middle = self.medians()
        return {name: judge(name, middle) for name in middle if name.startswith("modelpool")}


def table(run: Run) -> str:
    middle = run.medians()
    lines = [_heading(0), _heading(1)]
    lines += [_row(name, figures) for name, figures in middle.items()]
    for name, ratio in run.ratios().items():
        lines += ["", f"{name}, as multiples of {run.reference}:", _row("", ratio, digits=2)]
    for name, judgements in run.judgements().items():
        lines += ["", f"{name}, against the targets:", *map(_judgement, judgements)]
    notes = [*_notes(run, middle), *_fault_lines(run)]
    return "\n".join([*lines, "", *notes]) if notes else "\n".join(lines)


def as_json(run: Run) -> dict[str, Any]:
    return {
        "version": JSON_VERSION,
        "plan": {"rounds": run.plan.rounds, "seconds": run.plan.seconds},
        "machine": dict(run.machine),
        "versions": dict(run.versions),
        "contenders": {
            name: {
                "median": _rounded(medians([result.figures for result in results])),
                "spread": {
                    key: [round(least, 3), round(most, 3)]
                    for key, (least, most) in spread([result.figures for result in results]).items()
                },
                "rounds": [_rounded(result.figures) for result in results],
                "faults": dict(run.faults().get(name, {})),
            }
            for name, results in run.results.items()
        },
        "reference": run.reference,
        "ratios": {name: _rounded(ratio) for name, ratio in run.ratios().items()},
        "targets": {
            name: [
                {
                    "what": one.target.what,
                    "value": round(one.value, 3),
                    "must": one.target.must,
                    "aim": one.target.aim,
                    "verdict": one.verdict,
                }
                for one in judgements
            ]
            for name, judgements in run.judgements().items()
        },
        "better": {figure.key: figure.better for figure in FIGURES},
    }


def _rounded(figures: Round) -> dict[str, float]:
    """A thousandth of a microsecond is already below what was measured."""
    return {key: round(value, 3) for key, value in figures.items()}


def _heading(line: int) -> str:
    return " " * _NAME_WIDTH + "".join(f"{figure.title[line]:>{figure.width}}" for figure in FIGURES)


def _row(name: str, figures: Round, digits: int | None = None) -> str:
    cells = []
    for figure in FIGURES:
        value = figures.get(figure.key)
        places = figure.digits if digits is None else digits
        cells.append(f"{'-' if value is None else f'{value:,.{places}f}':>{figure.width}}")
    return f"{name:<{_NAME_WIDTH}}" + "".join(cells)


def _judgement(one: Judgement) -> str:
    target = one.target
    digits = 0 if target.unit != "x" else 2 if target.must >= 0.1 else 4
    value, must, aim = (f"{number:.{digits}f}{target.unit}" for number in (one.value, target.must, target.aim))
    return f"  {target.what:<27}{value:>10}   {one.verdict:<8} (must {must}, aim {aim})"


def _notes(run: Run, middle: Mapping[str, Round]) -> list[str]:
    count = "1 round" if run.plan.rounds == 1 else f"medians of {run.plan.rounds} rounds"
    notes = [f"{count}, windows of {run.plan.seconds:g} s"]
    if run.plan.rounds < ROUNDS_NEEDED:
        notes.append(f"fewer than {ROUNDS_NEEDED} rounds show a direction and judge nothing")
    for name, figures in middle.items():
        if figures.get("tools_busy", 0.0) > SATURATED:
            notes.append(f"{name}: its requests/s is bound by the load generator, not by the proxy")
        if figures.get("held_busy", 0.0) > SATURATED:
            notes.append(f"{name}: its core was full with held streams; chunks that queue share their cost")
    return notes


def _fault_lines(run: Run) -> list[str]:
    lines = []
    for name, faults in run.faults().items():
        words = ", ".join(f"{count} {fault}" for fault, count in faults.most_common())
        first = next(result.first_fault for result in run.results[name] if result.faults)
        lines.append(f"WRONG ANSWERS, {name}: {words}" + (f" (the first: {first})" if first else ""))
    return lines
