import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, OrderStatus, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import (
    ClosePositionRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLimitOrderRequest,
)

from cryptoquant.backtest.sandbox import Sandbox
from tests.sandbox.clients import Tape, TradingStream, end_all

MINUTE = timedelta(minutes=1)
GTC = TimeInForce.GTC


def trading(sandbox: Sandbox) -> TradingClient:
    client = TradingClient(sandbox.api_key, sandbox.api_secret, url_override=sandbox.url)
    client._retry_wait = 0
    return client


@pytest.fixture
def listen() -> Iterator[Callable[..., Tape]]:
    tapes: list[Tape] = []

    def build(sandbox: Sandbox, **options: object) -> Tape:
        stream = TradingStream(sandbox.api_key, sandbox.api_secret, url_override=sandbox.trading_stream_url, **options)
        tapes.append(Tape(stream, sandbox))
        stream.subscribe_trade_updates(tapes[-1].keep)
        return tapes[-1].play()

    yield build
    end_all(tapes)


def limit(price: float, qty: float = 0.1, side: OrderSide = OrderSide.BUY, **more: object) -> LimitOrderRequest:
    return LimitOrderRequest(symbol="BTC/USD", qty=qty, side=side, time_in_force=GTC, limit_price=price, **more)


def test_a_large_order_is_told_part_by_part(open_sandbox: Callable[..., Sandbox], listen: Callable[..., Tape]) -> None:
    sandbox = open_sandbox(participation=0.1)
    client, tape = trading(sandbox), listen(sandbox, raw_data=True)
    order = client.submit_order(MarketOrderRequest(symbol="BTC/USD", qty=1.5, side=OrderSide.BUY, time_in_force=GTC))
    sandbox.advance(MINUTE)
    status = client.get_order_by_id(order.id)
    assert status.status == OrderStatus.PARTIALLY_FILLED
    assert 0 < float(status.filled_qty) < 1.5
    assert [one.id for one in client.get_orders()] == [order.id]
    while client.get_order_by_id(order.id).status != OrderStatus.FILLED:
        sent = sandbox.advance(MINUTE)["sent"]["trading"]
    parts = [message["data"] for message in tape.wait(sent)][1:]
    assert [part["event"] for part in parts] == ["partial_fill"] * (len(parts) - 1) + ["fill"]
    assert len(parts) > 2
    assert len({uuid.UUID(part["execution_id"]) for part in parts}) == len(parts)
    assert sum(Decimal(part["qty"]) for part in parts) == Decimal("1.5")
    paid = Decimal(0)
    for count, part in enumerate(parts, start=1):
        paid += Decimal(part["qty"]) * Decimal(part["price"])
        filled = sum(Decimal(one["qty"]) for one in parts[:count])
        assert Decimal(part["order"]["filled_qty"]) == filled
        assert abs(Decimal(part["order"]["filled_avg_price"]) - paid / filled) < Decimal("1e-9")


def test_the_executions_of_the_stream_are_those_of_the_activities(
    open_sandbox: Callable[..., Sandbox], listen: Callable[..., Tape]
) -> None:
    sandbox = open_sandbox(partial_fills=1.0)
    client, tape = trading(sandbox), listen(sandbox, raw_data=True)
    client.submit_order(MarketOrderRequest(symbol="BTC/USD", qty=0.3, side=OrderSide.BUY, time_in_force=GTC))
    sandbox.advance(2 * MINUTE)
    told = [message["data"] for message in tape.wait(3)][1:]
    assert [data["event"] for data in told] == ["partial_fill", "fill"]
    assert [data["order"]["status"] for data in told] == ["partially_filled", "filled"]
    listed = client.get("/account/activities/FILL", {"direction": "asc"})
    assert [one["id"].partition("::")[2] for one in listed] == [data["execution_id"] for data in told]
    assert [one["type"] for one in listed] == ["partial_fill", "fill"]
    assert [one["cum_qty"] for one in listed] == [data["order"]["filled_qty"] for data in told]
    assert [one["leaves_qty"] for one in listed] == [str(Decimal("0.3") - Decimal(listed[0]["qty"])), "0"]


