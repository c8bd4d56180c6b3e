"""What the volume says: how busy the market is, on which side it trades, and at which price it has traded."""

import math

from cryptoquant.compiled import borrowing, floats_at
from cryptoquant.features.catalogue.averages import above
from cryptoquant.features.feature import CLOSE, TIME, VOLUME, VWAP, Bars, Feature, Run, fading, feature_of, whole
from cryptoquant.features.folds.averages import exponential, means, means_size
from cryptoquant.features.folds.memory import blank
from cryptoquant.features.folds.sums import sums, sums_size
from cryptoquant.market.slice import Floats

__all__ = ["force_index", "obv", "session_vwap", "volume_ratio", "vwap"]

DAY_SECONDS = 86_400.0


@borrowing
def volume_ratio_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write volume / mean volume of the last ``settings[0]`` bars."""
    at, rows, seen, to = run
    volumes, found = floats_at(bars[VOLUME], at + rows), out[0, to : to + rows]
    means(state, 0, int(settings[0]), volumes, at, rows, seen, found)
    volume = volumes[at:]
    for row in range(rows):
        found[row] = 1.0 if found[row] == 0.0 else volume[row] / found[row]


@borrowing
def obv_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the running total of the volume, which the first bar adds to."""
    at, rows, seen, to = run
    begin = 1 if seen == 0 else 0
    closes, volumes = floats_at(bars[CLOSE], at + rows), floats_at(bars[VOLUME], at + rows)
    close, before, volume = closes[at + begin :], closes[at + begin - 1 :], volumes[at + begin :]
    found = out[0, to : to + rows]
    found[0] = volumes[at]
    signed = found[begin:]
    for row in range(rows - begin):
        fall = -volume[row] if close[row] < before[row] else 0.0
        signed[row] = volume[row] if close[row] > before[row] else fall
    total = state[0]
    for row in range(rows):
        total += found[row]
        found[row] = total
    state[0] = total


@borrowing
def force_index_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the exponential average of change times volume."""
    at, rows, seen, to = run
    window = int(settings[0])
    closes, volume = floats_at(bars[CLOSE], at + rows), floats_at(bars[VOLUME], at + rows)[at:]
    close, before = closes[at:], closes[at - 1 : at - 1 + rows]
    forces = scratch[0]
    for row in range(rows):
        forces[row] = (close[row] - before[row]) * volume[row]
    exponential(state, 0, window, 2.0 / (window + 1.0), forces, 0, rows, seen, out[0, to : to + rows])


@borrowing
def vwap_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the mean price of the last ``settings[0]`` bars; state: the sums of value and of volume."""
    at, rows, seen, to = run
    window = int(settings[0])
    price, volume = floats_at(bars[VWAP], at + rows)[at:], floats_at(bars[VOLUME], at + rows)[at:]
    traded, found = scratch[0], out[0, to : to + rows]
    for row in range(rows):
        found[row] = price[row] * volume[row]
    sums(state, 0, window, found, seen, found)
    sums(state, window + 2, window, volume, seen, traded)
    for row in range(rows):
        found[row] = found[row] / traded[row] if traded[row] > 0.0 else price[row]
    if settings[1] > 0.0:
        above(floats_at(bars[CLOSE], at + rows)[at:], found)
    blank(found, window - 1 - seen)


