"""What changes over time adds up to what the table says, and the moving window is that of pandas."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.backtest.simulator import simulate
from cryptoquant.performance.course import (
    costs_course,
    exposure_course,
    other_flows,
    rolling_sharpe,
    turnover_course,
)
from cryptoquant.trading.financing import Financing
from cryptoquant.trading.venue import Costs, Venue
from tests.market_makers import gapping_panel
from tests.performance.reports import report_over


@pytest.mark.parametrize(("days", "window"), [(29, 0), (30, 10), (120, 40), (400, 90)])
def test_the_rolling_sharpe_ratio_is_that_of_pandas_over_a_window_that_is_said(days, window):
    report = report_over(24 * days)
    found = rolling_sharpe(report)
    assert found.days == window
    if not window:
        assert found.frame.is_empty()
        return
    returns = report.daily_returns().to_pandas().set_index("time")["return"].rolling(window)
    expected = (returns.mean() / returns.std() * np.sqrt(365)).dropna()
    assert found.frame["time"].to_list() == [stamp.to_pydatetime() for stamp in expected.index]
    assert found.frame["sharpe"].to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-9, abs=1e-9)


def test_a_window_in_which_nothing_moves_has_no_sharpe_ratio():
    report = report_over(24 * 60)
    flat = report.equity.with_columns(pl.lit(100_000.0).alias("equity"))
    assert rolling_sharpe(replace(report, equity=flat)).frame["sharpe"].is_nan().all()


@settings(max_examples=30, deadline=None)
@given(slices=st.integers(1, 900), stretches=st.integers(1, 400), seed=st.integers(0, 99))
def test_stretches_cover_the_run_and_their_mean_is_the_mean_exposure(slices, stretches, seed):
    report = report_over(slices)
    shares = np.random.default_rng(seed).uniform(-1, 1, slices)
    report = replace(report, equity=report.equity.with_columns(pl.Series("exposure", shares)))
    found = exposure_course(report, stretches)
    assert found.height == min(slices, stretches)
    ends = report.equity["time"].search_sorted(found["end"]).to_numpy().astype(int) + 1
    sizes = np.diff(np.concatenate([[0], ends]))
    assert (found["exposure"].to_numpy() * sizes).sum() == pytest.approx(shares.sum(), abs=1e-9)
    assert found["end"].item(-1) == report.equity["time"].item(-1)


@pytest.mark.parametrize(("slices", "unit"), [(24 * 20, "day"), (24 * 200, "month")])
def test_turnover_times_equity_is_the_traded_value(slices, unit):
    report = report_over(slices, trades=100)
    found, course = turnover_course(report)
    assert found == unit
    inside = report.equity.with_columns(
        (pl.col("time") - timedelta(microseconds=1)).dt.truncate("1mo" if unit == "month" else "1d")
    )
    mean = inside.group_by("time", maintain_order=True).agg(pl.col("equity").mean())["equity"]
    assert (course["turnover"] * mean).sum() == pytest.approx(report.fills["value"].sum(), rel=1e-12)


def test_costs_so_far_end_at_the_costs():
    report = report_over(500, trades=60)
    course = costs_course(report)
    assert course["fee"].item(-1) == pytest.approx(report.statistics.fees)
    assert (course["fee"].diff().drop_nulls() >= 0).all()


@pytest.mark.parametrize("asset", ["received", "quote"])
def test_a_run_without_financing_has_no_other_flow(asset):
    report = simulate(_weights(0.9), _panel(), Costs(10.0, 20.0, 3.0, fee_asset=asset))
    assert report.fills.height > 10
    assert other_flows(report) == 0.0


def test_the_price_of_a_short_position_is_the_other_flow():
    venue = replace(Venue.research(Costs(10.0, 20.0, fee_asset="quote")), financing=Financing(borrow=0.2))
    report = simulate(_weights(-0.9), _panel(), venue=venue)
    paid = other_flows(report)
    short = float((report.equity["exposure"].abs() * report.equity["equity"]).sum())
    assert paid == pytest.approx(short * 0.2 / (365 * 24), rel=0.05)


def test_a_run_without_cash_says_nothing_of_other_flows():
    report = report_over(50, trades=4)
    assert np.isnan(other_flows(replace(report, equity=report.equity.drop("cash"))))


def _panel():
    return gapping_panel(300, ("BTC/USD", "ETH/USD"), seed=3, absent=0.0)


def _weights(share):
    return np.where(np.arange(300)[:, None] // 20 % 2 == 0, share / 2, 0.0) * np.ones((1, 2))
