"""How good a whole store is: every kind, symbol and day, the venue's silences, and symbols that came and went."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from cryptoquant.data.calendar import DAY_NS, days
from cryptoquant.data.quality import COUNTS, QualityReport
from cryptoquant.data.quality_marks import MARKS, mark
from cryptoquant.data.quality_page import write_page
from cryptoquant.data.quality_venue import HALTS, SUCCESSIONS, halts, successions
from cryptoquant.data.reconciliation import by_minute, reconcile
from cryptoquant.errors import EmptyStoreError
from cryptoquant.market.time import span_ns

if TYPE_CHECKING:
    from rich.console import Console

    from cryptoquant.data.store import Store

FAULTS = {
    "bars": ("missing", "duplicates", "spikes"),
    "trades": ("duplicate", "missing", "spike"),
    "quotes": ("duplicate", "crossed", "spike"),
    "books": ("crossed",),
}
FRAME: dict[str, pl.DataType | type[pl.DataType]] = {
    "kind": pl.String,
    "timeframe": pl.String,
    "symbol": pl.String,
    "day": pl.Date,
    "check": pl.String,
    "count": pl.Int64,
    "rows": pl.Int64,
    "is_fault": pl.Boolean,
}
SECOND_NS = 1_000_000_000
TAIL = 200
SHOWN = 10


@dataclass(frozen=True)
class MarketQuality:
    """What was found in a market, as frames.

    Attributes
    ----------
    frame
        One row per kind, timeframe (of bars), symbol, day (UTC) and check: how many rows it found, of how many rows,
        and whether the check is a fault or a remark. Bars are checked as `QualityReport` does, other kinds as
        `quality_marks.mark` marks them, where the word is the mark's. ``missing`` of trades counts the minutes whose
        bars tell of a larger volume than the stored trades add up to.
    gaps
        Missing bars, as in `QualityReport`.
    halts
        Silences of the venue and of single symbols, see `quality_venue.halts`.
    successions
        Suspected renames, delistings and listings, see `quality_venue.successions`.
    """

    frame: pl.DataFrame
    gaps: pl.DataFrame
    halts: pl.DataFrame
    successions: pl.DataFrame

    @classmethod
    def of(
        cls, bars: Mapping[tuple[str, str], pl.DataFrame], ticks: Iterable[tuple[str, pl.DataFrame]] = ()
    ) -> "MarketQuality":
        """Return the quality of bars, keyed by timeframe and symbol with all revisions, and of ticks.

        Parameters
        ----------
        ticks
            Kind and rows of one symbol at a time, in the order of time; parts that follow one another may be given one
            by one, so that memory holds only one.
        """
        parts, pulse, traded = [pl.DataFrame(schema=FRAME)], [], []
        report = QualityReport.of(bars) if bars else None
        if report is not None:
            parts.append(_of_bars(report.frame))
        for kind, rows in _continued(ticks):
            parts.append(_of_ticks(kind, rows))
            new = rows.filter(~pl.col("is_tail"))
            pulse.append(_pulse(new))
            if kind == "trades":
                traded.append(by_minute(new.filter(~pl.col("is_duplicate"))))
        shortest = min((timeframe for timeframe, _ in bars), key=span_ns, default="")
        usual = timedelta(minutes=1)
        if shortest and not pulse:
            usual = timedelta(microseconds=span_ns(shortest) // 1_000)
            pulse = [rows.select("symbol", "time") for (name, _), rows in bars.items() if name == shortest]
        lives = [rows.select("symbol", "time", "open", "close") for (name, _), rows in bars.items() if name == shortest]
        if traded:
            parts += _of_minutes(bars, pl.concat(traded).group_by("symbol", "open_time").sum())
        return cls(
            pl.concat(parts).sort("kind", "timeframe", "symbol", "day", "check"),
            report.gaps if report is not None else pl.DataFrame(),
            halts(pl.concat(pulse), usual) if pulse else pl.DataFrame(schema=HALTS),
            successions(pl.concat(lives)) if lives else pl.DataFrame(schema=SUCCESSIONS),
        )

    @property
    def is_clean(self) -> bool:
        """Whether no check that is a fault found anything."""
        return not self.frame.filter(pl.col("is_fault") & (pl.col("count") > 0)).height

    def totals(self) -> pl.DataFrame:
        """Return how often each check found something, by kind, timeframe and symbol; not those that found nothing."""
        keys = ["kind", "timeframe", "symbol", "check", "is_fault"]
        counted = self.frame.group_by(keys).agg(
            pl.col("count").sum(), pl.col("rows").sum(), days=(pl.col("count") > 0).sum()
        )
        return counted.filter(pl.col("count") > 0).sort(keys)

    def show(self, console: "Console | None" = None) -> None:
        """Print a line for each series, and the longest silences and the suspicions."""
        from rich.console import Console

        target = console or Console(highlight=False, soft_wrap=True)
        found = self.totals()
        for kind, timeframe, symbol, rows in series(self.frame).iter_rows():
            own = found.filter(kind=kind, timeframe=timeframe, symbol=symbol)
            words = [
                f"{count:,} {check.replace('_', ' ')}" for check, count in own.select("check", "count").iter_rows()
            ]
            said = f"{symbol:10} {kind} {timeframe}".ljust(24)
            target.print(f"{said}{rows:>12,} rows: {', '.join(words) or 'nothing wrong'}", markup=False)
        for halt in self.halts.sort("seconds", descending=True).head(SHOWN).iter_rows(named=True):
            who = "venue" if halt["symbol"] is None else halt["symbol"]
            target.print(
                f"  silence of {who}: {halt['start']:%Y-%m-%d %H:%M:%S}, {halt['seconds']:,.0f} s", markup=False
            )
        for row in self.successions.iter_rows(named=True):
            target.print(
                f"  suspected {row['suspicion']}: {row['symbol']} {row['successor'] or ''}".rstrip(), markup=False
            )
        target.print("clean" if self.is_clean else "not clean")

    def to_html(self, path: str | Path) -> Path:
        """Write one page that needs no network and no script, and return its path."""
        return write_page(self, Path(path))


CHECKED = ("bars", *MARKS)


def market_quality(store: "Store", kinds: Iterable[str] = CHECKED) -> MarketQuality:
    """Return the quality of what a store holds, read day by day and symbol by symbol.

    Bars are read as the store's readers give them: of several revisions the one known last.

    Raises
    ------
    EmptyStoreError
        The store holds none of these kinds.
    """
    held = store.summary().filter(pl.col("kind").is_in(list(kinds)))
    if not held.height:
        raise EmptyStoreError(f"store {store.root}: holds no {', '.join(dict.fromkeys(kinds))}")
    named = held.filter(kind="bars").select("timeframe", "symbol").rows()
    bars = {(timeframe, symbol): store.bars(symbol, timeframe) for timeframe, symbol in named}
    return MarketQuality.of(bars, _ticks(store, held.filter(pl.col("kind") != "bars")))


def series(frame: pl.DataFrame) -> pl.DataFrame:
    """Return kind, timeframe, symbol and rows of each series of a quality frame."""
    by_day = frame.group_by("kind", "timeframe", "symbol", "day").agg(pl.col("rows").max())
    return by_day.group_by("kind", "timeframe", "symbol").agg(pl.col("rows").sum()).sort("kind", "timeframe", "symbol")


def _ticks(store: "Store", held: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    for row in held.iter_rows(named=True):
        first, last = (int(row[name].timestamp()) * SECOND_NS for name in ("first", "last"))
        for start, end in days(first // DAY_NS * DAY_NS, last + SECOND_NS):
            try:
                yield row["kind"], getattr(store, row["kind"])(row["symbol"], start, end - 1)
            except EmptyStoreError:
                continue


def _continued(ticks: Iterable[tuple[str, pl.DataFrame]]) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield the parts marked, each with the tail of the one before it, by which it is judged (``is_tail``).

    Of books all is carried on, since an update means nothing without those before it.
    """
    before: tuple[str, str] | None = None
    tail = pl.DataFrame()
    for kind, rows in ticks:
        own = (kind, str(rows["symbol"].item(0)))
        joined = pl.concat([tail, rows]) if own == before else rows
        older = joined.height - rows.height
        yield kind, mark(kind, joined).with_columns(is_tail=pl.int_range(pl.len()) < older)
        tail = joined if kind == "books" else joined.tail(TAIL)
        before = own


