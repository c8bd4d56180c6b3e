"""Thin markets: a symbol without a trade in the last minute does not keep a trader from its start."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.data.store import Store
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.live.trader import Trader


@pytest.mark.parametrize("silent", [["ETH/USD"], ["BTC/USD", "ETH/USD"]])
def test_a_universe_of_minutes_starts_when_nothing_was_traded_in_the_last_one(bundle, tmp_path, silent):
    bars = SyntheticMarket(11, bundle.symbols, "2024-01-01", 15).bars()
    begin = pl.datetime(2024, 1, 10, 23, 59, 30, time_zone="UTC")
    last = pl.col("time").is_between(begin, begin + timedelta(minutes=1))
    holed = bars.filter(~(pl.col("symbol").is_in(silent) & last))
    minutes = replace(bundle, timeframe="1m", horizon=timedelta(minutes=5))
    with Sandbox(bars=holed, history=timedelta(days=10), lockstep=True) as venue:
        trader = Trader(minutes, venue.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite")
        done = trader.run(until=timedelta(minutes=10))
    assert done.slices >= 9
