"""What can be traded: symbols such as ``BTC/USD``, their increments and the size of an order."""

from dataclasses import dataclass
from decimal import Decimal

QUOTES = ("USDT", "USDC", "USD", "BTC")


def normalize_symbol(symbol: str) -> str:
    """Return the slash form of a symbol: ``BTCUSD`` and ``btc/usd`` become ``BTC/USD``.

    Raises
    ------
    ValueError
        No known quote currency ends the text.

    Examples
    --------
    >>> normalize_symbol("USDCUSD")
    'USDC/USD'
    """
    text = symbol.strip().upper().replace("_", "/").replace("-", "/")
    if "/" in text:
        base, _, quote = text.partition("/")
        if base and quote and "/" not in quote:
            return text
    else:
        for quote in QUOTES:
            if text.endswith(quote) and len(text) > len(quote):
                return f"{text[: -len(quote)]}/{quote}"
    raise ValueError(f"cannot read the symbol {symbol!r}: wanted BASE/QUOTE, for example BTC/USD")


def compact_symbol(symbol: str) -> str:
    """Return the form without a slash that Alpaca uses for positions.

    Examples
    --------
    >>> compact_symbol("BTC/USD")
    'BTCUSD'
    """
    return symbol.replace("/", "")


@dataclass(frozen=True, slots=True)
class Instrument:
    """A pair and the grid on which it is traded.

    Quantities are counted in lots: one lot is ``quantity_increment`` coins. On a continuous research market the
    increment is 0 and a lot is one whole coin, of which any fraction may be held.

    Parameters
    ----------
    symbol
        Slash form, ``BTC/USD``.
    quantity_increment
        Smallest step of a quantity, in coins; 0 for a continuous market.
    price_increment
        Smallest step of a limit price, in quote currency; 0 for any price.
    minimum_quantity
        Smallest order, in coins.
    """

    symbol: str
    quantity_increment: Decimal = Decimal("0.000000001")
    price_increment: Decimal = Decimal("0")
    minimum_quantity: Decimal = Decimal("0")

    def __post_init__(self) -> None:
        if min(self.quantity_increment, self.price_increment, self.minimum_quantity) < 0:
            raise ValueError(f"{self.symbol}: increments and sizes cannot be negative")

    @property
    def base(self) -> str:
        """The currency that is bought: ``BTC`` of ``BTC/USD``."""
        return self.symbol.partition("/")[0]

    @property
    def quote(self) -> str:
        """The currency that is paid: ``USD`` of ``BTC/USD``."""
        return self.symbol.partition("/")[2]

    @property
    def is_continuous(self) -> bool:
        """Whether any fraction of a coin may be traded."""
        return self.quantity_increment == 0

    @property
    def lot(self) -> float:
        """Coins in one lot."""
        return float(self.quantity_increment) if self.quantity_increment else 1.0

    def quantity(self, lots: float) -> Decimal:
        """Return the exact quantity in coins of a number of lots."""
        if self.is_continuous:
            return Decimal(repr(float(lots)))
        return self.quantity_increment * int(lots)

    def lots(self, quantity: Decimal | str) -> float:
        """Return the number of lots in a quantity of coins.

        Raises
        ------
        ValueError
            The quantity is not a multiple of the increment.
        """
        exact = Decimal(quantity)
        if self.is_continuous:
            return float(exact)
        count, rest = divmod(exact, self.quantity_increment)
        if rest:
            raise ValueError(f"{self.symbol}: quantity {exact} is not a multiple of {self.quantity_increment}")
        return float(count)

    @classmethod
    def continuous(cls, symbol: str) -> "Instrument":
        """Return an instrument without increments, for research on another venue's prices."""
        return cls(symbol, quantity_increment=Decimal(0))
