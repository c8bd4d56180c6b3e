"""Slices and aggregation: history and the present make the same bars and the same decision moments."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.errors import DataError, SchemaError
from cryptoquant.live.assembly import SliceBuilder
from cryptoquant.market.aggregation import BarAggregator, aggregate, fold
from cryptoquant.market.schema import bar_rows, bars_frame, validate
from cryptoquant.market.slice import Panel, SliceAssembler
from tests.market_makers import HOUR, frame_of, gapping_panel

PAIRS = ("A/USD", "B/USD")


@given(
    seed=st.integers(0, 1000), absent=st.sampled_from([0.0, 0.1, 0.6]), hours=st.sampled_from([2, 3, 4, 24]),
    length=st.integers(1, 90),
)  # fmt: skip
def test_bars_aggregated_one_by_one_equal_those_of_a_frame_to_the_bit(seed, absent, hours, length):
    frame = frame_of(gapping_panel(length, PAIRS, seed=seed, absent=absent))
    whole = aggregate(frame, f"{hours}h")
    online = []
    for symbol in PAIRS:
        folding = BarAggregator(f"{hours}h")
        bars = bar_rows(frame.filter(pl.col("symbol") == symbol))
        for bar in bars:
            online += folding.update(bar)
    assert bar_rows(whole) == online


@given(
    seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 90), max_size=8), hours=st.sampled_from([2, 5, 24]),
    since=st.one_of(st.none(), st.integers(0, 90)),
)  # fmt: skip
def test_wherever_the_rows_of_a_frame_were_cut_when_they_were_read_the_larger_bars_are_the_same(
    seed, cuts, hours, since
):
    frame = frame_of(gapping_panel(90, ("A/USD",), seed=seed, absent=0.5))
    edges = sorted({0, frame.height, *(min(cut, frame.height) for cut in cuts)})
    parts = pl.concat([frame[a:b] for a, b in pairwise(edges)], rechunk=False)
    bars = bar_rows(frame)
    known_from = None if since is None else bars[0].open_time + since * HOUR
    folding = BarAggregator(f"{hours}h", since=known_from)
    online = [large for bar in bars for large in folding.update(bar)]
    assert parts.n_chunks() == len(edges) - 1
    assert bar_rows(fold(parts, "A/USD", hours * HOUR, bars[-1].time, since=known_from)) == online


def test_an_unfinished_bucket_never_looks_closed():
    bars = bar_rows(frame_of(gapping_panel(23, ("A/USD",))))
    folding = BarAggregator("1d")
    assert [large for bar in bars for large in folding.update(bar)] == []
    end = bars[0].open_time + 24 * HOUR
    assert folding.expire(end - 1) == []
    (closed,) = folding.expire(end)
    assert (closed.open_time, closed.time) == (bars[0].open_time, end)
    assert closed.close == bars[-1].close
    assert folding.expire(end + 1) == []


def test_the_large_bar_is_known_when_its_last_part_is_known():
    bars = frame_of(gapping_panel(24, ("A/USD",)))
    late = bars.with_columns(
        known=pl.when(pl.int_range(pl.len()) == 5).then(pl.col("time") + pl.duration(hours=50)).otherwise("known")
    )
    assert aggregate(late, "1d")["known"].item() == late["known"].max()


@pytest.mark.parametrize(("timeframe", "text"), [("30m", "do not divide"), ("90m", "do not divide")])
def test_bars_that_do_not_divide_the_timeframe_are_refused(timeframe, text):
    with pytest.raises(SchemaError, match=text):
        aggregate(frame_of(gapping_panel(5)), timeframe)


def test_an_overlapping_or_misplaced_bar_is_refused_online():
    bars = bar_rows(frame_of(gapping_panel(3, ("A/USD",))))
    folding = BarAggregator("1d")
    folding.update(bars[1])
    with pytest.raises(SchemaError, match="overlaps"):
        folding.update(bars[1])
    with pytest.raises(SchemaError, match="does not fit"):
        BarAggregator("30m").update(bars[0])


@given(seed=st.integers(0, 1000), absent=st.sampled_from([0.0, 0.2]))
def test_a_panel_and_its_frame_say_the_same(seed, absent):
    panel = gapping_panel(40, PAIRS, seed=seed, absent=absent)
    again = Panel.from_frame(frame_of(panel), PAIRS)
    assert np.array_equal(again.values, panel.values[np.isin(panel.times, again.times)], equal_nan=True)
    assert again.width == HOUR
    assert (again[0].present == ~np.isnan(again.field("close")[0])).all()


def test_a_panel_needs_every_symbol_and_one_timeframe():
    frame = frame_of(gapping_panel(24, PAIRS))
    with pytest.raises(DataError, match="no rows for C/USD"):
        Panel.from_frame(frame, ("A/USD", "C/USD"))
    mixed = pl.concat(
        [frame.filter(pl.col("symbol") == "A/USD"), aggregate(frame, "2h").filter(pl.col("symbol") == "B/USD")]
    )
    with pytest.raises(SchemaError, match="mixed timeframes"):
        Panel.from_frame(mixed)


@pytest.mark.parametrize("change", ["duplicate", "turned"])
def test_times_that_do_not_rise_are_refused(change):
    frame = frame_of(gapping_panel(5))
    wrong = pl.concat([frame, frame.tail(1)]) if change == "duplicate" else frame.reverse()
    with pytest.raises(SchemaError, match=r"duplicate time|times out of order"):
        Panel.from_frame(wrong)


def test_a_slice_closes_when_complete_or_at_its_deadline_and_in_order():
    first, second = (bar_rows(frame_of(gapping_panel(3, (name,), seed=i))) for i, name in enumerate(PAIRS))
    assembler = SliceAssembler(PAIRS, 10)
    assert assembler.add(first[0]) == []
    assert assembler.expire(first[0].time + 9) == []
    (late,) = assembler.expire(first[0].time + 10)
    assert late.present.tolist() == [True, False]
    assert assembler.add(first[1]) == []
    assert assembler.add(first[2]) == []
    closed = assembler.add(second[2])
    assert [market.time for market in closed] == [first[1].time, first[2].time]
    assert closed[0].present.tolist() == [True, False]
    assert closed[1].present.all()


@given(st.randoms(use_true_random=False), st.integers(0, 200))
def test_whatever_the_order_of_arrival_slices_come_once_and_in_order(random, seed):
    panel = gapping_panel(96, PAIRS, seed=seed, absent=0.2)
    bars = bar_rows(frame_of(panel))
    bars.sort(key=lambda bar: (bar.time + random.choice([0, 0, 0, 3 * HOUR]), bar.symbol))
    builder = SliceBuilder(PAIRS, "4h", int(panel.times[0]), HOUR)
    slices = []
    now = 0
    for bar in bars:
        slices += builder.take(bar)
        now = max(now, bar.time)
        slices += builder.expire(now)
    times = [market.time for market in slices]
    assert times == sorted(set(times))


def test_bars_in_their_own_order_give_the_slices_of_the_aggregated_panel():
    panel = gapping_panel(96, PAIRS, seed=3)
    bars = sorted(bar_rows(frame_of(panel)), key=lambda bar: (bar.time, bar.symbol))
    builder = SliceBuilder(PAIRS, "4h", 0, HOUR)
    slices = [market for bar in bars for market in builder.take(bar)]
    whole = Panel.from_frame(aggregate(frame_of(panel), "4h"), PAIRS)
    assert [market.time for market in slices] == whole.times.tolist()
    assert np.array_equal(np.array([market.values for market in slices]), whole.values)


def test_rows_and_frames_convert_without_loss():
    frame = frame_of(gapping_panel(7, PAIRS))
    assert bars_frame(bar_rows(frame)).equals(validate(frame, "bars"))


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        (lambda f: f.drop("close"), "missing column close"),
        (lambda f: f.with_columns(pl.col("time").dt.replace_time_zone(None)), "naive"),
        (lambda f: f.with_columns(close=pl.lit("x")), "close is String"),
        (lambda f: f.with_columns(close=pl.lit(None, dtype=pl.Float64)), "null in row 0"),
    ],
)
def test_a_frame_is_checked_at_the_door(broken, text):
    with pytest.raises(SchemaError, match=text):
        validate(broken(frame_of(gapping_panel(3))), "bars")


def test_what_is_no_frame_is_refused():
    with pytest.raises(TypeError, match="wanted a polars or pandas frame or an Arrow table, found list"):
        validate([1, 2], "bars")


def test_a_first_bucket_whose_beginning_is_unknown_is_left_out():
    frame = frame_of(gapping_panel(50, ("A/USD",)))
    late = frame.slice(5)
    whole, cut = aggregate(frame, "1d"), aggregate(late, "1d")
    assert cut.equals(whole.slice(1))
    folding = BarAggregator("1d")
    assert [large for bar in bar_rows(late) for large in folding.update(bar)] == bar_rows(cut)
