"""What statuses are made from, and about which objects it still is."""

from dataclasses import replace
from typing import Any

import pytest

from manifest_cases import pool, provider
from modelpool_operator import conditions
from modelpool_operator.compiling import Present
from modelpool_operator.conditions import Publication
from modelpool_operator.judged import Judged
from modelpool_operator.problems import Key
from modelpool_operator.store import Seen
from status_cases import NOW, POOL, PROVIDER, world

WORLD = world(provider(), pool())
SEEN: dict[Key, Seen] = {
    key: Seen(7, f"u-{key[0]}", 1, WORLD.compiled.result.accepted[key], {}) for key in (PROVIDER, POOL)
}
JUDGED = Judged(WORLD.compiled, Publication(WORLD.compiled.digests, NOW), SEEN)


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({}, True),
        ({"version": 8}, True),
        ({"status": {"observedGeneration": 1}}, True),
        ({"generation": 2}, False),
        ({"uid": "u-2"}, False),
    ],
)
def test_a_judgement_is_about_the_object_as_it_was_whatever_its_status(change: dict[str, Any], holds: bool) -> None:
    now = replace(SEEN[POOL], **change)
    assert JUDGED.holds(POOL, now) is holds
    assert (JUDGED.presents([POOL], lambda _key: now) != {}) is holds
    assert (JUDGED.maker(POOL)(now, NOW) is not None) is holds


def test_what_is_gone_or_was_never_judged_is_not_spoken_of() -> None:
    unknown: Key = ("ModelPool", "default", "unknown")
    assert not JUDGED.holds(POOL, None)
    assert not JUDGED.holds(unknown, SEEN[POOL])
    assert JUDGED.presents([POOL, unknown], {POOL: SEEN[POOL]}.get) == {POOL: Present(1, {})}


def test_only_what_says_something_else_is_different_and_then_says_it() -> None:
    status = JUDGED.maker(POOL)(SEEN[POOL], NOW)
    assert status is not None
    assert conditions.find(status, "Ready")["status"] == "True"
    presents = {POOL: Present(1, status), PROVIDER: Present(1, {})}
    assert JUDGED.different(presents, NOW) == {PROVIDER}
