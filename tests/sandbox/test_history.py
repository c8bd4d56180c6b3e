import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.data.historical.crypto import CryptoHistoricalDataClient
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
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.data.synthetic import ticks
from cryptoquant.market.aggregation import aggregate
from cryptoquant.market.schema import Quote, Trade
from cryptoquant.market.time import iso, to_ns
from tests.sandbox.conftest import SYMBOLS, synthetic_bars

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def client(sandbox: Sandbox, **options: object) -> CryptoHistoricalDataClient:
    return CryptoHistoricalDataClient(url_override=sandbox.url, **options)


def get(sandbox: Sandbox, path: str, **parameters: object) -> requests.Response:
    return requests.get(f"{sandbox.url}/v1beta3/crypto/us/{path}", params=parameters, timeout=10)


def test_the_sdk_reads_all_bars_over_pages_of_ten_thousand(open_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = open_sandbox(18, history=timedelta(days=17))
    asked = CryptoBarsRequest(symbol_or_symbols=list(SYMBOLS), timeframe=TimeFrame.Minute, start=BEGIN)
    found = client(sandbox).get_crypto_bars(asked).data
    expected = synthetic_bars(18).filter(pl.col("time") <= BEGIN + timedelta(days=17))
    for symbol in SYMBOLS:
        truth = expected.filter(pl.col("symbol") == symbol)
        assert [bar.timestamp for bar in found[symbol]] == truth["open_time"].to_list()
        for name in ("open", "high", "low", "close", "volume", "trade_count", "vwap"):
            assert [getattr(bar, name) for bar in found[symbol]] == truth[name].to_list()


def test_a_page_of_ten_thousand_bars_is_quick(open_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = open_sandbox(18, history=timedelta(days=17))
    query = {"symbols": "BTC/USD", "timeframe": "1Min", "start": "2024-01-01", "limit": 10_000}
    took = []
    for _ in range(5):
        began = time.perf_counter()
        assert len(get(sandbox, "bars", **query).json()["bars"]["BTC/USD"]) == 10_000
        took.append(time.perf_counter() - began)
    assert min(took) < 0.1


def test_a_larger_timeframe_is_aggregated(sandbox: Sandbox, bars: pl.DataFrame) -> None:
    asked = CryptoBarsRequest(
        symbol_or_symbols="BTC/USD",
        timeframe=TimeFrame(15, TimeFrameUnit.Minute),
        start=BEGIN,
        end=BEGIN + timedelta(hours=3),
    )
    found = client(sandbox).get_crypto_bars(asked).data["BTC/USD"]
    truth = aggregate(bars.filter(pl.col("symbol") == "BTC/USD"), "15m").head(13)
    assert [bar.timestamp for bar in found] == truth["open_time"].to_list()
    assert [(bar.open, bar.high, bar.low, bar.close) for bar in found] == truth["open", "high", "low", "close"].rows()


def test_nothing_after_the_present_is_told_and_the_unfinished_bar_never(sandbox: Sandbox) -> None:
    sandbox.advance(timedelta(minutes=30))
    query = {"symbols": "BTC/USD", "start": "2024-01-02", "end": "2024-02-01", "sort": "desc", "limit": 1}
    newest = {
        tf: get(sandbox, "bars", timeframe=tf, **query).json()["bars"]["BTC/USD"][0]["t"] for tf in ("1Min", "1H")
    }
    assert newest == {"1Min": "2024-01-02T12:29:00Z", "1H": "2024-01-02T11:00:00Z"}
    trade = get(sandbox, "trades", **query).json()["trades"]["BTC/USD"][0]
    assert "2024-01-02T12:29:00" < trade["t"] < "2024-01-02T12:30:00Z"


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize("path", ["bars", "trades", "quotes"])
def test_pages_of_any_size_join_to_the_whole(sandbox: Sandbox, path: str, sort: str) -> None:
    query = {"symbols": "ETH/USD,BTC/USD", "timeframe": "1Min", "sort": sort}
    query |= {"start": "2024-01-01T00:03:00Z", "end": "2024-01-01T00:09:00Z"}
    whole = get(sandbox, path, **query).json()
    assert whole["next_page_token"] is None
    assert list(whole[path]) == ["BTC/USD", "ETH/USD"]
    rows: dict[str, list] = {"BTC/USD": [], "ETH/USD": []}
    token, sizes = None, []
    while True:
        page = get(sandbox, path, **query, limit=3, **({"page_token": token} if token else {})).json()
        for symbol, part in page[path].items():
            rows[symbol] += part
        sizes.append(sum(map(len, page[path].values())))
        token = page["next_page_token"]
        if token is None:
            break
    assert rows == whole[path]
    assert set(sizes[:-1]) == {3}
    stamps = [row["t"] for row in rows["BTC/USD"]]
    assert stamps == sorted(stamps, reverse=sort == "desc")


def test_a_page_that_ends_with_a_symbol_leaves_the_next_one_to_the_next_page(sandbox: Sandbox) -> None:
    query = {"symbols": "BTC/USD,ETH/USD", "timeframe": "1Min", "limit": 2}
    query |= {"start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:01:00Z"}
    first = get(sandbox, "bars", **query).json()
    second = get(sandbox, "bars", **query, page_token=first["next_page_token"]).json()
    assert (list(first["bars"]), list(second["bars"])) == (["BTC/USD"], ["ETH/USD"])
    assert second["next_page_token"] is None


def test_both_ends_of_a_range_are_included(sandbox: Sandbox) -> None:
    query = {"symbols": "BTC/USD", "timeframe": "1Min"}
    found = get(sandbox, "bars", **query, start="2024-01-01T00:03:00Z", end="2024-01-01T00:05:00Z").json()
    assert [bar["t"][14:16] for bar in found["bars"]["BTC/USD"]] == ["03", "04", "05"]


def test_trades_and_quotes_are_those_inside_the_bars(sandbox: Sandbox, bars: pl.DataFrame) -> None:
    inside = [ticks(sandbox.market.base("BTC/USD").bar(index), seed=sandbox.seed) for index in range(2)]
    expected = {kind: [t for bar in inside for t in bar if isinstance(t, kind)] for kind in (Trade, Quote)}
    span = {"symbol_or_symbols": "BTC/USD", "start": BEGIN, "end": BEGIN + 2 * MINUTE}
    raw = client(sandbox, raw_data=True)
    trades = raw.get_crypto_trades(CryptoTradesRequest(**span))["BTC/USD"]
    quotes = raw.get_crypto_quotes(CryptoQuoteRequest(**span))["BTC/USD"]
    assert [(t["t"], t["p"], t["s"], t["i"]) for t in trades] == [
        (iso(t.time), t.price, t.size, t.id) for t in expected[Trade]
    ]
    assert [(q["t"], q["bp"], q["ap"]) for q in quotes] == [
        (iso(q.time), q.bid_price, q.ask_price) for q in expected[Quote]
    ]


def test_the_latest_of_everything_is_accepted_by_the_sdk(sandbox: Sandbox) -> None:
    sdk, both = client(sandbox), list(SYMBOLS)
    trade = sdk.get_crypto_latest_trade(CryptoLatestTradeRequest(symbol_or_symbols=both))["BTC/USD"]
    quote = sdk.get_crypto_latest_quote(CryptoLatestQuoteRequest(symbol_or_symbols=both))["BTC/USD"]
    bar = sdk.get_crypto_latest_bar(CryptoLatestBarRequest(symbol_or_symbols=both))["BTC/USD"]
    book = sdk.get_crypto_latest_orderbook(CryptoLatestOrderbookRequest(symbol_or_symbols=both))["BTC/USD"]
    snapshot = sdk.get_crypto_snapshot(CryptoSnapshotRequest(symbol_or_symbols=both))["BTC/USD"]
    assert bar.timestamp == datetime(2024, 1, 2, 11, 59, tzinfo=UTC)
    assert trade.price == bar.close
    assert quote.bid_price < quote.ask_price
    assert [level.price for level in book.bids] == sorted((level.price for level in book.bids), reverse=True)
    assert book.bids[0].price < bar.close < book.asks[0].price
    assert min(level.size for level in book.bids + book.asks) > 0
    assert (snapshot.latest_trade.price, snapshot.minute_bar.close) == (bar.close, bar.close)
    assert snapshot.daily_bar.timestamp == datetime(2024, 1, 2, tzinfo=UTC)
    assert snapshot.previous_daily_bar.timestamp == BEGIN


def test_the_start_is_the_days_midnight_by_default(sandbox: Sandbox) -> None:
    found = get(sandbox, "bars", symbols="BTC/USD", timeframe="1H").json()["bars"]["BTC/USD"]
    assert (found[0]["t"], len(found)) == ("2024-01-02T00:00:00Z", 12)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"symbols": "BTCUSD"}, "invalid symbol: BTCUSD does not match ^[A-Z]+/[A-Z]+$"),
        ({"symbols": ""}, "symbols is required"),
        ({"timeframe": "7Fortnight"}, "invalid timeframe: 7Fortnight"),
        ({"limit": "10001"}, "invalid limit: 10001 is not between 1 and 10000"),
        ({"limit": "many"}, "invalid limit: many is not between 1 and 10000"),
        ({"page_token": "!"}, "invalid page_token: !"),
        ({"start": "2024-01-02", "end": "2024-01-01"}, "end should not be before start"),
        ({"start": "yesterday"}, "cannot read the instant 'yesterday': wanted RFC 3339 with a zone"),
        ({"sort": "up"}, "invalid sort: up"),
    ],
)
def test_a_bad_range_is_refused_with_400(sandbox: Sandbox, parameters: dict, message: str) -> None:
    answer = get(sandbox, "bars", **({"symbols": "BTC/USD", "timeframe": "1Min"} | parameters))
    assert (answer.status_code, answer.json()) == (400, {"message": message})


