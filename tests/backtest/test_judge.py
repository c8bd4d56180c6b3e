"""The evidence of a run: every number that its returns, its trades and the ledger can tell, and no other."""

import math
from dataclasses import fields

import numpy as np
import polars as pl
import pytest

from cryptoquant.backtest.evidence import best_month_share, best_trade_share, judge
from cryptoquant.performance.evidence import Evidence
from cryptoquant.performance.metrics import sharpe_ratio
from cryptoquant.performance.report import REJECTIONS, Report, build_report
from cryptoquant.performance.selection import NUMBERS
from cryptoquant.performance.trials import StudyTrial, TrialLedger
from cryptoquant.trading.venue import Costs
from tests.market_makers import HOUR, START
from tests.performance.reports import fills_of, report_over, stamps

ELSEWHERE = {
    "sharpe_triple_costs", "sharpe_delayed", "sharpe_missing_bars", "hit_rate_train", "hit_rate_test", "sharpe_train"
}  # fmt: skip


def trading_at(equity: list[float], rows=(), step: int = 24) -> Report:
    """Return a report of an equity curve, one value each ``step`` hours, and of fills."""
    times = stamps(START + step * HOUR * np.arange(1, len(equity) + 1, dtype=np.int64))
    frame = pl.DataFrame({"time": times, "equity": equity, "cash": equity, "exposure": np.zeros(len(equity))})
    prices = pl.DataFrame({"time": times, "symbol": ["BTC/USD"] * len(equity), "close": equity})
    facts = (fills_of(list(rows)), pl.DataFrame(schema=REJECTIONS))
    return build_report("a run", frame, facts, 1_000.0, Costs.free(), prices=prices)


def ledger_of(report: Report, others: int) -> TrialLedger:
    daily, rng = report.daily_returns(), np.random.default_rng(0)
    times, ledger = daily["time"].dt.epoch("ns").to_numpy(), TrialLedger()
    ledger.add_study_trial(StudyTrial("s", "own", times, daily["return"].to_numpy(), {}))
    for number in range(others):
        returns = 0.01 * rng.standard_normal(len(times))
        ledger.add_study_trial(StudyTrial("s", str(number), times, returns, {}))
    return ledger


def undefined(evidence: Evidence) -> set[str]:
    return {one.name for one in fields(evidence) if math.isnan(getattr(evidence, one.name))}


def rising(days: int) -> list[float]:
    steps = 0.002 + 0.01 * np.random.default_rng(3).standard_normal(days)
    return (1_000 * np.cumprod(1 + steps)).tolist()


def test_all_that_a_run_and_its_trials_can_tell_is_told():
    bought = [(hour, "BTC/USD", 1.0 if hour % 48 == 0 else -1.0, 100.0 + hour / 100) for hour in range(0, 4_800, 24)]
    report = trading_at(rising(300), bought)
    assert report.equity["equity"].item(-1) > 1_000
    found = judge(report, report, report, ledger_of(report, 5), "s")
    assert undefined(found) == ELSEWHERE
    assert (found.days, found.study_trials, found.round_trips) == (300, 6, 100)
    daily = report.daily_returns()["return"].to_numpy()
    assert found.sharpe == sharpe_ratio(daily, 365)
    assert found.sharpe_low < found.sharpe < found.sharpe_high
    assert found.cagr == pytest.approx((report.equity["equity"].item(-1) / 1_000) ** (365 / 300) - 1)
    assert found.cagr_low < found.cagr < found.cagr_high
    assert found.sharpe_error == pytest.approx((found.sharpe_high - found.sharpe_low) / 3.92, rel=0.15)
    assert found.pbo_low <= found.pbo <= found.pbo_high
    assert found.spa_lower <= found.spa <= found.spa_upper
    assert 0 < found.false_discovery < 0.9
    assert repr(judge(report, report, report, ledger_of(report, 5), "s")) == repr(found)


def test_the_first_trial_has_nothing_to_be_deflated_by():
    report = trading_at(rising(200))
    found = judge(report, report, report, ledger_of(report, 0), "s")
    assert undefined(found) == ELSEWHERE | set(NUMBERS) | {"best_trade_share"}


