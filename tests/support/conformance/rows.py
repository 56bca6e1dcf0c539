"""What a row of the table is, and how its cells are run: one request under the fault, then what becomes of the rest."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from conformance.client import Got
from conformance.house import COOLDOWN_SECONDS, House
from conformance.seen import Seen, judge
from conformance.speech import OPERATIONS, Operation, Way
from conformance.turns import Fault

Blame = Literal["none", "counts", "cools", "long"]
"""What the fault means for the target: nothing; a failure of several; out until a moment; out for minutes."""

MORE = 6
"""Requests that follow under the same fault."""
_ASKED = {"counts": 4, "cools": 3, "long": 0}
"""How many of these may reach the target: until three failures, or a probe or two after short cooldowns."""


@dataclass(frozen=True, slots=True)
class Row:
    """One fault.

    `whole`, `stream`: what the client must see, in the words of `seen`; None where the fault has no such cell.
    `backup`: what the second provider does wrong, too. `remembered`: the target is not asked again for this operation
    until the next reload. `lasting`: whether a healthy moment between shows who answers then. `more`: requests that
    follow. `partial`: what is whole but for one event counts as whole (B28). `padding`: bytes that make the request
    large. `heavy`: so much work that few such cells run at once. `alike`: both targets say the same. `prefill`: the
    backup goes on from a text that it is given. `pool`: fields of pool `chat`; `pools`: other pools, by name.
    `headers`: lines that each request carries.

    `play`: another course of events than the usual one; it judges for itself what the usual one would have judged.
    """

    name: str
    group: str
    whole: str | None
    stream: str | None
    primary: Fault | None = None
    backup: Fault | None = None
    blame: Blame = "counts"
    remembered: bool = False
    more: int = MORE
    pool: Mapping[str, Any] = field(default_factory=dict)
    pools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    timeouts: Mapping[str, int] = field(default_factory=dict)
    health: Mapping[str, int] = field(default_factory=dict)
    tls: bool = False
    alike: bool = False
    prefill: bool = False
    partial: bool = False
    lasting: bool = True
    body: Mapping[str, Any] = field(default_factory=dict)
    padding: int = 0
    heavy: bool = False
    play: "Callable[[House, Way, Row], Awaitable[Seen]] | None" = None
    operations: tuple[Operation, ...] = OPERATIONS
    headers: tuple[str, ...] = ()

    def expected(self, way: Way) -> str | None:
        """What the client must see on this way."""
        if way.operation not in self.operations:
            return None
        return self.stream if way.stream else self.whole

    @property
    def then(self) -> str:
        """Who answers as soon as the primary is well again."""
        return "backup" if self.remembered or self.blame in ("cools", "long") else "primary"

    @property
    def bound(self) -> int:
        """How many of the requests that follow may reach the primary."""
        if self.backup is not None and self.blame == "counts":
            return 2 * self.more  # the last resort: one request at a time, each asks at most twice (B37)
        if self.remembered:
            return 0
        return self.more if self.blame == "none" else _ASKED[self.blame]


class WrongError(AssertionError):
    """A cell does not hold; the message says what was seen."""


async def ask(house: House, way: Way, row: Row, model: str = "chat", *, faulty: bool = False) -> tuple[str, Got, Seen]:
    """One request on a connection of its own; `faulty`: under the row's fault, and so of the size that it needs."""
    ident, client = house.ident(), house.client()
    body = way.body(ident, model, row.padding if faulty else 0, **row.body)
    got = await client.ask(way.path, body, *row.headers)
    client.close()
    return ident, got, judge(way, ident, got, partial=row.partial, alike=row.alike)


