"""Bars that close with activity instead of the clock: every so many trades, coins or dollars, or when buyers prevail.

After Lopez de Prado, Advances in Financial Machine Learning (2018), chapter 2: standard bars (2.3.1) and imbalance bars
(2.3.2). The trade that reaches a threshold closes the bar and is not split.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.market.schema import BARS, Bar, Trade
from cryptoquant.market.time_bars import bar_of, folded, ordered_trades

Measure = Literal["ticks", "volume", "dollars"]
MEASURES = ("ticks", "volume", "dollars")
LEAST_WINDOW = 64
SIDES = {"B": 1.0, "S": -1.0}

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Every:
    """A bar closes with the trade by which its ticks (trades), volume (coins) or dollars (value) reach an amount.

    Examples
    --------
    >>> Every("dollars", 1_000_000)
    Every(measure='dollars', amount=1000000)
    """

    measure: Measure
    amount: float

    def __post_init__(self) -> None:
        _check_measure(self.measure)
        if not 0 < self.amount < float("inf"):
            raise ValueError(f"bars of {self.measure}: the amount must be above zero, found {self.amount}")

    def begin(self) -> "Expectation":
        """Return what is expected of the first bar."""
        return Expectation(self.amount, 1, None, 0.0, 0.0)

    def learn(self, expected: "Expectation", theta: float, trades: int) -> "Expectation":
        """Return what is expected of the next bar: the same."""
        return expected


@dataclass(frozen=True, slots=True)
class Imbalance:
    """A bar closes when signed ticks, volume or dollars lean further to one side than was expected.

    With ``b`` the side of each trade (+1 when the taker bought, -1 when the taker sold, by the tick rule where the
    venue does not say) and ``v`` its measure, the imbalance of a bar is the sum of ``b v``. The bar closes when its
    absolute value reaches ``E[T] |E[b v]|``: both expectations are exponentially weighted over the bars before (of
    their trades, and of their mean imbalance per trade), ``alpha = 2 / (span + 1)`` (Lopez de Prado 2018, sections
    2.3.2.1 and 2.3.2.2). Left to itself that rule runs away, to bars of one trade or to one bar without end; so a bar
    has between ``shortest`` and ``longest`` trades.

    Parameters
    ----------
    expected_trades
        E[T] of the first bar; it closes after so many trades, since no imbalance is expected yet.
    span
        Of the weights, in bars.
    shortest, longest
        By default a tenth and ten times ``expected_trades``.
    """

    measure: Measure
    expected_trades: int
    span: int = 20
    shortest: int = 0
    longest: int = 0

    def __post_init__(self) -> None:
        _check_measure(self.measure)
        object.__setattr__(self, "shortest", self.shortest or max(1, self.expected_trades // 10))
        object.__setattr__(self, "longest", self.longest or 10 * self.expected_trades)
        if self.span < 1 or not 1 <= self.shortest <= self.expected_trades <= self.longest:
            raise ValueError(f"{self}: wanted 1 <= shortest <= expected_trades <= longest and a span of 1 or more")

    def begin(self) -> "Expectation":
        """Return what is expected of the first bar."""
        return Expectation(float("inf"), self.shortest, self.expected_trades, float(self.expected_trades), None)

    def learn(self, expected: "Expectation", theta: float, trades: int) -> "Expectation":
        """Return what is expected of the next bar after one of some imbalance and trades."""
        alpha = 2.0 / (self.span + 1)
        length = expected.trades + alpha * (trades - expected.trades)
        mean = theta / trades
        lean = mean if expected.lean is None else expected.lean + alpha * (mean - expected.lean)
        return Expectation(length * abs(lean), self.shortest, self.longest, length, lean)


Rule = Every | Imbalance


@dataclass(frozen=True, slots=True)
class Expectation:
    """When the present bar closes: the size of its sum, its fewest and most trades, and what the past has taught."""

    threshold: float
    shortest: int
    longest: int | None
    trades: float
    lean: float | None

    def is_met(self, theta: float, trades: int) -> bool:
        """Whether a bar with this sum and so many trades closes."""
        return trades == self.longest or (trades >= self.shortest and abs(theta) >= self.threshold)


class EventBars:
    """Folds trades of one symbol, in the order of their arrival, into bars of a rule.

    ``open_time`` is the time of the first trade, ``time`` that of the last; where times fall back the latest so far
    counts, and bars that would close in the same nanosecond are set one apart, so that bars never overlap and their
    times rise. ``known`` is the largest of the parts, at least the close. The unfinished bar is never given out.

    Examples
    --------
    >>> bars = EventBars(Every("volume", 2.0))
    >>> bars.update(Trade("BTC/USD", 10, 11, 1, 100.0, 1.5))
    []
    >>> [bar] = bars.update(Trade("BTC/USD", 20, 21, 2, 101.0, 1.0))
    >>> bar.open_time, bar.time, bar.known, bar.volume
    (10, 20, 21, 2.5)
    """

    __slots__ = ("_clock", "_direction", "_end", "_expected", "_opened", "_parts", "_price", "_theta", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._expected = rule.begin()
        self._parts: list[Trade] = []
        self._theta, self._direction, self._price = 0.0, 0.0, 0.0
        self._clock: int | None = None
        self._end: int | None = None
        self._opened = 0

    def update(self, trade: Trade) -> list[Bar]:
        """Take the next trade; return the bar that it closes, if any."""
        self._clock = trade.time if self._clock is None else max(self._clock, trade.time)
        if not self._parts:
            self._opened = self._clock
        self._parts.append(trade)
        self._theta += self._measure(trade)
        if not self._expected.is_met(self._theta, len(self._parts)):
            return []
        start = self._opened if self._end is None else max(self._opened, self._end)
        self._end = max(self._clock, start + 1)
        parts, theta = self._parts, self._theta
        self._expected = self.rule.learn(self._expected, theta, len(parts))
        self._parts, self._theta = [], 0.0
        return [bar_of(parts, start, self._end)]

    def _measure(self, trade: Trade) -> float:
        amount = 1.0
        if self.rule.measure != "ticks":
            amount = trade.size if self.rule.measure == "volume" else trade.price * trade.size
        if isinstance(self.rule, Every):
            return amount
        moved = (trade.price > self._price) - (trade.price < self._price) if self._price else 0
        self._direction = SIDES.get(trade.taker_side) or float(moved) or self._direction
        self._price = trade.price
        return self._direction * amount


def event_bars(trades: Any, rule: Rule) -> pl.DataFrame:
    """Return the bars of a rule, by symbol, equal to the bit to what `EventBars` gives trade by trade.

    Trades are taken in the order given within each symbol; the last, unfinished bar is left out.

    Raises
    ------
    SchemaError
        A price or size is impossible.
    """
    made = [_of_symbol(part, rule) for part in ordered_trades(trades, rising=False)]
    return pl.concat([pl.DataFrame(schema=BARS), *made])


def trade_signs(trades: pl.DataFrame) -> Floats:
    """Return the side of each trade of one symbol: +1 bought, -1 sold, 0 before anything can be told.

    The taker side where the venue gives it, else the tick rule (Lopez de Prado 2018, section 2.3.2.1): the direction
    of the price change, and where the price stayed, the side before.
    """
    told = trades["taker_side"].fill_null("").replace_strict(SIDES, default=0.0, return_dtype=pl.Float64).to_numpy()
    moved = np.sign(np.diff(trades["price"].to_numpy(), prepend=trades["price"].item(0)))
    signs = np.where(told != 0, told, moved)
    last = np.maximum.accumulate(np.where(signs != 0, np.arange(len(signs)), 0))
    return signs[last]


def _of_symbol(trades: pl.DataFrame, rule: Rule) -> pl.DataFrame:
    amounts = np.ones(trades.height)
    if rule.measure != "ticks":
        sizes = trades["size"].to_numpy()
        amounts = sizes if rule.measure == "volume" else trades["price"].to_numpy() * sizes
    if isinstance(rule, Imbalance):
        amounts = trade_signs(trades) * amounts
    starts = np.array([0, *_closes(amounts, rule)], dtype=np.intp)
    clock = np.maximum.accumulate(trades["time"].dt.epoch("ns").to_numpy())
    opens, closes = [], []
    end: int | None = None
    for opened, closed in zip(clock[starts[:-1]].tolist(), clock[starts[1:] - 1].tolist(), strict=True):
        start = opened if end is None else max(opened, end)
        end = max(closed, start + 1)
        opens.append(start)
        closes.append(end)
    whole = trades.head(int(starts[-1]))
    return folded(whole, starts[:-1], np.array(opens, dtype=np.int64), np.array(closes, dtype=np.int64))


def _closes(amounts: Floats, rule: Rule) -> Iterator[int]:
    """Yield the row after each bar: sums from zero, left to right, over windows that grow until the bar closes."""
    expected, start, window = rule.begin(), 0, LEAST_WINDOW
    while start < len(amounts):
        sums = np.cumsum(amounts[start : start + window])
        is_far = np.abs(sums) >= expected.threshold
        is_far[: expected.shortest - 1] = False
        if expected.longest is not None:
            is_far[expected.longest - 1 : expected.longest] = True
        row = int(is_far.argmax())
        if not is_far[row]:
            if start + window >= len(amounts):
                return
            window *= 2
            continue
        expected = rule.learn(expected, float(sums[row]), row + 1)
        start += row + 1
        window = max(LEAST_WINDOW, 2 * (row + 1))
        yield start


def _check_measure(measure: str) -> None:
    if measure not in MEASURES:
        raise ValueError(f"bars by {measure!r}: wanted one of {', '.join(MEASURES)}")
