"""The store: what was written is read, once, whole or not at all, as it was known."""

import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.data.lock import only_writer
from cryptoquant.data.opening import Opener
from cryptoquant.data.store import Store
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import (
    EmptyStoreError,
    SchemaError,
    StoreError,
    StoreLayoutError,
    UnknownSymbolError,
)
from cryptoquant.market.aggregation import aggregate
from cryptoquant.market.schema import INSTANT, SCHEMAS, Bar, bars_frame
from cryptoquant.market.time import to_ns

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
SYMBOLS = ("BTC/USD", "ETH/USD")
MARKET = SyntheticMarket(symbols=["BTC/USD", "ETH/USD"], start="2024-01-20", days=20, timeframe="1h")


def bar(hour: int, close: float = 100.0, known: int | None = None, symbol: str = "BTC/USD") -> Bar:
    time = (hour + 1) * HOUR
    return Bar(symbol, time, time if known is None else known, hour * HOUR, 100.0, 200.0, 50.0, close, 1.0, 3, 100.0)


trades = st.lists(
    st.tuples(
        st.sampled_from(["BTC/USD", "ETH/USDT"]),
        st.integers(0, 3 * 24 * HOUR),
        st.integers(2**53, 2**62),
        st.floats(1e-6, 1e6),
        st.floats(0, 1e6),
        st.sampled_from(["B", "S", ""]),
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda row: row[2],
)


def trades_frame(rows) -> pl.DataFrame:
    columns = ["symbol", "time", "id", "price", "size", "taker_side"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    instant = pl.from_epoch("time", "ns").dt.replace_time_zone("UTC")
    return frame.with_columns(instant, known=instant).select(list(SCHEMAS["trades"]))


@settings(max_examples=15)
@given(trades)
def test_trades_come_back_exactly_and_once_however_often_they_are_written(tmp_path_factory, rows):
    store, frame = Store(tmp_path_factory.mktemp("store")), trades_frame(rows)
    for _ in range(2):
        assert store.write("trades", frame) == len(rows)
    store.write("trades", frame.head(1).vstack(frame.tail(1)).unique())
    again = store.trades()
    assert again.schema == pl.Schema(SCHEMAS["trades"])
    assert again.sort("id").equals(frame.sort("id"))
    assert again.select(pl.col("time").is_sorted().over("symbol")).to_series().all()


def test_bars_come_back_exactly_by_symbol_in_time_order(store):
    bars = MARKET.bars()
    assert store.write("bars", bars.sample(fraction=1.0, shuffle=True, seed=1)) == bars.height
    store.write("bars", bars.head(100))
    assert store.bars(["BTC/USD", "ETH/USD"], "1h").equals(bars)
    assert store.symbols() == ["BTC/USD", "ETH/USD"]
    assert store.coverage("bars", "1h", "BTC/USD") == (
        to_ns("2024-01-20") + HOUR,
        to_ns("2024-01-20") + 480 * HOUR,
        580,
    )


def test_partitions_are_hive_folders_that_any_tool_reads(store):
    store.write("bars", MARKET.bars())
    files = {str(path.parent.relative_to(store.root)) for path in store.root.rglob("*.parquet")}
    assert "kind=bars/timeframe=1h/symbol=BTC%2FUSD/month=2024-01" in files
    assert len(files) == 4
    scanned = pl.scan_parquet(store.root / "kind=bars", hive_partitioning=True).collect()
    assert scanned.height == MARKET.bars().height
    assert set(scanned["symbol"]) == {"BTC/USD", "ETH/USD"}


def test_a_range_takes_bars_that_open_and_close_inside_it(store):
    store.write("bars", MARKET.bars())
    bars = store.bars("btcusd", "1h", start="2024-01-31T22:30:00Z", end="2024-02-01T02:00:00Z")
    assert [time.hour for time in bars["open_time"]] == [23, 0, 1]


def test_a_timeframe_that_is_not_stored_is_aggregated_from_the_largest_that_divides_it(store):
    small = SyntheticMarket(symbols=["BTC/USD"], days=2, timeframe="5m").bars()
    store.write("bars", small)
    store.write("bars", aggregate(small, "15m").with_columns(volume=pl.lit(7.0)))
    assert store.bars("BTC/USD", "1h")["volume"].to_list() == [28.0] * 48
    assert store.bars("BTC/USD", "10m").equals(aggregate(small, "10m"))
    inside = store.bars("BTC/USD", "10m", start="2024-01-01T00:05:00Z", end="2024-01-01T00:35:00Z")
    assert inside.equals(aggregate(small, "10m").slice(1, 2))
    with pytest.raises(EmptyStoreError, match="bars of 5m, 15m do not make 7m"):
        store.bars("BTC/USD", "7m")


minutes = st.dictionaries(st.integers(7, 30), st.sampled_from([0, 1, 30]), min_size=1, max_size=20)
edges = (
    st.none() | st.integers(1, 7).map(lambda n: 5 * n * MINUTE) | st.integers(20, 140).map(lambda n: 15 * n * SECOND)
)


@settings(max_examples=30)
@given(
    minutes,
    st.sets(st.integers(0, 7), max_size=3),
    st.sets(st.integers(7, 30)),
    st.none() | st.integers(8, 62),
    st.data(),
)
def test_a_range_of_folded_bars_is_the_whole_answer_cut_to_it_whatever_is_missing(
    tmp_path_factory, delays, coarse, recent, as_of, data
):
    store = Store(tmp_path_factory.mktemp("store"))
    small = bars_frame([minute_bar(minute, known=minute + 1 + delay) for minute, delay in sorted(delays.items())])
    opened = small["open_time"].dt.epoch("ns") // MINUTE
    split = data.draw(st.integers(7, 31))
    for part in (small.filter(~opened.is_in(recent) & keep) for keep in (opened < split, opened >= split)):
        store.write("bars", part)
    store.write("bars", bars_frame([minute_bar(5 * number, 5) for number in sorted(coarse)]))
    publish(store, small.filter(opened.is_in(recent)))
    limit = None if as_of is None else as_of * MINUTE
    whole = bars_or_none(store, None, None, limit)
    known = small.filter(small["known"].dt.epoch("ns") <= limit) if limit is not None else small
    if not coarse:
        assert whole.equals(aggregate(known, "5m"))
    for _ in range(8):
        start, end = data.draw(edges), data.draw(edges)
        if start is not None and end is not None and start > end:
            start, end = end, start
        is_inside = pl.lit(value=True)
        if start is not None:
            is_inside &= pl.col("open_time").dt.epoch("ns") >= start
        if end is not None:
            is_inside &= pl.col("time").dt.epoch("ns") <= end
        assert bars_or_none(store, start, end, limit).equals(whole.filter(is_inside))


def minute_bar(minute: int, width: int = 1, known: int = 0) -> Bar:
    close = (minute + width) * MINUTE
    return Bar("BTC/USD", close, max(close, known * MINUTE), minute * MINUTE, 2.0, 3.0, 1.0, 2.0, minute + 0.1, 1, 2.5)


def publish(store: Store, bars: pl.DataFrame) -> None:
    columns = {"position": pl.lit(1 << 20, dtype=pl.Int64), "rank": pl.lit(0, dtype=pl.Int8)}
    store.publish_recent({"bars": bars.with_columns(**columns)}, 1, 1)


def bars_or_none(store: Store, start: int | None, end: int | None, as_of: int | None) -> pl.DataFrame:
    try:
        return store.bars("BTC/USD", "5m", start, end, as_of)
    except EmptyStoreError:
        return pl.DataFrame(schema=SCHEMAS["bars"])


@pytest.mark.parametrize("put", [lambda store, bars: store.write("bars", bars), publish])
@pytest.mark.parametrize(("outer", "lacking", "asked"), [(range(5), 5, {"start": 5}), (range(10, 15), 9, {"end": 10})])
def test_what_lies_outside_the_range_tells_that_a_minute_is_missing_once_it_is_known(store, put, outer, lacking, asked):
    store.write("bars", bars_frame([minute_bar(minute) for minute in range(5, 10) if minute != lacking]))
    put(store, bars_frame([minute_bar(minute, known=40) for minute in outer]))
    cut = {name: minute * MINUTE for name, minute in asked.items()}
    assert store.bars("BTC/USD", "5m", **cut)["open_time"].dt.minute().to_list() == [5]
    assert store.bars("BTC/USD", "5m", **cut, as_of=40 * MINUTE).height == 1
    with pytest.raises(EmptyStoreError, match="range asked"):
        store.bars("BTC/USD", "5m", **cut, as_of=39 * MINUTE)


def test_one_missing_minute_at_an_edge_of_the_range_does_not_take_its_hour_away(store):
    small = SyntheticMarket(symbols=["BTC/USD"], days=1, timeframe="1m").bars().head(300)
    store.write("bars", small.with_row_index().filter(~pl.col("index").is_in([60, 179])).drop("index"))

    def hours(**asked):
        return store.bars("BTC/USD", "1h", **asked)["open_time"].dt.hour().to_list()

    assert hours() == [0, 1, 2, 3, 4]
    assert hours(start="2024-01-01T01:00:00Z") == [1, 2, 3, 4]
    assert hours(end="2024-01-01T03:00:00Z") == [0, 1, 2]
    assert hours(start="2024-01-01T01:00:00Z", end="2024-01-01T03:00:00Z") == [1, 2]


def test_of_all_symbols_those_are_given_of_which_the_timeframe_can_be_made(store):
    store.write("bars", MARKET.bars("1d", "BTC/USD"))
    for symbols in (None, "BTC/USD"):
        with pytest.raises(EmptyStoreError, match="BTC/USD: bars of 1d do not make 1h"):
            store.bars(symbols, "1h")
    store.write("bars", MARKET.bars("1h", "ETH/USD"))
    for timeframe in ("1h", "2h"):
        assert store.bars(None, timeframe).equals(MARKET.bars(timeframe, "ETH/USD"))
        with pytest.raises(EmptyStoreError, match="BTC/USD: bars of 1d do not make"):
            store.bars(["ETH/USD", "BTC/USD"], timeframe)
    assert store.bars(None, "1d")["symbol"].n_unique() == 2


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=12), st.integers(0, 12))
def test_of_several_revisions_the_last_one_known_is_read(tmp_path_factory, revisions, as_of):
    store = Store(tmp_path_factory.mktemp("store"))
    truth: dict[int, tuple[int, float]] = {}
    for number, (hour, delay) in enumerate(revisions):
        known, close = (hour + 1 + delay) * HOUR, 60.0 + number
        store.write("bars", bars_frame([bar(hour, close, known)]))
        if known <= as_of * HOUR and known >= truth.get(hour, (0, 0.0))[0]:
            truth[hour] = (known, close)
    if not truth:
        with pytest.raises(EmptyStoreError):
            store.bars("BTC/USD", "1h", as_of=as_of * HOUR)
        return
    read = store.bars("BTC/USD", "1h", as_of=as_of * HOUR)
    assert read["close"].to_list() == [truth[hour][1] for hour in sorted(truth)]


