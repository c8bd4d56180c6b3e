"""What depends on trials is taken over all of them, and is not defined where there is nothing to compare."""

import math

import numpy as np
import pytest

from cryptoquant.performance.selection import NUMBERS, selection_numbers, trial_sharpes
from cryptoquant.performance.significance import SharpeEstimate

OWN = SharpeEstimate(0.05, 200, -0.2, 4.0, 0.05)


def noise(days: int, trials: int) -> np.ndarray:
    return 0.01 * np.random.default_rng(days + trials).standard_normal((days, trials))


def defined(matrix: np.ndarray) -> set[str]:
    found = selection_numbers(OWN, 1.0, matrix)
    assert tuple(found) == NUMBERS
    return {name for name, value in found.items() if math.isfinite(value)}


@pytest.mark.parametrize(
    ("matrix", "names"),
    [
        (np.empty((0, 0)), set()),
        (noise(200, 1), set()),
        (np.empty((0, 3)), {"minimum_backtest_years"}),
        (noise(39, 3), {"minimum_backtest_years", "dsr", "dsr_2026", "effective_trials"}),
        (np.zeros((200, 3)), {"minimum_backtest_years", "dsr", "effective_trials"}),
        (noise(40, 2), set(NUMBERS)),
        (np.column_stack([noise(90, 3), np.zeros((90, 2))]), set(NUMBERS)),
    ],
)
def test_only_what_the_trials_can_tell_is_defined(matrix, names):
    assert defined(matrix) == names


def test_more_trials_take_more():
    few, many = (selection_numbers(OWN, 1.0, noise(400, 40)[:, :count]) for count in (3, 40))
    assert many["dsr"] < few["dsr"] < 1
    assert many["minimum_backtest_years"] > few["minimum_backtest_years"]
    assert 2 < few["effective_trials"] <= 3 < 30 < many["effective_trials"] <= 40


def test_a_trial_that_never_moved_has_a_ratio_of_zero():
    """Returns 0.01 and 0.03: mean 0.02 over a deviation of 0.0141421."""
    assert trial_sharpes(np.array([[0.01, 0.0], [0.03, 0.0]])).tolist() == pytest.approx([math.sqrt(2), 0.0])
