"""What is said about a pool that makes sense and still does not do all that it asks for: it lacks what others declare.

Nothing is refused for it: a price, a capability or a second target may come later, with an edit of another object.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from modelpool_operator import defaults, durations
from modelpool_operator.api.modelpool import ModelPoolSpec
from modelpool_operator.checks.reached import Reached


@dataclass(frozen=True, slots=True)
class Remark:
    """The reason of the condition, and its sentence."""

    reason: str
    message: str


def on(spec: ModelPoolSpec, reached: Sequence[Reached]) -> tuple[Remark, ...]:
    """All that is to be said; nothing of a pool that reaches no target, which says that. `reached`: its targets, those
    behind pools too."""
    each = (remark(spec, reached) for remark in REMARKS if reached)
    return tuple(found for found in each if found is not None)


def _unpriced(spec: ModelPoolSpec, reached: Sequence[Reached]) -> Remark | None:
    """Some of its targets have prices and others none: the sum of its costs would look like all of them (B14). Or none
    has one, and the prices are to choose (B1)."""
    without = [target for target in reached if not _has_price(target)]
    chosen = spec.strategy is not None and spec.strategy.type == "LowestCost"
    if not without or (len(without) == len(reached) and not chosen):
        return None
    means = "what is answered there counts as no cost"
    if len(without) == len(reached):
        means = "strategy LowestCost has nothing to go by and draws by weight"
    return Remark("Unpriced", f"no price is declared for {_listed(without)}: {means}")


def _has_price(target: Reached) -> bool:
    """Of the model that it asks for, or of every name that clients may send on to it."""
    priced = any(model.prices is not None for model in target.provider.models)
    return priced and all(model is not None and model.prices is not None for model in target.declared)


def _no_prefill(spec: ModelPoolSpec, reached: Sequence[Reached]) -> Remark | None:
    """It wants streams to be continued, and nobody says that he can (B26)."""
    if "Continue" not in _ways(spec) or any(_declares_prefill(target) for target in reached):
        return None
    inner = [target for target in reached if target.through]
    too = f" - that of {_listed(inner)} neither" if inner else ""
    text = f"streaming.recovery names Continue, but no target's model declares Prefill{too}: a stream that breaks"
    return Remark("NoPrefill", f"{text} is not continued")


def _declares_prefill(target: Reached) -> bool:
    """Of the model that it asks for, or of any name that clients may send on to it."""
    able = {model.name for model in target.provider.models if "Prefill" in (model.capabilities or ())}
    return bool(able) and any(name in able or name.endswith("*") for name in target.asked)


def _no_second_target(spec: ModelPoolSpec, reached: Sequence[Reached]) -> Remark | None:
    """What takes a target that was not asked yet (B23, B26), and time to ask it (B15)."""
    total = (spec.timeouts.total if spec.timeouts else None) or durations.render(defaults.TOTAL)
    delay = (spec.hedging.delay if spec.hedging else None) or "0s"
    if len(reached) > 1 and durations.parse(delay) >= durations.parse(total):
        late = f"hedging does nothing: its delay ({delay}) is not shorter than timeouts.total ({total})"
        return Remark("NoSecondTarget", late)
    fields = [("hedging", spec.hedging is not None), ("streaming.recovery", bool(_ways(spec)))]
    asking = [name for name, is_set in fields if is_set]
    if len(reached) > 1 or not asking:
        return None
    does = "do" if len(asking) > 1 else "does"
    return Remark("NoSecondTarget", f"{' and '.join(asking)} {does} nothing: {reached[0]} is the only one to ask")


def _ways(spec: ModelPoolSpec) -> tuple[str, ...]:
    return (spec.streaming.recovery if spec.streaming else None) or ()


def _listed(targets: Iterable[Reached]) -> str:
    return ", ".join(map(str, targets))


REMARKS: tuple[Callable[[ModelPoolSpec, Sequence[Reached]], Remark | None], ...] = (
    _unpriced,
    _no_prefill,
    _no_second_target,
)
