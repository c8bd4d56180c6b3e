"""What a strategy may see, and what it is: one method over a view of the past, the signals and its own book."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

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
    """

    __slots__ = ("_columns", "_first", "_portfolio", "_signals", "_stop", "_times", "slice")

    def __init__(self, market: Slice, history: History, signals: Mapping[str, Signal], portfolio: Portfolio) -> None:
        self.slice = market
        self._columns, self._times = history.columns, history.times
        self._first, self._stop = history.first, history.stop
        self._signals = signals
        self._portfolio = portfolio

    @property
    def symbols(self) -> tuple[str, ...]:
        """The universe, in its fixed order."""
        return self.slice.symbols

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

    def times(self, length: int | None = None) -> NDArray[np.int64]:
        """Return the closes of the last slices, nanoseconds UTC, in step with ``history``."""
        first, stop = self._first, self._stop
        if length is not None and stop - length > first:
            first = stop - length
        stamps = self._times[first:stop]
        stamps.flags.writeable = False
        return stamps

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
    """A strategy whose decision depends on past bars alone and can be computed for a whole panel at once.

    A rule may also have a static method ``prepare(panel)``: a sweep calls it once and hands what it returns to
    ``weights`` of every parameter set as a second argument.
    """

    def weights(self, panel: Panel) -> Floats:
        """Return what ``decide`` would, shape (slices, symbols), NaN for hold; by the same compiled step."""
        ...
