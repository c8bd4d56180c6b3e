"""What the simulator does not take: each refusal names the place, what was found and what was wanted."""

import re

import numpy as np
import polars as pl
import pytest

from cryptoquant.backtest.simulator import simulate
from cryptoquant.errors import DataError, SchemaError
from cryptoquant.market.slice import Panel
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.order import Cancel, Order, Protection
from cryptoquant.trading.strategy import LongFlat, MovingAverageCross
from cryptoquant.trading.venue import Costs, Venue
from tests.market_makers import HOUR, START, frame_of, gapping_panel

PANEL = gapping_panel(20, ("BTC/USD", "ETH/USD"), seed=1)
ONE = gapping_panel(20)
NAN, INF = float("nan"), float("inf")


def refused(what, market=PANEL, kind=SchemaError, text="", **more):
    with pytest.raises(kind, match=text):
        simulate(what, market, **more)


def changed(frame: pl.DataFrame, row: int, **values: object) -> pl.DataFrame:
    """The frame with some values of one row replaced."""
    at = pl.int_range(pl.len()) == row
    return frame.with_columns(pl.when(at).then(pl.lit(v)).otherwise(pl.col(n)).alias(n) for n, v in values.items())


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"close": NAN}, "not finite"),
        ({"open": INF}, "not finite"),
        ({"open": 0.0}, "zero or negative"),
        ({"low": -1.0}, "zero or negative"),
        ({"low": 1e9}, "high is below"),
        ({"high": 1e-9}, "high is below"),
        ({"open": 1e9}, "high is below"),
        ({"close": 1e-9}, "low is above"),
        ({"volume": -1.0}, "volume"),
        ({"volume": NAN}, "volume"),
    ],
)
def test_impossible_bars_are_refused_with_their_place(values, text):
    broken = changed(frame_of(ONE), 7, **values)
    with pytest.raises(SchemaError, match=text) as caught:
        simulate(np.zeros((20, 1)), broken)
    assert "BTC/USD 2024-01-01 08:00" in str(caught.value)


def test_a_frame_whose_times_do_not_rise_or_are_naive_or_of_two_timeframes_is_refused():
    frame, weights = frame_of(ONE), np.zeros((20, 1))
    refused(weights, frame.reverse(), text="BTC/USD 2024-01-01 19:00:00.*times out of order")
    refused(weights, pl.concat([frame[:8], frame[7:]]), text="BTC/USD 2024-01-01 08:00:00.*duplicate time")
    refused(weights, frame.with_columns(pl.col("time").dt.replace_time_zone(None)), text="time is a naive datetime")
    late = pl.when(pl.int_range(pl.len()) > 9).then(pl.duration(minutes=30)).otherwise(pl.duration(minutes=0))
    half = frame.with_columns(open_time=pl.col("open_time") + late)
    refused(weights, half, text="mixed timeframes")
    refused(weights, frame.drop("high"), text="missing column high")
    refused(weights, changed(frame, 3, close=None), text="column close is null in row 3")


def test_a_market_without_bars_is_refused():
    refused(np.zeros((0, 1)), frame_of(ONE).clear(), DataError, "no rows for any symbol")
    refused(np.zeros((0, 2)), PANEL.between(0, 1), DataError, "0 slices of 2 symbols")
    refused(np.zeros((20, 1)), None, TypeError, "wanted a polars or pandas frame or an Arrow table, found NoneType")


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"times": PANEL.times[:19]}, "20 moments at which slices were known, wanted 19"),
        ({"times": PANEL.times[::-1]}, r"slice 1 closes at 2024-01-01T19:00:00.*, not after the one before it"),
        ({"times": np.r_[PANEL.times[:5], PANEL.times[4:-1]]}, "slice 5 closes at 2024-01-01T05:00:00"),
        ({"symbols": ("A/USD",)}, r"open has shape \(20, 2\), wanted \(20, 1\)"),
        ({"symbols": ("A/USD", "A/USD")}, "a symbol is there twice"),
        ({"columns": {"open": PANEL.field("open")}}, "column close is missing; found open"),
        ({"width": -1}, "width of a bar is -1 ns"),
    ],
)
def test_a_panel_of_wrong_shape_cannot_be_made(part, text):
    names = ("times", "known", "symbols", "columns", "width")
    with pytest.raises(SchemaError, match=text):
        Panel(**{name: getattr(PANEL, name) for name in names} | part)


