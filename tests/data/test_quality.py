"""Quality: planted faults are found, at the places where they were planted, and a whole market is clean."""

import io

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from cryptoquant.data.quality import QualityReport
from cryptoquant.data.store import Store
from cryptoquant.data.synthetic import SyntheticMarket

BARS = SyntheticMarket(symbols=["BTC/USD"], days=4, timeframe="1h").bars()


@settings(max_examples=30)
@given(st.sets(st.integers(1, 94), max_size=40))
def test_every_removed_bar_is_counted_on_its_day_and_in_a_gap(removed):
    kept = BARS.with_row_index().filter(~pl.col("index").is_in(removed)).drop("index")
    report = QualityReport.of({("1h", "BTC/USD"): kept})
    missing = {day: sum(1 for hour in removed if hour // 24 == day) for day in range(4)}
    assert report.frame["missing"].to_list() == list(missing.values())
    assert report.frame["expected"].to_list() == [24] * 4
    assert report.gaps["missing"].sum() == len(removed)
    gaps = sum(1 for hour in removed if hour - 1 not in removed)
    assert report.gaps.height == gaps
    assert report.is_clean == (not removed)


def test_a_gap_tells_from_when_to_when():
    report = QualityReport.of({("1h", "BTC/USD"): pl.concat([BARS.head(10), BARS.slice(13, 20)])})
    gap = report.gaps.row(0, named=True)
    assert (gap["start"], gap["end"], gap["missing"]) == (BARS["time"][9], BARS["open_time"][13], 3)


def test_a_bad_print_is_a_spike_and_a_lasting_jump_is_not():
    row = pl.int_range(pl.len())
    bad = BARS.with_columns(close=pl.when(row == 60).then(pl.col("close") * 3).otherwise(pl.col("close")))
    assert QualityReport.of({("1h", "BTC/USD"): bad}).frame["spikes"].to_list() == [0, 0, 1, 0]
    jump = BARS.with_columns(close=pl.when(row >= 60).then(pl.col("close") * 3).otherwise(pl.col("close")))
    assert QualityReport.of({("1h", "BTC/USD"): jump}).frame["spikes"].sum() == 0


def test_duplicates_revisions_and_idle_runs_are_counted():
    later = BARS.slice(30, 2).with_columns(known=pl.col("known") + pl.duration(hours=1, time_unit="ns"))
    idle = BARS.with_columns(
        volume=pl.when(pl.int_range(pl.len()).is_in([3, 4, 5, 9])).then(0.0).otherwise(pl.col("volume"))
    )
    report = QualityReport.of(
        {
            ("1h", "BTC/USD"): pl.concat(
                [idle, BARS.slice(50, 3).with_columns(volume=pl.lit(7.0)), BARS.slice(70, 3), later]
            )
        }
    )
    assert report.frame["duplicates"].to_list() == [0, 0, 3, 0]
    assert report.frame["revisions"].to_list() == [0, 2, 0, 0]
    assert report.frame["zero_volume"].to_list() == [4, 0, 0, 0]
    assert report.frame["longest_idle"].to_list() == [3, 0, 0, 0]


def test_the_check_of_a_store_covers_each_symbol_and_prints_itself(tmp_path):
    store = Store(tmp_path / "store")
    store.write("bars", SyntheticMarket(days=3, timeframe="5m").bars())
    report = store.check("bars")
    assert report.is_clean
    assert report.totals()["found"].to_list() == [864, 864]
    target = Console(file=io.StringIO(), width=160)
    report.show(target)
    text = target.file.getvalue()
    assert "BTC/USD" in text
    assert "clean" in text
    with pytest.raises(ValueError, match="wanted bars"):
        store.check("books")


def test_the_real_outages_are_found(real_market, tmp_path):
    store = Store(tmp_path / "store")
    store.import_file(real_market / "bars/binance_btc_1h_2017_2022.parquet")
    totals = store.check().totals().row(0, named=True)
    assert (totals["missing"], totals["zero_volume"]) == (127, 3)
    report = store.check()
    assert (report.gaps.height, report.gaps["missing"].max()) == (27, 33)
