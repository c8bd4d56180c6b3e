from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from cryptoquant.backtest.sandbox.market import Market
from cryptoquant.errors import DataError, SchemaError
from cryptoquant.market.aggregation import aggregate
from cryptoquant.market.schema import validate
from cryptoquant.market.time import to_datetime, to_ns

HOUR = 3_600_000_000_000


def test_the_present_divides_history_from_the_future(bars: pl.DataFrame) -> None:
    market = Market(bars, timedelta(days=1))
    assert market.now == to_ns("2024-01-02")
    last = market.last("BTC/USD")
    assert last is not None
    assert last.time == market.now
    assert list(market.due(market.now + 3 * 60_000_000_000)) == [market.now + k * 60_000_000_000 for k in (1, 2, 3)]


def test_half_of_a_short_market_is_history(bars: pl.DataFrame) -> None:
    assert Market(bars).now == to_ns("2024-01-02") + 12 * HOUR


@pytest.mark.parametrize("days", [0.0001, 3, 400])
def test_a_history_that_leaves_no_past_or_no_future_is_refused(bars: pl.DataFrame, days: float) -> None:
    with pytest.raises(DataError, match="does not leave past and future"):
        Market(bars, timedelta(days=days))


def test_bars_of_two_timeframes_are_refused(bars: pl.DataFrame) -> None:
    mixed = pl.concat([bars.filter(pl.col("symbol") == "BTC/USD"), aggregate(bars, "1h").filter(symbol="ETH/USD")])
    with pytest.raises(SchemaError, match="one timeframe"):
        Market(mixed)


@pytest.mark.parametrize(
    ("name", "ours"), [("5Min", "5m"), ("15T", "15m"), ("4H", "4h"), ("1Hour", "1h"), ("1Day", "1d")]
)
def test_larger_bars_are_those_of_the_one_aggregation(bars: pl.DataFrame, name: str, ours: str) -> None:
    found = Market(bars).series("ETH/USD", name).bars
    assert found.equals(aggregate(bars.filter(pl.col("symbol") == "ETH/USD"), ours))


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    opened = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(70)]
    close = np.arange(70) + 100.0
    frame = pl.DataFrame({"symbol": "BTC/USD", "open_time": opened, "open": close, "high": close + 1, "low": close - 1})
    frame = frame.with_columns(close=pl.col("open"), volume=pl.lit(2.0), vwap=pl.col("open"), trade_count=pl.lit(1))
    frame = frame.with_columns(pl.col("open_time").dt.cast_time_unit("ns"))
    market = Market(validate(frame.with_columns(time=pl.col("open_time") + pl.duration(days=1)), "bars"))
    weeks, months = market.series("BTC/USD", "1Week"), market.series("BTC/USD", "1Month")
    assert {to_datetime(int(ns)).weekday() for ns in weeks.opens} == {0}
    assert [to_datetime(int(ns)).day for ns in months.opens] == [1, 1, 1]
    january = months.bar(0)
    assert (january.open, january.high, january.low, january.close) == (100.0, 131.0, 99.0, 130.0)
    assert (january.volume, january.trade_count, january.vwap) == (62.0, 31, pytest.approx(115.0))
    assert january.time == to_ns("2024-02-01")


@pytest.mark.parametrize("name", ["60Min", "0Min", "24H", "2Day", "5Month", "1min", "", "1Minute"])
def test_a_timeframe_that_alpaca_does_not_know_is_refused(bars: pl.DataFrame, name: str) -> None:
    with pytest.raises(ValueError, match="invalid timeframe"):
        Market(bars).series("BTC/USD", name)


def test_the_day_so_far_is_the_fold_of_its_bars(bars: pl.DataFrame) -> None:
    market = Market(bars, timedelta(hours=30))
    day = market.day("BTC/USD")
    part = bars.filter(pl.col("symbol") == "BTC/USD").slice(24 * 60, 6 * 60)
    assert day is not None
    assert (day.open_time, day.time) == (to_ns("2024-01-02"), to_ns("2024-01-02") + 6 * HOUR)
    assert (day.open, day.close) == (part["open"][0], part["close"][-1])
    assert (day.high, day.low) == (part["high"].max(), part["low"].min())
    assert day.volume == pytest.approx(part["volume"].sum())
