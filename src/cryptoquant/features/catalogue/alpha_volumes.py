"""The columns of Qlib's Alpha158 that need volume: its own swings, and how it goes with the price.

Source of all of them: Yang, Liu, Zhou, Bian, Liu (2020), Qlib: An AI-oriented Quantitative Investment Platform,
arXiv:2009.11189; published as ``Alpha158DL.get_feature_config`` in qlib/contrib/data/loader.py, its operators in
qlib/data/ops.py. As in ``alpha_prices``, a window speaks when it is full. All outputs are pure numbers.
"""

import math

import numpy as np

from cryptoquant.compiled import borrowing, floats_at
from cryptoquant.features.catalogue.alpha_prices import POINT, STILL
from cryptoquant.features.feature import CLOSE, VOLUME, VWAP, Bars, Feature, Run, feature_of, whole
from cryptoquant.features.folds.moments import moments, moments_size, spreads, spreads_size
from cryptoquant.features.folds.products import correlation_of, products, products_size
from cryptoquant.features.folds.sums import changes, changes_size
from cryptoquant.market.slice import Floats

__all__ = [
    "alpha_change_correlation",
    "alpha_correlation",
    "alpha_turbulence",
    "alpha_volume",
    "alpha_volume_moves",
    "alpha_vwap",
]

LOG_TWO = math.log(2.0)


@borrowing
def alpha_vwap_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the average price over the close."""
    at, rows, _, to = run
    averages, closes = floats_at(bars[VWAP], at + rows)[at:], floats_at(bars[CLOSE], at + rows)[at:]
    found = out[0, to : to + rows]
    for row in range(rows):
        found[row] = averages[row] / closes[row]


@borrowing
def correlated(
    state: Floats, window: int, firsts: Floats, seconds: Floats, seen: int, scratch: Floats, found: Floats
) -> None:
    """Write the correlation of the last pairs, NaN where a series stands still; both are overwritten."""
    rows, pairs = len(found), scratch[2]
    products(state, 0, window, firsts[:rows], seconds[:rows], seen, found, firsts, seconds, pairs)
    for row in range(rows):
        count, square, other_square = pairs[row], firsts[row], seconds[row]
        least = STILL * STILL * (count - 1.0)
        share = correlation_of(found[row], square, other_square)
        is_moving = (count > 1.0) & (square > least) & (other_square > least)
        found[row] = share if is_moving else np.nan


@borrowing
def alpha_correlation_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the correlation of close and ln(volume + 1)."""
    at, rows, seen, to = run
    closes, volumes = floats_at(bars[CLOSE], at + rows)[at:], floats_at(bars[VOLUME], at + rows)[at:]
    prices, logs = scratch[0], scratch[1]
    for row in range(rows):
        prices[row], logs[row] = closes[row], math.log(volumes[row] + 1.0)
    correlated(state, int(settings[0]), prices, logs, seen, scratch, out[0, to : to + rows])


@borrowing
def alpha_change_correlation_step(
    state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats
) -> None:
    """Write the correlation of close / close before and ln(volume / volume before + 1)."""
    at, rows, seen, to = run
    closes, volumes = floats_at(bars[CLOSE], at + rows), floats_at(bars[VOLUME], at + rows)
    close, before = closes[at:], closes[at - 1 : at - 1 + rows]
    volume, volume_before = volumes[at:], volumes[at - 1 : at - 1 + rows]
    ratios, logs = scratch[0], scratch[1]
    # Near 0, so that sums lose nothing: where a block begins with no pair, its anchor is 0.
    for row in range(rows):
        ratios[row] = close[row] / before[row] - 1.0
    for row in range(rows):
        logs[row] = math.log(volume[row] / volume_before[row] + 1.0) - LOG_TWO
    correlated(state, int(settings[0]), ratios, logs, seen, scratch, out[0, to : to + rows])


@borrowing
def alpha_volume_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write mean and deviation of the volume over the present one."""
    at, rows, seen, to = run
    window = int(settings[0])
    volumes = floats_at(bars[VOLUME], at + rows)
    means, squares = scratch[0], scratch[1]
    moments(state, 0, window, volumes, at, rows, seen, means, squares)
    volume = volumes[at:]
    averages, deviations = out[0, to : to + rows], out[1, to : to + rows]
    for row in range(rows):
        averages[row] = means[row] / (volume[row] + POINT)
        deviations[row] = math.sqrt(squares[row] / (window - 1.0)) / (volume[row] + POINT)


@borrowing
def alpha_turbulence_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the deviation of |return| * volume over its mean."""
    at, rows, seen, to = run
    window = int(settings[0])
    closes, volume = floats_at(bars[CLOSE], at + rows), floats_at(bars[VOLUME], at + rows)[at:]
    close, before = closes[at:], closes[at - 1 : at - 1 + rows]
    flows, means, squares, found = scratch[0][:rows], scratch[1], scratch[2], out[0, to : to + rows]
    for row in range(rows):
        flows[row] = abs(close[row] / before[row] - 1.0) * volume[row]
    spreads(state, 0, window, flows, seen, means, squares)
    for row in range(rows):
        found[row] = math.sqrt(squares[row] / (window - 1.0)) / (means[row] + POINT)


