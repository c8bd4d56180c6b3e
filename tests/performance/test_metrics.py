"""The numbers of a report, by hand and by independent formulas."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cryptoquant.performance import metrics
from tests.market_makers import HOUR, START
from tests.performance.reports import fills_of, stamps

DAY = 24 * HOUR


def curve_of(values, width=HOUR, exposure=None):
    times = stamps(START + width * np.arange(1, len(values) + 1))
    held = np.zeros(len(values)) if exposure is None else exposure
    return pl.DataFrame({"time": times, "equity": np.asarray(values, dtype=float), "exposure": held})


@given(st.lists(st.floats(-0.2, 0.2), min_size=1, max_size=60))
def test_returns_compound_to_the_equity_and_drawdowns_never_rise_above_zero(returns):
    equity = 100 * np.cumprod(1 + np.array(returns))
    assert metrics.returns_of(equity, 100.0) == pytest.approx(returns, abs=1e-12)
    fallen = metrics.drawdowns(equity, 100.0)
    assert (fallen <= 0).all()
    for row in range(len(equity)):
        assert fallen[row] == pytest.approx(equity[row] / max(100.0, *equity[: row + 1]) - 1)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(1, 100)), min_size=1, max_size=40))
def test_profits_of_trades_and_the_open_position_add_up_to_the_cash(rows):
    rows = [(quantity, price) for quantity, price in rows if abs(quantity) > 1e-3]
    held = sum(quantity for quantity, _ in rows)
    rows.append((-held, 50.0))
    fills = fills_of([(hour, "BTC/USD", quantity, price) for hour, (quantity, price) in enumerate(rows) if quantity])
    profit = metrics.round_trips(fills)["profit"].sum()
    assert profit == pytest.approx(fills["value_change"].sum(), abs=1e-6)


def test_the_sharpe_ratio_is_mean_over_deviation_times_the_root_of_the_year():
    returns = np.array([0.01, -0.02, 0.03, 0.0])
    deviation = math.sqrt((0.005**2 + 0.025**2 + 0.025**2 + 0.005**2) / 3)
    assert metrics.sharpe_ratio(returns, 365) == pytest.approx(0.005 / deviation * math.sqrt(365))
    downside = math.sqrt(0.02**2 / 4)
    assert metrics.sortino_ratio(returns, 365) == pytest.approx(0.005 / downside * math.sqrt(365))


def test_a_curve_that_never_moves_or_moves_by_rounding_only_has_no_sharpe_ratio():
    assert math.isnan(metrics.sharpe_ratio(np.zeros(10)))
    steady = metrics.returns_of(100 * 1.01 ** np.arange(1, 30), 100.0)
    assert steady.std(ddof=1) > 0
    assert math.isnan(metrics.sharpe_ratio(steady))


def test_moments_agree_with_scipy():
    returns = np.random.default_rng(1).standard_t(5, 500)
    skewness, kurtosis = metrics.moments(returns)
    assert skewness == pytest.approx(stats.skew(returns))
    assert kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False))


def test_statistics_of_a_year_of_days_by_hand():
    values = np.full(365, 110.0)
    values[:3] = [100.0, 120.0, 90.0]
    exposure = np.zeros(365)
    exposure[:73] = 1.0
    fills = fills_of([(1, "BTC/USD", 2.0, 50.0), (2, "BTC/USD", -2.0, 55.0)], fee=0.01)
    found = metrics.statistics(curve_of(values, DAY, exposure), fills, 100.0, refused=3)
    assert found.periods_per_year == pytest.approx(365)
    assert found.total_return == pytest.approx(0.10)
    assert found.cagr == pytest.approx(0.10)
    assert found.max_drawdown == pytest.approx(90 / 120 - 1)
    assert found.calmar == pytest.approx(0.10 / 0.25)
    assert found.max_drawdown_days == pytest.approx(363)
    assert found.exposure == pytest.approx(0.2)
    assert found.turnover == pytest.approx(210 / values.mean())
    assert (found.fills, found.trades, found.refused, found.hit_rate) == (2, 1, 3, 1.0)
    assert found.fees == pytest.approx(2.1)
    assert found.expectancy == pytest.approx(110 - 1.1 - 100 - 1.0)
    assert math.isnan(found.profit_factor)


@pytest.mark.parametrize(
    ("values", "hours"),
    [([90, 80, 100, 100, 90], 1), ([100, 100, 100], 0), ([110, 90, 110, 100, 120], 1), ([90, 80, 70], 2), ([120], 0)],
)
def test_the_longest_drawdown_counts_from_the_last_time_at_the_high(values, hours):
    times = START + HOUR * np.arange(len(values), dtype=np.int64)
    assert metrics.longest_drawdown(times, np.array(values, dtype=float), 100.0) == pytest.approx(hours / 24)


def test_one_period_has_no_growth_per_year_and_a_short_rise_does_not_overflow():
    fills = fills_of([])
    alone = metrics.statistics(curve_of([110.0]), fills, 100.0)
    assert alone.total_return == pytest.approx(0.1)
    assert math.isnan(alone.cagr)
    assert math.isnan(alone.sharpe)
    assert metrics.statistics(curve_of([150.0, 225.0]), fills, 100.0).cagr == math.inf
    assert metrics.growth_per_year(-1.0, 2.0) == -1.0
    assert metrics.growth_per_year(0.21, 2.0) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="at least one period"):
        metrics.statistics(curve_of([]), fills, 100.0)


def test_partial_closes_are_trades_at_average_cost():
    fills = fills_of(
        [
            (0, "BTC/USD", 1.0, 100.0),
            (1, "BTC/USD", 1.0, 200.0),
            (2, "BTC/USD", -0.5, 180.0),
            (3, "BTC/USD", -1.5, 140.0),
        ]
    )
    trades = metrics.round_trips(fills)
    assert trades["quantity"].to_list() == [0.5, 1.5]
    assert trades["is_final"].to_list() == [False, True]
    assert trades["profit"].to_list() == pytest.approx([0.5 * 30, 1.5 * -10])
    assert trades["return"].to_list() == pytest.approx([0.2, -10 / 150])
    assert trades["opened"].to_list() == [fills["time"][0]] * 2
    assert trades["closed"].to_list() == fills["time"][2:].to_list()


def test_a_fill_through_zero_closes_and_opens_the_opposite():
    fills = fills_of([(0, "BTC/USD", 1.0, 100.0), (1, "BTC/USD", -3.0, 120.0), (2, "BTC/USD", 2.0, 90.0)], fee=0.01)
    trades = metrics.round_trips(fills)
    assert trades["quantity"].to_list() == [1.0, 2.0]
    assert trades["is_final"].to_list() == [True, True]
    assert trades["profit"].to_list() == pytest.approx([118.8 - 101.0, 2 * 118.8 - 2 * 90.9])
    assert trades["opened"].to_list() == fills["time"][:2].to_list()


def test_symbols_are_apart_and_dust_of_a_large_position_is_not_a_position():
    held = 3 * 333_333_333.1
    fills = fills_of(
        [
            *((hour, "SHIB/USD", 333_333_333.1, 1e-5) for hour in range(3)),
            (1, "ETH/USD", 1.0, 10.0),
            (4, "SHIB/USD", -(held - 1e-6), 2e-5),
            (5, "SHIB/USD", 1_000.0, 1e-5),
            (6, "SHIB/USD", -1_000.0, 1e-5),
        ]
    )
    trades = metrics.round_trips(fills)
    assert trades.height == 2
    assert trades["opened"].to_list() == [fills["time"][0], fills["time"][5]]


@pytest.mark.parametrize("parts", [(0.1, 0.1, 0.1, -0.3), (0.1, 0.7, -0.8)])
def test_rounding_on_either_side_of_zero_opens_no_phantom_position(parts):
    assert sum(parts) != 0
    twice = [*parts, 1.0, -1.0]
    trades = metrics.round_trips(fills_of([(hour, "BTC/USD", part, 100.0) for hour, part in enumerate(twice)]))
    assert trades["quantity"].to_list() == pytest.approx([-parts[-1], 1.0])


def test_round_trips_agree_with_vectorbt_exit_trades():
    vectorbt = pytest.importorskip("vectorbt")
    rng = np.random.default_rng(3)
    price = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(200)))
    size = np.where(np.arange(200) % 7 == 0, 1.0, np.where(np.arange(200) % 7 == 3, -0.4, np.nan))
    theirs = vectorbt.Portfolio.from_orders(price, size, fees=0.0025, init_cash=1e6, freq="1h").exit_trades
    rows = [(hour, "BTC/USD", float(size[hour]), float(price[hour])) for hour in np.flatnonzero(~np.isnan(size))]
    closed = theirs.records[theirs.records["status"] == 1]
    ours = metrics.round_trips(fills_of(rows, fee=0.0025))
    assert ours["profit"].to_numpy() == pytest.approx(closed["pnl"].to_numpy())


def test_a_close_at_midnight_belongs_to_the_month_before():
    times = stamps([START - HOUR, START, START + HOUR])
    months = metrics.monthly_returns(pl.DataFrame({"time": times, "equity": [110.0, 121.0, 60.5]}), 100.0)
    assert months["year"].to_list() == [2023, 2024]
    assert months["month"].to_list() == [12, 1]
    assert months["return"].to_list() == pytest.approx([0.21, -0.5])
