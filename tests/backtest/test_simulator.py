"""The simulator: two drivers with one truth, held against hand-computed vectors and vectorbt."""

import math
import pickle
from decimal import Decimal

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.backtest.drive import drive
from cryptoquant.backtest.simulator import simulate, simulate_weights
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import DataError, SchemaError
from cryptoquant.market.instrument import Instrument
from cryptoquant.market.slice import FIELDS, Panel
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.strategy import BuyAndHold, LongFlat, MovingAverageCross
from cryptoquant.trading.venue import Costs, Venue
from tests.market_makers import HOUR, START, frame_of, gapping_panel

EXACT = Execution(reserve=0.0, band=0.0)


class Replayed:
    """A strategy that wants the weights of a table, for the differential test."""

    lookback = 1

    def __init__(self, panel: Panel, weights: np.ndarray) -> None:
        self.rows = {int(time): row for time, row in zip(panel.times, weights, strict=True)}

    def decide(self, view):
        row = self.rows[view.time]
        return {s: float(w) for s, w in zip(view.symbols, row, strict=True) if not math.isnan(w)}


@given(
    seed=st.integers(0, 10_000),
    symbols=st.integers(1, 3),
    absent=st.sampled_from([0.0, 0.2]),
    taker=st.sampled_from([0.0, 25.0, 80.0]),
    slippage=st.sampled_from([0.0, 5.0]),
    fee_asset=st.sampled_from(["received", "quote"]),
    reserve=st.sampled_from([0.0, 0.03]),
    band=st.sampled_from([0.0, 0.05]),
    continuous=st.booleans(),
    cash=st.sampled_from([15.0, 1_000.0, 2_000_000.0]),
)
def test_the_compiled_loop_and_the_event_driver_agree_to_the_last_bit(
    seed, symbols, absent, taker, slippage, fee_asset, reserve, band, continuous, cash
):
    names = tuple(f"{c}/USD" for c in "ABC"[:symbols])
    panel = gapping_panel(60, names, seed=seed, sigma=0.03, absent=absent)
    rng = np.random.default_rng(seed + 1)
    weights = rng.choice([np.nan, 0.0, 0.2, 0.5, 0.9, 1.3], size=(60, symbols), p=[0.5, 0.15, 0.1, 0.1, 0.1, 0.05])
    costs = Costs(15.0, taker, slippage, fee_asset)
    venue = Venue.research(costs) if continuous else Venue.alpaca(costs)
    plan = Execution(reserve, band)
    compiled = simulate_weights(np.ascontiguousarray(weights), panel, venue, cash, plan)
    events = drive(Engine(Replayed(panel, weights), venue, names, cash, execution=plan), panel, {})
    assert np.array_equal(compiled.equity, events.equity)
    assert np.array_equal(compiled.cash, events.cash)
    assert compiled.fills == events.fills
    assert sorted(map(repr, compiled.rejections)) == sorted(map(repr, events.rejections))
    assert compiled.orders == events.orders


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


def ten_bars(open_: list[float]) -> Panel:
    close = np.array([101, 103, 102, 99, 98, 101, 104, 103, 105, 104], dtype=float)
    values = np.zeros((10, 1, len(FIELDS)))
    values[:, 0, 0] = open_
    values[:, 0, 1] = np.maximum(open_, close) + 0.5
    values[:, 0, 2] = np.minimum(open_, close) - 0.5
    values[:, 0, 3] = close
    values[:, 0, 4] = 1.0
    times = START + 24 * HOUR * np.arange(1, 11, dtype=np.int64)
    return Panel.from_values(times, times, ("BTC/USD",), values, 24 * HOUR)


class SevenUnits:
    """Buys seven units at bars 1 and 6 and closes at bars 4 and 8, whatever the price."""

    lookback = 1

    def decide(self, view):
        row = (view.time - START) // (24 * HOUR) - 1
        price = float(view.slice.field("close")[0])
        if row in (1, 6):
            return {"BTC/USD": 7 * price / view.equity}
        return {"BTC/USD": 0.0} if row in (4, 8) else {}


