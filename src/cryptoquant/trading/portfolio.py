"""The books: lots and cash as a fold over fills and adjustments, one ledger for each strategy profile."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import borrowing, plain
from cryptoquant.market.slice import Slice
from cryptoquant.trading.order import Adjustment, Fill
from cryptoquant.trading.venue import Venue

Floats = NDArray[np.float64]
FEW = 8  # symbols up to which plain arithmetic is faster than entering machine code with arrays


@borrowing
def equity_units(cash: float, lots: Floats, lot: Floats, marks: Floats, unit: float) -> float:
    """Return cash plus holdings at their marks, in cash units, added in the order of the symbols."""
    total = cash
    for index in range(len(lots)):
        if lots[index] != 0.0:
            total += lots[index] * lot[index] * marks[index] / unit
    return total


add_up: Callable[..., float] = plain(equity_units)


class Portfolio:
    """One ledger.

    Lots and cash are counted in whole units (as floats that hold integers exactly), so that sums over ledgers are exact
    whatever their order; on a continuous research market they are real numbers.

    Attributes
    ----------
    symbols
        The universe, in its fixed order.
    lots, lot
        Shape (symbols,): lots held, coins in a lot.
    cash
        In cash units of the venue.
    fees, slippage
        Paid so far, in quote currency.
    """

    __slots__ = (
        "_few",
        "_index",
        "_marks",
        "_seen",
        "_slice",
        "cash",
        "fees",
        "lot",
        "lots",
        "profile",
        "slippage",
        "symbols",
        "unit",
    )

    def __init__(self, symbols: Sequence[str], venue: Venue, cash: float = 0.0, profile: str = "main") -> None:
        self.symbols = tuple(symbols)
        self.profile = profile
        self.unit = venue.unit
        self.cash = cash / venue.unit if venue.is_continuous else float(round(cash / venue.unit))
        self.lots = np.zeros(len(self.symbols))
        self.lot = np.array([venue.instrument(symbol).lot for symbol in self.symbols])
        self._marks: Floats = np.full(len(self.symbols), np.nan)
        self._slice: Slice | None = None
        self.fees = 0.0
        self.slippage = 0.0
        self._index = {symbol: index for index, symbol in enumerate(self.symbols)}
        self._seen: set[str] = set()
        self._few: list[float] = self.lot.tolist() if len(self.symbols) <= FEW else []

    def apply(self, fact: Fill | Adjustment) -> bool:
        """Book a fill or an adjustment; a fact that was booked before is ignored and False is returned."""
        key = fact.execution_id if isinstance(fact, Fill) else fact.id
        if key in self._seen:
            return False
        self._seen.add(key)
        if fact.symbol:
            self.lots[self._index[fact.symbol]] += fact.lots_change
        self.cash += fact.cash_change
        if isinstance(fact, Fill):
            self.fees += fact.fee
            self.slippage += fact.slippage
        return True

    def mark(self, closes: Floats) -> None:
        """Take new prices, shape (symbols,); NaN keeps the last one."""
        self._marks = np.where(np.isnan(closes), self.marks, closes)
        self._slice = None

    def see(self, market: Slice) -> None:
        """Take the closes of a slice as marks; a complete one is not read before they are asked for."""
        if market.is_complete:
            self._slice = market
        else:
            self.mark(market.field("close"))

    @property
    def marks(self) -> Floats:
        """Last prices seen, shape (symbols,); NaN before the first."""
        if self._slice is not None:
            self._marks, self._slice = self._slice.field("close"), None
        return self._marks

    @property
    def equity(self) -> float:
        """Cash plus holdings at their marks, in quote currency."""
        return self.numbers()[0]

    def numbers(self) -> tuple[float, list[float], list[float], list[float]]:
        """Return equity, lots, coins in a lot, and marks as plain numbers, which a decision reads faster than arrays.

        The same arithmetic as ``equity_units``, written out for one symbol, which is what most engines trade.
        """
        lots, marks, few = self.lots.tolist(), self.marks.tolist(), self._few
        if len(few) == 1:
            held = lots[0]
            units = self.cash + held * few[0] * marks[0] / self.unit if held != 0.0 else self.cash
        elif few:
            units = add_up(self.cash, lots, few, marks, self.unit)
        else:
            few = self.lot.tolist()
            units = float(equity_units(self.cash, self.lots, self.lot, self.marks, self.unit))
        return units * self.unit, lots, few, marks

    @property
    def cash_value(self) -> float:
        """Cash in quote currency."""
        return self.cash * self.unit

    def index(self, symbol: str) -> int:
        """Return the place of a symbol in the universe.

        Raises
        ------
        ValueError
            The symbol is not in the universe.
        """
        place = self._index.get(symbol)
        if place is None:
            raise ValueError(f"{symbol} is not in the universe {', '.join(self.symbols)}")
        return place

    def quantity(self, symbol: str) -> float:
        """Return the coins held of a symbol."""
        index = self._index[symbol]
        return float(self.lots[index] * self.lot[index])

    def held(self, symbol: str) -> float:
        """Return the lots held of a symbol."""
        return float(self.lots[self._index[symbol]])

    def weights(self) -> Floats:
        """Return the share of equity in each symbol, shape (symbols,)."""
        values = np.where(self.lots == 0.0, 0.0, self.lots * self.lot * self.marks)
        share: Floats = values / self.equity
        return share


def account(ledgers: Iterable[Portfolio], venue: Venue) -> Portfolio:
    """Return the account: the sum of its ledgers, symbol by symbol and in cash."""
    books = list(ledgers)
    total = Portfolio(books[0].symbols, venue, profile="account")
    for ledger in books:
        if ledger.symbols != total.symbols:
            raise ValueError(f"ledger {ledger.profile} holds other symbols than {books[0].profile}")
        total.lots = total.lots + ledger.lots
        total.cash += ledger.cash
        total.fees += ledger.fees
        total.slippage += ledger.slippage
        total.mark(ledger.marks)
    return total
