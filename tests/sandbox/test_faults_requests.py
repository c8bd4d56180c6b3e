"""What goes wrong with requests and orders: what an unmodified client sees of each fault, and what stays true."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.data.historical import CryptoHistoricalDataClient
from alpaca.data.requests import CryptoLatestTradeRequest
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import LimitOrderRequest, MarketOrderRequest

from cryptoquant.backtest.sandbox import Fault, Sandbox
from tests.sandbox.clients import Tape

MINUTE = timedelta(minutes=1)
ORDERS = "/v2/orders"


def market(quantity: float = 0.1, **changes: object) -> MarketOrderRequest:
    fields = {"symbol": "BTC/USD", "qty": quantity, "side": OrderSide.BUY, "time_in_force": TimeInForce.GTC}
    return MarketOrderRequest(**(fields | changes))


@pytest.fixture
def client(sandbox: Sandbox) -> TradingClient:
    made = TradingClient(sandbox.api_key, sandbox.api_secret, url_override=sandbox.url)
    made._retry = 0
    return made


@pytest.fixture
def history(sandbox: Sandbox) -> CryptoHistoricalDataClient:
    made = CryptoHistoricalDataClient(url_override=sandbox.url)
    made._retry = 0
    return made


def latest(history: CryptoHistoricalDataClient) -> object:
    return history.get_crypto_latest_trade(CryptoLatestTradeRequest(symbol_or_symbols="BTC/USD"))


def fired(sandbox: Sandbox) -> list[int]:
    return [fault["fired"] for fault in sandbox.faults()]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault("http.rate_limit", seconds=2.5, count=2), 429),
        *[(Fault("http.error", status=status, count=2), status) for status in (500, 502, 503, 504)],
        (Fault("http.revoked", count=2), 401),
    ],
)
def test_a_refusal_strikes_as_often_as_said_and_nothing_is_done(
    sandbox: Sandbox, client: TradingClient, history: CryptoHistoricalDataClient, fault: Fault, status: int
) -> None:
    sandbox.inject(fault)
    with pytest.raises(APIError) as refused:
        client.submit_order(market())
    assert refused.value.status_code == status
    if status == 429:
        assert refused.value.response.headers["Retry-After"] == "3"
    with pytest.raises(APIError) as refused:
        latest(history)
    assert refused.value.status_code == status
    assert client.get_orders() == []
    latest(history)
    assert fired(sandbox) == [2]


@pytest.mark.parametrize("kind", ["accepted", "reset_after", "garbage"])
def test_an_order_exists_whose_answer_was_lost(sandbox: Sandbox, client: TradingClient, kind: str) -> None:
    sandbox.inject(Fault(f"http.{kind}", method="POST", path=ORDERS))
    lost = {"accepted": APIError, "reset_after": requests.ConnectionError, "garbage": json.JSONDecodeError}[kind]
    with pytest.raises(lost):
        client.submit_order(market(client_order_id="mine"))
    assert client.get_order_by_client_id("mine").status == "new"
    assert fired(sandbox) == [1]


def test_the_sdk_sends_an_order_twice_where_its_answer_was_a_504(sandbox: Sandbox, client: TradingClient) -> None:
    client._retry, client._retry_wait = 1, 0
    sandbox.inject(Fault("http.accepted", method="POST", path=ORDERS))
    client.submit_order(market())
    assert len(client.get_orders()) == 2


@pytest.mark.parametrize("kind", ["reset", "hang"])
def test_a_connection_is_reset_before_anything_was_done(sandbox: Sandbox, client: TradingClient, kind: str) -> None:
    sandbox.inject(Fault(f"http.{kind}", method="POST", path=ORDERS, seconds=0.3))
    began = time.monotonic()
    with pytest.raises(requests.ConnectionError, match="ConnectionResetError"):
        client.submit_order(market())
    assert kind == "reset" or time.monotonic() - began >= 0.3
    assert client.get_orders() == []
    assert fired(sandbox) == [1]


def test_a_slow_answer_comes_after_its_time(sandbox: Sandbox, client: TradingClient) -> None:
    sandbox.inject(Fault("http.latency", seconds=0.3))
    began = time.monotonic()
    assert client.submit_order(market()).status == "pending_new"
    assert time.monotonic() - began >= 0.3


def test_method_and_path_say_which_requests_are_meant(sandbox: Sandbox, client: TradingClient) -> None:
    sandbox.inject(Fault("http.error", method="DELETE", path="/v2/positions"))
    client.get_account(), client.get_all_positions(), client.cancel_orders()
    assert fired(sandbox) == [0]
    with pytest.raises(APIError):
        client.close_all_positions()
    assert fired(sandbox) == [1]


def test_a_fault_that_lasts_strikes_each_time_until_it_is_over(sandbox: Sandbox, client: TradingClient) -> None:
    sandbox.inject(Fault("http.error", lasts=MINUTE))
    for _ in range(3):
        with pytest.raises(APIError):
            client.get_account()
    sandbox.advance(MINUTE)
    client.get_account()
    (fault,) = sandbox.faults()
    assert (fault["fired"], fault["phase"]) == (3, "over")


def test_control_requests_are_never_disturbed(sandbox: Sandbox) -> None:
    sandbox.inject(Fault("http.reset", count=10))
    sandbox.inject(Fault("venue.restart", seconds=60))
    assert requests.get(f"{sandbox.url}/sandbox/status", timeout=5).status_code == 200
    assert fired(sandbox) == [0, 1]


def test_a_late_fill_waits_for_its_time_and_can_be_canceled(sandbox: Sandbox, client: TradingClient) -> None:
    sandbox.inject(Fault("order.late", delay=2 * MINUTE, count=2))
    first, second = client.submit_order(market()), client.submit_order(market())
    sandbox.advance(2 * MINUTE)
    assert {order.status for order in client.get_orders()} == {"new"}
    client.cancel_order_by_id(second.id)
    sandbox.advance(MINUTE)
    filled = client.get_order_by_id(first.id)
    assert (filled.status, filled.filled_at.isoformat()) == ("filled", "2024-01-02T12:02:00+00:00")
    assert client.get_order_by_id(second.id).status == "canceled"
    assert fired(sandbox) == [2]


def test_an_accepted_order_is_rejected_and_what_it_held_back_is_free(
    sandbox: Sandbox, client: TradingClient, tape: Callable[..., Tape]
) -> None:
    updates = tape("trading", raw_data=True)
    updates.stream.subscribe_trade_updates(updates.keep)
    updates.play()
    sandbox.inject(Fault("order.reject", symbol="BTC/USD"))
    placed = client.submit_order(market())
    updates.wait(sandbox.advance(MINUTE)["sent"]["trading"])
    assert [one["data"]["event"] for one in updates.received] == ["new", "rejected"]
    assert client.get_order_by_id(placed.id).status == "rejected"
    assert client.get_account().non_marginable_buying_power == "100000"


def test_a_part_is_filled_and_the_rest_canceled_by_the_venue(
    sandbox: Sandbox, client: TradingClient, tape: Callable[..., Tape]
) -> None:
    updates = tape("trading", raw_data=True)
    updates.stream.subscribe_trade_updates(updates.keep)
    updates.play()
    sandbox.inject(Fault("order.partial", factor=0.25))
    placed = client.submit_order(market(0.1))
    updates.wait(sandbox.advance(MINUTE)["sent"]["trading"])
    said = [one["data"] for one in updates.received]
    assert [one["event"] for one in said] == ["new", "partial_fill", "canceled"]
    assert Decimal(said[1]["qty"]) == Decimal("0.025")
    assert "qty" not in said[2]
    order = client.get_order_by_id(placed.id)
    assert (order.status, Decimal(order.filled_qty)) == ("canceled", Decimal("0.025"))
    assert Decimal(client.get_open_position("BTCUSD").qty) == Decimal("0.0249375")
    sandbox.advance(MINUTE)
    assert client.get_orders() == []


def test_a_restated_fill_changes_order_cash_and_position(
    sandbox: Sandbox, client: TradingClient, tape: Callable[..., Tape]
) -> None:
    updates = tape("trading", raw_data=True)
    updates.stream.subscribe_trade_updates(updates.keep)
    updates.play()
    sandbox.inject(Fault("order.restate", factor=0.9))
    client.submit_order(market(0.1))
    updates.wait(sandbox.advance(MINUTE)["sent"]["trading"])
    _, fill, restated = [one["data"] for one in updates.received]
    assert restated["event"] == "restated"
    before, after = float(fill["price"]), float(restated["order"]["filled_avg_price"])
    assert after == pytest.approx(0.9 * before)
    assert float(client.get_account().cash) == pytest.approx(100_000 - 0.1 * after, abs=0.01)
    assert float(client.get_open_position("BTCUSD").avg_entry_price) == pytest.approx(after)
    assert Decimal(client.get_open_position("BTCUSD").qty) == Decimal("0.09975")


def test_an_order_that_rests_meets_one_fault_and_shows_it_when_it_fills(
    sandbox: Sandbox, client: TradingClient
) -> None:
    lows = sandbox.market.base("BTC/USD").bars.filter(pl.col("open_time") >= datetime(2024, 1, 2, 12, tzinfo=UTC))[
        "low"
    ]
    wait = next(place for place, low in enumerate(lows) if place > 2 and low < min(lows[:place]) * 0.999)
    request = {"symbol": "BTC/USD", "qty": 0.1, "side": OrderSide.BUY, "time_in_force": TimeInForce.GTC}
    sandbox.inject(Fault("order.partial", factor=0.25, count=5))
    placed = client.submit_order(LimitOrderRequest(**request, limit_price=round(min(lows[:wait]) * 0.9995)))
    sandbox.advance(wait * MINUTE)
    resting = client.get_order_by_id(placed.id)
    assert (resting.status, resting.filled_qty) == ("new", "0")
    assert fired(sandbox) == [1]
    sandbox.advance(MINUTE)
    order = client.get_order_by_id(placed.id)
    assert (order.status, order.filled_qty) == ("canceled", "0.025")
    assert fired(sandbox) == [1]
