"""The columns of Qlib's Alpha158 that need prices only: the shape of the bar, and where the price stands in its past.

Source of all of them: Yang, Liu, Zhou, Bian, Liu (2020), Qlib: An AI-oriented Quantitative Investment Platform,
arXiv:2009.11189; published as ``Alpha158DL.get_feature_config`` in qlib/contrib/data/loader.py, its operators in
qlib/data/ops.py. Names and numbers are Qlib's, in doubles where Qlib keeps floats, with one difference: Qlib lets a
window begin with its first bar, here a window speaks when it is full. All outputs are pure numbers.
"""

import math

import numpy as np

from cryptoquant.compiled import borrowing, floats_at
from cryptoquant.features.feature import CLOSE, HIGH, LOW, OPEN, Bars, Feature, Run, feature_of, whole
from cryptoquant.features.folds.extremes import places, places_size
from cryptoquant.features.folds.lines import lines, lines_size
from cryptoquant.features.folds.memory import blank
from cryptoquant.features.folds.ordered import insert, mean_rank, quantile_of, replace
from cryptoquant.features.folds.sums import changes, changes_size, turns
from cryptoquant.market.slice import Floats

__all__ = ["alpha_candle", "alpha_extremes", "alpha_moves", "alpha_quantiles", "alpha_roc", "alpha_trend"]

POINT = 1e-12
STILL = 2e-5


@borrowing
def alpha_candle_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write body, range, shadows and shift, over the open and over the range, and three prices over the close."""
    at, rows, _, to = run
    opens, highs = floats_at(bars[OPEN], at + rows)[at:], floats_at(bars[HIGH], at + rows)[at:]
    lows, closes = floats_at(bars[LOW], at + rows)[at:], floats_at(bars[CLOSE], at + rows)[at:]
    body, body_share = out[0, to : to + rows], out[2, to : to + rows]
    lengths = out[1, to : to + rows]
    upper, upper_share = out[3, to : to + rows], out[4, to : to + rows]
    lower, lower_share = out[5, to : to + rows], out[6, to : to + rows]
    shift, shift_share = out[7, to : to + rows], out[8, to : to + rows]
    for row in range(rows):
        first, high, low, last = opens[row], highs[row], lows[row], closes[row]
        width = high - low + POINT
        top, bottom = (first if first > last else last), (first if first < last else last)
        body[row], body_share[row] = (last - first) / first, (last - first) / width
        lengths[row] = (high - low) / first
        upper[row], upper_share[row] = (high - top) / first, (high - top) / width
        lower[row], lower_share[row] = (bottom - low) / first, (bottom - low) / width
        shift[row], shift_share[row] = (2.0 * last - high - low) / first, (2.0 * last - high - low) / width
    starts, tops, bottoms = out[9, to : to + rows], out[10, to : to + rows], out[11, to : to + rows]
    for row in range(rows):
        starts[row], tops[row], bottoms[row] = (
            opens[row] / closes[row],
            highs[row] / closes[row],
            lows[row] / closes[row],
        )


@borrowing
def alpha_roc_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the close of ``settings[0]`` bars ago over the close."""
    at, rows, seen, to = run
    window = int(settings[0])
    closes, found = floats_at(bars[CLOSE], at + rows), out[0, to : to + rows]
    early = min(max(window - seen, 0), rows)
    blank(found, early)
    if early < rows:
        present, before = closes[at + early :], closes[at + early - window :]
        late = found[early:]
        for row in range(rows - early):
            late[row] = before[row] / present[row]


@borrowing
def alpha_trend_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write mean, deviation and slope over the close, the line's share of the variance, and the last residual."""
    at, rows, seen, to = run
    window = int(settings[0])
    closes = floats_at(bars[CLOSE], at + rows)
    averages, squares, slants = scratch[0], scratch[1], scratch[2]
    lines(state, 0, window, closes, at, rows, seen, averages, squares, slants)
    close = closes[at:]
    means, deviations, slopes = out[0, to : to + rows], out[1, to : to + rows], out[2, to : to + rows]
    shares, residuals = out[3, to : to + rows], out[4, to : to + rows]
    last, freedom = (window - 1.0) / 2.0, window - 1.0
    spread = window * (window * float(window) - 1.0) / 12.0
    least = STILL * STILL * freedom
    for row in range(rows):
        share = slants[row] / squares[row] * (slants[row] / spread)
        shares[row] = share if squares[row] > least else np.nan
    for row in range(rows):
        slants[row] = slants[row] / spread
        slopes[row] = slants[row] / close[row]
    for row in range(rows):
        means[row] = averages[row] / close[row]
        deviations[row] = math.sqrt(squares[row] / freedom) / close[row]
    for row in range(rows):
        residuals[row] = (close[row] - averages[row] - slants[row] * last) / close[row]


