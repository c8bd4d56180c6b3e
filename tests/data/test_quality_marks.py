"""Marks: planted faults are found, honest rows are not, and no mark depends on what came later."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.data.quality_books import TopOfBook
from cryptoquant.data.quality_marks import mark
from cryptoquant.data.quality_venue import disagreement, halts, successions
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.market.book import Book, book_rows
from cryptoquant.market.schema import BookUpdate

SECOND = 1_000_000_000
BEGIN = 1_704_067_200 * SECOND
BARS = SyntheticMarket(days=20, timeframe="1h").bars()


def stamped(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(
        pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in ("time", "known") if name in table.columns
    )


def ticks(rows: int, seed: int = 0) -> dict[str, pl.DataFrame]:
    rng = np.random.default_rng(seed)
    times = BEGIN + np.cumsum(rng.integers(0, 5 * SECOND, rows))
    known = times + rng.integers(-SECOND, SECOND, rows)
    price = 100 * np.exp(np.cumsum(3e-4 * rng.standard_t(3, rows)))
    names = rng.choice(["A/USD", "B/USD"], rows)
    heads = {"symbol": names, "time": times, "known": known}
    trades = pl.DataFrame({**heads, "id": rng.integers(0, rows, rows), "price": price, "size": 1.0, "taker_side": "B"})
    bid, ask = price - rng.choice([0.0, 0.01, 0.02, -0.01], rows), price + rng.choice([0.0, 0.01, 3.0], rows)
    quotes = pl.DataFrame(
        {**heads, "bid_price": bid, "bid_size": 1.0, "ask_price": ask, "ask_size": rng.choice([0.0, 1.0], rows)}
    )
    side = rng.choice(["bid", "ask"], rows)
    levels = {"price": np.round(price, 1), "size": rng.choice([0.0, 1.0], rows), "reset": rng.random(rows) < 0.05}
    books = pl.DataFrame({**heads, "side": side, **levels})
    return {"trades": stamped(trades), "quotes": stamped(quotes), "books": stamped(books)}


@settings(max_examples=25)
@given(st.sampled_from(["trades", "quotes", "books", "bars"]), st.integers(0, 50), st.integers(1, 299))
def test_a_mark_does_not_depend_on_what_came_later(kind, seed, cut):
    rows = BARS.head(300).with_columns(close=pl.col("close")) if kind == "bars" else ticks(300, seed)[kind]
    ordered = rows.sort("known", "symbol", maintain_order=True)
    whole, early = mark(kind, ordered), mark(kind, ordered.head(cut))
    edge = ordered["known"][cut - 1]  # of equally known rows of a book one message may be cut
    assert early.filter(pl.col("known") < edge).equals(whole.head(cut).filter(pl.col("known") < edge))


@settings(max_examples=15)
@given(st.sampled_from(["trades", "quotes", "books"]), st.integers(0, 50))
def test_rows_stay_where_and_what_they_are(kind, seed):
    rows = ticks(200, seed)[kind]
    marked = mark(kind, rows)
    assert marked.select(rows.columns).equals(rows)
    assert all(marked[name].null_count() == 0 for name in marked.columns)
    if kind != "books":
        shuffled = rows.with_row_index().sample(fraction=1.0, shuffle=True, seed=seed)
        turned = mark(kind, shuffled.unique(["symbol", "known"], keep="first", maintain_order=True))
        again = mark(kind, turned.select("index", *rows.columns).sort("index"))
        assert turned.sort("index").equals(again)


def test_planted_faults_of_trades_are_found():
    clean = ticks(400)["trades"].with_columns(symbol=pl.lit("A/USD"), known="time", id=pl.int_range(pl.len()))
    assert not mark("trades", clean).select(pl.any_horizontal("is_duplicate", "is_late", "is_spike").any()).item()
    row = pl.int_range(pl.len())
    bad = clean.with_columns(
        price=pl.when(row.is_in([200, 201, 300])).then(pl.col("price") * 1.5).otherwise("price"),
        id=pl.when(row == 250).then(249).otherwise("id"),
        time=pl.when(row == 150).then(pl.col("time") - pl.duration(hours=1)).otherwise("time"),
    )
    marked = mark("trades", bad).with_row_index()
    assert marked.filter("is_spike")["index"].to_list() == [200, 201, 300]
    assert marked.filter("is_duplicate")["index"].to_list() == [250]
    assert marked.filter("is_late")["index"].to_list() == [150]


def test_a_lasting_jump_is_a_spike_only_until_it_is_confirmed():
    clean = ticks(400)["trades"].with_columns(symbol=pl.lit("A/USD"), known="time")
    jump = clean.with_columns(price=pl.when(pl.int_range(pl.len()) >= 200).then(pl.col("price") * 2).otherwise("price"))
    assert mark("trades", jump).with_row_index().filter("is_spike")["index"].to_list() == [200, 201, 202]


def test_planted_faults_of_quotes_are_found():
    seconds = [*range(40), 40, 41, 42, 43, 200, 201]
    quotes = pl.DataFrame({"symbol": "A/USD", "time": [BEGIN + s * SECOND for s in seconds]}).with_row_index("i")
    row, bid = pl.col("i"), 100.0 + pl.col("i") % 2 * 0.01
    quotes = quotes.with_columns(
        known=pl.col("time") + pl.when(row == 45).then(90 * SECOND).otherwise(0),
        bid_price=pl.when(row >= 43).then(100.0).otherwise(bid),
        bid_size=pl.lit(1.0),
        ask_price=pl.when(row == 40).then(bid).when(row == 41).then(99.5).when(row == 42).then(101.0)
        .when(row >= 43).then(100.02).otherwise(bid + 0.02),
        ask_size=pl.when(row == 39).then(0.0).otherwise(1.0),
    )  # fmt: skip
    marked = mark("quotes", stamped(quotes))
    found = {name: marked.filter(name)["i"].to_list() for name in marked.columns if name.startswith("is_")}
    assert found == {
        "is_duplicate": [],
        "is_late": [],
        "is_one_sided": [39],
        "is_crossed": [41],
        "is_locked": [40],
        "is_stale": [44, 45],
        "is_wide": [42],
        "is_spike": [],
    }


def test_bars_are_marked_as_they_arrive():
    hours = BARS.filter(symbol="BTC/USD").head(100)
    row = pl.int_range(pl.len())
    late = hours.slice(90, 1).with_columns(known=pl.col("known") + pl.duration(hours=30, time_unit="ns"))
    rows = pl.concat([hours.filter(~row.is_in([50, 51])), late, hours.slice(70, 1)]).with_columns(
        volume=pl.when(row == 5).then(0.0).otherwise("volume"),
        high=pl.when(row == 60).then(pl.col("high") * 3).otherwise("high"),
    )
    marked = mark("bars", rows).with_row_index()
    found = {name: marked.filter(name)["index"].to_list() for name in marked.columns if name.startswith("is_")}
    assert found == {
        "is_duplicate": [99],
        "is_revision": [98],
        "is_late": [98],
        "is_after_gap": [50],
        "is_idle": [5],
        "is_spike": [60],
    }


levels = st.lists(st.tuples(st.integers(1, 8).map(float), st.sampled_from([0.0, 1.0, 2.0])), max_size=4).map(tuple)


@given(st.lists(st.tuples(levels, levels, st.booleans()), max_size=40))
def test_the_top_of_a_book_is_that_of_the_whole_book(changes):
    top, book = TopOfBook(), Book("A/USD")
    for number, (bids, asks, reset) in enumerate(changes):
        change = BookUpdate("A/USD", number, number, bids, asks, reset and number % 3 == 0)
        top.update(change)
        book.update(change)
        assert top.is_ready == book.is_ready
        assert top.best == tuple(None if level is None else level[0] for level in (book.best_bid, book.best_ask))
        assert top.is_crossed == book.is_crossed


def test_books_without_a_beginning_and_crossed_books_are_marked():
    def change(second, bids, asks, *, reset=False):
        return BookUpdate("A/USD", BEGIN + second * SECOND, BEGIN + second * SECOND, bids, asks, reset)

    updates = [
        change(0, ((100.0, 1.0),), ()),
        change(1, ((100.0, 1.0),), ((101.0, 1.0),), reset=True),
        change(2, ((101.5, 1.0),), ()),
        change(3, (), ((101.0, 0.0), (102.0, 1.0))),
        change(4, ((99.0, 1.0),), ()),
    ]
    rows = book_rows(updates)
    marked = mark("books", rows)
    assert marked["is_before_reset"].to_list() == [True, *[False] * 6]
    assert marked["is_crossed"].to_list() == [False, False, False, True, False, False, False]
    cut = mark("books", rows.with_columns(connection=pl.Series([1, 1, 1, 1, 2, 2, 2])))
    assert cut["is_before_reset"].to_list() == [True, False, False, False, True, True, True]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="wanted one of"):
        mark("signals", BARS)


@given(st.sets(st.integers(5, 95), min_size=1, max_size=30), st.sampled_from(["A/USD", None]))
def test_silence_of_all_is_the_venue_s_and_silence_of_one_its_own(gone, who):
    rows = [(name, BEGIN + second * SECOND) for name in ("A/USD", "B/USD", "C/USD") for second in range(101)
            if not (second in gone and who in (name, None))]  # fmt: skip
    events = stamped(pl.DataFrame(rows, schema=["symbol", "time"], orient="row"))
    found = halts(events, timedelta(seconds=1))
    runs = [second for second in sorted(gone) if second - 1 not in gone]
    if who is None:
        assert found["scope"].to_list() == ["venue"] * len(runs)
        assert found["start"].dt.epoch("ns").to_list() == [BEGIN + (second - 1) * SECOND for second in runs]
        assert found["seconds"].sum() == len(gone) + len(runs)
    else:
        assert found.height == sum(all(at + step in gone for step in range(20)) for at in runs)
        assert set(found["symbol"]) <= {"A/USD"}


def test_a_symbol_that_is_silent_longer_than_the_venue_is_told_apart():
    rows = [(name, BEGIN + second * SECOND) for name in ("A/USD", "B/USD", "C/USD") for second in range(400)
            if not (100 <= second < 150 or (name == "A/USD" and 150 <= second < 300))]  # fmt: skip
    found = halts(stamped(pl.DataFrame(rows, schema=["symbol", "time"], orient="row")), timedelta(seconds=10))
    assert found.select("scope", "symbol", "seconds").rows() == [("venue", None, 51.0), ("symbol", "A/USD", 201.0)]


def test_sources_are_compared_where_both_speak_and_counted_where_one_is_silent():
    left = BARS.filter(symbol="BTC/USD").head(48)
    row = pl.int_range(pl.len())
    right = left.filter(row != 30).with_columns(close=pl.col("close") * pl.when(row == 3).then(1.01).otherwise(1.0001))
    found = disagreement(left.filter(row != 40), right)
    assert found.select("both", "only_left", "only_right", "beyond").rows() == [
        (23, 0, 0, 1),
        (22, 1, 1, 0),
        (1, 0, 0, 0),
    ]
    assert found["median_bps"].to_list() == pytest.approx([1.0, 1.0, 1.0])
    assert found["largest_bps"][0] == pytest.approx(100.0)


def test_real_venues_differ_by_little(real_market):
    binance, bitstamp = (
        pl.read_parquet(real_market / f"bars/{name}.parquet").with_columns(symbol=pl.lit("BTC/USD"))
        for name in ("binance_btc_1h_2017_2022", "bitstamp_btc_1h_2018_2022")
    )
    found = disagreement(binance, bitstamp, on="timestamp", tolerance_bps=100)
    common = found.filter(pl.col("both") > 0)
    assert common["both"].sum() > 33_000
    assert common["median_bps"].median() < 20


def test_a_series_that_goes_on_under_another_name_is_suspected():
    old = BARS.filter(symbol="BTC/USD").head(240)
    new = BARS.filter(symbol="BTC/USD").slice(243).with_columns(symbol=pl.lit("XBT/USD"))
    ended = BARS.filter(symbol="ETH/USD").head(100).with_columns(symbol=pl.lit("LUNA/USD"))
    found = successions(pl.concat([old, new, ended, BARS.filter(symbol="ETH/USD")]))
    assert found.select("suspicion", "symbol", "successor").rows() == [
        ("rename", "BTC/USD", "XBT/USD"),
        ("delisting", "LUNA/USD", None),
    ]
    assert found["ended"][0] == datetime(2024, 1, 11, tzinfo=UTC)
    assert successions(BARS).height == 0
    assert successions(BARS.clear()).height == 0


def test_the_real_books_are_never_crossed_after_their_reset(real_market):
    raw = pl.read_parquet(real_market / "book/binance_spot_btcusdt_20240808.parquet")
    last = int(raw.filter("snapshot")["last_id"].max())
    kept = pl.concat([raw.filter("snapshot"), raw.filter(~pl.col("snapshot") & (pl.col("last_id") > last))])
    known = pl.max_horizontal("recv_ns", pl.lit(raw.filter("snapshot")["recv_ns"].max()))
    books = kept.with_columns(
        time=pl.col("timestamp").fill_null(raw["timestamp"].min()).cast(pl.Datetime("ns", "UTC")),
        known=pl.from_epoch(known, "ns").dt.replace_time_zone("UTC"),
        reset="snapshot",
    )
    marked = mark("books", books)
    assert not marked.select(pl.any_horizontal("is_before_reset", "is_crossed").any()).item()
    assert mark("books", books.filter(~pl.col("snapshot")))["is_before_reset"].all()
