"""Whether returns follow from earlier returns: autocorrelation, variance ratio, Hurst exponent, entropy."""

import math

from cryptoquant.compiled import borrowing, floats_at
from cryptoquant.features.feature import CLOSE, LOG_RETURN, Bars, Feature, Run, feature_of, whole
from cryptoquant.features.folds.memory import blank
from cryptoquant.features.folds.moments import spreads, spreads_size
from cryptoquant.features.folds.ordered import count_below
from cryptoquant.features.folds.products import correlation_of, products, products_size
from cryptoquant.features.folds.sums import sums, sums_size
from cryptoquant.market.slice import Floats

__all__ = ["autocorrelation", "entropy", "hurst", "variance_ratio"]


@borrowing
def autocorrelation_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the correlation of returns with earlier ones; settings: the window and the lag."""
    at, rows, seen, to = run
    window, lag = int(settings[0]), int(settings[1])
    returns = floats_at(bars[LOG_RETURN], at + rows)
    present, before = returns[at:], returns[at - lag : at - lag + rows]
    squares, before_squares, found = scratch[0], scratch[1], out[0, to : to + rows]
    products(state, 0, window, present, before, seen, found, squares, before_squares, scratch[2])
    for row in range(rows):
        found[row] = correlation_of(found[row], squares[row], before_squares[row])


@borrowing
def variance_ratio_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the variance of returns over a lag of bars against that over one; settings: the window and the lag.

    State: the memories of ``spreads`` for the returns over one bar and over the lag. The latter begin later.
    """
    at, rows, seen, to = run
    window, lag = int(settings[0]), int(settings[1])
    reach = window - lag + 1
    returns, closes = floats_at(bars[LOG_RETURN], at + rows)[at:], floats_at(bars[CLOSE], at + rows)
    averages, squares, found = scratch[0], scratch[1], out[0, to : to + rows]
    long_averages, long_squares = scratch[2], scratch[3][:rows]
    spreads(state, 0, window, returns, seen, averages, squares)
    early = min(max(lag - 1 - seen, 0), rows)
    for row in range(early, rows):
        long_squares[row] = math.log(closes[at + row] / closes[at + row - lag])
    changes = long_squares[early:]
    spreads(state, 2 * window + 5, reach, changes, seen + early - lag + 1, long_averages[early:], changes)
    unbiased = (window - 1.0) / (lag * float(reach) * (1.0 - float(lag) / window))
    blank(found, window - 1 - seen)
    for row in range(max(window - 1 - seen, 0), rows):
        drift = long_averages[row] - lag * averages[row]
        long_square = long_squares[row] + reach * (drift * drift)
        found[row] = 1.0 if squares[row] == 0.0 else unbiased * long_square / squares[row]


