"""From reports and the trial ledger to evidence: every number says how sure one can be, and counts every trial."""

import math

import numpy as np

from cryptoquant.performance.evidence import Evidence
from cryptoquant.performance.metrics import sharpe_ratio
from cryptoquant.performance.report import Report
from cryptoquant.performance.significance import (
    bootstrap_intervals,
    deflated_sharpe,
    minimum_track_record,
    probabilistic_sharpe,
)
from cryptoquant.performance.trials import TrialLedger

DAYS_PER_YEAR = 365


def judge(report: Report, free: Report, dear: Report, ledger: TrialLedger, study: str, *, seed: int = 0) -> Evidence:
    """Return the evidence of a run from its daily returns.

    Parameters
    ----------
    free, dear
        The same signals traded without costs and at twice the costs.
    ledger, study
        Where the study's trials are counted; deflation uses all of them over their common days.
    """
    returns = report.daily_returns()["return"].to_numpy()
    trials = ledger.sharpes(study)
    is_defined = len(trials) >= 2 and not np.isnan(trials).any()
    spread = bootstrap_intervals(returns, DAYS_PER_YEAR, seed=seed)
    return Evidence(
        days=len(returns),
        sharpe=sharpe_ratio(returns, DAYS_PER_YEAR),
        sharpe_before_costs=_daily_sharpe(free),
        sharpe_double_costs=_daily_sharpe(dear),
        sharpe_low=spread["sharpe"].low,
        sharpe_high=spread["sharpe"].high,
        psr=probabilistic_sharpe(returns),
        dsr=deflated_sharpe(returns, trials) if is_defined else math.nan,
        minimum_track_record_days=minimum_track_record(returns),
        max_drawdown=report.statistics.max_drawdown,
        max_drawdown_low=spread["max_drawdown"].low,
        round_trips=int(report.trades["is_final"].sum()),
        study_trials=len(trials),
        tuning_trials=ledger.tuning_count(study),
    )


def _daily_sharpe(report: Report) -> float:
    return sharpe_ratio(report.daily_returns()["return"].to_numpy(), DAYS_PER_YEAR)