def test_a_pair_that_is_not_traded_here_is_absent(sandbox: Sandbox) -> None:
    found = get(sandbox, "bars", symbols="DOGE/USD", timeframe="1Min", start="2024-01-01")
    assert (found.status_code, found.json()) == (200, {"bars": {}, "next_page_token": None})


def test_keys_are_optional_but_wrong_ones_are_refused(sandbox: Sandbox) -> None:
    asked = CryptoLatestBarRequest(symbol_or_symbols="BTC/USD")
    assert client(sandbox, api_key=sandbox.api_key, secret_key=sandbox.api_secret).get_crypto_latest_bar(asked)
    with pytest.raises(APIError, match="unauthorized") as refused:
        client(sandbox, api_key=sandbox.api_key, secret_key="wrong").get_crypto_latest_bar(asked)
    assert refused.value.status_code == 401


def test_history_does_not_change_when_time_moves(sandbox: Sandbox) -> None:
    query = {"symbols": "BTC/USD,ETH/USD", "timeframe": "1H", "start": "2024-01-01", "end": "2024-01-02"}
    before = get(sandbox, "bars", **query).content
    sandbox.advance(timedelta(hours=2))
    assert get(sandbox, "bars", **query).content == before
    assert sandbox.market.now == to_ns("2024-01-02") + 14 * 3_600_000_000_000