@pytest.mark.parametrize(
    ("name", "value"),
    [("open", NAN), ("open", 1e9), ("high", INF), ("high", 1.0), ("low", 0.0), ("low", 1e9), ("close", -1.0)],
)
def test_a_panel_of_impossible_bars_is_not_traded(name, value):
    broken = PANEL.field(name).copy()
    broken[9, 1] = value
    panel = Panel(PANEL.times, PANEL.known, PANEL.symbols, {**PANEL.columns, name: broken}, PANEL.width)
    refused(np.zeros((20, 2)), panel, text=rf"panel: ETH/USD 2024-01-01T10:00:00.*{name} {value}".replace("+", r"\+"))


def test_a_panel_lays_its_columns_out_as_the_kernels_read_them():
    columns = {name: np.asfortranarray(column.astype(np.float32)) for name, column in PANEL.columns.items()}
    turned = Panel(PANEL.times, PANEL.known, PANEL.symbols, columns, PANEL.width)
    assert all(column.flags.c_contiguous and column.dtype == np.float64 for column in turned.columns.values())


@pytest.mark.parametrize("cash", [0.0, -5.0, NAN, INF])
def test_an_account_needs_cash(cash):
    refused(np.zeros((20, 2)), kind=ValueError, text=f"cash must be above zero and finite, found {cash}", cash=cash)


def test_costs_are_given_once():
    refused(np.zeros((20, 2)), kind=ValueError, text="given twice", costs=Costs(1, 2), venue=Venue.research())


def test_an_array_of_weights_fits_the_market():
    refused(np.zeros(20), text=r"weights of shape \(20, 1\), the market has \(20, 2\)")
    refused(np.zeros((21, 2)), text=r"shape \(21, 2\)")
    refused(np.zeros((19, 2)), text=r"shape \(19, 2\)")
    refused(np.zeros((20, 2, 1)), text=r"shape \(20, 2, 1\)")
    refused([[0.0, 0.0], [0.0]], text="no array of numbers")
    refused(np.full((20, 2), "half"), text="no array of numbers")
    wrong = np.zeros((20, 2))
    wrong[3, 1] = INF
    refused(wrong, text="infinite for ETH/USD in slice 3")


def wanted(**values: object) -> pl.DataFrame:
    """Four weights, with some columns replaced."""
    times = pl.from_epoch(pl.Series([START + HOUR * row for row in (1, 1, 5, 5)]), "ns").dt.replace_time_zone("UTC")
    rows = {"time": times, "symbol": ["BTC/USD", "ETH/USD"] * 2, "weight": [0.4, 0.4, 0.0, 0.2]}
    return pl.DataFrame(rows | values)


def test_a_frame_of_weights_fits_the_market():
    assert simulate(wanted(), PANEL, venue=Venue.research()).fills.height == 4
    refused(wanted(symbol=["BTC/USD"] * 4), text="weights: BTC/USD 2024-01-01 01:00:00.*given twice")
    refused(wanted(symbol=["BTC/USD", "XRP/USD"] * 2), kind=DataError, text=r"XRP/USD not in the market \(BTC/USD, ETH")
    refused(wanted(symbol=["BTC/USD", None] * 2), kind=DataError, text="None not in the market")
    refused(wanted(weight=[0.1, INF, 0.0, 0.0]), text="infinite for ETH/USD in slice 0")
    refused(wanted(weight=["much", "none"] * 2), text="column weight is String, wanted numbers")
    refused(wanted().drop("weight"), text="missing column weight; found time, symbol")
    refused(wanted().with_columns(pl.col("time").dt.replace_time_zone(None)), text="weights: column time is a naive")
    refused(wanted().with_columns(pl.col("time").cast(pl.Int64)), text="weights: column time is Int64")
    refused(wanted().with_columns(pl.col("time").dt.offset_by("1m")), text="no slice closes at 2024-01-01 01:01:00")
    refused(changed(wanted(), 2, time=None), text="weights: column time is null in row 2")


