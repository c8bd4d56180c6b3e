"""What a driver leaves behind: the facts in order, and the curve that follows from them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoquant.backtest.tape import Tape, draw_curve, follow_curve
from cryptoquant.market.slice import Panel
from cryptoquant.market.time import NANOSECONDS_PER_YEAR
from cryptoquant.performance.curve import absorb, begin
from cryptoquant.performance.metrics import FillColumns, Statistics, statistics_of
from cryptoquant.trading.order import (
    Adjustment,
    Cancellation,
    Fill,
    Order,
    Rejection,
)
from cryptoquant.trading.venue import Venue

Floats = NDArray[np.float64]


class Facts(NamedTuple):
    """What happened, each kind in the order in which it happened."""

    orders: list[Order]
    fills: list[Fill]
    rejections: list[Rejection]
    cancellations: list[Cancellation]
    adjustments: list[Adjustment]


@dataclass
class Run:
    """What a driver returns; curve and facts are made when they are first asked for.

    Attributes
    ----------
    tape
        The changes of the book, from which the curve follows.
    read
        Makes the facts.
    columns
        Makes the fills as arrays, in quote currency and coins.
    count_refused
        Counts the refused orders.
    known
        Equity and cash at every close where another simulator has computed them.
    """

    panel: Panel
    venue: Venue
    tape: Tape
    read: Callable[[], Facts]
    columns: Callable[[], FillColumns]
    count_refused: Callable[[], int]
    known: tuple[Floats, Floats] | None = None

    @cached_property
    def facts(self) -> Facts:
        """Orders, fills, rejections, cancellations and adjustments."""
        return self.read()

    @cached_property
    def curve(self) -> tuple[Floats, Floats]:
        """Equity and cash at every close, shape (slices,), in quote currency."""
        if self.known is not None:
            return self.known
        equity, cash = np.empty(len(self.panel)), np.empty(len(self.panel))
        unit = self.venue.unit
        draw_curve(self.tape, self._lot, self.panel.field("close"), unit, equity, cash)
        return equity * unit, cash * unit

    def statistics(self, initial: float) -> Statistics:
        """Return the statistics in one pass over the closes, without a curve; ``initial`` is the equity before it."""
        state, times = begin(initial), self.panel.times
        if self.known is None:
            held = follow_curve(self.tape, self._lot, self.panel.field("close"), self.venue.unit, times, state)
        else:
            absorb(state, np.ascontiguousarray(self.known[0]), times)
            held = int(np.count_nonzero(self.exposure))
        exposure, per_year = held / len(times), NANOSECONDS_PER_YEAR / self.panel.pace
        return statistics_of(state, times, self.columns(), exposure, self.count_refused(), per_year)

    @property
    def adjustments(self) -> list[Adjustment]:
        """What financing has cost, in the order in which it was charged."""
        return self.facts.adjustments

    @property
    def participation(self) -> Floats:
        """The share of its bar's volume that each fill took, shape (fills,); NaN where the volume is not known."""
        changed = self.tape.places[self.tape.places[:, 1] >= 0]
        volume = self.panel.columns.get("volume")
        if volume is None or len(changed) != len(self.fills):
            return np.full(len(self.fills), np.nan)
        traded = np.array([fill.lots for fill in self.fills]) * self._lot[changed[:, 1]]
        there = volume[changed[:, 0], changed[:, 1]]
        share: Floats = traded / np.where(there > 0.0, there, np.nan)
        return share

    @property
    def final_lots(self) -> Floats:
        """What is held at the end, in lots by symbol."""
        lots = self.tape.lots.copy()
        for (_, column), (held, _) in zip(self.tape.places.tolist(), self.tape.after.tolist(), strict=True):
            if column >= 0:
                lots[column] = held
        return lots

    @property
    def _lot(self) -> Floats:
        return np.array([self.venue.instrument(symbol).lot for symbol in self.panel.symbols])

    @property
    def equity(self) -> Floats:
        """Shape (slices,), quote currency."""
        return self.curve[0]

    @property
    def cash(self) -> Floats:
        """Shape (slices,), quote currency."""
        return self.curve[1]

    @property
    def exposure(self) -> Floats:
        """The signed share of the equity that is invested, shape (slices,)."""
        equity, cash = self.curve
        share: Floats = 1.0 - cash / equity
        return share

    @property
    def orders(self) -> list[Order]:
        """Sent and accepted."""
        return self.facts.orders

    @property
    def fills(self) -> list[Fill]:
        """In the order in which they happened."""
        return self.facts.fills

    @property
    def rejections(self) -> list[Rejection]:
        """In the order in which they happened."""
        return self.facts.rejections

    @property
    def cancellations(self) -> list[Cancellation]:
        """In the order in which they happened."""
        return self.facts.cancellations
