"""Orders against a recorded market: real trades, quotes and books."""

from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter

import polars as pl
import pytest

from cryptoquant.market.book import Book
from cryptoquant.market.instrument import Instrument
from cryptoquant.market.schema import BookUpdate, Quote, Trade
from cryptoquant.trading.order import Order
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.ticks import drive_ticks
from cryptoquant.trading.venue import Costs, Venue
from tests.trading.ticks import S

FILE = "binance_spot_btcusdt_20240808.parquet"


@lru_cache
def recorded(folder, kind):
    """The rows of a recorded file as events; times are those of the exchange."""
    path = folder / kind / FILE
    if not path.exists():
        pytest.skip(f"real market data not found at ../shared/data/market/{kind}/{FILE}")
    table = pl.read_parquet(path).with_columns(time=pl.col("timestamp").dt.epoch("ns"))
    if kind == "trades":
        letters = {"buy": "B", "sell": "S"}
        columns = table.select("symbol", "time", "trade_id", "price", "size", "side").iter_rows()
        return [Trade(s, time, time, i, price, size, letters[side]) for s, time, i, price, size, side in columns]
    if kind == "quotes":
        columns = table.select("symbol", "time", "bid_price", "bid_size", "ask_price", "ask_size").iter_rows()
        return [Quote(s, time, time, *sides) for s, time, *sides in columns]
    return list(updates_of(table))


def updates_of(table):
    """The opening snapshot as a reset, then the updates that end after it."""
    opening = table.filter(pl.col("snapshot"))
    later = table.filter(~pl.col("snapshot") & (pl.col("last_id") > opening["last_id"][0]))
    first = opening["time"][0]
    for is_reset, rows in ((True, opening), (False, later)):
        for (_,), part in rows.group_by("last_id", maintain_order=True):
            sides = [tuple(part.filter(side=side).select("price", "size").iter_rows()) for side in ("bid", "ask")]
            time = max(part["time"][0], first)
            yield BookUpdate(part["symbol"][0], time, time, *sides, reset=is_reset)


def in_time(*streams):
    return sorted([event for stream in streams for event in stream], key=attrgetter("time"))


@pytest.mark.parametrize("shown", ["quotes", "book"])
def test_orders_in_a_recorded_market_keep_the_laws(real_market, shown):
    events = in_time(recorded(real_market, "trades"), recorded(real_market, shown))
    symbol, begin = "BTC/USDT", events[0].time + 5 * S
    touch = next(e.bid_price if shown == "quotes" else e.bids[0][0] for e in events if not isinstance(e, Trade))
    venue = Venue(Costs(10.0, 10.0), {symbol: Instrument(symbol, Decimal("0.00001"))}, minimum_notional=5.0)
    wanted = [
        Order("take", "main", symbol, "buy", 200_000.0, begin),
        Order("rest", "main", symbol, "buy", 10_000.0, begin, "limit", limit_price=touch - 20.0),
        Order("deep", "main", symbol, "buy", 10_000.0, begin, "limit", limit_price=touch - 3_000.0),
        Order("stop", "main", symbol, "sell", 5_000.0, begin, "stop", stop_price=touch - 30.0),
        Order("trail", "main", symbol, "sell", 5_000.0, begin + S, "trailing_stop", trail=0.0005),
    ]
    done = {}
    for model in ("conservative", "proportional"):
        run_ = done[model] = drive_ticks(wanted, events, venue, 1e6, timedelta(milliseconds=50), queue=model)
        ordered = {o.id: o for o in wanted}
        again = Portfolio((symbol,), venue, 1e6)
        for fill in run_.fills:
            wish = ordered[fill.order_id]
            assert again.apply(fill)
            assert again.cash >= 0 <= again.held(symbol)
            assert fill.time >= wish.time + 50 * 10**6
            assert wish.limit_price is None or fill.price <= wish.limit_price
        assert again.cash == run_.portfolio.cash
        for name, wish in ordered.items():
            assert sum(f.lots for f in run_.fills if f.order_id == name) <= wish.lots
        assert [o.id for o in run_.open] == ["deep"]
        assert not run_.rejections
        assert {f.liquidity for f in run_.fills if f.order_id == "rest"} == {"maker"}
        assert sum(f.lots for f in run_.fills if f.order_id == "take") == 200_000.0
    last = {model: max(f.time for f in run_.fills if f.order_id == "rest") for model, run_ in done.items()}
    assert last["proportional"] <= last["conservative"]


def test_a_market_order_in_a_recorded_book_pays_what_walking_its_levels_costs(real_market):
    events = recorded(real_market, "book")
    shown, wanted, cost = Book("BTC/USDT"), 5.0, 0.0
    for event in events[:40]:
        shown.update(event)
    for price, size in shown.depth(5_000)[1]:
        part = min(wanted, size)
        cost, wanted = cost + part * price, wanted - part
    venue = Venue(Costs(10.0, 10.0), {"BTC/USDT": Instrument("BTC/USDT", Decimal("0.00001"))}, 5.0, 1e9)
    order_ = Order("a", "main", "BTC/USDT", "buy", 500_000.0, events[39].time)
    before = [event for event in events[:40] if event.time < events[39].time]
    assert len(before) == 39
    done = drive_ticks([order_], events[:40], venue, 1e6)
    assert done.fills[0].price == pytest.approx(cost / 5.0, rel=1e-12)
    mid = (shown.best_bid[0] + shown.best_ask[0]) / 2
    assert done.fills[0].slippage == pytest.approx(cost - 5.0 * mid, rel=1e-6)
