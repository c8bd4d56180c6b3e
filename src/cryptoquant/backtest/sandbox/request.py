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
NUMBERS = ("qty", "notional", "limit_price", "stop_price")
REPLACEABLE = ("qty", "time_in_force", "limit_price", "stop_price", "client_order_id")


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
    stop_price: Decimal | None = None


def read_order(body: Mapping[str, Any], instruments: Mapping[str, Instrument]) -> OrderRequest | Refusal:
    """Return the order of a body of ``POST /v2/orders``, or why it is refused.

    The rules are those of Alpaca's pages "Crypto Orders" and "Placing Orders": market, limit and stop_limit, gtc and
    ioc, quantity or notional, increments.
    """
    problem = _words(body)
    if problem is not None:
        return problem
    instrument = _instrument(body.get("symbol"), instruments)
    if instrument is None:
        return invalid_order(f'asset "{body.get("symbol")}" not found')
    numbers: dict[str, Decimal | None] = {}
    for name in NUMBERS:
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
        numbers["stop_price"],
    )


def read_replacement(
    body: Mapping[str, Any], before: OrderRequest, left: Decimal, instruments: Mapping[str, Instrument]
) -> OrderRequest | Refusal:
    """Return the order that a body of ``PATCH /v2/orders/{id}`` puts in the place of ``before``, or why it is refused.

    A quantity that is not named is what is left of the order; so an order by notional goes on by quantity.
    """
    changes = {name: body[name] for name in REPLACEABLE if body.get(name) not in (None, "")}
    if not changes:
        return invalid_request(f"a replacement changes at least one of {', '.join(REPLACEABLE)}")
    if "notional" in body or "trail" in body:
        return invalid_order("only qty, time_in_force, limit_price, stop_price and client_order_id can be replaced")
    prices = {"limit_price": before.limit_price, "stop_price": before.stop_price}
    kept = {name: plain(price) for name, price in prices.items() if price is not None}
    order = {"symbol": before.symbol, "side": before.side, "type": before.type, "time_in_force": before.time_in_force}
    return read_order(order | kept | {"qty": plain(left)} | changes, instruments)


def _words(body: Mapping[str, Any]) -> Refusal | None:
    kind = body.get("type")
    if kind not in ("market", "limit", "stop_limit"):
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
    stop = numbers["stop_price"]
    if (limit is None) != (kind == "market"):
        return invalid_request(
            f"{kind} orders require a limit price" if limit is None else "market orders take no price"
        )
    if (stop is None) == (kind == "stop_limit"):
        return invalid_request(
            "stop_limit orders require a stop price" if stop is None else f"{kind} orders take no stop price"
        )
    if quantity is not None and quantity % instrument.quantity_increment:
        return invalid_order(f"qty must be a multiple of {plain(instrument.quantity_increment)}")
    if notional is not None and notional % CENT:
        return invalid_order("notional value must be limited to 2 decimal places")
    for name in ("limit_price", "stop_price"):
        price = numbers[name]
        if price is not None and price % instrument.price_increment:
            return invalid_order(f"{name} must be a multiple of {plain(instrument.price_increment)}")
    return None
