"""The quality of a market: what was planted is counted where it lies, whatever the parts in which it is read."""

import io
from datetime import date, timedelta
from html.parser import HTMLParser

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from cryptoquant.data.quality_marks import MARKS, mark
from cryptoquant.data.quality_page import page_text
from cryptoquant.data.quality_report import MarketQuality, market_quality
from cryptoquant.data.reconciliation import by_minute
from cryptoquant.data.store import Store
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import EmptyStoreError
from tests.data.test_quality_marks import ticks

BARS = SyntheticMarket(days=4, timeframe="1h").bars()


def keyed(bars: pl.DataFrame) -> dict[tuple[str, str], pl.DataFrame]:
    return {("1h", str(part["symbol"].item(0))): part for part in bars.partition_by("symbol", maintain_order=True)}


@settings(max_examples=15)
@given(st.sampled_from(["trades", "quotes", "books"]), st.integers(0, 30), st.integers(120, 300))
def test_parts_read_one_by_one_are_judged_like_the_whole(kind, seed, cut):
    rows = ticks(400, seed)[kind].filter(symbol="A/USD").sort("time", maintain_order=True).with_columns(known="time")
    parts = [part for part in (rows.head(cut), rows.slice(cut)) if part.height]
    found = MarketQuality.of({}, [(kind, part) for part in parts]).totals()
    for row in found.iter_rows(named=True):
        assert row["count"] == mark(kind, rows)[f"is_{row['check']}"].sum(), row["check"]


def test_what_is_planted_is_counted_on_its_day():
    row = pl.int_range(pl.len())
    holed = BARS.filter(~row.is_in([30, 31]))
    trades = ticks(300)["trades"].filter(symbol="A/USD").with_columns(known="time", id=row)
    bad = trades.with_columns(price=pl.when(row == 100).then(1.0).otherwise("price"))
    quality = MarketQuality.of(keyed(holed), [("trades", bad)])
    faults = quality.frame.filter(pl.col("is_fault") & (pl.col("count") > 0))
    assert faults.select("kind", "symbol", "day", "check", "count").rows() == [
        ("bars", "BTC/USD", date(2024, 1, 2), "missing", 2),
        ("trades", "A/USD", date(2024, 1, 1), "spike", 1),
    ]
    assert not quality.is_clean
    assert MarketQuality.of(keyed(BARS)).is_clean
    assert quality.gaps["missing"].to_list() == [2]


def test_minutes_whose_bars_tell_of_more_than_the_stored_trades_are_counted():
    trades = ticks(3_000)["trades"].filter(symbol="A/USD").with_columns(known="time", id=pl.int_range(pl.len()))
    summed = by_minute(trades)
    bars = summed.select(
        "symbol", "open_time", time=pl.col("open_time") + timedelta(minutes=1), known="open_time", open=1.0, high=1.0,
        low=1.0, close=1.0, volume="traded", trade_count="trades", vwap=1.0,
    ).sort("open_time")  # fmt: skip
    minutes = summed["open_time"].sort()
    assert len(minutes) > 5
    minute = pl.col("time").dt.truncate("1m")

    def missing(kept):
        cut = kept.height // 2
        parts = [("trades", kept.head(cut)), ("trades", kept.slice(cut))]
        frame = MarketQuality.of({("1m", "A/USD"): bars}, parts).frame
        return frame.filter(kind="trades", check="missing")["count"].sum()

    assert missing(trades) == 0
    assert missing(pl.concat([trades, trades.tail(1)])) == 0
    lost = (minute == minutes[1]) | (minute == minutes[3]) & (
        pl.col("id") == trades.filter(minute == minutes[3])["id"][0]
    )
    assert missing(trades.filter(~lost)) == 2
    assert missing(trades.filter(minute < minutes[-1], minute > minutes[0])) == 0


def test_every_mark_of_every_kind_has_its_row():
    parts = [(kind, rows.filter(symbol=name)) for kind, rows in ticks(200).items() for name in ("A/USD", "B/USD")]
    frame = MarketQuality.of(keyed(BARS), parts).frame
    for kind in ("trades", "quotes", "books"):
        assert set(frame.filter(kind=kind)["check"]) == {name.removeprefix("is_") for name in MARKS[kind]}
    assert frame.filter(kind="bars", check="missing").height == 8


def test_halts_of_bars_and_symbols_that_go_are_reported():
    row = pl.int_range(pl.len()).over("symbol")
    dead = BARS.filter(~row.is_in([40, 41, 42, 43]))
    quality = MarketQuality.of(keyed(dead))
    assert quality.halts.select("scope", "seconds").rows() == [("venue", 5 * 3_600.0)]
    long = SyntheticMarket(days=20, timeframe="1h").bars()
    gone = long.filter((pl.col("symbol") != "ETH/USD") | (pl.col("time") < long["time"].min() + timedelta(days=9)))
    assert MarketQuality.of(keyed(gone)).successions.select("suspicion", "symbol").rows() == [("delisting", "ETH/USD")]


def test_a_store_is_read_whole_and_tells_itself(tmp_path):
    store = Store(tmp_path / "store")
    with pytest.raises(EmptyStoreError):
        market_quality(store)
    store.write("bars", BARS)
    rows = ticks(300)
    for kind, frame in rows.items():
        store.write(kind, frame)
    quality = market_quality(store)
    counted = (
        quality.frame.group_by("kind", "symbol", "day")
        .agg(pl.col("rows").first())
        .group_by("kind")
        .agg(pl.col("rows").sum())
    )
    sizes = dict(counted.iter_rows())
    assert sizes == {
        kind: store.bars(None, "1h").height if kind == "bars" else getattr(store, kind)().height for kind in sizes
    }
    target = Console(file=io.StringIO(), width=160)
    quality.show(target)
    text = target.file.getvalue()
    assert "A/USD      quotes" in text
    assert "not clean" in text


class Page(HTMLParser):
    """What a browser would fetch, and whether every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag, attributes):
        if tag != "meta":
            self.open.append(tag)
        self.outside += [value for name, value in attributes if name in ("src", "href")]
        assert tag != "script"

    def handle_startendtag(self, tag, attributes):
        assert tag == "rect"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_file_that_needs_nothing_and_hides_nothing(tmp_path):
    strange = BARS.with_columns(symbol=pl.col("symbol").replace("BTC/USD", "<B>/USD")).filter(
        pl.int_range(pl.len()) != 30
    )
    quality = MarketQuality.of(keyed(strange))
    path = quality.to_html(tmp_path / "deep" / "page.html")
    text = path.read_text(encoding="utf-8")
    assert text == page_text(quality)
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.outside == []
    assert "<B>" not in text
    assert text.count('<rect class="bad"') == 2  # the legend and the day of the missing bar
    assert text.count("2024-01-02: 23 rows, 1 faults") == 1


def test_a_long_range_is_drawn_in_steps_that_fit():
    quality = MarketQuality.of(keyed(SyntheticMarket(symbols=["BTC/USD"], days=400, timeframe="1h").bars()))
    assert page_text(quality).count("<rect class=") == 4 + 100
