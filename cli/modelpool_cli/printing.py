"""How text reaches the terminal: nothing in it can steer the terminal, and a reader that has left ends nothing."""

import errno
import os
import unicodedata
from typing import TextIO

_STEERING = ("Cc", "Cs")
"""Control characters, and halves of surrogate pairs, which no terminal can be sent."""
_OVERRIDES = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029"
"""They turn the direction of what follows, or break a line where we did not."""
_GONE = (errno.EPIPE, errno.EIO)


def text(told: str) -> str:
    """The same, with control characters written as `\\x1b`; line ends and tabs stay."""
    return "".join(_shown(each) if each not in "\n\t" else each for each in told)


def line(told: str) -> str:
    """The same for what must stay within one line."""
    return "".join(map(_shown, told))


def _shown(character: str) -> str:
    steers = unicodedata.category(character) in _STEERING or character in _OVERRIDES
    return character.encode("unicode_escape").decode("ascii") if steers else character


class Printer:
    """Prints for as long as somebody reads (`modelpool run | head`), then goes on in silence."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def say(self, told: str) -> None:
        """Print lines. What cannot be written is dropped: to serve counts more than to tell of it."""
        try:
            print(text(told), file=self._out, flush=True)
        except OSError as error:
            if error.errno in _GONE:
                # What the buffer still holds, and what Python writes when it ends, must go somewhere.
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())
