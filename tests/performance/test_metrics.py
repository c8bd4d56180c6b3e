"""The numbers of a report, by hand and by independent formulas."""

import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cryptoquant.performance import metrics
from cryptoquant.performance.curve import absorb, begin
from cryptoquant.performance.round_trips import round_trips
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


def test_the_sharpe_and_the_sortino_ratio_are_mean_over_deviation_times_the_root_of_the_year():
    returns = np.array([0.01, -0.02, 0.03, 0.0])
    deviation = math.sqrt((0.005**2 + 0.025**2 + 0.025**2 + 0.005**2) / 3)
    assert metrics.sharpe_ratio(returns, 365) == pytest.approx(0.005 / deviation * math.sqrt(365))
    found = metrics.statistics(curve_of(100 * np.cumprod(1 + returns), DAY), fills_of([]), 100.0)
    assert found.sharpe == pytest.approx(0.005 / deviation * math.sqrt(365))
    assert found.sortino == pytest.approx(0.005 / math.sqrt(0.02**2 / 4) * math.sqrt(365))


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
    found = metrics.statistics(curve_of(values), fills_of([]), 100.0)
    assert found.max_drawdown_days == pytest.approx(hours / 24)


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


def test_a_close_at_midnight_belongs_to_the_month_before():
    times = stamps([START - HOUR, START, START + HOUR])
    months = metrics.monthly_returns(pl.DataFrame({"time": times, "equity": [110.0, 121.0, 60.5]}), 100.0)
    assert months["year"].to_list() == [2023, 2024]
    assert months["month"].to_list() == [12, 1]
    assert months["return"].to_list() == pytest.approx([0.21, -0.5])


def test_the_door_for_arrays_says_what_the_door_for_tables_says():
    equity = curve_of(100 * np.cumprod(1 + 0.01 * np.random.default_rng(2).standard_normal(900)))
    rows = [(hour, "ETH/USD" if hour % 3 else "BTC/USD", 1.0 - hour % 2 * 1.5, 50.0 + hour) for hour in range(60)]
    fills = fills_of(rows, fee=0.001).with_columns(pl.lit(0.2).alias("slippage"), pl.lit(0.05).alias("impact"))
    wanted = metrics.statistics(equity, fills, 100.0, refused=4)
    state, times = begin(100.0), equity["time"].dt.epoch("ns").to_numpy(writable=True)
    for start in range(0, 900, 128):
        part = slice(start, start + 128)
        absorb(state, equity["equity"].to_numpy(writable=True)[part], times[part])
    found = metrics.statistics_of(state, times, metrics.fill_columns(fills), 0.0, 4)
    assert found == wanted
    assert (found.start, found.end) == (str(equity["time"][0]), str(equity["time"][-1]))
    assert (found.fills, found.refused) == (60, 4)
    assert (found.slippage, found.impact) == (pytest.approx(12.0), pytest.approx(3.0))
    assert found.trades == round_trips(fills).height > 10


def test_numbers_agree_with_vectorbt():
    vectorbt = pytest.importorskip("vectorbt")
    rng = np.random.default_rng(4)
    equity = 100 * np.cumprod(1 + 0.01 * rng.standard_normal(2_500))
    found = metrics.statistics(curve_of(equity, DAY), fills_of([]), 100.0)
    index = pd.to_datetime(curve_of(equity, DAY)["time"].to_list())
    theirs = pd.Series(metrics.returns_of(equity, 100.0), index=index).vbt.returns(freq="1D", year_freq="365D")
    assert vectorbt.__version__
    assert found.sharpe == pytest.approx(theirs.sharpe_ratio(), rel=1e-9)
    assert found.sortino == pytest.approx(theirs.sortino_ratio(), rel=1e-9)
    assert found.volatility == pytest.approx(theirs.annualized_volatility(), rel=1e-9)


def test_a_day_that_starts_from_nothing_has_a_return_of_zero():
    times = pl.datetime_range(pl.datetime(2024, 1, 2), pl.datetime(2024, 1, 6), "1d", time_zone="UTC", eager=True)
    equity = pl.DataFrame({"time": times, "equity": [100.0, 50.0, 0.0, 0.0, 10.0]})
    assert metrics.daily_returns(equity, 80.0)["return"].to_list() == [0.25, -0.5, -1.0, 0.0, 0.0]
