"""Any field of a bar, or its log return, against its own recent distribution: mean, deviation, shape, z-score."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from cryptoquant.compiled import borrowing, floats_at
from cryptoquant.features.feature import DERIVED, Bars, Feature, Parameter, Run, feature_of, whole
from cryptoquant.features.folds.averages import means, means_size
from cryptoquant.features.folds.moments import moments, moments_size, powers, powers_size
from cryptoquant.market.slice import FIELDS, Floats

__all__ = ["deviation", "kurtosis", "mean", "skew", "zscore"]


@borrowing
def mean_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the mean; settings: the number of the field and the window."""
    at, rows, seen, to = run
    values = floats_at(bars[int(settings[0])], at + rows)
    means(state, 0, int(settings[1]), values, at, rows, seen, out[0, to : to + rows])


@borrowing
def deviation_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the sample deviation; settings: the number of the field and the window."""
    at, rows, seen, to = run
    window = int(settings[1])
    values, found = floats_at(bars[int(settings[0])], at + rows), out[0, to : to + rows]
    moments(state, 0, window, values, at, rows, seen, scratch[0], found)
    for row in range(rows):
        found[row] = math.sqrt(found[row] / (window - 1.0))


@borrowing
def zscore_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write (value - mean) / sample deviation; settings: the number of the field and the window."""
    at, rows, seen, to = run
    window = int(settings[1])
    values = floats_at(bars[int(settings[0])], at + rows)
    averages, found = scratch[0], out[0, to : to + rows]
    moments(state, 0, window, values, at, rows, seen, averages, found)
    present = values[at:]
    for row in range(rows):
        spread = math.sqrt(found[row] / (window - 1.0))
        found[row] = 0.0 if spread == 0.0 else (present[row] - averages[row]) / spread


@borrowing
def skew_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the adjusted third moment; settings: the number of the field and the window."""
    at, rows, seen, to = run
    window = int(settings[1])
    count = float(window)
    present = floats_at(bars[int(settings[0])], at + rows)[at:]
    squares, found = scratch[0], out[0, to : to + rows]
    powers(state, 0, window, present, seen, squares, found, scratch[1])
    scale = count * math.sqrt(count - 1.0) / (count - 2.0)
    for row in range(rows):
        spread = squares[row] * math.sqrt(squares[row])
        found[row] = 0.0 if spread == 0.0 else scale * found[row] / spread


@borrowing
def kurtosis_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the adjusted fourth moment; settings: the number of the field and the window."""
    at, rows, seen, to = run
    window = int(settings[1])
    count = float(window)
    present = floats_at(bars[int(settings[0])], at + rows)[at:]
    squares, found = scratch[0], out[0, to : to + rows]
    powers(state, 0, window, present, seen, squares, scratch[1], found)
    scale = (count - 1.0) / ((count - 2.0) * (count - 3.0))
    for row in range(rows):
        spread = squares[row] * squares[row]
        excess = count * (found[row] / spread) - 3.0
        found[row] = 0.0 if spread == 0.0 else scale * ((count + 1.0) * excess + 6.0)


def mean(field: str, window: int) -> Feature:
    """Return the mean of a field over the last ``window`` bars, this one included.

    Formula: sum x / window, TA-Lib's SMA. Source: Murphy (1999), Technical Analysis of the Financial Markets, chapter
    9. Inputs: the field, one of a bar's, ``log_return`` or ``true_range``. Output: ``mean_{field}_{window}``, in units
    of the field. Lookback: window - 1, and one bar more for the last two. Memory: finite. Warm-up: lookback + 1 bars.

    Raises
    ------
    ValueError
        The field is unknown or the window smaller than 1.
    """
    window = whole("mean", "window", window)
    parameters, size = {"window": window}, means_size(window)
    return of_series(mean_step, field, window - 1, parameters=parameters, state_size=size, history=window)


