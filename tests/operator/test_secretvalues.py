"""The values of the Secrets that Providers name: read by name, once for each version, and never shown."""

import base64
from dataclasses import dataclass, field
from typing import Any

import pytest

from modelpool_operator.kube import ApiError
from modelpool_operator.secretvalues import SecretValues, Values
from modelpool_operator.store import Mark, Store

VALUE = "SHOUT-1"


@dataclass
class Secrets:
    """An API that has Secrets, and the watch that has seen them. `asked`: which were read."""

    store: Store = field(default_factory=Store)
    there: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: dict[str, ApiError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def put(self, name: str, version: int, data: Any = None, *, seen: bool = True) -> None:
        coded = {"key": base64.b64encode(VALUE.encode()).decode()} if data is None else data
        self.there[name] = {"metadata": {"resourceVersion": str(version)}, "data": coded}
        if seen:
            self.store.secrets.put(("shop", name), Mark(version))

    async def get(self, path: str) -> dict[str, Any]:
        assert path.startswith("/api/v1/namespaces/shop/secrets/")
        name = path.rpartition("/")[2]
        self.asked.append(name)
        if name in self.faults:
            raise self.faults[name]
        if name not in self.there:
            raise ApiError(404, "NotFound", f'secrets "{name}" not found')
        return self.there[name]


NO_ANSWER = ApiError(0, "Unreachable", "it did not answer in time")
FORBIDDEN = ApiError(403, "Forbidden", "secrets is forbidden")


def _text(values: Values, name: str) -> str | None:
    data = values.secrets.get(("shop", name))
    return None if data is None else data["key"].decode()


async def test_only_what_is_named_and_there_is_read_and_each_version_once() -> None:
    api = Secrets()
    api.put("a", 1)
    api.put("other", 1)
    values = SecretValues(api, api.store)
    for _ in range(3):
        found = await values.read("shop", ["a", "absent"])
        assert _text(found, "a") == VALUE
        assert (set(found.secrets), found.unreadable, found.passing) == ({("shop", "a")}, {}, False)
    assert api.asked == ["a"]


async def test_a_new_version_is_read_and_an_older_word_of_the_watch_is_not() -> None:
    api = Secrets()
    api.put("a", 1)
    values = SecretValues(api, api.store)
    await values.read("shop", ["a"])
    # The watch is behind: what is read is newer than what it has seen.
    api.put("a", 5, seen=False)
    api.store.secrets.put(("shop", "a"), Mark(3))
    await values.read("shop", ["a"])
    await values.read("shop", ["a"])
    assert api.asked == ["a", "a"]
    api.put("a", 6)
    await values.read("shop", ["a"])
    assert api.asked == ["a", "a", "a"]


async def test_a_secret_that_went_since_the_watch_saw_it_is_left_out() -> None:
    api = Secrets()
    api.store.secrets.put(("shop", "a"), Mark(1))
    found = await SecretValues(api, api.store).read("shop", ["a"])
    assert (found.secrets, found.unreadable, found.passing) == ({}, {}, False)


async def test_a_secret_that_cannot_be_read_yet_has_no_value_and_says_why() -> None:
    api = Secrets()
    api.put("a", 1)
    api.faults["a"] = NO_ANSWER
    found = await SecretValues(api, api.store).read("shop", ["a"])
    assert (found.secrets, found.unreadable) == ({}, {("shop", "a"): "it did not answer in time"})
    assert found.passing


@pytest.mark.parametrize("error", [NO_ANSWER, ApiError(500, "", "etcd"), ApiError(429, "", "too many")])
async def test_the_value_before_stays_while_the_new_one_cannot_be_read(error: ApiError) -> None:
    api = Secrets()
    api.put("a", 1)
    values = SecretValues(api, api.store)
    await values.read("shop", ["a"])
    api.put("a", 2, {"key": base64.b64encode(b"new").decode()})
    api.faults["a"] = error
    found = await values.read("shop", ["a"])
    assert (_text(found, "a"), found.unreadable, found.passing) == (VALUE, {}, True)
    api.faults.clear()
    assert _text(await values.read("shop", ["a"]), "a") == "new"


async def test_a_secret_that_we_may_not_read_any_more_has_no_value_and_is_not_asked_for_in_a_hurry() -> None:
    api = Secrets()
    api.put("a", 1)
    values = SecretValues(api, api.store)
    await values.read("shop", ["a"])
    api.put("a", 2)
    api.faults["a"] = FORBIDDEN
    found = await values.read("shop", ["a"])
    assert (found.secrets, found.unreadable) == ({}, {("shop", "a"): "secrets is forbidden"})
    assert not found.passing


async def test_a_server_that_does_not_answer_is_waited_for_once_and_not_for_each_secret() -> None:
    api = Secrets()
    names = [f"s{number}" for number in range(20)]
    for name in names:
        api.put(name, 1)
        api.faults[name] = NO_ANSWER
    found = await SecretValues(api, api.store).read("shop", names)
    assert api.asked == ["s0"]
    assert len(found.unreadable) == 20


async def test_a_refusal_of_one_says_nothing_about_the_next() -> None:
    api = Secrets()
    for name in ("a", "b"):
        api.put(name, 1)
    api.faults["a"] = FORBIDDEN
    found = await SecretValues(api, api.store).read("shop", ["a", "b"])
    assert set(found.secrets) == {("shop", "b")}


async def test_what_is_not_named_any_more_is_forgotten() -> None:
    api = Secrets()
    api.put("a", 1)
    values = SecretValues(api, api.store)
    await values.read("shop", ["a"])
    await values.read("shop", [])
    assert values._values == {"shop": {}}
    await values.read("shop", ["a"])
    assert api.asked == ["a", "a"]
    values.forget("shop")
    values.forget("never")
    assert (values._values, values._named) == ({}, {})


async def test_what_is_named_is_known_also_where_it_is_not_there() -> None:
    """So that its coming is news."""
    api = Secrets()
    values = SecretValues(api, api.store)
    assert not values.holds("shop", "a")
    await values.read("shop", ["a"])
    assert values.holds("shop", "a")
    assert not values.holds("shop", "b")


async def test_no_value_is_shown() -> None:
    api = Secrets()
    api.put("a", 1)
    values = SecretValues(api, api.store)
    found = await values.read("shop", ["a"])
    assert VALUE not in repr(found)
    assert VALUE not in repr(values)


@pytest.mark.parametrize("data", [None, "", "%%%"])
async def test_a_value_that_is_no_base64_counts_as_empty(data: str | None) -> None:
    api = Secrets()
    api.put("a", 1, {"key": data})
    assert _text(await SecretValues(api, api.store).read("shop", ["a"]), "a") == ""


@pytest.mark.parametrize("data", [{}, False])
async def test_a_secret_without_data_has_no_keys(data: Any) -> None:
    api = Secrets()
    api.put("a", 1, data)
    found = await SecretValues(api, api.store).read("shop", ["a"])
    assert found.secrets == {("shop", "a"): {}}