@borrowing
def alpha_extremes_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write highest high and lowest low over the close, the close between them, and where in the window they lie."""
    at, rows, seen, to = run
    window = int(settings[0])
    tops, bottoms, peaks, troughs = scratch[0], scratch[1], scratch[2], scratch[3]
    for index in range(2):
        # One call for both: the lows lie behind the highs in the bars, and are the highs of the market upside down.
        extremes = floats_at(bars[HIGH + index], at + rows)
        found, orders = scratch[index], scratch[index + 2]
        places(
            state, index * (2 * window + 4), window, 1.0 - 2.0 * index, False, extremes, at, rows, seen, found, orders
        )
    close = floats_at(bars[CLOSE], at + rows)[at:]
    highest, lowest, positions = out[0, to : to + rows], out[1, to : to + rows], out[2, to : to + rows]
    for row in range(rows):
        highest[row] = tops[row] / close[row]
        lowest[row] = bottoms[row] / close[row]
    for row in range(rows):
        positions[row] = (close[row] - bottoms[row]) / (tops[row] - bottoms[row] + POINT)
    since, below, apart = out[3, to : to + rows], out[4, to : to + rows], out[5, to : to + rows]
    for row in range(rows):
        since[row], below[row] = peaks[row] / window, troughs[row] / window
    for row in range(rows):
        apart[row] = (peaks[row] - troughs[row]) / window


@borrowing
def alpha_quantiles_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the 80 % and 20 % quantiles over the close, and its rank."""
    at, rows, seen, to = run
    window = int(settings[0])
    closes = floats_at(bars[CLOSE], at + rows)
    upper, lower, ranks = out[0, to : to + rows], out[1, to : to + rows], out[2, to : to + rows]
    for row in range(rows):
        count, close = seen + row, closes[at + row]
        if count < window:
            insert(state, count, close)
        else:
            replace(state, window, closes[at + row - window], close)
        upper[row], lower[row] = quantile_of(state, window, 0.8) / close, quantile_of(state, window, 0.2) / close
    for row in range(max(window - 1 - seen, 0), rows):
        ranks[row] = mean_rank(closes[at + row + 1 - window : at + row + 1], closes[at + row]) / window
    for column in range(out.shape[0]):
        blank(out[column, to : to + rows], window - 1 - seen)


@borrowing
def alpha_moves_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the shares of rises and falls by number and by size, and their differences."""
    at, rows, seen, to = run
    window = int(settings[0])
    closes = floats_at(bars[CLOSE], at + rows)
    rising, falling, gained, lost = scratch[0], scratch[1], scratch[2], scratch[3]
    turns(state, 0, window, closes, at, rows, seen, rising, falling)
    changes(state, 2, window, closes, at, rows, seen, gained, lost)
    ups, downs, balances = out[0, to : to + rows], out[1, to : to + rows], out[2, to : to + rows]
    for row in range(rows):
        ups[row], downs[row] = rising[row] / window, falling[row] / window
    for row in range(rows):
        balances[row] = (rising[row] - falling[row]) / window
    gains, losses, nets = out[3, to : to + rows], out[4, to : to + rows], out[5, to : to + rows]
    for row in range(rows):
        whole_way = gained[row] + lost[row] + POINT
        gains[row], losses[row] = gained[row] / whole_way, lost[row] / whole_way
    for row in range(rows):
        whole_way = gained[row] + lost[row] + POINT
        nets[row] = (gained[row] - lost[row]) / whole_way


def alpha_candle() -> Feature:
    """Return the shape of the bar as nine ratios, and its open, high and low over its close.

    Formula: with range = high - low + 1e-12, KMID = (close - open) / open, KLEN = (high - low) / open, KMID2 = (close -
    open) / range, KUP = (high - max(open, close)) / open, KUP2 the same / range, KLOW = (min(open, close) - low) /
    open, KLOW2 the same / range, KSFT = (2 close - high - low) / open, KSFT2 the same / range, OPEN0 = open / close,
    HIGH0 = high / close, LOW0 = low / close. Source: Qlib's Alpha158, ``kbar`` and ``price``. Inputs: open, high, low,
    close. Outputs: ``KMID``, ``KLEN``, ``KMID2``, ``KUP``, ``KUP2``, ``KLOW``, ``KLOW2``, ``KSFT``, ``KSFT2``,
    ``OPEN0``, ``HIGH0``, ``LOW0``. Lookback: 0. Memory: finite. Warm-up: 1 bar.
    """
    names = ("KMID", "KLEN", "KMID2", "KUP", "KUP2", "KLOW", "KLOW2", "KSFT", "KSFT2", "OPEN0", "HIGH0", "LOW0")
    return feature_of(alpha_candle_step, ("open", "high", "low", "close"), 0, outputs=names, parameters={})


def alpha_roc(window: int) -> Feature:
    """Return the close of ``window`` bars ago over the close.

    Formula: ROC = close[t - window] / close[t]. Source: Qlib's Alpha158. Inputs: close. Output: ``ROC{window}``.
    Lookback: window. Memory: finite. Warm-up: window + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("alpha_roc", "window", window)
    return feature_of(
        *(alpha_roc_step, ("close",), window), outputs=(f"ROC{window}",), parameters={"window": window}, history=window
    )


