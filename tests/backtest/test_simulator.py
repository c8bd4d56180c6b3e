"""The simulator: what a decision becomes, through both drivers."""

import math
import pickle
from decimal import Decimal

import msgspec
import numpy as np
import pytest

from cryptoquant.backtest.drive import drive
from cryptoquant.backtest.simulator import simulate, simulate_weights
from cryptoquant.market.instrument import Instrument
from cryptoquant.market.slice import Panel
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.strategy import BuyAndHold, MovingAverageCross
from cryptoquant.trading.venue import Costs, Venue
from tests.market_makers import HOUR, frame_of, gapping_panel

EXACT = Execution(reserve=0.0, band=0.0)


class Replayed:
    """A strategy that wants the weights of a table, for the differential test."""

    lookback = 1

    def __init__(self, panel: Panel, weights: np.ndarray) -> None:
        self.rows = {int(time): row for time, row in zip(panel.times, weights, strict=True)}

    def decide(self, view):
        row = self.rows[view.time]
        return {s: float(w) for s, w in zip(view.symbols, row, strict=True) if not math.isnan(w)}


def test_both_drivers_agree_on_a_coin_of_which_more_is_held_than_an_integer_counts():
    panel = gapping_panel(20, seed=3)
    cheap = Panel(panel.times, panel.known, panel.symbols, {n: c * 1e-7 for n, c in panel.columns.items()}, HOUR)
    weights = np.full((20, 1), np.nan)
    weights[3], weights[12] = 1.0, 0.0
    plan, venue = Execution(), Venue.alpaca(Costs.alpaca())
    compiled = simulate_weights(weights, cheap, venue, 100_000.0, plan)
    events = drive(Engine(Replayed(cheap, weights), venue, cheap.symbols, 100_000.0, execution=plan), cheap, {})
    assert compiled.fills == events.fills
    assert max(fill.lots for fill in events.fills) > 2**62
    assert np.array_equal(compiled.equity, events.equity)


def test_a_short_that_loses_more_than_everything_is_followed_by_both_drivers():
    panel = gapping_panel(60, ("A/USD", "B/USD"), seed=3, sigma=0.01)
    columns = dict(panel.columns)
    for name in ("open", "high", "low", "close"):
        columns[name] = columns[name] * np.linspace([1.0, 1.0], [4.0, 1.0], 60)
    rising = Panel(panel.times, panel.known, panel.symbols, columns, HOUR)
    weights = np.full((60, 2), np.nan)
    weights[2, 0], weights[50, 1] = -1.0, 0.5
    plan, venue = Execution(), Venue.research(Costs(10, 20))
    compiled = simulate_weights(weights, rising, venue, 1000.0, plan)
    events = drive(Engine(Replayed(rising, weights), venue, rising.symbols, 1000.0, execution=plan), rising, {})
    assert compiled.equity.min() < 0
    assert np.array_equal(compiled.equity, events.equity)
    assert compiled.fills == events.fills


@pytest.mark.parametrize("kind", [np.float32, np.float64, Decimal, int])
def test_a_weight_may_be_any_number_and_an_engine_travels_to_another_process(kind):
    class Wants:
        lookback = 1

        def decide(self, view):
            return {"BTC/USD": kind(1)}

    panel, venue = gapping_panel(5, seed=3), Venue.research()
    run = drive(Engine(Wants(), venue, panel.symbols, 1000.0), panel, {})
    assert msgspec.json.encode(run.orders)
    assert all(type(order.lots) is float for order in run.orders)
    engine = pickle.loads(pickle.dumps(Engine(BuyAndHold(), venue, panel.symbols, 1000.0)))
    assert drive(engine, panel, {}).fills


def test_a_decision_never_trades_at_the_close_that_it_saw():
    panel = gapping_panel(50, seed=1)
    weights = np.full((50, 1), np.nan)
    weights[10] = 0.5
    report = simulate(weights, panel, Costs.free())
    assert report.fills.height == 1
    assert report.fills["price"].item() == panel.field("open")[11, 0]
    assert report.fills["time"].dt.epoch("ns").item() == panel.times[10]


