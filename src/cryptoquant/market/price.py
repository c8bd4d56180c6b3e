"""What a symbol was worth between two decisions: what a trader needs to see to hold a stop."""

from typing import Literal

import msgspec

from cryptoquant.market.schema import Bar, Quote


class Price(msgspec.Struct, frozen=True, gc=False, tag="price", tag_field="event", omit_defaults=True):
    """The prices of one symbol over a short span, usually a minute, or at the moment of a quote.

    Attributes
    ----------
    symbol
        Slash form.
    time, known
        Nanoseconds UTC: when the span closed, and when that could be acted on.
    low, high, close
        In quote currency: for what would be sold. Of a quote all three are the bid.
    ask
        What a buyer would pay, in quote currency; 0 for a bar, which does not tell.
    """

    symbol: str
    time: int
    known: int
    low: float
    high: float
    close: float
    ask: float = 0.0

    @classmethod
    def of(cls, bar: Bar) -> "Price":
        """Return the prices of a bar."""
        return cls(bar.symbol, bar.time, bar.known, bar.low, bar.high, bar.close)

    @classmethod
    def of_quote(cls, quote: Quote) -> "Price":
        """Return the prices of a quote: its bid for what would be sold, its ask for what would be bought."""
        bid = quote.bid_price
        return cls(quote.symbol, quote.time, quote.known, bid, bid, bid, quote.ask_price)

    @property
    def spread_bps(self) -> float:
        """The spread over the middle in basis points; NaN where there is no ask."""
        if not self.ask > 0.0:
            return float("nan")
        return (self.ask - self.close) / (self.ask + self.close) * 20_000.0

    def extremes(self, side: Literal["buy", "sell"]) -> tuple[float, float]:
        """Return the lowest and the highest price at which one would have bought or sold."""
        return (self.ask, self.ask) if side == "buy" and self.ask > 0.0 else (self.low, self.high)
