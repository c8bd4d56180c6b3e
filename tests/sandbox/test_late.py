from collections.abc import Callable
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
import requests

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.backtest.sandbox.late import LateTrades
from cryptoquant.backtest.sandbox.market import Market
from cryptoquant.market.aggregation import aggregate
from cryptoquant.market.schema import Bar, Trade
from tests.sandbox.clients import Tape

MINUTE = timedelta(minutes=1)


def get(sandbox: Sandbox, path: str, **parameters: object) -> dict:
    query = {"symbols": "BTC/USD", "timeframe": "1Min"} | parameters
    return requests.get(f"{sandbox.url}/v1beta3/crypto/us/{path}", params=query, timeout=10).json()


def test_a_late_trade_adds_to_volume_count_and_vwap_and_to_nothing_else(bars: pl.DataFrame) -> None:
    btc = bars.filter(symbol="BTC/USD")
    rule = LateTrades(7, 0.2)
    flags = rule.chosen("BTC/USD", btc)
    changed = rule.applied(btc, flags)
    assert flags.mean() == pytest.approx(0.2, abs=0.03)
    same = ["symbol", "time", "open_time", "open", "high", "low", "close"]
    assert changed.select(same).equals(btc.select(same))
    assert changed.filter(~pl.Series(flags)).equals(btc.filter(~pl.Series(flags)))
    assert (changed["trade_count"] - btc["trade_count"]).to_list() == flags.astype(int).tolist()
    market = Market(bars, timedelta(days=2), rule)
    for row in np.flatnonzero(flags)[:20]:
        bar, after = market.base("BTC/USD").bar(int(row)), changed.row(int(row), named=True)
        trade = rule.trade(bar)
        assert bar.open_time < trade.time < bar.time
        assert after["volume"] == pytest.approx(bar.volume + trade.size)
        value = bar.volume * bar.vwap + trade.size * trade.price
        assert after["vwap"] == pytest.approx(value / after["volume"])
        assert bar.low <= after["vwap"] <= bar.high
    assert not np.array_equal(flags, LateTrades(8, 0.2).chosen("BTC/USD", btc))
    assert not np.array_equal(flags, rule.chosen("ETH/USD", btc))


