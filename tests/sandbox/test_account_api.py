from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import AssetClass, AssetExchange, AssetStatus, OrderSide, TimeInForce
from alpaca.trading.requests import (
    GetAssetsRequest,
    GetCalendarRequest,
    GetPortfolioHistoryRequest,
    MarketOrderRequest,
)

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.market.time import to_datetime

MINUTE = timedelta(minutes=1)
NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def client(sandbox: Sandbox) -> TradingClient:
    return TradingClient(sandbox.api_key, sandbox.api_secret, url_override=sandbox.url)


def trade(client: TradingClient, qty: float, side: OrderSide = OrderSide.BUY) -> None:
    client.submit_order(MarketOrderRequest(symbol="BTC/USD", qty=qty, side=side, time_in_force=TimeInForce.GTC))


def history(client: TradingClient, **query: object) -> object:
    return client.get_portfolio_history(GetPortfolioHistoryRequest(**query))


def test_the_history_is_the_accounts_value_at_every_close(sandbox: Sandbox, client: TradingClient) -> None:
    trade(client, 0.5)
    values = []
    for _ in range(30):
        sandbox.advance(MINUTE)
        values.append(sandbox.account().equity)
    found = history(client, period="1D", timeframe="1Min", intraday_reporting="continuous", pnl_reset="no_reset")
    assert found.equity == pytest.approx(values, abs=1e-6)
    assert found.timestamp == [int(NOON.timestamp()) + 60 * minute for minute in range(30)]
    assert (found.base_value, found.timeframe) == (100_000.0, "1Min")
    assert found.profit_loss == pytest.approx([value - 100_000 for value in values], abs=1e-6)
    assert found.profit_loss_pct == pytest.approx([value / 100_000 - 1 for value in values], abs=1e-9)
    five = history(client, period="1D", timeframe="5Min")
    assert five.equity == pytest.approx(values[4::5], abs=1e-6)


def test_gains_within_a_day_are_counted_from_its_begin(sandbox: Sandbox, client: TradingClient) -> None:
    trade(client, 0.5)
    sandbox.advance_to(datetime(2024, 1, 3, tzinfo=UTC))
    midnight = sandbox.account().equity
    sandbox.advance(timedelta(hours=3))
    now = sandbox.account().equity
    found = history(client, period="3D", timeframe="1H")
    assert len(found.equity) == 15
    assert found.profit_loss[11] == pytest.approx(midnight - 100_000, abs=1e-6)
    assert found.profit_loss[-1] == pytest.approx(now - midnight, abs=1e-6)
    days = history(client, period="1M", timeframe="1D")
    assert days.equity == pytest.approx([midnight, now], abs=1e-6)
    assert days.profit_loss[-1] == pytest.approx(now - 100_000, abs=1e-6)
    part = history(client, start=NOON + timedelta(hours=2), end=NOON + timedelta(hours=5), timeframe="1H")
    assert part.timestamp == found.timestamp[2:5]
    assert part.base_value == found.equity[1]


@pytest.mark.parametrize(
    "query",
    [
        {"period": "1Y"},
        {"timeframe": "2Min"},
        {"intraday_reporting": "never"},
        {"pnl_reset": "always"},
        {"start": "2024-01-03", "end": "2024-01-02"},
        {"end": "soon"},
    ],
)
def test_a_bad_question_about_the_past_is_refused(client: TradingClient, query: dict) -> None:
    with pytest.raises(APIError) as refused:
        client.get("/account/portfolio/history", query)
    assert (refused.value.status_code, refused.value.code) == (422, 40010001)


def test_a_fresh_account_has_a_history_without_gains(client: TradingClient) -> None:
    found = history(client)
    assert (found.equity, found.profit_loss, found.base_value) == ([100_000.0], [0.0], 100_000.0)


