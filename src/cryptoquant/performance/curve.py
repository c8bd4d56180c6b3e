"""An equity curve read once, as it is made: a block at a time goes into a small state that the statistics come from.

The state takes 2,048 periods at once, whatever the blocks are, so that one block or many give the same bits.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import borrowing, kernel

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

ROUNDING = 1e-12
CHUNK, ROW, LANES, STRETCH = 2_048, 256, 64, 512
SECOND = 1_000_000_000
NANOSECONDS_PER_DAY = 86_400e9

INITIAL, PERIODS, LAST, FIRST_SECOND, FIRST_REST, LATEST = 0, 1, 2, 3, 4, 5
PEAK, LOWEST, LIMIT, HIGH, LONGEST = 6, 7, 8, 9, 10
BASE, FOLDED, TOTAL, MEAN, SQUARES, CUBES, FOURTHS, LOSSES = 11, 12, 13, 14, 15, 16, 17, 18
HEAD = 19


class Curve(NamedTuple):
    """What an equity curve comes to; moments are of the simple returns of its periods.

    Attributes
    ----------
    deviation
        Standard deviation, ddof 1; NaN for one period.
    skewness, kurtosis
        By population moments, kurtosis is Pearson's (normal: 3); NaN when the returns differ by rounding only.
    downside
        Root of the mean squared negative return.
    max_drawdown
        Largest fall below the highest equity before, the initial one included; zero or negative.
    longest_drawdown_days
        Longest time below an earlier high.
    """

    initial: float
    periods: int
    last: float
    mean_equity: float
    mean: float
    deviation: float
    skewness: float
    kurtosis: float
    downside: float
    max_drawdown: float
    longest_drawdown_days: float


def begin(initial: float) -> Floats:
    """Return the state of a curve that starts at ``initial`` and has no period yet."""
    state = np.zeros(HEAD + CHUNK)
    state[[INITIAL, LAST, PEAK, LIMIT, BASE]] = initial
    state[LOWEST] = 1.0
    return state


@borrowing
def add_lanes(sums: Floats) -> None:
    """Add the lanes of each sum by halves: the sum of lanes ``n`` to ``n + 63`` then stands in lane ``n``."""
    for start in range(0, len(sums), LANES):
        half = LANES // 2
        while half > 0:
            for j in range(start, start + half):
                sums[j] += sums[j + half]
            half //= 2


@borrowing
def merge(state: Floats, count: int, total: float, losses: float, moments: Floats) -> None:
    """Add the sums of ``count`` periods: of equity and squared losses, and the mean and central sums of the returns.

    Source: Pebay (2008), "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
    statistical moments", Sandia report SAND2008-6212, section 2.1.
    """
    mean, second, third, fourth = moments[0], moments[1], moments[2], moments[3]
    before, gap = state[FOLDED], mean - state[MEAN]
    a, b = before / (before + count), count / (before + count)
    state[FOURTHS] += (
        fourth
        + gap**4 * before * b * (a * a - a * b + b * b)
        + 6.0 * gap * gap * (a * a * second + b * b * state[SQUARES])
        + 4.0 * gap * (a * third - b * state[CUBES])
    )
    state[CUBES] += third + gap**3 * before * b * (a - b) + 3.0 * gap * (a * second - b * state[SQUARES])
    state[SQUARES] += second + gap * gap * before * b
    state[MEAN] += gap * b
    state[TOTAL] += total
    state[LOSSES] += losses
    state[FOLDED] = before + count


@borrowing
def is_flat(equity: Floats, before: float) -> bool:
    """Return whether no value differs from the one before."""
    moves = 0
    for i in range(len(equity)):
        moves |= equity[i] != before
    return moves == 0


@kernel
def fold(state: Floats, equity: Floats) -> None:
    """Add 2,048 periods to the sums of a state, in 64 lanes, so that machine code may take several at once.

    Powers are summed of the returns less their geometric mean, which lies close to their mean, and then moved to it. A
    row in which nothing moves, for nothing is held, is added at once.
    """
    sums, first = np.zeros(6 * LANES), np.empty(ROW)
    first[0] = state[BASE]
    for j in range(1, ROW):
        first[j] = equity[j - 1]
    grown = equity[CHUNK - 1] / state[BASE]
    shift = np.expm1(np.log(grown) / CHUNK) if 0.0 < grown < np.inf else 0.0
    for i in range(0, CHUNK, ROW):
        e = equity[i : i + ROW]
        p = first if i == 0 else equity[i - 1 : i + ROW - 1]
        if 0.0 < abs(p[0]) < np.inf and is_flat(e, p[0]):
            square = shift * shift
            sums[0] += ROW * p[0]
            sums[2 * LANES] -= ROW * shift
            sums[3 * LANES] += ROW * square
            sums[4 * LANES] -= ROW * square * shift
            sums[5 * LANES] += ROW * square * square
            continue
        for j in range(LANES):
            r, s = e[j] / p[j] - 1.0, e[j + 64] / p[j + 64] - 1.0
            t, u = e[j + 128] / p[j + 128] - 1.0, e[j + 192] / p[j + 192] - 1.0
            sums[j] += (e[j] + e[j + 64]) + (e[j + 128] + e[j + 192])
            v, w = r if r < 0.0 else 0.0, s if s < 0.0 else 0.0
            x, y = t if t < 0.0 else 0.0, u if u < 0.0 else 0.0
            sums[64 + j] += (v * v + w * w) + (x * x + y * y)
            r, s, t, u = r - shift, s - shift, t - shift, u - shift
            sums[128 + j] += (r + s) + (t + u)
            v, w, x, y = r * r, s * s, t * t, u * u
            sums[192 + j] += (v + w) + (x + y)
            sums[256 + j] += (v * r + w * s) + (x * t + y * u)
            sums[320 + j] += (v * v + w * w) + (x * x + y * y)
    add_lanes(sums)
    mean, two, three, four = sums[128] / CHUNK, sums[192], sums[256], sums[320]
    square = mean * mean
    moments = np.empty(4)
    moments[0] = shift + mean
    moments[1] = max(two - CHUNK * square, 0.0)
    moments[2] = three - 3.0 * mean * two + 2.0 * CHUNK * square * mean
    moments[3] = max(four - 4.0 * mean * three + 6.0 * square * two - 3.0 * CHUNK * square * square, 0.0)
    merge(state, CHUNK, sums[0], sums[64], moments)
    state[BASE] = equity[CHUNK - 1]


@kernel
def fold_rest(state: Floats) -> None:
    """Add the periods that wait for a full chunk, if any, to the sums of a state."""
    count = int(state[PERIODS] - state[FOLDED])
    if count == 0:
        return
    equity, returns, moments = state[HEAD : HEAD + count], np.empty(count), np.zeros(4)
    before, total, losses = state[BASE], 0.0, 0.0
    for i in range(count):
        returns[i] = equity[i] / before - 1.0
        before = equity[i]
        total += before
        moments[0] += returns[i] / count
        if returns[i] < 0.0:
            losses += returns[i] * returns[i]
    for i in range(count):
        apart = returns[i] - moments[0]
        square = apart * apart
        moments[1] += square
        moments[2] += square * apart
        moments[3] += square * square
    merge(state, count, total, losses, moments)


@borrowing
def reaches(equity: Floats, peak: float) -> bool:
    """Return whether a value comes up to the peak."""
    count = 0
    for i in range(len(equity)):
        count |= equity[i] >= peak
    return count != 0


@borrowing
def smallest(equity: Floats, limit: float, lanes: Floats) -> float:
    """Return the smallest value below a limit, or the limit; in 32 lanes, as machine code can.

    With a NaN among the values it is any of them: such a curve has no drawdown.
    """
    whole = len(equity) - len(equity) % 128
    for j in range(32):
        lanes[j] = limit
    for start in range(0, whole, 128):
        part = equity[start : start + 128]
        for j in range(32):
            one, two, three, four = part[j], part[j + 32], part[j + 64], part[j + 96]
            one, three = one if one < two else two, three if three < four else four
            one = one if one < three else three
            lanes[j] = one if one < lanes[j] else lanes[j]
    for i in range(whole, len(equity)):
        limit = equity[i] if equity[i] < limit else limit
    for j in range(32):
        limit = lanes[j] if lanes[j] < limit else limit
    return limit


@borrowing
def follow(state: Floats, equity: Floats, times: Times, first: int) -> None:
    """Carry the peak, the largest fall below it and the longest time below it through the next periods."""
    peak, lowest, limit = state[PEAK], state[LOWEST], state[LIMIT]
    high, longest = state[HIGH], state[LONGEST]
    for i in range(len(equity)):
        value = equity[i]
        if value >= peak:
            latest = float(times[i - 1] - first) if i > 0 else state[LATEST]
            longest = max(longest, latest - high)
            high = float(times[i] - first)
            peak, limit = value, value * lowest
        elif value < limit:
            lowest, limit = value / peak, value
    state[PEAK], state[LOWEST], state[LIMIT] = peak, lowest, limit
    state[HIGH], state[LONGEST] = high, longest


@kernel
def absorb(state: Floats, equity: Floats, times: Times) -> None:
    """Add the next periods of a curve to its state.

    Parameters
    ----------
    state
        Of ``begin``; it changes.
    equity
        Shape (periods,), quote currency, at the end of each period.
    times
        Shape (periods,), nanoseconds UTC, ascending.
    """
    count = len(equity)
    if count == 0:
        return
    if state[PERIODS] == 0.0:
        state[FIRST_SECOND], state[FIRST_REST] = float(times[0] // SECOND), float(times[0] % SECOND)
    first, lanes = int(state[FIRST_SECOND]) * SECOND + int(state[FIRST_REST]), np.empty(32)
    for start in range(0, count, STRETCH):
        part = equity[start : start + STRETCH]
        if reaches(part, state[PEAK]):
            follow(state, part, times[start : start + STRETCH], first)
        else:
            low = smallest(part, state[LIMIT], lanes)
            if low < state[LIMIT]:
                state[LOWEST], state[LIMIT] = low / state[PEAK], low
        state[LATEST] = float(times[start + len(part) - 1] - first)
    state[LAST] = equity[count - 1]
    waiting, place = int(state[PERIODS] - state[FOLDED]), 0
    while place < count:
        whole = equity[place : place + CHUNK]
        if waiting > 0 or len(whole) < CHUNK:
            more = min(CHUNK - waiting, len(whole))
            for j in range(more):
                state[HEAD + waiting + j] = whole[j]
            waiting += more
            place += more
            if waiting < CHUNK:
                break
            whole, waiting = state[HEAD:], 0
        else:
            place += CHUNK
        fold(state, whole)
    state[PERIODS] += count


def curve_of(state: Floats) -> Curve:
    """Return what a state says; more periods may be added to it afterwards.

    Raises
    ------
    ValueError
        No period has been added yet.
    """
    if state[PERIODS] == 0.0:
        raise ValueError("an equity curve needs at least one period")
    whole = state.copy()
    fold_rest(whole)
    numbers: list[float] = whole[:HEAD].tolist()
    count, mean, squares = int(numbers[PERIODS]), numbers[MEAN], numbers[SQUARES]
    deviation = math.sqrt(squares / (count - 1)) if count > 1 else math.nan
    moves = deviation > ROUNDING * abs(mean)
    variance = squares / count
    below = max(numbers[LONGEST], numbers[LATEST] - numbers[HIGH])
    is_known = not math.isnan(numbers[TOTAL])
    return Curve(
        initial=numbers[INITIAL],
        periods=count,
        last=numbers[LAST],
        mean_equity=numbers[TOTAL] / count,
        mean=mean,
        deviation=deviation,
        skewness=numbers[CUBES] / count / variance**1.5 if moves else math.nan,
        kurtosis=numbers[FOURTHS] / count / variance**2 if moves else math.nan,
        downside=math.sqrt(numbers[LOSSES] / count),
        max_drawdown=numbers[LOWEST] - 1.0 if is_known else math.nan,
        longest_drawdown_days=below / NANOSECONDS_PER_DAY if is_known else math.nan,
    )
