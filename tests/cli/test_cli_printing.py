"""What reaches the terminal cannot steer it."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpool_cli import printing
from modelpool_cli.client import Reply
from modelpool_cli.exits import fail
from modelpool_cli.printing import Printer


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("plain é ✓ 漢", "plain é ✓ 漢"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("\x9b31m\x7f\r", "\\x9b31m\\x7f\\r"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("half \ud83d", "half \\ud83d"),
        ("two\n\tlines", "two\n\tlines"),
    ],
)
def test_control_characters_are_written_out(told: str, shown: str) -> None:
    assert printing.text(told) == shown


@given(st.text(st.characters()))
def test_a_line_stays_one_line_that_can_be_printed(told: str) -> None:
    shown = printing.line(told)
    shown.encode()
    assert len(shown.splitlines()) <= 1


def test_the_words_of_a_server_are_escaped_where_they_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(Reply(500, {}, b'{"error": "\\u001b]0;owned\\u0007"}').error) == 1
    assert capsys.readouterr().err == "modelpool: \\x1b]0;owned\\x07\n"


def test_a_printer_goes_silent_when_its_reader_has_left() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        printer = Printer(out)
        printer.say("one")
        printer.say("two")


def test_a_line_that_does_not_fit_on_a_full_disk_is_dropped() -> None:
    out = open("/dev/full", "w")  # noqa: SIM115, PTH123 - to close it is to fail once more
    Printer(out).say("one")
    with pytest.raises(OSError, match="No space"):
        out.close()
