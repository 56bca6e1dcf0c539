"""Draws a chart as an SVG by hand: curves over time with levels, marks and a legend, the same look on every page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_PAGE, _GRID, _FADED, _INK = "#ffffff", "#dddddd", "#555555", "#222222"


@dataclass(frozen=True, slots=True)
class Chart:
    """A plot of `width` by `height`; its x axis ends at `end`, its y axis at `most`. `legend`: the room beside it."""

    title: str
    end: float
    most: float
    height: int
    legend: int
    left: int = 48
    top: int = 34
    width: int = 560

    def page(self, parts: Iterable[str]) -> str:
        """The whole file."""
        width, height = self.left + self.width + self.legend, self.top + self.height + 44
        bounds = f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12"'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" {bounds}>',
                f'<rect width="{width}" height="{height}" fill="{_PAGE}"/>',
                f'<text x="{self.left}" y="18" fill="{_INK}">{self.title}</text>',
                *parts,
                "</svg>",
                "",
            ]
        )

    def span(self, start: float, end: float, colour: str = "#fbe9e7") -> str:
        """A time that is different, behind everything."""
        left, width = self._x(start), round(self._x(end) - self._x(start), 1)
        return f'<rect x="{left}" y="{self.top}" width="{width}" height="{self.height}" fill="{colour}"/>'

    def level(self, value: float, words: str) -> str:
        """A line across."""
        return (
            f'<path d="M{self.left} {self._y(value)}h{self.width}" stroke="{_GRID}"/>'
            f'<text x="{self.left - 6}" y="{self._y(value) + 4}" text-anchor="end" fill="{_FADED}">{words}</text>'
        )

    def mark(self, at: float, words: str) -> str:
        """A time under the plot."""
        place = f'x="{self._x(at)}" y="{self.top + self.height + 18}"'
        return f'<text {place} text-anchor="middle" fill="{_FADED}">{words}</text>'

    def curve(self, place: int, name: str, colour: str, points: Sequence[tuple[float, float]]) -> str:
        """A curve, and its name in that line of the legend; what is above `most` is drawn there."""
        drawn = " ".join(f"{self._x(at)},{self._y(value)}" for at, value in points)
        right, height = self.left + self.width, self.top + 20 + place * 20
        return (
            f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<path d="M{right + 12} {height - 4}h18" stroke="{colour}" stroke-width="3"/>'
            f'<text x="{right + 36}" y="{height}" fill="{_INK}">{name}</text>'
        )

    def _x(self, at: float) -> float:
        return round(self.left + self.width * at / self.end, 1)

    def _y(self, value: float) -> float:
        return round(self.top + self.height * (1 - min(value, self.most) / self.most), 1)
