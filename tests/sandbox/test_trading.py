import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import AssetClass, OrderSide, OrderStatus, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import (
    ClosePositionRequest,
    GetAssetsRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
)
from websockets.sync.client import connect

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.market.time import to_datetime
from tests.sandbox.clients import Tape

MINUTE = timedelta(minutes=1)


@pytest.fixture
def client(sandbox: Sandbox) -> TradingClient:
    return TradingClient(sandbox.api_key, sandbox.api_secret, url_override=sandbox.url)


def market(qty: float, side: OrderSide = OrderSide.BUY, **changes: object) -> MarketOrderRequest:
    return MarketOrderRequest(
        **({"symbol": "BTC/USD", "qty": qty, "side": side, "time_in_force": TimeInForce.GTC} | changes)
    )


def test_a_market_order_goes_from_pending_to_filled(
    sandbox: Sandbox, client: TradingClient, tape: Callable[..., Tape]
) -> None:
    updates = tape("trading")
    updates.stream.subscribe_trade_updates(updates.keep)
    updates.play()
    opened = to_datetime(sandbox.market.now)
    order = client.submit_order(market(0.1, client_order_id="first"))
    assert (order.status, order.filled_qty, order.submitted_at) == (OrderStatus.PENDING_NEW, "0", opened)
    assert client.get_order_by_client_id("first").status == OrderStatus.NEW
    sent = sandbox.advance(MINUTE)["sent"]["trading"]
    new, fill = updates.wait(sent)
    assert (new.event, fill.event) == ("new", "fill")
    assert (fill.order.id, fill.timestamp, fill.qty) == (order.id, opened, 0.1)
    bar = sandbox.market.last("BTC/USD")
    assert bar is not None
    assert fill.price == pytest.approx(bar.open * 1.0002, rel=1e-12)
    done = client.get_order_by_id(order.id)
    assert (done.status, done.filled_qty, float(done.filled_avg_price)) == (OrderStatus.FILLED, "0.1", fill.price)
    position = client.get_open_position("BTCUSD")
    assert (position.symbol, position.qty, fill.position_qty) == ("BTCUSD", "0.09975", 0.09975)


def test_updates_are_exact_strings_with_unique_executions(
    sandbox: Sandbox, client: TradingClient, tape: Callable[..., Tape]
) -> None:
    updates = tape("trading", raw_data=True)
    updates.stream.subscribe_trade_updates(updates.keep)
    updates.play()
    for _ in range(2):
        client.submit_order(market(0.000400001))
        sandbox.advance(MINUTE)
    received = [message["data"] for message in updates.wait(4)]
    fills = [data for data in received if data["event"] == "fill"]
    assert [data["event"] for data in received] == ["new", "fill", "new", "fill"]
    assert [data["qty"] for data in fills] == ["0.000400001"] * 2
    assert [data["position_qty"] for data in fills] == ["0.000399", "0.000798"]
    assert len({uuid.UUID(data["execution_id"]) for data in received}) == 4
    assert all(data["order"]["filled_avg_price"] == data["price"] for data in fills)


def test_a_limit_order_rests_until_canceled(sandbox: Sandbox, client: TradingClient, tape: Callable[..., Tape]) -> None:
    updates = tape("trading")
    updates.stream.subscribe_trade_updates(updates.keep)
    updates.play()
    order = client.submit_order(
        LimitOrderRequest(
            symbol="BTC/USD", qty=0.5, side=OrderSide.BUY, time_in_force=TimeInForce.GTC, limit_price=20_000.25
        )
    )
    sandbox.advance(MINUTE)
    assert [o.id for o in client.get_orders()] == [order.id]
    assert client.get_account().non_marginable_buying_power == "89999.875"
    client.cancel_order_by_id(order.id)
    assert [message.event for message in updates.wait(2)] == ["new", "canceled"]
    assert client.get_order_by_id(order.id).status == OrderStatus.CANCELED
    assert client.get_account().non_marginable_buying_power == "100000"
    with pytest.raises(APIError) as late:
        client.cancel_order_by_id(order.id)
    assert (late.value.status_code, late.value.code) == (422, 42210000)


def test_a_client_order_id_cannot_be_used_twice(client: TradingClient) -> None:
    client.submit_order(market(0.1, client_order_id="once"))
    with pytest.raises(APIError) as refused:
        client.submit_order(market(0.1, client_order_id="once"))
    assert (refused.value.status_code, refused.value.code) == (422, 40010001)
    assert refused.value.message == "client_order_id must be unique"
    assert len(client.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL))) == 1