def _pulse(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the seconds in which something happened."""
    return rows.select("symbol", pl.col("time").dt.truncate("1s")).unique()


def _of_ticks(kind: str, rows: pl.DataFrame) -> pl.DataFrame:
    marked = rows.filter(~pl.col("is_tail")).with_columns(day=pl.col("time").dt.date())
    sums = [pl.col(name).sum().cast(pl.Int64).alias(name.removeprefix("is_")) for name in MARKS[kind]]
    counted = marked.group_by("symbol", "day").agg(*sums, rows=pl.len().cast(pl.Int64))
    return _long(counted.with_columns(kind=pl.lit(kind), timeframe=pl.lit("")), FAULTS[kind])


def _of_minutes(bars: Mapping[tuple[str, str], pl.DataFrame], traded: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the days of which trades are missing by what minute bars say, from the first stored trade to the last."""
    for stored in traded.partition_by("symbol"):
        of_minutes = bars.get(("1m", stored["symbol"].item(0)))
        if of_minutes is None:
            continue
        # The first and the last minute may have been recorded in part.
        inside = pl.col("open_time").is_between(stored["open_time"].min(), stored["open_time"].max(), closed="none")
        both = reconcile(of_minutes.filter(inside), stored).with_columns(day=pl.col("open_time").dt.date())
        counted = both.group_by("symbol", "day").agg(
            missing=pl.col("is_short").sum().cast(pl.Int64), rows=pl.col("trades").sum()
        )
        yield _long(counted.with_columns(kind=pl.lit("trades"), timeframe=pl.lit("")), FAULTS["trades"])


def _of_bars(frame: pl.DataFrame) -> pl.DataFrame:
    checks = [name for name in COUNTS if name not in ("expected", "found", "longest_idle")]
    counted = frame.select("timeframe", "symbol", "day", *checks, rows=pl.col("found"), kind=pl.lit("bars"))
    return _long(counted, FAULTS["bars"])


def _long(counted: pl.DataFrame, faults: tuple[str, ...]) -> pl.DataFrame:
    keys = ["kind", "timeframe", "symbol", "day", "rows"]
    turned = counted.unpivot(index=keys, variable_name="check", value_name="count")
    return turned.with_columns(is_fault=pl.col("check").is_in(faults)).select(*FRAME)
