"""Callers with and without a key in front of a provider's fault: nobody is asked for who may not ask (B8, B42, B43)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from builders import a_pool, a_target
from conformance.client import Got
from conformance.faults import FIRST, answers, breaks, delayed, said, silence
from conformance.house import CALLERS, KEYS, TOTAL, House
from conformance.rows import Row, WrongError, ask, until, usual
from conformance.seen import BROKEN, ON, WELL, Seen, judge
from conformance.speech import Way
from conformance.turns import Fault

GROUP = "Callers"
REFUSED = "401 invalid_api_key"
LARGE = 5 * 1024 * 1024
HOUR = 3_600_000
ONE_EACH = {
    "name": "alice",
    "limits": {"requests": ({"name": "one", "max": 1, "per": HOUR, "burst": 1, "scope": "Sidecar"},)},
}


def _key(key: str) -> tuple[str, ...]:
    return (f"authorization: Bearer {key}",)


ALICE, BOB, STRANGER = _key(KEYS["alice"]), _key(KEYS["bob"]), _key("nobody-has-this-long-key")


def _refused(headers: tuple[str, ...], padding: int = 0) -> Callable[[House, Way, Row], Awaitable[Seen]]:
    """Without a good key; then with one, under the same fault, then well."""

    async def play(house: House, way: Way, row: Row) -> Seen:
        await house.turn("primary", row.primary)
        ident = house.ident()
        got = await house.client().ask(way.path, way.body(ident, padding=padding), *headers)
        seen = judge(way, ident, got)
        if any(provider.accepted for provider in house.providers.values()):
            raise WrongError("a provider was asked")
        told = [name for name in got.headers if name.startswith("x-modelpool")]
        if told or "www-authenticate" not in got.headers:
            raise WrongError(f"it tells {told}, and how to come in: {got.headers.get('www-authenticate')}")
        await house.turn("primary", None)
        await _is_let_in(house, way, ALICE)
        return seen

    return play


async def _is_let_in(house: House, way: Way, headers: tuple[str, ...]) -> None:
    ident = house.ident()
    seen = judge(way, ident, await house.client().ask(way.path, way.body(ident), *headers))
    if seen.words != WELL or seen.wrong:
        raise WrongError(f"with a good key: {seen.words} {seen.wrong}")
    _no_key_went_on(house)


def _no_key_went_on(house: House) -> None:
    for provider in house.providers.values():
        if any("authorization" in each.headers for each in provider.asks):
            raise WrongError(f"{provider.name} was given a caller's key")


async def _once(house: House, way: Way, row: Row) -> Seen:
    """The fault for who has a key."""
    await house.turn("primary", row.primary)
    _, _, seen = await ask(house, way, row)
    _no_key_went_on(house)
    await house.turn("primary", None)
    await _is_let_in(house, way, BOB)
    return seen


async def _limited(house: House, way: Way, row: Row) -> Seen:
    """One caller has had all that it may; the other one has not."""
    await house.turn("primary", row.primary)
    _, _, first = await ask(house, way, row)
    asked = sum(provider.accepted for provider in house.providers.values())
    _, _, seen = await ask(house, way, row)
    if first.words != ON or sum(provider.accepted for provider in house.providers.values()) != asked:
        raise WrongError(f"{first.words}, and then the providers were asked again")
    await house.turn("primary", None)
    await _is_let_in(house, way, BOB)
    return seen


async def _loses_its_key(house: House, way: Way, row: Row) -> Seen:
    """What is at work goes on (B46); what comes then is refused."""
    await house.turn("primary", row.primary)
    ident, client = house.ident(), house.client()
    await client.post(way.path, way.body(ident), *ALICE)
    await until(lambda: house.primary.asked(ident), "the provider is asked")
    targets = [a_target("primary"), a_target("backup", priority=1)]
    await house.apply([a_pool(targets=targets, total=TOTAL, callers=CALLERS)], {"bob": KEYS["bob"]})
    seen = judge(way, ident, await client.answer())
    asked = house.primary.accepted
    after: Got = await house.client().ask(way.path, way.body(house.ident()), *ALICE)
    if after.status != 401 or house.primary.accepted != asked:
        raise WrongError(f"a key that is gone opens: {after.status}")
    await house.turn("primary", None)
    await _is_let_in(house, way, BOB)
    return seen


def _row(name: str, seen: str, fault: Fault, play: Any, stream: str | None = None, **more: Any) -> Row:
    more = {"pool": {"callers": CALLERS}, "headers": ALICE, **more}
    return Row(name, GROUP, seen, stream or seen, fault, play=play, **more)


ROWS: Sequence[Row] = (
    _row("no key, before a 500", REFUSED, FIRST, _refused(())),
    _row("a wrong key, before a 500", REFUSED, FIRST, _refused(STRANGER)),
    _row("a wrong key, before silence", REFUSED, silence(), _refused(STRANGER)),
    _row("a wrong key, with a large upload", REFUSED, FIRST, _refused(STRANGER, LARGE), heavy=True),
    _row("a good key, and 500", ON, FIRST, _once),
    _row("a good key, and the provider's 401", ON, answers(401, said("invalid_api_key")), usual, blame="long"),
    _row("a good key, and a cut in the middle", ON, breaks("middle", "fin"), _once, BROKEN),
    _row(
        "the caller's own limit is reached, under a 500",
        "429 rate_limit_exceeded, 0 asks",
        FIRST,
        _limited,
        pool={"callers": {**CALLERS, "entries": (ONE_EACH,)}},
    ),
    _row("the key is taken away while the answer comes", WELL, delayed(0.3), _loses_its_key),
    _row(
        "the key is taken away while the answer comes, and it is cut",
        ON,
        breaks("middle", "fin"),
        _loses_its_key,
        BROKEN,
    ),
)