async def usual(house: House, way: Way, row: Row) -> Seen:
    """The fault meets one request; a healthy moment; the fault meets several more; then all is well again."""
    await _break(house, row)
    ident, got, seen = await ask(house, way, row, faulty=True)
    answered = asyncio.get_running_loop().time()
    asked = {name: provider.asked(ident) for name, provider in house.providers.items()}
    attempts = int(got.headers.get("x-modelpool-attempts", "0"))
    if sum(asked.values()) > attempts or attempts > 2 or asked["backup"] > 1:
        raise WrongError(f"{seen.words}, but the providers saw {asked}")
    if row.lasting:
        await _mend(house)
        _, _, after = await ask(house, way, row)
        may = {row.then} if asyncio.get_running_loop().time() - answered < COOLDOWN_SECONDS else {"primary", "backup"}
        if row.backup is None and after.who not in may:
            raise WrongError(f"right after the fault {after.words} answers, not {row.then}")
        await _break(house, row)
    await _more(house, way, row, seen)
    await _mend(house)
    await _alive(house, way, row)
    return seen


async def _break(house: House, row: Row) -> None:
    await house.turn("primary", row.primary)
    await house.turn("backup", row.backup)


async def _mend(house: House) -> None:
    await house.turn("primary", None)
    await house.turn("backup", None)


async def _more(house: House, way: Way, row: Row, first: Seen) -> None:
    """More requests under the same fault: lawful each, and the provider is not hammered."""
    before, began = _reached(house, row), asyncio.get_running_loop().time()
    for _ in range(row.more):
        _, got, seen = await ask(house, way, row, faulty=True)
        if seen.wrong:
            raise WrongError(f"a later request: {seen.words}: {seen.wrong}")
        if row.backup is None and seen.who is None and seen.words != first.words:
            raise WrongError(f"a later request: {seen.words}, the first one: {first.words}")
        if int(got.headers.get("x-modelpool-attempts", "0")) > 2:
            raise WrongError(f"a later request: {seen.words}")
    count = _reached(house, row) - before
    probes = int((asyncio.get_running_loop().time() - began) / COOLDOWN_SECONDS)
    if count > row.bound + probes:
        raise WrongError(f"{count} of {row.more} requests that followed reached the primary, at most {row.bound} may")


def _reached(house: House, row: Row) -> int:
    """How often the primary was asked, or connected to where it goes no further."""
    return house.primary.accepted if row.primary is not None and row.primary.connect else len(house.primary.asks)


async def _alive(house: House, way: Way, row: Row) -> None:
    """It answers, with the answer that belongs to the request; the primary comes back where it should."""
    _, _, seen = await ask(house, way, row, "spare")
    if seen.who != "spare":
        raise WrongError(f"afterwards another pool answers {seen.words} {seen.wrong}")
    end = asyncio.get_running_loop().time() + 6.0
    wanted = "backup" if row.blame == "long" or row.remembered else "primary"
    if row.backup is not None and (row.blame == "long" or row.remembered):
        return
    while True:
        _, _, seen = await ask(house, way, row)
        if seen.who == wanted:
            return
        if seen.wrong or (row.backup is None and seen.who is None):
            raise WrongError(f"afterwards: {seen.words} {seen.wrong}")
        if asyncio.get_running_loop().time() > end:
            raise WrongError(f"the {wanted} does not come back: {seen.words}")
        await asyncio.sleep(0.15)


async def once(house: House, way: Way, row: Row) -> Seen:
    """One request, no target sees it twice; then all is well, and so is the next one."""
    await _break(house, row)
    ident, _, seen = await ask(house, way, row)
    asked = {name: provider.asked(ident) for name, provider in house.providers.items()}
    if max(asked.values()) > 1:
        raise WrongError(f"{seen.words}, and asked {asked}")
    await _mend(house)
    _, _, after = await ask(house, way, row)
    if after.wrong or (after.who is None and row.blame != "cools"):
        raise WrongError(f"afterwards: {after.words} {after.wrong}")
    return seen


async def until(condition: Callable[[], object], what: str, seconds: float = 2.0) -> None:
    """Wait for that; WrongError where it takes longer."""
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        if asyncio.get_running_loop().time() > end:
            raise WrongError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.005)
