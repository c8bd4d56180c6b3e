"""Features of ticks see what was known at the slice and no more; their present is their history to the bit."""

import pickle
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryptoquant import features as f
from cryptoquant.compiled import borrowing
from cryptoquant.errors import DataError, LeakageError, SchemaError
from cryptoquant.features.gate import check_online, check_ticks
from cryptoquant.features.ticks import BID_SIZES, BIDS, KIND, KNOWN, PRICE, QUOTE, SIDE, SIZE, TRADE, Source
from cryptoquant.market.book import book_rows
from cryptoquant.market.schema import BookUpdate, Quote, Trade
from cryptoquant.market.slice import Floats, Panel
from tests.market_makers import HOUR, START, frame_of, gapping_panel

SYMBOLS = ("A/USD", "B/USD")
INSTANTS = ("time", "known")


@borrowing
def tally_step(state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats) -> None:
    """Write trades and quotes so far, their signed volume, the last price or bid, and its age."""
    first, last = span
    for place in range(first, last):
        if events[KIND, place] == TRADE:
            state[0] += 1.0
            state[2] += events[SIZE, place] * events[SIDE, place]
        else:
            state[1] += 1.0
        state[3] = events[PRICE, place]
        state[4] = events[KNOWN, place]
    for column in range(4):
        out[column] = state[column]
    out[4] = now - state[4]


@borrowing
def best_bid_step(
    state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats
) -> None:
    """Write the best bid, its size and that of the second."""
    first, last = span
    if last > first:
        for column in range(2):
            state[column] = events[BIDS + BID_SIZES * column - column * BIDS, last - 1]
        state[2] = events[BID_SIZES + 1, last - 1]
    for column in range(3):
        out[column] = state[column]


def tally(reads: tuple[str, ...] = ("trades", "quotes")) -> f.TickFeature:
    outputs = ("trades", "quotes", "signed", "last", "age")
    return tick_feature("tally", tally_step, "ticks", reads, outputs, 5)


def best_bid() -> f.TickFeature:
    return tick_feature("best_bid", best_bid_step, "books", ("books",), ("bid", "bid_size", "next_size"), 3)


def tick_feature(
    name: str, step: object, source: Source, reads: tuple[str, ...], outputs: tuple[str, ...], size: int
) -> f.TickFeature:
    return f.TickFeature(
        name=name,
        step=step,  # type: ignore[arg-type]
        parameters=(),
        settings=(),
        source=source,
        reads=reads,
        outputs=outputs,
        memory="cumulative",
        state_size=size,
    )


def panel_of(slices: int, *, absent: float = 0.0, late: int = 0) -> Panel:
    hourly = gapping_panel(slices, SYMBOLS, absent=absent)
    return Panel.from_values(hourly.times, hourly.times + late, SYMBOLS, hourly.values, HOUR)


def ticks_of(count: int, slices: int, seed: int) -> f.Ticks:
    rng = np.random.default_rng(seed)
    times = np.sort(START + rng.integers(0, (slices + 1) * HOUR, count))
    times[rng.random(count) < 0.2] = START + HOUR * rng.integers(1, slices + 1)
    times = np.sort(times)
    frame = pl.DataFrame(
        {
            "symbol": rng.choice(SYMBOLS, count),
            "time": times,
            "known": times,
            "price": rng.lognormal(4, 0.1, count),
            "size": rng.lognormal(0, 1, count),
        }
    ).with_columns(pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in INSTANTS)
    is_trade = pl.Series(rng.random(count) < 0.5)
    sides = pl.Series("taker_side", rng.choice(["B", "S", ""], count))
    trades = frame.with_columns(sides, id=pl.int_range(pl.len())).filter(is_trade)
    quotes = frame.rename({"price": "bid_price", "size": "bid_size"}).with_columns(
        ask_price=pl.col("bid_price") * 1.001, ask_size=pl.col("bid_size")
    )
    return f.Ticks(trades=trades, quotes=quotes.filter(~is_trade))


def naive(panel: Panel, ticks: f.Ticks) -> NDArray[np.float64]:
    out = np.full((len(panel), len(SYMBOLS), 5), np.nan)
    for row, moment in enumerate(panel.known):
        for place, symbol in enumerate(SYMBOLS):
            if np.isnan(panel.field("close")[row, place]):
                continue
            past = [event for event in ticks.events() if event.symbol == symbol and event.known <= moment]
            trades = [event for event in past if isinstance(event, Trade)]
            quotes = [event for event in past if isinstance(event, Quote)]
            sign = {"B": 1.0, "S": -1.0, "": 0.0}
            signed = 0.0
            for trade in trades:
                signed += trade.size * sign[trade.taker_side]
            last, stamp = 0.0, 0.0
            if past:
                end = max(past, key=lambda event: (event.known, isinstance(event, Quote)))
                same = [event for event in past if event.known == end.known and type(event) is type(end)]
                last = same[-1].price if isinstance(same[-1], Trade) else same[-1].bid_price  # type: ignore[union-attr]
                stamp = end.known / 1e9
            out[row, place] = len(trades), len(quotes), signed, last, moment / 1e9 - stamp
    return out


