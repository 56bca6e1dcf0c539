"""B53: which requests are the same one to the cache, as tables and as laws over any JSON."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_pool, a_provider, a_snapshot, a_target, the_pool
from modelpool_sidecar.core import cachekey
from modelpool_sidecar.core import request as parsing
from modelpool_sidecar.core.allowance import Asker
from modelpool_sidecar.core.request import Request

QUESTION: dict[str, Any] = {"model": "chat", "temperature": 0, "messages": [{"role": "user", "content": "hi"}]}
CACHE = {"ttl": 300_000, "max_entries": 10, "max_bytes": 1 << 20}
POOL = the_pool(a_snapshot([a_pool(cache=CACHE)], [a_provider(forward_headers=("X-Team",))]))
OTHER = the_pool(a_snapshot([a_pool(cache=CACHE, total=1)], [a_provider(forward_headers=("X-Team",))]))


def asked(body: Any = QUESTION, path: str = "/v1/chat/completions", **headers: str) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    said = (("host", "localhost"), ("content-type", "application/json"))
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    found = parsing.parse("POST", path, (*said, *named), raw)
    assert isinstance(found, Request)
    return found


def key(request: Request, **changes: Any) -> bytes:
    found = cachekey.document(request.body)
    assert found is not None
    pool = changes.get("pool", POOL)
    targets = changes.get("targets", list(pool.targets.values()))
    asker = Asker(caller=changes.get("caller"), names=changes.get("names", {}))
    key = cachekey.key(pool, request, found, asker, targets)
    assert key is not None
    return key


SAME: dict[str, Callable[[], Request]] = {
    "key order": lambda: asked(dict(reversed(QUESTION.items()))),
    "white space": lambda: asked(json.dumps(QUESTION, indent=3).encode()),
    "escapes": lambda: asked(json.dumps(QUESTION).replace("hi", "\\u0068i").encode()),
    "a stream": lambda: asked({**QUESTION, "stream": True}),
    "a stream with its usage": lambda: asked({**QUESTION, "stream": True, "stream_options": {"include_usage": True}}),
    "another client": lambda: asked(user_agent="curl"),
    "another try": lambda: asked(x_stainless_retry_count="2", idempotency_key="a"),
    "the same model by a header": lambda: asked({**QUESTION, "model": "else"}, x_modelpool_model="chat"),
}
DIFFERENT: dict[str, Callable[[], Request]] = {
    "another question": lambda: asked({**QUESTION, "messages": [{"role": "user", "content": "ho"}]}),
    "another limit": lambda: asked({**QUESTION, "max_tokens": 5}),
    "another option of a stream": lambda: asked(
        {**QUESTION, "stream": True, "stream_options": {"include_obfuscation": False, "include_usage": True}}
    ),
    "another end user": lambda: asked({**QUESTION, "user": "bob"}),
    "metadata": lambda: asked({**QUESTION, "metadata": {"a": "b"}}),
    "another model": lambda: asked({**QUESTION, "model": "gpt"}),
    "another model by a header": lambda: asked(x_modelpool_model="gpt"),
    "0.0 for 0": lambda: asked({**QUESTION, "temperature": 0.0}),
    "a beta": lambda: asked(openai_beta="assistants=v2"),
    "a header that is sent on": lambda: asked(x_team="red"),
    "a query": lambda: asked(path="/v1/chat/completions?api-version=1"),
    "another operation": lambda: asked(path="/v1/completions"),
}


@pytest.mark.parametrize("case", SAME, ids=list(SAME))
def test_these_are_the_same_question(case: str) -> None:
    assert key(SAME[case]()) == key(asked())


@pytest.mark.parametrize("case", DIFFERENT, ids=list(DIFFERENT))
def test_these_are_other_questions(case: str) -> None:
    assert key(DIFFERENT[case]()) != key(asked())


def test_callers_pools_and_targets_have_keys_of_their_own() -> None:
    two = the_pool(a_snapshot([a_pool(targets=[a_target("one"), a_target("two")], cache=CACHE)]))
    request = asked()
    keys = {
        key(request),
        key(request, caller="alice"),
        key(request, caller="bob"),
        key(request, names={"inner": "alice"}),
        key(request, names={"inner": "bob"}),
        key(request, pool=OTHER),
        key(request, pool=two),
        key(request, pool=two, targets=[two.targets["one"]]),
    }
    assert len(keys) == 8
    assert all(len(each) == 32 for each in keys), "SHA-256"


def test_what_is_nested_too_deeply_has_no_key() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert cachekey.key(POOL, asked(), {**QUESTION, "stop": deep}, Asker(), []) is None
    while deep:  # by hand: it is too deep to be given up at once
        [deep] = deep


def test_a_stream_of_the_responses_api_is_another_question() -> None:
    question = {"model": "chat", "input": "hi", "store": False}
    whole, stream = (asked({**question, "stream": each}, "/v1/responses") for each in (False, True))
    assert key(whole) != key(stream)


UNCLEAR = [
    b'{"model": "chat", "n": 1, "n": 2}',
    b'{"model": "chat", "messages": [{"role": "user", "role": "system"}]}',
    b'{"model": "chat", "\\u006e": 1, "n": 1}',
    b'{"model": "chat", "temperature": 1e999}',
    b'{"model": "chat", "temperature": NaN}',
    b'{"model": "chat", "seed": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b"[1]",
    b"\xff",
    b"",
]


@pytest.mark.parametrize("body", UNCLEAR, ids=[repr(body[:40]) for body in UNCLEAR])
def test_what_readers_of_json_read_differently_has_no_key(body: bytes) -> None:
    assert cachekey.document(body) is None


@pytest.mark.parametrize(
    ("said", "no_cache", "no_store"),
    [
        ((), False, False),
        (("no-cache",), True, False),
        (("No-Store",), False, True),
        (("max-age=0, NO-CACHE",), True, False),
        (("no-store", "no-cache"), True, True),
        (("no-cachet",), False, False),
    ],
)
def test_cache_control_is_heeded(said: tuple[str, ...], no_cache: bool, no_store: bool) -> None:
    headers = (("host", "no-cache"), *(("cache-control", each) for each in said))
    assert (cachekey.no_cache(headers), cachekey.no_store(headers)) == (no_cache, no_store)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
objects = st.dictionaries(st.text(max_size=4), values, max_size=4)


def written(value: Any, draw: Callable[[Any], Any]) -> str:
    """The value as somebody may write it: any order, any space, any escape."""
    space = draw(st.sampled_from(["", " ", "\n", "\t "]))
    if isinstance(value, dict):
        members = draw(st.permutations(list(value.items())))
        inner = (f"{written(name, draw)}{space}:{space}{written(each, draw)}" for name, each in members)
        return f"{{{space}{f'{space},'.join(inner)}{space}}}"
    if isinstance(value, list):
        return f"[{space}{f',{space}'.join(written(each, draw) for each in value)}]"
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON, where 1 and 1.0 are not."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


@given(objects, st.data())
def test_however_it_is_written_it_is_the_same(value: dict[str, Any], data: st.DataObject) -> None:
    texts = [written(value, data.draw).encode("utf-8", "surrogatepass") for _ in range(2)]
    found = [cachekey.document(text) for text in texts]
    assert None not in found
    assert len({cachekey.canonical(each) for each in found if each is not None}) == 1


@given(objects, objects)
def test_two_values_are_written_alike_only_where_they_are_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (cachekey.canonical(one) == cachekey.canonical(other)) == alike(one, other)


@given(objects)
def test_what_is_canonical_says_the_same(value: dict[str, Any]) -> None:
    again = cachekey.document(cachekey.canonical(value))
    assert again is not None
    assert alike(again, value)


def test_a_caller_of_a_pool_behind_this_one_shares_with_no_one_who_has_another_name_there() -> None:
    """B7, B20."""
    keys = {key(asked(), names=names) for names in ({}, {"near": "alice"}, {"near": "bob"}, {"far": "alice"})}
    assert len(keys) == 4