def test_each_changed_bar_is_told_once_and_is_then_what_history_shows(open_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = open_sandbox(late_trades=0.3)
    market, told, shown = sandbox.market, {}, {}
    began = market.now
    for _ in range(40):
        sandbox.advance(MINUTE)
        for bar in market.updates(market.now):
            assert isinstance(bar, Bar)
            assert bar.time == market.now - market.width
            assert (bar.symbol, bar.time) not in told
            told[bar.symbol, bar.time] = bar
    for symbol in market.symbols:
        for row in get(sandbox, "bars", symbols=symbol)["bars"][symbol]:
            shown[symbol, row["t"]] = row
    changed = [bar for bar in told.values() if bar.time > began]
    assert len(changed) > 10
    for bar in changed:
        row = shown[bar.symbol, _iso(bar.open_time)]
        assert (row["v"], row["n"], row["vw"]) == (bar.volume, bar.trade_count, bar.vwap)


def test_the_stream_tells_late_trades_and_updated_bars_as_history_does(
    open_sandbox: Callable[..., Sandbox], tape: Callable[..., Tape]
) -> None:
    sandbox = open_sandbox(late_trades=0.3)
    data = tape("data", on=sandbox, raw_data=True)
    data.stream.subscribe_updated_bars(data.keep, "BTC/USD")
    data.stream.subscribe_trades(data.keep, "BTC/USD")
    data.stream.subscribe_bars(data.keep, "BTC/USD")
    data.play()
    count = 0
    for _ in range(20):
        count = sandbox.advance(MINUTE)["sent"]["data"]
    received = data.wait(count)
    minutes = {one["t"].to_unix_nano(): one for one in received if one["T"] == "b"}
    updated = {one["t"].to_unix_nano(): one for one in received if one["T"] == "u"}
    minutes |= {opened: one for opened, one in updated.items() if opened in minutes}
    assert len(updated) > 3
    rows = get(sandbox, "bars", start=_iso(min(minutes)))["bars"]["BTC/USD"]
    assert [(row["v"], row["n"], row["vw"]) for row in rows] == [
        (one["v"], one["n"], one["vw"]) for _, one in sorted(minutes.items())
    ]
    since = min(minutes)
    told = sorted(one["i"] for one in received if one["T"] == "t" and one["t"].to_unix_nano() >= since)
    assert told == sorted(row["i"] for row in get(sandbox, "trades", start=_iso(min(minutes)))["trades"]["BTC/USD"])


def test_a_change_is_not_known_before_half_a_bar_has_passed(open_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = open_sandbox(late_trades=1.0)
    sandbox.advance(MINUTE)
    bar = sandbox.market.last("BTC/USD")
    assert bar is not None
    late = sandbox.market.late.trade(bar)

    def seen() -> tuple[float, float, float, bool, float]:
        query = {"sort": "desc", "limit": 1}
        newest = get(sandbox, "bars", **query)["bars"]["BTC/USD"][0]["v"]
        latest = get(sandbox, "latest/bars")["bars"]["BTC/USD"]["v"]
        snapshot = get(sandbox, "snapshots")["snapshots"]["BTC/USD"]
        ids = [row["i"] for row in get(sandbox, "trades", sort="desc", limit=5)["trades"]["BTC/USD"]]
        return newest, latest, snapshot["minuteBar"]["v"], late.id in ids, snapshot["dailyBar"]["v"]

    before = seen()
    assert before[:4] == (bar.volume, bar.volume, bar.volume, False)
    sandbox.advance(timedelta(seconds=29))
    assert seen() == before
    sandbox.advance(timedelta(seconds=1))
    after = seen()
    assert after[:4] == (*[pytest.approx(bar.volume + late.size)] * 3, True)
    assert after[4] - before[4] == pytest.approx(late.size)


def test_larger_bars_hold_the_late_trades_that_are_known(
    open_sandbox: Callable[..., Sandbox], bars: pl.DataFrame
) -> None:
    sandbox = open_sandbox(late_trades=1.0)
    sandbox.advance(15 * MINUTE)
    market = sandbox.market
    btc = bars.filter(symbol="BTC/USD")
    every = market.late.applied(btc, np.ones(len(btc), bool))
    opened = market.now - 15 * 60_000_000_000

    def volume(frame: pl.DataFrame) -> float:
        return float(aggregate(frame, "15m").filter(pl.col("open_time").dt.epoch("ns") == opened)["volume"][0])

    newest = {"timeframe": "15Min", "sort": "desc", "limit": 1}
    last = market.last("BTC/USD")
    assert last is not None
    first = get(sandbox, "bars", **newest)["bars"]["BTC/USD"][0]["v"]
    assert first == pytest.approx(volume(every) - market.late.trade(last).size)
    sandbox.advance(timedelta(seconds=30))
    assert get(sandbox, "bars", **newest)["bars"]["BTC/USD"][0]["v"] == volume(every)


def test_orders_meet_the_bars_as_they_closed(open_sandbox: Callable[..., Sandbox]) -> None:
    late, plain = open_sandbox(late_trades=1.0), open_sandbox()
    for sandbox in (late, plain):
        headers = {"APCA-API-KEY-ID": sandbox.api_key, "APCA-API-SECRET-KEY": sandbox.api_secret}
        body = {"symbol": "BTC/USD", "qty": "0.1", "side": "buy", "type": "market", "time_in_force": "gtc"}
        requests.post(f"{sandbox.url}/v2/orders", json=body, headers=headers, timeout=10)
        sandbox.advance(5 * MINUTE)
    assert late._exchange.fills == plain._exchange.fills
    assert late.account().equity == plain.account().equity


def test_a_bar_without_trades_gets_no_late_one(bars: pl.DataFrame) -> None:
    quiet = bars.filter(symbol="BTC/USD").with_columns(volume=pl.lit(0.0))
    assert not LateTrades(7, 1.0).chosen("BTC/USD", quiet).any()


def test_without_late_trades_nothing_is_updated(sandbox: Sandbox) -> None:
    sandbox.advance(MINUTE)
    assert sandbox.market.updates(sandbox.market.now) == []
    with pytest.raises(ValueError, match="late_trades must be a fraction"):
        Sandbox(days=2, late_trades=2.0)


def test_a_late_trade_is_a_trade(bars: pl.DataFrame) -> None:
    bar = Market(bars).base("BTC/USD").bar(5)
    trade = LateTrades(7, 1.0).trade(bar)
    assert isinstance(trade, Trade)
    assert trade.id > 2**53
    assert trade == LateTrades(7, 1.0).trade(bar)


def _iso(ns: int) -> str:
    return str(np.datetime64(ns, "ns").astype("datetime64[s]")) + "Z"