def test_an_order_is_replaced_by_a_new_one(sandbox: Sandbox, listen: Callable[..., Tape]) -> None:
    client, tape = trading(sandbox), listen(sandbox)
    old = client.submit_order(limit(20_000, client_order_id="old"))
    new = client.replace_order_by_id(old.id, ReplaceOrderRequest(limit_price=21_000.5, client_order_id="new"))
    assert (new.status, new.replaces, new.client_order_id) == (OrderStatus.PENDING_NEW, old.id, "new")
    before = client.get_order_by_id(old.id)
    assert (before.status, before.replaced_by, before.replaced_at) == (OrderStatus.REPLACED, new.id, old.submitted_at)
    assert (client.get_order_by_id(new.id).limit_price, new.qty) == ("21000.5", "0.1")
    assert [(update.event, update.order.id) for update in tape.wait(3)] == [
        ("new", old.id),
        ("replaced", old.id),
        ("new", new.id),
    ]
    assert [order.id for order in client.get_orders()] == [new.id]
    with pytest.raises(APIError) as late:
        client.replace_order_by_id(old.id, ReplaceOrderRequest(qty=1))
    assert (late.value.status_code, late.value.code) == (422, 42210000)
    whole = client.replace_order_by_id(new.id, ReplaceOrderRequest(qty=1, time_in_force=TimeInForce.IOC))
    assert (whole.qty, whole.time_in_force) == ("1", TimeInForce.IOC)
    sandbox.advance(MINUTE)
    assert client.get_order_by_id(whole.id).status == OrderStatus.CANCELED
    exact = client.submit_order(limit(20_000))
    assert client.patch(f"/orders/{exact.id}", {"qty": "0.123456789"})["qty"] == "0.123456789"


def test_a_stop_limit_order_is_taken_and_shown(sandbox: Sandbox) -> None:
    client = trading(sandbox)
    asked = {"symbol": "BTC/USD", "qty": 0.1, "side": OrderSide.BUY, "time_in_force": GTC}
    order = client.submit_order(StopLimitOrderRequest(**asked, stop_price=90_000, limit_price=90_100.5))
    assert (order.type.value, order.stop_price, order.limit_price) == ("stop_limit", "90000", "90100.5")
    sandbox.advance(MINUTE)
    assert client.get_order_by_id(order.id).status == OrderStatus.NEW
    with pytest.raises(APIError, match="stop_limit orders require a stop price"):
        client.post(
            "/orders",
            {"symbol": "BTC/USD", "qty": "1", "side": "buy", "type": "stop_limit", "limit_price": "1"}
            | {"time_in_force": "gtc"},
        )


def test_with_latency_a_cancel_is_a_request(open_sandbox: Callable[..., Sandbox], listen: Callable[..., Tape]) -> None:
    sandbox = open_sandbox(latency=timedelta(seconds=90))
    client, tape = trading(sandbox), listen(sandbox)
    order = client.submit_order(limit(20_000))
    client.cancel_order_by_id(order.id)
    assert client.get_order_by_id(order.id).status == OrderStatus.PENDING_CANCEL
    (again,) = client.cancel_orders()
    assert (again.status, again.body["code"]) == (422, 42210000)
    sandbox.advance(3 * MINUTE)
    assert client.get_order_by_id(order.id).status == OrderStatus.CANCELED
    assert [update.event for update in tape.wait(3)] == ["new", "pending_cancel", "canceled"]


def test_orders_are_paged_by_time(open_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = open_sandbox()
    client, ids = trading(sandbox), []
    for _ in range(7):
        ids.append(client.submit_order(limit(20_000)).id)
        sandbox.advance(MINUTE)
    found, until = [], None
    while True:
        page = client.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL, limit=3, until=until, nested=True))
        if not page:
            break
        found += [order.id for order in page]
        until = page[-1].submitted_at
    assert found == ids[::-1]
    for wrong in ({"status": "some"}, {"direction": "up"}, {"side": "hold"}, {"limit": "many"}, {"after": "x"}):
        with pytest.raises(APIError) as refused:
            client.get("/orders", wrong)
        assert (refused.value.status_code, refused.value.code) == (422, 40010001)


def test_a_position_is_closed_by_quantity(sandbox: Sandbox) -> None:
    client = trading(sandbox)
    client.submit_order(MarketOrderRequest(symbol="BTC/USD", qty=0.4, side=OrderSide.BUY, time_in_force=GTC))
    sandbox.advance(MINUTE)
    assert client.close_position("BTCUSD", ClosePositionRequest(qty="0.1")).qty == "0.1"
    for query, code in (
        ({"qty": "1"}, 40310000),
        ({"qty": "x"}, 40010001),
        ({"percentage": "101"}, 42210000),
        ({"qty": "1", "percentage": "1"}, 40010001),
    ):
        with pytest.raises(APIError) as refused:
            client.delete("/positions/BTCUSD", query)
        assert refused.value.code == code


def test_beyond_the_allowed_rate_requests_are_refused(open_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = open_sandbox(requests_per_minute=3, accounts=2)
    client = trading(sandbox)
    client._retry = 0
    for _ in range(3):
        client.get_account()
    with pytest.raises(APIError) as refused:
        client.get_account()
    assert (refused.value.status_code, refused.value.code) == (429, 42910000)
    assert refused.value.message == "too many requests"
    headers = refused.value.response.headers
    assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("3", "0")
    key, secret = sandbox.keys[1]
    assert TradingClient(key, secret, url_override=sandbox.url).get_account().cash == "100000"
