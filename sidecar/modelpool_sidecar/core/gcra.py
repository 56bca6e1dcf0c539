"""Whether a bucket has room for so many more, and when (B8).

Theory of Gcra, the generic cell rate algorithm: a bucket is one number, the moment at which everything that was
admitted will have drained away at the limit's rate. A request moves it by one interval (`per` / `max`). It is admitted
while the moment is less than `burst` intervals away, so in any stretch of time no more pass than burst + time * max /
per, and none of it depends on where a window starts. The moment is kept in whole microseconds multiplied by `max`:
intervals are whole numbers there, so nothing drifts however long the process lives.

A bucket is asked with `wait` or `over` and then taken from, in one step without a pause between, so looking never
consumes (B3). Times are monotonic seconds; those called `micros` are the same moment in whole microseconds, which who
looks at several buckets works out once.

Theory of holds. What a request took is known to be too much only when it is over, and then it is to be as if it had
taken less from the beginning. Meanwhile the bucket drains: what it had given out again it cannot get back. So a hold
gets back at most the lowest level that the bucket has had since it was taken. A bucket is a pile of layers, one for
each open hold, oldest at the bottom: it drains from the top, and a hold takes back from its own layer and then from
those below. The layers up to a hold's own are that lowest level, however many holds are open and in whatever order
they end. A hold whose layer is gone shares the one below; where there is none it has nothing to get back any more.
"""

from dataclasses import dataclass, field
from typing import Optional

_MICROSECONDS = 1_000_000


def micros(now: float) -> int:
    """The moment in whole microseconds."""
    return round(now * _MICROSECONDS)