def alpha_trend(window: int) -> Feature:
    """Return mean, deviation and straight line of the last ``window`` closes.

    Formula: with the least-squares line of the closes over 1 .. window, MA = mean / close, STD = sample deviation /
    close, BETA = slope / close, RSQR = the squared correlation of close and number of the bar (NaN where the sample
    deviation is not above 2e-5, as in Qlib), RESI = (close - the line's last point) / close. Source: Qlib's Alpha158.
    Inputs: close. Outputs: ``MA{window}``, ``STD{window}``, ``BETA{window}``, ``RSQR{window}``, ``RESI{window}``.
    Lookback: window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 2.
    """
    window = whole("alpha_trend", "window", window, 2)
    return feature_of(
        *(alpha_trend_step, ("close",), window - 1),
        outputs=_names(window, "MA", "STD", "BETA", "RSQR", "RESI"),
        parameters={"window": window},
        state_size=lines_size(window),
        history=window,
    )


def alpha_extremes(window: int) -> Feature:
    """Return the channel of the last ``window`` bars, the close in it, and which bars made it.

    Formula: MAX = highest high / close, MIN = lowest low / close, RSV = (close - lowest low) / (highest high - lowest
    low + 1e-12), IMAX = number of the bar with the highest high / window, counted from 1, the oldest bar, to
    ``window``, this one, and the oldest of equals; IMIN the same of the lowest low, IMXD = IMAX - IMIN. Source: Qlib's
    Alpha158. Inputs: high, low, close. Outputs: ``MAX{window}``, ``MIN{window}``, ``RSV{window}``, ``IMAX{window}``,
    ``IMIN{window}``, ``IMXD{window}``. Lookback: window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("alpha_extremes", "window", window)
    return feature_of(
        *(alpha_extremes_step, ("high", "low", "close"), window - 1),
        outputs=_names(window, "MAX", "MIN", "RSV", "IMAX", "IMIN", "IMXD"),
        parameters={"window": window},
        state_size=2 * places_size(window),
        history=window,
    )


def alpha_quantiles(window: int) -> Feature:
    """Return the upper and lower fifth of the last ``window`` closes, and the rank of the present one.

    Formula: QTLU and QTLD = the quantiles of 0.8 and 0.2 / close, between neighbours in proportion; RANK = rank of the
    close in the window / window, equals share their mean rank. Source: Qlib's Alpha158. Inputs: close. Outputs:
    ``QTLU{window}``, ``QTLD{window}``, ``RANK{window}``. Lookback: window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("alpha_quantiles", "window", window)
    return feature_of(
        *(alpha_quantiles_step, ("close",), window - 1),
        outputs=_names(window, "QTLU", "QTLD", "RANK"),
        parameters={"window": window},
        state_size=window,
        history=window,
    )


def alpha_moves(window: int) -> Feature:
    """Return how many of the last ``window`` changes of the close were up and down, and how far they went.

    Formula: CNTP = share of bars that close above the bar before, CNTN = below, CNTD = CNTP - CNTN; with all = sum of
    absolute changes + 1e-12, SUMP = sum of rises / all, SUMN = sum of falls / all, SUMD = (rises - falls) / all.
    Source: Qlib's Alpha158. Inputs: close. Outputs: ``CNTP{window}``, ``CNTN{window}``, ``CNTD{window}``,
    ``SUMP{window}``, ``SUMN{window}``, ``SUMD{window}``. Lookback: window. Memory: finite. Warm-up: window + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("alpha_moves", "window", window)
    return feature_of(
        *(alpha_moves_step, ("close",), window),
        outputs=_names(window, "CNTP", "CNTN", "CNTD", "SUMP", "SUMN", "SUMD"),
        parameters={"window": window},
        state_size=2 + changes_size(window),
        history=window + 1,
        lead=1,
    )


def _names(window: int, *names: str) -> tuple[str, ...]:
    return tuple(f"{name}{window}" for name in names)
