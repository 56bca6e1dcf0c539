"""Whether what a Secret holds can be sent, and under which name the sidecar finds it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifest_cases import keyed, provider
from modelpool_operator.api.credentials import SecretRef
from modelpool_operator.api.provider import Provider
from modelpool_operator.checks import credentials


def _gather(data: dict[str, bytes], **spec: object) -> credentials.Keys:
    parsed = Provider.model_validate(provider(**{"auth": keyed(), **spec}))
    return credentials.gather(parsed, {("default", "openai"): data}, {})


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        (b"sk-1", "sk-1"),
        (b"sk-1\n", "sk-1"),
        (b"sk-1\r\n", "sk-1"),
        (b"sk 1", "sk 1"),
        (b"bearer", "bearer"),
    ],
)
def test_one_trailing_newline_is_stripped_and_nothing_else(stored: bytes, sent: str) -> None:
    assert list(_gather({"api-key": stored}).values.values()) == [sent]


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"  \n", "is empty"),
        (b"sk-1 ", "begins or ends with a space; only one newline at its end is stripped"),
        (b"sk-1 \n", "begins or ends with a space; only one newline at its end is stripped"),
        (b" sk-1", "begins or ends with a space; only one newline at its end is stripped"),
        (b"a\n\n", "has control characters, such as a line break in its middle or a second one at its end"),
        (b"a\nb", "has control characters, such as a line break in its middle or a second one at its end"),
        (b"a\x00", "has control characters, such as a line break in its middle or a second one at its end"),
        (b"a\r", "has control characters, such as a line break in its middle or a second one at its end"),
        (b"a\x7f", "has control characters, such as a line break in its middle or a second one at its end"),
        ("schlüssel".encode(), "has characters that no header can carry"),
        (b"\xff\xfe", "has characters that no header can carry"),
        (b"bearer sk-1", 'begins with "Bearer ", which auth.apiKey.prefix puts in front of it'),
    ],
)
def test_what_no_header_can_carry_is_an_invalid_credential(stored: bytes, why: str) -> None:
    keys = _gather({"api-key": stored})
    assert keys.values == {}
    [problem] = keys.problems
    assert (problem.reason, problem.condition) == ("InvalidCredential", "ResolvedRefs")
    assert problem.message == (
        f'auth.apiKey.secretRef names the key "api-key" of the Secret "openai", whose value {why}; '
        "kubectl edit secret openai -n default"
    )
    assert keys.missing == keys.problems


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ({"api_key": b"k"}, "did you mean api_key?"),
        ({"token": b"k", "aaa": b"k"}, "it has aaa, token"),
        ({}, "it has no key at all"),
        ({"a\nb": b"k"}, "it has a\\nb"),
        ({f"t{n}": b"k" for n in range(9)}, "it has t0, t1, t2, t3, t4, t5, t6, t7 and 1 more"),
    ],
)
def test_a_missing_key_of_a_secret_says_what_is_there(data: dict[str, bytes], hint: str) -> None:
    [problem] = _gather(data).problems
    assert problem.reason == "SecretNotFound"
    assert problem.message == (
        f'auth.apiKey.secretRef.key names the key "api-key", which the Secret "openai" does not have; {hint}'
    )


def test_headers_from_secrets_are_credentials_too() -> None:
    ref = {"name": "openai", "key": "team"}
    keys = _gather({"api-key": b"k", "team": b"Bearer x"}, headers=[{"name": "x-team", "secretRef": ref}])
    assert sorted(keys.values.values()) == ["Bearer x", "k"]
    missing = _gather({"api-key": b"k"}, headers=[{"name": "x-a", "value": "1"}, {"name": "x-team", "secretRef": ref}])
    assert [problem.field for problem in missing.problems] == ["headers[1].secretRef.key"]


def test_a_provider_without_a_key_needs_none() -> None:
    assert _gather({}, auth=None).problems == ()
    assert _gather({}, auth={"type": "None"}).problems == ()


_chars = st.characters(codec="ascii", categories=["Ll", "Nd"], include_characters="-.")
_refs = st.builds(
    lambda name, key: SecretRef.model_validate({"name": f"a.{name}z", "key": f"k{key}"}),
    st.text(st.characters(codec="ascii", categories=["Ll", "Nd"]), max_size=250),
    st.text(_chars, max_size=252),
)


@given(_refs)
def test_a_file_name_is_readable_and_fits(ref: SecretRef) -> None:
    name = credentials.file_name("default", ref)
    assert re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", name)
    assert name.startswith(ref.name[:100])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("default", "a-b", "c"), ("default", "a", "b-c")),
        (("default", "a", "b"), ("team", "a", "b")),
        (("default", "a" * 200 + "x", "k"), ("default", "a" * 200 + "y", "k")),
    ],
)
def test_no_two_credentials_share_a_file(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    def file(namespace: str, name: str, key: str) -> str:
        return credentials.file_name(namespace, SecretRef.model_validate({"name": name, "key": key}))

    assert file(*one) != file(*other)
    assert file(*one) == file(*one)
