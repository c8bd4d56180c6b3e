"""The return to the mean: buy what has fallen far below its own average, sell it when it is back."""

import math
from dataclasses import dataclass

from cryptoquant.compiled import kernel
from cryptoquant.market.slice import Panel
from cryptoquant.trading.strategy.averages import UNIT, prefix_sums
from cryptoquant.trading.strategy.sizing import check_share, check_window, decide_alone, sides_of, weigh_alone
from cryptoquant.trading.strategy.view import Floats, Target, View

SMALL = 1e-300


@kernel
def score(closes: Floats, last: int, window: int) -> float:
    """Return how many sample deviations the close lies above the mean of the window that it ends.

    NaN when the window is not full, has a hole, or does not move by more than its own rounding.
    """
    if last + 1 < window:
        return math.nan
    total = 0.0
    for index in range(last + 1 - window, last + 1):
        total += closes[index]
    mean = total / window
    squares = 0.0
    for index in range(last + 1 - window, last + 1):
        squares += (closes[index] - mean) * (closes[index] - mean)
    deviation = math.sqrt(squares / (window - 1))
    if not deviation > window * 2.3e-16 * abs(mean):
        return math.nan
    return float((closes[last] - mean) / deviation)


@kernel
def reversion(closes: Floats, last: int, window: int, enter: float, leave: float, above: float, below: float) -> float:
    """Return the weight for the ``score`` at ``last``; NaN between the thresholds or where it is unknown."""
    found = score(closes, last, window)
    if math.isnan(found):
        return math.nan
    if found <= -enter:
        return above
    if below < 0.0 and found >= enter:
        return below
    if found >= -leave and (below == 0.0 or found <= leave):
        return 0.0
    return math.nan


@kernel
def reversions(
    closes: Floats, window: int, enter: float, leave: float, above: float, below: float, out: Floats
) -> None:
    """Write ``reversion`` at every row of ``closes`` into ``out``, both of shape (slices,), to the bit.

    Mean and deviation from prefix sums of the closes and of their squares settle every row whose distance from each
    threshold exceeds all roundings; the other rows are asked of ``reversion``.

    The bound, for closes c that are not negative. Write u for 2**-53, W for the window, p and q for the two prefix
    sums, each within e = u + (n u)**2 of the truth, relatively (as in ``crossings``), S and Q for their differences
    over the window, m = S / W and d = c - m. Then S errs by (2 e + u) p, m by that over W and one rounding more, and
    V = Q - S m by v = (2 e + 2 u) q + 2 m (2 e + u) p + 4 u S m + u V. The deviation s = sqrt(V / (W - 1)) errs by
    v / (s (W - 1)) where v is below V / 2. The mean of ``score`` errs by W u m (Higham 2002, section 4.2), hence so
    does each of its distances, and by the triangle inequality its deviation by sqrt(W / (W - 1)) times that and by
    (W + 6) u s. So d + k s is on its side of zero in both when it exceeds all these, of which the code takes twice
    the sum; closes whose squares underflow are never settled.
    """
    count = len(closes)
    sums, holes = prefix_sums(closes)
    squares, _ = prefix_sums(closes * closes)
    rough = UNIT + (count * UNIT) * (count * UNIT)
    begin = 0
    for place in range(len(holes) + 1):
        end = holes[place] if place < len(holes) else count
        first = min(begin + window - 1, end)
        out[begin:first] = math.nan
        for row in range(first, end):
            top, close = sums[row + 1], closes[row]
            total = top - sums[row + 1 - window]
            mean = total / window
            variation = squares[row + 1] - squares[row + 1 - window] - total * mean
            distance = close - mean
            slip = (2.0 * rough + UNIT) * top
            blur = (2.0 * rough + 2.0 * UNIT) * squares[row + 1] + 2.0 * mean * slip + 4.0 * UNIT * total * mean
            blur += UNIT * abs(variation) + window * SMALL
            if not 2.0 * blur < variation < math.inf:
                out[row] = reversion(closes, row, window, enter, leave, above, below)
                continue
            deviation = math.sqrt(variation / (window - 1))
            wide = blur / (deviation * (window - 1))
            drift = (window + 2) * UNIT * mean
            bound = slip / window + UNIT * (2.0 * mean + close + 3.0 * abs(distance)) + drift
            bound = 2.0 * (bound + enter * (wide + 1.5 * drift + (window + 6) * UNIT * deviation))
            low, high = distance + enter * deviation, distance - enter * deviation
            near, far = distance + leave * deviation, distance - leave * deviation
            if not (min(abs(low), abs(high), abs(near), abs(far)) > bound and deviation > 8.0 * drift + 2.0 * wide):
                out[row] = reversion(closes, row, window, enter, leave, above, below)
            elif low < 0.0:
                out[row] = above
            elif below < 0.0 and high > 0.0:
                out[row] = below
            elif near > 0.0 and (below == 0.0 or far < 0.0):
                out[row] = 0.0
            else:
                out[row] = math.nan
        if end < count:
            out[end] = math.nan
        begin = end + 1


@dataclass(frozen=True, slots=True)
class MeanReversion:
    """Buys far below the mean of the last closes and leaves near it; in between the position is kept.

    The distance is a z-score: the close less the mean, over the sample deviation, of the last ``window`` closes
    (Bollinger 2001 draws the same as bands).

    Parameters
    ----------
    window
        Bars, at least 2. No close lies further from its mean than ``(window - 1) / sqrt(window)`` deviations.
    enter
        Long when the score is at most ``-enter``.
    exit
        Flat when the score is at least ``-exit``.
    max_weight
        Share of the equity in each symbol when long; by default the universe shares it equally.
    allows_short
        Short when the score is at least ``enter``, flat when it lies within ``exit``; a spot venue refuses that.
    """

    window: int = 48
    enter: float = 2.0
    exit: float = 0.5
    max_weight: float | None = None
    allows_short: bool = False

    def __post_init__(self) -> None:
        check_window(self, "window", 2)
        reach = (self.window - 1) / math.sqrt(self.window)
        if not 0.0 <= self.exit < self.enter <= reach:
            found = f"exit={self.exit}, enter={self.enter}"
            raise ValueError(f"MeanReversion: wanted 0 <= exit < enter <= {reach:.4g} at this window, found {found}")
        check_share(self.max_weight)

    @property
    def lookback(self) -> int:
        """The window."""
        return self.window

    def decide(self, view: View) -> Target:
        """Return the weight of each symbol whose score asks for a change."""
        above, below = sides_of(self.max_weight, len(view.symbols), allows_short=self.allows_short)

        def rule(closes: Floats) -> float:
            return reversion(closes, len(closes) - 1, self.window, self.enter, self.exit, above, below)

        return decide_alone(view, self.window, rule)

    def weights(self, panel: Panel) -> Floats:
        """Return the decisions for a whole panel, shape (slices, symbols)."""
        above, below = sides_of(self.max_weight, len(panel.symbols), allows_short=self.allows_short)

        def rule(closes: Floats, out: Floats) -> None:
            reversions(closes, self.window, self.enter, self.exit, above, below, out)

        return weigh_alone(panel, rule)
