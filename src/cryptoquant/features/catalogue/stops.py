"""Levels that trail the price and turn with it: the supertrend and Wilder's parabolic stop."""

from cryptoquant.compiled import borrowing, floats_at, fused
from cryptoquant.features.catalogue.averages import above
from cryptoquant.features.feature import (
    CLOSE,
    HIGH,
    LOW,
    TRUE_RANGE,
    Bars,
    Feature,
    Run,
    fading,
    feature_of,
    positive,
    whole,
)
from cryptoquant.features.folds.averages import exponential
from cryptoquant.features.folds.memory import blank
from cryptoquant.market.slice import Floats

__all__ = ["parabolic_sar", "supertrend"]


@borrowing
def supertrend_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write level and direction; state: the average range, upper band, lower band, direction."""
    at, rows, seen, to = run
    window, multiplier = int(settings[0]), settings[1]
    closes = floats_at(bars[CLOSE], at + rows)
    close, before = closes[at:], closes[at - 1 : at - 1 + rows]
    high, low = floats_at(bars[HIGH], at + rows)[at:], floats_at(bars[LOW], at + rows)[at:]
    levels, directions, ranges = out[0, to : to + rows], out[1, to : to + rows], scratch[0]
    exponential(state, 0, window, 1.0 / window, floats_at(bars[TRUE_RANGE], at + rows), at, rows, seen, ranges)
    upper, lower, direction = state[1], state[2], state[3]
    early = min(max(window - 1 - seen, 0), rows)
    for row in range(early, rows):
        middle, reach = 0.5 * (high[row] + low[row]), multiplier * ranges[row]
        top, bottom = middle + reach, middle - reach
        if direction == 0.0:
            upper, lower, direction = top, bottom, -1.0
        else:
            # Without short cuts, which a processor would have to guess.
            upper = top if (top < upper) | (before[row] > upper) else upper
            lower = bottom if (bottom > lower) | (before[row] < lower) else lower
            turn = close[row] < lower if direction > 0.0 else close[row] > upper
            direction = -direction if turn else direction
        levels[row] = lower if direction > 0.0 else upper
        directions[row] = direction
    state[1], state[2], state[3] = upper, lower, direction
    if settings[2] > 0.0:
        above(close, levels)
    blank(levels, window - 1 - seen)
    blank(directions, window - 1 - seen)


@borrowing
def parabolic_sar_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the stop; state: the stop of the next bar, the extreme of the trend, the acceleration, the direction.

    A falling market is a rising one upside down: all prices are taken times the direction.
    """
    at, rows, seen, to = run
    most = settings[1]
    step = settings[0] if settings[0] < most else most
    highs, lows = floats_at(bars[HIGH], at + rows), floats_at(bars[LOW], at + rows)
    high, low, found = highs[at:], lows[at:], out[0, to : to + rows]
    stop, extreme, pace, direction = state[0], state[1], state[2], state[3]
    top, bottom = highs[at - 1], lows[at - 1]
    if seen == 0:
        direction = -1.0 if bottom - low[0] > 0.0 and bottom - low[0] > high[0] - top else 1.0
        stop, extreme, pace = (bottom, high[0], step) if direction > 0.0 else (-top, -low[0], step)
        top, bottom = high[0], low[0]
    far_before, near_before = (top, bottom) if direction > 0.0 else (-bottom, -top)
    for row in range(rows):
        far, near = (high[row], low[row]) if direction > 0.0 else (-low[row], -high[row])
        if near > stop:
            found[row] = direction * stop
            if far > extreme:
                extreme = far
                pace = pace + step if pace + step < most else most
            stop = fused(extreme - stop, pace, stop)
            stop = stop if stop < near_before else near_before
            stop = stop if stop < near else near
            far_before, near_before = far, near
        else:
            edge = far if far > far_before else far_before
            stop = extreme if extreme > edge else edge
            found[row] = direction * stop
            stop = fused(near - stop, step, stop)
            stop = -stop if stop > edge else -edge
            direction, extreme, pace = -direction, -near, step
            far_before, near_before = -near, -far
    state[0], state[1], state[2], state[3] = stop, extreme, pace, direction
    if settings[2] > 0.0:
        above(floats_at(bars[CLOSE], at + rows)[at:], found)


