"""Our books against the venue's: the first difference that fills and fees cannot explain."""

from collections.abc import Mapping
from decimal import Decimal

from cryptoquant.trading.engine import Engine

CENT = 0.01


def difference(engine: Engine, held: Mapping[str, Decimal], cash: Decimal, fills: int) -> str:
    """Return what differs in words, or an empty text.

    A position may differ by one increment for each fill, cash by a cent for each. What an order in flight may still
    change is not compared.

    Parameters
    ----------
    held, cash
        The venue's coins by symbol, and its cash in quote currency.
    fills
        How many fills the books hold.
    """
    book, steps = engine.portfolio, max(1, fills)
    moving = {order.symbol for order in engine.in_flight.values()}
    for symbol in book.symbols:
        instrument = engine.venue.instrument(symbol)
        ours, theirs = instrument.quantity(book.held(symbol)), held.get(symbol, Decimal(0))
        if symbol not in moving and abs(ours - theirs) > steps * instrument.quantity_increment:
            return f"{symbol}: our books hold {ours}, the venue {theirs}"
    if not moving and abs(book.cash_value - float(cash)) > CENT * steps:
        return f"cash: our books hold {book.cash_value:.2f}, the venue {cash:.2f}"
    return ""
