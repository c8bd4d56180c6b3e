"""The cross of two moving averages: the rule that every trader knows, as fast as its prices can be read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import kernel, plain
from cryptoquant.market.slice import Panel
from cryptoquant.trading.strategy.sizing import check_share, check_window, decide_alone, sides_of
from cryptoquant.trading.strategy.view import Floats, Target, View

Holes = NDArray[np.int64]
BLOCK = 1024
UNIT = 2.0**-53  # the largest relative error of one rounded operation
TINIEST = 5e-324


@kernel
def crossing(closes: Floats, last: int, fast: int, slow: int) -> float:
    """Return 1 when the fast average of the closes up to ``last`` lies above the slow one, else 0; NaN too early."""
    if last + 1 < slow:
        return math.nan
    short = 0.0
    for index in range(last + 1 - fast, last + 1):
        short += closes[index]
    long = 0.0
    for index in range(last + 1 - slow, last + 1):
        long += closes[index]
    if math.isnan(long):
        return math.nan
    return 1.0 if short / fast > long / slow else 0.0


@kernel
def side_of(level: float, above: float, below: float) -> float:
    """Return the weight of a level of ``crossing``; NaN stays NaN."""
    if math.isnan(level):
        return level
    return above if level > 0.0 else below


side_alone = plain(side_of)


@kernel
def prefix_sums(closes: Floats) -> tuple[Floats, Holes]:
    """Return the running sums of a symbol's closes and where it has none: what all windows over it can share.

    Parameters
    ----------
    closes
        Shape (slices,).

    Returns
    -------
    sums
        Shape (slices + 1,): before row i, the sum of the closes since the last hole, each within about one rounding of
        the true sum (the compensated summation Sum2 of Ogita, Rump and Oishi 2005). NaN after a close that is negative
        or infinite, for then nothing is known about its error.
    holes
        The rows without a close.
    """
    count = len(closes)
    sums = np.empty(count + 1)
    holes = np.empty(count, dtype=np.int64)
    found = 0
    total, lost = 0.0, 0.0
    sums[0] = 0.0
    for row in range(count):
        close = closes[row]
        if math.isnan(close):
            holes[found] = row
            found += 1
            total, lost = 0.0, 0.0
        elif close < 0.0:
            total = math.nan
        else:
            grown = total + close
            part = grown - total
            lost += (total - (grown - part)) + (close - part)
            total = grown
        sums[row + 1] = total + lost
    return sums, holes[:found].copy()


@kernel
def crossings(
    closes: Floats, sums: Floats, holes: Holes, fast: int, slow: int, above: float, below: float, out: Floats
) -> None:
    """Write the side of ``crossing`` at every row into ``out``, shape (slices,): to the bit, at about 1 ns for a row.

    Short sum times ``slow`` against long sum times ``fast``, both from the prefix sums, settles every row where the
    two differ by more than all roundings together could have moved them. The other rows are asked of ``crossing``.

    The bound, for closes that are not negative. Write u for 2**-53, p for the prefix sum up to the row, S and L for the
    true sums of the fast and the slow window (S <= L <= p) and n for the rows. A prefix sum is within
    e = u + (n u)**2 of the truth, relatively (Ogita, Rump and Oishi 2005, proposition 4.5), so a difference of two is
    within (2 e + u) p, and S slow - L fast, after two products and a difference, within
    (slow + fast) (2 e + 4 u) p. ``crossing`` itself compares S / fast (1 + a) with L / slow (1 + b), where
    abs(a) <= fast u and abs(b) <= slow u to the first order (Higham 2002, section 4.2), which moves the comparison by
    (slow + fast) slow u L at most; an underflow of its divisions by fast slow 2**-1074. The code takes twice the sum.
    """
    count = len(closes)
    rough = UNIT + (count * UNIT) * (count * UNIT)
    far = 2.0 * (slow + fast) * (2.0 * rough + 4.0 * UNIT)
    near = 2.0 * (slow + fast) * (slow * UNIT)
    tiny = 4.0 * fast * slow * TINIEST
    wide, thin = float(slow), float(fast)
    same, seen, begin = 0, -2, 0
    for place in range(len(holes) + 1):
        end = holes[place] if place < len(holes) else count
        first = min(begin + slow - 1, end)
        out[begin:first] = math.nan
        for start in range(first, end, BLOCK):
            rows = min(BLOCK, end - start)
            tops = sums[start + 1 : start + 1 + rows]
            shorts = sums[start + 1 - fast : start + 1 - fast + rows]
            longs = sums[start + 1 - slow : start + 1 - slow + rows]
            sides = out[start : start + rows]
            unsure = 0
            for row in range(rows):
                top = tops[row]
                long = top - longs[row]
                gap = (top - shorts[row]) * wide - long * thin
                sides[row] = above if gap > 0.0 else below
                unsure += 0 if far * top + near * long + tiny < abs(gap) < math.inf else 1
            if unsure == 0:
                continue
            for row in range(rows):
                top = tops[row]
                long = top - longs[row]
                gap = (top - shorts[row]) * wide - long * thin
                if far * top + near * long + tiny < abs(gap) < math.inf:
                    continue
                here = start + row
                if seen == here - 1:
                    same = same + 1 if closes[here] == closes[seen] else 1
                else:
                    same = 1
                    while same <= slow and here - same >= begin and closes[here - same] == closes[here]:
                        same += 1
                seen = here
                if same > slow:
                    out[here] = out[here - 1]
                else:
                    out[here] = side_of(crossing(closes, here, fast, slow), above, below)
        if end < count:
            out[end] = math.nan
        begin = end + 1


@dataclass(frozen=True, slots=True)
class PrefixSums:
    """What every cross over one panel can share: closes as contiguous columns, their prefix sums and their holes.

    Attributes
    ----------
    closes
        One array of shape (slices,) by symbol.
    sums, holes
        As ``prefix_sums`` returns them, by symbol.
    """

    closes: tuple[Floats, ...]
    sums: tuple[Floats, ...]
    holes: tuple[Holes, ...]

    @classmethod
    def of(cls, panel: Panel) -> "PrefixSums":
        """Return the prefix sums of a panel's closes."""
        columns: Sequence[Floats] = [np.ascontiguousarray(column) for column in panel.field("close").T]
        found = [prefix_sums(column) for column in columns]
        return cls(tuple(columns), tuple(sums for sums, _ in found), tuple(holes for _, holes in found))


