"""How much the price swings: true range, the deviation of returns, and Bollinger's bands."""

import math

import numpy as np

from cryptoquant.compiled import borrowing
from cryptoquant.features.feature import Feature, fading, positive, whole
from cryptoquant.features.rolling import moments, moments_size, wilder
from cryptoquant.market.slice import Floats


@borrowing
def atr_step(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    """Write Wilder's average true range; bar: high, low, close; state: started, last close, average (2)."""
    out[0] = np.nan
    if state[0] > 0.0:
        before = state[1]
        true_range = max(bar[0] - bar[1], abs(bar[0] - before), abs(bar[1] - before))
        out[0] = wilder(state, 2, int(settings[0]), true_range)
    state[0] = 1.0
    state[1] = bar[2]


@borrowing
def natr_step(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    """Write the average true range as a fraction of the close."""
    atr_step(state, settings, bar, out)
    out[0] /= bar[2]


@borrowing
def realized_volatility_step(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    """Write the deviation of the last ``settings[0]`` log returns; state: last close, then the moments."""
    window = int(settings[0])
    before = state[0]
    state[0] = bar[0]
    out[0] = np.nan
    if before > 0.0:
        _, squares = moments(state, 1, window, math.log(bar[0] / before))
        out[0] = math.sqrt(squares / (window - 1.0))


@borrowing
def bollinger_step(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    """Write the position in the bands and their width."""
    window = int(settings[0])
    mean, squares = moments(state, 0, window, bar[0])
    reach = settings[1] * math.sqrt(squares / window)
    out[0] = 0.5 if reach == 0.0 else (bar[0] - mean + reach) / (2.0 * reach)
    out[1] = 2.0 * reach / mean


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
    return _average_range("atr", window)


def natr(window: int = 14) -> Feature:
    """Return the average true range as a fraction of the close: TA-Lib's NATR / 100.

    Formula: ATR / close. Inputs: high, low, close. Output: ``natr_{window}``. Lookback: window. Memory: recursive.
    Warm-up: about 28 windows.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    return _average_range("natr", window)


def _average_range(name: str, window: int) -> Feature:
    window = whole(name, "window", window)
    return Feature(
        name=name,
        parameters=(("window", window),),
        settings=(float(window),),
        inputs=("high", "low", "close"),
        outputs=(f"{name}_{window}",),
        lookback=window,
        memory="recursive",
        warm_up=window + 1 + fading(1 / window),
        state_size=4,
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
    return Feature(
        name="realized_volatility",
        parameters=(("window", window),),
        settings=(float(window),),
        inputs=("close",),
        outputs=(f"realized_volatility_{window}",),
        lookback=window,
        memory="finite",
        warm_up=window + 1,
        state_size=1 + moments_size(window),
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
    return Feature(
        name="bollinger",
        parameters=(("window", window), ("width", width)),
        settings=(float(window), width),
        inputs=("close",),
        outputs=(f"bollinger_position_{suffix}", f"bollinger_width_{suffix}"),
        lookback=window - 1,
        memory="finite",
        warm_up=window,
        state_size=moments_size(window),
    )
