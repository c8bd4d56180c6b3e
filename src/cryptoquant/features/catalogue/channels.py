"""The range in which the price moves: highs and lows, Donchian's and Keltner's channels, bands, Ichimoku's cloud."""

import math
from collections.abc import Callable

from cryptoquant.compiled import borrowing, floats_at
from cryptoquant.features.catalogue.averages import above
from cryptoquant.features.feature import (
    CLOSE,
    HIGH,
    LOW,
    TRUE_RANGE,
    Bars,
    Feature,
    Run,
    fading,
    feature_of,
    known_field,
    positive,
    whole,
)
from cryptoquant.features.folds.averages import exponential
from cryptoquant.features.folds.extremes import extreme, extreme_size
from cryptoquant.features.folds.memory import blank
from cryptoquant.features.folds.moments import moments, moments_size
from cryptoquant.market.slice import Floats

__all__ = [
    "bollinger_bands",
    "donchian",
    "donchian_position",
    "highest",
    "ichimoku",
    "keltner",
    "keltner_position",
    "lowest",
]


@borrowing
def highest_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the highest of the last ``settings[1]`` values of the field ``settings[0]``."""
    at, rows, seen, to = run
    values = floats_at(bars[int(settings[0])], at + rows)
    extreme(state, 0, int(settings[1]), 1.0, values, at, rows, seen, out[0, to : to + rows])


@borrowing
def lowest_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the lowest of the last ``settings[1]`` values of the field ``settings[0]``."""
    at, rows, seen, to = run
    values = floats_at(bars[int(settings[0])], at + rows)
    extreme(state, 0, int(settings[1]), -1.0, values, at, rows, seen, out[0, to : to + rows])


@borrowing
def range_of(
    state: Floats, base: int, window: int, bars: Bars, at: int, rows: int, seen: int, tops: Floats, bottoms: Floats
) -> None:
    """Write highest high and lowest low; state: twice that of ``extreme``."""
    extreme(state, base, window, 1.0, floats_at(bars[HIGH], at + rows), at, rows, seen, tops)
    extreme(state, base + window + 2, window, -1.0, floats_at(bars[LOW], at + rows), at, rows, seen, bottoms)


@borrowing
def donchian_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write highest high and lowest low."""
    at, rows, seen, to = run
    range_of(state, 0, int(settings[0]), bars, at, rows, seen, out[0, to : to + rows], out[1, to : to + rows])


@borrowing
def donchian_position_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write (close - lowest low) / (highest high - lowest low)."""
    at, rows, seen, to = run
    tops, bottoms = scratch[0], scratch[1]
    range_of(state, 0, int(settings[0]), bars, at, rows, seen, tops, bottoms)
    close = floats_at(bars[CLOSE], at + rows)[at:]
    found = out[0, to : to + rows]
    for row in range(rows):
        width = tops[row] - bottoms[row]
        found[row] = 0.5 if width == 0.0 else (close[row] - bottoms[row]) / width


@borrowing
def bollinger_bands_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write upper band, mean and lower band."""
    at, rows, seen, to = run
    window = int(settings[0])
    uppers, middles, lowers = out[0, to : to + rows], out[1, to : to + rows], out[2, to : to + rows]
    moments(state, 0, window, floats_at(bars[CLOSE], at + rows), at, rows, seen, middles, lowers)
    for row in range(rows):
        reach = settings[1] * math.sqrt(lowers[row] / window)
        uppers[row] = middles[row] + reach
        lowers[row] = middles[row] - reach


@borrowing
def channel(state: Floats, settings: Floats, bars: Bars, run: Run, middles: Floats, ranges: Floats) -> None:
    """Write the exponential average of the close and the average true range of Keltner's channel.

    The true range leads by one bar. The close of that bar goes into the average too, which is a sum until it is seeded.
    """
    at, rows, seen, _ = run
    window, range_window = int(settings[0]), int(settings[1])
    closes, spans = floats_at(bars[CLOSE], at + rows), floats_at(bars[TRUE_RANGE], at + rows)
    if seen == 0:
        state[0] = closes[at - 1]
    exponential(state, 0, window, 2.0 / (window + 1.0), closes, at, rows, seen + 1, middles)
    exponential(state, 1, range_window, 1.0 / range_window, spans, at, rows, seen, ranges)


@borrowing
def keltner_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write upper band, average and lower band."""
    _, rows, seen, to = run
    uppers, middles, lowers = out[0, to : to + rows], out[1, to : to + rows], out[2, to : to + rows]
    channel(state, settings, bars, run, middles, lowers)
    for row in range(rows):
        reach = settings[2] * lowers[row]
        uppers[row] = middles[row] + reach
        lowers[row] = middles[row] - reach
    for column in range(out.shape[0]):
        blank(out[column, to : to + rows], max(int(settings[0]) - 1, int(settings[1])) - 1 - seen)


