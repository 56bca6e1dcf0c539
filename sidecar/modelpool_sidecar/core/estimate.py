"""How many tokens a request will take, before anybody has counted them, and what was used where nobody tells (B10).

Theory. Input is the bytes of text divided by the bytes that a token of this model usually has: 4 at first, then what
its answers said, clamped to 2..8; a picture and a sound count a constant. Output is what nine of ten answers of the
pool stayed below, or the request's own limit where that is less. An estimate is wrong: it is settled with the real
usage when the answer is over, so that only what runs at the moment is guessed.
"""

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable

from modelpool_sidecar.core import jsonspan, needs
from modelpool_sidecar.core.allowance import Size, Tokens
from modelpool_sidecar.core.operations import EMBEDDINGS
from modelpool_sidecar.core.record import Usage
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import Pool, Snapshot, Target, TargetKey

FIRST, LEAST, MOST = 4.0, 2.0, 8.0
"""Bytes of text for each token."""
WEIGHT = 0.1
"""Of the newest answer, in what is believed of a model."""
ENOUGH_BYTES = 256
"""A shorter text says more about a model's preamble than about its tokens."""
UNKNOWN_OUTPUT = 1024
"""Tokens of an answer, while none has been seen."""
KEPT = 128
"""Answers of a pool whose length is remembered."""


def size(request: Request) -> Size:
    """Of a request; what is not JSON, a form or no body at all, shows none."""
    try:
        document = needs.document(request.body)
    except jsonspan.NotJsonError:
        return Size(0, 0, 0)
    operation = request.operation.name
    text = needs.text_bytes(document, operation)
    if request.operation is EMBEDDINGS:
        return Size(text, 0, 0)
    output = needs.output(document, operation)
    return Size(text, needs.fixed_tokens(document), None if output is None else output * request.choices)


class Estimates:
    """What was learned of models and pools; one per process, part of the state."""

    __slots__ = ("_models", "_outputs")

    def __init__(self) -> None:
        self._models: dict[TargetKey, float] = {}
        self._outputs: dict[str, _Lengths] = {}

    def __repr__(self) -> str:
        return f"<Estimates of {len(self._models)} models, {len(self._outputs)} pools>"

    def of_pool(self, pool: Pool, asked: Size) -> Tokens:
        """At admission, when nobody knows yet which target it will be: as its targets are on average."""
        return self._tokens(pool, asked, self._average(pool.targets.values()))

    def of_target(self, pool: Pool, target: Target, asked: Size) -> Tokens:
        """At one target."""
        return self._tokens(pool, asked, self._models.get(target.key, FIRST))

    def learn(self, pool: Pool, target: Target, asked: Size, usage: Usage) -> None:
        """An answer is over, and told what it used."""
        if usage.output_tokens is not None:
            self._outputs.setdefault(pool.name, _Lengths()).add(usage.output_tokens)
        text = (usage.input_tokens or 0) - asked.fixed
        if asked.text >= ENOUGH_BYTES and text > 0:
            before = self._models.get(target.key, FIRST)
            seen = min(MOST, max(LEAST, asked.text / text))
            self._models[target.key] = before + WEIGHT * (seen - before)

    def retain(self, snapshot: Snapshot) -> None:
        """Keep what the snapshot still means (B48)."""
        pools = {name: pool for name, pool in snapshot.pools.items() if isinstance(pool, Pool)}
        known = {target.key for pool in pools.values() for target in pool.targets.values()}
        self._models = {key: value for key, value in self._models.items() if key in known}
        self._outputs = {name: value for name, value in self._outputs.items() if name in pools}

    def _tokens(self, pool: Pool, asked: Size, bytes_per_token: float) -> Tokens:
        lengths = self._outputs.get(pool.name)
        usual = UNKNOWN_OUTPUT if lengths is None else lengths.usual
        output = usual if asked.output is None else min(usual, asked.output)
        return Tokens(math.ceil(asked.text / bytes_per_token) + asked.fixed, output)

    def _average(self, targets: Iterable[Target]) -> float:
        if not self._models:
            return FIRST
        models = self._models
        known = [seen for target in targets if (seen := models.get(target.key)) is not None]
        return sum(known) / len(known) if known else FIRST


class _Lengths:
    """The newest answers of a pool in tokens. `usual`: what nine of ten of them stay below."""

    __slots__ = ("_newest", "_sorted", "usual")

    def __init__(self) -> None:
        self.usual = UNKNOWN_OUTPUT
        self._newest: deque[int] = deque()
        self._sorted: list[int] = []

    def add(self, tokens: int) -> None:
        """One more; the oldest goes."""
        self._newest.append(tokens)
        insort(self._sorted, tokens)
        if len(self._newest) > KEPT:
            del self._sorted[bisect_left(self._sorted, self._newest.popleft())]
        self.usual = self._sorted[math.ceil(0.9 * len(self._sorted)) - 1]
