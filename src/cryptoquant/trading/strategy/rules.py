"""Rules over bars: the benchmark, momentum, and the break out of a channel."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cryptoquant.compiled import kernel
from cryptoquant.market.slice import Panel
from cryptoquant.trading.strategy.sizing import (
    check_number,
    check_share,
    check_window,
    decide_alone,
    sides_of,
    weigh_alone,
)
from cryptoquant.trading.strategy.view import Floats, Target, View


@dataclass(frozen=True, slots=True)
class BuyAndHold:
    """Buys the universe in equal parts at the first slice and keeps it: the benchmark."""

    lookback: ClassVar[int] = 1

    def decide(self, view: View) -> Target:
        """Return equal weights for what is not held yet."""
        share = 1.0 / len(view.symbols)
        return {symbol: share for symbol in view.symbols if view.weight(symbol) == 0.0}


@kernel
def momentum(closes: Floats, last: int, window: int, skip: int, threshold: float, above: float, below: float) -> float:
    """Return the weight for the return over ``window`` bars that ended ``skip`` bars before ``last``; NaN: unknown."""
    now = last - skip
    if now < window:
        return math.nan
    change = closes[now] / closes[now - window] - 1.0
    if math.isnan(change):
        return math.nan
    if change > threshold:
        return above
    return below if change < -threshold or below == 0.0 else 0.0


@kernel
def momenta(closes: Floats, window: int, skip: int, threshold: float, above: float, below: float, out: Floats) -> None:
    """Write ``momentum`` at every row of ``closes`` into ``out``; both of shape (slices,)."""
    for last in range(len(closes)):
        out[last] = momentum(closes, last, window, skip, threshold, above, below)


@dataclass(frozen=True, slots=True)
class Momentum:
    """Long what has risen, flat else: time-series momentum (Moskowitz, Ooi and Pedersen 2012).

    Parameters
    ----------
    window
        Bars over which the return is measured.
    skip
        Latest bars left out of it, for the short-term reversal that follows a move (Jegadeesh and Titman 1993).
    threshold
        Long when the return lies above this fraction.
    max_weight
        Share of the equity in each symbol when long; by default the universe shares it equally.
    allows_short
        Short when the return lies below ``-threshold``; a spot venue refuses that.
    """

    window: int = 168
    skip: int = 0
    threshold: float = 0.0
    max_weight: float | None = None
    allows_short: bool = False

    def __post_init__(self) -> None:
        check_window(self, "window")
        check_window(self, "skip", 0)
        check_number(self, "threshold", 0.0 if self.allows_short else -1.0)
        check_share(self.max_weight)

    @property
    def lookback(self) -> int:
        """The window, what is skipped, and the close that the return starts from."""
        return self.window + self.skip + 1

    def decide(self, view: View) -> Target:
        """Return the weight of each symbol whose return is known."""
        above, below = sides_of(self.max_weight, len(view.symbols), allows_short=self.allows_short)

        def rule(closes: Floats) -> float:
            return momentum(closes, len(closes) - 1, self.window, self.skip, self.threshold, above, below)

        return decide_alone(view, self.lookback, rule)

    def weights(self, panel: Panel) -> Floats:
        """Return the decisions for a whole panel, shape (slices, symbols)."""
        above, below = sides_of(self.max_weight, len(panel.symbols), allows_short=self.allows_short)

        def rule(closes: Floats, out: Floats) -> None:
            momenta(closes, self.window, self.skip, self.threshold, above, below, out)

        return weigh_alone(panel, rule)


@kernel
def highest(values: Floats, last: int, window: int) -> float:
    """Return the largest of the ``window`` values up to ``last``; NaN too early or when one is NaN."""
    if last + 1 < window:
        return math.nan
    top = -math.inf
    for index in range(last + 1 - window, last + 1):
        if math.isnan(values[index]):
            return math.nan
        top = max(top, values[index])
    return top


@kernel
def rolling_highest(values: Floats, window: int, sign: float, out: Floats) -> None:
    """Write ``sign`` times ``highest`` of ``sign * values`` at every row into ``out``; both of shape (slices,).

    A queue of falling candidates (Lemire 2006): each value enters and leaves once, so a row costs the same whatever the
    window. A largest value is one of the values, hence the result is ``highest`` to the bit; with a sign of -1 it is
    the lowest.
    """
    queue = np.empty(len(values), dtype=np.int64)
    head, tail, full = 0, 0, window - 1
    for row in range(len(values)):
        value = sign * values[row]
        if math.isnan(value):
            head, full = tail, row + window
            out[row] = math.nan
            continue
        while tail > head and sign * values[queue[tail - 1]] <= value:
            tail -= 1
        queue[tail] = row
        tail += 1
        if queue[head] <= row - window:
            head += 1
        out[row] = sign * (sign * values[queue[head]]) if row >= full else math.nan


@kernel
def breakout(close: float, top: float, bottom: float, above: float, below: float) -> float:
    """Return the weight for a close against the channel of the bars before it; NaN within it or where it is unknown."""
    if close > top:
        return above
    return below if close < bottom else math.nan


@kernel
def breakout_at(
    closes: Floats, highs: Floats, lows: Floats, entry: int, leave: int, above: float, below: float
) -> float:
    """Return ``breakout`` of the last close against the channel of the bars before it."""
    last = len(closes) - 1
    top = highest(highs, last - 1, entry)
    return breakout(closes[last], top, -highest(-lows, last - 1, leave), above, below)


@kernel
def breakouts(closes: Floats, tops: Floats, bottoms: Floats, above: float, below: float, out: Floats) -> None:
    """Write ``breakout`` at every row into ``out``, given the extremes up to each row; all of shape (slices,)."""
    out[:1] = math.nan
    for row in range(1, len(closes)):
        out[row] = breakout(closes[row], tops[row - 1], bottoms[row - 1], above, below)


@dataclass(frozen=True, slots=True)
class Breakout:
    """Long when the close leaves the channel of the bars before it upwards, flat downwards (Donchian's rule).

    Within the channel the position is kept. The channel is of highs and lows, the present bar left out; a bar that is
    absent leaves it unknown for as long as it would belong to it.

    Parameters
    ----------
    entry
        Bars whose highest high is broken to go long.
    exit
        Bars whose lowest low is broken to go flat; by default as many as ``entry``.
    max_weight
        Share of the equity in each symbol when long; by default the universe shares it equally.
    allows_short
        Always in the market: short when the lowest low of ``entry`` bars is broken, for which ``exit`` must be left
        out; a spot venue refuses that.
    """

    entry: int = 20
    exit: int | None = None
    max_weight: float | None = None
    allows_short: bool = False

    def __post_init__(self) -> None:
        check_window(self, "entry")
        if self.exit is not None:
            check_window(self, "exit")
            if self.allows_short:
                raise ValueError(f"Breakout: with allows_short it turns at the entry channel, found exit={self.exit}")
        check_share(self.max_weight)

    @property
    def lookback(self) -> int:
        """The longer channel and the present bar."""
        return max(self.entry, self.leave) + 1

    @property
    def leave(self) -> int:
        """Bars of the lower channel."""
        return self.entry if self.exit is None else self.exit

    def decide(self, view: View) -> Target:
        """Return the weight of each symbol that breaks out of its channel."""
        above, below = sides_of(self.max_weight, len(view.symbols), allows_short=self.allows_short)
        target = {}
        for symbol in view.symbols:
            closes, highs, lows = (
                np.ascontiguousarray(view.history(symbol, field, self.lookback)) for field in ("close", "high", "low")
            )
            weight = breakout_at(closes, highs, lows, self.entry, self.leave, above, below)
            if not math.isnan(weight):
                target[symbol] = weight
        return target

    def weights(self, panel: Panel) -> Floats:
        """Return the decisions for a whole panel, shape (slices, symbols)."""
        above, below = sides_of(self.max_weight, len(panel.symbols), allows_short=self.allows_short)
        out = np.empty((len(panel), len(panel.symbols)))
        tops, bottoms, weights = (np.empty(len(panel)) for _ in range(3))
        for column in range(len(panel.symbols)):
            closes, highs, lows = (
                np.ascontiguousarray(panel.field(field)[:, column]) for field in ("close", "high", "low")
            )
            rolling_highest(highs, self.entry, 1.0, tops)
            rolling_highest(lows, self.leave, -1.0, bottoms)
            breakouts(closes, tops, bottoms, above, below, weights)
            out[:, column] = weights
        return out
