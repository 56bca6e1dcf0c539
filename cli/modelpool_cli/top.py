"""`modelpool top`: the state of the sidecar that runs here, once a second, until `q` or Ctrl-C.

Plain ANSI on the terminal's other screen, so what stood there comes back. The size is looked at with each frame: a
window that changes, over ssh too, is followed. A sidecar that ends is waited for.
"""

import json
import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from modelpool_cli import client
from modelpool_cli.client import UnreachableError
from modelpool_cli.exits import INTERRUPTED, NO, OK, WRONG_USE, fail
from modelpool_cli.frame import SOFT, Line, draw, frame

EVERY_SECONDS = 1.0
_PATIENCE_SECONDS = 3.0
_LOOK_SECONDS = 0.1
_UNCUT = 10_000
"""Columns where the output is no terminal: what reads it may cut."""
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_QUIT = ("q", "Q", "\x04")
_KEY = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O.)?|.", re.DOTALL)
_DOWN, _UP = ("j", "\x1b[B", "\x1bOB"), ("k", "\x1b[A", "\x1bOA")
_NEXT, _BEFORE = (" ", "\x1b[6~"), ("b", "\x1b[5~")


def top(admin: str, env: Mapping[str, str], *, once: bool, as_json: bool) -> int:
    """Show it. 0: it was shown, 1: nothing runs there, 2: there is no terminal to show it in, 130: Ctrl-C."""
    if as_json and not once:
        return fail("-o json has one frame: give --once with it", WRONG_USE)
    if not once and not (sys.stdin.isatty() and sys.stdout.isatty()):
        return fail("a live view needs a terminal; --once prints one frame", WRONG_USE)
    try:
        state = look(admin)
    except UnreachableError as error:
        return fail(str(error), NO)
    if as_json:
        print(json.dumps(state, indent=2))
    elif once:
        width = _size()[0] if sys.stdout.isatty() else _UNCUT
        for line in frame(state):
            print(draw(line, width, coloured=_coloured(env)))
    else:
        return _Live(admin, state, coloured=_coloured(env)).show()
    return OK


def look(admin: str) -> dict[str, Any]:
    """The state. Raises UnreachableError, with a sentence, where no sidecar tells one."""
    reply = client.get(f"{admin}/-/state", _PATIENCE_SECONDS)
    state = reply.data
    if reply.status != 200 or not isinstance(state, dict) or "inFlight" not in state:
        raise UnreachableError(f"{admin} is no sidecar's admin port: {reply.error}")
    return state


def _coloured(env: Mapping[str, str]) -> bool:
    return sys.stdout.isatty() and not env.get("NO_COLOR") and env.get("TERM") != "dumb"


def _size() -> tuple[int, int]:
    """Columns and lines of the terminal itself: COLUMNS and LINES do not follow a window. 80 by 24 if it has none."""
    size = os.get_terminal_size(sys.stdout.fileno())
    return size.columns or 80, size.lines or 24


class _Live:
    """The view in a terminal. `_from`: the first line that is shown."""

    def __init__(self, admin: str, state: dict[str, Any], *, coloured: bool) -> None:
        self._admin, self._state, self._coloured = admin, state, coloured
        self._lost: str | None = None
        self._from = 0

    def show(self) -> int:
        """Until somebody has seen enough."""
        try:
            with _screen():
                return self._show()
        except KeyboardInterrupt:
            return INTERRUPTED

    def _show(self) -> int:
        due, drawn = time.monotonic() + EVERY_SECONDS, None
        while True:
            width, height = _size()
            picture = self._picture(width, height)
            if picture != drawn:
                sys.stdout.write(picture)
                sys.stdout.flush()
                drawn = picture
            for key in _keys(min(_LOOK_SECONDS, max(0.0, due - time.monotonic()))):
                if key in _QUIT:
                    return OK
                self._scroll(key, height)
            if time.monotonic() >= due:
                self._look()
                due = time.monotonic() + EVERY_SECONDS

    def _look(self) -> None:
        try:
            self._state, self._lost = look(self._admin), None
        except UnreachableError as error:
            self._lost = str(error).partition(": start it")[0]

    def _scroll(self, key: str, height: int) -> None:
        page = max(1, height - 2)
        for keys, step in ((_DOWN, 1), (_UP, -1), (_NEXT, page), (_BEFORE, -page)):
            if key in keys:
                self._from += step

    def _picture(self, width: int, height: int) -> str:
        """A whole screen: the head stays, the rest scrolls, the last line says how to go on."""
        head, *lines = frame(self._state, self._lost)
        room = max(1, height - 2)
        self._from = max(0, min(self._from, len(lines) - room))
        shown = lines[self._from : self._from + room]
        below = len(lines) - self._from - len(shown)
        more = f"; {self._from} lines above, {below} below: j, k, space, b" if len(lines) > room else ""
        foot: Line = [(f"q ends it{more}", SOFT)]
        padded = [head, *shown, *([[]] * (room - len(shown))), foot]
        # Each line is cleared before it is written: behind a full one that would take its last character.
        rows = ["\x1b[2K" + draw(line, width, coloured=self._coloured) for line in padded[:height]]
        return "\x1b[H" + "\n".join(rows)


@contextmanager
def _screen() -> Iterator[None]:
    """The other screen, and each key as it is pressed; everything as it was afterwards."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    heard = {number: signal.signal(number, _ended) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setcbreak(descriptor)
        sys.stdout.write(_ENTER)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        for number, handler in heard.items():
            signal.signal(number, handler)


def _keys(timeout: float) -> list[str]:
    """What was pressed. An end of the input ends the view."""
    ready, _, _ = select.select([sys.stdin], [], [], timeout)
    if not ready:
        return []
    return _KEY.findall(os.read(sys.stdin.fileno(), 64).decode("utf-8", "replace")) or ["q"]


def _ended(number: int, _frame: FrameType | None) -> None:
    """SIGTERM and SIGHUP: the terminal is put back on the way out."""
    raise SystemExit(128 + number)
