"""Closed trades: the compiled pass against a plain one, and by hand."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.performance.round_trips import Trades, closed_trades, round_trips
from tests.performance.reports import fills_of

SHARE = 1e-9


def by_hand(facts):
    """Yield the trades of fills (symbol, time, quantity, value) from a book of lists, one symbol after the other."""
    trades = []
    for symbol in sorted({fact[0] for fact in facts}):
        held, spent, since = 0.0, 0.0, None
        for place, (_, time, quantity, value) in enumerate(facts):
            if facts[place][0] != symbol:
                continue
            if held == 0.0 or quantity == 0.0 or (held > 0.0) == (quantity > 0.0):
                since = time if held == 0.0 else since
                held, spent = held + quantity, spent + value
                continue
            part = abs(quantity) / abs(held)
            left = held + quantity
            if abs(left) <= SHARE * abs(held):
                part, ends = min(1.0, part), True
            else:
                ends = part > 1.0
            cost, got = spent * min(1.0, part), value * min(1.0, abs(held) / abs(quantity))
            size = min(abs(held), abs(quantity)) * (1 if held > 0 else -1)
            trades.append((place, symbol, since, time, size, cost + got, ends))
            if abs(left) <= SHARE * abs(held):
                held, spent = 0.0, 0.0
            elif ends:
                held, spent, since = left, value - got, time
            else:
                held, spent = left, spent - cost
    return [trade[1:] for trade in sorted(trades)]


fact = st.tuples(
    st.integers(0, 2),
    st.sampled_from([1.0, -1.0, 0.5, -0.5, 0.1, -0.1, 0.3, -0.3, 0.0]) | st.floats(-3, 3),
    st.floats(1, 100),
)


@settings(deadline=None)
@given(st.lists(fact, max_size=40))
def test_the_compiled_pass_agrees_with_the_plain_one(rows):
    facts = [(symbol, hour, quantity, -quantity * price - 0.01) for hour, (symbol, quantity, price) in enumerate(rows)]
    columns = [np.array(column) for column in zip(*facts, strict=True)] or [np.empty(0)] * 4
    kinds = (np.int64, np.int64, np.float64, np.float64)
    found = Trades(*closed_trades(*(np.ascontiguousarray(c, dtype=k) for c, k in zip(columns, kinds, strict=True))))
    wanted = by_hand(facts)
    assert list(zip(found.symbol, found.opened, found.closed, found.is_final, strict=True)) == [
        (symbol, opened, closed, ends) for symbol, opened, closed, _, _, ends in wanted
    ]
    assert found.quantity == pytest.approx([trade[3] for trade in wanted])
    assert found.profit == pytest.approx([trade[4] for trade in wanted], rel=1e-9, abs=1e-9)


def test_the_sides_of_trades_are_those_of_their_positions():
    fills = fills_of([(0, "ETH/USD", -1.0, 100.0), (1, "BTC/USD", 1.0, 50.0), (2, "BTC/USD", -2.0, 60.0)])
    more = fills_of([(3, "ETH/USD", 1.0, 90.0), (3, "BTC/USD", 1.0, 70.0)])
    trades = round_trips(pl.concat([fills, more]))
    assert trades["symbol"].to_list() == ["BTC/USD", "BTC/USD", "ETH/USD"]
    assert trades["side"].to_list() == ["long", "short", "short"]
    assert trades["quantity"].to_list() == [1.0, 1.0, 1.0]
    assert trades["profit"].to_list() == pytest.approx([10.0, -10.0, 10.0])
    assert trades["return"].to_list() == pytest.approx([0.2, -10 / 60, 0.1])


def test_no_fills_are_no_trades():
    trades = round_trips(fills_of([]))
    assert trades.height == 0
    assert trades.schema["opened"] == fills_of([]).schema["time"]


def test_a_return_on_nothing_spent_is_not_defined():
    fills = fills_of([(0, "BTC/USD", 1.0, 0.0), (1, "BTC/USD", -1.0, 5.0)])
    assert np.isnan(round_trips(fills)["return"].item())


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(1, 100)), min_size=1, max_size=40))
def test_profits_of_trades_and_the_open_position_add_up_to_the_cash(rows):
    rows = [(quantity, price) for quantity, price in rows if abs(quantity) > 1e-3]
    held = sum(quantity for quantity, _ in rows)
    rows.append((-held, 50.0))
    fills = fills_of([(hour, "BTC/USD", quantity, price) for hour, (quantity, price) in enumerate(rows) if quantity])
    profit = round_trips(fills)["profit"].sum()
    assert profit == pytest.approx(fills["value_change"].sum(), abs=1e-6)


def test_partial_closes_are_trades_at_average_cost():
    fills = fills_of(
        [
            (0, "BTC/USD", 1.0, 100.0),
            (1, "BTC/USD", 1.0, 200.0),
            (2, "BTC/USD", -0.5, 180.0),
            (3, "BTC/USD", -1.5, 140.0),
        ]
    )
    trades = round_trips(fills)
    assert trades["quantity"].to_list() == [0.5, 1.5]
    assert trades["is_final"].to_list() == [False, True]
    assert trades["profit"].to_list() == pytest.approx([0.5 * 30, 1.5 * -10])
    assert trades["return"].to_list() == pytest.approx([0.2, -10 / 150])
    assert trades["opened"].to_list() == [fills["time"][0]] * 2
    assert trades["closed"].to_list() == fills["time"][2:].to_list()


def test_a_fill_through_zero_closes_and_opens_the_opposite():
    fills = fills_of([(0, "BTC/USD", 1.0, 100.0), (1, "BTC/USD", -3.0, 120.0), (2, "BTC/USD", 2.0, 90.0)], fee=0.01)
    trades = round_trips(fills)
    assert trades["quantity"].to_list() == [1.0, 2.0]
    assert trades["is_final"].to_list() == [True, True]
    assert trades["profit"].to_list() == pytest.approx([118.8 - 101.0, 2 * 118.8 - 2 * 90.9])
    assert trades["opened"].to_list() == fills["time"][:2].to_list()


def test_symbols_are_apart_and_dust_of_a_large_position_is_not_a_position():
    held = 3 * 333_333_333.1
    fills = fills_of(
        [
            *((hour, "SHIB/USD", 333_333_333.1, 1e-5) for hour in range(3)),
            (1, "ETH/USD", 1.0, 10.0),
            (4, "SHIB/USD", -(held - 1e-6), 2e-5),
            (5, "SHIB/USD", 1_000.0, 1e-5),
            (6, "SHIB/USD", -1_000.0, 1e-5),
        ]
    )
    trades = round_trips(fills)
    assert trades.height == 2
    assert trades["opened"].to_list() == [fills["time"][0], fills["time"][5]]


@pytest.mark.parametrize("parts", [(0.1, 0.1, 0.1, -0.3), (0.1, 0.7, -0.8)])
def test_rounding_on_either_side_of_zero_opens_no_phantom_position(parts):
    assert sum(parts) != 0
    twice = [*parts, 1.0, -1.0]
    trades = round_trips(fills_of([(hour, "BTC/USD", part, 100.0) for hour, part in enumerate(twice)]))
    assert trades["quantity"].to_list() == pytest.approx([-parts[-1], 1.0])


def test_round_trips_agree_with_vectorbt_exit_trades():
    vectorbt = pytest.importorskip("vectorbt")
    rng = np.random.default_rng(3)
    price = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(200)))
    size = np.where(np.arange(200) % 7 == 0, 1.0, np.where(np.arange(200) % 7 == 3, -0.4, np.nan))
    theirs = vectorbt.Portfolio.from_orders(price, size, fees=0.0025, init_cash=1e6, freq="1h").exit_trades
    rows = [(hour, "BTC/USD", float(size[hour]), float(price[hour])) for hour in np.flatnonzero(~np.isnan(size))]
    closed = theirs.records[theirs.records["status"] == 1]
    ours = round_trips(fills_of(rows, fee=0.0025))
    assert ours["profit"].to_numpy() == pytest.approx(closed["pnl"].to_numpy())