@borrowing
def keltner_position_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the position in the channel and its width."""
    at, rows, seen, to = run
    middles, ranges = scratch[0], scratch[1]
    channel(state, settings, bars, run, middles, ranges)
    close = floats_at(bars[CLOSE], at + rows)[at:]
    positions, widths = out[0, to : to + rows], out[1, to : to + rows]
    for row in range(rows):
        reach = settings[2] * ranges[row]
        positions[row] = 0.5 if reach == 0.0 else (close[row] - middles[row] + reach) / (2.0 * reach)
        widths[row] = 2.0 * reach / middles[row]
    for column in range(out.shape[0]):
        blank(out[column, to : to + rows], max(int(settings[0]) - 1, int(settings[1])) - 1 - seen)


@borrowing
def ichimoku_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write turning line, base line and both spans; state: the extremes, then the spans of the bars that wait."""
    at, rows, seen, to = run
    tenkan, kijun, senkou = int(settings[0]), int(settings[1]), int(settings[2])
    delay = kijun - 1
    bottoms, base = scratch[0], 0
    for column in range(out.shape[0]):
        if column != 2:
            window = tenkan if column == 0 else kijun if column == 1 else senkou
            found = out[column, to : to + rows]
            range_of(state, base, window, bars, at, rows, seen, found, bottoms)
            for row in range(rows):
                found[row] = 0.5 * (found[row] + bottoms[row])
            base += 2 * (window + 2)
    turning, middle = out[0, to : to + rows], out[1, to : to + rows]
    leading, slow = out[2, to : to + rows], out[3, to : to + rows]
    waiting, slow_waiting = state[base : base + delay], state[base + delay : base + 2 * delay]
    slot = seen % delay
    for row in range(rows):
        present, slow_present = 0.5 * (turning[row] + middle[row]), slow[row]
        leading[row], slow[row] = waiting[slot], slow_waiting[slot]
        waiting[slot], slow_waiting[slot] = present, slow_present
        slot = slot + 1 if slot + 1 < delay else 0
    close = floats_at(bars[CLOSE], at + rows)[at:]
    for column in range(out.shape[0]):
        if settings[3] > 0.0:
            above(close, out[column, to : to + rows])
        blank(out[column, to : to + rows], senkou + delay - 1 - seen)


def highest(field: str, window: int) -> Feature:
    """Return the highest value of a field over the last ``window`` bars, equal to TA-Lib's MAX.

    Formula: max of x[t - window + 1] to x[t]. Source: Murphy (1999), Technical Analysis of the Financial Markets,
    chapter 9. Inputs: the field. Output: ``highest_{field}_{window}``, in the field's unit. Lookback: window - 1.
    Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The field is unknown or the window smaller than 1.
    """
    field, window = known_field("highest", field), whole("highest", "window", window)
    return feature_of(
        highest_step,
        (field,),
        window - 1,
        parameters={"field": field, "window": window},
        state_size=extreme_size(window),
        history=window,
    )


