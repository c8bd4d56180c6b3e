"""Which of the stored rows a question means: its range of time, and the revision that was known."""

import polars as pl

from cryptoquant.data.manifest import Entry
from cryptoquant.market.time import Instant, iso, to_ns


def instants(start: Instant | None, end: Instant | None) -> tuple[int | None, int | None]:
    """Return a range in nanoseconds UTC; raise ValueError when it runs backwards."""
    first, last = (None if instant is None else to_ns(instant) for instant in (start, end))
    if first is not None and last is not None and first > last:
        raise ValueError(f"start {iso(first)} lies after end {iso(last)}")
    return first, last


def overlaps(entry: Entry, first: int | None, last: int | None) -> bool:
    """Whether a file may hold rows of a range."""
    return (first is None or entry.last >= first) and (last is None or entry.first <= last)


def between(rows: pl.DataFrame, lower: str, first: int | None, last: int | None) -> pl.DataFrame:
    """Return the rows whose ``lower`` is at or after ``first`` and whose time is at or before ``last``."""
    if first is not None:
        rows = rows.filter(pl.col(lower).dt.epoch("ns") >= first)
    return rows if last is None else rows.filter(pl.col("time").dt.epoch("ns") <= last)


def latest(bars: pl.DataFrame, limit: int | None) -> pl.DataFrame:
    """Return one row per open time: the one known last, and of equally known ones the one written last."""
    known = bars if limit is None else bars.filter(pl.col("known").dt.epoch("ns") <= limit)
    ordered = known.sort("open_time", "known", maintain_order=True)
    return ordered.unique("open_time", keep="last", maintain_order=True)