@dataclass(frozen=True, slots=True)
class Shape:
    """At most `maximum` each `per` microseconds, `burst` at once."""

    maximum: int
    per: int
    burst: int
    whole: int = field(init=False, compare=False, repr=False)
    """As much as it holds: `burst` times `per`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "whole", self.burst * self.per)

    @classmethod
    def of(cls, maximum: int, per: float, burst: int) -> "Shape":
        """`per` in seconds."""
        return cls(maximum, round(per * _MICROSECONDS), burst)

    def remaining(self, level: int) -> int:
        """How many would be admitted at once where so much is taken."""
        return max(0, (self.whole - level) // self.per)

    def reset(self, level: int) -> float:
        """Seconds until nothing of it is taken any more, if nobody asks."""
        return level / self.maximum / _MICROSECONDS


class Hold:
    """So many of one bucket, from the moment at which they are taken to the one at which it is known what was used.

    Whoever has one ends it with `close`. `level`: how full the bucket was right after, in `shape`.
    """

    __slots__ = ("above", "amount", "below", "bucket", "depth", "era", "level", "members", "root", "shape")

    def __init__(self, bucket: "Gcra", amount: int, moment: int) -> None:
        """Takes them. `moment`: now in whole microseconds; the caller has seen that there is room."""
        moment *= bucket.maximum
        level = bucket.due - moment
        if level < bucket.held:
            bucket.drain(level)
        level = (max(0, level)) + amount * bucket.per
        bucket.due = moment + level
        self.bucket, self.amount, self.level, self.shape = bucket, amount, level, bucket.shape
        self.depth, self.members, self.era = level - bucket.held, 1, bucket.era
        self.root: Hold | None = None
        self.above: Hold | None = None
        self.below = below = bucket.top
        if below is not None:
            below.above = self
        bucket.top, bucket.held = self, level

    def __repr__(self) -> str:
        return f"<Hold of {self.amount}>"

    def settle(self, used: int, now: float) -> int:
        """It is known that so many were used. Returns how many more than were taken: they are taken elsewhere."""
        more = used - self.amount
        if more >= 0:
            return more
        bucket, shape = self.bucket, self.shape
        owed = -more * shape.per
        if bucket.shape is not shape:  # the used share is kept when a bucket changes; so is the part of it that is owed
            owed = owed * bucket.shape.whole // shape.whole
        bucket.give_back(self, owed, now)
        self.amount = used
        return 0

    def close(self) -> None:
        """Nothing will be given back any more. Once."""
        node = self if self.root is None and self.era == self.bucket.era else self.standing()
        if node is None:
            return
        node.members -= 1
        if not node.members:
            node.era = _GONE
            node.lift()

    def standing(self) -> Optional["Hold"]:
        """The hold whose layer is its own, too; None where nothing is left of it."""
        if self.era != self.bucket.era:
            return None
        node = self
        while node.root is not None:
            node = node.root
        return node if node.era == self.bucket.era else None

    def lift(self) -> None:
        """Its layer belongs to the one above from now on."""
        above, below, bucket = self.above, self.below, self.bucket
        if above is None:
            bucket.top = below
            bucket.held -= self.depth
        else:
            above.depth += self.depth
            above.below = below
        if below is not None:
            below.above = above

    def sink(self) -> None:
        """Its layer is gone: the one below is its own, too."""
        above, below = self.above, self.below
        if above is None:
            self.bucket.top = below
        else:
            above.below = below
        if below is None:
            self.era = _GONE
        else:
            below.above = above
            below.members += self.members
            self.root = below


_GONE = -1


class Gcra:
    """One bucket. `due`: the moment at which it will be whole again, in microseconds times `maximum`.

    `top`: the newest open hold that has a layer; `held`: all layers together; `era`: counts how often all were gone.
    """

    __slots__ = ("burst", "due", "era", "held", "maximum", "per", "shape", "top")

    def __init__(self, shape: Shape) -> None:
        self.shape, self.maximum, self.per, self.burst = shape, shape.maximum, shape.per, shape.burst
        self.due = self.held = self.era = 0
        self.top: Hold | None = None

    def __repr__(self) -> str:
        return f"<Gcra {self.maximum} per {self.per / _MICROSECONDS:g} s, burst {self.burst}>"

    def over(self, micros: int, amount: int = 1) -> int:
        """By how much so many more would be too many; at most 0 where they are admitted. Looking consumes nothing."""
        level = self.due - micros * self.maximum
        return (amount - self.burst) * self.per + (max(0, level))

    def wait(self, now: float, amount: int = 1) -> float:
        """Seconds until so many more would be admitted; 0 = now. Looking consumes nothing."""
        return self.seconds(self.over(micros(now), amount))

    def seconds(self, over: int) -> float:
        """How long it takes until so much has drained away, rounded up."""
        return 0.0 if over <= 0 else -(-over // self.maximum) / _MICROSECONDS

    def take(self, now: float, amount: int = 1) -> Hold:
        """So many more: the caller has seen that `wait` is 0, or they are used already."""
        return Hold(self, amount, micros(now))

    def drain(self, level: int) -> None:
        """The level has fallen to this, below what is held: the newest layers are gone."""
        if level <= 0:
            self.top, self.held = None, 0
            self.era += 1
            return
        gone, self.held = self.held - level, level
        self._remove(self.top, gone)

    def give_back(self, hold: Hold, owed: int, now: float) -> None:
        """So much of a hold was not used."""
        level = self.level(now)
        if level < self.held:
            self.drain(level)
        given = self._remove(hold.standing(), owed)
        self.due -= given
        self.held -= given

    def _remove(self, node: Hold | None, amount: int) -> int:
        """From this layer, and then from those below; how much was there."""
        left = amount
        while left and node is not None:
            below = node.below
            if node.depth > left:
                node.depth -= left
                left = 0
            else:
                left -= node.depth
                node.depth = 0
                node.sink()
            node = below
        return amount - left

    def resize(self, shape: Shape, now: float) -> None:
        """Another shape: the used share of the burst stays what it is, nothing is refilled (B8)."""
        if shape == self.shape:
            self.shape = shape
            return
        level, old = self.level(now), self.burst * self.per
        if level < self.held:
            self.drain(level)
        self.shape, self.maximum, self.per, self.burst = shape, shape.maximum, shape.per, shape.burst
        # Rounded up: a change can never let through what the old shape would not have; layers are rounded down.
        new = self.burst * self.per
        self.due = micros(now) * self.maximum - (-level * new // old)
        self.held, node = 0, self.top
        while node is not None:
            node.depth = node.depth * new // old
            self.held += node.depth
            node = node.below

    def remaining(self, now: float) -> int:
        """How many requests would be admitted at once now."""
        return self.shape.remaining(self.level(now))

    def reset(self, now: float) -> float:
        """Seconds until the whole burst is free again, if nobody asks."""
        return self.shape.reset(self.level(now))

    def whole(self, now: float) -> bool:
        """Whether it is the same as one that was never used."""
        return self.level(now) == 0

    def level(self, now: float) -> int:
        """How much of it is taken, in microseconds times `maximum`."""
        level = self.due - micros(now) * self.maximum
        return max(0, level)
