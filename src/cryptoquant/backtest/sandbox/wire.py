"""Alpaca's words for what happened: the bodies of orders, positions, accounts, assets and market data points."""

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgpack
import msgspec

from cryptoquant.backtest.sandbox.exchange import DAY, Exchange
from cryptoquant.backtest.sandbox.refusal import Refusal, plain
from cryptoquant.backtest.sandbox.ticket import Ticket, Update
from cryptoquant.market.instrument import Instrument, compact_symbol
from cryptoquant.market.schema import Bar, BookUpdate, Quote, Trade
from cryptoquant.market.time import iso
from cryptoquant.trading.order import Fill

Body = dict[str, Any]
Event = Trade | Quote | Bar | BookUpdate
UNUSED_ORDER_FIELDS = (
    "expired_at",
    "legs",
    "trail_percent",
    "trail_price",
    "hwm",
)
CLOSINGS = {
    "filled": "filled_at",
    "canceled": "canceled_at",
    "rejected": "failed_at",
    "replaced": "replaced_at",
}
CHANNELS = {
    "trades": "t",
    "quotes": "q",
    "orderbooks": "o",
    "bars": "b",
    "updatedBars": "u",
    "dailyBars": "d",
}


def text(number: float) -> str:
    """Return a float as the shortest decimal that reads back as the same number, without exponent."""
    return plain(Decimal(repr(float(number))))


def cents(number: float) -> str:
    """Return a value in quote currency, rounded to a millionth."""
    return plain(Decimal(repr(float(number))).quantize(Decimal("0.000001")))


def moment(ns: int) -> str | None:
    """Return RFC 3339 of an instant, None for 0."""
    return iso(ns) if ns else None


def point(event: Event) -> Body:
    """Return the fields of a market data point as REST and websocket share them; ``t`` is nanoseconds."""
    if isinstance(event, Trade):
        return {"t": event.time, "p": event.price, "s": event.size, "i": event.id, "tks": event.taker_side or "-"}
    if isinstance(event, Quote):
        prices = {"bp": event.bid_price, "bs": event.bid_size, "ap": event.ask_price, "as": event.ask_size}
        return {"t": event.time, **prices}
    if isinstance(event, BookUpdate):
        levels = {"b": _levels(event.bids), "a": _levels(event.asks)}
        return {"t": event.time, **levels, **({"r": True} if event.reset else {})}
    prices = {"o": event.open, "h": event.high, "l": event.low, "c": event.close}
    return {"t": event.open_time, **prices, "v": event.volume, "n": event.trade_count, "vw": event.vwap}


def _levels(levels: Sequence[tuple[float, float]]) -> list[dict[str, float]]:
    return [{"p": price, "s": size} for price, size in levels]


def rest(event: Event) -> Body:
    """Return a market data point for a REST answer: ``t`` is RFC 3339."""
    fields = point(event)
    return {**fields, "t": iso(fields["t"])}


def frame(points: Sequence[Body], *, as_msgpack: bool) -> bytes:
    """Return one websocket frame of control messages or data points.

    In msgpack ``t`` is the Timestamp extension with nanoseconds, in JSON it is RFC 3339.
    """
    if as_msgpack:
        stamped = [{**p, "t": msgpack.Timestamp.from_unix_nano(p["t"])} if "t" in p else p for p in points]
        packed: bytes = msgpack.packb(stamped)
        return packed
    return msgspec.json.encode([{**p, "t": iso(p["t"])} if "t" in p else p for p in points])


def refusal_body(refused: Refusal) -> Body:
    """Return the JSON body of a refusal."""
    return {"code": refused.code, "message": refused.message, **dict(refused.details)}


def order_body(ticket: Ticket, exchange: Exchange, status: str | None = None) -> Body:
    """Return an order; numbers are strings. ``status`` overrides the ticket's own."""
    request, symbol, average = ticket.request, ticket.request.symbol, ticket.average_price
    moments = {name: moment(ticket.closed) if ticket.status == closed else None for closed, name in CLOSINGS.items()}
    return {
        "id": ticket.id,
        "client_order_id": request.client_order_id,
        "created_at": iso(ticket.submitted),
        "updated_at": iso(ticket.updated),
        "submitted_at": iso(ticket.submitted),
        **moments,
        **dict.fromkeys(UNUSED_ORDER_FIELDS),
        "replaced_by": ticket.replaced_by or None,
        "replaces": ticket.replaces or None,
        "asset_id": asset_id(exchange, symbol),
        "symbol": symbol,
        "asset_class": "crypto",
        "notional": _number(request.notional),
        "qty": _number(request.quantity),
        "filled_qty": plain(exchange.coins(symbol, ticket.filled)),
        "filled_avg_price": _number(average),
        "order_class": "",
        "order_type": request.type,
        "type": request.type,
        "side": request.side,
        "position_intent": "buy_to_open" if request.side == "buy" else "sell_to_close",
        "time_in_force": request.time_in_force,
        "limit_price": _number(request.limit_price),
        "stop_price": _number(request.stop_price),
        "status": status or ticket.status,
        "extended_hours": False,
    }


