"""Replay: every stored event once, in one fixed order, whatever the windows in which the store is read."""

import itertools
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.data.decode import decode
from cryptoquant.data.disk import LocalDisk
from cryptoquant.data.events import events
from cryptoquant.data.log import Log
from cryptoquant.data.log_reader import LogReader
from cryptoquant.data.publisher import Publisher
from cryptoquant.data.replay import KINDS, replay, replay_of
from cryptoquant.data.segment import Record, RecordKind
from cryptoquant.data.store import Store
from cryptoquant.data.subscription import Subscription
from cryptoquant.data.synthetic import SyntheticMarket, ticks
from cryptoquant.errors import DataError, EmptyStoreError, UnknownSymbolError
from cryptoquant.market.book import Book, book_rows
from cryptoquant.market.schema import Bar, BookUpdate, Quote, Trade, bar_rows, bars_frame
from tests.data.stream import START, bar, book, quote, record, trade
from tests.data.stream import frame as packed

SECOND = 1_000_000_000
BEGIN = 1_704_067_200 * SECOND
SHAPES = {"trades": Trade, "quotes": Quote, "bars": Bar, "books": BookUpdate}


def frame(kind: str, events: list) -> pl.DataFrame:
    if kind == "books":
        return book_rows(events)
    if kind == "bars":
        return bars_frame(events)
    columns = {name: [getattr(event, name) for event in events] for name in SHAPES[kind].__struct_fields__}
    return pl.DataFrame(columns).with_columns(
        pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in ("time", "known")
    )


def event(kind: str, symbol: str, number: int, time: int, lag: int):
    if kind == "trades":
        return Trade(symbol, time, time + lag, number, 100.0, 1.0 + number, "B")
    if kind == "quotes":
        return Quote(symbol, time, time + lag, 99.0, 1.0 + number, 101.0, 1.0)
    if kind == "bars":
        return Bar(symbol, BEGIN + 60 * SECOND * (number + 1), BEGIN + 60 * SECOND * (number + 1) + abs(lag),
                   BEGIN + 60 * SECOND * number, 1.0, 1.0, 1.0, 1.0, 1.0, 1, 1.0)  # fmt: skip
    return BookUpdate(symbol, time, time + lag, ((100.0, 1.0 + number),), ((101.0, 2.0),), number == 0)


@st.composite
def stored_events(draw):
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from(KINDS),
                st.sampled_from(["A/USD", "B/USD"]),
                st.integers(0, 3_000),
                st.sampled_from([-SECOND, 0, 0, 7, 90 * SECOND, 4_000 * SECOND]),
            ),
            min_size=1,
            max_size=60,
        )
    )
    return [event(kind, symbol, i, BEGIN + at * SECOND, lag) for i, (kind, symbol, at, lag) in enumerate(rows)]


def wanted_order(events: list) -> list:
    numbers = {shape: KINDS.index(kind) for kind, shape in SHAPES.items()}
    inside = [(e.known, numbers[type(e)], e.symbol, e.known if isinstance(e, BookUpdate) else e.time, i)
              for i, e in enumerate(events)]  # fmt: skip
    return [events[key[-1]] for key in sorted(inside)]


@settings(max_examples=30)
@given(stored_events(), st.integers(1, 40))
def test_a_replay_gives_every_event_once_in_the_order_of_time_whatever_the_windows(tmp_path_factory, events, rows):
    store = Store(tmp_path_factory.mktemp("replay") / "store")
    for kind, shape in SHAPES.items():
        own = [e for e in events if isinstance(e, shape)]
        if own:
            store.write(kind, frame(kind, own))
    whole = replay_of(store)
    found = list(whole)
    assert found == list(replay(store))
    assert found == [e for batch in replace(whole, rows_per_window=rows).batches() for e in batch]
    assert found == wanted_order(events)


