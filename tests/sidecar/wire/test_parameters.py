"""What pools and targets change in a request is exactly what they say, and nothing else (B40)."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import a_pool, a_snapshot, a_target, the_pool
from modelpool_sidecar.core import jsonspan, parameters
from modelpool_sidecar.core.compiled import CannotCompileError
from modelpool_sidecar.core.parameters import OUTPUT_LIMITS, Parameter
from modelpool_sidecar.dialects import openai
from wire_cases import post
from wire_texts import VALUES, objects

Declared = tuple[str, str, str | None]

NAMES = ["temperature", "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "user"]
KEYS = st.one_of(st.sampled_from([*NAMES, "messages", "Temperature"]), st.text(max_size=3).filter(str.isalnum))
BODIES = objects(KEYS, VALUES, 6).map(str.encode)
ABSENT = object()

_numbers = st.sampled_from(["0", "4096", "-1.5", "1e3", "1e400", "123456789012345678901234567890"])
_changes = st.one_of(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(["Default", "Set"]), VALUES),
    st.tuples(st.sampled_from(NAMES), st.just("Max"), _numbers),
    st.tuples(st.sampled_from(NAMES), st.just("Remove"), st.none()),
)
CHANGES = st.lists(_changes, max_size=5, unique_by=lambda change: change[0])
OPERATIONS = st.sampled_from(["chat", "text_completion", "responses", "embeddings"])


def ready(*declared: Declared) -> parameters.Parameters:
    return parameters.merged((), [parameters.compiled(*one) for one in declared])


def loads(text: bytes | str) -> Any:
    """Numbers exactly, however large."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def defined(document: dict[str, Any], operation: str, declared: list[Declared]) -> dict[str, Any]:
    """The definition, on what the body says."""
    found = dict(document)
    for action in ("Remove", "Set", "Default", "Max"):
        for name, _, value in [one for one in declared if one[1] == action]:
            limits = OUTPUT_LIMITS.get(operation, ())
            names = limits if name in limits else (name,)
            there = [each for each in names if each in found]
            if action == "Remove":
                found.pop(name, None)
            elif action == "Set" or (action == "Default" and not there):
                found[name] = loads(value or "")
            elif action == "Max":
                most = loads(value or "")
                for each in there:
                    found[each] = lowered(found[each], most, name in limits)
                if not there and name in limits:
                    found[name] = most
    return found


def lowered(value: Any, most: Decimal, is_limit: bool) -> Any:
    if value is None and not is_limit:
        return None
    return value if isinstance(value, Decimal) and value <= most else most


@settings(max_examples=1500, deadline=None)
@given(BODIES, OPERATIONS, CHANGES, st.one_of(st.none(), st.just("m")))
def test_the_result_says_what_the_definition_says_of_any_body(
    body: bytes, operation: str, declared: list[Declared], model: str | None
) -> None:
    changed = parameters.apply(body, operation, ready(*declared), model)
    wanted = defined(loads(body), operation, declared) | ({"model": "m"} if model else {})
    assert loads(changed) == wanted


@settings(max_examples=1500, deadline=None)
@given(BODIES, OPERATIONS, CHANGES)
def test_every_other_member_keeps_its_bytes_and_its_place(
    body: bytes, operation: str, declared: list[Declared]
) -> None:
    changed = parameters.apply(body, operation, ready(*declared))
    assert untouched(changed) == untouched(body)
    if not declared:
        assert changed is body
    first = body.index(b"{") + 1
    assert changed[:first] == body[:first]
    assert changed.endswith(body[body.rindex(b"}") :])


def untouched(body: bytes) -> list[bytes]:
    return [body[each.begin : each.end] for each in jsonspan.members(body) if each.key not in NAMES]


@settings(max_examples=500, deadline=None)
@given(BODIES, BODIES, CHANGES)
def test_no_spelling_and_no_second_member_escapes(first: bytes, second: bytes, declared: list[Declared]) -> None:
    """A provider that reads the first of two members, or the last, reads what was wanted."""
    joined = first.rstrip()[:-1] + (b"," if len(loads(first)) and len(loads(second)) else b"") + second.lstrip()[1:]
    changed = parameters.apply(joined, "chat", ready(*declared))
    for name, action, value in declared:
        told = [loads(changed[each.start : each.end]) for each in jsonspan.members(changed) if each.key == name]
        if action == "Remove":
            assert not told
        elif action == "Max":
            assert all(each is None or (isinstance(each, Decimal) and each <= loads(value or "")) for each in told)
        elif action == "Set" and not any(one[1] == "Max" for one in declared):
            assert told == [loads(value or "")] * max(1, len(told))


