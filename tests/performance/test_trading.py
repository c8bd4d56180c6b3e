"""What closed trades have in common, by hand and by vectorbt; and how large an account could have traded them."""

import math

import numpy as np
import polars as pl
import pytest

from cryptoquant.performance.round_trips import round_trips
from cryptoquant.performance.trading import capacity_of, trading_of
from tests.market_makers import HOUR, START
from tests.performance.reports import fills_of, report_over, stamps


def curve(hours, value=10_000.0):
    times = stamps(START + HOUR * np.arange(1, hours + 1))
    return pl.DataFrame({"time": times, "equity": np.full(hours, value)})


def traded(fills, hours=8_760):
    return trading_of(round_trips(fills), fills, curve(hours))


ROWS = [
    (0, "BTC/USD", 1.0, 100.0),
    (24, "BTC/USD", -1.0, 130.0),
    (30, "BTC/USD", -2.0, 100.0),
    (42, "BTC/USD", 2.0, 110.0),
    (50, "BTC/USD", 1.0, 100.0),
    (86, "BTC/USD", -1.0, 110.0),
]


def test_trades_by_hand():
    fills = fills_of(ROWS).with_columns(pl.lit(2.0).alias("fee"), slippage=pl.lit(1.0), impact=pl.lit(0.5))
    found = traded(fills)
    assert (found.trades, found.long_trades, found.short_trades) == (3, 2, 1)
    assert (found.long_profit, found.short_profit) == (pytest.approx(40.0), pytest.approx(-20.0))
    assert found.hit_rate == pytest.approx(2 / 3)
    assert found.payoff_ratio == pytest.approx(20 / 20)
    assert found.profit_factor == pytest.approx(40 / 20)
    assert found.expectancy == pytest.approx(20 / 3)
    assert found.average_return == pytest.approx((0.3 - 0.1 + 0.1) / 3)
    assert (found.best_return, found.worst_return) == (pytest.approx(0.3), pytest.approx(-0.1))
    assert found.average_holding_days == pytest.approx((1.0 + 0.5 + 1.5) / 3)
    assert found.longest_holding_days == pytest.approx(1.5)
    assert found.trades_per_year == pytest.approx(3.0)
    assert found.fee_share == pytest.approx(12 / 40)
    assert found.slippage_share == pytest.approx(6 / 40)
    assert found.impact_share == pytest.approx(3 / 40)
    assert math.isnan(found.capacity)


def test_the_capacity_is_where_the_traded_share_of_the_bars_reaches_a_percent():
    fills = fills_of(ROWS[:2]).with_columns(pl.Series("participation", [0.002, 0.004]))
    mean = (100 * 0.002 + 130 * 0.004) / 230
    assert traded(fills).capacity == pytest.approx(10_000 * 0.01 / mean)
    assert capacity_of(np.array([1.0, 1.0]), np.array([0.02, np.nan]), 500.0, share=0.04) == pytest.approx(1_000.0)
    assert math.isnan(capacity_of(np.array([1.0]), np.array([np.nan]), 500.0))
    assert math.isnan(capacity_of(np.array([1.0]), np.array([0.0]), 500.0))


def test_without_a_closed_trade_nothing_is_defined():
    for fills in (fills_of([]), fills_of(ROWS[:1])):
        found = traded(fills)
        assert (found.trades, found.long_profit) == (0, 0.0)
        for name in ("hit_rate", "payoff_ratio", "profit_factor", "expectancy", "best_return", "longest_holding_days"):
            assert math.isnan(getattr(found, name))


def test_trades_agree_with_vectorbt():
    vectorbt = pytest.importorskip("vectorbt")
    rng = np.random.default_rng(3)
    price = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(300)))
    size = np.where(np.arange(300) % 7 == 0, 1.0, np.where(np.arange(300) % 7 == 3, -1.0, np.nan))
    size[294:] = np.nan
    theirs = vectorbt.Portfolio.from_orders(price, size, fees=0.0025, init_cash=1e6, freq="1h").exit_trades
    rows = [(hour, "BTC/USD", float(size[hour]), float(price[hour])) for hour in np.flatnonzero(~np.isnan(size))]
    found = traded(fills_of(rows, fee=0.0025))
    assert found.trades == theirs.count()
    assert found.hit_rate == pytest.approx(theirs.win_rate())
    assert found.profit_factor == pytest.approx(theirs.profit_factor())
    assert found.expectancy == pytest.approx(theirs.expectancy())
    assert found.payoff_ratio == pytest.approx(theirs.winning.pnl.mean() / -theirs.losing.pnl.mean())
    assert found.average_holding_days * 24 == pytest.approx(theirs.duration.mean())


def test_a_report_says_what_its_statistics_say():
    report = report_over(2_000, trades=60)
    found, numbers = report.trading, report.statistics
    assert (found.trades, found.hit_rate, found.profit_factor) == (
        numbers.trades,
        pytest.approx(numbers.hit_rate),
        pytest.approx(numbers.profit_factor),
    )
    assert found.expectancy == pytest.approx(numbers.expectancy)
