"""Alarms: one for each planted fault, none for a clean strong study, none from what is not known."""

import math
from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest

from cryptoquant.performance.alarms import alarms
from cryptoquant.performance.dossier import Dossier
from cryptoquant.performance.evidence import Evidence
from cryptoquant.performance.metrics import statistics
from cryptoquant.performance.report import REJECTIONS, Report, build_report
from cryptoquant.performance.robustness import Robustness, Stress
from cryptoquant.trading.venue import Costs
from tests.market_makers import HOUR, START
from tests.performance.reports import fills_of, folds_frame, report_over, stamps

CASH = 100_000.0
GOOD = Evidence(
    days=400, sharpe=2.0, sharpe_before_costs=2.6, sharpe_double_costs=1.4, sharpe_low=0.4, sharpe_high=3.5, psr=0.98,
    dsr=0.96, minimum_track_record_days=250.0, max_drawdown=-0.1, max_drawdown_low=-0.2, round_trips=120,
    study_trials=7, tuning_trials=80, sharpe_delayed=1.2, minimum_backtest_years=0.8, pbo=0.1, hit_rate_train=0.58,
    hit_rate_test=0.55, best_trade_share=0.05, best_month_share=0.2,
)  # fmt: skip
STEADY = Robustness((Stress("parameters", "middle of 4 neighbours", 1.8, 0.1, -0.1, 1.0),))


def run_of(daily, *, benchmark: float = 0.0, profits=None, folds=None, evidence: Evidence | None = GOOD,
           table: Robustness | None = STEADY) -> Report:  # fmt: skip
    """Return a report of daily closes with these returns, and of round trips with these profits in quote currency."""
    days = np.asarray(daily, dtype=float)
    times = stamps(START + 24 * HOUR * np.arange(1, len(days) + 1, dtype=np.int64))
    equity = CASH * np.cumprod(1.0 + days)
    market = CASH * np.linspace(1.0, 1.0 + benchmark, len(days))
    table_of = pl.DataFrame(
        {"time": times, "equity": equity, "cash": equity, "exposure": np.ones(len(days)), "benchmark": market}
    )
    rows = []
    for number, profit in enumerate([10.0] * 200 if profits is None else profits):
        rows += [(2 * number, "BTC/USD", 1.0, 10_000.0), (2 * number + 1, "BTC/USD", -1.0, 10_000.0 + profit)]
    prices = pl.DataFrame({"time": times, "symbol": ["BTC/USD"] * len(days), "close": market / 10})
    facts = (fills_of(rows), pl.DataFrame(schema=REJECTIONS))
    built = build_report("a run", table_of, facts, CASH, Costs.alpaca(), prices=prices, folds=folds)
    return replace(built, dossier=Dossier(evidence, robustness=table))


STRONG = np.tile([0.003, -0.001], 200)


def names(report: Report) -> list[str]:
    return [alarm.name for alarm in alarms(report)]


def test_a_clean_strong_study_raises_none():
    returns = [0.05, 0.06, 0.04, 0.05]
    folds = folds_frame(4).with_columns(pl.Series("return", returns))
    assert names(run_of(STRONG, folds=folds)) == []


def test_nothing_is_said_of_what_is_not_known():
    unknown = {one.name: math.nan for one in fields(Evidence) if one.type == "float" or one.type is float}
    blank = replace(GOOD, **unknown)
    assert all(math.isnan(getattr(blank, name)) for name in ("sharpe", "pbo", "minimum_backtest_years"))
    hazy = Robustness((Stress("parameters", "window 24 -> 29", math.nan, 0.0, 0.0),))
    assert names(run_of(STRONG, evidence=blank, table=hazy)) == []
    assert names(run_of(STRONG, evidence=None, table=None)) == []
    empty = report_over(48, trades=0)
    assert "Few trades" in names(empty)
    assert set(names(empty)) <= {"Few trades", "Worse than buying and holding", "One month makes the profit"}