def test_a_weight_beyond_what_the_venue_allows_is_refused_and_recorded_and_never_cut_down():
    weights = np.full((20, 2), np.nan)
    weights[2] = 1.5, -0.5
    report = simulate(weights, PANEL)
    assert report.fills.height == 0
    assert set(report.rejections["reason"]) == {
        "insufficient cash",
        "more than is held: the venue is spot and long only",
    }


def asked(**values: object) -> pl.DataFrame:
    """Two orders, with some columns replaced or added."""
    times = pl.from_epoch(pl.Series([START + HOUR, START + 5 * HOUR]), "ns").dt.replace_time_zone("UTC")
    rows = {"time": times, "symbol": ["BTC/USD", "ETH/USD"], "side": ["buy", "buy"], "quantity": [1.0, 2.0]}
    return pl.DataFrame(rows | values)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"type": "iceberg"}, "type must be one of .*found iceberg"),
        ({"side": "hold"}, "side must be one of buy, sell, found hold"),
        ({"side": [None, "buy"]}, "side must be one of buy, sell, found None"),
        ({"time_in_force": "day"}, "time_in_force must be one of .*found day"),
        ({"quantity": [1.0, 0.0]}, "row 1: quantity must be above zero and finite, found 0.0"),
        ({"quantity": [1.0, -1.0]}, "row 1: quantity"),
        ({"quantity": [1.0, NAN]}, "row 1: quantity"),
        ({"quantity": [1.0, None]}, "row 1: quantity"),
        ({"quantity": [1.0, INF]}, "row 1: quantity must be above zero and finite, found inf"),
        ({"quantity": [1.0, 1.00000000055]}, r"row 1: quantity 1.00000000055 is not a multiple of 1e-09 \(ETH/USD\)"),
        ({"quantity": [1.0, 1e-16]}, "row 1: quantity 1e-16 is not a multiple"),
        ({"type": "limit"}, "row 0: a limit order of BTC/USD needs limit above zero"),
        ({"type": "limit", "limit": [1.0, NAN]}, "row 1: a limit order of ETH/USD needs limit above zero"),
        ({"type": "limit", "limit": [1.0, -1.0]}, "row 1: a limit order of ETH/USD needs limit above zero"),
        ({"type": "limit", "limit": [1.0, INF]}, "row 1: a price must be above zero and finite, found limit inf"),
        ({"type": "stop_limit", "limit": 1.0}, "row 0: a stop_limit order of BTC/USD needs stop above zero"),
        ({"type": "trailing_stop", "trail": 0.0}, "needs trail above zero"),
        ({"type": "trailing_stop", "trail": 1.5}, "row 0: trail must lie between 0 and 1, found 1.5"),
        ({"time_in_force": "gtt"}, "row 0: time_in_force gtt needs expires"),
        ({"group": "g"}, "group 'g' holds several symbols"),
        ({"id": "a"}, "id 'a' is given twice"),
        ({"id": ["a", None]}, "row 1: id is null"),
        ({"type": "cancel"}, "row 0: a cancel names an order in replaces"),
        ({"id": ["a", "b"], "replaces": [None, "c"]}, "replaces names c, which is no id of this table"),
        ({"id": ["a", "b"], "replaces": ["b", None]}, "row 0 replaces row 1, wanted one that comes before it"),
        ({"id": ["a", "b"], "replaces": [None, "b"]}, "row 1 replaces row 1, wanted one that comes before it"),
        ({"stop_loss": 1.0}, "row 0: an exit is a fraction or a price above zero"),
        ({"take_profit": [0.1, -0.1]}, "row 1: an exit"),
        ({"target_price": [1.0, INF]}, "row 1: an exit"),
        ({"stop_loss": 0.1, "stop_price": [None, 5.0]}, "row 1: stop_loss and stop_price say the same thing"),
        ({"take_profit": 0.1, "target_price": 5.0}, "row 0: take_profit and target_price say the same thing"),
        ({"colour": "red"}, "unknown column colour"),
    ],
)
def test_impossible_orders_are_refused_with_their_row(values, text):
    columns = {name: value if isinstance(value, list) else [value] * 2 for name, value in values.items()}
    refused(asked(**columns), text=f"orders: .*{text}")


