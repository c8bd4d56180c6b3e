"""From a period's Sharpe ratio to a year's, by Lo (2002)."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.performance.annualisation import annualisation_factor, autoregressive_factor, independent_error


@given(st.floats(-0.9, 0.9), st.integers(1, 400))
def test_the_factor_of_an_autoregression_is_that_of_its_autocorrelations(memory, periods):
    powers = memory ** np.arange(1, periods + 5)
    assert autoregressive_factor(memory, periods) == pytest.approx(annualisation_factor(powers, periods))


@given(st.integers(1, 400))
def test_without_memory_it_is_the_root_of_the_periods(periods):
    assert annualisation_factor(np.empty(0), periods) == pytest.approx(math.sqrt(periods))


@pytest.mark.parametrize(("memory", "factor"), [(-0.2, 4.17), (0.0, 3.46), (0.2, 2.88)])
def test_the_factors_of_the_published_table(memory, factor):
    """Lo (2002), table 2: monthly to annual."""
    assert autoregressive_factor(memory, 12) == pytest.approx(factor, abs=0.005)


def test_the_variance_of_a_sum_by_hand():
    """Three periods, autocorrelations 0.5 and 0.25: 3 / sqrt(3 + 2 (2 * 0.5 + 1 * 0.25)) = 3 / sqrt(5.5)."""
    assert annualisation_factor(np.array([0.5, 0.25]), 3) == pytest.approx(3 / math.sqrt(5.5))
    assert math.isnan(annualisation_factor(np.array([-0.9, -0.9]), 3))
    assert independent_error(0.2, 50) == pytest.approx(math.sqrt(1.02 / 50))