def test_activities_are_paged_filtered_and_in_order(sandbox: Sandbox, client: TradingClient) -> None:
    for _ in range(5):
        trade(client, 0.1)
        sandbox.advance(MINUTE)
    assert [one["activity_type"] for one in client.get("/account/activities")] == ["FILL"] * 5
    sandbox.advance_to(datetime(2024, 1, 3, tzinfo=UTC))
    everything = client.get("/account/activities")
    assert [one["activity_type"] for one in everything] == ["CFEE"] * 5 + ["FILL"] * 5
    assert len({one["id"].partition("::")[2] for one in everything}) == 10
    assert client.get("/account/activities", {"direction": "asc"}) == everything[::-1]
    assert client.get("/account/activities", {"activity_types": "FILL,DIV"}) == everything[5:]
    assert client.get("/account/activities/DIV") == []
    pages, token = [], ""
    while page := client.get("/account/activities", {"page_size": 3, "page_token": token}):
        pages.append(page)
        token = page[-1]["id"]
    assert [len(page) for page in pages] == [3, 3, 3, 1]
    assert [one for page in pages for one in page] == everything
    fills = everything[5:][::-1]
    between = {"after": fills[1]["transaction_time"], "until": fills[3]["transaction_time"]}
    assert client.get("/account/activities/FILL", between) == [fills[2]]
    assert client.get("/account/activities", {"date": "2024-01-02"}) == everything[5:]
    assert client.get("/account/activities", {"date": "2024-01-03"}) == everything[:5]


@pytest.mark.parametrize(
    "query",
    [
        {"direction": "up"},
        {"page_size": 101},
        {"page_size": "x"},
        {"page_token": "none"},
        {"date": "2024-01-02", "after": "2024-01-01"},
        {"until": "x"},
    ],
)
def test_a_bad_question_about_activities_is_refused(client: TradingClient, query: dict) -> None:
    with pytest.raises(APIError) as refused:
        client.get("/account/activities", query)
    assert (refused.value.status_code, refused.value.code) == (422, 40010001)


def test_fills_less_fees_are_the_books(sandbox: Sandbox, client: TradingClient) -> None:
    for qty, side in ((0.3, OrderSide.BUY), (0.1, OrderSide.SELL), (0.123456789, OrderSide.BUY)):
        trade(client, qty, side)
        sandbox.advance(MINUTE)
    sandbox.advance_to(datetime(2024, 1, 3, tzinfo=UTC))
    coins, cash = Decimal(0), Decimal(100_000)
    for one in client.get("/account/activities"):
        if one["activity_type"] == "CFEE":
            coins += Decimal(one["qty"])
            cash += Decimal(one["net_amount"])
        else:
            sign = 1 if one["side"] == "buy" else -1
            coins += sign * Decimal(one["qty"])
            cash -= sign * Decimal(one["qty"]) * Decimal(one["price"])
    assert Decimal(client.get_open_position("BTCUSD").qty) == coins
    assert Decimal(client.get_account().cash) == pytest.approx(cash, abs=Decimal("0.00001"))


def test_the_configuration_can_be_read(client: TradingClient) -> None:
    found = client.get_account_configurations()
    assert (found.no_shorting, found.fractional_trading, found.max_margin_multiplier) == (True, True, "1")


def test_every_day_of_the_market_is_open(client: TradingClient) -> None:
    days = client.get_calendar(GetCalendarRequest(start=date(2024, 1, 2), end=date(2024, 1, 3)))
    assert [(str(day.date), day.open.hour, day.close.hour) for day in days] == [
        ("2024-01-02", 0, 23),
        ("2024-01-03", 0, 23),
    ]
    assert len(client.get_calendar()) == 4
    with pytest.raises(APIError):
        client.get("/calendar", {"start": "soon"})


def test_assets_are_filtered(client: TradingClient) -> None:
    def listed(**filters: object) -> int:
        return len(client.get_all_assets(GetAssetsRequest(**filters)))

    assert listed(asset_class=AssetClass.CRYPTO, status=AssetStatus.ACTIVE, exchange=AssetExchange.CRYPTO) == 2
    assert listed(status=AssetStatus.INACTIVE) == listed(exchange=AssetExchange.NASDAQ) == 0
    assert listed(attributes="ptp_no_exception") == 0


def test_yesterdays_value_is_kept(open_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = open_sandbox()
    client = TradingClient(sandbox.api_key, sandbox.api_secret, url_override=sandbox.url)
    trade(client, 0.5)
    sandbox.advance_to(datetime(2024, 1, 3, tzinfo=UTC))
    midnight = sandbox.account().equity
    sandbox.advance(2 * MINUTE)
    assert float(client.get_account().last_equity) == pytest.approx(midnight, abs=1e-6)
    assert to_datetime(sandbox.market.now).day == 3
