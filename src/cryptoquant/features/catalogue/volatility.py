"""How much the price swings: true range, the deviation of returns, and Bollinger's bands."""

import math
from collections.abc import Callable

from cryptoquant.compiled import borrowing, floats_at
from cryptoquant.features.feature import (
    CLOSE,
    LOG_RETURN,
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
from cryptoquant.features.folds.moments import moments, moments_size
from cryptoquant.market.slice import Floats

__all__ = ["atr", "bollinger", "natr", "realized_volatility", "true_range"]


@borrowing
def atr_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write Wilder's average true range."""
    at, rows, seen, to = run
    window = int(settings[0])
    ranges, found = floats_at(bars[TRUE_RANGE], at + rows), out[0, to : to + rows]
    exponential(state, 0, window, 1.0 / window, ranges, at, rows, seen, found)


@borrowing
def natr_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the average true range as a fraction of the close."""
    atr_step(state, settings, bars, run, scratch, out)
    at, rows, _, to = run
    close = floats_at(bars[CLOSE], at + rows)[at:]
    found = out[0, to : to + rows]
    for row in range(rows):
        found[row] /= close[row]


@borrowing
def true_range_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the true range, over the close where that is asked for."""
    at, rows, _, to = run
    ranges, close = floats_at(bars[TRUE_RANGE], at + rows)[at:], floats_at(bars[CLOSE], at + rows)[at:]
    found = out[0, to : to + rows]
    for row in range(rows):
        found[row] = ranges[row] / close[row] if settings[0] > 0.0 else ranges[row]


@borrowing
def realized_volatility_step(
    state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats
) -> None:
    """Write the deviation of the last ``settings[0]`` log returns."""
    at, rows, seen, to = run
    window = int(settings[0])
    returns, found = floats_at(bars[LOG_RETURN], at + rows), out[0, to : to + rows]
    moments(state, 0, window, returns, at, rows, seen, scratch[0], found)
    for row in range(rows):
        found[row] = math.sqrt(found[row] / (window - 1.0))


@borrowing
def bollinger_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the position in the bands and their width."""
    at, rows, seen, to = run
    window = int(settings[0])
    closes = floats_at(bars[CLOSE], at + rows)
    means, squares = scratch[0], scratch[1]
    moments(state, 0, window, closes, at, rows, seen, means, squares)
    close = closes[at:]
    positions, widths = out[0, to : to + rows], out[1, to : to + rows]
    for row in range(rows):
        reach = settings[1] * math.sqrt(squares[row] / window)
        positions[row] = 0.5 if reach == 0.0 else (close[row] - means[row] + reach) / (2.0 * reach)
        widths[row] = 2.0 * reach / means[row]


def atr(window: int = 14) -> Feature:
    """Return Wilder's average true range in units of the price, equal to TA-Lib's ATR.

    Formula: the Wilder average of max(high - low, |high - close before|, |low - close before|), seeded by the mean of
    the first ``window`` ranges. Source: Wilder (1978), section III. Inputs: high, low, close. Output: ``atr_{window}``.
    Lookback: window. Memory: recursive. Warm-up: about 28 windows.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    return _average_range(atr_step, ("true_range",), window)


def natr(window: int = 14) -> Feature:
    """Return the average true range as a fraction of the close: TA-Lib's NATR / 100.

    Formula: ATR / close. Inputs: high, low, close. Output: ``natr_{window}``. Lookback: window. Memory: recursive.
    Warm-up: about 28 windows.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    return _average_range(natr_step, ("true_range", "close"), window)


def _average_range(step: Callable[..., None], inputs: tuple[str, ...], window: int) -> Feature:
    window = whole(step.__name__.removesuffix("_step"), "window", window)
    return feature_of(
        step,
        inputs,
        window,
        fading_bars=fading(1 / window),
        parameters={"window": window},
        state_size=1,
        lead=1,
    )


def true_range(*, relative: bool = False) -> Feature:
    """Return the true range of the bar in units of the price, equal to TA-Lib's TRANGE.

    Formula: max(high - low, |high - close before|, |low - close before|); with ``relative`` over the close. Source:
    Wilder (1978), section III. Inputs: high, low, close. Output: ``true_range``, a price, or ``true_range_relative``, a
    fraction. Lookback: 1. Memory: finite. Warm-up: 2 bars.
    """
    return feature_of(
        true_range_step,
        ("true_range", "close"),
        1,
        outputs=("true_range_relative" if relative else "true_range",),
        parameters={"relative": bool(relative)},
        lead=1,
    )


def realized_volatility(window: int) -> Feature:
    """Return the standard deviation of the last ``window`` log returns, per bar (not annualised).

    Formula: sqrt(sum (r - mean r)^2 / (window - 1)), r = ln(close[t] / close[t-1]). Source: Hull (2018), Options,
    Futures and Other Derivatives, section 15.4. Inputs: close. Output: ``realized_volatility_{window}``. Lookback:
    window. Memory: finite. Warm-up: window + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 2.
    """
    window = whole("realized_volatility", "window", window, 2)
    return feature_of(
        realized_volatility_step,
        ("log_return",),
        window,
        parameters={"window": window},
        state_size=moments_size(window),
        history=window,
        lead=1,
    )


def bollinger(window: int = 20, width: float = 2.0) -> Feature:
    """Return the close's position in Bollinger's bands (0 lower, 1 upper) and the width of the bands over the middle.

    Formula: bands = SMA +- width * population deviation, as TA-Lib's BBANDS; position = (close - lower) / (upper -
    lower), 0.5 when the bands meet; width = (upper - lower) / SMA. Source: Bollinger (2001), Bollinger on Bollinger
    Bands. Inputs: close. Outputs: ``bollinger_position_20_2``, ``bollinger_width_20_2``, pure numbers. Lookback:
    window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 2 or the width not above 0.
    """
    window = whole("bollinger", "window", window, 2)
    width = positive("bollinger", "width", width)
    suffix = f"{window}_{width:g}"
    return feature_of(
        bollinger_step,
        ("close",),
        window - 1,
        outputs=(f"bollinger_position_{suffix}", f"bollinger_width_{suffix}"),
        parameters={"window": window, "width": width},
        state_size=moments_size(window),
        history=window,
    )