def test_windows_that_cut_every_second_lose_double_and_turn_nothing(tmp_path):
    events = [event("trades", "A/USD", i, BEGIN + (7 + i // 2) * SECOND, -3 * SECOND * (i % 2)) for i in range(800)]
    events += [event("bars", "A/USD", i, 0, 0) for i in range(7)]
    store = Store(tmp_path / "store")
    store.write("trades", frame("trades", events[:800]))
    store.write("bars", frame("bars", events[800:]))
    for rows in (1, 50, 10_000):
        whole = replace(replay_of(store, ("trades", "bars")), rows_per_window=rows)
        assert list(whole) == wanted_order(events)
    assert len(list(replace(whole, rows_per_window=1).batches())) > 3


def test_of_one_instant_trades_come_before_quotes_and_symbols_by_name(tmp_path):
    store = Store(tmp_path / "store")
    for kind in ("quotes", "trades", "books"):
        store.write(kind, frame(kind, [event(kind, name, 0, BEGIN, 0) for name in ("B/USD", "A/USD")]))
    found = [(type(e), e.symbol) for e in replay(store)]
    assert found == [(shape, name) for shape in (Trade, Quote, BookUpdate) for name in ("A/USD", "B/USD")]


@pytest.fixture
def market(tmp_path):
    bars = SyntheticMarket(symbols=["BTC/USD", "ETH/USD"], days=1, timeframe="5m").bars().head(40)
    store = Store(tmp_path / "store")
    store.write("bars", bars)
    events = [tick for bar in bar_rows(bars) for tick in ticks(bar, seed=1)]
    for kind in ("trades", "quotes", "books"):
        own = [tick for tick in events if isinstance(tick, SHAPES[kind])]
        store.write(kind, frame(kind, own))
    return store


def test_a_range_kinds_and_symbols_are_those_of_the_readers(market):
    middle = market.trades()["time"].median()
    found = list(replay(market, "trades", "BTC/USD", start=middle))
    assert frame("trades", found).equals(market.trades("BTC/USD", middle).with_columns(pl.col("time", "known")))
    assert {type(e) for e in replay(market, ["bars", "quotes"])} == {Bar, Quote}
    bars = market.bars(None, "5m")
    start, end = bars["open_time"][3], bars["time"][30]
    assert len(list(replay(market, "bars", start=start, end=end))) == market.bars(None, "5m", start, end).height
    by_time = list(replay(market, "quotes", by="time"))
    assert [e.time for e in by_time] == sorted(e.time for e in by_time)


MAKERS = {"trades": trade, "quotes": quote, "books": book, "bars": bar}
told = st.tuples(st.sampled_from(KINDS), st.sampled_from(["B/USD", "A/USD"]))
frames = st.lists(st.tuples(st.lists(told, max_size=5), st.sampled_from([0, 0, 1, 10**11])), min_size=1, max_size=12)


@settings(max_examples=25)
@given(frames, st.sets(st.integers(0, 12)), st.booleans())
def test_a_recording_is_replayed_in_the_order_in_which_it_was_heard(tmp_path_factory, said, publications, is_compacted):
    store = Store(tmp_path_factory.mktemp("replay") / "store")
    store.create()
    disk, heard, received = LocalDisk(store.root), Subscription(), START + 7_200 * SECOND
    log = Log(disk, epoch=1, clock=lambda: START, threaded=False)
    publisher = Publisher(store, log, LogReader(disk))
    numbers = itertools.count()
    for place, (messages, later) in enumerate(said):
        received += later
        payload = packed(*(MAKERS[kind](next(numbers), symbol) for kind, symbol in messages))
        heard.push(Record(log.append(received, 1, RecordKind.FRAME, payload), received, 1, RecordKind.FRAME, payload))
        log.commit()
        if place in publications:
            publisher.drain()
            if is_compacted:
                store.compact()
    live = heard.next(0)
    assert len(live) == sum(len(messages) for messages, _ in said)
    if not live:
        return
    whole = replay_of(store)
    assert list(whole) == live
    assert list(replace(whole, rows_per_window=1)) == live
    log.close()


def test_what_the_log_placed_comes_before_what_came_otherwise_at_the_same_instant(tmp_path):
    store = Store(tmp_path / "store")
    other = Trade("A/USD", START, START + 60 * SECOND, 1, 1.0, 1.0)
    first = record(1, quote(1), trade(1), trade(2, symbol="A/USD"))
    store.publish_recent(decode([first]).frames, 1, first.received)
    store.write("trades", frame("trades", [other]))
    assert list(store.replay()) == [*events([first]), other]


@pytest.mark.parametrize("is_deleted", [False, True])
def test_an_iteration_is_of_one_moment_though_the_store_goes_on(tmp_path, is_deleted):
    trades = [event("trades", "A/USD", i, BEGIN + (7 + i // 2) * SECOND, 0) for i in range(800)]
    late = event("trades", "A/USD", 800, BEGIN + 390 * SECOND, 0)
    store = Store(tmp_path / "store")
    for part in (trades[::2], trades[1::2]):
        store.write("trades", frame("trades", part))
    batches = replace(replay_of(store), rows_per_window=1).batches()
    found = next(batches)
    if is_deleted:
        store.compact()
        store.vacuum(timedelta(0))
    else:
        store.write("trades", frame("trades", [late]))
    assert found + [event for batch in batches for event in batch] == trades
    assert (late in list(store.replay())) is not is_deleted


def test_a_pace_is_kept_on_the_clock_that_is_given(market):
    now, slept = [50.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    whole = replay_of(market, ("trades", "bars"))
    events = list(whole)
    for number, found in enumerate(whole.paced(600.0, clock=lambda: now[0], sleep=sleep)):
        assert found == events[number]
        assert now[0] == pytest.approx(50.0 + (found.known - events[0].known) / SECOND / 600)
    assert sum(slept) == pytest.approx((events[-1].known - events[0].known) / SECOND / 600)
    with pytest.raises(ValueError, match="above zero"):
        next(whole.paced(0))


def test_a_consumer_that_is_late_is_not_made_to_wait(market):
    now, slept = [0.0], []
    for _ in replay_of(market, "trades").paced(1e9, clock=lambda: now[0], sleep=slept.append):
        now[0] += 1.0
    assert slept == []


def test_an_event_known_long_before_its_time_stops_the_replay(tmp_path):
    store = Store(tmp_path / "store")
    store.write("trades", frame("trades", [Trade("A/USD", BEGIN, BEGIN - 70 * SECOND, 1, 1.0, 1.0)]))
    with pytest.raises(DataError, match="more than the skew of 60 s"):
        list(replay(store))
    assert len(list(replay(store, by="time"))) == 1
    assert len(list(replace(replay_of(store), skew=timedelta(minutes=2)))) == 1


def test_what_is_not_there_or_not_understood_is_refused(market, tmp_path):
    with pytest.raises(ValueError, match="wanted any of"):
        replay(market, "signals")
    with pytest.raises(ValueError, match="'known' or 'time'"):
        replay(market, by="arrival")
    with pytest.raises(UnknownSymbolError, match="DOGE/USD"):
        replay(market, symbols="DOGE/USD")
    with pytest.raises(EmptyStoreError, match="holds no"):
        replay(Store(tmp_path / "other"))
    with pytest.raises(EmptyStoreError, match="in the range asked"):
        list(replay(market, start="2031-01-01"))
    with pytest.raises(EmptyStoreError, match="holds no bars"):
        replay(market, "bars", timeframe="1h")


@pytest.mark.parametrize(("name", "best"), [("btc", (61685.99, 61686.00)), ("eth", (2682.50, 2682.51))])
def test_the_real_book_ends_at_the_stated_prices(real_market, tmp_path, name, best):
    raw = pl.read_parquet(real_market / f"book/binance_spot_{name}usdt_20240808.parquet")
    opening = raw.filter("snapshot")
    last = int(opening["last_id"].max())
    moment = opening["recv_ns"].max()
    later = raw.filter(~pl.col("snapshot") & (pl.col("last_id") > last))
    rows = pl.concat([opening, later]).with_columns(known=pl.max_horizontal("recv_ns", pl.lit(moment)))
    stamped = rows.with_columns(
        pl.from_epoch("known", "ns").dt.replace_time_zone("UTC"),
        time=pl.col("timestamp").fill_null(later["timestamp"].min()),
        reset=pl.col("snapshot"),
    )
    store = Store(tmp_path / "store")
    store.write("books", stamped)
    quotes = pl.read_parquet(real_market / f"quotes/binance_spot_{name}usdt_20240808.parquet")
    known = pl.from_epoch("recv_ns", "ns").dt.replace_time_zone("UTC")
    store.write("quotes", quotes.with_columns(time="timestamp", known=known))
    book = Book(f"{name.upper()}/USDT")
    quote = None
    for happened in replay(store, ("books", "quotes")):
        if isinstance(happened, BookUpdate):
            book.update(happened)
        else:
            quote = happened
    assert book.best_bid is not None
    assert book.best_ask is not None
    assert (book.best_bid[0], book.best_ask[0]) == best == (quote.bid_price, quote.ask_price)
