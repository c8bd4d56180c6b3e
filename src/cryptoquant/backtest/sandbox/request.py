"""An order as a client asks for it: the JSON body read against the venue's rules, before any balance is looked at."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from cryptoquant.backtest.sandbox.refusal import Refusal, invalid_order, invalid_request, plain
from cryptoquant.market.instrument import Instrument, normalize_symbol
from cryptoquant.trading.order import OrderType, Side, TimeInForce

CLIENT_ID_LENGTH = 128
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A well-formed request; exactly one of ``quantity`` (coins) and ``notional`` (quote currency) is given.

    An empty ``client_order_id`` asks the venue for one.
    """

    client_order_id: str
    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    quantity: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None


def read_order(body: Mapping[str, Any], instruments: Mapping[str, Instrument]) -> OrderRequest | Refusal:
    """Return the order of a body of ``POST /v2/orders``, or why it is refused.

    The rules are those of Alpaca's pages "Crypto Orders" and "Placing Orders": market and limit, gtc and ioc, quantity
    or notional, increments. ``stop_limit``, which Alpaca offers, is refused here.
    """
    problem = _words(body)
    if problem is not None:
        return problem
    instrument = _instrument(body.get("symbol"), instruments)
    if instrument is None:
        return invalid_order(f'asset "{body.get("symbol")}" not found')
    numbers: dict[str, Decimal | None] = {}
    for name in ("qty", "notional", "limit_price"):
        value = _decimal(body.get(name))
        if isinstance(value, str):
            return invalid_request(f"{name} must be a positive number, found {value}")
        numbers[name] = value
    problem = _amounts(numbers, str(body["type"]), instrument)
    if problem is not None:
        return problem
    return OrderRequest(
        str(body.get("client_order_id") or ""),
        instrument.symbol,
        cast("Side", body["side"]),
        cast("OrderType", body["type"]),
        cast("TimeInForce", body["time_in_force"]),
        numbers["qty"],
        numbers["notional"],
        numbers["limit_price"],
    )


def _words(body: Mapping[str, Any]) -> Refusal | None:
    kind = body.get("type")
    if kind == "stop_limit":
        return invalid_order("this sandbox does not offer stop_limit orders; hold the stop in the client")
    if kind not in ("market", "limit"):
        return invalid_order("invalid order type for crypto order")
    if body.get("time_in_force") not in ("gtc", "ioc"):
        return invalid_order("invalid crypto time_in_force")
    if body.get("side") not in ("buy", "sell"):
        return invalid_request(f"side must be buy or sell, found {body.get('side')}")
    if body.get("order_class") not in (None, "", "simple"):
        return invalid_order(f"order_class {body['order_class']} is not offered for crypto orders")
    if len(str(body.get("client_order_id") or "")) > CLIENT_ID_LENGTH:
        return invalid_request(f"client_order_id must be no more than {CLIENT_ID_LENGTH} characters")
    return None


def _instrument(symbol: Any, instruments: Mapping[str, Instrument]) -> Instrument | None:
    try:
        return instruments.get(normalize_symbol(str(symbol)))
    except ValueError:
        return None


def _decimal(value: Any) -> Decimal | str | None:
    """Return the exact number that was written, None for none, or the text that is no positive number."""
    if value is None or value == "":
        return None
    try:
        number = Decimal(value if isinstance(value, str) else repr(value))
    except InvalidOperation:
        return str(value)
    return number if number.is_finite() and number > 0 else str(value)


def _amounts(numbers: Mapping[str, Decimal | None], kind: str, instrument: Instrument) -> Refusal | None:
    quantity, notional, limit = numbers["qty"], numbers["notional"], numbers["limit_price"]
    if (quantity is None) == (notional is None):
        wrong = "is required" if quantity is None else "is accepted, not both"
        return invalid_request(f"exactly one of qty or notional {wrong}")
    if (limit is None) == (kind == "limit"):
        return invalid_request("limit orders require a limit price" if limit is None else "market orders take no price")
    if quantity is not None and quantity % instrument.quantity_increment:
        return invalid_order(f"qty must be a multiple of {plain(instrument.quantity_increment)}")
    if notional is not None and notional % CENT:
        return invalid_order("notional value must be limited to 2 decimal places")
    if limit is not None and limit % instrument.price_increment:
        return invalid_order(f"limit_price must be a multiple of {plain(instrument.price_increment)}")
    return None
