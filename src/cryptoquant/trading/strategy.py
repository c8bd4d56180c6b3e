"""What to hold: rules and models alike are one method and a frozen set of parameters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import kernel
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import FIELDS, Panel, Slice
from cryptoquant.trading.history import History
from cryptoquant.trading.portfolio import Portfolio

Floats = NDArray[np.float64]
Target = Mapping[str, float]
HOLD: Target = {}


class View:
    """What a strategy may see at the close of a slice: the past up to now, its signals and its own book.

    It is good for this decision only: do not keep it.

    Attributes
    ----------
    slice
        The bars of this close.
    symbols
        The universe.
    """

    __slots__ = ("_columns", "_first", "_portfolio", "_signals", "_stop", "slice", "symbols")

    def __init__(self, market: Slice, history: History, signals: Mapping[str, Signal], portfolio: Portfolio) -> None:
        self.slice = market
        self.symbols = market.symbols
        self._columns = history.columns
        self._first = history.first
        self._stop = history.stop
        self._signals = signals
        self._portfolio = portfolio

    @property
    def time(self) -> int:
        """The close of this slice, nanoseconds UTC."""
        return self.slice.time

    @property
    def equity(self) -> float:
        """Of this profile, in quote currency, marked at this close."""
        return self._portfolio.equity

    def history(self, symbol: str, field: str = "close", length: int | None = None) -> Floats:
        """Return the last values of a field, oldest first, this close included; shorter at the start of history."""
        first, stop = self._first, self._stop
        if length is not None and stop - length > first:
            first = stop - length
        column = self._columns.get(field)
        if column is None:
            raise ValueError(f"there is no field {field!r}, wanted one of {', '.join(FIELDS)}")
        return column[first:stop, self._portfolio.index(symbol)]

    def signal(self, symbol: str) -> Signal | None:
        """Return the signal of this close for a symbol, None when there is none."""
        signal = self._signals.get(symbol)
        return signal if signal is not None and signal.time == self.slice.time else None

    def weight(self, symbol: str) -> float:
        """Return the present share of the equity in a symbol."""
        book = self._portfolio
        index = book.index(symbol)
        held = float(book.lots[index])
        return held * float(book.lot[index] * book.marks[index]) / self.equity if held else 0.0


@runtime_checkable
class Strategy(Protocol):
    """Decides once for each slice.

    The contract: ``decide`` is a pure function of the view (no clock, no I/O, no randomness, no memory of its own) and
    returns the share of equity wanted by symbol; a symbol that it leaves out is held. ``lookback`` is how many slices
    of the past, this one included, the view must offer. A class attribute ``reads_signals`` that is true makes a
    simulation without signals an error.
    """

    @property
    def lookback(self) -> int:
        """Slices of the past that ``decide`` reads, this one included."""
        ...

    def decide(self, view: View) -> Target:
        """Return the wanted share of equity by symbol."""
        ...


@runtime_checkable
class RuleOverBars(Protocol):
    """A strategy whose decision depends on past bars alone and can be computed for a whole panel at once."""

    def weights(self, panel: Panel) -> Floats:
        """Return what ``decide`` would, shape (slices, symbols), NaN for hold; by the same compiled step."""
        ...


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
def crossings(closes: Floats, fast: int, slow: int, out: Floats) -> None:
    """Write ``crossing`` at every row of ``closes`` into ``out``; both of shape (slices,)."""
    for last in range(len(closes)):
        out[last] = crossing(closes, last, fast, slow)


@dataclass(frozen=True, slots=True)
class MovingAverageCross:
    """Long while the fast simple moving average of the close lies above the slow one, else flat.

    Parameters
    ----------
    fast, slow
        Windows in bars, ``1 <= fast < slow``.
    max_weight
        Share of the equity in each symbol when long; by default the universe shares it equally.
    """

    fast: int = 24
    slow: int = 168
    max_weight: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.fast < self.slow:
            raise ValueError(f"wanted 1 <= fast < slow, found fast={self.fast}, slow={self.slow}")
        _check_weight(self.max_weight)

    @property
    def lookback(self) -> int:
        """The slow window."""
        return self.slow

    def decide(self, view: View) -> Target:
        """Return the weight of each symbol whose averages are known."""
        share = _share(self.max_weight, len(view.symbols))
        target = {}
        for symbol in view.symbols:
            closes = np.ascontiguousarray(view.history(symbol, "close", self.slow))
            level = crossing(closes, len(closes) - 1, self.fast, self.slow)
            if not math.isnan(level):
                target[symbol] = level * share
        return target

    def weights(self, panel: Panel) -> Floats:
        """Return the decisions for a whole panel, shape (slices, symbols)."""
        share = _share(self.max_weight, len(panel.symbols))
        closes = panel.field("close")
        out = np.empty(closes.shape)
        for column in range(closes.shape[1]):
            levels = np.empty(len(closes))
            crossings(np.ascontiguousarray(closes[:, column]), self.fast, self.slow, levels)
            out[:, column] = levels * share
        return out


@dataclass(frozen=True, slots=True)
class BuyAndHold:
    """Buys the universe in equal parts at the first slice and keeps it: the benchmark."""

    lookback: ClassVar[int] = 1

    def decide(self, view: View) -> Target:
        """Return equal weights for what is not held yet."""
        share = 1.0 / len(view.symbols)
        return {symbol: share for symbol in view.symbols if view.weight(symbol) == 0.0}


@dataclass(frozen=True, slots=True)
class LongFlat:
    """Long when the signal reaches a threshold, flat when it falls below another; in between the position is kept.

    Parameters
    ----------
    threshold
        Enter when the signal's value is at least this.
    exit
        Leave when it is below this; by default the threshold mirrored at one half (0.55 leaves below 0.45).
    max_weight
        Share of the equity in each symbol when long; by default the universe shares it equally.
    """

    threshold: float = 0.55
    exit: float | None = None
    max_weight: float | None = None

    lookback: ClassVar[int] = 1
    reads_signals: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.leave > self.threshold:
            raise ValueError(f"exit {self.leave} must not lie above threshold {self.threshold}")
        _check_weight(self.max_weight)

    @property
    def leave(self) -> float:
        """The value below which a position is closed."""
        return 1.0 - self.threshold if self.exit is None else self.exit

    def decide(self, view: View) -> Target:
        """Return the weight of each symbol whose signal asks for a change."""
        share = _share(self.max_weight, len(view.symbols))
        target = {}
        for symbol in view.symbols:
            signal = view.signal(symbol)
            if signal is None or math.isnan(signal.value):
                continue
            if signal.value >= self.threshold:
                target[symbol] = share
            elif signal.value < self.leave:
                target[symbol] = 0.0
        return target


def _share(max_weight: float | None, symbols: int) -> float:
    return 1.0 / symbols if max_weight is None else max_weight


def _check_weight(weight: float | None) -> None:
    if weight is not None and not 0 < weight <= 1:
        raise ValueError(f"max_weight must lie in (0, 1], found {weight}")
