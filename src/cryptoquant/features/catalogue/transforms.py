"""Series made fit for a model: differences whole and fractional, lags, and a flag for turbulent times."""

import math

from cryptoquant.compiled import borrowing, floats_at, fused
from cryptoquant.features.catalogue.statistics import of_series
from cryptoquant.features.feature import CLOSE, LOG_RETURN, Bars, Feature, Run, feature_of, positive, whole
from cryptoquant.features.folds.memory import blank
from cryptoquant.features.folds.moments import spreads, spreads_size
from cryptoquant.features.folds.ordered import insert, quantile_of, replace
from cryptoquant.market.slice import Floats

__all__ = ["difference", "fractional_difference", "lag", "regime"]


@borrowing
def lag_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the value of some bars ago; settings: the number of the field and the bars."""
    at, rows, _, to = run
    back = int(settings[1])
    before = floats_at(bars[int(settings[0])], at + rows)[at - back : at - back + rows]
    found = out[0, to : to + rows]
    for row in range(rows):
        found[row] = before[row]


@borrowing
def difference_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the change since some bars ago; settings: the number of the field and the bars."""
    at, rows, _, to = run
    back = int(settings[1])
    values = floats_at(bars[int(settings[0])], at + rows)
    present, before = values[at:], values[at - back : at - back + rows]
    found = out[0, to : to + rows]
    for row in range(rows):
        found[row] = present[row] - before[row]


@borrowing
def fractional_difference_step(
    state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats
) -> None:
    """Write the weighted log closes; settings: the order and the window.

    With W[k] the sum of the weights up to k, that is the sum of W[k] r[t-k] over the returns of the window and of the
    last W times its oldest log close: small terms first, so little is lost to rounding.
    """
    at, rows, _, to = run
    order, window = settings[0], int(settings[1])
    returns, closes = floats_at(bars[LOG_RETURN], at + rows), floats_at(bars[CLOSE], at + rows)
    found = out[0, to : to + rows]
    weight = 1.0
    total = 1.0
    for row in range(rows):
        found[row] = 0.0
    for back in range(window - 1):
        past = returns[at - back : at - back + rows]
        for row in range(rows):
            found[row] = fused(total, past[row], found[row])
        weight *= (back - order) / (back + 1.0)
        total += weight
    oldest = closes[at - window + 1 : at - window + 1 + rows]
    for row in range(rows):
        found[row] = fused(total, math.log(oldest[row]), found[row])


@borrowing
def regime_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write whether the deviation of returns is above its median; settings: the window and the long window.

    State: the deviations of the long window in order, the same in turn, the memory of ``spreads``.
    """
    at, rows, seen, to = run
    window, long_window = int(settings[0]), int(settings[1])
    ordered, turns = state[:long_window], state[long_window : 2 * long_window]
    returns, squares, found = floats_at(bars[LOG_RETURN], at + rows)[at:], scratch[1], out[0, to : to + rows]
    spreads(state, 2 * long_window, window, returns, seen, scratch[0], squares)
    for row in range(max(window - 1 - seen, 0), rows):
        count = seen + row - window + 1
        slot = count % long_window
        deviation = math.sqrt(squares[row] / (window - 1.0))
        if count < long_window:
            insert(ordered, count, deviation)
        else:
            found[row] = 1.0 if deviation > quantile_of(ordered, long_window, 0.5) else 0.0
            replace(ordered, long_window, turns[slot], deviation)
        turns[slot] = deviation
    blank(found, window - 1 + long_window - seen)


def lag(field: str, bars: int) -> Feature:
    """Return a field as it stood some bars ago.

    Formula: x[t - bars]. Source: Campbell, Lo, MacKinlay (1997), section 2.1, of any regressor known beforehand.
    Inputs: the field, one of a bar's, ``log_return`` or ``true_range``. Output: ``lag_{field}_{bars}``, in units of the
    field. Lookback: bars, and one more for the last two. Memory: finite. Warm-up: lookback + 1 bars.

    Raises
    ------
    ValueError
        The field is unknown or the bars are less than 1.
    """
    back = whole("lag", "bars", bars)
    return of_series(lag_step, field, back, parameters={"bars": back}, history=back, lead=back)


def difference(field: str, lag: int = 1) -> Feature:
    """Return the change of a field over ``lag`` bars.

    Formula: x[t] - x[t - lag]; TA-Lib's MOM. Source: Box, Jenkins (1976), Time Series Analysis, section 4.1. Inputs:
    the field, one of a bar's, ``log_return`` or ``true_range``. Output: ``difference_{field}_{lag}``, in units of the
    field. Lookback: lag, and one bar more for the last two. Memory: finite. Warm-up: lookback + 1 bars.

    Raises
    ------
    ValueError
        The field is unknown or the lag smaller than 1.
    """
    back = whole("difference", "lag", lag)
    return of_series(difference_step, field, back, parameters={"lag": back}, history=back, lead=back)


def fractional_difference(order: float, window: int) -> Feature:
    """Return the log close, differenced ``order`` times: stationary, and with as much memory as the order leaves.

    Formula: sum over k < window of w[k] ln(close[t - k]), w[0] = 1, w[k] = -w[k-1] (order - k + 1) / k; order 1 is the
    log return, order near 0 the log price. Source: Lopez de Prado (2018), Advances in Financial Machine Learning,
    sections 5.4.2 (weights) and 5.5.2 (a window of fixed width); Hosking (1981), Biometrika 68. Inputs: close. Output:
    ``fractional_difference_{order}_{window}``, in units of the log price. Lookback: window - 1. Memory: finite.
    Warm-up: window bars.

    Raises
    ------
    ValueError
        The order is not above 0 or the window smaller than 2.
    """
    order = positive("fractional_difference", "order", order)
    window = whole("fractional_difference", "window", window, 2)
    return feature_of(
        fractional_difference_step,
        ("log_return", "close"),
        window - 1,
        parameters={"order": order, "window": window},
        history=window - 1,
        lead=window - 1,
    )


def regime(window: int, long_window: int) -> Feature:
    """Return 1 in turbulent times, 0 in calm ones: whether volatility is above its own median of the bars before.

    Formula: 1 if s[t] > median(s[t-1], ..., s[t - long_window]), s the sample deviation of the last ``window`` log
    returns (``realized_volatility``); as high is calm. Source: the two states of Hamilton (1989), Econometrica 57, told
    apart by a threshold in place of a likelihood. Inputs: close. Output: ``regime_{window}_{long_window}``, 0 or 1.
    Lookback: window + long_window. Memory: finite. Warm-up: lookback + 1 bars.

    Raises
    ------
    ValueError
        The window is smaller than 2 or the long window smaller than 1.
    """
    window = whole("regime", "window", window, 2)
    long_window = whole("regime", "long_window", long_window)
    return feature_of(
        regime_step,
        ("log_return",),
        window + long_window,
        parameters={"window": window, "long_window": long_window},
        state_size=2 * long_window + spreads_size(window),
        lead=1,
    )
