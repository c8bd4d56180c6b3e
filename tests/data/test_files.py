"""Imports: common files are understood, and every fault is named before anything is written."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from cryptoquant.data.store import Store
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import ImportFileError
from cryptoquant.market.aggregation import aggregate
from cryptoquant.market.time import to_ns
from tests.data.test_quality_marks import ticks

ROWS = [("2024-01-01T00:00:00Z", 10, 12, 9, 11, 5), ("2024-01-01T01:00:00Z", 11, 13, 10, 12, 6)]


def csv(tmp_path, rows=ROWS, header="time,open,high,low,close,volume"):
    path = tmp_path / "bars.csv"
    path.write_text("\n".join([header, *(",".join(str(value) for value in row) for row in rows)]) + "\n")
    return path


@pytest.mark.parametrize(
    ("first", "second", "zone"),
    [
        ("2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z", None),
        ("2024-01-01 00:00:00+00:00", "2024-01-01 01:00:00+00:00", None),
        ("2024-01-01 01:00:00+01:00", "2024-01-01 02:00:00+01:00", None),
        ("2024-01-01 00:00:00 UTC", "2024-01-01 01:00:00 UTC", None),
        ("2024-01-01T00:00:00.000Z", "2024-01-01T01:00:00.000Z", None),
        ("2024-01-01 00:00:00", "2024-01-01 01:00:00", "UTC"),
        ("2024-01-01 00:00", "2024-01-01 01:00", "UTC"),
        ("2023-12-31 18:00:00", "2023-12-31 19:00:00", "America/Chicago"),
        ("1704067200", "1704070800", None),
        ("1704067200000", "1704070800000", None),
        ("1704067200000000", "1704070800000000", None),
        ("1704067200000000000", "1704070800000000000", None),
    ],
)
def test_times_in_many_spellings_are_one_instant(store, tmp_path, first, second, zone):
    rows = [(first, *ROWS[0][1:]), (second, *ROWS[1][1:])]
    assert store.import_file(csv(tmp_path, rows), symbol="BTC_USDT", zone=zone) == 2
    bars = store.bars("BTC/USDT", "1h")
    assert bars["open_time"].to_list() == [datetime(2024, 1, 1, hour, tzinfo=UTC) for hour in (0, 1)]
    assert bars["known"].equals(bars["time"].rename("known"))


def test_a_file_stamped_at_the_close_is_shifted(store, tmp_path):
    store.import_file(csv(tmp_path), symbol="BTC/USD", stamped="close")
    assert store.bars("BTC/USD", "1h")["time"].to_list() == [datetime(2024, 1, 1, hour, tzinfo=UTC) for hour in (0, 1)]


def test_descending_rows_other_names_and_extra_columns_are_understood(store, tmp_path):
    path = csv(tmp_path, [(*row, 1) for row in ROWS[::-1]], "Date,Open,High,Low,Px,Volume BTC,ignored")
    store.import_file(path, symbol="BTC/USD", columns={"Px": "close", "Volume BTC": "volume"})
    assert store.bars("BTC/USD", "1h")["volume"].to_list() == [5.0, 6.0]


FAULTS = [
    ((0, 1, "abc"), "row 1, column open: found 'abc', wanted a number"),
    ((1, 4, ""), "row 2, column close"),
    ((1, 3, -1), "row 2, column low: found -1.0, wanted a price above zero"),
    ((1, 2, 11.5), "row 2, column high: found 11.5, wanted at least open, close and low"),
    ((0, 5, "nan"), "row 1, column volume"),
    ((1, 0, "yesterday"), "row 2, column time: found 'yesterday'"),
    ((1, 0, "2024-01-01 01:00:00"), "row 2, column time: .*zone='UTC'"),
    ((1, 0, "2024-01-01T00:00:00Z"), "timeframe"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS)
def test_a_fault_names_file_row_and_column_and_nothing_is_written(store, tmp_path, change, message):
    rows = [list(row) for row in ROWS]
    rows[change[0]][change[1]] = change[2]
    with pytest.raises(ImportFileError, match=rf"bars\.csv: .*{message}"):
        store.import_file(csv(tmp_path, rows), symbol="BTC/USD")
    assert not store.root.exists()


def test_overlapping_rows_a_missing_column_and_a_missing_symbol_are_named(store, tmp_path):
    overlap = [*ROWS, ("2024-01-01T01:30:00Z", *ROWS[1][1:])]
    with pytest.raises(ImportFileError, match="row 3, column time"):
        store.import_file(csv(tmp_path, overlap), symbol="BTC/USD", timeframe="1h")
    with pytest.raises(ImportFileError, match="no column for symbol"):
        store.import_file(csv(tmp_path))
    path = csv(tmp_path, [row[:-1] for row in ROWS], "time,open,high,low,close")
    with pytest.raises(ImportFileError, match="no column for volume"):
        store.import_file(path, symbol="BTC/USD")
    with pytest.raises(ImportFileError, match="column Px was named but is absent"):
        store.import_file(csv(tmp_path), symbol="BTC/USD", columns={"Px": "close"})
    with pytest.raises(ImportFileError, match="no such file"):
        store.import_file(tmp_path / "absent.csv")


def test_two_rows_off_the_grid_do_not_change_the_timeframe(store, tmp_path):
    start = datetime(2024, 1, 1, tzinfo=UTC)
    stamps = [start + timedelta(minutes=5 * n) for n in range(200)]
    stamps.insert(51, stamps[50] + timedelta(minutes=1))
    stamps.insert(91, stamps[90] + timedelta(minutes=1))
    rows = [(stamp.isoformat(), *ROWS[0][1:]) for stamp in stamps]
    with pytest.raises(ImportFileError, match="row 52, column time"):
        store.import_file(csv(tmp_path, rows), symbol="BTC/USD")


def test_naive_times_in_parquet_are_refused_without_a_zone(store, tmp_path):
    path = tmp_path / "bars.parquet"
    stamps = [datetime(2024, 1, 1, hour) for hour in (0, 1)]  # noqa: DTZ001
    pl.DataFrame(
        {"timestamp": stamps, **{key: [1.0, 1.0] for key in ("open", "high", "low", "close", "volume")}}
    ).write_parquet(path)
    with pytest.raises(ImportFileError, match="has no zone"):
        store.import_file(path, symbol="BTC/USD")
    assert store.import_file(path, symbol="BTC/USD", zone="UTC") == 2


def test_real_five_minute_bars_make_the_real_hours(real_market, store):
    assert store.import_file(real_market / "bars/binance_5m_2024/BTC_USDT.parquet") == 71_769
    panel = pl.read_parquet(real_market / "bars/binance_1h_2024_panel8.parquet").filter(pl.col("symbol") == "BTC/USDT")
    hours = store.bars("BTC/USDT", "1h").with_columns(timestamp=pl.col("open_time").cast(pl.Datetime("us", "UTC")))
    both = hours.join(panel, on="timestamp", suffix="_real")
    assert both.height == 5_980
    for name in ("open", "high", "low", "close"):
        assert (both[name] == both[f"{name}_real"]).all()
    assert ((both["volume"] - both["volume_real"]).abs() / both["volume_real"]).max() < 4e-12


def test_real_trades_make_the_real_five_minute_bar(real_market, store):
    store.import_file(real_market / "trades/binance_spot_btcusdt_20240808.parquet")
    store.import_file(real_market / "bars/binance_5m_2024/BTC_USDT.parquet")
    opened = to_ns("2024-08-08T23:55:00Z")
    trades = store.trades("BTC/USDT", opened, opened + 300_000_000_000 - 1).sort("id")
    bar = store.bars("BTC/USDT", "5m", opened, opened + 300_000_000_000).row(0, named=True)
    prices = trades["price"]
    assert (prices[0], prices.max(), prices.min(), prices[-1]) == (bar["open"], bar["high"], bar["low"], bar["close"])
    assert round(trades["size"].sum(), 6) == bar["volume"]


@pytest.mark.parametrize("name", ["binance_1d_2024_panel8", "bitstamp_1d_2014_2019", "lean_spot_coinbase_1s"])
def test_real_files_of_other_shapes_are_imported_whole(real_market, store, name):
    path = real_market / f"bars/{name}.parquet"
    assert store.import_file(path) == pl.read_parquet(path).height
    assert set(store.summary()["timeframe"]) == {name.split("_")[1] if name.startswith("b") else "1s"}


def test_real_hours_aggregate_like_days_of_the_same_venue(real_market, store):
    store.import_file(real_market / "bars/binance_1h_2024_panel8.parquet")
    days = pl.read_parquet(real_market / "bars/binance_1d_2024_panel8.parquet").filter(pl.col("symbol") == "ETH/USDT")
    made = aggregate(store.bars("ETH/USDT", "1h"), "1d")
    assert made["high"].to_list() == days["high"].head(made.height).to_list()


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["1723161600123456789", "1723161600123456791"], [1723161600123456789, 1723161600123456791]),
        (["1700000000.25", "1700000000.75"], [1700000000250000000, 1700000000750000000]),
        (["1700000000123.5", "1700000001123.000001"], [1700000000123500000, 1700000001123000001]),
        (["20240101", "20240102"], [to_ns("2024-01-01"), to_ns("2024-01-02")]),
    ],
)
@pytest.mark.parametrize("is_number", [False, True])
def test_numbers_are_instants_to_the_last_digit(store, tmp_path, texts, wanted, is_number):
    if is_number and "." in texts[0]:
        return
    path = tmp_path / "trades.parquet"
    stamps = [int(text) for text in texts] if is_number else texts
    pl.DataFrame({"time": stamps, "price": [1.0, 2.0], "size": [1.0, 1.0]}).write_parquet(path)
    assert store.import_file(path, symbol="BTC/USD") == 2
    assert store.trades()["time"].to_physical().to_list() == wanted


def test_a_time_before_the_first_coin_is_refused(store, tmp_path):
    rows = [("86400", *ROWS[0][1:]), ("90000", *ROWS[1][1:])]
    with pytest.raises(ImportFileError, match=r"row 1, column time: found '?86400'?, wanted a time after 2009-01-03"):
        store.import_file(csv(tmp_path, rows), symbol="BTC/USD")


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv"])
@pytest.mark.parametrize("kind", ["trades", "quotes", "bars", "books"])
def test_what_is_exported_comes_back_as_it_was(tmp_path, suffix, kind):
    late = pl.col("time") + pl.duration(hours=6, nanoseconds=7)
    if kind == "bars":
        given = SyntheticMarket(symbols=["BTC/USD", "X.Y/USDT"], days=2, timeframe="1h").bars().with_columns(known=late)
    else:
        given = ticks(60)[kind].with_columns(known=late)
    first, second = Store(tmp_path / "first"), Store(tmp_path / "second")
    first.write(kind, given)
    path = tmp_path / f"rows.{suffix}"
    timeframe = "1h" if kind == "bars" else None
    count = first.export(path, kind, None, timeframe)
    assert second.import_file(path) == count > 0
    read = [store.bars(None, "1h") if kind == "bars" else getattr(store, kind)() for store in (first, second)]
    assert read[0].equals(read[1])
    assert read[0].height == count
    early = pl.read_parquet(path) if suffix == "parquet" else None
    if early is not None:
        early.with_columns(known=pl.col("time") - pl.duration(seconds=1)).write_parquet(path)
        with pytest.raises(ImportFileError, match=r"row 1, column known: .* wanted no time before the row's own"):
            second.import_file(path)
