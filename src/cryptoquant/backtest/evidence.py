"""From reports and the trial ledger to evidence: every number says how sure one can be, and counts every trial.

None of these numbers sees a lookahead: a strategy that reads the future passes them all, at any count of trials.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.performance.best_trade import best_trade
from cryptoquant.performance.evidence import Evidence
from cryptoquant.performance.intervals import bootstrap_intervals
from cryptoquant.performance.metrics import growth_per_year, monthly_returns, sharpe_ratio
from cryptoquant.performance.report import Report
from cryptoquant.performance.sharpe_test import (
    minimum_track_record_2026,
    observed_false_discovery,
    probabilistic_sharpe_2026,
    sharpe_error,
)
from cryptoquant.performance.significance import SharpeEstimate, minimum_track_record, probabilistic_sharpe
from cryptoquant.performance.trials import StudyTrial, TrialLedger, numbers_beside

DAYS_PER_YEAR = 365
SHARE_WITH_EDGE = 0.1
EDGE_SHARPE = 1.0


def judge(report: Report, free: Report, dear: Report, ledger: TrialLedger, study: str, *, seed: int = 0) -> Evidence:
    """Return the evidence of a run from its daily returns, its closed trades and the study's trials.

    What needs another run, beyond ``free`` and ``dear``, or the folds stays NaN: triple costs, delay, missing bars, hit
    rates, the Sharpe ratio in training.

    Parameters
    ----------
    free, dear
        The same signals traded without costs and at twice the costs.
    ledger, study
        Where the study's trials are counted; deflation uses all of them, PBO and its like over their common days.
    """
    daily, trials = report.daily_returns(), ledger.study_trials(study)
    returns = daily["return"].to_numpy()
    sharpe = sharpe_ratio(returns, DAYS_PER_YEAR)
    own = StudyTrial(study, "", daily["time"].dt.epoch("ns").to_numpy(), returns, {})
    return Evidence(
        days=len(returns),
        sharpe=sharpe,
        sharpe_before_costs=_daily_sharpe(free),
        sharpe_double_costs=_daily_sharpe(dear),
        max_drawdown=report.statistics.max_drawdown,
        round_trips=int(report.trades["is_final"].sum()),
        study_trials=len(trials),
        tuning_trials=ledger.tuning_count(study),
        best_trade_share=best_trade_share(report),
        best_month_share=best_month_share(report),
        **_certainty(SharpeEstimate.of(returns)),
        **_ranges(returns, seed),
        **numbers_beside(own, sharpe, trials, seed),
    )


def best_trade_share(report: Report) -> float:
    """Return what the best round trip gained over the whole profit, one that is still open at its mark.

    NaN without a trade or without a profit.
    """
    best, profit = best_trade(report), _profit(report)
    return best.profit / profit if best is not None and profit > 0.0 else math.nan


def best_month_share(report: Report) -> float:
    """Return what the best month gained over the whole profit; NaN within one month or without a profit."""
    months, profit = monthly_returns(report.equity, report.initial)["return"].to_numpy(), _profit(report)
    if len(months) < 2 or not profit > 0.0:
        return math.nan
    equity = report.initial * np.concatenate([[1.0], np.cumprod(1.0 + months)])
    return float(np.diff(equity).max()) / profit


def _certainty(estimate: SharpeEstimate) -> dict[str, Any]:
    """Return what says how sure one can be of a Sharpe ratio by itself, both variants."""
    alternative = EDGE_SHARPE / math.sqrt(DAYS_PER_YEAR)
    return {
        "psr": probabilistic_sharpe(estimate),
        "psr_2026": probabilistic_sharpe_2026(estimate),
        "minimum_track_record_days": minimum_track_record(estimate),
        "minimum_track_record_days_2026": minimum_track_record_2026(estimate),
        "sharpe_error": sharpe_error(estimate) * math.sqrt(DAYS_PER_YEAR),
        "autocorrelation": estimate.autocorrelation,
        "false_discovery": observed_false_discovery(estimate, alternative, SHARE_WITH_EDGE),
    }


def _ranges(returns: NDArray[np.float64], seed: int) -> dict[str, Any]:
    """Return the growth per year of daily returns, and the intervals."""
    found = bootstrap_intervals(returns, DAYS_PER_YEAR, seed=seed)
    return {
        "sharpe_low": found["sharpe"].low,
        "sharpe_high": found["sharpe"].high,
        "cagr": growth_per_year(float(np.prod(1.0 + returns)) - 1.0, len(returns) / DAYS_PER_YEAR),
        "cagr_low": found["cagr"].low,
        "cagr_high": found["cagr"].high,
        "max_drawdown_low": found["max_drawdown"].low,
    }


def _profit(report: Report) -> float:
    return float(report.equity["equity"].item(-1)) - report.initial


def _daily_sharpe(report: Report) -> float:
    return sharpe_ratio(report.daily_returns()["return"].to_numpy(), DAYS_PER_YEAR)