CASES = [
    ({"minimum_backtest_years": 2.3}, "Too many trials for this length", "7 configurations were tried on 1.1 years"),
    ({"pbo": 0.6}, "The choice is overfitted", "In 60% of all ways"),
    ({"hit_rate_train": 0.8, "hit_rate_test": 0.52}, "In-sample far above out-of-sample", "right on 80%"),
    (
        {"sharpe_train": 6.1},
        "In-sample far above out-of-sample",
        "ratio of 6.10 where they were searched for, and of 2.00",
    ),
    ({"sharpe_double_costs": -0.1}, "The edge dies at twice the costs", "falls from 2.00 to -0.10"),
    ({"sharpe_delayed": 0.0}, "The edge dies with one bar of delay", "falls from 2.00 to 0.00"),
    ({"round_trips": 29}, "Few trades", "29 closed positions"),
    ({"best_trade_share": 0.4}, "One trade makes the profit", "40% of the profit comes from one trade (long BTC/USD"),
    ({"best_month_share": 0.51}, "One month makes the profit", "Half of the profit comes from one month"),
]


@pytest.mark.parametrize(("changed", "name", "words"), CASES, ids=[case[1] for case in CASES])
def test_each_fault_of_the_evidence_raises_its_own_alarm_and_no_other(changed, name, words):
    (found,) = alarms(run_of(STRONG, evidence=replace(GOOD, **changed)))
    assert found.name == name
    assert words in found.words
    assert "nan" not in found.words


@pytest.mark.parametrize(
    "changed",
    [
        {"minimum_backtest_years": 1.0},
        {"minimum_backtest_years": 9.0, "study_trials": 1},
        {"pbo": 0.5},
        {"hit_rate_train": 0.8, "hit_rate_test": 0.62},
        {"hit_rate_train": 0.56, "hit_rate_test": 0.5},
        {"sharpe_train": 5.9},
        {"sharpe": 0.1, "sharpe_train": 1.1},
        {"sharpe": -1.0, "minimum_backtest_years": math.inf},
        {"sharpe_double_costs": 0.01},
        {"sharpe": -1.0, "sharpe_double_costs": -2.0, "sharpe_delayed": -1.0},
        {"round_trips": 30},
        {"best_trade_share": 0.33},
        {"best_month_share": 0.5},
    ],
)
def test_just_inside_the_border_there_is_none(changed):
    assert names(run_of(STRONG, evidence=replace(GOOD, **changed))) == []


def test_costs_and_delay_are_read_from_the_table_where_the_evidence_is_silent():
    silent = replace(GOOD, sharpe_double_costs=math.nan, sharpe_delayed=math.nan)
    rows = (
        Stress("costs", "costs x 3", -0.9, 0.0, 0.0),
        Stress("costs", "costs x 2", -0.3, 0.0, 0.0, 0.0),
        Stress("delay", "orders arrive one bar later", -0.5, 0.0, 0.0, 0.0),
    )
    found = alarms(run_of(STRONG, evidence=silent, table=Robustness(rows)))
    assert [alarm.name for alarm in found] == [
        "The edge dies at twice the costs",
        "The edge dies with one bar of delay",
    ]
    assert "to -0.30" in found[0].words
    assert "to -0.50" in found[1].words


def test_a_spike_is_told_with_its_number():
    spike = Robustness((Stress("parameters", "middle of 4 neighbours", 0.3, 0.1, -0.1, 1.0),))
    (found,) = alarms(run_of(STRONG, table=spike))
    assert found.name == "The parameters stand on a spike"
    assert "is 0.30 in the middle, wanted above 1.00" in found.words


