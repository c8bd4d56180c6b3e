"""What having chosen among many trials takes from a result: every number that depends on the study trials."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.performance.deflation import deflated_sharpe_2026
from cryptoquant.performance.effective_trials import effective_trials
from cryptoquant.performance.metrics import sharpe_ratio
from cryptoquant.performance.overfitting import backtest_overfitting
from cryptoquant.performance.significance import SharpeEstimate, deflated_sharpe, minimum_backtest_years
from cryptoquant.performance.superiority import superiority

Floats = NDArray[np.float64]
FEWEST_DAYS = 40
DAYS_PER_BLOCK = 10
MOST_BLOCKS = 16
NUMBERS = (
    "dsr",
    "dsr_2026",
    "minimum_backtest_years",
    "effective_trials",
    "pbo",
    "pbo_low",
    "pbo_high",
    "reality_check",
    "spa",
    "spa_lower",
    "spa_upper",
)


def selection_numbers(own: SharpeEstimate, annual_sharpe: float, matrix: Floats, *, seed: int = 0) -> dict[str, Any]:
    """Return the numbers of the evidence that depend on the study trials, by name; NaN what is not defined.

    None is defined below two trials. All but the years need two common days, PBO and the tests against cash 40, and a
    trial that ever moved.

    Parameters
    ----------
    own
        Of the judged trial's daily returns.
    matrix
        Daily returns of all study trials on their common days, shape (days, trials).
    """
    found = dict.fromkeys(NUMBERS, math.nan)
    days, trials = matrix.shape
    found["minimum_backtest_years"] = minimum_backtest_years(annual_sharpe, trials)
    sharpes = trial_sharpes(matrix)
    if trials < 2 or np.isnan(sharpes).any():
        return found
    found["dsr"], found["dsr_2026"] = deflated_sharpe(own, sharpes), deflated_sharpe_2026(own, sharpes)
    found["effective_trials"] = effective_trials(matrix)
    if days < FEWEST_DAYS or not np.ptp(matrix, axis=0).any():
        return found
    blocks = min(MOST_BLOCKS, days // DAYS_PER_BLOCK // 4 * 4)
    overfit = backtest_overfitting(matrix, blocks, seed=seed)
    beaten = superiority(matrix, seed=seed)
    return {
        **found,
        "pbo": overfit.probability,
        "pbo_low": overfit.low,
        "pbo_high": overfit.high,
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
