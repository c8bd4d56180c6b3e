"""Axes that can be read: round numbers, calendar dates, and the place of a value between the ends."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np

from cryptoquant.market.time import NANOSECONDS_PER_SECOND, to_datetime, to_ns

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MINUTE, HOUR, DAY = (seconds * NANOSECONDS_PER_SECOND for seconds in (60, 3_600, 86_400))
STEPS = [
    *(MINUTE * n for n in (1, 5, 15, 30)),
    *(HOUR * n for n in (1, 3, 6, 12)),
    *(DAY * n for n in (1, 2, 7)),
]
FEWEST = 3
MONTH_STEPS = (1, 2, 3, 6, 12, 24, 60, 120)
Tick = tuple[float, str]
Step = TypeVar("Step", int, float)


@dataclass(frozen=True, slots=True)
class Scale:
    """The range of an axis; logarithmic only over positive values."""

    low: float
    high: float
    logarithmic: bool = False

    def share(self, value: Any) -> Any:
        """Return where a value (or an array) lies between the ends: 0 at the low end, 1 at the high end."""
        if self.logarithmic:
            return np.log(np.asarray(value) / self.low) / math.log(self.high / self.low)
        return (np.asarray(value) - self.low) / (self.high - self.low)


def scale_over(low: float, high: float, *, logarithmic: bool = False, margin: float = 0.04) -> Scale:
    """Return a scale around the values from ``low`` to ``high`` with a margin; never of zero length."""
    if logarithmic and low > 0:
        room = (high / low) ** margin
        return Scale(low / room, high * room, logarithmic=True)
    flat = high - low <= 1e-3 * abs(high)
    room = abs(high) * 0.01 or 1.0 if flat else (high - low) * margin
    return Scale(low - room, high + room)


def number_ticks(scale: Scale, count: int = 5) -> list[float]:
    """Return about ``count`` round values inside a scale: multiples of 1, 2 or 5 times a power of ten.

    Where the nearest such step gives fewer than three values, the next smaller one is taken.

    Examples
    --------
    >>> number_ticks(Scale(0.3, 9.7), 5)
    [2.0, 4.0, 6.0, 8.0]
    """
    if scale.logarithmic:
        found = _logarithmic_ticks(scale, (1, 2, 5))
        if len(found) < 3:
            found = _logarithmic_ticks(scale, (1, 1.5, 2, 3, 4, 5, 6, 8))
        if len(found) >= 2:
            return found[:: math.ceil(len(found) / (count + 2))]
    raw = (scale.high - scale.low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    steps = [power * m for m in (0.5, 1, 2, 5, 10)]
    step = _nearest(steps[1:], raw)
    first, last = _multiples(scale, step)
    if last - first < FEWEST - 1:
        step = steps[steps.index(step) - 1]
        first, last = _multiples(scale, step)
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [round(n * step, digits) for n in range(first, last + 1)]


def _multiples(scale: Scale, step: float) -> tuple[int, int]:
    return math.ceil(scale.low / step), math.floor(scale.high / step)


def _logarithmic_ticks(scale: Scale, multiples: Sequence[float]) -> list[float]:
    powers = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
    every = [m * 10.0**power for power in powers for m in multiples]
    return [value for value in every if scale.low <= value <= scale.high]


def _nearest(steps: Sequence[Step], wanted: float) -> Step:
    return min(steps, key=lambda step: abs(math.log(step / wanted)))


def time_ticks(start: int, end: int, count: int = 8) -> list[Tick]:
    """Return about ``count`` calendar instants (nanoseconds, label) between two instants.

    Examples
    --------
    >>> [label for _, label in time_ticks(to_ns("2024-01-15"), to_ns("2024-07-15"), 6)]
    ['Feb 2024', 'Mar', 'Apr', 'May', 'Jun', 'Jul']
    """
    wanted = max(1.0, (end - start) / count)
    if wanted > 10 * DAY:
        return _month_ticks(start, end, wanted)
    step = _nearest(STEPS, wanted)
    ticks: list[Tick] = []
    day = ""
    for instant in range(-(-start // step) * step, end + 1, step):
        date = to_datetime(instant)
        name = f"{date.day} {MONTHS[date.month - 1]}"
        label = name if step >= DAY else f"{date:%H:%M}" if name == day else f"{name} {date:%H:%M}"
        ticks.append((float(instant), label))
        day = name
    return ticks


def _month_ticks(start: int, end: int, wanted: float) -> list[Tick]:
    step = _nearest(MONTH_STEPS, wanted / (30.44 * DAY))
    first, last = to_datetime(start), to_datetime(end)
    months = range(first.year * 12 // step * step, last.year * 12 + last.month, step)
    ticks: list[Tick] = []
    year = None
    for month in months:
        date = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
        instant = to_ns(date)
        if not start <= instant <= end:
            continue
        name = MONTHS[date.month - 1]
        label = str(date.year) if step >= 12 else name if date.year == year else f"{name} {date.year}"
        ticks.append((float(instant), label))
        year = date.year
    return ticks
