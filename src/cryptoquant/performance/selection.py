"""What having chosen among many trials takes from a result: every number that depends on the study trials."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.performance.deflation import deflated_by
from cryptoquant.performance.effective_trials import effective_trials
from cryptoquant.performance.evidence import ALIKE_TRIALS, FEWEST_DAYS
from cryptoquant.performance.metrics import sharpe_ratio
from cryptoquant.performance.overfitting import backtest_overfitting
from cryptoquant.performance.significance import (
    SharpeEstimate,
    expected_maximum,
    minimum_backtest_years,
    probabilistic_sharpe,
)
from cryptoquant.performance.superiority import superiority

Floats = NDArray[np.float64]
SAME = 1e-9
# Trials are alike by their effective number, and each by its correlation with the first: an odd one among many copies
# hardly moves that number.
ALIKE_CORRELATION = 0.9
DAYS_PER_BLOCK = 10
MOST_BLOCKS = 16
NUMBERS = (
    "dsr",
    "dsr_2026",
    "minimum_backtest_years",
    "effective_trials",
    "common_days",
    "pbo",
    "pbo_low",
    "pbo_high",
    "reality_check",
    "spa",
    "spa_lower",
    "spa_upper",
)


def selection_numbers(
    own: SharpeEstimate, annual_sharpe: float, matrix: Floats, *, variance: float | None = None, seed: int = 0
) -> dict[str, Any]:
    """Return the numbers of the evidence that depend on the study trials, by name; NaN what is not defined.

    None is defined below two trials. Deflation, PBO and the tests against cash need 40 common days; the last two, and
    the effective trials, also a trial that ever moved. Trials that are equal on the common days are one for PBO and for
    the effective trials, and where all are alike PBO is not defined: a choice among equals cannot overfit.

    Parameters
    ----------
    own
        Of the judged trial's daily returns.
    matrix
        Daily returns of all study trials on their common days, shape (days, trials).
    variance
        Of the trials' Sharpe ratios per day over the judged trial's calendar; by default over the common days.
    """
    found = dict.fromkeys(NUMBERS, math.nan)
    days, trials = matrix.shape
    found["minimum_backtest_years"] = minimum_backtest_years(annual_sharpe, trials)
    if trials < 2:
        return found
    found["common_days"] = float(days)
    moves = days > 1 and bool(np.ptp(matrix, axis=0).any())
    distinct = distinct_trials(matrix) if moves else matrix[:, :1]
    found["effective_trials"] = effective_trials(distinct) if moves else math.nan
    sharpes = trial_sharpes(matrix)
    if days < FEWEST_DAYS or np.isnan(sharpes).any():
        return found
    spread = float(np.var(sharpes, ddof=1)) if variance is None else variance
    found["dsr"] = probabilistic_sharpe(own, expected_maximum(spread, trials))
    found["dsr_2026"] = deflated_by(own, spread, trials)
    return {**found, **_of_the_choice(distinct, seed), **_against_cash(matrix, seed)} if moves else found


def distinct_trials(matrix: Floats) -> Floats:
    """Return the columns without those that equal an earlier one up to rounding."""
    kept: list[int] = []
    means, reach = matrix.mean(axis=0), SAME * np.abs(matrix).max(axis=0)
    for column in range(matrix.shape[1]):
        near = [one for one in kept if abs(means[one] - means[column]) <= reach[one]]
        if not any(np.abs(matrix[:, one] - matrix[:, column]).max() <= reach[one] for one in near):
            kept.append(column)
    return matrix[:, kept]


def are_alike(distinct: Floats) -> bool:
    """Return whether trials amount to hardly more than one, and none of them goes another way than the first."""
    if not effective_trials(distinct) < ALIKE_TRIALS:
        return False
    centred = distinct - distinct.mean(axis=0)
    lengths = np.sqrt((centred * centred).sum(axis=0))
    return bool((centred.T @ centred[:, 0] >= ALIKE_CORRELATION * lengths * lengths[0]).all())


def _of_the_choice(distinct: Floats, seed: int) -> dict[str, float]:
    """Return what having chosen the best of some trials may have spoilt; nothing where they are alike."""
    if are_alike(distinct):
        return {}
    blocks = min(MOST_BLOCKS, len(distinct) // DAYS_PER_BLOCK // 4 * 4)
    overfit = backtest_overfitting(distinct, blocks, seed=seed)
    return {"pbo": overfit.probability, "pbo_low": overfit.low, "pbo_high": overfit.high}


def _against_cash(matrix: Floats, seed: int) -> dict[str, float]:
    beaten = superiority(matrix, seed=seed)
    return {
        "reality_check": beaten.reality_check,
        "spa": beaten.consistent,
        "spa_lower": beaten.lower,
        "spa_upper": beaten.upper,
    }


def trial_sharpes(matrix: Floats) -> Floats:
    """Return the Sharpe ratio per day of each trial, shape (trials,).

    A trial that never moved has a ratio of 0: it was tried, too. NaN below two days.
    """
    return np.array([_sharpe(column) for column in matrix.T])


def _sharpe(returns: Floats) -> float:
    is_flat = len(returns) > 1 and bool(np.ptp(returns) == 0.0)
    return 0.0 if is_flat else sharpe_ratio(returns)