@pytest.mark.parametrize(
    ("open_", "equity", "sharpe", "drawdown"),
    [
        (
            [100, 101, 103, 102, 99, 98, 101, 104, 103, 105],
            [10000, 10000, 9991.1975, 9970.1975, 9963.1975, 9961.4825, 9961.4825, 9952.6625, 9966.6625, 9964.825],
            -7.4796268126,
            -0.00473375,
        ),
        (
            [100, 101.5, 102.5, 102.25, 99.5, 97.5, 101.25, 104.5, 102.75, 104.25],
            [
                10000,
                10000,
                9994.70625,
                9973.70625,
                9966.70625,
                9961.5,
                9961.5,
                9949.17125,
                9963.17125,
                9956.096875,
            ],
            -9.1713470241,
            -0.005082875,
        ),
    ],
)
def test_ten_bars_computed_by_hand_give_this_equity(open_, equity, sharpe, drawdown):
    venue = Venue.research(Costs(0, 25.0, 0, "quote"))
    report = simulate(SevenUnits(), ten_bars(open_), venue=venue, cash=10_000, execution=EXACT)
    assert report.equity["equity"].to_list() == pytest.approx(equity, abs=1e-9)
    assert report.statistics.sharpe == pytest.approx(sharpe, rel=1e-9)
    assert report.statistics.max_drawdown == pytest.approx(drawdown, rel=1e-9)


def test_shared_cash_target_weights_equal_vectorbt():
    vectorbt = pytest.importorskip("vectorbt", reason='pip install "cryptoquant[vectorbt]" for this oracle')
    import pandas as pd

    names = tuple(f"S{i}/USD" for i in range(5))
    panel = gapping_panel(400, names, seed=3, sigma=0.01)
    weights = np.full((400, 5), np.nan)
    rng = np.random.default_rng(5)
    weights[::20] = 0.18 * (1 + 0.1 * rng.standard_normal((20, 5)))
    index = pd.date_range("2024-01-01", periods=400, freq="1h")
    size = np.full((400, 5), np.nan)
    opened = panel.field("open")
    report = simulate(
        weights, panel, venue=Venue.research(Costs(0, 25, 5, "quote")), cash=1e6, execution=EXACT, name="weights"
    )
    fills = report.fills.with_columns(row=((report.fills["time"].dt.epoch("ns") - START) // HOUR))
    for row, symbol, change in fills.select("row", "symbol", "quantity_change").iter_rows():
        size[row, names.index(symbol)] = change
    frame = {"columns": list(names), "index": index}
    oracle = vectorbt.Portfolio.from_orders(
        pd.DataFrame(panel.field("close"), **frame),
        pd.DataFrame(size, **frame),
        price=pd.DataFrame(opened, **frame),
        fees=0.0025,
        slippage=0.0005,
        init_cash=1e6,
        freq="1h",
        group_by=True,
        cash_sharing=True,
        call_seq="auto",
    )
    assert fills.height == 100
    assert report.equity["equity"].to_numpy() == pytest.approx(oracle.value().to_numpy(), rel=1e-12)
    assert report.statistics.sharpe == pytest.approx(float(oracle.sharpe_ratio(freq="1h")), rel=1e-9)
    assert report.statistics.max_drawdown == pytest.approx(float(oracle.max_drawdown()), rel=1e-9)


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


@given(seed=st.integers(0, 1000), fee=st.floats(0.1, 100))
def test_a_fee_never_raises_the_equity(seed, fee):
    panel = gapping_panel(40, seed=seed, sigma=0.02)
    weights = np.random.default_rng(seed).choice([np.nan, 0.0, 0.9], size=(40, 1))
    free = simulate(weights, panel, Costs.free())
    paid = simulate(weights, panel, Costs(0, fee))
    assert paid.equity["equity"].item(-1) <= free.equity["equity"].item(-1) + 1e-6


@given(seed=st.integers(0, 1000))
def test_fees_and_slippage_account_for_the_difference_between_cash_spent_and_coins_at_their_marks(seed):
    panel = gapping_panel(40, seed=seed, sigma=0.02)
    weights = np.random.default_rng(seed).choice([np.nan, 0.0, 0.9], size=(40, 1))
    report = simulate(weights, panel, Costs(0, 25, 5), execution=EXACT)
    closes = panel.field("close")[:, 0]
    held = cash = 0.0
    for row in report.fills.to_dicts():
        held, cash = held + row["quantity_change"], cash + row["value_change"]
    assert 100_000 + cash + held * closes[-1] == pytest.approx(report.equity["equity"].item(-1), abs=1e-4)
    assert report.fills["fee"].to_numpy() == pytest.approx(report.fills["value"].to_numpy() * 0.0025, abs=1e-5)


def test_doubling_prices_and_halving_quantities_changes_no_return():
    panel = gapping_panel(80, seed=4)
    weights = np.random.default_rng(1).choice([np.nan, 0.0, 0.9], size=(80, 1))
    values = panel.values.copy()
    values[:, :, :4] *= 2
    doubled = Panel.from_values(panel.times, panel.known, panel.symbols, values, panel.width)
    venue = Venue.research(Costs(0, 25, 5))
    one, two = (simulate(weights, p, venue=venue).equity["equity"].to_numpy() for p in (panel, doubled))
    assert one == pytest.approx(two, rel=1e-12)


def test_the_order_of_symbols_changes_nothing_when_cash_is_ample():
    panel = gapping_panel(80, ("A/USD", "B/USD"), seed=4)
    weights = np.random.default_rng(1).choice([np.nan, 0.0, 0.4], size=(80, 2))
    turned = Panel.from_values(
        panel.times, panel.known, ("B/USD", "A/USD"), np.ascontiguousarray(panel.values[:, ::-1]), HOUR
    )
    one = simulate(weights, panel, Costs.alpaca())
    two = simulate(np.ascontiguousarray(weights[:, ::-1]), turned, Costs.alpaca())
    assert one.equity["equity"].to_numpy() == pytest.approx(two.equity["equity"].to_numpy(), rel=1e-12)


def test_orders_outside_the_venues_limits_are_refused_with_a_reason():
    panel = gapping_panel(3, seed=2)
    small = simulate(np.array([[0.00005], [np.nan], [np.nan]]), panel, Costs.alpaca())
    short = simulate(np.array([[-0.5], [np.nan], [np.nan]]), panel, Costs.alpaca())
    assert small.rejections["reason"].to_list() == ["below the venue's smallest order value"]
    assert short.rejections["reason"].to_list() == ["more than is held: the venue is spot and long only"]
    assert small.fills.height == short.fills.height == 0


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


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("close", float("nan"), "not finite"),
        ("open", 0.0, "zero or negative"),
        ("low", 1e9, "high is below"),
        ("volume", -1.0, "volume"),
    ],
)
def test_impossible_bars_are_refused_with_their_place(column, value, text):
    frame = frame_of(gapping_panel(20))
    broken = frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 7).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)
    )
    with pytest.raises(SchemaError, match=text) as caught:
        simulate(np.zeros((20, 1)), broken)
    assert "BTC/USD 2024-01-01 08:00" in str(caught.value)


