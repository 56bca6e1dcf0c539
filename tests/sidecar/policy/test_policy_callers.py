"""Whose key it is (B43): found by its digest, good for a while after it was replaced, gone at once with its entry."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_pool, a_snapshot
from modelpool_config import callerkeys
from modelpool_config import models as contract
from modelpool_sidecar.core import access, callers
from modelpool_sidecar.core.access import Visitor
from modelpool_sidecar.core.callers import PREVIOUS_SECONDS, Register
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.snapshot import Snapshot

TEAM = {"keys": "team", "source": "Secret team-keys"}
GOLD = {"keys": "gold", "source": "Secret gold-keys"}


def text(**keys: str) -> str:
    return callerkeys.encode({name: callerkeys.digest(key) for name, key in keys.items()})


def register(now: float = 0.0, **files: dict[str, str]) -> Register:
    made = Register()
    made.replace({file: text(**keys) for file, keys in files.items()}, now)
    return made


def who(held: Register, key: str, now: float = 0.0, file: str = "team") -> str | None:
    return held.who(file, callerkeys.digest(key), now)


@pytest.mark.parametrize(
    ("said", "shows"),
    [
        ("Bearer k1", True),
        ("bearer k1", True),
        ("BEARER   k1  ", True),
        ("Bearer", False),
        ("Bearer ", False),
        ("Basic k1", False),
        ("k1", False),
        ("", False),
    ],
)
def test_a_key_is_shown_as_a_bearer_token(said: str, shows: bool) -> None:
    assert callers.shown((("x", "y"), ("authorization", said))) == (callerkeys.digest("k1") if shows else None)


def test_without_the_header_nothing_is_shown_and_the_first_of_two_counts() -> None:
    assert callers.shown((("host", "x"),)) is None
    two = (("authorization", "Bearer a"), ("authorization", "Bearer b"))
    assert callers.shown(two) == callerkeys.digest("a")


def test_a_key_is_known_in_its_own_file_only() -> None:
    held = register(team={"alice": "k1"}, gold={"bob": "k2"})
    assert (who(held, "k1"), who(held, "k2"), who(held, "k3")) == ("alice", None, None)
    assert who(held, "k2", file="gold") == "bob"
    assert who(held, "k1", file="absent") is None
    assert held.who("team", None, 0.0) is None
    assert (held.has("team"), held.has("absent")) == (True, False)
    assert (held.count("team"), held.count("absent"), tuple(held.names("absent"))) == (1, 0, ())
    assert held.knows(callerkeys.digest("k2"), 0.0)
    assert not held.knows(callerkeys.digest("k3"), 0.0)
    assert not held.knows(None, 0.0)


def test_no_key_and_no_digest_is_in_a_repr() -> None:
    assert repr(register(team={"alice": "k1"})) == "<Register: team: 1 callers>"
    assert repr(Register()) == "<Register: no keys>"


def test_a_replaced_key_is_good_for_ten_minutes_more() -> None:
    held = register(team={"alice": "old", "bob": "k2"})
    held.replace({"team": text(alice="new", bob="k2")}, 100.0)
    assert (who(held, "new", 100.0), who(held, "old", 100.0), who(held, "k2", 100.0)) == ("alice", "alice", "bob")
    assert who(held, "old", 100.0 + PREVIOUS_SECONDS - 0.1) == "alice"
    assert who(held, "old", 100.0 + PREVIOUS_SECONDS) is None
    assert who(held, "new", 100.0 + PREVIOUS_SECONDS) == "alice"


def test_another_edit_of_the_file_makes_no_replaced_key_live_longer() -> None:
    held = register(team={"alice": "old"})
    held.replace({"team": text(alice="new")}, 100.0)
    held.replace({"team": text(alice="new", bob="k2")}, 600.0)
    assert who(held, "old", 699.0) == "alice"
    assert who(held, "old", 700.0) is None
    held.replace({"team": text(alice="new")}, 900.0)
    assert who(held, "old", 0.0) is None, "it was forgotten"


def test_an_entry_that_is_gone_is_refused_at_once_with_the_key_before_it() -> None:
    held = register(team={"alice": "old"})
    held.replace({"team": text(alice="new")}, 100.0)
    held.replace({"team": text(bob="k2")}, 101.0)
    assert (who(held, "old", 101.0), who(held, "new", 101.0)) == (None, None)
    held.replace({"team": text(alice="newest", bob="k2")}, 102.0)
    assert (who(held, "old", 102.0), who(held, "new", 102.0), who(held, "newest", 102.0)) == (None, None, "alice")


def test_a_replaced_key_that_somebody_else_has_now_is_theirs() -> None:
    held = register(team={"alice": "k1", "bob": "k2"})
    held.replace({"team": text(alice="k2", bob="k1")}, 1.0)
    assert (who(held, "k1", 1.0), who(held, "k2", 1.0)) == ("bob", "alice")


def test_a_file_that_no_config_names_is_forgotten() -> None:
    held = register(team={"alice": "old"})
    held.replace({}, 1.0)
    held.replace({"team": text(alice="new")}, 2.0)
    assert (who(held, "old", 2.0), who(held, "new", 2.0)) == (None, "alice")


_keys = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["k1", "k2", "k3", "k4"]), max_size=3)


@given(st.lists(st.tuples(_keys, st.integers(0, 900)), min_size=1, max_size=8))
def test_a_key_opens_only_for_an_entry_that_is_there_and_had_it_in_the_last_ten_minutes(
    steps: list[tuple[dict[str, str], int]],
) -> None:
    held, now, history = Register(), 0.0, []  # type: Register, float, list[tuple[float, dict[str, str]]]
    for keys, passed in steps:
        now += passed
        held.replace({"team": text(**keys)}, now)
        history.append((now, keys))
        for key in ("k1", "k2", "k3", "k4"):
            name = who(held, key, now)
            if name is None:
                assert key not in keys.values()
                continue
            assert name in keys
            past = [at for (_, before), (at, _) in itertools.pairwise(history) if before.get(name) == key]
            assert keys[name] == key or any(now - at < PREVIOUS_SECONDS for at in past)


def house() -> Snapshot:
    closed = contract.ClosedPool.model_validate(
        {"name": "shut", "models": ("shut",), "code": "no_target", "message": "why", "callers": GOLD}
    )
    pools = [a_pool("open"), a_pool("team", callers=TEAM), a_pool("gold", models=("gold", "gold-*"), callers=GOLD)]
    return a_snapshot(pools, closed=[closed])


HELD = register(team={"alice": "k1"}, gold={"bob": "k2"})


def visitor(key: str | None, held: Register = HELD) -> Visitor:
    return Visitor(held, callerkeys.digest(key) if key else None, 0.0)


def found(model: str, key: str | None) -> str:
    got = access.find(house(), model, visitor(key))
    return got.code if isinstance(got, Refusal) else got.name


@pytest.mark.parametrize(
    ("model", "key", "what"),
    [
        ("open", None, "open"),
        ("open", "anything", "open"),
        ("team", "k1", "team"),
        ("team", "k2", "model_not_found"),
        ("team", "wrong", "invalid_api_key"),
        ("team", None, "invalid_api_key"),
        ("gold-9", "k2", "gold"),
        ("gold-9", "k1", "model_not_found"),
        ("shut", "k2", "shut"),
        ("shut", "k1", "model_not_found"),
        ("shut", None, "invalid_api_key"),
        ("nothing", None, "invalid_api_key"),
        ("nothing", "wrong", "invalid_api_key"),
        ("nothing", "k1", "model_not_found"),
    ],
)
def test_who_may_enter_which_pool(model: str, key: str | None, what: str) -> None:
    assert found(model, key) == what


@pytest.mark.parametrize("key", [None, "wrong", "k1"])
def test_a_pool_that_is_not_for_you_answers_as_a_name_that_does_not_exist(key: str | None) -> None:
    """B43: nobody learns which names there are."""
    answers = [access.find(house(), model, visitor(key)) for model in ("gold", "xxxx", "shut")]
    said = [str(answer).replace("gold", "N").replace("xxxx", "N").replace("shut", "N") for answer in answers]
    assert len(set(said)) == 1
    assert all(isinstance(answer, Refusal) for answer in answers)


def test_a_refusal_names_only_what_is_open_to_whoever_asks() -> None:
    without, with_key = (access.find(house(), "gol", visitor(key)) for key in (None, "k1"))
    assert isinstance(without, Refusal)
    assert without.status == 401
    assert dict(without.all_headers)["www-authenticate"] == 'Bearer realm="modelpool"'
    assert without.message == (
        "no key was sent, and no model 'gol' is open without one: send the key of a caller as "
        "Authorization: Bearer KEY (api_key in the OpenAI SDKs); without a key there is open"
    )
    assert isinstance(with_key, Refusal)
    assert with_key.message == "no model 'gol' here; there is open, team"


@pytest.mark.parametrize(
    ("key", "names"),
    [
        (None, ("open",)),
        ("wrong", ("open",)),
        ("k1", ("open", "team")),
        ("k2", ("gold", "gold-*", "open", "shut")),
    ],
)
def test_the_list_of_models_is_what_whoever_asks_may_use(key: str | None, names: tuple[str, ...]) -> None:
    assert access.models(house(), visitor(key)) == names


def test_where_everything_needs_a_key_the_list_does_too() -> None:
    refused = access.models(a_snapshot([a_pool("team", callers=TEAM)]), visitor("wrong"))
    assert isinstance(refused, Refusal)
    assert refused.code == "invalid_api_key"
    assert refused.message == (
        "the key that was sent is not the key of a caller here: send the key of a caller as Authorization: Bearer KEY "
        "(api_key in the OpenAI SDKs)"
    )


def test_without_any_pool_nobody_is_asked_for_a_key() -> None:
    assert access.models(a_snapshot([]), visitor(None)) == ()
    answer = access.find(a_snapshot([]), "chat", visitor(None))
    assert isinstance(answer, Refusal)
    assert answer.code == "model_not_found"


@pytest.mark.parametrize(
    ("model", "key", "code"),
    [
        ("gold", "k2", "credential_pending"),
        ("nothing", "k2", "credential_pending"),
        ("gold", None, "invalid_api_key"),
        ("gold", "k1", "model_not_found"),
    ],
)
def test_keys_that_are_not_there_yet_close_the_pool_for_a_moment(model: str, key: str | None, code: str) -> None:
    """B50: a config may be here a moment before the keys. Closed, with a word to come again; never open."""
    answer = access.find(house(), model, visitor(key, register(team={"alice": "k1"})))
    assert isinstance(answer, Refusal)
    assert answer.code == code
