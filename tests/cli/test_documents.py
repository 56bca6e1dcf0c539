"""Documents, their lines, and sentences for text that is no YAML."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpool_cli import documents, scalars, yamlnodes
from modelpool_cli.documents import Document, Unreadable


def one(text: str | bytes) -> Document:
    (found,) = documents.parse(text.encode() if isinstance(text, str) else text)
    assert isinstance(found, Document), found
    return found


def refused(text: str | bytes) -> tuple[int, str]:
    (found,) = documents.parse(text.encode() if isinstance(text, str) else text)
    assert isinstance(found, Unreadable), found
    return found.line, found.message


def test_each_field_knows_its_line() -> None:
    lines = one("a: 1\nb:\n  c:\n  - x: 1\n    w: 2\n  - {x: 3}\n").lines
    assert lines.of(("b", "c", 0, "w")) == 5
    assert lines.of(("b", "c", 1, "x")) == 6
    assert lines.of(("b", "c", 1)) == 6


def test_a_field_that_is_not_there_is_told_at_what_is_nearest_around_it() -> None:
    lines = one("a: 1\nb:\n  c: {}\n").lines
    assert lines.of(("b", "c", "d", 0)) == 3
    assert lines.of(("z",)) == 1


def test_lines_go_on_over_separators_and_line_endings() -> None:
    found = documents.parse(b"a: 1\r\n--- # second\r\n\r\nb: 2\r\n---\n---\nc: 3")
    assert [(each.value, each.lines.of((next(iter(each.value)),))) for each in found if isinstance(each, Document)] == [
        ({"a": 1}, 1),
        ({"b": 2}, 4),
        ({"c": 3}, 7),
    ]


def test_one_bad_document_does_not_hide_the_others() -> None:
    good, bad, last = documents.parse(b"a: 1\n---\nb: [1\n---\nc: 3")
    assert isinstance(good, Document)
    assert isinstance(last, Document)
    assert bad == Unreadable(3, "a ',' or the closing ] is missing")


def test_a_merged_field_has_the_line_of_its_anchor_and_an_own_one_its_own() -> None:
    lines = one("base: &b\n  x: {deep: 1}\n  w: 2\nuse:\n  <<: *b\n  x: 3\n").lines
    assert lines.of(("use", "w")) == 3
    assert lines.of(("use", "x")) == 6
    assert lines.of(("use", "x", "deep")) == 6


def test_json_may_be_indented_with_tabs() -> None:
    found = one('{\n\t"a": {\n\t\t"b": "x\\ty"\n\t}\n}')
    assert found.value == {"a": {"b": "x\ty"}}
    assert found.lines.of(("a", "b")) == 3


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("a:\n\tb: 1", 2, "a tab stands where YAML wants spaces"),
        ("a: 1\nb: @x", 2, "a value that starts with @ must stand in quotes"),
        ("a: `x`", 1, "a value that starts with ` must stand in quotes"),
        ("a: %x", 1, "a value that starts with % must stand in quotes"),
        ("x: 1\na: 'it\nb: 2", 2, "a quote or bracket is not closed"),
        ("a: b: c", 1, "a second ':' on one line, or an indentation that does not fit"),
        ("a: - b", 1, "a list item '-' cannot stand here: give it a line of its own"),
        ("- a\nb: c", 2, "the indentation does not fit the lines above"),
        ("a: {b: 1", 1, "a ',' or the closing } is missing"),
        ("a: 1\nb: *x", 2, "the alias *x has no anchor &x above it"),
        ("a: 1\nb\nc: 1", 2, "a name without ':' after it"),
        ("a: 1\nb", 2, "a name without ':' after it"),
        ("a: 1\na: 2", 2, "the key 'a' stands twice, first on line 1"),
        ("? [a]\n: b", 1, "a key must be a single word, not a list or a map"),
        ("~: b", 1, "a key must not be empty or null"),
        ("a: !!int x", 1, "'x' is not a !!int"),
        ("a: .nan", 1, ".nan cannot be written in JSON"),
        ("a: &x [*x]", 1, "an anchor holds an alias of itself"),
        ("a: &x {b: 1}\nc: {b: 2, <<: *x}", 2, "<< brings 'b' again, which stands above it; write << first"),
        ("a: {<<: 1}", 1, "<< takes a map or a list of maps"),
        ('a: "\\ud83d"', 1, "half a surrogate pair is not a character"),
        ("a:\n- name: *", 2, '* must stand in quotes: "*"'),
        ("a: [*, b]", 1, '* must stand in quotes: "*"'),
        ("a: & b", 1, '& must stand in quotes: "&"'),
        ('a: !!str "\\ud800x"', 1, "half a surrogate pair is not a character"),
        ('a: !!binary "\\u00e9"', 1, "!!binary must be base64"),
        ('x: 1\na: "\\UFFFFFFFF"', 2, "a number in an escape or behind %YAML is too large"),
        ('a: "\\U00110000"', 1, "a number in an escape or behind %YAML is too large"),
        (f"%YAML 1.{'9' * 5000}", 1, "a number in an escape or behind %YAML is too large"),
        ("a: 1\nb: \x07", 2, "the character U+0007 is not allowed in YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, sentence: str) -> None:
    assert refused(text) == (line, sentence)


def test_bytes_that_are_no_text_are_told_with_their_line() -> None:
    assert refused(b"a: 1\nb: \xff") == (2, "the file is not UTF-8 text")


def test_a_file_that_is_too_large_is_not_read() -> None:
    line, sentence = refused(b"a" * (documents.MAX_FILE_BYTES + 1))
    assert (line, sentence) == (1, "the file has 1048577 bytes, more than the 1048576 that are read")


def test_depth_is_bounded() -> None:
    assert refused("a: " + "[" * 500_000) == (1, f"more than {yamlnodes.MAX_DEPTH} levels deep")


def test_aliases_cannot_unfold_without_bound() -> None:
    names = "bcdefghijk"
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join(['*' + chr(ord(name) - 1)] * 9)}]\n" for name in names
    )
    assert "aliases unfold" in refused(bomb)[1]
    assert "aliases unfold" in refused("a: &a {x: 1}\nb: {<<: [" + ",".join(["*a"] * 60_000) + "]}")[1]


def test_aliases_cannot_nest_deeper_than_brackets_could() -> None:
    chain = "a0: &a0 x\n" + "".join(f"a{n}: &a{n} {'[' * 50}*a{n - 1}{']' * 50}\n" for n in range(1, 41))
    assert refused(chain) == (2, f"more than {yamlnodes.MAX_DEPTH} levels deep, with its aliases unfolded")


def test_the_number_of_values_is_bounded_for_all_documents_of_a_file_together() -> None:
    part = "---\na: &a [" + "x," * 10_000 + "]\nb: [" + "*a," * 4 + "]\n"
    first, second = documents.parse((part * 3).encode())
    assert isinstance(first, Document)
    assert second == Unreadable(5, "the file has more than 100000 values, with its aliases unfolded")


def test_merging_takes_time_in_proportion() -> None:
    def steps(size: int) -> int:
        seen = 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal seen
            seen += 1

        fields = ",".join(f"k{number}: 1" for number in range(size))
        text = f"a: &a {{{fields}}}\nb: {{<<: *a, {fields}}}".encode()
        sys.setprofile(count)
        try:
            documents.parse(text)
        finally:
            sys.setprofile(None)
        return seen

    assert steps(400) < 2.2 * steps(200)


def test_binary_is_text_in_the_end_and_must_be_base64() -> None:
    assert scalars.tagged("tag:yaml.org,2002:binary", "aGVs\nbG8=") == "hello"
    with pytest.raises(scalars.ScalarError):
        scalars.tagged("tag:yaml.org,2002:binary", "*")


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.text(st.characters(codec="utf-8", exclude_characters="\x7f\x85\ufeff\u2028\u2029"), max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc<: #", max_size=8), inner, max_size=4),
        max_leaves=20,
    )
)
def test_whatever_json_says_is_read_as_it_says(value: object) -> None:
    found = documents.parse(json.dumps({"value": value}).encode())
    assert [each.value for each in found if isinstance(each, Document)] == [{"value": value}]


_SIGNS = (
    "a b 1 *a &a * & - ? : | > [ ] { } , <<: <<:*a !!str !!int !!binary !x % @ ` ~ --- ... # %YAML %TAG 1.1 0x 1e999 "
    ".inf _ +_ é 😀 \" ' \\ \\ud800 \\udc00 \\UFFFFFFFF \t \n \r \x85 \u2028 \ufeff \x00"
)


@given(st.lists(st.sampled_from([*_SIGNS.split(" "), " ", "\n", "\n  ", ": "]), max_size=30).map("".join))
def test_no_text_makes_it_fail_and_whatever_it_reads_can_be_written_again(text: str) -> None:
    for found in documents.parse(text.encode()):
        assert isinstance(found, (Document, Unreadable))
        if isinstance(found, Document):
            json.dumps(found.value, ensure_ascii=False, allow_nan=False).encode()


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    for found in documents.parse(data):
        assert isinstance(found, (Document, Unreadable))