def test_wrong_weights_are_refused():
    panel = gapping_panel(20)
    with pytest.raises(SchemaError, match=r"shape \(21, 1\)"):
        simulate(np.zeros(21), panel)
    with pytest.raises(SchemaError, match="infinite for BTC/USD in slice 3"):
        simulate(np.array([0, 0, 0, np.inf] + [0.0] * 16), panel)
    frame = frame_of(panel).select("time", "symbol").with_columns(weight=0.5)
    assert simulate(frame, panel).fills.height == 1
    with pytest.raises(DataError, match="ETH/USD"):
        simulate(frame.with_columns(symbol=pl.lit("ETH/USD")), panel)


def test_a_continuous_instrument_trades_any_fraction_and_a_venue_one_counts_lots():
    assert Instrument("BTC/USD").lots("0.5") == 500_000_000
    assert Instrument.continuous("BTC/USD").lots("0.123456789012") == pytest.approx(0.123456789012)
    with pytest.raises(ValueError, match="not a multiple"):
        Instrument("BTC/USD").lots("0.1234567891")


def test_a_class_instead_of_a_strategy_and_a_strategy_without_its_signals_are_told_apart():
    panel = gapping_panel(5)
    with pytest.raises(TypeError, match=r"call it, MovingAverageCross\(\.\.\.\)"):
        simulate(MovingAverageCross, panel)
    with pytest.raises(ValueError, match="LongFlat reads signals"):
        simulate(LongFlat(0.6), panel)


def test_orders_are_sent_as_they_are_and_a_frame_of_orders_is_known_by_its_side():
    bars = SyntheticMarket(symbols=["BTC/USD"], days=2, timeframe="1h", seed=7).bars()
    orders = bars.head(1).select("time", "symbol", side=pl.lit("buy"), quantity=0.1)
    assert simulate(orders, bars).statistics.fills == 1
    with pytest.raises(ValueError, match="orders are sent as they are"):
        simulate(orders, bars, execution=Execution(stop_loss=0.02))
    with pytest.raises(SchemaError, match="orders: missing column quantity"):
        simulate(orders.drop("quantity"), bars)