def test_one_trade_is_found_in_the_report_and_what_is_left_without_it_is_said():
    """The run makes 20,000: 12,000 by one trade, so that 8 % would be left."""
    daily = np.full(400, 1.2 ** (1 / 400) - 1)
    profits = [20.0] * 200 + [12_000.0] + [20.0] * 200
    silent = replace(GOOD, best_trade_share=math.nan)
    (found,) = alarms(run_of(daily, profits=profits, evidence=silent))
    assert found.name == "One trade makes the profit"
    assert found.words.startswith("60% of the profit comes from one trade (long BTC/USD, closed on 2024-01-17)")
    assert found.words.endswith("without it +20.0% would be +8.0%.")


def test_one_month_is_found_in_the_report():
    """February makes 10 %, every other day nothing but a little: the whole is 12.2 %."""
    daily = np.zeros(300)
    daily[40] = 0.1
    daily[250] = 0.02
    silent = replace(GOOD, best_month_share=math.nan)
    (found,) = alarms(run_of(daily, evidence=silent))
    assert found.name == "One month makes the profit"
    assert found.words == ("82% of the profit comes from one month (Feb 2024): without it +12.2% would be +2.2%.")
    short = alarms(run_of(daily[:60], evidence=silent))
    assert [alarm.name for alarm in short] == []


def test_one_fold_is_found_and_one_of_two_even_ones_is_not():
    returns = [0.01, 0.2, -0.01, 0.01]
    folds = folds_frame(4).with_columns(pl.Series("return", returns))
    (found,) = alarms(run_of(STRONG, folds=folds))
    assert found.name == "One fold makes the profit"
    assert "one of 4 folds (number 1)" in found.words
    even = folds_frame(2).with_columns(pl.Series("return", [0.1, 0.1]))
    assert names(run_of(STRONG, folds=even)) == []
    unknown = folds_frame(4).with_columns(pl.lit(math.nan).alias("return"))
    assert names(run_of(STRONG, folds=unknown)) == []


def test_hit_rates_come_from_the_folds_where_the_evidence_has_none():
    silent = replace(GOOD, hit_rate_train=math.nan, hit_rate_test=math.nan)
    learned = folds_frame(3).with_columns(pl.lit(0.9).alias("hit_rate_train"))
    (found,) = alarms(run_of(STRONG, evidence=silent, folds=learned))
    assert "right on 90%" in found.words
    assert "on 51% of what" in found.words


def test_less_than_the_market_by_a_rougher_way():
    falling = np.concatenate([np.full(200, -0.002), np.full(200, 0.0025)])
    (found,) = alarms(run_of(falling, benchmark=0.5))
    assert found.name == "Worse than buying and holding"
    assert "Holding the market made +50.0% with a drawdown of 0.0%" in found.words
    assert names(run_of(falling, benchmark=0.0)) == []
    report = run_of(falling)
    assert report.statistics == statistics(report.equity, report.fills, CASH)


@pytest.mark.parametrize("closed", [[], [20.0], [20.0] * 100])
@pytest.mark.parametrize("told", [math.nan, 0.995])
def test_a_position_still_open_that_makes_the_profit_is_one_trade(closed, told):
    """The run makes 20,000: bought at 10,000, the last price is 10,000 + 19,900."""
    report = run_of(np.full(400, 1.2 ** (1 / 400) - 1), profits=closed, evidence=replace(GOOD, best_trade_share=told))
    fills = pl.concat([report.fills, fills_of([(1_000, "BTC/USD", 1.0, 10_000.0)])])
    prices = report.prices.with_columns(pl.lit(29_900.0).alias("close"))
    (found,) = alarms(replace(report, fills=fills, prices=prices))
    assert found.name == "One trade makes the profit"
    assert found.words.startswith(
        "All of the profit comes from a position still open (long BTC/USD, at its last price)"
    )


@pytest.mark.parametrize(("share", "is_told"), [(0.71, True), (0.69, False)])
def test_of_few_trades_one_that_makes_seven_tenths_is_told(share, is_told):
    report = run_of(STRONG, profits=[10.0] * 2, evidence=replace(GOOD, best_trade_share=share))
    assert ("One trade makes the profit" in names(report)) == is_told