@borrowing
def session_vwap_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the mean price since midnight; state: the day, the value and the volume. A close at midnight ends a day."""
    at, rows, _, to = run
    price, volume = floats_at(bars[VWAP], at + rows)[at:], floats_at(bars[VOLUME], at + rows)[at:]
    time = floats_at(bars[TIME], at + rows)[at:]
    found = out[0, to : to + rows]
    day, value, traded = state[0], state[1], state[2]
    for row in range(rows):
        today = math.ceil(time[row] / DAY_SECONDS)
        value = price[row] * volume[row] + (value if today == day else 0.0)
        traded = volume[row] + (traded if today == day else 0.0)
        day = float(today)
        found[row] = value / traded if traded > 0.0 else price[row]
    state[0], state[1], state[2] = day, value, traded
    if settings[0] > 0.0:
        above(floats_at(bars[CLOSE], at + rows)[at:], found)


def volume_ratio(window: int) -> Feature:
    """Return the bar's volume over its mean of the last ``window`` bars, this one included.

    Formula: volume / SMA(volume, window); 1 when nothing traded in the whole window. A pure number from 0 to window.
    Inputs: volume. Output: ``volume_ratio_{window}``. Lookback: window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("volume_ratio", "window", window)
    return feature_of(
        volume_ratio_step,
        ("volume",),
        window - 1,
        parameters={"window": window},
        state_size=means_size(window),
        history=window,
    )


def obv() -> Feature:
    """Return Granville's on-balance volume, the total of the volume with the sign of the close's change: TA-Lib's OBV.

    Formula: OBV += volume where the close rises, -= volume where it falls; it begins with the first bar's volume.
    Source: Granville (1963), Granville's New Key to Stock Market Profits. Inputs: close, volume. Output: ``obv``, in
    units of volume. Lookback: 0. Memory: cumulative: the level depends on where the series begins, differences do not.
    Warm-up: 1 bar.
    """
    return feature_of(
        obv_step, ("close", "volume"), 0, outputs=("obv",), parameters={}, memory="cumulative", state_size=1, history=1
    )


def force_index(window: int = 13) -> Feature:
    """Return Elder's force index: the smoothed product of a bar's change and its volume.

    Formula: EMA((close[t] - close[t-1]) volume[t], window), seeded as TA-Lib's EMA. Source: Elder (1993), Trading for a
    Living, section 42. Inputs: close, volume. Output: ``force_index_{window}``, price times volume. Lookback: window.
    Memory: recursive. Warm-up: about 15 windows.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("force_index", "window", window)
    return feature_of(
        force_index_step,
        ("close", "volume"),
        window,
        fading_bars=fading(2 / (window + 1)),
        parameters={"window": window},
        state_size=1,
        history=1,
        lead=1,
    )


def vwap(window: int, *, relative: bool = False) -> Feature:
    """Return the volume-weighted average price of the last ``window`` bars, from the bars' own VWAP.

    Formula: sum of vwap volume / sum of volume, exact, since each bar's VWAP is that of its trades; the present bar's
    VWAP when nothing traded in the whole window. With ``relative`` close / it - 1. Source: Berkowitz, Logue, Noser
    (1988), Journal of Finance 43(1). Inputs: vwap, volume (and close). Output: ``vwap_{window}``, a price, or
    ``vwap_relative_{window}``, a fraction. Lookback: window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("vwap", "window", window)
    return feature_of(
        vwap_step,
        ("vwap", "volume", "close"),
        window - 1,
        outputs=(f"vwap_relative_{window}" if relative else f"vwap_{window}",),
        parameters={"window": window, "relative": bool(relative)},
        state_size=2 * sums_size(window),
    )


def session_vwap(*, relative: bool = False) -> Feature:
    """Return the volume-weighted average price since 00:00 UTC, from the bars' own VWAP.

    Formula: sum of vwap volume / sum of volume over the bars that close after midnight, this one included; a bar that
    closes at midnight is the last of its day. The bar's VWAP while nothing has traded. With ``relative`` close / it -
    1. Source: Berkowitz, Logue, Noser (1988), Journal of Finance 43(1), the day as in their section I. Inputs: vwap,
    volume, time (and close). Output: ``session_vwap``, a price, or ``session_vwap_relative``, a fraction. Lookback: 0.
    Memory: cumulative: everything since the last midnight, so a series that begins during a day is right from the next
    day on. Warm-up: 1 bar.
    """
    return feature_of(
        session_vwap_step,
        ("vwap", "volume", "close", "time"),
        0,
        outputs=("session_vwap_relative" if relative else "session_vwap",),
        parameters={"relative": bool(relative)},
        memory="cumulative",
        state_size=3,
    )
