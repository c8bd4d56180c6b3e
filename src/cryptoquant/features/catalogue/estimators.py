"""How much the price swings, read off the whole bar or off neighbouring returns: volatility per bar, not annualised."""

import math
from collections.abc import Callable
from typing import SupportsFloat

from cryptoquant.compiled import borrowing, floats_at, fused
from cryptoquant.features.feature import (
    CLOSE,
    HIGH,
    LOG_RETURN,
    LOW,
    OPEN,
    Bars,
    Feature,
    Run,
    fading,
    feature_of,
    positive,
    whole,
)
from cryptoquant.features.folds.moments import spreads, spreads_size
from cryptoquant.features.folds.sums import sums, sums_size
from cryptoquant.market.slice import Floats

__all__ = [
    "bipower_variation",
    "ewma_volatility",
    "garman_klass",
    "parkinson",
    "rogers_satchell",
    "yang_zhang",
]

LOG_TWO = math.log(2.0)


@borrowing
def volatility_of(state: Floats, base: int, window: int, seen: int, scale: float, found: Floats) -> None:
    """Turn variances of single bars into the root of ``scale`` times their mean over the last ``window`` ones."""
    sums(state, base, window, found, seen, found)
    share = scale / window
    for row in range(len(found)):
        variance = found[row] * share
        found[row] = math.sqrt(0.0 if variance < 0.0 else variance)


@borrowing
def parkinson_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the volatility from highs and lows."""
    at, rows, seen, to = run
    high, low = floats_at(bars[HIGH], at + rows)[at:], floats_at(bars[LOW], at + rows)[at:]
    found = out[0, to : to + rows]
    for row in range(rows):
        span = math.log(high[row] / low[row])
        found[row] = span * span
    volatility_of(state, 0, int(settings[0]), seen, 0.25 / LOG_TWO, found)


@borrowing
def garman_klass_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the volatility from all four prices of the bars."""
    at, rows, seen, to = run
    first, close = floats_at(bars[OPEN], at + rows)[at:], floats_at(bars[CLOSE], at + rows)[at:]
    high, low = floats_at(bars[HIGH], at + rows)[at:], floats_at(bars[LOW], at + rows)[at:]
    found = out[0, to : to + rows]
    for row in range(rows):
        span, change = math.log(high[row] / low[row]), math.log(close[row] / first[row])
        found[row] = 0.5 * (span * span) - (2.0 * LOG_TWO - 1.0) * (change * change)
    volatility_of(state, 0, int(settings[0]), seen, 1.0, found)


@borrowing
def rogers_satchell_variances(bars: Bars, at: int, rows: int, changes: Floats, found: Floats) -> None:
    """Write the log change from open to close of each bar, and its variance by Rogers and Satchell."""
    first, close = floats_at(bars[OPEN], at + rows)[at:], floats_at(bars[CLOSE], at + rows)[at:]
    high, low = floats_at(bars[HIGH], at + rows)[at:], floats_at(bars[LOW], at + rows)[at:]
    for row in range(rows):
        up, down = math.log(high[row] / first[row]), math.log(low[row] / first[row])
        change = math.log(close[row] / first[row])
        changes[row] = change
        found[row] = up * (up - change) + down * (down - change)


@borrowing
def rogers_satchell_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the volatility from all four prices of the bars, whatever their drift."""
    at, rows, seen, to = run
    found = out[0, to : to + rows]
    rogers_satchell_variances(bars, at, rows, scratch[0], found)
    volatility_of(state, 0, int(settings[0]), seen, 1.0, found)


@borrowing
def yang_zhang_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the volatility from all four prices and the gaps between bars.

    State: the memories of ``spreads`` for the gaps and for the changes inside bars, then that of ``sums``.
    """
    at, rows, seen, to = run
    window = int(settings[0])
    count = float(window)
    first, before = floats_at(bars[OPEN], at + rows)[at:], floats_at(bars[CLOSE], at + rows - 1)[at - 1 :]
    gaps, changes, averages, found = scratch[0][:rows], scratch[1][:rows], scratch[2], out[0, to : to + rows]
    for row in range(rows):
        gaps[row] = math.log(first[row] / before[row])
    rogers_satchell_variances(bars, at, rows, changes, found)
    size = 2 * window + 5
    sums(state, 2 * size, window, found, seen, found)
    for part in range(2):
        spreads(state, part * size, window, scratch[part][:rows], seen, averages, scratch[part][:rows])
    weight = 0.34 / (1.34 + (count + 1.0) / (count - 1.0))
    for row in range(rows):
        variance = (gaps[row] + weight * changes[row]) / (count - 1.0)
        found[row] = math.sqrt(variance + (1.0 - weight) * (found[row] if found[row] > 0.0 else 0.0) / count)


@borrowing
def bipower_variation_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the volatility from products of neighbouring absolute returns."""
    at, rows, seen, to = run
    returns = floats_at(bars[LOG_RETURN], at + rows)
    present, before = returns[at:], returns[at - 1 : at - 1 + rows]
    found = out[0, to : to + rows]
    for row in range(rows):
        found[row] = abs(present[row] * before[row])
    volatility_of(state, 0, int(settings[0]), seen, 0.5 * math.pi, found)


@borrowing
def ewma_volatility_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the root of the fading average of squared returns; settings: the half-life; state: that average."""
    at, rows, seen, to = run
    returns, found = floats_at(bars[LOG_RETURN], at + rows)[at:], out[0, to : to + rows]
    weight = -math.expm1(-LOG_TWO / settings[0])
    variance = state[0] if seen > 0 else returns[0] * returns[0]
    for row in range(rows):
        variance = fused(returns[row] * returns[row] - variance, weight, variance)
        found[row] = variance
    state[0] = variance
    for row in range(rows):
        found[row] = math.sqrt(found[row])


