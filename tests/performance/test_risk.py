"""The numbers of risk, by hand and by independent libraries."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.performance import risk
from cryptoquant.performance.metrics import returns_of, statistics
from tests.market_makers import HOUR, START
from tests.performance.reports import fills_of, report_over, stamps

DAY = 24 * HOUR


def table(values, width=HOUR):
    times = stamps(START + width * np.arange(1, len(values) + 1))
    return pl.DataFrame({"time": times, "equity": np.asarray(values, dtype=float), "exposure": np.zeros(len(values))})


@pytest.fixture(scope="module")
def walk():
    return 100 * np.cumprod(1 + 0.01 * np.random.default_rng(6).standard_t(4, 1_500))


@settings(deadline=None)
@given(st.lists(st.floats(-0.1, 0.1), min_size=1, max_size=80))
def test_spells_hold_the_deepest_and_the_longest_of_the_statistics(returns):
    equity = table(100 * np.cumprod(1 + np.array(returns)))
    spells, found = risk.drawdown_spells(equity, 100.0), statistics(equity, fills_of([]), 100.0)
    assert found.max_drawdown == pytest.approx(spells["depth"].min() if spells.height else 0.0)
    assert found.max_drawdown_days == pytest.approx(spells["days"].max() if spells.height else 0.0)
    assert (spells["depth"] < 0).all()
    assert (spells["start"] <= spells["trough"]).all()
    assert (spells["trough"] <= spells["end"]).all()
    assert spells["is_recovered"].head(max(0, spells.height - 1)).all()


def test_spells_by_hand():
    equity = table([90.0, 80.0, 100.0, 120.0, 60.0, 90.0, 130.0, 117.0], DAY)
    spells = risk.drawdown_spells(equity, 100.0)
    days = [equity["time"][row] for row in range(8)]
    assert spells["start"].to_list() == [days[0], days[3], days[6]]
    assert spells["trough"].to_list() == [days[1], days[4], days[7]]
    assert spells["end"].to_list() == [days[1], days[5], days[7]]
    assert spells["depth"].to_list() == pytest.approx([-0.2, -0.5, -0.1])
    assert spells["days"].to_list() == [1.0, 2.0, 1.0]
    assert spells["is_recovered"].to_list() == [True, True, False]
    found = risk.risk_of(equity, 100.0)
    assert found.average_drawdown == pytest.approx(-0.8 / 3)
    assert found.average_drawdown_days == pytest.approx(4 / 3)
    assert found.longest_drawdown_days == 2.0
    squares = [0.1**2, 0.2**2, 0, 0, 0.5**2, 0.25**2, 0, 0.1**2]
    assert found.ulcer_index == pytest.approx(math.sqrt(sum(squares) / 8))


def test_tails_by_hand():
    returns = np.arange(-10.0, 11.0) / 100
    assert risk.value_at_risk(returns) == pytest.approx(-0.09)
    assert risk.expected_shortfall(returns) == pytest.approx(-0.095)
    assert risk.tail_ratio(returns) == pytest.approx(1.0)
    assert risk.omega_ratio(returns) == pytest.approx(1.0)
    assert risk.omega_ratio(np.array([0.03, -0.01, 0.02, -0.04]), 0.01) == pytest.approx(0.03 / 0.07)
    assert math.isnan(risk.omega_ratio(np.array([0.01, 0.02])))


def test_risk_agrees_with_vectorbt(walk):
    pytest.importorskip("vectorbt")
    equity = table(walk, DAY)
    found, returns = risk.risk_of(equity, 100.0), returns_of(walk, 100.0)
    theirs = pd.Series(returns, index=pd.to_datetime(equity["time"].to_list())).vbt.returns(
        freq="1D", year_freq="365D", defaults={"risk_free": 0.0}
    )
    assert found.omega == pytest.approx(theirs.omega_ratio())
    assert found.tail_ratio == pytest.approx(theirs.tail_ratio())
    assert found.value_at_risk == pytest.approx(theirs.value_at_risk())
    assert found.daily_sharpe == pytest.approx(theirs.sharpe_ratio())
    curve = pd.Series(np.concatenate([[100.0], walk]), index=pd.date_range("2024-01-01", periods=len(walk) + 1))
    spells = curve.vbt.drawdowns
    assert found.average_drawdown == pytest.approx(spells.avg_drawdown())
    assert risk.drawdown_spells(equity, 100.0).height == spells.count()


def test_the_daily_sharpe_ratio_does_not_depend_on_the_timeframe():
    days = 100 * np.cumprod(1 + 0.01 * np.random.default_rng(8).standard_normal(60))
    hours = np.repeat(days, 24)
    one, other = risk.risk_of(table(days, DAY), 100.0), risk.risk_of(table(hours), 100.0)
    assert other.daily_sharpe == pytest.approx(one.daily_sharpe)


def test_a_curve_that_never_falls_has_no_drawdown_and_nothing_to_divide_by():
    found = risk.risk_of(table([101.0, 102.0, 103.0]), 100.0)
    assert (found.average_drawdown, found.average_drawdown_days, found.ulcer_index) == (0.0, 0.0, 0.0)
    assert math.isnan(found.omega)
    assert risk.drawdown_spells(table([101.0]), 100.0).height == 0


def test_an_account_that_is_wiped_out_has_a_depth_of_all_and_no_tails():
    found = risk.risk_of(table([100.0, 0.0, 0.0, 1.0]), 100.0)
    assert found.average_drawdown == -1.0
    assert math.isnan(found.value_at_risk)
    assert math.isnan(found.expected_shortfall)
    assert math.isnan(found.tail_ratio)


def test_a_report_shows_its_deepest_spells_and_its_months():
    hours = 100_000 * np.exp(np.cumsum(0.0003 + 0.002 * np.random.default_rng(1).standard_normal(5_000)))
    equity = table(hours)
    report = replace(report_over(5_000), equity=equity, statistics=statistics(equity, fills_of([]), 100_000.0))
    deepest = report.drawdown_table(3)
    assert deepest["depth"][0] == pytest.approx(report.statistics.max_drawdown)
    assert deepest["depth"].is_sorted()
    assert deepest.height == 3
    assert report.risk.longest_drawdown_days == pytest.approx(report.statistics.max_drawdown_days)
    months = report.monthly()
    assert months["year"].to_list() == [2024]
    assert months["Aug"].is_null().all()
    assert months["total"].item() == pytest.approx(report.statistics.total_return)
    first = equity.filter(pl.col("time") <= pl.datetime(2024, 2, 1, time_zone="UTC"))["equity"][-1]
    assert months["Jan"].item() == pytest.approx(first / 100_000 - 1)