def test_two_revisions_in_one_write_are_legal_and_a_bar_known_before_its_close_is_not(store):
    store.write("bars", bars_frame([bar(1, 100.0), bar(1, 110.0, 9 * HOUR)]))
    assert store.bars("BTC/USD", "1h")["close"].to_list() == [110.0]
    with pytest.raises(SchemaError, match="known before its close"):
        store.write("bars", bars_frame([bar(1, 100.0, 5)]))


def test_what_is_impossible_is_refused_and_nothing_is_written(store):
    good = trades_frame([("BTC/USD", 5, 1, 1.0, 1.0, "B")])
    bad = good.vstack(good.with_columns(price=pl.lit(-1.0)))
    with pytest.raises(SchemaError, match=r"trades: BTC/USD .* column price is -1\.0"):
        store.write("trades", bad)
    with pytest.raises(SchemaError, match="kind 'candles'"):
        store.write("candles", good)
    with pytest.raises(SchemaError, match="wanted exactly one"):
        store.write("bars", bars_frame([bar(1)]).vstack(MARKET.bars("2h").head(1)))
    assert not store.root.exists()


def test_a_leftover_temporary_file_and_a_torn_manifest_line_are_not_seen(store):
    store.write("bars", bars_frame([bar(1)]), lineage="first")
    manifest, whole = store.root / "manifest.jsonl", store.bars("BTC/USD", "1h")
    folder = next(store.root.rglob("*.parquet")).parent
    (folder / ".0123.tmp").write_bytes(b"half a file")
    (folder / "unlisted.parquet").write_bytes(b"renamed, but the writer died before the manifest")
    line = manifest.read_bytes()
    torn = line[: len(line) // 2].replace(b"first", b"second")
    for tail in (torn, b"\x00" * 5_000, torn + b"\n"):
        manifest.write_bytes(line + tail)
        other = Store(store.root)
        assert other.bars("BTC/USD", "1h").equals(whole)
        other.write("bars", bars_frame([bar(2)]))
        assert Store(store.root).bars("BTC/USD", "1h").height == 2
        assert all(json.loads(text) for text in manifest.read_text().splitlines())
        manifest.write_bytes(line)


def test_a_damaged_line_in_the_middle_of_the_manifest_is_an_error(store):
    for hour in (1, 2):
        store.write("bars", bars_frame([bar(hour)]))
    manifest = store.root / "manifest.jsonl"
    manifest.write_bytes(b"damage" + manifest.read_bytes())
    with pytest.raises(StoreError, match="line 1 is damaged"):
        Store(store.root).bars("BTC/USD", "1h")


def test_a_write_is_seen_all_or_not_at_all_by_a_reader_that_was_open_before(store):
    store.write("bars", bars_frame([bar(1)]))
    reader = Store(store.root)
    assert reader.bars("BTC/USD", "1h").height == 1
    store.write("bars", bars_frame([bar(2), bar(3, symbol="ETH/USD")]))
    assert reader.bars(None, "1h").height == 3


def test_a_missing_file_is_named(store):
    store.write("bars", bars_frame([bar(1)]))
    path = next(store.root.rglob("*.parquet"))
    path.unlink()
    with pytest.raises(StoreError, match=path.name):
        store.bars("BTC/USD", "1h")


WRITER = """
import sys
from cryptoquant.data.store import Store
from cryptoquant.data.synthetic import SyntheticMarket
store, market = Store(sys.argv[1]), SyntheticMarket(symbols=["BTC/USD"], days=4, timeframe="1h")
for hour in range(int(sys.argv[2]), 96, 8):
    store.write("bars", market.bars().slice(hour, 1))
"""


def test_several_processes_write_at_once_and_nothing_is_lost(tmp_path):
    running = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(first)]) for first in range(0, 8, 4)]
    assert [process.wait(60) for process in running] == [0, 0]
    market = SyntheticMarket(symbols=["BTC/USD"], days=4, timeframe="1h")
    wanted = market.bars().with_row_index().filter(pl.col("index") % 4 == 0).drop("index")
    assert Store(tmp_path).bars("BTC/USD", "1h").equals(wanted)