@borrowing
def alpha_volume_moves_step(
    state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats
) -> None:
    """Write the shares of rises and falls of the volume, and their difference."""
    at, rows, seen, to = run
    gained, lost = scratch[0], scratch[1]
    changes(state, 0, int(settings[0]), floats_at(bars[VOLUME], at + rows), at, rows, seen, gained, lost)
    gains, losses, nets = out[0, to : to + rows], out[1, to : to + rows], out[2, to : to + rows]
    for row in range(rows):
        whole_way = gained[row] + lost[row] + POINT
        gains[row], losses[row] = gained[row] / whole_way, lost[row] / whole_way
    for row in range(rows):
        whole_way = gained[row] + lost[row] + POINT
        nets[row] = (gained[row] - lost[row]) / whole_way


def alpha_vwap() -> Feature:
    """Return the bar's volume-weighted average price over its close.

    Formula: VWAP0 = vwap / close. Source: Qlib's Alpha158, ``price``. Inputs: vwap, close. Output: ``VWAP0``. Lookback:
    0. Memory: finite. Warm-up: 1 bar.
    """
    return feature_of(alpha_vwap_step, ("vwap", "close"), 0, outputs=("VWAP0",), parameters={})


def alpha_correlation(window: int) -> Feature:
    """Return how the close goes with the logarithm of the volume over the last ``window`` bars.

    Formula: CORR = Pearson's correlation of close and ln(volume + 1); NaN where the sample deviation of either is not
    above 2e-5, as in Qlib. Source: Qlib's Alpha158. Inputs: close, volume. Output: ``CORR{window}``. Lookback: window -
    1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 2.
    """
    window = whole("alpha_correlation", "window", window, 2)
    return feature_of(
        *(alpha_correlation_step, ("close", "volume"), window - 1),
        outputs=(f"CORR{window}",),
        parameters={"window": window},
        state_size=products_size(window),
    )


def alpha_change_correlation(window: int) -> Feature:
    """Return how the change of the close goes with the change of the volume over the last ``window`` bars.

    Formula: CORD = Pearson's correlation of close[t] / close[t-1] and ln(volume[t] / volume[t-1] + 1). A bar after one
    without volume has no such ratio and is left out, as in Qlib; NaN where fewer than two are left or the sample
    deviation of either, over those that are left, is not above 2e-5. Source: Qlib's Alpha158. Inputs: close, volume.
    Output: ``CORD{window}``. Lookback: window. Memory: finite. Warm-up: window + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 2.
    """
    window = whole("alpha_change_correlation", "window", window, 2)
    return feature_of(
        *(alpha_change_correlation_step, ("close", "volume"), window),
        outputs=(f"CORD{window}",),
        parameters={"window": window},
        state_size=products_size(window),
        history=1,
        lead=1,
    )


def alpha_volume(window: int) -> Feature:
    """Return mean and deviation of the last ``window`` volumes over the present one.

    Formula: VMA = mean / (volume + 1e-12), VSTD = sample deviation / (volume + 1e-12). Source: Qlib's Alpha158. Inputs:
    volume. Outputs: ``VMA{window}``, ``VSTD{window}``. Lookback: window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 2.
    """
    window = whole("alpha_volume", "window", window, 2)
    return feature_of(
        *(alpha_volume_step, ("volume",), window - 1),
        outputs=(f"VMA{window}", f"VSTD{window}"),
        parameters={"window": window},
        state_size=moments_size(window),
        history=window,
    )


def alpha_turbulence(window: int) -> Feature:
    """Return how unevenly the last ``window`` bars moved the price, weighted by volume.

    Formula: with flow = abs(close[t] / close[t-1] - 1) * volume[t], WVMA = sample deviation of flow / (mean of flow
    + 1e-12). Source: Qlib's Alpha158. Inputs: close, volume. Output: ``WVMA{window}``. Lookback: window. Memory:
    finite. Warm-up: window + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 2.
    """
    window = whole("alpha_turbulence", "window", window, 2)
    return feature_of(
        *(alpha_turbulence_step, ("close", "volume"), window),
        outputs=(f"WVMA{window}",),
        parameters={"window": window},
        state_size=spreads_size(window),
        history=1,
        lead=1,
    )


def alpha_volume_moves(window: int) -> Feature:
    """Return the rises and falls of the volume over the last ``window`` bars as shares of all its changes.

    Formula: with all = sum of absolute changes + 1e-12, VSUMP = sum of rises / all, VSUMN = sum of falls / all,
    VSUMD = (rises - falls) / all. Source: Qlib's Alpha158. Inputs: volume. Outputs: ``VSUMP{window}``,
    ``VSUMN{window}``, ``VSUMD{window}``. Lookback: window. Memory: finite. Warm-up: window + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("alpha_volume_moves", "window", window)
    return feature_of(
        *(alpha_volume_moves_step, ("volume",), window),
        outputs=(f"VSUMP{window}", f"VSUMN{window}", f"VSUMD{window}"),
        parameters={"window": window},
        state_size=changes_size(window),
        history=window + 1,
        lead=1,
    )
