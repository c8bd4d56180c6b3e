"""The rehearsal of paper trading: the order of events, large bars, stops by the minute, and what simulate shares."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.backtest.rehearsal import LargeBars, rehearse, trade
from cryptoquant.backtest.simulator import simulate
from cryptoquant.backtest.wishes import Wishes
from cryptoquant.market.aggregation import aggregate
from cryptoquant.market.price import Price
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import FIELDS, Panel, Slice
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.financing import Financing
from cryptoquant.trading.order import Cancellation, Fill
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import LongFlat
from cryptoquant.trading.venue import Costs, Venue
from tests.market_makers import HOUR, START, frame_of, gapping_panel

LARGE = timedelta(hours=4)
FREE = Venue.alpaca(Costs.free())


class Recording(Engine):
    """An engine that remembers what it was shown."""

    def on(self, event):
        self.__dict__.setdefault("events", []).append(event)
        return super().on(event)


def panel_of(closes, symbol="A/USD"):
    """Hours that open where the one before closed and go nowhere else."""
    closes = np.array(closes, dtype=float)
    values = np.zeros((len(closes), 1, len(FIELDS)))
    opens = np.concatenate((closes[:1], closes[:-1]))
    for place, column in enumerate((opens, np.maximum(opens, closes), np.minimum(opens, closes), closes)):
        values[:, 0, place] = column
    values[:, 0, 4] = 1e9
    times = START + HOUR * np.arange(1, len(closes) + 1, dtype=np.int64)
    return Panel.from_values(times, times.copy(), (symbol,), values, HOUR)


def engine_of(panel, weights, **execution):
    plan = Execution(reserve=0.05, band=0.0, **execution)
    wishes = Wishes(panel, np.array(weights, dtype=float)[:, None])
    return Recording(wishes, FREE, panel.symbols, 1_000.0, execution=plan, holds=True)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), absent=st.sampled_from([0.0, 0.3, 0.8]))
def test_the_slices_are_those_of_the_bars_folded_as_a_frame(seed, absent):
    panel = gapping_panel(50, ("A/USD", "B/USD"), seed=seed, absent=absent)
    there = ~np.isnan(panel.field("close")).all(axis=1)
    frame = frame_of(panel)
    folded, found = LargeBars(panel.symbols, LARGE), {}
    for minute, is_there in zip(panel, there, strict=True):
        for market in [*folded.expire(minute.time - HOUR), *(folded.take(minute, HOUR) if is_there else [])]:
            found[market.time] = market.values
    large = aggregate(frame, LARGE)
    for row in large.iter_rows(named=True):
        moment = int(row["time"].timestamp()) * 10**9
        place = panel.symbols.index(row["symbol"])
        values = [row[name] for name in FIELDS]
        assert np.allclose(found[moment][place], values, rtol=1e-15, atol=0.0)
    assert set(found) >= {int(moment.timestamp()) * 10**9 for moment in large["time"]}


def test_at_one_moment_come_fills_then_prices_then_signals_then_the_slice():
    panel = panel_of([100.0] * 9)
    engine = engine_of(panel, [np.nan, np.nan, np.nan, 0.5] + [np.nan] * 5, stop_loss=0.1)
    shown = Signal("m", "A/USD", START + 8 * HOUR, START + 8 * HOUR, "score", 1.0, HOUR)
    late = known_too_late(shown)
    rehearse(engine, panel, LARGE, {shown.time: [late, shown]})
    kinds = [type(event) for event in engine.events]
    assert kinds == [Slice, Fill, Price, Price, Price, Price, Signal, Slice, Price]
    assert engine.events[6] is shown


def known_too_late(signal):
    return Signal(*(getattr(signal, name) for name in ("name", "symbol", "time")), signal.time + 1, "score", 1.0, HOUR)


def test_a_stop_is_seen_by_the_minute_and_filled_at_the_next_open():
    panel = panel_of([100, 100, 100, 100, 100, 94, 93, 80, 80, 80, 80, 80, 80])
    engine = engine_of(panel, [0.9 if place % 4 == 3 else np.nan for place in range(13)], stop_loss=0.05)
    run = rehearse(engine, panel, LARGE)
    assert [(fill.side, fill.price, fill.reason) for fill in run.fills] == [("buy", 100.0, ""), ("sell", 94.0, "stop")]
    assert engine.portfolio.cash_value == pytest.approx(1_000.0 - 0.06 * 0.95 * 0.9 * 1_000.0)


def test_a_target_is_sold_at_its_price_at_the_next_open():
    panel = panel_of([100, 100, 100, 100, 100, 104, 103, 100])
    engine = engine_of(panel, [0.9 if place == 3 else np.nan for place in range(8)], take_profit=0.04)
    sold = [fill for fill in rehearse(engine, panel, LARGE).fills if fill.side == "sell"]
    assert [(fill.price, fill.reason) for fill in sold] == [(104.0, "target")]
    assert sold[0].order_id.endswith("t0")


def test_a_cancel_acts_at_once():
    panel = panel_of([100.0] * 8)
    engine = engine_of(panel, [np.nan, np.nan, np.nan, 0.5] + [np.nan] * 4, limit_bps=10.0, life=timedelta(hours=2))
    run = rehearse(engine, panel, LARGE)
    (order,) = run.orders
    assert order.expires == START + 6 * HOUR
    assert run.cancellations == [Cancellation(order.id, "main", "A/USD", order.expires)]
    assert not engine.in_flight


def test_what_cannot_be_rehearsed_is_refused():
    panel = panel_of([100.0] * 4)
    wishes = Wishes(panel, np.full((4, 1), np.nan))
    with pytest.raises(ValueError, match="holds=True"):
        rehearse(Engine(wishes, FREE, panel.symbols, 1_000.0), panel, LARGE)
    lent = replace(Venue.research(), financing=Financing(borrow=0.1))
    with pytest.raises(ValueError, match="financing"):
        rehearse(Engine(wishes, lent, panel.symbols, 1_000.0, holds=True), panel, LARGE)


@pytest.mark.parametrize("as_strategy", [True, False])
def test_simulate_works_a_change_in_parts_at_the_closes_at_which_they_are_due(as_strategy):
    panel = panel_of(np.linspace(100, 110, 11))
    weights = np.full((11, 1), np.nan)
    weights[1] = 0.9
    plan = Execution(reserve=0.05, parts=3, pause=timedelta(hours=2))
    fills = simulate(weights if not as_strategy else Wishes(panel, weights), panel, Costs.free(), execution=plan).fills
    assert fills["price"].to_list() == [101.0, 103.0, 105.0]
    assert fills["quantity"].n_unique() <= 2
    assert fills["quantity"].sum() == pytest.approx(100_000 * 0.9 * 0.95 / 101.0)


def test_parts_that_would_open_again_what_a_stop_closed_are_dropped_in_a_backtest_too():
    panel = panel_of([100, 100, 90, 90, 90, 90])
    plan = Execution(parts=3, pause=timedelta(hours=2), stop_loss=0.05)
    weights = np.array([0.9, np.nan, np.nan, np.nan, np.nan, np.nan])
    assert simulate(weights, panel, Costs.free(), execution=plan).fills["side"].to_list() == ["buy", "sell"]


@pytest.mark.parametrize("as_strategy", [True, False])
def test_simulate_moves_a_limit_order_at_the_closes_at_which_it_is_due(as_strategy):
    panel = panel_of([100, 110, 120, 119, 119])
    weights = np.array([0.5, *[np.nan] * 4])[:, None]
    plan = Execution(limit_bps=10.0, reprice=timedelta(hours=2))
    report = simulate(Wishes(panel, weights) if as_strategy else weights, panel, Costs.free(), execution=plan)
    assert report.fills["time"].dt.epoch("ns").to_list() == [panel.times[3]]
    assert report.fills["price"].to_list() == [pytest.approx(120 * 0.999)]
    still = simulate(weights, panel, Costs.free(), execution=replace(plan, reprice=None))
    assert not still.fills.height


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    absent=st.sampled_from([0.0, 0.4]),
    plan=st.sampled_from([Execution(), Execution(limit_bps=20.0), Execution(limit_bps=5.0, life=timedelta(hours=3))]),
    venue=st.sampled_from([FREE, Venue.research()]),
)
def test_an_engine_that_holds_and_has_nothing_to_move_trades_as_one_that_does_not(seed, absent, plan, venue):
    panel = gapping_panel(40, ("A/USD", "B/USD"), seed=seed, absent=absent)
    rng = np.random.default_rng(seed)
    weights = np.where(rng.random((40, 2)) < 0.3, rng.choice([0.0, 0.2, 0.45], (40, 2)), np.nan)
    wishes = Wishes(panel, weights)
    wanted = simulate(wishes, panel, venue=venue, execution=plan)
    engine = Engine(wishes, venue, panel.symbols, 100_000.0, execution=plan, holds=True)
    found = trade(lambda **_: engine, panel, replace(plan, limit_bps=0.0, reprice=timedelta(days=9)), {})
    assert np.array_equal(found.equity, wanted.equity["equity"].to_numpy())
    assert len(found.fills) == wanted.fills.height


def test_a_backtest_judges_every_limit_that_bars_and_signals_can_tell():
    panel = panel_of([100, 100, 130, 130])
    signals = pl.DataFrame(
        {
            "name": "m",
            "symbol": "A/USD",
            "time": panel.times,
            "kind": "probability",
            "value": 0.9,
            "horizon": 1,
            "dissimilarity": [2.0, 0.5, 0.5, None],
        }
    ).with_columns(pl.from_epoch("time", "ns").dt.replace_time_zone("UTC"), pl.lit(timedelta(hours=1)).alias("horizon"))

    def reasons(**limits):
        report = simulate(LongFlat(0.6), panel, signals=signals, limits=RiskLimits(**limits))
        return report.rejections["reason"].to_list()

    assert reasons(max_dissimilarity=1.0) == ["signal's dissimilarity 2.00 above 1.00"]
    assert reasons(min_cash=0.5)[0] == "cash would fall below 50.0% of the equity"
    assert not reasons(price_collar=0.1)
    assert reasons(price_collar=0.1, max_dissimilarity=0.4)[2] == (
        "price 30.0% away from the last close, at most 10.0%"
    )
