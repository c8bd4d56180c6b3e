"""What the clock says at a bar's close, in UTC."""

import math

from cryptoquant.compiled import borrowing, floats_at
from cryptoquant.features.feature import TIME, Bars, Feature, Run
from cryptoquant.market.slice import Floats

__all__ = ["hour_of_day"]

SECONDS_PER_DAY = 86_400.0


@borrowing
def hour_of_day_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write sine and cosine of the time of day."""
    at, rows, _, to = run
    seconds = floats_at(bars[TIME], at + rows)[at:]
    for row in range(rows):
        angle = 2.0 * math.pi * ((seconds[row] % SECONDS_PER_DAY) / SECONDS_PER_DAY)
        out[0, to + row] = math.sin(angle)
        out[1, to + row] = math.cos(angle)


def hour_of_day() -> Feature:
    """Return the time of day of a bar's close as a point on the circle, so that 23:59 and 00:00 are neighbours.

    Formula: sin and cos of 2 pi (seconds since midnight UTC / 86400). Inputs: time. Outputs: ``hour_of_day_sin``,
    ``hour_of_day_cos``. Lookback: 0. Memory: finite. Warm-up: 1 bar.
    """
    return Feature(
        name="hour_of_day",
        step=hour_of_day_step,
        parameters=(),
        settings=(),
        inputs=("time",),
        outputs=("hour_of_day_sin", "hour_of_day_cos"),
        lookback=0,
        memory="finite",
        warm_up=1,
    )
