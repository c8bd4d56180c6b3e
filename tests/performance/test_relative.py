"""A run beside its benchmark, by hand, by regression and by scipy."""

import math
from dataclasses import astuple

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression

from cryptoquant.performance.relative import relative_of
from tests.market_makers import HOUR, START
from tests.performance.reports import report_over, stamps

DAY = 24 * HOUR


def table(own, theirs):
    times = stamps(START + DAY * np.arange(1, len(own) + 1))
    return pl.DataFrame(
        {
            "time": times,
            "equity": 100 * np.cumprod(1 + np.asarray(own)),
            "benchmark": 100 * np.cumprod(1 + np.asarray(theirs)),
        }
    )


def test_alpha_and_beta_are_those_of_a_regression():
    rng = np.random.default_rng(9)
    theirs = 0.02 * rng.standard_normal(800)
    own = 0.0005 + 0.6 * theirs + 0.01 * rng.standard_normal(800)
    found = relative_of(table(own, theirs), 100.0)
    line = LinearRegression().fit(theirs[:, None], own)
    assert found.beta == pytest.approx(line.coef_[0])
    assert found.alpha == pytest.approx(365 * line.intercept_)
    assert found.correlation == pytest.approx(stats.pearsonr(own, theirs).statistic)
    apart = own - theirs
    assert found.tracking_error == pytest.approx(stats.tstd(apart) * math.sqrt(365))
    assert found.information_ratio == pytest.approx(apart.mean() / stats.tstd(apart) * math.sqrt(365))


def test_captures_and_the_excess_by_hand():
    found = relative_of(table([0.01, -0.02, 0.03, 0.01], [0.02, -0.04, 0.02, 0.0]), 100.0)
    assert found.up_capture == pytest.approx(0.02 / 0.02)
    assert found.down_capture == pytest.approx(0.5)
    assert found.excess_return == pytest.approx(1.01 * 0.98 * 1.03 * 1.01 - 1.02 * 0.96 * 1.02)


def test_the_benchmark_itself_adds_nothing_to_itself():
    theirs = 0.02 * np.random.default_rng(10).standard_normal(300)
    found = relative_of(table(theirs, theirs), 100.0)
    assert (found.beta, found.correlation) == (pytest.approx(1.0), pytest.approx(1.0))
    assert found.alpha == pytest.approx(0.0, abs=1e-12)
    assert (found.tracking_error, found.excess_return) == (0.0, 0.0)
    assert math.isnan(found.information_ratio)


@pytest.mark.parametrize("theirs", [np.zeros(5), np.array([0.1, np.nan, 0.1, 0.1, 0.1])])
def test_against_a_benchmark_that_never_moves_or_is_not_known_nothing_is_defined(theirs):
    equity = table([0.01, 0.02, -0.01, 0.0, 0.01], theirs)
    assert all(math.isnan(value) for value in astuple(relative_of(equity, 100.0)))
    assert all(math.isnan(value) for value in astuple(relative_of(equity.drop("benchmark"), 100.0)))
    assert all(math.isnan(value) for value in astuple(relative_of(equity.head(1), 100.0)))


def test_a_run_that_never_moves_has_a_beta_of_zero_and_no_correlation():
    found = relative_of(table(np.zeros(4), [0.1, -0.1, 0.1, -0.1]), 100.0)
    assert (found.beta, found.up_capture, found.down_capture) == (0.0, 0.0, 0.0)
    assert math.isnan(found.correlation)
    assert report_over(100).relative.excess_return == pytest.approx(
        report_over(100).statistics.total_return - (report_over(100).equity["benchmark"][-1] / 100_000 - 1)
    )