def supertrend(window: int = 10, multiplier: float = 3.0, *, relative: bool = False) -> Feature:
    """Return the supertrend: a stop at some average ranges from the middle of the bar, and the direction it follows.

    Formula: bands = (high + low) / 2 +- multiplier ATR(window). The upper band only falls until a close lies above it,
    the lower only rises until one lies below it: upper[t] = the new band if that is lower or close[t-1] > upper[t-1],
    otherwise upper[t-1], and the lower band in the same way upside down. The direction turns up when the close lies
    above the upper band, down when it lies below the lower one; the level is the lower band while the direction is up,
    otherwise the upper one. It begins downwards. Source: Olivier Seban's rule as in TradingView's Pine reference,
    ta.supertrend, with Wilder's ATR from the second bar on, as TA-Lib's. Inputs: high, low, close. Outputs:
    ``supertrend_10_3``, a price, and ``supertrend_direction_10_3``, 1 or -1; with ``relative``
    ``supertrend_relative_10_3``, close / level - 1, and ``supertrend_relative_direction_10_3``. Lookback: window.
    Memory: cumulative: a band stands since the last turn, however long ago; two starts agree once both have turned.
    Warm-up: that of the ATR, about 28 windows.

    Raises
    ------
    ValueError
        The window is smaller than 1 or the multiplier not above 0.
    """
    window = whole("supertrend", "window", window)
    multiplier = positive("supertrend", "multiplier", multiplier)
    prefix, suffix = ("supertrend_relative" if relative else "supertrend"), f"{window}_{multiplier:g}"
    return feature_of(
        supertrend_step,
        ("high", "low", "close", "true_range"),
        window,
        outputs=(f"{prefix}_{suffix}", f"{prefix}_direction_{suffix}"),
        fading_bars=fading(1 / window),
        parameters={"window": window, "multiplier": multiplier, "relative": bool(relative)},
        memory="cumulative",
        state_size=4,
        history=1,
        lead=1,
    )


def parabolic_sar(acceleration: float = 0.02, maximum: float = 0.2, *, relative: bool = False) -> Feature:
    """Return Wilder's parabolic stop-and-reverse in force at this bar, equal to TA-Lib's SAR.

    Formula: SAR += a (extreme of the trend - SAR), a from ``acceleration`` in steps of it up to ``maximum`` with each
    new extreme; never beyond the lows (in a fall: highs) of the last two bars. A bar that touches it turns it: it then
    stands at the extreme of the trend that has ended. It begins upwards unless the low of the second bar falls by more
    than the high rises. Source: Wilder (1978), New Concepts in Technical Trading Systems, section II. Inputs: high,
    low (and the close that every bar has). Output: ``parabolic_sar_0.02_0.2``, a price; with ``relative``
    ``parabolic_sar_relative_0.02_0.2``, close / SAR - 1. Lookback: 1. Memory: cumulative: it moves since the last turn;
    two starts agree once both have turned together. Warm-up: 2 bars.

    Raises
    ------
    ValueError
        A parameter is not above 0.
    """
    acceleration = positive("parabolic_sar", "acceleration", acceleration)
    maximum = positive("parabolic_sar", "maximum", maximum)
    prefix = "parabolic_sar_relative" if relative else "parabolic_sar"
    return feature_of(
        parabolic_sar_step,
        ("high", "low", "close"),
        1,
        outputs=(f"{prefix}_{acceleration:g}_{maximum:g}",),
        parameters={"acceleration": acceleration, "maximum": maximum, "relative": bool(relative)},
        memory="cumulative",
        state_size=4,
        history=1,
        lead=1,
    )
