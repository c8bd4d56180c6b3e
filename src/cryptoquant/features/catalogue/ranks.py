"""Where a field stands in its own recent range: quantiles, percentile ranks, positions, bars since an extreme."""

from collections.abc import Callable

import numpy as np

from cryptoquant.compiled import borrowing, floats_at
from cryptoquant.features.catalogue.statistics import of_series
from cryptoquant.features.feature import Bars, Feature, Run, positive, whole
from cryptoquant.features.folds.extremes import extreme, extreme_size
from cryptoquant.features.folds.memory import blank
from cryptoquant.features.folds.ordered import insert, mean_rank, quantile_of, replace
from cryptoquant.market.slice import Floats

__all__ = ["bars_since_highest", "bars_since_lowest", "quantile", "range_position", "rank", "winsorised"]


@borrowing
def quantile_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write a quantile; settings: the number of the field, the window and the level; state: the window in order."""
    at, rows, seen, to = run
    window, level = int(settings[1]), settings[2]
    values, found = floats_at(bars[int(settings[0])], at + rows), out[0, to : to + rows]
    for row in range(rows):
        count = seen + row
        if count < window:
            insert(state, count, values[at + row])
        else:
            replace(state, window, values[at + row - window], values[at + row])
        found[row] = quantile_of(state, window, level)
    blank(found, window - 1 - seen)


@borrowing
def winsorised_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the value, clipped at quantiles of the bars before; settings and state as ``quantile_step``."""
    at, rows, seen, to = run
    window, level = int(settings[1]), settings[2]
    values, found = floats_at(bars[int(settings[0])], at + rows), out[0, to : to + rows]
    for row in range(rows):
        count, value = seen + row, values[at + row]
        if count < window:
            insert(state, count, value)
            continue
        low, high = quantile_of(state, window, level), quantile_of(state, window, 1.0 - level)
        found[row] = low if value < low else high if value > high else value
        replace(state, window, values[at + row - window], value)
    blank(found, window - seen)


@borrowing
def rank_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the percentile rank; settings: the number of the field and the window."""
    at, rows, seen, to = run
    window = int(settings[1])
    values, found = floats_at(bars[int(settings[0])], at + rows), out[0, to : to + rows]
    for row in range(max(window - 1 - seen, 0), rows):
        place = at + row
        found[row] = (mean_rank(values[place - window + 1 : place + 1], values[place]) - 1.0) / (window - 1.0)
    blank(found, window - 1 - seen)


@borrowing
def range_position_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write (value - lowest) / (highest - lowest); settings: the number of the field and the window."""
    at, rows, seen, to = run
    window = int(settings[1])
    values, found = floats_at(bars[int(settings[0])], at + rows), out[0, to : to + rows]
    bottoms = scratch[0]
    extreme(state, 0, window, 1.0, values, at, rows, seen, found)
    extreme(state, window + 2, window, -1.0, values, at, rows, seen, bottoms)
    present = values[at:]
    for row in range(rows):
        reach = found[row] - bottoms[row]
        found[row] = 0.5 if reach == 0.0 else (present[row] - bottoms[row]) / reach


@borrowing
def bars_since(state: Floats, window: int, sign: float, values: Floats, at: int, seen: int, out: Floats) -> None:
    """Write how many bars ago the largest (``sign`` 1) or smallest (-1) of a window stood, the latest of equals.

    State: the last answer. Only when that bar leaves is the window searched again.
    """
    ago = int(state[0])
    top = sign * values[at - 1 - ago] if seen > 0 else -np.inf
    for row in range(len(out)):
        place = at + row
        value = sign * values[place]
        ago += 1
        if value >= top:
            ago, top = 0, value
        elif ago == window:
            ago, top = 0, value
            for back in range(1, window):
                earlier = sign * values[place - back]
                if earlier > top:
                    ago, top = back, earlier
        out[row] = ago
    state[0] = ago
    blank(out, window - 1 - seen)


@borrowing
def bars_since_highest_step(
    state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats
) -> None:
    """Write the bars since the highest value; settings: the number of the field and the window."""
    at, rows, seen, to = run
    values = floats_at(bars[int(settings[0])], at + rows)
    bars_since(state, int(settings[1]), 1.0, values, at, seen, out[0, to : to + rows])


