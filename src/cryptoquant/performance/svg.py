"""Pictures without a script: one SVG that keeps its letters and strokes readable at every width.

Curves live in an inner drawing that stretches with the page; labels and marks are placed by percentages outside of it,
so they keep their size.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from cryptoquant.performance.axes import Scale, Tick, number_ticks, time_ticks
from cryptoquant.performance.decimation import extreme_rows

ACROSS, DOWN = 3_000, 1_000
Floats = NDArray[np.float64]
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mark:
    """A sign at a point of a picture: its kind (a symbol of the page, such as ``buy``) and the words it shows."""

    across: float
    value: float
    kind: str
    words: str


@dataclass(frozen=True, slots=True)
class Axes:
    """The two scales of a picture, time or value across and value upwards, and how they are written.

    Parameters
    ----------
    write
        How a value of the upward axis is written.
    ticks
        Places and labels across; by default calendar dates.
    levels
        Places and labels upwards; by default round numbers.
    """

    across: Scale
    up: Scale
    write: Callable[[float], str]
    ticks: tuple[Tick, ...] | None = None
    levels: tuple[Tick, ...] | None = None

    def curve(self, times: Times, values: Floats, kind: str) -> str:
        """Return a line through the values, thinned to screen resolution."""
        return f'<path class="{kind}" d="{self._path(times, values)}"/>'

    def area(self, times: Times, values: Floats, base: float, kind: str) -> str:
        """Return the area between the values and a base line."""
        rows = extreme_rows(values)
        if not len(rows):
            return ""
        ends = [self._point(float(times[row]), base) for row in (rows[0], rows[-1])]
        path = self._path(times, values)
        return f'<path class="{kind}" d="M{ends[0][0]} {ends[0][1]}L{path[1:]}L{ends[1][0]} {ends[1][1]}z"/>'

    def bar(self, start: float, end: float, base: float, value: float, kind: str) -> str:
        """Return a bar from a base line to a value."""
        (left, top), (right, bottom) = self._point(start, max(base, value)), self._point(end, min(base, value))
        return f'<path class="{kind}" d="M{left} {bottom}V{top}H{right}V{bottom}z"/>'

    def level(self, start: float, end: float, value: float, kind: str) -> str:
        """Return a horizontal stroke at a value."""
        (left, height), (right, _) = self._point(start, value), self._point(end, value)
        return f'<path class="{kind}" d="M{left} {height}H{right}"/>'

    def levels_of(self, segments: Iterable[tuple[float, float, float]], kind: str) -> str:
        """Return many horizontal strokes (start, end, value) as one shape."""
        drawn = []
        for start, end, value in segments:
            (left, height), (right, _) = self._point(start, value), self._point(end, value)
            drawn.append(f"M{left} {height}h{max(1, right - left)}")
        return f'<path class="{kind}" d="{"".join(drawn)}"/>' if drawn else ""

    def upright(self, place: float, kind: str) -> str:
        """Return a stroke from the lower to the upper end at a place across."""
        left, _ = self._point(place, self.up.low)
        return f'<path class="{kind}" d="M{left} 0V{DOWN}"/>'

    def sign(self, mark: Mark) -> str:
        """Return a mark at its point, with words for the pointer."""
        left, top = _percent(self.across.share(mark.across)), _percent(1.0 - self.up.share(mark.value))
        kind = escape(mark.kind, quote=True)
        return f'<use href="#{kind}" class="{kind}" x="{left}" y="{top}"><title>{escape(mark.words)}</title></use>'

    def _point(self, across: float, value: float) -> tuple[int, int]:
        return round(float(self.across.share(across)) * ACROSS), round((1.0 - float(self.up.share(value))) * DOWN)

    def _path(self, times: Times, values: Floats) -> str:
        rows = extreme_rows(values)
        if not len(rows):
            return "M0 0"
        right = np.rint(self.across.share(times[rows].astype(np.float64)) * ACROSS).astype(int)
        down = np.rint((1.0 - self.up.share(values[rows])) * DOWN).astype(int)
        if len(rows) == 1:
            return f"M{right[0]} {down[0]}h1"
        steps = zip(np.diff(right).tolist(), np.diff(down).tolist(), strict=True)
        return f"M{right[0]} {down[0]}l" + " ".join(f"{x} {y}" for x, y in steps)


def picture(axes: Axes, shapes: Sequence[str], signs: Sequence[str] = (), *, label: str, height: int = 280) -> str:
    """Return a picture with its axes.

    Parameters
    ----------
    shapes
        What ``Axes`` drew: it stretches with the page.
    signs
        Marks that keep their size.
    label
        What a reader who cannot see the picture is told.
    """
    grid, letters = _written(axes, height)
    inner = f'<svg viewBox="0 0 {ACROSS} {DOWN}" preserveAspectRatio="none" width="100%" height="100%">'
    return (
        f'<div class="plot"><svg role="img" aria-label="{escape(label, quote=True)}" width="100%" height="{height}">'
        f'<g class="grid">{grid}</g>{inner}{"".join(shapes)}</svg>'
        f'<g class="letters">{letters}</g>{"".join(signs)}</svg></div>'
    )


def _written(axes: Axes, height: int) -> tuple[str, str]:
    """Return the grid and the letters of both axes; of those across, four stay when the page is narrow."""
    ticks = axes.ticks or time_ticks(round(axes.across.low), round(axes.across.high))
    every = -(-len(ticks) // 4)
    grid, letters = [], []
    upwards = axes.levels or [(value, axes.write(value)) for value in number_ticks(axes.up, max(3, height // 50))]
    for value, text in upwards:
        top = _percent(1.0 - axes.up.share(value))
        grid.append(f'<line x1="0" x2="100%" y1="{top}" y2="{top}"/>')
        letters.append(f'<text class="up" x="0" y="{top}" dx="-8" dy="4">{escape(text)}</text>')
    for place, (value, text) in enumerate(ticks):
        left = _percent(axes.across.share(value))
        wide = ' class="wide"' if place % every else ""
        grid.append(f'<line{wide} x1="{left}" x2="{left}" y1="0" y2="100%"/>')
        letters.append(f'<text{wide} x="{left}" y="100%" dy="20">{escape(text)}</text>')
    return "".join(grid), "".join(letters)


def _percent(share: float) -> str:
    return f"{100.0 * float(share):.2f}%"
