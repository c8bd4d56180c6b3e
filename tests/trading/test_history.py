"""The past that a strategy sees is the same however its slices came, and belongs to nobody else."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.errors import SchemaError
from cryptoquant.market.slice import FIELDS, Panel, Slice
from cryptoquant.trading.history import History
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.strategy import View
from cryptoquant.trading.venue import Venue
from tests.market_makers import gapping_panel

PAIRS = ("A/USD", "B/USD")


def copied(market: Slice) -> Slice:
    """Return the slice as the live feed makes it: an array of its own."""
    return Slice(market.time, market.known, market.symbols, market.values.copy())


@given(
    length=st.integers(1, 90),
    runs=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 250), st.integers(1, 120), st.booleans()), max_size=4),
)
def test_the_past_is_the_last_slices_however_they_came(length, runs):
    panels = [gapping_panel(400, PAIRS, seed=seed, absent=0.2) for seed in (1, 2)]
    history, fed, closes = History(length, len(PAIRS)), [], []
    book = Portfolio(PAIRS, Venue.alpaca())
    for which, start, count, is_copy in runs:
        for row in range(start, start + count):
            market = panels[which][row]
            history.append(copied(market) if is_copy else market)
            fed.append(market.values)
            closes.append(market.time)
        view = View(panels[which][start + count - 1], history, {}, book)
        wanted = np.array(fed[-length:])
        assert view.times().tolist() == closes[-length:]
        assert view.times(3).tolist() == closes[-length:][-3:]
        assert not view.times().flags.writeable
        for place, symbol in enumerate(PAIRS):
            for number, field in enumerate(FIELDS):
                found = view.history(symbol, field)
                assert np.array_equal(found, wanted[:, place, number], equal_nan=True)
                assert np.array_equal(view.history(symbol, field, 3), found[-3:], equal_nan=True)


def test_a_row_of_the_first_panel_after_copies_is_copied_too():
    panel, history, book = gapping_panel(40, PAIRS, seed=1), History(4, 2), Portfolio(PAIRS, Venue.alpaca())
    history.append(panel[0])
    for row in range(20, 25):
        history.append(copied(panel[row]))
    row = history.stop
    history.append(panel[row])
    view = View(panel[row], history, {}, book)
    assert view.history("B/USD").tolist() == [panel[n].field("close")[1] for n in (22, 23, 24, row)]


def test_a_view_of_yesterday_does_not_change_when_the_buffer_is_full():
    panel = gapping_panel(300, PAIRS, seed=1)
    history, book = History(5, 2), Portfolio(PAIRS, Venue.alpaca())
    for market in list(panel)[:60]:
        history.append(copied(market))
    view = View(panel[59], history, {}, book)
    before, times = view.history("A/USD").copy(), view.times().tolist()
    for market in list(panel)[60:]:
        history.append(copied(market))
    assert np.array_equal(view.history("A/USD"), before)
    assert view.times().tolist() == times == panel.times[55:60].tolist()


def test_a_panel_is_read_only_and_does_not_freeze_the_arrays_it_was_made_of():
    columns = {name: np.ones((3, 1)) for name in FIELDS}
    times = np.arange(3, dtype=np.int64)
    panel = Panel(times, times, ("A/USD",), columns)
    columns["close"][0] = 2.0
    for same in (panel, pickle.loads(pickle.dumps(panel)), copy.deepcopy(panel)):
        assert same.field("close")[0, 0] == 2.0
        with pytest.raises(ValueError, match="read-only"):
            same.field("close")[0] = 3.0


def test_columns_of_another_shape_are_refused_by_name():
    columns = {name: np.ones((3, 1)) for name in FIELDS} | {"low": np.ones((3, 2))}
    times = np.arange(3, dtype=np.int64)
    with pytest.raises(SchemaError, match=r"low has shape \(3, 2\), wanted \(3, 1\)"):
        Panel(times, times, ("A/USD",), columns)


@given(st.integers(1, 8), st.integers(0, 1000))
def test_few_and_many_symbols_are_added_up_to_the_same_bits(count, seed):
    rng = np.random.default_rng(seed)
    names = tuple(f"S{index}/USD" for index in range(12))
    few, many = (Portfolio(names[:size], Venue.alpaca(), 1000.0) for size in (count, 12))
    lots, marks = np.floor(rng.lognormal(20, 3, count)), rng.lognormal(0, 5, count)
    few.lots[:] = lots
    few.mark(marks)
    many.lots[:count] = lots
    many.mark(np.concatenate([marks, np.full(12 - count, np.nan)]))
    assert few.equity == many.equity