def test_shares_of_the_profit_by_hand():
    """Profit 100 over two months: 1,000 to 1,060 in January, 1,100 in February; round trips of 30 (in two parts), 5."""
    rows = [
        (1, "BTC/USD", 2.0, 100.0),
        (2, "BTC/USD", -1.0, 110.0),
        (3, "BTC/USD", -1.0, 120.0),
        (4, "BTC/USD", 1.0, 100.0),
        (5, "BTC/USD", -1.0, 105.0),
    ]
    first = int((stamps([START]).dt.month_end().dt.epoch("ns").item() - START) / (24 * HOUR)) + 1
    report = trading_at([1_060.0] * first + [1_100.0] * 10, rows)
    assert best_trade_share(report) == pytest.approx(0.3)
    assert best_month_share(report) == pytest.approx(0.6)
    assert math.isnan(best_month_share(trading_at([1_060.0, 1_100.0], rows)))
    bought = trading_at([1_060.0, 1_100.0], [*rows, (6, "BTC/USD", 0.1, 450.0)])
    assert best_trade_share(bought) == pytest.approx(0.65)
    losing = trading_at([990.0] * 60, rows)
    assert math.isnan(best_trade_share(losing))
    assert math.isnan(best_month_share(losing))


@pytest.mark.parametrize(
    "equity", [[1_000.0], [1_000.0] * 100, [1_010.0], [990.0] * 2, rising(3), [1e-9] * 50, rising(41)]
)
@pytest.mark.parametrize("others", [0, 1, 4])
def test_a_degenerate_run_has_no_number_and_no_warning(equity, others):
    report = trading_at(equity)
    found = judge(report, report, report, ledger_of(report, others), "s")
    assert found.days == len(equity)
    assert undefined(found) >= ELSEWHERE
    if len(equity) < 10:
        assert {"sharpe_low", "cagr_low", "pbo", "spa"} <= undefined(found)


def test_a_run_that_loses_on_every_trade_has_no_share_and_no_length_that_would_do():
    report = trading_at((1_000 * 0.999 ** np.arange(100) + np.arange(100) % 2).tolist())
    found = judge(report, report, report, ledger_of(report, 3), "s")
    assert math.isinf(found.minimum_track_record_days_2026)
    assert math.isinf(found.minimum_backtest_years)
    assert found.false_discovery > 0.5


def test_a_report_of_the_simulator_is_judged():
    report = report_over(24 * 60, trades=40)
    found = judge(report, report, report, TrialLedger(), "s")
    assert (found.study_trials, found.round_trips) == (0, 20)


def test_one_quick_trial_on_few_days_does_not_condemn_a_study_for_good():
    """Over 1,000 days with two trials of noise; the third is cut to 60 days, and then to fewer than can tell."""
    report, ledger = trading_at(rising(1_000)), TrialLedger()
    daily, rng = report.daily_returns(), np.random.default_rng(4)
    times = daily["time"].dt.epoch("ns").to_numpy()
    ledger.add_study_trial(StudyTrial("s", "own", times, daily["return"].to_numpy(), {}))
    for key in ("one", "two"):
        ledger.add_study_trial(StudyTrial("s", key, times, 0.01 * rng.standard_normal(1_000), {}))
    whole = judge(report, report, report, ledger, "s")
    assert (whole.dsr > 0.5, whole.common_days) == (True, 1_000)
    for days in (60, 39):
        ledger.add_study_trial(StudyTrial("s", "quick", times[:days], 0.01 * rng.standard_normal(days), {}))
        found = judge(report, report, report, ledger, "s")
        assert found.common_days == days
        if days >= 40:
            assert found.dsr == pytest.approx(whole.dsr, abs=0.2)
            assert found.dsr_2026 == pytest.approx(whole.dsr_2026, abs=0.2)
        else:
            assert {"dsr", "dsr_2026", "pbo", "spa"} <= undefined(found)


def test_a_trial_that_went_bankrupt_is_deflated_by_like_any_other():
    report, ruined = trading_at(rising(100)), trading_at([1_000.0, 900.0] * 25 + [0.0] * 50)
    ledger, daily = ledger_of(report, 1), ruined.daily_returns()
    times = daily["time"].dt.epoch("ns").to_numpy()
    ledger.add_study_trial(StudyTrial("s", "ruined", times, daily["return"].to_numpy(), {}))
    found = judge(report, report, report, ledger, "s")
    assert undefined(found) == ELSEWHERE | {"best_trade_share"}
    assert judge(ruined, report, report, ledger, "s").sharpe < 0