def test_what_was_bought_cannot_all_be_sold_because_the_fee_took_coins(sandbox: Sandbox, client: TradingClient) -> None:
    client.submit_order(market(0.12))
    sandbox.advance(MINUTE)
    with pytest.raises(APIError) as refused:
        client.submit_order(market(0.12, OrderSide.SELL))
    assert (refused.value.status_code, refused.value.code) == (403, 40310000)
    assert refused.value.message == "insufficient balance for BTC (requested: 0.12, available: 0.1197)"


def test_wrong_keys_are_refused_everywhere(sandbox: Sandbox) -> None:
    stranger = TradingClient(sandbox.api_key, "wrong", url_override=sandbox.url)
    for ask in (stranger.get_account, stranger.get_orders, stranger.get_all_positions, stranger.cancel_orders):
        with pytest.raises(APIError, match="unauthorized") as refused:
            ask()
        assert refused.value.status_code == 401


def test_what_is_not_there_is_404(client: TradingClient) -> None:
    for ask, message in (
        (lambda: client.get_open_position("BTCUSD"), "position does not exist"),
        (lambda: client.get_open_position("BTC/USD"), "endpoint not found: GET /v2/positions/BTC/USD"),
        (lambda: client.close_position("BTCUSD"), "position does not exist"),
        (lambda: client.get_order_by_client_id("none"), "order not found for none"),
        (lambda: client.get_asset("FOO/USD"), "asset not found for FOO/USD"),
        (lambda: client.patch("/orders/1", {"qty": 1}), "order not found for 1"),
        (lambda: client.patch("/account/configurations", {}), "endpoint not found: PATCH /v2/account/configurations"),
    ):
        with pytest.raises(APIError) as refused:
            ask()
        assert (refused.value.status_code, refused.value.code, refused.value.message) == (404, 40410000, message)


def test_the_account_is_worth_its_cash_and_coins(sandbox: Sandbox, client: TradingClient) -> None:
    before = client.get_account()
    assert (before.cash, before.equity, before.multiplier) == ("100000", "100000", "1")
    client.submit_order(market(1.0))
    sandbox.advance(timedelta(hours=1))
    after, (position,), books = client.get_account(), client.get_all_positions(), sandbox.account()
    assert Decimal(after.cash) == Decimal(repr(books.cash_value)).quantize(Decimal("0.000001"))
    assert float(after.equity) == pytest.approx(books.equity, abs=1e-6)
    assert float(after.equity) == pytest.approx(float(after.cash) + float(position.market_value), abs=1e-5)
    bar = sandbox.market.last("BTC/USD")
    assert bar is not None
    assert float(position.current_price) == bar.close
    assert float(position.unrealized_pl) == pytest.approx(
        float(position.market_value) - float(position.cost_basis), abs=1e-5
    )


def test_positions_are_closed_in_part_and_all_at_once(sandbox: Sandbox, client: TradingClient) -> None:
    client.submit_order(market(0.4))
    client.submit_order(market(2, symbol="ETH/USD"))
    sandbox.advance(MINUTE)
    half = client.close_position("BTCUSD", ClosePositionRequest(percentage="50"))
    assert half.qty == "0.1995"
    sandbox.advance(MINUTE)
    assert client.get_open_position("BTCUSD").qty == "0.1995"
    client.submit_order(
        LimitOrderRequest(
            symbol="BTC/USD", qty=0.1, side=OrderSide.SELL, time_in_force=TimeInForce.GTC, limit_price=90_000
        )
    )
    assert client.get_open_position("BTCUSD").qty_available == "0.0995"
    closed = client.close_all_positions(cancel_orders=True)
    assert [(one.symbol, one.status, one.body.qty) for one in closed] == [
        ("BTCUSD", 200, "0.1995"),
        ("ETHUSD", 200, "1.995"),
    ]
    sandbox.advance(MINUTE)
    assert client.get_all_positions() == []
    assert client.get_orders() == []


def test_all_orders_are_canceled_at_once(client: TradingClient) -> None:
    for price in (10_000, 11_000):
        client.submit_order(
            LimitOrderRequest(
                symbol="BTC/USD", qty=0.1, side=OrderSide.BUY, time_in_force=TimeInForce.GTC, limit_price=price
            )
        )
    assert [answer.status for answer in client.cancel_orders()] == [200, 200]
    assert client.get_orders() == []