def test_a_write_waits_for_another_writer(store):
    store.write("bars", bars_frame([bar(1)]))
    second = threading.Thread(target=store.write, args=("bars", bars_frame([bar(2)])))
    with only_writer(store.root / ".lock"):
        second.start()
        second.join(0.3)
        assert second.is_alive()
        assert Store(store.root).bars("BTC/USD", "1h").height == 1
    second.join()
    assert store.bars("BTC/USD", "1h").height == 2


def test_a_writer_that_cannot_get_the_lock_says_so(tmp_path):
    lock = tmp_path / ".lock"
    with only_writer(lock), pytest.raises(StoreError, match="another writer"), only_writer(lock, patience_s=0.02):
        pass


def test_what_is_not_there_is_named(store):
    with pytest.raises(EmptyStoreError, match="holds no bars"):
        store.bars("BTC/USD", "1h")
    store.write("bars", MARKET.bars())
    with pytest.raises(UnknownSymbolError, match="nearest stored is BTC/USD"):
        store.bars("BTC/USDT", "1h")
    with pytest.raises(EmptyStoreError, match="range asked"):
        store.bars("BTC/USD", "1h", start="2030-01-01")
    with pytest.raises(ValueError, match="lies after"):
        store.bars("BTC/USD", "1h", start="2024-02-01", end="2024-01-01")
    with pytest.raises(EmptyStoreError, match="holds no trades"):
        store.trades("BTC/USD")


