"""Trades, quotes and books between the closes of bars, in the order in which they became known."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl

from cryptoquant.features.kernel import Integers
from cryptoquant.market.book import Book, book_updates
from cryptoquant.market.schema import BookUpdate, Quote, Trade, validate
from cryptoquant.market.slice import Floats

Source = Literal["ticks", "books"]
Event = Trade | Quote | BookUpdate

LEVELS = 10
TRADE, QUOTE = 0.0, 1.0
TICKS = ("known", "kind", "price_or_bid", "size_or_bid_size", "side_or_ask", "ask_size")
BOOKS = (
    "known",
    *(f"{noun}_{level}" for noun in ("bid", "bid_size", "ask", "ask_size") for level in range(1, LEVELS + 1)),
)
KNOWN, KIND, PRICE, SIZE, SIDE = range(5)
BID, BID_SIZE, ASK, ASK_SIZE = range(2, 6)
BIDS, BID_SIZES, ASKS, ASK_SIZES = (1 + LEVELS * noun for noun in range(4))
WIDTHS = {"ticks": len(TICKS), "books": len(BOOKS)}
SIDES = {"B": 1.0, "S": -1.0}


@dataclass(frozen=True, slots=True)
class Ticks:
    """What happened between the bars, as frames of the schemas ``trades``, ``quotes`` and ``books``.

    Raises
    ------
    SchemaError
        A frame lacks a column.
    """

    trades: Any = None
    quotes: Any = None
    books: Any = None
    _updates: dict[str, list[BookUpdate]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for kind in ("trades", "quotes", "books"):
            if getattr(self, kind) is not None:
                object.__setattr__(self, kind, validate(getattr(self, kind), kind))

    def table(self, source: Source, symbol: str) -> tuple[Integers, Floats]:
        """Return when the events of one symbol were known (ns UTC), and the events, shape (fields, events).

        A trade or quote of which a number is missing or infinite, or a price not above zero, is passed over.
        """
        return self._book_table(symbol) if source == "books" else self._tick_table(symbol)

    def events(self) -> list[Event]:
        """Return all events in the order in which they became known; at one moment trades before quotes."""
        kinds: tuple[tuple[Any, Any], ...] = ((Trade, self.trades), (Quote, self.quotes))
        found: list[Event] = []
        for kind, frame in kinds:
            if frame is not None:
                names = list(kind.__struct_fields__)
                stamps = [pl.col(name).dt.epoch("ns") for name in ("time", "known")]
                found += [kind(*row) for row in frame.with_columns(stamps).select(names).iter_rows()]
        found += [] if self.books is None else book_updates(self.books)
        return sorted(found, key=lambda event: event.known)

    def updates(self, symbol: str) -> list[BookUpdate]:
        """Return the changes of the book of one symbol in the order in which they became known."""
        if not self._updates and self.books is not None:
            for update in sorted(book_updates(self.books), key=lambda update: update.known):
                self._updates.setdefault(update.symbol, []).append(update)
        return self._updates.get(symbol, [])

    def until(self, known: int) -> "Ticks":
        """Return the events that were known at a time (ns UTC) or before."""
        frames = {kind: getattr(self, kind) for kind in ("trades", "quotes", "books")}
        past = pl.col("known").dt.epoch("ns") <= known
        return Ticks(**{kind: None if frame is None else frame.filter(past) for kind, frame in frames.items()})

    def _tick_table(self, symbol: str) -> tuple[Integers, Floats]:
        parts = []
        for kind, frame, columns in ((TRADE, self.trades, _TRADE_COLUMNS), (QUOTE, self.quotes, _QUOTE_COLUMNS)):
            if frame is not None:
                own = frame.filter(pl.col("symbol") == symbol)
                parts.append(own.select(pl.col("known").dt.epoch("ns"), kind=pl.lit(kind), **columns))
        table = pl.concat(parts) if parts else pl.DataFrame(schema=["known", *TICKS[1:]])
        return _sorted_table(table)

    def _book_table(self, symbol: str) -> tuple[Integers, Floats]:
        if self.books is None:
            return _sorted_table(pl.DataFrame(schema=list(BOOKS)))
        book, known, rows = Book(symbol), [], []
        for update in self.updates(symbol):
            book.update(update)
            if book.is_ready:
                known.append(update.known)
                rows.append(book_row(book))
        stamps = np.array(known, dtype=np.int64)
        table = np.empty((len(BOOKS), len(rows)))
        table[0], table[1:] = stamps / 1e9, np.array(rows).reshape(len(rows), len(BOOKS) - 1).T
        return stamps, np.ascontiguousarray(table)


_TRADE_COLUMNS: dict[str, pl.Expr] = {
    TICKS[PRICE]: pl.col("price"),
    TICKS[SIZE]: pl.col("size"),
    TICKS[SIDE]: pl.col("taker_side").replace_strict(SIDES, default=0.0, return_dtype=pl.Float64),
    TICKS[ASK_SIZE]: pl.lit(0.0),
}
_QUOTE_COLUMNS: dict[str, pl.Expr] = {
    TICKS[BID]: pl.col("bid_price"),
    TICKS[BID_SIZE]: pl.col("bid_size"),
    TICKS[ASK]: pl.col("ask_price"),
    TICKS[ASK_SIZE]: pl.col("ask_size"),
}


def _sorted_table(table: pl.DataFrame) -> tuple[Integers, Floats]:
    """Return the events in the order in which they were known; at one moment trades come before quotes.

    An event of which a number is missing or infinite, or a price not above zero, is passed over.
    """
    numbers = [name for name in table.columns if name != "known"]
    finite = pl.all_horizontal(pl.col(name).cast(pl.Float64).is_finite().fill_null(False) for name in numbers)
    is_quote = pl.col(TICKS[KIND]) == QUOTE
    priced = (pl.col(TICKS[PRICE]) > 0) & (~is_quote | (pl.col(TICKS[ASK]) > 0))
    ordered = table.filter(finite & priced).sort(["known", numbers[0]], maintain_order=True) if table.height else table
    known = ordered["known"].cast(pl.Int64).to_numpy()
    values = [known / 1e9, *(ordered[name].cast(pl.Float64).to_numpy() for name in numbers)]
    return known, np.ascontiguousarray(np.stack(values)) if len(known) else np.empty((len(values), 0))


def book_row(book: Book) -> list[float]:
    """Return the best levels of a book as the fields of ``BOOKS`` but the first; a missing one is price NaN, size 0."""
    row = []
    for side in book.depth(LEVELS):
        missing = LEVELS - len(side)
        row += [price for price, _ in side] + [np.nan] * missing + [size for _, size in side] + [0.0] * missing
    return row


def tick_row(event: Trade | Quote) -> tuple[float, ...] | None:
    """Return a trade or quote as the fields of ``TICKS``, None if it is passed over (see ``Ticks.table``)."""
    if isinstance(event, Trade):
        row = (event.known / 1e9, TRADE, event.price, event.size, SIDES.get(event.taker_side, 0.0), 0.0)
    else:
        row = (event.known / 1e9, QUOTE, event.bid_price, event.bid_size, event.ask_price, event.ask_size)
    is_priced = row[PRICE] > 0 and (row[KIND] == TRADE or row[ASK] > 0)
    return row if is_priced and np.isfinite(row).all() else None
