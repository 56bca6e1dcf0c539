"""The file with the keys of callers: digests only, and whatever stands in it, nothing but sound digests is read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpool_config import callerkeys

KEY = "sk-canary-0123456789abcdef"


def test_no_key_is_in_the_file_and_equal_keys_make_equal_bytes() -> None:
    text = callerkeys.encode({"bob": callerkeys.digest(KEY), "alice": callerkeys.digest("other" * 4)})
    assert KEY not in text
    assert text == callerkeys.encode({"alice": callerkeys.digest("other" * 4), "bob": callerkeys.digest(KEY)})
    assert text.isascii()
    assert text.isprintable()


@given(st.dictionaries(st.text(min_size=1), st.text(min_size=1), max_size=5))
def test_what_is_written_is_read_again(keys: dict[str, str]) -> None:
    digests = {name: callerkeys.digest(key) for name, key in keys.items() if name.isascii()}
    assert callerkeys.decode(callerkeys.encode(digests)) == digests


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "null",
        "[" * 100_000,
        '{"alice": 5}',
        '{"alice": "short"}',
        '{"alice": "%%%%"}',
        '{"": "x"}',
    ],
)
def test_what_cannot_be_read_is_nobodys_key(text: str) -> None:
    assert callerkeys.decode(text) == {}


def test_one_bad_entry_stops_no_other() -> None:
    whole = json.loads(callerkeys.encode({"alice": callerkeys.digest(KEY)}))
    assert set(callerkeys.decode(json.dumps({**whole, "bob": "?", "": whole["alice"]}))) == {"alice"}


def test_five_thousand_keys_fit_into_one_secret() -> None:
    names = {f"team-{number:04}-service-account": callerkeys.digest(f"{KEY}{number}") for number in range(5_000)}
    assert len(callerkeys.encode(names)) < 512 * 1024