def lowest(field: str, window: int) -> Feature:
    """Return the lowest value of a field over the last ``window`` bars, equal to TA-Lib's MIN.

    Formula: min of x[t - window + 1] to x[t]. Source: Murphy (1999), Technical Analysis of the Financial Markets,
    chapter 9. Inputs: the field. Output: ``lowest_{field}_{window}``, in the field's unit. Lookback: window - 1.
    Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The field is unknown or the window smaller than 1.
    """
    field, window = known_field("lowest", field), whole("lowest", "window", window)
    return feature_of(
        lowest_step,
        (field,),
        window - 1,
        parameters={"field": field, "window": window},
        state_size=extreme_size(window),
        history=window,
    )


def donchian(window: int) -> Feature:
    """Return Donchian's channel: the highest high and the lowest low of the last ``window`` bars, this one included.

    Formula: TA-Lib's MAX of the high and MIN of the low. Source: Donchian (1960), High finance in copper, Financial
    Analysts Journal 16(6). Inputs: high, low. Outputs: ``donchian_upper_{window}``, ``donchian_lower_{window}``,
    prices. Lookback: window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("donchian", "window", window)
    return feature_of(
        donchian_step,
        ("high", "low"),
        window - 1,
        outputs=(f"donchian_upper_{window}", f"donchian_lower_{window}"),
        parameters={"window": window},
        state_size=2 * extreme_size(window),
        history=window,
    )


def donchian_position(window: int) -> Feature:
    """Return where the close stands in the range of the last ``window`` bars: 0 at the low, 1 at the high.

    Formula: (close - lowest low) / (highest high - lowest low), this bar included; 0.5 when the range is a point.
    Source: Donchian's channel (1960). Inputs: high, low, close. Output: ``donchian_position_{window}``. Lookback:
    window - 1. Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 1.
    """
    window = whole("donchian_position", "window", window)
    return feature_of(
        donchian_position_step,
        ("high", "low", "close"),
        window - 1,
        parameters={"window": window},
        state_size=2 * extreme_size(window),
        history=window,
    )


def bollinger_bands(window: int = 20, width: float = 2.0) -> Feature:
    """Return Bollinger's bands as prices: upper band, middle and lower band, equal to TA-Lib's BBANDS.

    Formula: middle = mean of the last ``window`` closes, bands = middle +- width * their population deviation. Source:
    Bollinger (2001), Bollinger on Bollinger Bands. Inputs: close. Outputs: ``bollinger_upper_20_2``,
    ``bollinger_middle_20_2``, ``bollinger_lower_20_2``; position and width are ``bollinger``. Lookback: window - 1.
    Memory: finite. Warm-up: window bars.

    Raises
    ------
    ValueError
        The window is smaller than 2 or the width not above 0.
    """
    window, width = whole("bollinger_bands", "window", window, 2), positive("bollinger_bands", "width", width)
    return feature_of(
        bollinger_bands_step,
        ("close",),
        window - 1,
        outputs=tuple(f"bollinger_{level}_{window}_{width:g}" for level in ("upper", "middle", "lower")),
        parameters={"window": window, "width": width},
        state_size=moments_size(window),
        history=window,
    )


def keltner(window: int = 20, range_window: int = 10, multiplier: float = 2.0) -> Feature:
    """Return Keltner's channel as prices: upper band, middle and lower band.

    Formula: middle = EMA(close, window), bands = middle +- multiplier * ATR(range_window), as TA-Lib's EMA and ATR.
    Source: Keltner (1960), How to Make Money in Commodities, with Raschke's EMA and ATR. Inputs: high, low, close.
    Outputs: ``keltner_upper_20_10_2``, ``keltner_middle_20_10_2``, ``keltner_lower_20_10_2``; ``keltner_position`` says
    where the close stands between them. Lookback: the larger of window - 1 and range_window. Memory: recursive.
    Warm-up: about 15 windows or 28 range windows.

    Raises
    ------
    ValueError
        A window is smaller than 1 or the multiplier not above 0.
    """
    return _keltner(keltner_step, ("upper", "middle", "lower"), window, range_window, multiplier)


def keltner_position(window: int = 20, range_window: int = 10, multiplier: float = 2.0) -> Feature:
    """Return the close's position in Keltner's channel (0 lower, 1 upper) and the width of the channel over its middle.

    Formula: bands as of ``keltner``; position = (close - lower) / (upper - lower), 0.5 when the bands meet; width =
    (upper - lower) / middle. Source: as ``keltner``. Inputs: high, low, close. Outputs: ``keltner_position_20_10_2``,
    ``keltner_width_20_10_2``, pure numbers. Lookback, memory and warm-up: as ``keltner``.

    Raises
    ------
    ValueError
        A window is smaller than 1 or the multiplier not above 0.
    """
    return _keltner(keltner_position_step, ("position", "width"), window, range_window, multiplier)


def _keltner(
    step: Callable[..., None], levels: tuple[str, ...], window: int, range_window: int, multiplier: float
) -> Feature:
    name = step.__name__.removesuffix("_step")
    window, range_window = whole(name, "window", window), whole(name, "range_window", range_window)
    multiplier = positive(name, "multiplier", multiplier)
    return feature_of(
        step,
        ("high", "low", "close", "true_range"),
        max(window - 1, range_window),
        outputs=tuple(f"keltner_{level}_{window}_{range_window}_{multiplier:g}" for level in levels),
        fading_bars=max(fading(2 / (window + 1)), fading(1 / range_window)),
        parameters={"window": window, "range_window": range_window, "multiplier": multiplier},
        state_size=2,
        history=1,
        lead=1,
    )


def ichimoku(tenkan: int = 9, kijun: int = 26, senkou: int = 52, *, relative: bool = False) -> Feature:
    """Return Ichimoku's turning line, base line and the cloud that stands at this bar; without the lagging span.

    Formula: line(n) = (highest high + lowest low of n bars) / 2; turning line(tenkan), base line(kijun); span A =
    (turning + base) / 2 and span B = line(senkou), both as computed kijun - 1 bars ago: that is how far ahead the chart
    draws them, since Hosoda counts the present bar. The lagging span is the close drawn back in time, which says
    nothing new at this bar. With ``relative`` close / level - 1 of each. Source: Hosoda (1969), Ichimoku Kinko Hyo.
    Inputs: high, low, close. Outputs: ``ichimoku_tenkan_9_26_52``, ``ichimoku_kijun_9_26_52``,
    ``ichimoku_span_a_9_26_52``, ``ichimoku_span_b_9_26_52`` (``ichimoku_relative_...``), prices or fractions. Lookback:
    senkou + kijun - 2. Memory: finite. Warm-up: senkou + kijun - 1 bars.

    Raises
    ------
    ValueError
        A window is smaller than 1, or they do not rise.
    """
    windows = tuple(
        whole("ichimoku", name, window) for name, window in (("tenkan", tenkan), ("kijun", kijun), ("senkou", senkou))
    )
    if not windows[0] < windows[1] < windows[2]:
        raise ValueError(f"ichimoku: wanted tenkan < kijun < senkou, found {tenkan}, {kijun} and {senkou}")
    prefix, suffix = ("ichimoku_relative" if relative else "ichimoku"), "_".join(map(str, windows))
    return feature_of(
        ichimoku_step,
        ("high", "low", "close"),
        windows[2] + windows[1] - 2,
        outputs=tuple(f"{prefix}_{line}_{suffix}" for line in ("tenkan", "kijun", "span_a", "span_b")),
        parameters={**dict(zip(("tenkan", "kijun", "senkou"), windows, strict=True)), "relative": bool(relative)},
        state_size=2 * sum(extreme_size(window) for window in windows) + 2 * (windows[1] - 1),
        history=windows[2],
    )
