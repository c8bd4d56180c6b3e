"""Marks on rows that look wrong, so that whoever reads them may decide: nothing is deleted, nothing sees the future.

A mark depends on rows that had arrived by then alone: rows are taken in the order of ``known`` (then of the log).
"""

from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from cryptoquant.data.quality_books import mark_books

MEDIAN_TO_DEVIATION = 1.4826
BPS = 1e4
MARKS = {
    "trades": ("is_duplicate", "is_late", "is_spike"),
    "quotes": (
        *("is_duplicate", "is_late", "is_one_sided", "is_crossed"),
        *("is_locked", "is_stale", "is_wide", "is_spike"),
    ),
    "bars": ("is_duplicate", "is_revision", "is_late", "is_after_gap", "is_idle", "is_spike"),
    "books": ("is_before_reset", "is_crossed", "is_late"),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """From where a row counts as wrong.

    Attributes
    ----------
    spike_deviations, smallest_spike
        A price is a spike when it lies further from the median of the ``level`` prices before it than so many robust
        deviations (1.4826 times the median of such distances over the ``window`` rows before), and than a share of the
        price. A move that the next few prices confirm is no spike any more. `QualityReport` counts other spikes: closes
        that lie far from the one before and are taken back by the next, which cannot be known at their time.
    wide_multiple, smallest_wide_bps
        A spread is wide beyond so many times the median of those before, and so many basis points.
    stale_after
        A quote is stale when bid and ask have stood still for longer, or when it was that old on arrival.
    level, window, warm_up
        In rows of the symbol; before ``warm_up`` rows nothing is a spike or wide.
    """

    spike_deviations: float = 25.0
    smallest_spike: float = 0.005
    wide_multiple: float = 10.0
    smallest_wide_bps: float = 10.0
    stale_after: timedelta = timedelta(seconds=60)
    level: int = 5
    window: int = 100
    warm_up: int = 30


USUAL = Limits()


def mark(kind: str, frame: pl.DataFrame, limits: Limits = USUAL) -> pl.DataFrame:
    """Return a frame of one kind (schema of `market.schema`) with boolean columns that mark rows, in the same order.

    ============  ======================================================================================
    kind          columns
    ============  ======================================================================================
    trades        is_duplicate (id came before), is_late (an earlier time than one that came before), is_spike
    quotes        is_duplicate, is_late, is_one_sided (no bid or no ask), is_crossed (bid above ask), is_locked (bid
                  at ask), is_stale, is_wide, is_spike (of the mid price)
    bars          is_duplicate (equal open and known came before), is_revision (of a bar that came before), is_late,
                  is_after_gap (does not open where the last one closed), is_idle (no volume), is_spike (high or low)
    books         is_before_reset (no whole book came before), is_crossed (after this update), is_late
    ============  ======================================================================================

    What a spike is, `Limits` says; it is not what `QualityReport` counts under that name.

    Raises
    ------
    ValueError
        The kind is unknown.
    """
    if kind not in MARKS:
        raise ValueError(f"marks of {kind!r}: wanted one of {', '.join(MARKS)}")
    arrival = ["symbol", "known", *(name for name in ("position",) if name in frame.columns)]
    ordered = frame.with_row_index("row__").sort(arrival, maintain_order=True, nulls_last=True)
    markers = {"trades": _trades, "quotes": _quotes, "bars": _bars}
    marked = markers[kind](ordered, limits) if kind in markers else mark_books(ordered)
    marks = (pl.col(name).fill_null(value=False) for name in MARKS[kind])
    return marked.sort("row__").select(*frame.columns, *marks)


def _trades(rows: pl.DataFrame, limits: Limits) -> pl.DataFrame:
    seen = pl.int_range(pl.len()).over("symbol", "id") > 0
    marked = rows.with_columns(is_duplicate=pl.col("id").is_not_null() & seen, is_late=_late("time"))
    price = pl.col("price").log()
    return _spikes(marked, limits, price, price)


def _quotes(rows: pl.DataFrame, limits: Limits) -> pl.DataFrame:
    state = ["bid_price", "bid_size", "ask_price", "ask_size"]
    bid, ask = pl.col("bid_price"), pl.col("ask_price")
    is_open = (bid > 0) & (ask > 0) & (pl.col("bid_size") > 0) & (pl.col("ask_size") > 0)
    moved = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(1).over("symbol")) for name in state[::2])
    begun = pl.when("moved__").then(pl.col("time")).forward_fill().over("symbol")
    spread = pl.when(is_open & (ask >= bid)).then((ask - bid) / (ask + bid) * 2 * BPS)
    marked = rows.with_columns(
        is_duplicate=pl.int_range(pl.len()).over("symbol", "time", *state) > 0,
        is_late=_late("time"),
        is_one_sided=~is_open,
        is_crossed=is_open & (bid > ask),
        is_locked=is_open & (bid == ask),
        moved__=moved,
        spread__=spread,
    )
    usual = _median("spread__", limits)
    age = pl.max_horizontal(pl.col("time") - begun, pl.col("known") - pl.col("time"))
    marked = marked.with_columns(
        is_stale=age > limits.stale_after,
        is_wide=pl.col("spread__") > pl.max_horizontal(limits.wide_multiple * usual, limits.smallest_wide_bps),
    )
    mid = pl.when(is_open).then(((bid + ask) / 2).log())
    return _spikes(marked, limits, mid, mid)


def _bars(rows: pl.DataFrame, limits: Limits) -> pl.DataFrame:
    copy = pl.int_range(pl.len()).over("symbol", "open_time", "known") > 0
    reached = pl.col("time").cum_max().shift(1).over("symbol")
    marked = rows.with_columns(
        is_duplicate=copy,
        is_revision=(pl.int_range(pl.len()).over("symbol", "open_time") > 0) & ~copy,
        is_late=_late("open_time"),
        is_after_gap=pl.col("open_time") > reached,
        is_idle=pl.col("volume") == 0,
    )
    return _spikes(marked, limits, pl.col("close").log(), pl.col("high").log(), pl.col("low").log())


def _late(column: str) -> pl.Expr:
    return pl.col(column) < pl.col(column).cum_max().shift(1).over("symbol")


def _median(column: str, limits: Limits) -> pl.Expr:
    """Return the median of the rows before, null until there are enough."""
    before = pl.col(column).rolling_median(limits.window, min_samples=limits.warm_up).shift(1)
    usual = before.over("symbol")
    return pl.when(usual.is_not_null()).then(usual).otherwise(float("inf"))


def _spikes(rows: pl.DataFrame, limits: Limits, price: pl.Expr, *reached: pl.Expr) -> pl.DataFrame:
    """Mark rows whose ``reached`` log prices lie far from the log prices just before."""
    level = price.shift(1).rolling_median(limits.level, min_samples=1).over("symbol")
    away = rows.with_columns(level__=level).with_columns(
        away__=pl.max_horizontal((one - pl.col("level__")).abs() for one in reached)
    )
    limit = pl.max_horizontal(
        limits.spike_deviations * MEDIAN_TO_DEVIATION * _median("away__", limits), limits.smallest_spike
    )
    return away.with_columns(is_spike=pl.col("away__") > limit)
