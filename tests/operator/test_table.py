"""What was seen last of a collection, though events come twice, late, or not at all."""

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelpool_operator.table import Name, Table, version_of


@dataclass(frozen=True)
class Thing:
    version: int
    word: str = ""


A, B, ELSEWHERE = ("shop", "a"), ("shop", "b"), ("other", "a")


def _table(**values: int) -> Table[Thing]:
    """Things of the namespace shop by name, each with its version."""
    table: Table[Thing] = Table()
    for name, version in values.items():
        table.put(("shop", name), Thing(version))
    return table


@pytest.mark.parametrize(
    ("text", "version"),
    [("7", 7), ("18446744073709551615", 2**64 - 1), ("", 0), (None, 0), ("abc", 0), ("-1", 0), ("1.5", 0), ("٣", 0)],
)
def test_a_resource_version_is_a_number_and_anything_else_is_older_than_all(text: str | None, version: int) -> None:
    assert version_of(text) == version


def test_what_was_put_is_found_by_name_and_by_namespace() -> None:
    table = _table(a=1, b=2)
    assert table.put(ELSEWHERE, Thing(3))
    assert table.get(A) == Thing(1)
    assert dict(table.of("shop")) == {"a": Thing(1), "b": Thing(2)}
    assert sorted(table.namespaces()) == ["other", "shop"]
    assert table.size == 3


def test_an_event_that_comes_twice_is_news_once() -> None:
    table = _table()
    assert [table.put(A, Thing(5)), table.put(A, Thing(5))] == [True, False]
    assert table.size == 1


def test_an_older_event_never_replaces_a_newer_one() -> None:
    table = _table(a=5)
    assert not table.put(A, Thing(4))
    assert table.get(A) == Thing(5)


def test_a_thing_without_a_version_is_always_news() -> None:
    table = _table(a=5)
    assert table.put(A, Thing(0, "by hand"))
    assert table.get(A) == Thing(0, "by hand")


def test_a_deletion_is_news_once_and_takes_the_namespace_with_the_last_thing() -> None:
    table = _table(a=5)
    assert [table.remove(A, 6), table.remove(A, 6)] == [True, False]
    assert (table.get(A), list(table.namespaces()), table.size) == (None, [], 0)


def test_a_late_deletion_does_not_take_what_was_made_again_since() -> None:
    table = _table(a=9)
    assert not table.remove(A, 6)
    assert table.get(A) == Thing(9)


def test_a_deletion_without_a_version_counts() -> None:
    table = _table(a=9)
    assert table.remove(A, 0)
    assert table.get(A) is None


def test_a_late_event_does_not_bring_back_what_was_deleted() -> None:
    table = _table(a=5)
    table.remove(A, 8)
    assert not table.put(A, Thing(7))
    assert table.put(A, Thing(9))
    assert table.size == 1


def test_a_list_tells_what_moved_what_came_and_what_is_gone() -> None:
    table = _table(a=1, b=2)
    moved = table.replace({A: Thing(1), ("shop", "c"): Thing(4)}, 10)
    assert moved == {B, ("shop", "c")}
    assert dict(table.of("shop")) == {"a": Thing(1), "c": Thing(4)}


def test_a_list_does_not_take_what_was_seen_after_it_was_made() -> None:
    table = _table(a=12)
    assert table.replace({}, 10) == set()
    assert table.get(A) == Thing(12)


def test_a_list_of_one_namespace_says_nothing_about_another() -> None:
    table = _table(a=1)
    table.put(ELSEWHERE, Thing(2))
    assert table.replace({}, 10, within="shop") == {A}
    assert table.get(ELSEWHERE) == Thing(2)


def test_a_list_does_not_bring_back_what_was_deleted_after_it_was_made() -> None:
    table = _table(a=5)
    table.remove(A, 12)
    assert table.replace({A: Thing(5)}, 10) == set()
    assert table.get(A) is None


def test_an_event_from_before_a_list_does_not_bring_back_what_the_list_lacks() -> None:
    table = _table(a=5)
    table.replace({}, 10)
    assert not table.put(A, Thing(6))
    assert table.get(A) is None
    assert table.put(A, Thing(11))


def test_a_list_of_one_namespace_keeps_what_is_known_to_be_deleted_in_another() -> None:
    table = _table()
    table.put(ELSEWHERE, Thing(5))
    table.remove(ELSEWHERE, 8)
    table.replace({}, 20, within="shop")
    assert not table.put(ELSEWHERE, Thing(6))


def test_deletions_are_remembered_until_the_next_list_and_no_longer() -> None:
    table = _table()
    for number in range(1, 1000):
        table.put(("shop", str(number)), Thing(number * 2))
        table.remove(("shop", str(number)), number * 2 + 1)
    table.replace({}, 5000)
    assert table._gone == {}