@given(seed=st.integers(0, 30), absent=st.sampled_from([0.0, 0.3]), late=st.sampled_from([0, 60_000_000_000]))
def test_a_slice_sees_what_was_known_then_and_the_present_is_history(seed: int, absent: float, late: int) -> None:
    panel, ticks = panel_of(9, absent=absent, late=late), ticks_of(60, 9, seed)
    features = f.FeatureSet([f.roc(1), tally()])
    history = features.compute_panel(panel, ticks)
    np.testing.assert_array_equal(history[..., 1:], naive(panel, ticks))
    online = features.online(SYMBOLS)
    events = ticks.events()
    for row, slice in enumerate(panel):
        # The first of two halves arrives before the memory is saved, and both before the slice.
        due = [event for event in events if event.known <= slice.known]
        events = events[len(due) :]
        for number, event in enumerate(due):
            if number == len(due) // 2:
                memory = online.state()
                online = features.online(SYMBOLS)
                online.restore(memory)
            online.observe(event)
        online.peek(slice)
        np.testing.assert_array_equal(online.update(slice), history[row])
    warm = features.online(SYMBOLS)
    warm.warm(panel.between(0, int(panel.times[4])), ticks)
    for event in ticks.events():
        if panel.known[4] < event.known <= panel.known[5]:
            warm.observe(event)
    np.testing.assert_array_equal(warm.update(panel[5]), history[5])


def test_what_is_known_after_the_slice_waits_for_the_next() -> None:
    features, panel = f.FeatureSet([tally(("trades",))]), panel_of(2)
    online = features.online(SYMBOLS)
    online.observe(Trade("A/USD", START, int(panel.known[0]) + 1, 1, 100.0, 2.0, "B"))
    online.observe(Trade("Z/USD", START, START, 1, 100.0, 2.0, "B"))
    online.observe(Trade("A/USD", START, START, 1, float("nan"), 2.0, "B"))
    assert online.update(panel[0])[:, 0].tolist() == [0.0, 0.0]
    assert online.update(panel[1])[:, :4].tolist() == [[1.0, 0.0, 2.0, 100.0], [0.0, 0.0, 0.0, 0.0]]


def test_books_are_rebuilt_level_by_level() -> None:
    minute = HOUR // 60
    updates = [
        BookUpdate("A/USD", START + 1 * minute, START + 1 * minute, ((99.0, 1.0),), ()),
        BookUpdate("A/USD", START + 2 * minute, START + 2 * minute, ((100.0, 2.0), (99.0, 3.0)), ((101.0, 1.0),), True),
        BookUpdate("A/USD", START + 70 * minute, START + 70 * minute, ((100.0, 0.0), (98.0, 5.0)), ()),
    ]
    features, panel = f.FeatureSet([best_bid(), tally(("trades",))]), panel_of(2)
    trades = ticks_of(20, 2, 1).trades
    history = features.compute_panel(panel, f.Ticks(trades=trades, books=book_rows(updates)))
    assert history[:, 0, :3].tolist() == [[100.0, 2.0, 3.0], [99.0, 3.0, 5.0]]
    online = features.online(SYMBOLS)
    for update in updates[:2]:
        online.observe(update)
    assert online.update(panel[0])[0, :3].tolist() == [100.0, 2.0, 3.0]
    online.observe(updates[2])
    assert online.update(panel[1])[0, :3].tolist() == [99.0, 3.0, 5.0]


def changes_of(rng: np.random.Generator, slices: int) -> list[BookUpdate]:
    """Return a reset for each symbol and single levels after it, in an order of arrival that is not that of time."""
    stamps = START + np.sort(rng.integers(1, slices * HOUR, 60))
    updates = []
    for number, stamp in enumerate(stamps.tolist()):
        symbol = SYMBOLS[number % 2]
        level = ((float(90 + rng.integers(0, 9)), float(rng.integers(0, 5))),)
        updates.append(BookUpdate(symbol, stamp, stamp, level, ((101.0, 2.0),), number < 2))
    return updates


