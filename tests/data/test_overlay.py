"""Several stored timeframes of one symbol: the coarser ones are taken, the finer ones fill what they lack."""

import polars as pl

from cryptoquant.data.store import Store
from cryptoquant.data.synthetic import SyntheticMarket


def test_a_few_coarse_bars_do_not_hide_the_finer_history(tmp_path):
    market = SyntheticMarket(symbols=("BTC/USD",), days=10, timeframe="5m")
    store = Store(tmp_path)
    store.write("bars", market.bars("5m"), timeframe="5m")
    hours = store.bars("BTC/USD", "1h")
    marked = hours.slice(100, 3).with_columns(volume=pl.lit(7.0))
    store.write("bars", marked, timeframe="1h")
    both = store.bars("BTC/USD", "1h")
    assert both["open_time"].equals(hours["open_time"])
    assert both["volume"].slice(100, 3).to_list() == [7.0] * 3
    assert both.slice(0, 100).equals(hours.slice(0, 100))
    assert both.slice(103).equals(hours.slice(103))


def test_recorded_minutes_carry_a_downloaded_history_on(tmp_path):
    market = SyntheticMarket(symbols=("BTC/USD",), days=3, timeframe="1m")
    store = Store(tmp_path)
    store.write("bars", market.bars("5m", end="2024-01-03T00:00:00Z"), timeframe="5m")
    store.write("bars", market.bars("1m", start="2024-01-02T20:30:00Z"), timeframe="1m")
    assert (
        store.bars("BTC/USD", "1h").select("open_time", "close").equals(market.bars("1h").select("open_time", "close"))
    )