def test_another_layout_and_a_foreign_folder_are_refused(tmp_path):
    (tmp_path / "store.json").write_text('{"layout": 1}')
    with pytest.raises(StoreLayoutError, match="found layout version 1, wanted 2"):
        Store(tmp_path)
    (tmp_path / "store.json").unlink()
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(StoreLayoutError, match=r"photo\.jpg"):
        Store(tmp_path)


def test_equal_quotes_are_read_once_and_books_keep_the_order_of_arrival(store):
    time = datetime(2024, 1, 1, tzinfo=UTC)
    quote = {"symbol": "BTC/USD", "bid_price": 1.0, "bid_size": 1.0, "ask_price": 2.0, "ask_size": 1.0}
    rows = [quote | {"time": time, "known": time + timedelta(seconds=delay)} for delay in (0, 1)]
    store.write("quotes", pl.DataFrame(rows))
    assert store.quotes().height == 1
    level = {"symbol": "BTC/USD", "side": "bid", "price": 1.0, "reset": False}
    moments = [(3, 1), (1, 2), (2, 2)]
    books = pl.DataFrame(
        [
            level
            | {"time": time + timedelta(seconds=event), "known": time + timedelta(seconds=known), "size": float(event)}
            for event, known in moments
        ]
    )
    store.write("books", books)
    assert store.books("BTC/USD")["size"].to_list() == [3.0, 1.0, 2.0]
    assert store.books("BTC/USD").schema["known"] == INSTANT


