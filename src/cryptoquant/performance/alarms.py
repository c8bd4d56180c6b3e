"""What should make one doubt a result, in plain words for the head of its report; silent about what is not known."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from cryptoquant.performance.axes import MONTHS
from cryptoquant.performance.best_trade import best_trade
from cryptoquant.performance.evidence import Evidence
from cryptoquant.performance.metrics import monthly_returns
from cryptoquant.performance.report import Report
from cryptoquant.performance.robustness import PARAMETERS, Stress

DAYS_PER_YEAR = 365
# A model knows its own rows best; where less than a third of what it knows there is left, and ten points are gone, it
# has mostly learned by heart.
HIT_RATE_GAP, HIT_RATE_KEPT = 0.1, 1 / 3
# Of a search the same: over a year chance alone moves a Sharpe ratio by one.
SHARPE_GAP, SHARPE_KEPT = 1.0, 1 / 3
# A part that is most of the profit and three times its even share: of a year at a Sharpe ratio of 2 the best month
# brings a third, and half in one of fifty.
MOST_OF_PROFIT, TIMES_EVEN_SHARE = 0.5, 3.0
# Single trades are many: a third of all from one is far from any even share. Of a few, seven tenths are.
MUCH_OF_PROFIT, MOST_OF_FEW = 1 / 3, 0.7
# As the default gate demands: below thirty the mean of trades is not near normal.
FEW_TRADES = 30
# Above one half the choice among the trials is worse than a draw.
OVERFITTED = 0.5


@dataclass(frozen=True, slots=True)
class Alarm:
    """One reason for doubt: a name in few words, and a sentence or two for the head of a report."""

    name: str
    words: str


def alarms(report: Report) -> tuple[Alarm, ...]:
    """Return the reasons for doubt, gravest first; empty for a clean study, and for whatever is not known.

    They are read from the evidence and the robustness table of the report's dossier, and where these say nothing from
    its trades, months and folds.
    """
    checks: tuple[Callable[[Report], Alarm | None], ...] = (
        _too_many_trials,
        _overfitted_choice,
        _in_sample,
        _dies_at_costs,
        _dies_when_late,
        _spike,
        _few_trades,
        _one_trade,
        _one_month,
        _one_fold,
        _below_market,
    )
    return tuple(alarm for alarm in (check(report) for check in checks) if alarm is not None)


def _too_many_trials(report: Report) -> Alarm | None:
    evidence = report.dossier.evidence
    if evidence is None or evidence.study_trials < 2:
        return None
    years = evidence.days / DAYS_PER_YEAR
    if not years < evidence.minimum_backtest_years < math.inf:
        return None
    return Alarm(
        "Too many trials for this length",
        f"{evidence.study_trials} configurations were tried on {years:.1f} years out of sample: below "
        f"{evidence.minimum_backtest_years:.1f} years the best of so many is expected to look this good by luck alone.",
    )


def _overfitted_choice(report: Report) -> Alarm | None:
    evidence = report.dossier.evidence
    if evidence is None or not evidence.pbo > OVERFITTED:
        return None
    return Alarm(
        "The choice is overfitted",
        f"In {evidence.pbo:.0%} of all ways to halve the time, the best of {evidence.study_trials} configurations in "
        "one half was below the middle in the other: worse than choosing blindly.",
    )


def _in_sample(report: Report) -> Alarm | None:
    train, test = _hit_rates(report)
    if train - test > HIT_RATE_GAP and test - 0.5 < HIT_RATE_KEPT * (train - 0.5):
        words = (
            f"The model is right on {train:.0%} of what it has learned from, and on {test:.0%} of what it had not "
            "seen: it has mostly learned by heart."
        )
        return Alarm("In-sample far above out-of-sample", words)
    train, test = _told(report, "sharpe_train"), _told(report, "sharpe")
    if train - test > SHARPE_GAP and test < SHARPE_KEPT * train:
        words = (
            f"The parameters have a Sharpe ratio of {train:.2f} where they were searched for, and of {test:.2f} out of "
            "sample: the search has mostly found the luck of the past."
        )
        return Alarm("In-sample far above out-of-sample", words)
    return None


def _dies_at_costs(report: Report) -> Alarm | None:
    found = _shrinks(report, "sharpe_double_costs", "costs", "costs x 2")
    if found is None:
        return None
    plain, dear = found
    return Alarm(
        "The edge dies at twice the costs",
        f"At twice the fees and slippage the Sharpe ratio falls from {plain:.2f} to {dear:.2f}: the result hangs on "
        "what a trade is assumed to cost.",
    )


def _dies_when_late(report: Report) -> Alarm | None:
    found = _shrinks(report, "sharpe_delayed", "delay", "")
    if found is None:
        return None
    plain, late = found
    return Alarm(
        "The edge dies with one bar of delay",
        f"With orders that arrive one bar later the Sharpe ratio falls from {plain:.2f} to {late:.2f}: it must be "
        "traded at once, or it is an artefact of the bar.",
    )


def _spike(report: Report) -> Alarm | None:
    table = report.dossier.robustness
    if table is None or table.neighbourhood != "spike":
        return None
    middle = next(one for one in table.stresses if one.family == PARAMETERS and one.passed is False)
    return Alarm(
        "The parameters stand on a spike",
        f"With the parameters moved by a step the Sharpe ratio is {_or_undefined(middle.sharpe)} in the middle, wanted "
        f"above {middle.limit:.2f}: the chosen ones stand alone, as they do when they fit the past by chance.",
    )


def _few_trades(report: Report) -> Alarm | None:
    evidence = report.dossier.evidence
    trips = evidence.round_trips if evidence is not None else int(report.trades["is_final"].sum())
    if not trips < FEW_TRADES:
        return None
    return Alarm(
        "Few trades",
        f"{trips} closed position{'s' * (trips != 1)}: below {FEW_TRADES} one or two decide the result, and no number "
        "about them is sure.",
    )


def _one_trade(report: Report) -> Alarm | None:
    profit = _profit(report)
    if not profit > 0.0:
        return None
    told, best = _told(report, "best_trade_share"), best_trade(report)
    share = best.profit / profit if best is not None and math.isnan(told) else told
    if not share > max(MUCH_OF_PROFIT, min(TIMES_EVEN_SHARE / max(report.trades.height, 1), MOST_OF_FEW)):
        return None
    which = "one trade"
    if best is not None and best.closed is not None:
        which = f"one trade ({best.side} {best.symbol}, closed on {best.closed:%Y-%m-%d})"
    elif best is not None:
        which = f"a position still open ({best.side} {best.symbol}, at its last price)"
    return Alarm("One trade makes the profit", f"{_share(share)} comes from {which}: {_without(share, profit, report)}")


def _one_month(report: Report) -> Alarm | None:
    profit = _profit(report)
    months = monthly_returns(report.equity, report.initial)
    if not profit > 0.0 or not months.height:
        return None
    gained = _gains(months["return"].to_numpy(), report.initial)
    best = int(np.argmax(gained))
    told = _told(report, "best_month_share")
    share = float(gained[best]) / profit if math.isnan(told) else told
    if not share > max(MOST_OF_PROFIT, TIMES_EVEN_SHARE / months.height):
        return None
    year, month = months.row(best)[:2]
    return Alarm(
        "One month makes the profit",
        f"{_share(share)} comes from one month ({MONTHS[month - 1]} {year}): {_without(share, profit, report)}",
    )


def _one_fold(report: Report) -> Alarm | None:
    if "return" not in report.folds.columns:
        return None
    folds = report.folds.filter(pl.col("return").is_finite())
    gained = _gains(folds["return"].to_numpy(), report.initial)
    profit = float(gained.sum())
    if folds.height < 2 or not profit > 0.0:
        return None
    best = int(np.argmax(gained))
    share = float(gained[best]) / profit
    if not share > max(MOST_OF_PROFIT, TIMES_EVEN_SHARE / folds.height):
        return None
    return Alarm(
        "One fold makes the profit",
        f"{_share(share)} comes from one of {folds.height} folds (number {folds['fold'][best]}): "
        f"{_without(share, profit, report)}",
    )


def _below_market(report: Report) -> Alarm | None:
    if "benchmark" not in report.equity.columns:
        return None
    held = report.equity["benchmark"].drop_nulls().drop_nans().to_numpy()
    if not len(held) or not report.initial > 0.0:
        return None
    peak = np.maximum(np.maximum.accumulate(held), report.initial)
    market, deepest = float(held[-1]) / report.initial - 1.0, min(float((held / peak - 1.0).min()), 0.0)
    own = report.statistics
    if not (own.total_return < market and own.max_drawdown < deepest):
        return None
    return Alarm(
        "Worse than buying and holding",
        f"Holding the market made {market:+.1%} with a drawdown of {deepest:.1%}, the run {own.total_return:+.1%} with "
        f"{own.max_drawdown:.1%}: less, and by a rougher way.",
    )


def _shrinks(report: Report, number: str, family: str, name: str) -> tuple[float, float] | None:
    """Return the Sharpe ratio as it is and as it is changed, where it was above zero and is not any more."""
    evidence = report.dossier.evidence
    if evidence is None or not evidence.sharpe > 0.0:
        return None
    changed = _told(report, number)
    if math.isnan(changed):
        table = report.dossier.robustness
        rows: tuple[Stress, ...] = () if table is None else table.stresses
        changed = next((one.sharpe for one in rows if one.family == family and name in one.name), math.nan)
    return (evidence.sharpe, changed) if changed <= 0.0 else None


def _hit_rates(report: Report) -> tuple[float, float]:
    """Return hit rates on training rows and out of sample: of the evidence, or the mean of the folds."""
    train, test = _told(report, "hit_rate_train"), _told(report, "hit_rate_test")
    if not math.isnan(train) and not math.isnan(test):
        return train, test
    folds = report.folds
    if not {"hit_rate_train", "hit_rate_test"} <= set(folds.columns):
        return math.nan, math.nan
    known = folds.filter(pl.col("hit_rate_train").is_finite() & pl.col("hit_rate_test").is_finite())
    rates = [known[name].to_numpy() for name in ("hit_rate_train", "hit_rate_test")]
    return (float(rates[0].mean()), float(rates[1].mean())) if known.height else (math.nan, math.nan)


def _told(report: Report, number: str) -> float:
    evidence: Evidence | None = report.dossier.evidence
    return math.nan if evidence is None else float(getattr(evidence, number))


def _profit(report: Report) -> float:
    equity = report.equity["equity"]
    return float(equity[-1]) - report.initial if len(equity) else math.nan


def _gains(returns: np.ndarray, initial: float) -> np.ndarray:
    """Return what each of some consecutive spans gained, in quote currency."""
    levels = initial * np.cumprod(np.concatenate([[1.0], 1.0 + returns]))
    return np.diff(levels)


def _share(share: float) -> str:
    if share > 1.0:
        return "More than the whole profit"
    if share >= 0.95:
        return "All of the profit"
    return "Half of the profit" if 0.475 <= share < 0.525 else f"{share:.0%} of the profit"


def _without(share: float, profit: float, report: Report) -> str:
    """Return what would be left, as a return on the equity at the start."""
    left = (1.0 - share) * profit / report.initial
    return f"without it {profit / report.initial:+.1%} would be {left:+.1%}."


def _or_undefined(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.2f}"
