"""Whether order books hold together: the best bid and ask after every update, and books that nobody saw begin."""

import heapq

import numpy as np
import polars as pl

from cryptoquant.market.book import book_updates, message_starts
from cryptoquant.market.schema import BookUpdate


class TopOfBook:
    """The best prices of one symbol after each update, in the time of a heap.

    It says the same as `market.book.Book`, which finds the best price by looking at all.
    """

    __slots__ = ("_heaps", "_sides", "is_ready")

    def __init__(self) -> None:
        self.is_ready = False
        self._sides: tuple[dict[float, float], dict[float, float]] = ({}, {})
        self._heaps: tuple[list[float], list[float]] = ([], [])

    def update(self, change: BookUpdate) -> None:
        """Apply the next update; before the first reset nothing is known."""
        if change.reset:
            self._sides, self._heaps, self.is_ready = ({}, {}), ([], []), True
        if not self.is_ready:
            return
        for side, heap, levels, sign in zip(
            self._sides, self._heaps, (change.bids, change.asks), (-1.0, 1.0), strict=True
        ):
            for price, size in levels:
                if size <= 0:
                    side.pop(price, None)
                else:
                    if price not in side:
                        heapq.heappush(heap, sign * price)
                    side[price] = size

    def invalidate(self) -> None:
        """Forget everything until the next reset, as after a lost connection."""
        self._sides, self._heaps, self.is_ready = ({}, {}), ([], []), False

    @property
    def best(self) -> tuple[float | None, float | None]:
        """The highest bid and the lowest ask."""
        for side, heap, sign in zip(self._sides, self._heaps, (-1.0, 1.0), strict=True):
            while heap and sign * heap[0] not in side:
                heapq.heappop(heap)
        bids, asks = self._heaps
        return (-bids[0] if bids else None), (asks[0] if asks else None)

    @property
    def is_crossed(self) -> bool:
        """Whether the best bid is at or above the best ask."""
        bid, ask = self.best
        return bid is not None and ask is not None and bid >= ask


def mark_books(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows of books, in the order of arrival by symbol, with marks; a message's rows are marked alike.

    Where the rows tell their ``connection``, a book is unknown from a new connection until its next reset.
    """
    starts = message_starts(rows)
    lengths = np.diff(np.r_[starts, rows.height])
    has_connection = "connection" in rows.columns
    connections = rows["connection"].gather(starts).to_list() if has_connection else [None] * len(starts)
    books: dict[str, TopOfBook] = {}
    reached: dict[str, int] = {}
    last: dict[str, int | None] = {}
    unknown, crossed, late = [], [], []
    for change, connection in zip(book_updates(rows), connections, strict=True):
        book = books.setdefault(change.symbol, TopOfBook())
        if last.get(change.symbol, connection) != connection:
            book.invalidate()
        last[change.symbol] = connection
        book.update(change)
        unknown.append(not book.is_ready)
        crossed.append(book.is_ready and book.is_crossed)
        late.append(change.time < reached.get(change.symbol, change.time))
        reached[change.symbol] = max(change.time, reached.get(change.symbol, change.time))
    marks = {"is_before_reset": unknown, "is_crossed": crossed, "is_late": late}
    return rows.with_columns(
        pl.Series(name, np.repeat(np.array(values, dtype=bool), lengths)) for name, values in marks.items()
    )