def test_the_fee_is_taken_from_what_is_received():
    panel = gapping_panel(4, seed=1)
    weights = np.array([[0.5], [np.nan], [0.0], [np.nan]])
    report = simulate(weights, panel, Costs(0, 25.0), execution=EXACT)
    buy, sell = report.fills.to_dicts()
    assert buy["quantity_change"] == pytest.approx(buy["quantity"] * 0.9975, abs=1e-8)
    assert buy["value_change"] == pytest.approx(-buy["value"], abs=1e-6)
    assert sell["quantity"] == pytest.approx(buy["quantity_change"], rel=1e-12)
    assert sell["value_change"] == pytest.approx(sell["value"] * 0.9975, abs=1e-5)


def test_a_change_above_the_largest_order_is_sliced_into_equal_orders():
    panel = gapping_panel(3, seed=2)
    report = simulate(np.array([[0.9], [np.nan], [np.nan]]), panel, Costs.alpaca(), cash=1e6)
    assert report.fills.height == 5
    assert report.fills["value"].max() < 200_000
    assert report.fills["quantity"].max() - report.fills["quantity"].min() < 2e-9
    assert [order_id[-2:] for order_id in report.fills["order_id"]] == ["-0", "-1", "-2", "-3", "-4"]
    assert report.rejections.height == 0


def test_a_buy_that_gaps_above_the_cash_is_refused_and_not_shrunk():
    panel = gapping_panel(3, seed=2)
    values = panel.values.copy()
    values[1:, :, :4] *= 1.5
    jumped = Panel.from_values(panel.times, panel.known, panel.symbols, values, panel.width)
    report = simulate(np.array([[1.0], [np.nan], [np.nan]]), jumped, Costs.free())
    assert report.rejections["reason"].to_list() == ["insufficient cash"]
    assert report.equity["equity"].to_list() == [100_000.0] * 3


def test_a_market_order_for_an_absent_symbol_waits_for_its_next_bar():
    panel = gapping_panel(6, ("A/USD", "B/USD"), seed=2)
    values = panel.values.copy()
    values[2:4, 0] = np.nan
    holed = Panel.from_values(panel.times, panel.known, panel.symbols, values, panel.width)
    weights = np.full((6, 2), np.nan)
    weights[1, 0] = 0.5
    report = simulate(weights, holed, Costs.free())
    assert report.fills["price"].to_list() == [values[4, 0, 0]]


def test_a_rule_gives_the_same_fills_through_its_batch_weights_and_through_the_event_driver():
    panel = gapping_panel(500, ("A/USD", "B/USD"), seed=9, absent=0.02)
    rule = MovingAverageCross(5, 20)
    events = simulate(rule, panel, Costs.alpaca(slippage_bps=2))
    compiled = simulate(rule.weights(panel), panel, Costs.alpaca(slippage_bps=2))
    assert events.fills.height > 20
    assert events.fills.equals(compiled.fills)
    assert events.equity["equity"].equals(compiled.equity["equity"])


def test_buy_and_hold_holds():
    report = simulate(BuyAndHold(), gapping_panel(50, ("A/USD", "B/USD"), seed=3), Costs.alpaca())
    assert report.fills.height == 2
    assert report.statistics.trades == 0


def test_pandas_polars_and_panel_give_the_same_report():
    panel = gapping_panel(120, ("A/USD", "B/USD"), seed=3)
    frame = frame_of(panel)
    rule = MovingAverageCross(3, 9)
    reports = [simulate(rule, market, Costs.alpaca()) for market in (panel, frame, frame.to_pandas())]
    assert all(report.equity.equals(reports[0].equity) for report in reports)


def test_a_continuous_instrument_trades_any_fraction_and_a_venue_one_counts_lots():
    assert Instrument("BTC/USD").lots("0.5") == 500_000_000
    assert Instrument.continuous("BTC/USD").lots("0.123456789012") == pytest.approx(0.123456789012)
    with pytest.raises(ValueError, match="not a multiple"):
        Instrument("BTC/USD").lots("0.1234567891")
