"""What the venue gets to see of an order: the part that it can keep."""

from msgspec.structs import replace

from cryptoquant.trading.order import Order


def at_venue(order: Order) -> Order:
    """Return an order without what the client holds for it: exits, its life, its group and that it only reduces.

    Alpaca's crypto orders are market, limit and stop limit, good till cancelled or immediate or cancel ("Crypto
    Orders"); an engine with ``holds`` cancels a ``gtt`` order itself and keeps its exits within what is held.
    """
    life = "gtc" if order.time_in_force == "gtt" else order.time_in_force
    return replace(order, time_in_force=life, expires=0, group="", reduces=False, protection=None)
