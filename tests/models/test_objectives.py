"""Losses of predictions: by hand, and not a number where no row counts."""

from dataclasses import replace

import numpy as np
import pytest

from cryptoquant.models.examples import Examples
from cryptoquant.models.objectives import brier, log_loss, squared_error

JUDGED = Examples.of(np.zeros((3, 1)), [1.0, 0.0, 1.0], [0.2, -0.1, 0.1], weights=[1.0, 2.0, 1.0])


def test_losses_equal_what_is_computed_by_hand():
    predicted = np.array([0.5, 0.25, np.nan])
    assert log_loss(JUDGED, predicted) == pytest.approx((2 * np.log(2) + 2 * np.log(4 / 3)) / 4)
    assert brier(JUDGED, predicted) == pytest.approx((0.25 + 2 * 0.0625 + 0.25) / 4)
    assert squared_error(JUDGED, predicted) == pytest.approx((0.09 + 2 * 0.1225 + 0.01) / 4)
    scaled = replace(JUDGED, targets=np.array([2.0, -1.0, 1.0]))
    assert squared_error(scaled, np.array([2.0, 0.0, np.nan])) == pytest.approx((0 + 2 + 1) / 4)


@pytest.mark.parametrize("objective", [log_loss, brier, squared_error])
def test_rows_that_do_not_count_have_no_loss(objective):
    assert np.isnan(objective(replace(JUDGED, weights=np.zeros(3)), np.full(3, 0.4)))
