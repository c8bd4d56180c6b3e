"""One pass over an equity curve says what the plain formulas say, in one block or in many."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cryptoquant.market.pace import regular_gap
from cryptoquant.performance.curve import CHUNK, HEAD, absorb, begin, curve_of
from cryptoquant.performance.metrics import drawdowns, moments, periods_per_year, returns_of, sharpe_ratio
from tests.market_makers import HOUR, START

DAY = 24 * HOUR


def clock(count, width=HOUR):
    return START + width * np.arange(1, count + 1, dtype=np.int64)


def fed(equity, times=None, initial=100.0, blocks=()):
    """Feed a curve, cut after the given numbers of periods, and return the state."""
    state, equity = begin(initial), np.asarray(equity, dtype=np.float64)
    times = clock(len(equity)) if times is None else times
    edges = [0, *sorted(min(edge, len(equity)) for edge in blocks), len(equity)]
    for start, end in pairwise(edges):
        absorb(state, equity[start:end], times[start:end])
    return state


def longest_wait(times, equity, initial):
    """Days from the last time at the high, row by row."""
    peak, high, longest = initial, times[0], 0
    for time, value in zip(times.tolist(), equity.tolist(), strict=True):
        if value >= peak:
            peak, high = value, time
        longest = max(longest, time - high)
    return longest / DAY


curves = st.tuples(
    st.integers(0, 10_000), st.integers(1, 3 * CHUNK + 5), st.sampled_from([1e-6, 1e-3, 0.02]), st.floats(-0.01, 0.01)
)


def walk(seed, count, sigma, drift):
    rng = np.random.default_rng(seed)
    return 100.0 * np.cumprod(1.0 + drift * sigma + sigma * rng.standard_normal(count))


@settings(deadline=None)
@given(curves, st.lists(st.integers(0, 3 * CHUNK), max_size=6))
def test_one_block_or_many_give_the_same_bits(curve, blocks):
    equity = walk(*curve)
    one, many = fed(equity), fed(equity, blocks=blocks)
    assert one[:HEAD].tobytes() == many[:HEAD].tobytes()
    assert curve_of(one) == curve_of(many) or len(equity) < 2


@settings(deadline=None)
@given(curves)
def test_the_pass_agrees_with_the_plain_formulas(curve):
    equity = walk(*curve)
    times = clock(len(equity), 7 * 60_000_000_000)
    found, returns = curve_of(fed(equity, times)), returns_of(equity, 100.0)
    assert (found.periods, found.initial, found.last) == (len(equity), 100.0, equity[-1])
    assert found.mean_equity == pytest.approx(equity.mean(), rel=1e-12)
    assert found.mean == pytest.approx(returns.mean(), rel=1e-9, abs=1e-15)
    assert found.downside == pytest.approx(np.sqrt(np.mean(np.minimum(returns, 0) ** 2)), rel=1e-9)
    assert found.max_drawdown == pytest.approx(drawdowns(equity, 100.0).min(), abs=1e-15)
    assert found.longest_drawdown_days == pytest.approx(longest_wait(times, equity, 100.0), rel=1e-12)
    if len(equity) > 1:
        assert found.deviation == pytest.approx(returns.std(ddof=1), rel=1e-9)
        skewness, kurtosis = moments(returns)
        assert found.skewness == pytest.approx(skewness, rel=1e-9, abs=1e-9)
        assert found.kurtosis == pytest.approx(kurtosis, rel=1e-9)


def test_moments_agree_with_scipy_where_one_return_dwarfs_the_others_and_where_all_are_alike():
    rng = np.random.default_rng(5)
    jump = 1e-5 * rng.standard_normal(3 * CHUNK)
    jump[0] = -0.5
    steady = 0.01 + 1e-9 * rng.standard_normal(2 * CHUNK)
    for returns in (jump, jump[::-1].copy(), steady):
        equity = 1e5 * np.cumprod(1.0 + returns)
        actual = returns_of(equity, 1e5)
        found = curve_of(fed(equity, initial=1e5))
        assert found.deviation == pytest.approx(actual.std(ddof=1), rel=1e-9)
        assert found.skewness == pytest.approx(stats.skew(actual), rel=1e-6, abs=1e-6)
        assert found.kurtosis == pytest.approx(stats.kurtosis(actual, fisher=False), rel=1e-6)


@pytest.mark.parametrize("count", [2, 29, CHUNK, 2 * CHUNK + 77])
@pytest.mark.parametrize("rate", [0.0, 0.01, -0.001])
def test_a_curve_that_grows_alike_in_every_period_has_no_spread(count, rate):
    equity = 100.0 * (1.0 + rate) ** np.arange(1, count + 1)
    found = curve_of(fed(equity))
    assert not found.deviation > 1e-12 * abs(found.mean)
    assert math.isnan(found.skewness)
    assert math.isnan(found.kurtosis)
    assert math.isnan(sharpe_ratio(returns_of(equity, 100.0)))


@pytest.mark.parametrize("at", [0, 3, CHUNK - 1, CHUNK + 3, 2 * CHUNK - 1])
@pytest.mark.parametrize("value", [0.0, -50.0, math.inf, math.nan])
def test_an_equity_of_nothing_or_less_is_taken_and_reported(at, value):
    equity = np.full(2 * CHUNK, 100.0)
    equity[at] = value
    found = curve_of(fed(equity))
    assert found.periods == 2 * CHUNK
    if value <= 0:
        assert found.max_drawdown == pytest.approx(value / 100.0 - 1.0)
    if value < 0:
        returns = returns_of(equity, 100.0)
        assert found.deviation == pytest.approx(returns.std(ddof=1), rel=1e-9)
        assert (found.skewness, found.kurtosis) == pytest.approx(moments(returns), rel=1e-9)
    if math.isnan(value):
        assert math.isnan(found.max_drawdown)
        assert math.isnan(found.longest_drawdown_days)


def test_drawdowns_begin_at_the_initial_equity_and_times_count_not_rows():
    times = START + DAY * np.array([0, 1, 10, 11, 40], dtype=np.int64)
    found = curve_of(fed([90.0, 100.0, 80.0, 100.0, 99.0], times))
    assert found.max_drawdown == pytest.approx(-0.2)
    assert found.longest_drawdown_days == 29.0
    assert curve_of(fed([90.0, 95.0], times[:2])).max_drawdown == pytest.approx(-0.1)


def test_a_state_may_be_read_and_fed_further():
    equity = walk(1, 5_000, 0.01, 0.0)
    state, times = begin(100.0), clock(5_000)
    for start in range(0, 5_000, 700):
        absorb(state, equity[start : start + 700], times[start : start + 700])
        assert curve_of(state) == curve_of(fed(equity[: start + 700], times[: start + 700]))
    with pytest.raises(ValueError, match="at least one period"):
        curve_of(begin(100.0))


def test_the_width_of_a_clock_with_gaps_is_its_median():
    even, gaps = clock(1_000), np.delete(clock(1_000), [1, 77, 500])
    assert regular_gap(even) == HOUR
    assert regular_gap(gaps) == 0
    assert periods_per_year(even) == periods_per_year(gaps) == pytest.approx(8_760)
    assert math.isnan(periods_per_year(even[:1]))


@pytest.mark.parametrize("end", [255, 700, 2303])
def test_rows_without_a_move_are_as_rows_that_are_read(end):
    equity = walk(2, 4_500, 0.01, 0.0)
    equity[end - 200 : end] = equity[end - 201]
    equity[end + 600 : end + 1_400] = equity[end + 599]
    found, returns = curve_of(fed(equity)), returns_of(equity, 100.0)
    assert found.mean == pytest.approx(returns.mean(), rel=1e-9)
    assert found.deviation == pytest.approx(returns.std(ddof=1), rel=1e-9)
    assert (found.skewness, found.kurtosis) == pytest.approx(moments(returns), rel=1e-7)
    equity[end + 1 :] = 0.0
    assert math.isnan(curve_of(fed(equity)).mean)