def deviation(field: str, window: int) -> Feature:
    """Return the sample standard deviation of a field over the last ``window`` bars, this one included.

    Formula: sqrt(sum (x - mean)^2 / (window - 1)): TA-Lib's STDDEV times sqrt(window / (window - 1)). Source: Hull
    (2018), Options, Futures and Other Derivatives, section 15.4. Inputs: the field, one of a bar's, ``log_return`` or
    ``true_range``. Output: ``deviation_{field}_{window}``, in units of the field. Lookback: window - 1, and one bar
    more for the last two. Memory: finite. Warm-up: lookback + 1 bars.

    Raises
    ------
    ValueError
        The field is unknown or the window smaller than 2.
    """
    window = whole("deviation", "window", window, 2)
    parameters, size = {"window": window}, moments_size(window)
    return of_series(deviation_step, field, window - 1, parameters=parameters, state_size=size, history=window)


def zscore(field: str, window: int) -> Feature:
    """Return how many sample deviations a field stands above its mean of the last ``window`` bars, this one included.

    Formula: (x - mean) / sqrt(sum (x - mean)^2 / (window - 1)); 0 when the window is flat. Inputs: the field, one of a
    bar's, ``log_return`` or ``true_range``. Output: ``zscore_{field}_{window}``, a pure number. Lookback: window - 1,
    and one bar more for the last two. Memory: finite. Warm-up: lookback + 1 bars.

    Raises
    ------
    ValueError
        The field is unknown or the window smaller than 2.
    """
    window = whole("zscore", "window", window, 2)
    parameters, size = {"window": window}, moments_size(window)
    return of_series(zscore_step, field, window - 1, parameters=parameters, state_size=size, history=window)


def skew(field: str, window: int) -> Feature:
    """Return the sample skewness of a field over the last ``window`` bars, this one included.

    Formula: G1 = sqrt(n (n - 1)) / (n - 2) * m3 / m2^1.5, m the central moments over n = window values, as pandas and
    Excel have it; 0 when the window is flat. Source: Joanes, Gill (1998), Comparing measures of sample skewness and
    kurtosis, The Statistician 47, section 2. Inputs: the field, one of a bar's, ``log_return`` or ``true_range``.
    Output: ``skew_{field}_{window}``, a pure number. Lookback: window - 1, and one bar more for the last two. Memory:
    finite. Warm-up: lookback + 1 bars.

    Raises
    ------
    ValueError
        The field is unknown or the window smaller than 3.
    """
    window = whole("skew", "window", window, 3)
    return of_series(skew_step, field, window - 1, parameters={"window": window}, state_size=powers_size(window))


def kurtosis(field: str, window: int) -> Feature:
    """Return the sample excess kurtosis of a field over the last ``window`` bars, this one included.

    Formula: G2 = (n - 1) / ((n - 2) (n - 3)) * ((n + 1) (m4 / m2^2 - 3) + 6), m the central moments over n = window
    values, as pandas and Excel have it: 0 for a normal sample, and 0 when the window is flat. Source: Joanes, Gill
    (1998), The Statistician 47, section 2. Inputs: the field, one of a bar's, ``log_return`` or ``true_range``. Output:
    ``kurtosis_{field}_{window}``, a pure number. Lookback: window - 1, and one bar more for the last two. Memory:
    finite. Warm-up: lookback + 1 bars.

    Raises
    ------
    ValueError
        The field is unknown or the window smaller than 4.
    """
    window = whole("kurtosis", "window", window, 4)
    return of_series(kurtosis_step, field, window - 1, parameters={"window": window}, state_size=powers_size(window))


def of_series(
    step: Callable[..., None],
    field: str,
    before: int,
    *,
    parameters: Mapping[str, Parameter],
    lead: int = 0,
    **others: Any,
) -> Feature:
    """Return the feature of a step on one series: a field of the bar, or a derived input, which begins one bar later.

    Parameters
    ----------
    before
        Values of the series before the first that has a result.
    parameters
        All but the field, which comes first.

    Raises
    ------
    ValueError
        There is no such series.
    """
    if field not in FIELDS and field not in DERIVED:
        name, known = step.__name__.removesuffix("_step"), ", ".join((*FIELDS, *DERIVED))
        raise ValueError(f"{name}: unknown field {field!r}; wanted one of {known}")
    late, chosen = int(field in DERIVED), {"field": field, **parameters}
    return feature_of(step, (field,), before + late, lead=lead + late, parameters=chosen, **others)