def test_orders_are_listed_by_status_time_side_and_symbol(sandbox: Sandbox, client: TradingClient) -> None:
    moments = []
    for symbol in ("BTC/USD", "ETH/USD", "BTC/USD"):
        moments.append(to_datetime(sandbox.market.now))
        client.submit_order(market(0.1, symbol=symbol))
        sandbox.advance(MINUTE)
    client.submit_order(market(0.05, OrderSide.SELL))

    def listed(**filters: object) -> list[str]:
        found = client.get_orders(GetOrdersRequest(**({"status": QueryOrderStatus.ALL} | filters)))
        return [f"{order.side.value} {order.symbol}" for order in found]

    assert listed() == ["sell BTC/USD", "buy BTC/USD", "buy ETH/USD", "buy BTC/USD"]
    assert listed(limit=1, direction="asc") == ["buy BTC/USD"]
    assert listed(status=QueryOrderStatus.OPEN) == ["sell BTC/USD"]
    assert listed(status=QueryOrderStatus.CLOSED, symbols=["ETH/USD"]) == ["buy ETH/USD"]
    assert listed(side=OrderSide.SELL) == ["sell BTC/USD"]
    assert listed(after=moments[0], until=moments[2]) == ["buy ETH/USD"]
    with pytest.raises(APIError, match="between 1 and 500"):
        listed(limit=501)


def test_assets_tell_the_increments_that_orders_must_keep(sandbox: Sandbox, client: TradingClient) -> None:
    listed = client.get_all_assets(GetAssetsRequest(asset_class=AssetClass.CRYPTO))
    assert [asset.symbol for asset in listed] == ["BTC/USD", "ETH/USD"]
    asset = client.get_asset("BTC/USD")
    assert asset == listed[0] == client.get_asset(asset.id)
    assert (asset.min_trade_increment, asset.price_increment) == (1e-9, 0.01)
    assert asset.min_order_size * float(sandbox.market.base("BTC/USD").bars["close"][0]) == pytest.approx(1, rel=1e-4)
    assert client.get_all_assets(GetAssetsRequest(asset_class=AssetClass.US_EQUITY)) == []


def test_the_clock_tells_market_time(sandbox: Sandbox, client: TradingClient) -> None:
    sandbox.advance(timedelta(minutes=7, seconds=30))
    clock = client.get_clock()
    assert clock.timestamp == datetime(2024, 1, 2, 12, 7, 30, tzinfo=UTC)
    assert clock.is_open
    assert clock.next_close == datetime(2024, 1, 3, tzinfo=UTC)


def test_fees_are_posted_after_the_day_has_ended(sandbox: Sandbox, client: TradingClient) -> None:
    client.submit_order(market(0.1))
    sandbox.advance(MINUTE)
    client.submit_order(market(0.05, OrderSide.SELL))
    sandbox.advance(MINUTE)
    sell, buy = client.get("/account/activities/FILL")
    assert (buy["qty"], buy["side"], sell["side"]) == ("0.1", "buy", "sell")
    assert client.get("/account/activities/CFEE") == []
    sandbox.advance_to(datetime(2024, 1, 3, tzinfo=UTC))
    of_sell, of_buy = client.get("/account/activities/CFEE")
    assert (of_buy["qty"], of_buy["date"]) == ("-0.00025", "2024-01-02")
    assert float(of_sell["net_amount"]) == pytest.approx(-0.0025 * 0.05 * float(sell["price"]), abs=2e-6)


def test_a_notional_order_shows_its_notional_and_no_quantity(sandbox: Sandbox, client: TradingClient) -> None:
    order = client.submit_order(
        MarketOrderRequest(symbol="BTC/USD", notional=500.0, side=OrderSide.BUY, time_in_force=TimeInForce.GTC)
    )
    assert (order.qty, order.notional) == (None, "500")
    sandbox.advance(MINUTE)
    done = client.get_order_by_id(order.id)
    assert float(done.filled_qty) * float(done.filled_avg_price) == pytest.approx(500, rel=0.01)


def test_listening_without_keys_is_unauthorized(sandbox: Sandbox) -> None:
    with connect(sandbox.trading_stream_url, proxy=None) as socket:
        socket.send('{"action":"listen","data":{"streams":["trade_updates"]}}')
        answer = socket.recv(timeout=5)
        assert isinstance(answer, bytes)
        assert b'"unauthorized"' in answer
        assert b'"action":"listen"' in answer
