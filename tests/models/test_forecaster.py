"""The step from rows to signals: what is done before the first one."""

import numpy as np
import pytest

from cryptoquant.market.slice import FIELDS, Slice
from cryptoquant.models.forecaster import Forecaster
from cryptoquant.models.tabular import Line

PAIRS = ("A/USD", "B/USD")


class Loading(Line):
    """A line that is slow at its first rows, as one that is compiled then."""

    shapes: tuple[tuple[int, ...], ...] = ()

    def predict(self, rows):
        """Return the line's values, and note the rows' shape."""
        self.shapes = (*self.shapes, rows.shape)
        if not rows.any():
            raise ZeroDivisionError
        return super().predict(rows)


@pytest.fixture
def market():
    return Slice(5, 6, PAIRS, np.ones((2, len(FIELDS))))


def test_what_is_ready_has_predicted_and_its_signals_are_those_of_one_that_has_not(market):
    predictor, rows = Line(np.array([1.0, 2.0]), 0.5), np.array([[1.0, 2.0], [3.0, np.nan]])
    plain, ready = (Forecaster("one", predictor, PAIRS, 2, 1) for _ in range(2))
    ready.ready()
    assert ready.update(market, rows) == plain.update(market, rows) != []


def test_a_predictor_that_takes_no_zeros_is_ready_all_the_same(market):
    predictor = Loading(np.array([1.0, 2.0]), 0.5)
    forecaster = Forecaster("one", predictor, PAIRS, 2, 1)
    forecaster.ready()
    assert predictor.shapes == ((1, 2),)
    assert len(forecaster.update(market, np.ones((2, 2)))) == 2
