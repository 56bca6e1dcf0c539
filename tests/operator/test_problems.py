"""Problems: paths, near words, and sentences for errors of every kind."""

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from manifest_cases import pool, provider, secret
from modelpool_operator.desired import desired
from modelpool_operator.problems import Path, Problem, explain, field, nearest
from modelpool_operator.resources import observe


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("spec", "targets", 1, "weight"), "targets[1].weight"),
        (("spec", "auth", "apiKey", "secretRef", "name"), "auth.apiKey.secretRef.name"),
        (("spec", "forwardHeaders", 0), "forwardHeaders[0]"),
        (("spec",), "spec"),
        (("metadata", "name"), "metadata.name"),
        (("apiVersion",), "apiVersion"),
        ((), ""),
    ],
)
def test_a_path_is_written_as_users_write_it(path: Path, text: str) -> None:
    assert field(path) == text
    assert Problem("ModelPool", "default", "chat", path, "").field == text


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("wieght", ["weight", "name"], "weight"),
        ("BASEURL", ["baseURL"], "baseURL"),
        ("max_attempts", ["maxAttempts", "statuses"], "maxAttempts"),
        ("namespace", ["name"], None),
        ("n" * 100_000, ["n" * 99_999], None),
        ("zzz", ["weight"], None),
        ("x", [], None),
    ],
)
def test_the_nearest_word_is_the_one_that_was_probably_meant(word: str, known: list[str], meant: str | None) -> None:
    assert nearest(word, known) == meant


def _said(manifest: dict[str, Any]) -> list[str]:
    return [problem.message for problem in observe([manifest]).problems]


def _target(**more: Any) -> dict[str, Any]:
    return {"name": "a", "providerRef": {"name": "openai"}, **more}


def test_bounds_are_told_with_what_was_found() -> None:
    assert _said(pool(targets=[_target(name=f"t{n}") for n in range(65)])) == [
        "targets must have at most 64 entries, not 65"
    ]
    assert _said(pool(models=[{"name": f"m{n}"} for n in range(65)])) == ["models must have at most 64 entries, not 65"]
    assert _said(pool(targets=[_target(model="m" * 254)])) == [
        "targets[0].model must have at most 253 characters, not 254"
    ]
    assert _said(provider(baseURL="https://a.com/" + "v" * 2048)) == [
        "baseURL must have at most 2048 characters, not 2062"
    ]
    assert _said(provider(forwardHeaders=["x"] * 33)) == ["forwardHeaders must have at most 32 entries, not 33"]
    limits = [{"name": f"l{n}", "max": 1, "per": "1s"} for n in range(17)]
    assert _said(pool(limits={"requests": limits})) == ["limits.requests must have at most 16 entries, not 17"]


def test_a_list_that_is_too_long_is_one_problem_however_many_of_its_entries_are_wrong() -> None:
    assert _said(pool(targets=[{"weight": -1, "odd": n} for n in range(5_000)])) == [
        "targets must have at most 64 entries, not 5000"
    ]
    assert _said(pool(fallback={"statuses": ["odd"] * 65})) == [
        "fallback.statuses must have at most 64 entries, not 65"
    ]


ODD = "\x1b[31m\nlevel=error\u202e\ud800" + "x" * 5_000


@pytest.mark.parametrize(
    "manifest",
    [
        {**pool(), "kind": ODD},
        {**pool(), "apiVersion": "modelpool.dev/" + ODD},
        {**pool(), ODD: 1},
        {**pool(), "metadata": {"name": ODD}},
        {**pool(), "metadata": {"name": "a", "namespace": ODD}},
        {**pool(), "metadata": {"name": "a", "labels": {ODD: 1, "b": ODD}}},
        pool(fallback={"statuses": [ODD, 2**50_000]}),
        pool(pinning=ODD),
        pool(targets=[{"name": ODD, "providerRef": {"name": ODD}, "weight": 2**50_000}]),
        pool(timeouts={"total": ODD}),
        pool(models=[{"name": "\u202e*" + "x" * 200}]),
        pool(models=[{"name": "\u202e" + "x" * 200}] * 2),
        provider(dialect=ODD, connections={"maxOpen": -(2**50_000)}),
        provider(baseURL="https://" + "a" * 2_000 + "/v1"),
        {**secret(), "data": {ODD: 1, "b": ODD}, ODD: 1},
        {**secret(), "metadata": {"name": ODD}, "data": []},
    ],
)
def test_a_sentence_is_one_short_line_that_no_terminal_obeys_whatever_was_written(manifest: dict[str, Any]) -> None:
    found = desired(observe([manifest, manifest])).problems
    assert found
    for problem in found:
        assert len(problem.message) < 400
        assert problem.message.isprintable()
        assert "".join(problem.key).isprintable()
        assert problem.message.startswith(problem.field)


def test_a_value_that_yaml_makes_of_a_date_is_not_repeated() -> None:
    assert _said(provider(baseURL=b"sk-live-1")) == ["baseURL must be a string, not something else"]


def test_what_has_no_bytes_is_no_text() -> None:
    assert _said(pool(models=[{"name": "\ud800"}])) == [
        "models[0].name must be Unicode: half a surrogate pair cannot be sent"
    ]


def test_a_name_of_64_characters_is_too_long() -> None:
    assert observe([pool("a" * 63)]).problems == ()
    assert _said(pool("a" * 64)) == ["metadata.name must have at most 63 characters, not 64"]


def test_a_long_wrong_value_is_cut_short() -> None:
    [said] = _said(pool(targets=[_target(name="x y" * 50)]))
    assert said == 'targets[0].name must be a name (letters, digits, - _ .), not "' + ("x y" * 50)[:61] + '..."'


@pytest.mark.parametrize(
    ("value", "told"),
    [("Slow", '"Slow"'), ("", '""'), ("sk-123", "a string"), (7, "7"), (None, "is required"), ([1], "a list")],
)
def test_what_may_be_a_key_is_told_by_its_kind_only(value: object, told: str) -> None:
    assert _said(provider(dialect=value)) == [
        "dialect is required" if value is None else f"dialect must be one of OpenAI, Fake, not {told}"
    ]


class Odd(BaseModel):
    """A model that refuses in a way for which there is no sentence of ours."""

    model_config = ConfigDict(strict=True)
    number: float

    @field_validator("number")
    @classmethod
    def never(cls, _value: float) -> float:
        raise ValueError("Odd it is")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (1.0, "number is not valid: value error, Odd it is"),
        ("x", "number is not valid: input should be a valid number"),
    ],
)
def test_an_error_without_a_sentence_of_ours_is_still_told(value: object, sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Odd.model_validate({"number": value})
    assert list(explain(caught.value, Odd)) == [(("number",), sentence)]