@borrowing
def bars_since_lowest_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the bars since the lowest value; settings: the number of the field and the window."""
    at, rows, seen, to = run
    values = floats_at(bars[int(settings[0])], at + rows)
    bars_since(state, int(settings[1]), -1.0, values, at, seen, out[0, to : to + rows])


def quantile(field: str, window: int, level: float) -> Feature:
    """Return a quantile of a field over the last ``window`` bars, this one included.

    Formula: linear between the two order statistics around level * (window - 1). Source: Hyndman, Fan (1996), Sample
    quantiles in statistical packages, American Statistician 50, definition 7; NumPy's and polars' linear. Inputs: the
    field, one of a bar's, ``log_return`` or ``true_range``. Output: ``quantile_{field}_{window}_{level}``, in units of
    the field. Lookback: window - 1, and one bar more for the last two. Memory: finite. Warm-up: lookback + 1 bars.

    Raises
    ------
    ValueError
        The field is unknown, the window smaller than 1 or the level not from 0 to 1.
    """
    window = whole("quantile", "window", window)
    share = 0.0 if level == 0 and not isinstance(level, bool) else positive("quantile", "level", level)
    if share > 1:
        raise ValueError(f"quantile: level must be from 0 to 1, found {level!r}")
    parameters = {"window": window, "level": share}
    return of_series(quantile_step, field, window - 1, parameters=parameters, state_size=window, history=window)


def winsorised(field: str, window: int, level: float = 0.05) -> Feature:
    """Return a field, clipped at two quantiles of the ``window`` bars before this one.

    Formula: min(max(x, q(level)), q(1 - level)), q as ``quantile``, without the present bar, so that an outlier cannot
    move its own fences. Source: Tukey (1962), The future of data analysis, Annals of Mathematical Statistics 33,
    section 14 (winsorising). Inputs: the field, one of a bar's, ``log_return`` or ``true_range``. Output:
    ``winsorised_{field}_{window}_{level}``, in units of the field. Lookback: window, and one bar more for the last two.
    Memory: finite. Warm-up: lookback + 1 bars.

    Raises
    ------
    ValueError
        The field is unknown, the window smaller than 2 or the level not above 0 and below 0.5.
    """
    window = whole("winsorised", "window", window, 2)
    share = positive("winsorised", "level", level)
    if share >= 0.5:
        raise ValueError(f"winsorised: level must be below 0.5, found {level!r}")
    parameters = {"window": window, "level": share}
    return of_series(winsorised_step, field, window, parameters=parameters, state_size=window, history=window)


def rank(field: str, window: int) -> Feature:
    """Return the percentile rank of a field among its last ``window`` values, this one included.

    Formula: (average rank - 1) / (window - 1): 0 for the lowest, 1 for the highest, ties share their rank; 0.5 when the
    window is flat. Source: the rank of Conover, Iman (1981), Rank transformations, American Statistician 35, scaled to
    0 to 1. Inputs: the field, one of a bar's, ``log_return`` or ``true_range``. Output: ``rank_{field}_{window}``, a
    pure number. Lookback: window - 1, and one bar more for the last two. Memory: finite. Warm-up: lookback + 1 bars.

    Raises
    ------
    ValueError
        The field is unknown or the window smaller than 2.
    """
    window = whole("rank", "window", window, 2)
    return of_series(rank_step, field, window - 1, parameters={"window": window}, history=window)


def range_position(field: str, window: int) -> Feature:
    """Return where a field stands between its lowest (0) and its highest (1) of the last ``window`` bars.

    Formula: (x - min) / (max - min) over the window, this bar included; 0.5 when it is flat. Source: Lane's stochastic
    (%K / 100) of any field; Lane (1984), Stocks & Commodities 2. Inputs: the field, one of a bar's, ``log_return`` or
    ``true_range``. Output: ``range_position_{field}_{window}``, a pure number. Lookback: window - 1, and one bar more
    for the last two. Memory: finite. Warm-up: lookback + 1 bars.

    Raises
    ------
    ValueError
        The field is unknown or the window smaller than 1.
    """
    window = whole("range_position", "window", window)
    size = 2 * extreme_size(window)
    parameters = {"window": window}
    return of_series(range_position_step, field, window - 1, parameters=parameters, state_size=size, history=window)


def bars_since_highest(field: str, window: int) -> Feature:
    """Return how many bars ago a field stood highest within the last ``window`` bars, the latest of equal ones.

    Formula: t - argmax; 0 when this bar is the highest, window - 1 at most: the distance to TA-Lib's MAXINDEX. Source:
    Chande, Kroll (1994), The New Technical Trader, chapter 2 (Aroon). Inputs: the field, one of a bar's, ``log_return``
    or ``true_range``. Output: ``bars_since_highest_{field}_{window}``, in bars. Lookback: window - 1, and one bar more
    for the last two. Memory: finite. Warm-up: lookback + 1 bars.

    Raises
    ------
    ValueError
        The field is unknown or the window smaller than 1.
    """
    return _since(bars_since_highest_step, "bars_since_highest", field, window)


def bars_since_lowest(field: str, window: int) -> Feature:
    """Return how many bars ago a field stood lowest within the last ``window`` bars, the latest of equal ones.

    Formula: t - argmin; 0 when this bar is the lowest, window - 1 at most: the distance to TA-Lib's MININDEX. Source:
    Chande, Kroll (1994), The New Technical Trader, chapter 2 (Aroon). Inputs: the field, one of a bar's, ``log_return``
    or ``true_range``. Output: ``bars_since_lowest_{field}_{window}``, in bars. Lookback: window - 1, and one bar more
    for the last two. Memory: finite. Warm-up: lookback + 1 bars.

    Raises
    ------
    ValueError
        The field is unknown or the window smaller than 1.
    """
    return _since(bars_since_lowest_step, "bars_since_lowest", field, window)


def _since(step: Callable[..., None], name: str, field: str, window: int) -> Feature:
    window = whole(name, "window", window)
    return of_series(step, field, window - 1, parameters={"window": window}, state_size=1, history=window)
