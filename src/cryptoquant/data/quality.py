"""How good the stored bars are: what is missing, doubled, idle or implausible, by symbol and day."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from cryptoquant.data.quality_marks import MEDIAN_TO_DEVIATION
from cryptoquant.market.schema import BARS
from cryptoquant.market.time import span_ns

if TYPE_CHECKING:
    from rich.console import Console

SPIKE_DEVIATIONS = 25.0
SPIKE_WINDOW = 100
SPIKE_WARMUP = 30
SMALLEST_JUMP = 0.002
COUNTS = ("expected", "found", "missing", "duplicates", "revisions", "zero_volume", "longest_idle", "spikes")

FAULTS = {
    "missing": "missing",
    "duplicates": "doubled",
    "spikes": "spikes",
    "revisions": "revised",
    "zero_volume": "without volume",
}
LARGEST = 10


@dataclass(frozen=True)
class QualityReport:
    """What was found, as frames.

    Crypto trades around the clock: between the first and the last stored bar of a symbol every interval of the
    timeframe is expected. A spike is a close whose log return is more than 25 robust deviations (1.4826 times the
    median absolute return of the 100 bars before, at least 0.2 %) away and of which the next bar takes back more than
    half: a bad print rather than news. So it looks one bar ahead, which a spike that `mark` finds does not: there a
    price is measured against the median of those before it.

    Attributes
    ----------
    frame
        One row per timeframe, symbol and day (UTC, by the bar's open): expected, found and missing bars, duplicates
        (equal open and known, other values), revisions, bars without volume, the longest run of them, and spikes.
    gaps
        One row per gap: timeframe, symbol, ``start`` (close of the bar before), ``end`` (open of the next), missing.
    """

    frame: pl.DataFrame
    gaps: pl.DataFrame

    @classmethod
    def of(cls, bars: Mapping[tuple[str, str], pl.DataFrame]) -> "QualityReport":
        """Return the report of bars keyed by timeframe and symbol, with all their revisions."""
        parts = [
            _measure(timeframe, symbol, rows.select(*BARS)) for (timeframe, symbol), rows in bars.items() if rows.height
        ]
        if not parts:
            raise ValueError("quality: found no bars, wanted at least one")
        return cls(pl.concat(days for days, _ in parts), pl.concat(gaps for _, gaps in parts))

    @property
    def is_clean(self) -> bool:
        """Whether no bar is missing, doubled or a spike."""
        return not any(self.frame[name].sum() for name in ("missing", "duplicates", "spikes"))

    def totals(self) -> pl.DataFrame:
        """Return one row per timeframe and symbol."""
        longest = pl.col("longest_idle").max()
        sums = [pl.col(name).sum() for name in COUNTS if name != "longest_idle"]
        return self.frame.group_by("timeframe", "symbol", maintain_order=True).agg(*sums, longest)

    def show(self, console: "Console | None" = None) -> None:
        """Print a line for each series, with its faults, and the largest gaps."""
        from rich.console import Console

        target = console or Console(highlight=False, soft_wrap=True)
        for row in self.totals().iter_rows(named=True):
            faults = [f"{row[name]:,} {words}" for name, words in FAULTS.items() if row[name]]
            said = f"{row['symbol']:10} {row['timeframe']:>4}  {row['found']:,} of {row['expected']:,} bars"
            target.print(f"{said}: {', '.join(faults) or 'nothing wrong'}", markup=False)
        for gap in self.gaps.sort("missing", descending=True).head(LARGEST).iter_rows(named=True):
            span = f"{gap['start']:%Y-%m-%d %H:%M} to {gap['end']:%Y-%m-%d %H:%M}"
            target.print(f"  gap {gap['symbol']} {gap['timeframe']}: {span}, {gap['missing']:,} missing", markup=False)
        if self.gaps.height > LARGEST:
            target.print(f"  and {self.gaps.height - LARGEST:,} smaller gaps", markup=False)
        target.print("clean" if self.is_clean else "not clean")


def _measure(timeframe: str, symbol: str, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    width = span_ns(timeframe)
    ordered = rows.unique(maintain_order=True).sort("open_time", "known", maintain_order=True)
    bars = ordered.unique("open_time", keep="last", maintain_order=True)
    bars = bars.with_columns(spike=_spikes(), idle=pl.col("volume") == 0)
    bars = bars.with_columns(idle_run=pl.col("idle").cum_sum().over(pl.col("idle").rle_id()))
    doubled = ordered.group_by("open_time", "known").len().with_columns(duplicates=pl.col("len") - 1)
    copies = doubled.group_by("open_time").agg(pl.col("duplicates").sum(), revisions=pl.len() - 1)
    by_day = (
        bars.join(copies, on="open_time", how="left")
        .group_by(day=pl.col("open_time").dt.date())
        .agg(
            found=pl.len(),
            duplicates=pl.col("duplicates").sum(),
            revisions=pl.col("revisions").sum(),
            zero_volume=pl.col("idle").sum(),
            longest_idle=pl.col("idle_run").filter("idle").max().fill_null(0),
            spikes=pl.col("spike").sum(),
        )
    )
    days = _expected(bars, width).join(by_day, on="day", how="left").with_columns(pl.exclude("day").fill_null(0))
    days = days.with_columns(missing=pl.col("expected").cast(pl.Int64) - pl.col("found").cast(pl.Int64))
    labels = (pl.lit(timeframe).alias("timeframe"), pl.lit(symbol).alias("symbol"))
    counted = days.select(*labels, "day", *(pl.col(name).cast(pl.Int64) for name in COUNTS)).sort("day")
    return counted, _gaps(bars, width).select(*labels, pl.all())


def _expected(bars: pl.DataFrame, width: int) -> pl.DataFrame:
    """Return the number of intervals that open on each day between the first and the last bar."""
    opens = bars["open_time"].dt.epoch("ns")
    grid = pl.int_range(opens.item(0), opens.item(-1) + 1, width, eager=True)
    days = pl.from_epoch(grid, "ns").dt.date().alias("day")
    return days.to_frame().group_by("day").agg(expected=pl.len())


def _gaps(bars: pl.DataFrame, width: int) -> pl.DataFrame:
    between = (pl.col("open_time") - pl.col("start")).dt.total_nanoseconds()
    table = bars.select("open_time", start=pl.col("time").shift(1)).filter(between > 0)
    return table.select("start", end="open_time", missing=between // width)


def _spikes() -> pl.Expr:
    jump = pl.col("close").log().diff()
    usual = jump.abs().rolling_median(SPIKE_WINDOW, min_samples=SPIKE_WARMUP).shift(1)
    limit = pl.max_horizontal(SPIKE_DEVIATIONS * MEDIAN_TO_DEVIATION * usual, SMALLEST_JUMP)
    is_far = (jump.abs() > limit) & usual.is_not_null()
    taken_back = (jump.shift(-1) * jump < 0) & (jump.shift(-1).abs() > jump.abs() / 2)
    return (is_far & taken_back).fill_null(value=False)