def test_orders_come_at_a_close_of_the_market_and_for_its_symbols():
    refused(asked(symbol=["BTC/USD", "XRP/USD"]), kind=DataError, text="XRP/USD not in the market")
    refused(asked().drop("quantity"), text="orders: missing column quantity")
    refused(asked().with_columns(pl.col("time").dt.offset_by("1m")), text="no slice closes at 2024-01-01 01:01:00")
    refused(asked().with_columns(pl.col("time").dt.replace_time_zone(None)), text="orders: column time is a naive")
    naive = asked(time_in_force=["gtt"] * 2).with_columns(expires=pl.col("time").dt.replace_time_zone(None))
    refused(naive, text="orders: column expires is a naive datetime")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"side": "hold"}, "side must be one of"),
        ({"type": "iceberg"}, "type must be one of"),
        ({"lots": 0.0}, "quantity must be above zero"),
        ({"lots": 1.5}, "is not a multiple"),
        ({"type": "limit"}, "needs limit above zero"),
        ({"time": START + 1}, "no slice closes at"),
        ({"time_in_force": "gtt"}, "gtt needs expires"),
        ({"replaces": "nobody"}, "replaces names nobody"),
    ],
)
def test_impossible_order_objects_are_refused_too(change, text):
    fields = {"side": "buy", "lots": 1e9, "time": START + HOUR} | change
    refused([Order("a", "main", "BTC/USD", **fields)], text=re.escape(text))


def test_a_list_of_orders_holds_nothing_else_and_an_empty_one_is_no_orders():
    order = Order("a", "main", "BTC/USD", "buy", 1e9, START + HOUR)
    cancel = Cancel("a", "main", "BTC/USD", START + HOUR)
    refused([order, cancel], kind=TypeError, text="place 1: wanted an Order, found Cancel")
    for nothing in ([], asked().clear()):
        report = simulate(nothing, PANEL)
        assert report.fills.height == report.rejections.height == 0
        assert set(report.equity["equity"]) == {100_000.0}


@pytest.mark.parametrize(
    "guard",
    [
        {"stop_loss": 0.0},
        {"stop_loss": 1.0},
        {"take_profit": -0.1},
        {"trailing": NAN},
        {"stop_price": INF},
        {"target_price": 0.0},
        {"stop_loss": 0.1, "stop_price": 5.0},
        {"take_profit": 0.1, "target_price": 5.0},
    ],
)
def test_an_impossible_protection_cannot_be_made(guard):
    with pytest.raises(ValueError, match=r"must be|say the same"):
        Protection(**guard)


def test_an_argument_that_would_have_no_effect_is_refused():
    refused(asked(), kind=ValueError, text="execution goes with weights and strategies", execution=Execution())
    refused(np.zeros((20, 2)), kind=ValueError, text="signals and limits go with a strategy", signals=asked())


def signals(**values: object) -> pl.DataFrame:
    rows = {"name": "s", "symbol": "BTC/USD", "kind": "direction", "value": 1.0}
    table = asked().select("time").with_columns(known=pl.col("time"), horizon=pl.duration(hours=1))
    return table.with_columns(**{name: pl.lit(value) for name, value in (rows | values).items()})


def test_signals_are_of_the_markets_symbols_and_slices():
    rule = LongFlat(0.6)
    simulate(rule, PANEL, signals=signals())
    refused(rule, kind=DataError, text="signals: XRP/USD not in the market", signals=signals(symbol="XRP/USD"))
    late = signals().with_columns(time=pl.col("time").dt.offset_by("1y"), known=pl.col("known").dt.offset_by("1y"))
    refused(rule, kind=DataError, text="signals: none is of a slice of the market", signals=late)


def test_a_class_instead_of_a_strategy_and_a_strategy_without_its_signals_are_told_apart():
    refused(MovingAverageCross, kind=TypeError, text=r"call it, MovingAverageCross\(\.\.\.\)")
    refused(LongFlat(0.6), kind=ValueError, text="LongFlat reads signals")
    refused(None, kind=TypeError, text="found NoneType")
