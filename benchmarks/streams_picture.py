"""Draws docs/streams.svg: what goes out when, for an answer in time, one that takes long, and one that is held whole.

python benchmarks/streams_picture.py
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "streams.svg"
TITLE = "What a client gets, and until when another target can answer instead"
SECONDS = 60.0
WIDTH, LEFT, TOP, LANE, GAP = 620, 190, 62, 58, 14
PAPER, INK, FADED = "#ffffff", "#222222", "#555555"
FREE, COMMITTED, HEAD, CONTENT, COMMENT = "#ddf4e4", "#eeeeee", "#1f6feb", "#2da44e", "#b8860b"


@dataclass(frozen=True, slots=True)
class Lane:
    """One stream. `fails`: when its first target does; `head`, `comments`, `content`: when these go out; `end`."""

    name: str
    detail: str
    head: float
    comments: tuple[float, ...]
    content: tuple[float, ...]
    end: float
    fails: tuple[float, ...] = ()


LANES = (
    Lane("in time", "the head waits for the content", 4, (), (4, 6, 8, 10, 12, 14), 14),
    Lane("a long silence", "headHold 15s, keepAlive 15s", 15, (30, 45), (50, 52, 54, 56), 56),
    Lane("the first target fails", "the second one answers", 15, (30,), (38, 40, 42, 44, 46), 46, fails=(22,)),
    Lane("commit: Complete", "held until it is whole", 15, (30,), (44,), 44, fails=(22,)),
)


def x(seconds: float) -> float:
    """Where a moment stands."""
    return round(LEFT + seconds / SECONDS * WIDTH, 1)


def lane(number: int, one: Lane) -> Iterator[str]:
    """One row."""
    top = TOP + number * (LANE + GAP)
    middle = top + LANE / 2
    begins = one.content[0]
    yield f'<text x="12" y="{middle - 3:g}" fill="{INK}" font-weight="bold">{one.name}</text>'
    yield f'<text x="12" y="{middle + 13:g}" fill="{FADED}" font-size="11">{one.detail}</text>'
    yield bar(0, begins, top, FREE)
    yield bar(begins, one.end + 1.5, top, COMMITTED)
    for at in one.fails:
        yield f'<text x="{x(at)}" y="{middle + 5:g}" fill="#cf222e" text-anchor="middle">fails</text>'
    yield f'<line x1="{x(one.head)}" x2="{x(one.head)}" y1="{top}" y2="{top + LANE}" stroke="{HEAD}" stroke-width="4"/>'
    for at in one.comments:
        yield f'<circle cx="{x(at)}" cy="{middle:g}" r="5" fill="{COMMENT}"/>'
    for at in one.content:
        yield f'<rect x="{x(at) + 3:g}" y="{middle - 9:g}" width="9" height="18" fill="{CONTENT}"/>'


def bar(start: float, end: float, top: float, colour: str) -> str:
    """A time."""
    width = round(x(end) - x(start), 1)
    return f'<rect x="{x(start)}" y="{top:g}" width="{max(width, 14.0):g}" height="{LANE}" fill="{colour}"/>'


def legend(top: float) -> Iterator[str]:
    """What the signs mean."""
    signs = (
        (FREE, "another target can still answer"),
        (COMMITTED, "no longer"),
        (HEAD, "head"),
        (COMMENT, "comment"),
        (CONTENT, "content"),
    )
    left = LEFT
    for colour, name in signs:
        yield f'<rect x="{left}" y="{top - 11:g}" width="14" height="14" fill="{colour}" stroke="{FADED}"/>'
        yield f'<text x="{left + 20}" y="{top:g}" fill="{INK}">{name}</text>'
        left += 36 + 7 * len(name)


def picture() -> str:
    """The whole file."""
    bottom = TOP + len(LANES) * (LANE + GAP)
    parts = [part for number, one in enumerate(LANES) for part in lane(number, one)]
    parts += [
        f'<text x="{x(seconds)}" y="{bottom + 8}" fill="{FADED}" text-anchor="middle">{seconds} s</text>'
        for seconds in range(0, int(SECONDS) + 1, 15)
    ]
    bounds = f'viewBox="0 0 {LEFT + WIDTH + 30} {bottom + 22}" font-family="sans-serif" font-size="12"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {bounds}>',
            f'<rect width="100%" height="100%" fill="{PAPER}"/>',
            f'<text x="12" y="20" fill="{INK}" font-size="14">{TITLE}</text>',
            *legend(44),
            *parts,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(picture(), encoding="utf-8")