def _number(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def update_body(update: Update, exchange: Exchange) -> Body:
    """Return a message of the trade_updates stream; a fill tells the price and quantity of this execution only."""
    fill, ticket = update.fill, update.ticket
    data: Body = {
        "event": update.event,
        "execution_id": exchange.identity("execution", ticket.id, update.event),
        "timestamp": iso(update.time),
        "order": order_body(ticket, exchange),
    }
    if fill is not None and update.event == "restated":
        data["execution_id"] = exchange.identity("execution", fill.execution_id, update.event)
    elif fill is not None:
        data["execution_id"] = execution(fill, exchange)
        quantity = plain(exchange.coins(fill.symbol, fill.lots))
        data |= {"price": text(fill.price), "qty": quantity, "position_qty": plain(update.position)}
    return {"stream": "trade_updates", "data": data}


def execution(fill: Fill, exchange: Exchange) -> str:
    """Return the id of an execution, the same on the stream and in the activities."""
    return exchange.identity("execution", fill.execution_id)


def clock_body(now: int) -> Body:
    """Return the market clock: crypto never closes, so the next open and close are the next midnight UTC."""
    midnight = iso((now // DAY + 1) * DAY)
    return {"timestamp": iso(now), "is_open": True, "next_open": midnight, "next_close": midnight}


def position_body(exchange: Exchange, symbol: str) -> Body:
    """Return a position; its symbol has no slash, as Alpaca writes it."""
    position = exchange.position(symbol)
    quantity, price = exchange.coins(symbol, position.lots), exchange.mark(symbol)
    last = float(exchange.last_marks[exchange.symbols.index(symbol)])
    before = price if math.isnan(last) else last
    held, gain = float(quantity), float(quantity) * (price - position.price)
    return {
        "asset_id": asset_id(exchange, symbol),
        "symbol": compact_symbol(symbol),
        "exchange": "CRYPTO",
        "asset_class": "crypto",
        "asset_marginable": False,
        "qty": plain(quantity),
        "qty_available": plain(exchange.available(symbol)),
        "avg_entry_price": text(position.price),
        "side": "long",
        "market_value": cents(held * price),
        "cost_basis": cents(held * position.price),
        "unrealized_pl": cents(gain),
        "unrealized_plpc": cents(price / position.price - 1),
        "unrealized_intraday_pl": cents(held * (price - before)),
        "unrealized_intraday_plpc": cents(price / before - 1),
        "current_price": text(price),
        "lastday_price": text(before),
        "change_today": cents(price / before - 1),
    }


def account_body(exchange: Exchange) -> Body:
    """Return the account; spot only, so buying power is cash less what open buys hold back."""
    cash, equity = plain(exchange.cash), cents(exchange.portfolio.equity)
    power, long = plain(exchange.buying_power), cents(exchange.portfolio.equity - float(exchange.cash))
    flags = ("trading_blocked", "transfers_blocked", "account_blocked", "trade_suspended_by_user", "shorting_enabled")
    zeros = (
        "accrued_fees",
        "pending_transfer_in",
        "pending_transfer_out",
        "short_market_value",
        "initial_margin",
        "maintenance_margin",
        "last_maintenance_margin",
        "sma",
    )
    return {
        "id": exchange.identity("account"),
        "account_number": f"PA{exchange.identity('account')[:8].upper()}",
        "status": "ACTIVE",
        "crypto_status": "ACTIVE",
        "currency": "USD",
        "multiplier": "1",
        "created_at": iso(exchange.opened),
        "cash": cash,
        **dict.fromkeys(("buying_power", "regt_buying_power", "non_marginable_buying_power"), power),
        **dict.fromkeys(("equity", "portfolio_value"), equity),
        "last_equity": cents(exchange.last_equity),
        "long_market_value": long,
        **dict.fromkeys(zeros, "0"),
        **dict.fromkeys(flags, False),
    }


def asset_id(exchange: Exchange, symbol: str) -> str:
    """Return the id of a pair, the same at every sandbox of a seed."""
    return exchange.asset_ids[symbol]


def asset_body(exchange: Exchange, instrument: Instrument) -> Body:
    """Return a pair of the asset list with its increments."""
    return {
        "id": asset_id(exchange, instrument.symbol),
        "class": "crypto",
        "exchange": "CRYPTO",
        "symbol": instrument.symbol,
        "name": f"{instrument.base} / {instrument.quote}",
        "status": "active",
        "tradable": True,
        "marginable": False,
        "maintenance_margin_requirement": "100",
        "shortable": False,
        "easy_to_borrow": False,
        "fractionable": True,
        "attributes": [],
        "min_order_size": plain(instrument.minimum_quantity),
        "min_trade_increment": plain(instrument.quantity_increment),
        "price_increment": plain(instrument.price_increment),
    }


def configuration_body() -> Body:
    """Return the account's configuration: spot only, no margin, no shorts, and no mails."""
    return {
        "dtbp_check": "entry",
        "fractional_trading": True,
        "max_margin_multiplier": "1",
        "max_options_trading_level": 0,
        "no_shorting": True,
        "pdt_check": "entry",
        "ptp_no_exception_entry": False,
        "suspend_trade": False,
        "trade_confirm_email": "none",
    }