@borrowing
def hurst_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write half the slope of log mean squared changes on log lags; settings: the window.

    State: the memory of ``sums`` for each lag.
    """
    at, rows, seen, to = run
    window = int(settings[0])
    closes, found = floats_at(bars[CLOSE], at + rows), out[0, to : to + rows]
    close, moved, squares = closes[at:], scratch[0], scratch[1][:rows]
    lags = 1
    while 4 << lags <= window:
        lags += 1
    middle = 0.5 * (lags - 1.0)
    weight = 6.0 / (math.log(2.0) * lags * (float(lags) * lags - 1.0))
    for row in range(rows):
        found[row] = 0.0
    for power in range(lags):
        lag = 1 << power
        before = closes[at - lag : at - lag + rows]
        for row in range(rows):
            change = math.log(close[row] / before[row])
            squares[row] = change * change
        sums(state, power * (window + 2), window, squares, seen, squares)
        for row in range(rows):
            moved[row] = squares[row] if power == 0 else moved[row]
            found[row] += weight * (power - middle) * math.log(1e-300 if squares[row] < 1e-300 else squares[row])
    for row in range(rows):
        slope = min(max(found[row], 0.0), 1.0)
        found[row] = 0.5 if moved[row] == 0.0 else slope
    blank(found, window - 1 - seen)


@borrowing
def entropy_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the entropy of the bins of the last returns; settings: the window and the number of bins.

    State: how many of the last ``window`` returns lie in each bin, and the bins of those returns.
    """
    at, rows, seen, to = run
    window, bins = int(settings[0]), int(settings[1])
    counts, codes = state[:bins], state[bins : bins + window]
    returns, found = floats_at(bars[LOG_RETURN], at + rows), out[0, to : to + rows]
    most = math.log(float(bins))
    blank(found, 2 * window - 1 - seen)
    for row in range(max(window - seen, 0), rows):
        place, count = at + row, seen + row - window
        below = count_below(returns[place - window : place], returns[place])
        code = min(below * bins // window, bins - 1)
        slot = count % window
        if count >= window:
            counts[int(codes[slot])] -= 1.0
        counts[code] += 1.0
        codes[slot] = code
        if count >= window - 1:
            spread = 0.0
            for index in range(bins):
                share = counts[index] / window
                spread -= share * math.log(share) if share > 0.0 else 0.0
            found[row] = spread / most


def autocorrelation(window: int, lag: int = 1) -> Feature:
    """Return the correlation of the last ``window`` log returns with those ``lag`` bars before them.

    Formula: Pearson's correlation of the pairs (r[t], r[t - lag]), as pandas' ``autocorr``; 0 when either side stands
    still. Source: Campbell, Lo, MacKinlay (1997), The Econometrics of Financial Markets, section 2.4.1. Inputs: close.
    Output: ``autocorrelation_{window}_{lag}``, -1 to 1. Lookback: window + lag. Memory: finite. Warm-up: window + lag +
    1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 2 or the lag smaller than 1.
    """
    window = whole("autocorrelation", "window", window, 2)
    lag = whole("autocorrelation", "lag", lag)
    return feature_of(
        autocorrelation_step,
        ("log_return",),
        window + lag,
        parameters={"window": window, "lag": lag},
        state_size=products_size(window),
        history=lag,
        lead=lag + 1,
    )


def variance_ratio(window: int, lag: int = 2) -> Feature:
    """Return the variance of overlapping returns over ``lag`` bars against ``lag`` times that over one bar.

    Formula: VR = S(q) / S(1) over the last n = window log returns r of mean m, q = lag: S(1) = sum (r - m)^2 / (n - 1);
    S(q) = sum (r[k] + ... + r[k-q+1] - q m)^2 / (q (n - q + 1) (1 - q / n)) over the n - q + 1 sums inside the window.
    1 for a random walk and when nothing moved, above for trends, below for reversals. Source: Lo, MacKinlay (1988),
    Stock market prices do not follow random walks, Review of Financial Studies 1, section 1: the overlapping estimators
    corrected for bias. Inputs: close. Output: ``variance_ratio_{window}_{lag}``, a pure number. Lookback: window.
    Memory: finite. Warm-up: window + 1 bars.

    Raises
    ------
    ValueError
        The lag is smaller than 2 or not below the window.
    """
    lag = whole("variance_ratio", "lag", lag, 2)
    window = whole("variance_ratio", "window", window, lag + 1)
    return feature_of(
        variance_ratio_step,
        ("log_return", "close"),
        window,
        parameters={"window": window, "lag": lag},
        state_size=spreads_size(window) + spreads_size(window - lag + 1),
        history=lag,
        lead=1,
    )


def hurst(window: int) -> Feature:
    """Return the Hurst exponent of the price: 0.5 for a random walk, above for trends, below for reversals.

    Formula: half the slope of the regression of ln mean (ln C[t] - ln C[t - k])^2 on ln k, over the lags k = 1, 2, 4,
    ... up to window / 4 and the last ``window`` bars, clipped to 0 to 1; 0.5 when nothing moved. Source: the
    generalised Hurst exponent of order 2 of Di Matteo (2007), Multi-scaling in finance, Quantitative Finance 7, section
    3. Inputs: close. Output: ``hurst_{window}``, a pure number. Lookback: window - 1 + the largest lag. Memory: finite.
    Warm-up: lookback + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 8, which has lags 1 and 2.
    """
    window = whole("hurst", "window", window, 8)
    lags = (window // 4).bit_length()
    farthest = 2 ** (lags - 1)
    return feature_of(
        hurst_step,
        ("close",),
        window - 1 + farthest,
        parameters={"window": window},
        state_size=lags * sums_size(window),
        history=farthest,
        lead=farthest,
    )


def entropy(window: int, bins: int = 4) -> Feature:
    """Return how evenly the last ``window`` log returns fall into the quantiles of the returns before them, 0 to 1.

    Formula: each return goes into bin floor(bins * share of the ``window`` returns before it that are smaller), the
    highest into the last; then Shannon's - sum p ln p / ln(bins) over the shares p of the last ``window`` returns. 1
    when all bins are as full, 0 when all returns fall into one. Source: Shannon (1948), A mathematical theory of
    communication, section 6; quantile encoding of Lopez de Prado (2018), Advances in Financial Machine Learning,
    section 18.5, here with quantiles of the past only. Inputs: close. Output: ``entropy_{window}_{bins}``, a pure
    number. Lookback: 2 window. Memory: finite. Warm-up: 2 window + 1 bars.

    Raises
    ------
    ValueError
        The window or the number of bins is smaller than 2.
    """
    window = whole("entropy", "window", window, 2)
    bins = whole("entropy", "bins", bins, 2)
    return feature_of(
        entropy_step,
        ("log_return",),
        2 * window,
        parameters={"window": window, "bins": bins},
        state_size=bins + window,
        history=window,
        lead=1,
    )
