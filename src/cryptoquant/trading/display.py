"""What the market shows of one symbol: the touch of a quote or the levels of a book, less what own orders took."""

import math

from cryptoquant.market.book import Book, Level
from cryptoquant.market.schema import BookUpdate, Quote

DEEPEST = 1_000_000  # levels of a book: all of them
DUST = 1e-12  # share of a level below which what is left of it is the rounding of a subtraction


class Display:
    """The bids and asks of one symbol, a fold over its quotes or over the updates of its book.

    A recorded market does not know our orders, so what they took is remembered: it is gone until the market shows the
    level again (a quote shows both sides anew; an update of a book the levels that it names). Once there is a book, it
    says more than the quotes, and these are passed over.
    """

    __slots__ = ("_ask", "_bid", "_book", "_taken")

    def __init__(self, symbol: str) -> None:
        self._book = Book(symbol)
        self._bid: Level | None = None
        self._ask: Level | None = None
        self._taken: dict[tuple[int, float], float] = {}

    @property
    def is_book(self) -> bool:
        """Whether whole books are shown, not only the touch."""
        return self._book.is_ready

    @property
    def is_known(self) -> bool:
        """Whether anything was shown yet."""
        return self._book.is_ready or self._bid is not None or self._ask is not None

    def show_quote(self, quote: Quote) -> None:
        """Take the next quote; a side without price or size is empty."""
        if self._book.is_ready:
            return
        self._bid = _side(quote.bid_price, quote.bid_size)
        self._ask = _side(quote.ask_price, quote.ask_size)
        self._taken.clear()

    def show_book(self, change: BookUpdate) -> None:
        """Take the next update of the book."""
        for sign, levels in ((1, change.asks), (-1, change.bids)):
            for price, _ in levels:
                self._taken.pop((sign, price), None)
        self._book.update(change)
        if self._book.is_ready:
            self._bid, self._ask = self._book.best_bid, self._book.best_ask

    @property
    def bid(self) -> float:
        """The best bid, NaN without one."""
        return math.nan if self._bid is None else self._bid[0]

    @property
    def ask(self) -> float:
        """The best ask, NaN without one."""
        return math.nan if self._ask is None else self._ask[0]

    @property
    def mid(self) -> float:
        """Half way between the best bid and ask; the one that is there where the other is not, NaN without both."""
        if math.isnan(self.bid):
            return self.ask
        return self.bid if math.isnan(self.ask) else (self.bid + self.ask) / 2.0

    def levels(self, sign: int, limit: float) -> list[Level]:
        """Return what a buy (sign +1) or sell (-1) can take within ``limit`` (NaN: at any price), best first.

        Prices in quote currency and sizes in coins, less what own orders took.
        """
        touch = self._ask if sign > 0 else self._bid
        if touch is None or sign * (touch[0] - limit) > 0:
            return []
        shown = [touch]
        if self._book.is_ready:
            shown = self._book.depth(DEEPEST)[1 if sign > 0 else 0]
        left = [(price, size - self._taken.get((sign, price), 0.0), size) for price, size in shown]
        return [(price, rest) for price, rest, size in left if rest > DUST * size and not sign * (price - limit) > 0]

    def take(self, sign: int, price: float, size: float) -> None:
        """Remember that an own buy (sign +1) or sell (-1) took ``size`` coins at a price."""
        self._taken[sign, price] = self._taken.get((sign, price), 0.0) + size

    def size_at(self, sign: int, price: float) -> float:
        """Return the coins shown at a price on the side where a buy (sign +1) or a sell (-1) rests.

        Zero where the price is better than the touch, NaN where only the touch is shown and it is better than the
        price: what stands there is not known.
        """
        touch = self._bid if sign > 0 else self._ask
        if touch is None or sign * (price - touch[0]) > 0:
            return 0.0
        if self._book.is_ready:
            return self._book.size_at("bid" if sign > 0 else "ask", price)
        return touch[1] if price == touch[0] else math.nan


def _side(price: float, size: float) -> Level | None:
    return (price, size) if price > 0 and size > 0 else None
