"""Every body that the sandbox can answer is read by the models of the unmodified SDK, and says what was meant."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from alpaca.data.historical.crypto import CryptoHistoricalDataClient
from alpaca.data.models import Bar, Orderbook, Quote, Snapshot, Trade
from alpaca.data.requests import (
    CryptoBarsRequest,
    CryptoLatestBarRequest,
    CryptoLatestOrderbookRequest,
    CryptoLatestQuoteRequest,
    CryptoLatestTradeRequest,
    CryptoQuoteRequest,
    CryptoSnapshotRequest,
    CryptoTradesRequest,
)
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderStatus
from alpaca.trading.models import (
    AccountConfiguration,
    Asset,
    Calendar,
    Clock,
    ClosePositionResponse,
    NonTradeActivity,
    Order,
    PortfolioHistory,
    Position,
    TradeAccount,
    TradeActivity,
    TradeUpdate,
)

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.backtest.sandbox.wire import update_body

MINUTE = timedelta(minutes=1)
FORCES = ("gtc", "ioc")
SHAPES: tuple[dict[str, str], ...] = (
    {"type": "market", "qty": "0.02"},
    {"type": "market", "notional": "500.25"},
    {"type": "limit", "qty": "0.02", "limit_price": "90000"},
    {"type": "limit", "qty": "0.02", "limit_price": "9000.25"},
    {"type": "limit", "notional": "500", "limit_price": "9000"},
    {"type": "stop_limit", "qty": "0.02", "limit_price": "90000", "stop_price": "90000"},
)


def ask(sandbox: Sandbox, method: str, path: str, body: object = None) -> Any:
    headers = {"APCA-API-KEY-ID": sandbox.api_key, "APCA-API-SECRET-KEY": sandbox.api_secret}
    answer = requests.request(method, f"{sandbox.url}/v2{path}", headers=headers, json=body, timeout=10)
    return answer.json() if answer.content else None


def busy(sandbox: Sandbox) -> list[dict]:
    """Bring orders into every state that there is; return the answers to the POSTs and PATCHes."""
    said = []
    for _ in range(2):
        for force in FORCES:
            for shape in SHAPES:
                order = {"symbol": "BTC/USD", "side": "buy", "time_in_force": force} | shape
                said.append(ask(sandbox, "POST", "/orders", order))
        resting = [one for one in said if one.get("limit_price") == "9000.25" and one["time_in_force"] == "gtc"]
        said.append(ask(sandbox, "PATCH", f"/orders/{resting[-1]['id']}", {"limit_price": "9001"}))
        ask(sandbox, "DELETE", f"/orders/{said[4]['id']}")
        sandbox.advance(2 * MINUTE)
    return said


@pytest.fixture
def rich(open_sandbox: Callable[..., Sandbox]) -> Sandbox:
    return open_sandbox(latency=timedelta(seconds=61), partial_fills=0.5, late_trades=0.2, participation=0.2)


def test_orders_and_updates_in_every_state_are_read(rich: Sandbox) -> None:
    answers = busy(rich)
    assert {Order(**body).status for body in answers} == {OrderStatus.PENDING_NEW}
    events, states = set(), set()
    for update in rich._exchange.updates:
        body = update_body(update, rich._exchange)["data"]
        read = TradeUpdate(**body)
        events.add(read.event)
        states.add(read.order.status.value)
        assert (read.price is not None) == (read.event in ("fill", "partial_fill"))
        assert (str(read.order.id), str(read.execution_id)) == (update.ticket.id, body["execution_id"])
    assert events >= {"new", "fill", "partial_fill", "canceled", "pending_cancel", "pending_replace", "replaced"}
    assert states >= {"new", "filled", "partially_filled", "canceled", "pending_cancel", "pending_replace", "replaced"}
    for body in ask(rich, "GET", "/orders?status=all&limit=500"):
        order = Order(**body)
        assert str(order.filled_qty) == body["filled_qty"]
        moments = {"filled": order.filled_at, "canceled": order.canceled_at, "replaced": order.replaced_at}
        assert [name for name, moment in moments.items() if moment] == [
            name for name in moments if name == body["status"]
        ]


def test_everything_about_the_account_is_read(rich: Sandbox) -> None:
    busy(rich)
    client = TradingClient(rich.api_key, rich.api_secret, url_override=rich.url)
    assert isinstance(client.get_account(), TradeAccount)
    assert isinstance(client.get_account_configurations(), AccountConfiguration)
    assert isinstance(client.get_clock(), Clock)
    assert all(isinstance(day, Calendar) for day in client.get_calendar())
    assert all(isinstance(asset, Asset) for asset in client.get_all_assets())
    assert all(isinstance(position, Position) for position in client.get_all_positions())
    assert isinstance(client.get_portfolio_history(), PortfolioHistory)
    client.cancel_orders()
    rich.advance(2 * MINUTE)
    assert all(isinstance(one, ClosePositionResponse) for one in client.close_all_positions(cancel_orders=True))
    again = client.close_all_positions(cancel_orders=False)
    assert [(one.status, one.body.code) for one in again] == [(403, 40310000)]
    rich.advance_to(datetime(2024, 1, 3, tzinfo=UTC))
    kinds = {"FILL": TradeActivity, "CFEE": NonTradeActivity}
    found = ask(rich, "GET", "/account/activities")
    assert {body["activity_type"] for body in found} == set(kinds)
    for body in found:
        read = kinds[body["activity_type"]](**body, account_id=client.get_account().id)
        assert read.qty == float(body["qty"])


def test_every_kind_of_market_data_is_read(rich: Sandbox) -> None:
    rich.advance(3 * MINUTE)
    client, symbol = CryptoHistoricalDataClient(url_override=rich.url), "BTC/USD"
    span = {"symbol_or_symbols": symbol, "start": datetime(2024, 1, 2, 12, tzinfo=UTC)}
    one = {"symbol_or_symbols": symbol}
    lists = (
        (Bar, client.get_crypto_bars(CryptoBarsRequest(**span, timeframe=TimeFrame.Minute)).data[symbol]),
        (Trade, client.get_crypto_trades(CryptoTradesRequest(**span)).data[symbol]),
        (Quote, client.get_crypto_quotes(CryptoQuoteRequest(**span)).data[symbol]),
    )
    for model, rows in lists:
        assert len(rows) >= 3
        assert all(isinstance(row, model) for row in rows)
    assert isinstance(client.get_crypto_latest_bar(CryptoLatestBarRequest(**one))[symbol], Bar)
    assert isinstance(client.get_crypto_latest_trade(CryptoLatestTradeRequest(**one))[symbol], Trade)
    assert isinstance(client.get_crypto_latest_quote(CryptoLatestQuoteRequest(**one))[symbol], Quote)
    assert isinstance(client.get_crypto_latest_orderbook(CryptoLatestOrderbookRequest(**one))[symbol], Orderbook)
    assert isinstance(client.get_crypto_snapshot(CryptoSnapshotRequest(**one))[symbol], Snapshot)
