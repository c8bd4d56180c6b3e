"""Which of the stored rows a question means: its range of time, and the revision that was known."""

from datetime import timedelta

import polars as pl

from cryptoquant.market.schema import INSTANT
from cryptoquant.market.time import Instant, iso, timeframe_name, to_ns

Bounds = tuple[int | None, int | None]
EVERY = pl.lit(value=True)
"""The answer of `inside` and `known_by` where nothing is left out, so that nothing needs to be looked at."""
EDGES = {"bars": ("open_time", "time"), "daily_bars": ("open_time", "open_time")}


def instants(start: Instant | None, end: Instant | None) -> Bounds:
    """Return a range in nanoseconds UTC; raise ValueError when it runs backwards."""
    first, last = (None if instant is None else to_ns(instant) for instant in (start, end))
    if first is not None and last is not None and first > last:
        raise ValueError(f"start {iso(first)} lies after end {iso(last)}")
    return first, last


def edges(kind: str) -> tuple[str, str]:
    """Return the columns that have to lie at or after the start, and at or before the end, of a range."""
    return EDGES.get(kind, ("time", "time"))


def inside(kind: str, bounds: Bounds) -> pl.Expr:
    """Return whether rows of a kind lie in a range of nanoseconds UTC, both ends included."""
    lower, upper = edges(kind)
    first, last = bounds
    wanted = EVERY
    if first is not None:
        wanted = pl.col(lower) >= pl.lit(first).cast(INSTANT)
    if last is None:
        return wanted
    upto = pl.col(upper) <= pl.lit(last).cast(INSTANT)
    return upto if first is None else wanted & upto


def known_by(limit: int | None) -> pl.Expr:
    """Return whether rows were known at an instant (ns UTC); all are when there is no limit."""
    return EVERY if limit is None else pl.col("known") <= pl.lit(limit).cast(INSTANT)


def latest(bars: pl.DataFrame, limit: int | None) -> pl.DataFrame:
    """Return one row per open time of one symbol: of those known the one of highest rank, of these the one known last.

    Of rows that are equal in both, the last one counts.
    """
    known = bars.filter(known_by(limit))
    ordered = known.sort("open_time", "rank", "known", maintain_order=True)
    return ordered.filter(pl.col("open_time").is_last_distinct())


def timeframe_of_span(nanoseconds: int) -> str:
    """Return the name of a timeframe of a length in nanoseconds."""
    return timeframe_name(timedelta(microseconds=nanoseconds // 1_000))