CASES: list[tuple[str, str, list[Declared], bytes, bytes]] = [
    ("a default gives way to the client", "chat", [("n", "Default", "2")], b'{"n":1}', b'{"n":1}'),
    ("a default is added", "chat", [("n", "Default", " 2 ")], b'{ "a":1}', b'{ "n":2,"a":1}'),
    ("null is the client's word", "chat", [("n", "Default", "2")], b'{"n":null}', b'{"n":null}'),
    ("set replaces in place", "chat", [("a", "Set", "[1]")], b'{"x":1 , "a" : 2}', b'{"x":1 , "a" : [1]}'),
    ("the first goes with its comma", "chat", [("a", "Remove", None)], b'{ "a":1, "b":2 }', b'{ "b":2 }'),
    ("one in the middle goes", "chat", [("b", "Remove", None)], b'{"a":1, "b":2,  "c":3}', b'{"a":1,  "c":3}'),
    ("the last goes with its comma", "chat", [("b", "Remove", None)], b'{"a":1 , "b":2 }', b'{"a":1 }'),
    ("the only one goes", "chat", [("a", "Remove", None)], b'{ "a":1 }', b"{  }"),
    ("an empty object takes one", "chat", [("a", "Set", "1")], b"{ }", b'{"a":1 }'),
    ("an escaped key is that key", "chat", [("n", "Max", "2")], b'{"\\u006e":3}', b'{"\\u006e":2}'),
    ("a ceiling leaves what is below", "chat", [("n", "Max", "2")], b'{"n":2.0}', b'{"n":2.0}'),
    ("absent is the provider's choice", "chat", [("temperature", "Max", "1")], b'{"a":1}', b'{"a":1}'),
    ("so is null", "chat", [("temperature", "Max", "1")], b'{"temperature":null}', b'{"temperature":null}'),
    ("no limit is a limit", "chat", [("max_tokens", "Max", "9")], b'{"a":1}', b'{"max_tokens":9,"a":1}'),
    ("nor is null", "chat", [("max_tokens", "Max", "9")], b'{"max_tokens":null}', b'{"max_tokens":9}'),
    ("a string is no way round", "chat", [("max_tokens", "Max", "9")], b'{"max_tokens":"10"}', b'{"max_tokens":9}'),
    (
        "nor is the other name",
        "chat",
        [("max_tokens", "Max", "9")],
        b'{"max_completion_tokens":1e99999999999999999999}',
        b'{"max_completion_tokens":9}',
    ),
    (
        "a default is not put beside the other name",
        "chat",
        [("max_tokens", "Default", "9")],
        b'{"max_completion_tokens":5}',
        b'{"max_completion_tokens":5}',
    ),
    (
        "what is set is under the ceiling too",
        "chat",
        [("max_completion_tokens", "Max", "9"), ("max_tokens", "Set", "10")],
        b"{}",
        b'{"max_tokens":9}',
    ),
    (
        "a ceiling stays where its other name is removed",
        "chat",
        [("max_completion_tokens", "Max", "9"), ("max_tokens", "Remove", None)],
        b'{"max_tokens":5}',
        b'{"max_completion_tokens":9}',
    ),
    ("embeddings have no output", "embeddings", [("max_tokens", "Max", "9")], b'{"a":1}', b'{"a":1}'),
    (
        "responses name it otherwise",
        "responses",
        [("max_output_tokens", "Max", "9")],
        b"{}",
        b'{"max_output_tokens":9}',
    ),
]


@pytest.mark.parametrize(
    ("operation", "declared", "body", "wanted"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_what_a_change_means(operation: str, declared: list[Declared], body: bytes, wanted: bytes) -> None:
    assert parameters.apply(body, operation, ready(*declared)) == wanted


def test_a_targets_parameter_wins_over_the_pools_and_the_others_stay() -> None:
    pools = [parameters.compiled("n", "Max", "2"), parameters.compiled("user", "Remove", None)]
    own = [parameters.compiled("n", "Default", "3")]
    assert parameters.merged(pools, own) == (pools[1], own[0])


def test_the_model_and_the_parameters_go_in_together_and_the_clients_body_stays() -> None:
    asked = post(b'{"model": "chat", "messages":[ ],"user":"u"}')
    changes = ready(("user", "Remove", None), ("n", "Set", "1"))
    assert openai.attempt_body(asked, "gpt", changes) == b'{"n":1,"model": "gpt", "messages":[ ]}'
    assert openai.attempt_body(asked, "chat", changes) == b'{"n":1,"model": "chat", "messages":[ ]}'
    assert asked.body == b'{"model": "chat", "messages":[ ],"user":"u"}'
    named = post(b'{"messages":[]}', ("x-modelpool-model", "chat"))
    assert openai.attempt_body(named, "gpt", ready(("n", "Set", "1"))) == b'{"model":"gpt","n":1,"messages":[]}'


@pytest.mark.parametrize(
    ("action", "value", "sentence"),
    [
        ("Set", "low", "the value of parameter effort is not JSON: "),
        ("Default", None, "the value of parameter effort is not JSON: it is empty"),
        ("Max", '"9"', "the value of parameter effort is not a number, which Max needs"),
        ("Max", "1e99999999999999999999", "the value of parameter effort is not a number, which Max needs"),
    ],
)
def test_a_config_whose_value_cannot_be_sent_is_not_taken(action: str, value: str | None, sentence: str) -> None:
    bad = {"name": "effort", "action": action, "value": value}
    for pool in (a_pool(parameters=(bad,)), a_pool(targets=[a_target(parameters=(bad,))])):
        with pytest.raises(CannotCompileError) as caught:
            a_snapshot([pool])
        assert str(caught.value).startswith(f"pool chat: {sentence}")


def test_a_snapshot_holds_them_merged_and_knows_whether_they_change_the_number_of_answers() -> None:
    shared = {"name": "user", "action": "Remove", "value": None}
    more = {"name": "n", "action": "Set", "value": "2"}
    targets = [a_target(), a_target("backup", parameters=(more,))]
    pool = the_pool(a_snapshot([a_pool(targets=targets, parameters=(shared,))]))
    found = {name: ([each.name for each in t.parameters], t.changes_choices) for name, t in pool.targets.items()}
    assert found == {"primary": (["user"], False), "backup": (["user", "n"], True)}
    assert the_pool(a_snapshot()).targets["primary"].parameters == ()
    assert Parameter("n", parameters.Action.SET, b"2") in pool.targets["backup"].parameters
