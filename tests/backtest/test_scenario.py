"""A run held apart from its result: two drivers agree on it, and one thing at a time can be changed."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from cryptoquant.backtest.drive import drive
from cryptoquant.backtest.scenario import Scenario
from cryptoquant.backtest.simulator import report_of, simulate
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.market.slice import Panel
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import LongFlat, Momentum, MovingAverageCross
from cryptoquant.trading.strategy.succession import Succession
from cryptoquant.trading.venue import Costs, Venue
from tests.trading.signal_frames import random_signals

BARS = SyntheticMarket(seed=4, symbols=["BTC/USD", "ETH/USD"], days=30, timeframe="1h").bars()
PANEL = Panel.from_frame(BARS)
START, END = int(PANEL.times[100]), int(PANEL.times[-20])
VENUE = Venue.alpaca(Costs.alpaca(1, 2.0))
CROSS = MovingAverageCross(fast=6, slow=48)
TURNS = Succession((CROSS, Momentum(window=24)), (START, int(PANEL.times[400])))


def scenario_of(strategy, **changed) -> Scenario:
    return replace(Scenario("s", PANEL, START, END, strategy, VENUE, Execution(), 50_000.0), **changed)


@pytest.mark.parametrize("rule", [CROSS, TURNS], ids=["one rule", "rules in turn"])
def test_the_compiled_run_of_a_rule_is_that_of_the_event_driver_with_the_same_past(rule):
    scenario = scenario_of(rule)
    engine = Engine(rule, VENUE, PANEL.symbols, 50_000.0)
    engine.warm(PANEL.between(0, START))
    other = report_of("s", drive(engine, scenario.panel, {}), scenario.panel, VENUE, 50_000.0)
    report = scenario.report()
    assert report.fills.height > 4
    assert report.fills.drop("order_id").equals(other.fills.drop("order_id"))
    assert np.array_equal(report.equity["equity"], other.equity["equity"])


def test_a_rule_knows_its_past_at_the_first_slice():
    cut = replace(scenario_of(CROSS), market=PANEL.between(START, END))
    assert scenario_of(CROSS).report().fills["time"].min() < cut.report().fills["time"].min()


def test_limits_send_a_rule_to_the_event_driver():
    limited = scenario_of(CROSS, limits=RiskLimits(max_weight=0.1)).report()
    assert limited.fills.is_empty() or limited.rejections.height
    assert limited.rejections.height


def test_signals_are_traded_as_the_simulator_trades_them():
    signals = random_signals(PANEL).filter(pl.col("time").dt.epoch("ns").is_between(START, END, closed="right"))
    report = scenario_of(LongFlat(), signals=signals).report()
    bars = BARS.filter(pl.col("time").dt.epoch("ns").is_between(START, END, closed="right"))
    alone = simulate(LongFlat(), bars, Costs.alpaca(1, 2.0), signals=signals, cash=50_000.0)
    assert alone.fills.height > 10
    assert report.fills.equals(alone.fills)
    assert report.equity.equals(alone.equity)


def test_costs_and_delay_change_what_they_say_and_nothing_else():
    base, dear, free = scenario_of(CROSS), scenario_of(CROSS).at_costs(3.0), scenario_of(CROSS).at_costs(0.0)
    assert (dear.venue.costs.taker_bps, dear.venue.costs.slippage_bps) == (75.0, 6.0)
    assert free.statistics().fees == 0.0
    late = base.delayed(2)
    assert late.venue.latency == timedelta(hours=2)
    first, later = base.report().fills["time"][0], late.report().fills["time"][0]
    assert later - first == timedelta(hours=2)


def test_missing_bars_take_their_signals_with_them():
    signals = random_signals(PANEL)
    torn = scenario_of(LongFlat(), signals=signals).without_bars(0.2, seed=3)
    gone = np.isnan(torn.market.field("close"))
    assert 0.15 < gone.mean() < 0.25
    assert not gone[0].any()
    assert np.array_equal(gone, np.isnan(torn.market.field("volume")))
    left = {(symbol, time) for symbol, time in torn.signals.select("symbol", pl.col("time").dt.epoch("ns")).rows()}
    absent = {(PANEL.symbols[k], int(PANEL.times[row])) for row, k in zip(*np.nonzero(gone), strict=True)}
    assert not left & absent
    assert len(left) + len(absent & {*signals.select("symbol", pl.col("time").dt.epoch("ns")).rows()}) == signals.height
    assert torn.report().statistics.periods == scenario_of(LongFlat(), signals=signals).report().statistics.periods