def test_lineage_and_summary_tell_what_was_written(store):
    assert "month 1" not in store.lineages()
    store.write("bars", MARKET.bars(), source="test", lineage="month 1")
    assert "month 1" in store.lineages()
    summary = store.summary()
    assert summary["rows"].to_list() == [480, 480]
    assert summary["files"].to_list() == [2, 2]
    assert summary["timeframe"].to_list() == ["1h", "1h"]


def test_pandas_is_taken_and_given(store):
    frame = MARKET.bars("1h", "BTC/USD")
    store.write("bars", frame.to_pandas())
    given_back = store.bars("BTC/USD", "1h", as_="pandas")
    assert type(given_back).__module__.startswith("pandas")
    assert str(given_back["time"].dtype) == "datetime64[ns, UTC]"
    assert given_back["close"].tolist() == frame["close"].to_list()


def test_arrow_is_taken_and_given(store):
    frame = MARKET.bars("1h", "BTC/USD")
    store.write("bars", frame.to_arrow())
    given_back = store.bars("BTC/USD", "1h", as_="arrow")
    assert given_back["close"].to_pylist() == frame["close"].to_list()
    assert given_back.schema.field("time").type == pa.timestamp("ns", "UTC")
    with pytest.raises(ValueError, match="as_ is 'arow', wanted"):
        store.bars("BTC/USD", "1h", as_="arow")


