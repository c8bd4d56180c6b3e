"""Faults of orders beside parts that the venue makes of its own accord, shares of volume, and several fills."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import MarketOrderRequest

from cryptoquant.backtest.sandbox import Fault, Sandbox
from cryptoquant.backtest.sandbox.wire import update_body

MINUTE = timedelta(minutes=1)


def bought(sandbox: Sandbox, quantity: str) -> tuple[TradingClient, str]:
    client = TradingClient(sandbox.api_key, sandbox.api_secret, url_override=sandbox.url)
    request = MarketOrderRequest(symbol="BTC/USD", qty=quantity, side=OrderSide.BUY, time_in_force=TimeInForce.GTC)
    return client, str(client.submit_order(request).id)


def told(sandbox: Sandbox) -> list[tuple[str, Decimal]]:
    exchange = sandbox._exchange
    return [(one.event, exchange.coins("BTC/USD", one.ticket.filled)) for one in exchange.updates]


def test_the_part_of_a_fault_is_not_divided_again(open_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = open_sandbox(partial_fills=1.0, faults=[Fault("order.partial", factor=0.25)])
    client, order_id = bought(sandbox, "0.1")
    sandbox.advance(2 * MINUTE)
    assert told(sandbox) == [("new", 0), ("partial_fill", Decimal("0.025")), ("canceled", Decimal("0.025"))]
    assert client.get_order_by_id(order_id).status == "canceled"
    assert client.get_account().non_marginable_buying_power == client.get_account().cash
    _, second = bought(sandbox, "0.1")
    sandbox.advance(2 * MINUTE)
    assert [event for event, _ in told(sandbox)[3:]] == ["new", "partial_fill", "fill"]
    assert client.get_order_by_id(second).status == "filled"


def test_a_part_that_needs_several_bars_is_filled_before_the_rest_is_canceled(
    open_sandbox: Callable[..., Sandbox],
) -> None:
    sandbox = open_sandbox(participation=0.02, faults=[Fault("order.partial", factor=0.5)])
    client, order_id = bought(sandbox, "1")
    sandbox.advance(60 * MINUTE)
    events = told(sandbox)
    assert [event for event, _ in events[1:-1]] == ["partial_fill"] * (len(events) - 2)
    assert len(events) > 4
    assert events[-1] == ("canceled", Decimal("0.5"))
    assert client.get_order_by_id(order_id).filled_qty == "0.5"


def test_one_of_several_fills_is_restated_and_each_correction_has_an_id_of_its_own(
    open_sandbox: Callable[..., Sandbox],
) -> None:
    sandbox = open_sandbox(partial_fills=1.0, cash=100_000.0, faults=[Fault("order.restate", factor=0.5, count=2)])
    client, order_id = bought(sandbox, "0.1")
    sandbox.advance(2 * MINUTE)
    exchange = sandbox._exchange
    assert [event for event, _ in told(sandbox)] == ["new", "partial_fill", "restated", "fill", "restated"]
    ids = [update_body(one, exchange)["data"]["execution_id"] for one in exchange.updates]
    assert len(set(ids)) == 5
    ticket = exchange.tickets[order_id]
    assert list(ticket.fills) == exchange.fills
    first, second = exchange.updates[2].ticket, ticket
    assert first.fills[0].price == second.fills[0].price == exchange.updates[1].fill.price * 0.5
    paid = sum(float(exchange.coins("BTC/USD", fill.lots)) * fill.price for fill in ticket.fills)
    order = client.get_order_by_id(order_id)
    assert float(order.filled_avg_price) * 0.1 == pytest.approx(paid)
    assert float(client.get_account().cash) == pytest.approx(100_000 - paid, abs=0.01)
    assert float(client.get_open_position("BTCUSD").avg_entry_price) == pytest.approx(paid / 0.1)
    fills = client.get("/account/activities/FILL")
    assert sorted(float(fill["price"]) for fill in fills) == pytest.approx(sorted(f.price for f in ticket.fills))