def test_a_store_that_was_put_back_to_an_older_copy_is_believed() -> None:
    """After a restore of etcd the versions begin anew: what the new list says is all there is."""
    table = _table(a=90, b=95)
    table.remove(B, 96)
    table.replace({A: Thing(90)}, 100)
    moved = table.replace({A: Thing(40), B: Thing(41)}, 50)
    assert moved == {A, B}
    assert dict(table.of("shop")) == {"a": Thing(40), "b": Thing(41)}
    assert table.put(("shop", "c"), Thing(51))


def test_a_store_that_was_put_back_says_so_for_each_namespace_that_is_listed() -> None:
    table = _table(a=90)
    table.put(ELSEWHERE, Thing(92))
    table.replace({A: Thing(90)}, 100, within="shop")
    assert table.replace({}, 50, within="shop") == {A}
    assert table.put(A, Thing(51))
    assert table.get(ELSEWHERE) == Thing(92)


def test_a_list_without_a_version_takes_nothing_away() -> None:
    table = _table(a=90)
    table.replace({A: Thing(90)}, 100)
    assert table.replace({B: Thing(101)}, 0) == {B}
    assert table.get(A) == Thing(90)


Step = tuple[str, Name, int]
_names = st.sampled_from([A, B, ELSEWHERE])


@st.composite
def _histories(draw: st.DrawFn) -> list[Step]:
    """What really happened in a cluster, one change for each version: an object is there from then on, or gone."""
    there: set[Name] = set()
    steps: list[Step] = []
    for version in range(1, draw(st.integers(1, 12)) + 1):
        name = draw(_names)
        if name in there and draw(st.booleans()):
            there.remove(name)
            steps.append(("gone", name, version))
        else:
            there.add(name)
            steps.append(("there", name, version))
    return steps


def _by_version(lists: list[tuple[int, str | None]]) -> list[tuple[int, str | None]]:
    return sorted(lists, key=lambda each: each[0])


def _state(history: list[Step], version: int, within: str | None) -> dict[Name, Thing]:
    """What a list as of that version says."""
    found: dict[Name, Thing] = {}
    for what, name, at in history[:version]:
        found.pop(name, None)
        if what == "there":
            found[name] = Thing(at)
    return {name: thing for name, thing in found.items() if within in (None, name[0])}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_histories(), st.data())
def test_whatever_order_events_and_lists_come_in_the_newest_word_stands(
    history: list[Step], data: st.DataObject
) -> None:
    """Every event at least once, duplicates, in any order, and lists in between that come in their own order: a table
    that has heard everything says what is true."""
    scopes = st.sampled_from([None, "shop", "other"])
    lists = data.draw(st.lists(st.tuples(st.integers(0, len(history)), scopes), max_size=3).map(_by_version))
    more = data.draw(st.lists(st.sampled_from(history), max_size=5))
    told: list[object] = list(data.draw(st.permutations([*history, *more])))
    place = 0
    for each in lists:
        place = data.draw(st.integers(place, len(told)))
        told.insert(place, each)
        place += 1
    table: Table[Thing] = Table()
    shadow: dict[Name, Thing | None] = {}
    for each in told:
        before = {name: table.get(name) for name in (A, B, ELSEWHERE)}
        if len(each) == 2:
            version, within = each
            moved = table.replace(_state(history, version, within), version, within)
        else:
            what, name, version = each
            news = table.put(name, Thing(version)) if what == "there" else table.remove(name, version)
            moved = {name} if news else set()
        shadow = {name: table.get(name) for name in (A, B, ELSEWHERE)}
        assert moved == {name for name in shadow if shadow[name] != before[name]}, "what moved is told, and no more"
    assert {name: thing for name, thing in shadow.items() if thing} == _state(history, len(history), None)
    assert table.size == sum(thing is not None for thing in shadow.values())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_histories(), st.data())
def test_lost_events_are_made_good_by_the_next_list(history: list[Step], data: st.DataObject) -> None:
    heard = data.draw(st.lists(st.sampled_from(history), max_size=8))
    table: Table[Thing] = Table()
    for what, name, version in heard:
        if what == "there":
            table.put(name, Thing(version))
        else:
            table.remove(name, version)
    table.replace(_state(history, len(history), None), len(history))
    found = {name: thing for name in (A, B, ELSEWHERE) if (thing := table.get(name)) is not None}
    assert found == _state(history, len(history), None)
    for what, name, version in data.draw(st.permutations(history)):
        assert not (what == "there" and table.put(name, Thing(version))), "nothing old is news after a list"