def test_small_and_large_objects_are_read_together(tmp_path):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    store, days = Store(f"memory://{tmp_path.name}-{time.time_ns()}"), MARKET.bars().partition_by("symbol")
    for part, rows in zip(days, (480, 20), strict=True):
        store.write("bars", part.head(rows))
    sizes = sorted(entry.bytes for entry in store._vault.snapshot().entries())
    store._vault.opener = Opener(store._vault.shelf_of, large_bytes=sizes[-1])
    assert store.bars(None, "1h").equals(pl.concat([days[0], days[1].head(20)]))
    assert store.bars(None, "2h").height == 250
    assert store.scan("bars", start="2024-01-21").height == 456


def test_the_list_of_files_is_what_other_tools_should_read(store, tmp_path):
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    day = 24 * HOUR
    ticks = trades_frame([(SYMBOLS[n % 2], n * HOUR, n, 1.0 + n, 2.0, "B") for n in range(1, 72)])
    placed = ticks.tail(20).with_columns(position=pl.lit(1 << 20, dtype=pl.Int64), rank=pl.lit(0, dtype=pl.Int8))
    for part in (ticks.head(30), ticks[30:51]):
        store.write("trades", part)
    store.publish_recent({"trades": placed}, 1, 1)
    assert store.files("trades")["symbol"].to_list().count("") == 1
    assert store.files("trades", "BTC/USD", start=50 * HOUR)["symbol"].to_list() == ["", "BTC/USD"]

    def rows(paths: list[str]) -> pl.DataFrame:
        wanted = ", ".join(
            f"epoch_ns({name}) AS {name}" if name in ("time", "known") else name for name in ticks.columns
        )
        query = f"SELECT {wanted} FROM read_parquet($paths, hive_partitioning=false) ORDER BY symbol, time"
        return pl.from_arrow(duckdb.sql(query, params={"paths": paths}).to_arrow_table())

    store.compact()
    listed = store.files("trades")
    told = store.trades().with_columns(pl.col("time", "known").dt.epoch("ns"))
    assert rows(listed["path"].to_list()).equals(told)
    assert rows([f"{store.root}/**/*.parquet"]).height > told.height
    assert listed.columns == ["path", "timeframe", "symbol", "first", "last", "rows", "bytes"]
    assert listed["bytes"].to_list() == [Path(path).stat().st_size for path in listed["path"]]
    assert listed["rows"].sum() == ticks.height
    assert listed.filter(symbol="BTC/USD")["last"].max() == ticks.filter(symbol="BTC/USD")["time"].max()
    assert pl.read_parquet(store.files("trades", "BTC/USD", day, 2 * day)["path"].to_list())[
        "symbol"
    ].unique().to_list() == ["BTC/USD"]
    moved = store.move("trades", timedelta(0), to=tmp_path / "cold")
    assert {Path(path).parts[: len(tmp_path.parts) + 1][-1] for path in store.files("trades")["path"]} == {"cold"}
    assert store.files("trades").height == moved.height
    assert rows(store.files("trades")["path"].to_list()).equals(told)
    with pytest.raises(UnknownSymbolError):
        store.files("trades", "DOGE/USD")
    with pytest.raises(EmptyStoreError, match="range asked"):
        store.files("trades", start=1000 * day)
    assert store.at(1).files("trades")["rows"].sum() == 30


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv"])
def test_an_export_can_be_imported_again(store, tmp_path, suffix):
    store.write("bars", MARKET.bars())
    assert store.export(tmp_path / f"bars.{suffix}", "bars", "BTC/USD", "2h") == 240
    other = Store(tmp_path / "other")
    assert other.import_file(tmp_path / f"bars.{suffix}") == 240
    assert other.bars("BTC/USD", "2h").equals(store.bars("BTC/USD", "2h"))
