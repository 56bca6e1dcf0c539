"""Generated JSON texts as odd as the standard allows, written by hand so that their exact bytes are known."""

import json
from typing import Any

from hypothesis import strategies as st

SPACE = st.sampled_from(["", "", "", " ", "\n", "\t ", "\r\n  "])
NUMBERS = st.sampled_from(["0", "-0", "1e5", "1E-400", "1e999", "-12.50", "123456789012345678901234567890", "0.1"])
LITERALS = st.sampled_from(["true", "false", "null"])
CHARACTERS = st.characters(exclude_categories=["Cs"])


def escaped(text: str) -> str:
    """Every character as an escape."""
    units = text.encode("utf-16-be")
    return '"' + "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2)) + '"'


def spellings(text: str) -> st.SearchStrategy[str]:
    """The ways in which one string may be written."""
    return st.sampled_from([json.dumps(text), json.dumps(text, ensure_ascii=False), escaped(text)])


ODD_STRINGS = st.one_of(
    st.text(CHARACTERS, max_size=12).flatmap(spellings),
    st.sampled_from(
        [r'"\ud83d"', r'"\/\b\f"', r'"\"model\": \"x\""', r'"say \"model"', '"model"', '"}{]["', '"\u2028"']
    ),
)
KEYS = st.one_of(
    st.sampled_from(["messages", "temperature", "tools", "metadata", "models", "stream_options", "Model", ""]),
    st.text(CHARACTERS, max_size=6),
).filter(lambda key: key not in ("model", "stream"))
NESTED_KEYS = st.one_of(KEYS, st.just("model"), st.just("stream"))


def objects(keys: st.SearchStrategy[str], values: st.SearchStrategy[str], max_size: int = 4) -> st.SearchStrategy[str]:
    """Objects with members of these keys and values, spaced at random; keys may repeat."""
    member = st.tuples(SPACE, keys.flatmap(spellings), SPACE, SPACE, values, SPACE).map(
        lambda parts: f"{parts[0]}{parts[1]}{parts[2]}:{parts[3]}{parts[4]}{parts[5]}"
    )
    return st.lists(member, max_size=max_size).map(lambda members: "{" + ",".join(members) + "}")


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, max_size=3).map(lambda items: "[" + " ,".join(items) + "]")


VALUES = st.recursive(
    st.one_of(ODD_STRINGS, NUMBERS, LITERALS),
    lambda inner: st.one_of(objects(NESTED_KEYS, inner, 3), arrays(inner)),
    max_leaves=5,
)


@st.composite
def with_model(draw: st.DrawFn, model: str, key: str = "model") -> tuple[bytes, bytes, bytes]:
    """An object with one top-level model: what stands before its literal, the literal, what stands after it."""
    before = [draw(_member) for _ in range(draw(st.integers(0, 3)))]
    after = [draw(_member) for _ in range(draw(st.integers(0, 3)))]
    literal = draw(spellings(model))
    head = draw(SPACE) + "{" + "".join(member + "," for member in before)
    head += draw(SPACE) + draw(spellings(key)) + draw(SPACE) + ":" + draw(SPACE)
    tail = draw(SPACE) + "".join("," + member for member in after) + draw(SPACE) + "}" + draw(SPACE)
    return head.encode(), literal.encode(), tail.encode()


_member = st.tuples(SPACE, KEYS.flatmap(spellings), SPACE, VALUES, SPACE).map(
    lambda parts: f"{parts[0]}{parts[1]}{parts[2]}:{parts[3]}{parts[4]}"
)


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The same bytes in pieces, some of them empty."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def loads(text: bytes) -> Any:
    return json.loads(text)