def test_a_book_of_single_changes_is_the_same_in_history_and_in_every_copy_of_the_present() -> None:
    updates, panel = changes_of(np.random.default_rng(4), 9), panel_of(9)
    features = f.FeatureSet([best_bid()])
    books = book_rows(updates)
    history = features.compute_panel(panel, f.Ticks(books=books))
    shuffled = book_rows([*updates[30:], *updates[:30]])
    np.testing.assert_array_equal(features.compute_panel(panel, f.Ticks(books=shuffled)), history)
    check_ticks(features, panel, f.Ticks(books=books))
    check_online(features, panel, f.Ticks(books=books))
    online = features.online(SYMBOLS)
    online.warm(panel.between(0, int(panel.times[2])), f.Ticks(books=books))
    online.warm(panel.between(int(panel.times[2]), int(panel.times[4])), f.Ticks(books=books))
    copies = [online, online.copy(), pickle.loads(pickle.dumps(online))]
    for row in range(5, 9):
        for other in copies:
            for update in updates:
                if panel.known[row - 1] < update.known <= panel.known[row]:
                    other.observe(update)
            np.testing.assert_array_equal(other.update(panel[row]), history[row])


def test_a_history_taken_in_two_parts_counts_no_tick_twice_and_one_refused_counts_none() -> None:
    panel, ticks = panel_of(9), ticks_of(80, 9, 2)
    features = f.FeatureSet([f.obv(), tally()])
    history = features.compute_panel(panel, ticks)
    online = features.online(SYMBOLS)
    with pytest.raises(DataError, match="reads"):
        online.warm(panel.between(0, int(panel.times[2])))
    online.warm(panel.between(0, int(panel.times[2])), ticks)
    online.warm(panel.between(int(panel.times[2]), int(panel.times[5])), ticks)
    for event in ticks.events():
        if panel.known[5] < event.known <= panel.known[6]:
            online.observe(event)
    np.testing.assert_array_equal(online.update(panel[6]), history[6])


def test_a_row_is_known_when_all_that_it_saw_was_known() -> None:
    panel, ticks = panel_of(5), ticks_of(60, 5, 1)
    late = pl.when(pl.col("symbol") == "B/USD").then(pl.duration(seconds=200)).otherwise(pl.duration(seconds=0))
    bars = frame_of(panel).with_columns(known=pl.col("known") + late)
    table = f.FeatureSet([tally()]).compute(bars, ticks)
    assert (table["known"] - table["time"]).unique().to_list() == [timedelta(seconds=200)]
    f.FeatureSet([tally(), f.roc(1)]).check_causal(bars, ticks)


def test_quotes_without_a_price_are_passed_over() -> None:
    panel, ticks = panel_of(2), ticks_of(20, 2, 1)
    empty = ticks.quotes.with_columns(bid_price=pl.lit(0.0))
    found = f.FeatureSet([tally()]).compute_panel(panel, f.Ticks(trades=ticks.trades, quotes=empty))
    assert (found[:, :, 1] == 0.0).all()


def test_the_gate_passes_honest_ticks_and_catches_a_history_that_knows_later_ones() -> None:
    panel, ticks = panel_of(12, late=5), ticks_of(200, 12, 3)
    features = f.FeatureSet([tally()])
    check_ticks(features, panel, ticks)
    check_online(features, panel, ticks)

    class Early(f.FeatureSet):
        """A set that shows at each slice the ticks of the next one."""

        __slots__ = ()

        def compute_panel(self, panel: Panel, ticks: f.Ticks | None = None, *, threads: int = 1) -> Floats:
            honest = f.FeatureSet.compute_panel(self, panel, ticks, threads=threads)
            return np.concatenate([honest[1:], honest[-1:]])

    with pytest.raises(LeakageError, match=r"ticks after .* were removed"):
        check_ticks(Early([tally()]), panel, ticks)
    with pytest.raises(LeakageError, match="the online update"):
        check_online(Early([tally()]), panel, ticks)


def test_missing_frames_and_columns_are_named() -> None:
    panel = panel_of(3)
    with pytest.raises(DataError, match=r"tally reads trades, quotes: give them as ticks=Ticks"):
        f.FeatureSet([tally()]).compute_panel(panel)
    with pytest.raises(DataError, match=r"tally reads quotes"):
        f.FeatureSet([tally()]).compute_panel(panel, f.Ticks(trades=ticks_of(9, 3, 1).trades))
    with pytest.raises(SchemaError):
        f.Ticks(trades=pl.DataFrame({"price": [1.0]}))
    assert QUOTE != TRADE
