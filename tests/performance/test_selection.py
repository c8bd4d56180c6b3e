"""What depends on trials is taken over all of them, and is not defined where there is nothing to compare."""

import math

import numpy as np
import pytest

from cryptoquant.performance.overfitting import backtest_overfitting
from cryptoquant.performance.selection import NUMBERS, distinct_trials, selection_numbers, trial_sharpes
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
        (np.empty((0, 3)), {"minimum_backtest_years", "common_days"}),
        (noise(39, 3), {"minimum_backtest_years", "common_days", "effective_trials"}),
        (np.zeros((200, 3)), {"minimum_backtest_years", "common_days", "dsr", "dsr_2026"}),
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


OF_THE_CHOICE = {"pbo", "pbo_low", "pbo_high"}


@pytest.mark.parametrize("copies", range(2, 13))
def test_of_trials_that_are_equal_nothing_was_chosen(copies):
    column = noise(400, 1)
    rounded = column * (1.0 + 1e-13 * np.random.default_rng(copies).standard_normal((400, copies)))
    found = selection_numbers(OWN, 1.0, rounded)
    assert {name for name, value in found.items() if math.isnan(value)} == OF_THE_CHOICE
    assert (found["effective_trials"], found["common_days"]) == (1.0, 400)


def test_a_study_that_is_run_again_with_little_noise_has_no_choice_to_be_overfitted():
    again = noise(400, 1) + 0.0005 * np.random.default_rng(2).standard_normal((400, 2))
    found = selection_numbers(OWN, 1.0, again)
    assert 1.0 < found["effective_trials"] < 1.1
    assert all(math.isnan(found[name]) for name in OF_THE_CHOICE)
    assert 0.0 < found["dsr_2026"] < 1.0


def test_copies_are_one_trial_for_the_choice():
    kinds = noise(400, 3)
    mixed = np.column_stack([kinds[:, [0, 0]] * [1.0, 1.0 + 1e-13], kinds[:, [1, 0, 2, 1]]])
    assert (distinct_trials(mixed) == kinds).all()
    found, wanted = selection_numbers(OWN, 1.0, mixed), backtest_overfitting(kinds, 16)
    assert (found["pbo"], found["pbo_low"], found["pbo_high"]) == (wanted.probability, wanted.low, wanted.high)
    assert found["effective_trials"] == selection_numbers(OWN, 1.0, kinds)["effective_trials"]


def test_the_opposite_of_a_trial_and_an_odd_one_among_many_copies_are_a_choice():
    column = noise(400, 1)
    opposite = selection_numbers(OWN, 1.0, np.column_stack([column, -column]))
    assert opposite["effective_trials"] < 1.1
    assert 0.0 <= opposite["pbo"] <= 1.0
    near = column + 1e-5 * np.random.default_rng(3).standard_normal((400, 99))
    odd = selection_numbers(OWN, 1.0, np.column_stack([near, noise(400, 2)[:, 1:]]))
    assert odd["effective_trials"] < 1.1
    assert 0.0 <= odd["pbo"] <= 1.0
