"""What the clock says at a bar's close, in UTC: hours and weekdays, as numbers and as points on a circle."""

import math

import numpy as np

from cryptoquant.compiled import borrowing, floats_at, fused
from cryptoquant.features.feature import TIME, Bars, Feature, Run, feature_of
from cryptoquant.market.slice import Floats

__all__ = ["day_of_week", "hour", "hour_of_day", "weekday", "weekend"]

SECONDS_PER_HOUR = 3_600.0
SECONDS_PER_DAY = 86_400.0
SECONDS_PER_WEEK = 604_800.0
FIRST_MONDAY = 345_600.0


@borrowing
def since(seconds: float, period: float) -> float:
    """Return the seconds since the last whole period, exact, and without ``%``, which cannot take many bars at once.

    The quotient of a number below a multiple of the period never rounds up: the number misses it by more, in parts of
    itself, than a rounding moves.
    """
    rest: float = seconds - period * np.floor(seconds / period)
    return rest


@borrowing
def circle(seconds: Floats, period: float, start: float, sines: Floats, cosines: Floats) -> None:
    """Write sine and cosine of the turns since ``start``: exact at the quarters, to a rounding or two elsewhere.

    A turn is brought within an eighth of its nearest quarter, where Taylor's series to the 16th power leave less than a
    rounding. Nothing branches, so that many bars go at once; sine and cosine of libm take ten times as long.
    """
    step, radians = 0.25 * period, 2.0 * math.pi / period
    for row in range(len(seconds)):
        rest = since(seconds[row] - start, period)
        quarter = np.floor(rest / step + 0.5)
        angle = radians * (rest - step * quarter)
        square = angle * angle
        sine = fused(square, -1.0 / 1_307_674_368_000.0, 1.0 / 6_227_020_800.0)
        sine = fused(square, sine, -1.0 / 39_916_800.0)
        sine = fused(square, sine, 1.0 / 362_880.0)
        sine = fused(square, sine, -1.0 / 5_040.0)
        sine = fused(square, sine, 1.0 / 120.0)
        sine = fused(square, sine, -1.0 / 6.0)
        sine = fused(angle * square, sine, angle)
        cosine = fused(square, 1.0 / 20_922_789_888_000.0, -1.0 / 87_178_291_200.0)
        cosine = fused(square, cosine, 1.0 / 479_001_600.0)
        cosine = fused(square, cosine, -1.0 / 3_628_800.0)
        cosine = fused(square, cosine, 1.0 / 40_320.0)
        cosine = fused(square, cosine, -1.0 / 720.0)
        cosine = fused(square, cosine, 1.0 / 24.0)
        cosine = fused(square, cosine, -0.5)
        cosine = fused(square, cosine, 1.0)
        is_odd = (quarter == 1.0) | (quarter == 3.0)
        across, along = cosine if is_odd else sine, sine if is_odd else cosine
        sines[row] = 0.0 - across if (quarter == 2.0) | (quarter == 3.0) else across
        cosines[row] = 0.0 - along if (quarter == 1.0) | (quarter == 2.0) else along


@borrowing
def hour_of_day_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write sine and cosine of the time of day."""
    at, rows, _, to = run
    seconds = floats_at(bars[TIME], at + rows)[at:]
    circle(seconds, SECONDS_PER_DAY, 0.0, out[0, to : to + rows], out[1, to : to + rows])


@borrowing
def day_of_week_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write sine and cosine of the time of the week."""
    at, rows, _, to = run
    seconds = floats_at(bars[TIME], at + rows)[at:]
    circle(seconds, SECONDS_PER_WEEK, FIRST_MONDAY, out[0, to : to + rows], out[1, to : to + rows])


@borrowing
def hour_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the whole hours since midnight."""
    at, rows, _, to = run
    seconds, found = floats_at(bars[TIME], at + rows)[at:], out[0, to : to + rows]
    for row in range(rows):
        found[row] = np.floor(since(seconds[row], SECONDS_PER_DAY) / SECONDS_PER_HOUR)


@borrowing
def weekday_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the whole days since Monday."""
    at, rows, _, to = run
    seconds, found = floats_at(bars[TIME], at + rows)[at:], out[0, to : to + rows]
    for row in range(rows):
        found[row] = np.floor(since(seconds[row] - FIRST_MONDAY, SECONDS_PER_WEEK) / SECONDS_PER_DAY)


@borrowing
def weekend_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write 1 from Saturday on, else 0."""
    at, rows, _, to = run
    seconds, found = floats_at(bars[TIME], at + rows)[at:], out[0, to : to + rows]
    for row in range(rows):
        rest = since(seconds[row] - FIRST_MONDAY, SECONDS_PER_WEEK)
        found[row] = 1.0 if rest >= 5.0 * SECONDS_PER_DAY else 0.0


def hour_of_day() -> Feature:
    """Return the time of day of a bar's close as a point on the circle, so that 23:59 and 00:00 are neighbours.

    Formula: sin and cos of 2 pi (seconds since midnight UTC / 86400). Inputs: time. Outputs: ``hour_of_day_sin``,
    ``hour_of_day_cos``, pure numbers. Lookback: 0. Memory: finite. Warm-up: 1 bar.
    """
    outputs = ("hour_of_day_sin", "hour_of_day_cos")
    return feature_of(hour_of_day_step, ("time",), 0, outputs=outputs, parameters={})


def day_of_week() -> Feature:
    """Return the time of the week of a bar's close as a point on the circle, so that Sunday and Monday are neighbours.

    Formula: sin and cos of 2 pi (seconds since Monday 00:00 UTC / 604800). Inputs: time. Outputs: ``day_of_week_sin``,
    ``day_of_week_cos``, pure numbers. Lookback: 0. Memory: finite. Warm-up: 1 bar.
    """
    outputs = ("day_of_week_sin", "day_of_week_cos")
    return feature_of(day_of_week_step, ("time",), 0, outputs=outputs, parameters={})


def hour() -> Feature:
    """Return the hour of the day in which a bar closes, for models that split on it.

    Formula: floor(seconds since midnight UTC / 3600), 0 to 23; a bar that closes at 14:00:00 gives 14. Inputs: time.
    Output: ``hour``, in hours. Lookback: 0. Memory: finite. Warm-up: 1 bar.
    """
    return feature_of(hour_step, ("time",), 0, parameters={})


def weekday() -> Feature:
    """Return the day of the week in which a bar closes, 0 for Monday to 6 for Sunday, for models that split on it.

    Formula: floor(seconds since Monday 00:00 UTC / 86400); a bar that closes at midnight belongs to the day that
    begins. Inputs: time. Output: ``weekday``, in days. Lookback: 0. Memory: finite. Warm-up: 1 bar.
    """
    return feature_of(weekday_step, ("time",), 0, parameters={})


def weekend() -> Feature:
    """Return 1 if a bar closes on Saturday or Sunday UTC, when banks and stock exchanges rest, otherwise 0.

    Formula: weekday >= 5; a bar that closes at midnight belongs to the day that begins. Inputs: time. Output:
    ``weekend``, 0 or 1. Lookback: 0. Memory: finite. Warm-up: 1 bar.
    """
    return feature_of(weekend_step, ("time",), 0, parameters={})