@dataclass(frozen=True, slots=True)
class MovingAverageCross:
    """Long while the fast simple moving average of the close lies above the slow one, else flat.

    Parameters
    ----------
    fast, slow
        Windows in bars, ``1 <= fast < slow``.
    max_weight
        Share of the equity in each symbol when long; by default the universe shares it equally.
    allows_short
        Short instead of flat; a spot venue refuses that.
    """

    fast: int = 24
    slow: int = 168
    max_weight: float | None = None
    allows_short: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.fast < self.slow:
            raise ValueError(f"wanted 1 <= fast < slow, found fast={self.fast}, slow={self.slow}")
        check_window(self, "fast")
        check_window(self, "slow")
        check_share(self.max_weight)

    @property
    def lookback(self) -> int:
        """The slow window."""
        return self.slow

    def decide(self, view: View) -> Target:
        """Return the weight of each symbol whose averages are known."""
        above, below = sides_of(self.max_weight, len(view.symbols), allows_short=self.allows_short)

        def rule(closes: Floats) -> float:
            return side_alone(crossing(closes, len(closes) - 1, self.fast, self.slow), above, below)

        return decide_alone(view, self.slow, rule)

    @staticmethod
    def prepare(panel: Panel) -> PrefixSums:
        """Return what many parameter sets over one panel can share."""
        return PrefixSums.of(panel)

    def weights(self, panel: Panel, prepared: PrefixSums | None = None) -> Floats:
        """Return the decisions for a whole panel, shape (slices, symbols).

        Parameters
        ----------
        prepared
            ``PrefixSums.of(panel)``, to be computed once for many parameter sets.
        """
        known = PrefixSums.of(panel) if prepared is None else prepared
        shape = (len(panel), len(panel.symbols))
        if len(known.sums) != shape[1] or len(known.sums[0]) != shape[0] + 1:
            found = (len(known.sums[0]) - 1, len(known.sums))
            raise ValueError(f"prefix sums of another panel: shape {found}, wanted {shape} (slices, symbols)")
        out = np.empty(shape)
        for column in range(shape[1]):
            sides = out[:, 0] if shape[1] == 1 else np.empty(shape[0])
            self.write(known, column, sides)
            if shape[1] > 1:
                out[:, column] = sides
        return out

    def write(self, prepared: PrefixSums, column: int, out: Floats) -> None:
        """Write the decisions for one symbol into ``out``, contiguous and of shape (slices,)."""
        above, below = sides_of(self.max_weight, len(prepared.sums), allows_short=self.allows_short)
        sums, holes = prepared.sums[column], prepared.holes[column]
        crossings(prepared.closes[column], sums, holes, self.fast, self.slow, above, below, out)
