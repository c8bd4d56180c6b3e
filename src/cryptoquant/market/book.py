"""The order book of one symbol, rebuilt from its updates."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import DataError
from cryptoquant.market.schema import BookUpdate

Level = tuple[float, float]


class Book:
    """Bids and asks by price, a fold over updates in the order of their arrival.

    An update with ``reset`` replaces the book; any other sets levels to absolute sizes, where 0 removes a level. The
    feed has no sequence numbers, so that before the first reset, and after a lost connection until the next, the book
    is not known: `invalidate` says so, and updates are passed over until a reset.

    Examples
    --------
    >>> book = Book("BTC/USD")
    >>> book.update(BookUpdate("BTC/USD", 1, 1, bids=((100.0, 2.0),), asks=((101.0, 1.0),), reset=True))
    >>> book.update(BookUpdate("BTC/USD", 2, 2, bids=((100.0, 0.0), (99.0, 3.0)), asks=()))
    >>> book.best_bid, book.best_ask
    ((99.0, 3.0), (101.0, 1.0))
    """

    __slots__ = ("_asks", "_bids", "is_ready", "known", "symbol", "time")

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.is_ready = False
        self.time = 0
        self.known = 0
        self._bids: dict[float, float] = {}
        self._asks: dict[float, float] = {}

    def update(self, change: BookUpdate) -> None:
        """Apply the next update.

        Raises
        ------
        DataError
            The update is of another symbol.
        """
        if change.symbol != self.symbol:
            raise DataError(f"book of {self.symbol}: found an update of {change.symbol}")
        if change.reset:
            self._bids, self._asks, self.is_ready = {}, {}, True
        if not self.is_ready:
            return
        for side, levels in ((self._bids, change.bids), (self._asks, change.asks)):
            for price, size in levels:
                if size > 0:
                    side[price] = size
                else:
                    side.pop(price, None)
        self.time, self.known = change.time, change.known

    def invalidate(self) -> None:
        """Forget everything until the next reset, as after a lost connection."""
        self._bids, self._asks, self.is_ready = {}, {}, False

    @property
    def best_bid(self) -> Level | None:
        """The highest bid as price and size, or None."""
        price = max(self._bids, default=None)
        return None if price is None else (price, self._bids[price])

    @property
    def best_ask(self) -> Level | None:
        """The lowest ask as price and size, or None."""
        price = min(self._asks, default=None)
        return None if price is None else (price, self._asks[price])

    @property
    def is_crossed(self) -> bool:
        """Whether the best bid is at or above the best ask: a sign of a lost update."""
        bid, ask = self.best_bid, self.best_ask
        return bid is not None and ask is not None and bid[0] >= ask[0]

    def size_at(self, side: Literal["bid", "ask"], price: float) -> float:
        """Return the size that is shown at a price, in coins; 0 where there is none."""
        return (self._bids if side == "bid" else self._asks).get(price, 0.0)

    def depth(self, levels: int) -> tuple[list[Level], list[Level]]:
        """Return up to ``levels`` bids and asks as price and size, best first."""
        if levels < 1:
            raise ValueError(f"book of {self.symbol}: levels must be at least 1, found {levels}")
        bids = sorted(self._bids.items(), reverse=True)[:levels]
        return bids, sorted(self._asks.items())[:levels]


def book_rows(updates: Iterable[BookUpdate]) -> pl.DataFrame:
    """Return updates as rows (schema ``books``), one a level, in the order given.

    An update that changes nothing has no row; an empty reset is one bid of price and size 0.
    """
    rows = [
        (change.symbol, change.time, change.known, side, price, size, change.reset)
        for change in updates
        for side, price, size in _levels(change)
    ]
    names = {"symbol": pl.String, "time": pl.Int64, "known": pl.Int64, "side": pl.String}
    schema = {**names, "price": pl.Float64, "size": pl.Float64, "reset": pl.Boolean}
    instants = (pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in ("time", "known"))
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(instants)


def book_updates(rows: pl.DataFrame) -> list[BookUpdate]:
    """Return the updates of rows (schema ``books``) in their order: neighbours of one message are one update."""
    starts = message_starts(rows)
    heads = rows[starts].select("symbol", *(pl.col(name).dt.epoch("ns") for name in ("time", "known")), "reset")
    sides, prices, sizes = (rows[name].to_list() for name in ("side", "price", "size"))
    levels = list(zip(prices, sizes, strict=True))
    updates = []
    for (symbol, time, known, reset), (first, end) in zip(
        heads.iter_rows(), pairwise([*starts.tolist(), rows.height]), strict=True
    ):
        inside = [(sides[row], levels[row]) for row in range(first, end) if prices[row] > 0]
        bids = tuple([level for side, level in inside if side == "bid"])
        asks = tuple([level for side, level in inside if side == "ask"])
        updates.append(BookUpdate(symbol, time, known, bids, asks, reset))
    return updates


def message_starts(rows: pl.DataFrame) -> NDArray[np.intp]:
    """Return the first row of each message: where symbol, time, known, reset or the position in a log changes."""
    keys = [name for name in ("symbol", "time", "known", "reset", "position") if name in rows.columns]
    is_new = rows.select(is_new=pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(1)) for name in keys))
    first = pl.int_range(pl.len()) == 0
    return np.flatnonzero(is_new.select(pl.col("is_new") | first).to_series().to_numpy())


def _levels(change: BookUpdate) -> list[tuple[str, float, float]]:
    levels = [("bid", price, size) for price, size in change.bids]
    levels += [("ask", price, size) for price, size in change.asks]
    return levels or ([("bid", 0.0, 0.0)] if change.reset else [])