def parkinson(window: int) -> Feature:
    """Return the volatility per bar from the ranges of the last ``window`` bars; five times as efficient as closes.

    Formula: sqrt(mean ln(high / low)^2 / (4 ln 2)). Source: Parkinson (1980), The extreme value method for estimating
    the variance of the rate of return, Journal of Business 53. It takes the price to move without drift and without
    gaps between bars. Inputs: high, low. Output: ``parkinson_{window}``, a log return per bar. Lookback: window - 1.
    Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    return _of_bars(parkinson_step, ("high", "low"), window)


def garman_klass(window: int) -> Feature:
    """Return the volatility per bar from the four prices of the last ``window`` bars.

    Formula: sqrt(mean of 0.5 ln(high / low)^2 - (2 ln 2 - 1) ln(close / open)^2). Source: Garman, Klass (1980), On the
    estimation of security price volatilities from historical data, Journal of Business 53: the practical form of their
    best analytic estimator. It takes the price to move without drift and without gaps between bars. Inputs: open, high,
    low, close. Output: ``garman_klass_{window}``, a log return per bar. Lookback: window - 1. Memory: finite. Warm-up:
    window bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    return _of_bars(garman_klass_step, ("open", "high", "low", "close"), window)


def rogers_satchell(window: int) -> Feature:
    """Return the volatility per bar from the four prices of the last ``window`` bars, whatever the drift.

    Formula: sqrt(mean of u (u - c) + d (d - c)), u = ln(high / open), d = ln(low / open), c = ln(close / open). Source:
    Rogers, Satchell (1991), Estimating variance from high, low and closing prices, Annals of Applied Probability 1. It
    does not see gaps between bars. Inputs: open, high, low, close. Output: ``rogers_satchell_{window}``, a log return
    per bar. Lookback: window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    return _of_bars(rogers_satchell_step, ("open", "high", "low", "close"), window)


def yang_zhang(window: int) -> Feature:
    """Return the volatility per bar from the four prices and the gaps of the last ``window`` bars, whatever the drift.

    Formula: sqrt(V(o) + k V(c) + (1 - k) RS), V the sample variance, o = ln(open / close before), c = ln(close / open),
    RS the variance of ``rogers_satchell``, k = 0.34 / (1.34 + (window + 1) / (window - 1)). Source: Yang, Zhang (2000),
    Drift-independent volatility estimation based on high, low, open, and close prices, Journal of Business 73. Inputs:
    open, high, low, close. Output: ``yang_zhang_{window}``, a log return per bar. Lookback: window. Memory: finite.
    Warm-up: window + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 2.
    """
    window = whole("yang_zhang", "window", window, 2)
    return feature_of(
        yang_zhang_step,
        ("open", "high", "low", "close"),
        window,
        parameters={"window": window},
        state_size=2 * spreads_size(window) + sums_size(window),
        history=1,
        lead=1,
    )


def bipower_variation(window: int) -> Feature:
    """Return the volatility per bar from products of neighbouring returns, which a single jump hardly moves.

    Formula: sqrt(pi / 2 * mean of |r[t]| |r[t-1]|) over ``window`` products, r the log return: realised bipower
    variation per bar, as a volatility. Source: Barndorff-Nielsen, Shephard (2004), Power and bipower variation with
    stochastic volatility and jumps, Journal of Financial Econometrics 2, section 3. Inputs: close. Output:
    ``bipower_variation_{window}``, a log return per bar. Lookback: window + 1. Memory: finite. Warm-up: window + 2
    bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("bipower_variation", "window", window)
    size = sums_size(window)
    parameters = {"window": window}
    return feature_of(
        bipower_variation_step, ("log_return",), window + 1, parameters=parameters, state_size=size, history=1, lead=2
    )


def ewma_volatility(half_life: SupportsFloat) -> Feature:
    """Return the volatility per bar from squared returns that fade, half of their weight in ``half_life`` bars.

    Formula: v[t] = k v[t-1] + (1 - k) r[t]^2, k = 0.5^(1 / half_life), r the log return, seeded by the first r^2; the
    root of v. Source: J.P. Morgan, Reuters (1996), RiskMetrics Technical Document, section 5.2; its k = 0.94 is a
    half-life of 11.2 bars. Inputs: close. Output: ``ewma_volatility_{half_life}``, a log return per bar. Lookback: 1.
    Memory: recursive. Warm-up: about 40 half-lives.

    Raises
    ------
    ValueError
        The half-life is not above 0.
    """
    half_life = positive("ewma_volatility", "half_life", half_life)
    faded = fading(-math.expm1(-LOG_TWO / half_life))
    parameters = {"half_life": half_life}
    return feature_of(
        ewma_volatility_step, ("log_return",), 1, fading_bars=faded, parameters=parameters, state_size=1, lead=1
    )


def _of_bars(step: Callable[..., None], inputs: tuple[str, ...], window: int) -> Feature:
    window = whole(step.__name__.removesuffix("_step"), "window", window)
    parameters = {"window": window}
    return feature_of(step, inputs, window - 1, parameters=parameters, state_size=sums_size(window))
