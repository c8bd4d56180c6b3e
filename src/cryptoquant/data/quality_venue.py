"""What only several series together tell: halts of the venue, sources that disagree, symbols renamed or delisted."""

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.market.schema import INSTANT, to_polars
from cryptoquant.market.time import span_ns

HALTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "scope": pl.String,
    "symbol": pl.String,
    "start": INSTANT,
    "end": INSTANT,
    "seconds": pl.Float64,
}
SUCCESSIONS: dict[str, pl.DataType | type[pl.DataType]] = {
    "suspicion": pl.String,
    "symbol": pl.String,
    "successor": pl.String,
    "ended": INSTANT,
    "began": INSTANT,
    "price_gap_bps": pl.Float64,
}
USUAL_MULTIPLE = 20
BPS = 1e4

Times = NDArray[np.int64]


def halts(events: pl.DataFrame, limit: timedelta = timedelta(minutes=1)) -> pl.DataFrame:
    """Return the silences in the events of several symbols: of all at once (the venue), or of one while others go on.

    Parameters
    ----------
    events
        Columns ``symbol`` and ``time``, any order.
    limit
        The shortest silence that counts; of one symbol it must also be 20 times its median pause. A silence that the
        venue's own explains is not counted again.

    Returns
    -------
    DataFrame
        scope (``venue`` or ``symbol``), symbol (null for the venue), start, end, seconds; in the order of start.
    """
    shortest = span_ns(limit)
    own: dict[str, Times] = {
        str(part["symbol"].item(0)): np.unique(part["time"].dt.epoch("ns").to_numpy())
        for part in events.partition_by("symbol")
    }
    venue = _venue_silences(own, shortest) if len(own) > 1 else []
    found: list[tuple[str, str | None, int, int]] = [("venue", None, start, end) for start, end in venue]
    for symbol, times in sorted(own.items()):
        pauses = np.diff(times)
        least = max(shortest, USUAL_MULTIPLE * int(np.median(pauses))) if len(pauses) else shortest
        for place in np.flatnonzero(pauses > least).tolist():
            start, end = int(times[place]), int(times[place + 1])
            explained = sum(max(0, min(end, over) - max(start, since)) for since, over in venue)
            if end - start - explained > least:
                found.append(("symbol", symbol, start, end))
    found.sort(key=lambda row: (row[2], row[0] != "venue", row[1] or ""))
    rows = [(*row, (row[3] - row[2]) / 1e9) for row in found]
    return _instants(pl.DataFrame(rows, schema={**HALTS, "start": pl.Int64, "end": pl.Int64}, orient="row"))


def _venue_silences(own: Mapping[str, Times], shortest: int) -> list[tuple[int, int]]:
    """Return the pauses in which at least two symbols that go on afterwards say nothing."""
    together = np.unique(np.concatenate(list(own.values())))
    silences = []
    for place in np.flatnonzero(np.diff(together) > shortest).tolist():
        start, end = int(together[place]), int(together[place + 1])
        if sum(times[0] <= start and times[-1] >= end for times in own.values()) > 1:
            silences.append((start, end))
    return silences


def disagreement(
    left: object, right: object, *, price: str = "close", on: str = "time", tolerance_bps: float = 10.0
) -> pl.DataFrame:
    """Return how far two sources of the same symbols differ, by symbol and day (UTC).

    Parameters
    ----------
    left, right
        Frames with ``symbol``, the time to join on, and a price; one row per symbol and time.
    price, on
        Names of the price and of the time.
    tolerance_bps
        From where a difference is counted.

    Returns
    -------
    DataFrame
        symbol, day, both, only_left, only_right (rows), median_bps and largest_bps (of absolute differences, relative
        to ``left``), beyond (rows further apart than the tolerance). Both counts matter: a source that lacks the worst
        hours agrees well.
    """
    sides = [to_polars(side).select("symbol", pl.col(on).alias("at"), price) for side in (left, right)]
    joined = sides[0].join(sides[1], on=["symbol", "at"], how="full", coalesce=True, suffix="_right")
    here, there = pl.col(price), pl.col(f"{price}_right")
    apart = (there / here - 1).abs() * BPS
    return (
        joined.with_columns(apart=apart, day=pl.col("at").dt.date())
        .group_by("symbol", "day")
        .agg(
            both=(here.is_not_null() & there.is_not_null()).sum(),
            only_left=there.is_null().sum(),
            only_right=here.is_null().sum(),
            median_bps=pl.col("apart").median(),
            largest_bps=pl.col("apart").max(),
            beyond=(pl.col("apart") > tolerance_bps).sum(),
        )
        .sort("symbol", "day")
    )


def successions(
    bars: pl.DataFrame,
    *,
    patience: timedelta = timedelta(days=3),
    largest_gap_bps: float = 300.0,
) -> pl.DataFrame:
    """Return what may be renames, delistings and listings: series that end or begin while others go on.

    A series ends when its last bar lies more than ``patience`` before the last of all, and begins when its first lies
    so much after the first of all. Where one begins within ``patience`` of another's end, at a price within
    ``largest_gap_bps`` of its last close, a rename is suspected; the closest price is taken. These are suspicions: a
    price that fits may be chance.

    Parameters
    ----------
    bars
        Columns ``symbol``, ``time``, ``open`` and ``close``.

    Returns
    -------
    DataFrame
        suspicion (``rename``, ``delisting`` or ``listing``), symbol, successor (of a rename), ended, began, and the
        gap from the last close to the first open in basis points.
    """
    ordered = bars.sort("symbol", "time")
    lives = ordered.group_by("symbol", maintain_order=True).agg(
        first=pl.col("time").first().dt.epoch("ns"),
        last=pl.col("time").last().dt.epoch("ns"),
        opened=pl.col("open").first(),
        closed=pl.col("close").last(),
    )
    if not lives.height:
        return pl.DataFrame(schema=SUCCESSIONS)
    grace = span_ns(patience)
    ended = lives.filter(pl.col("last") < lives["last"].max() - grace).rows(named=True)  # type: ignore[operator]
    begun = lives.filter(pl.col("first") > lives["first"].min() + grace).rows(named=True)  # type: ignore[operator]
    pairs = sorted(
        (abs(new["opened"] / old["closed"] - 1) * BPS, old["symbol"], new["symbol"], old["last"], new["first"])
        for old in ended
        for new in begun
        if old["symbol"] != new["symbol"] and abs(new["first"] - old["last"]) <= grace
    )
    rows: list[tuple[str, str, str | None, int | None, int | None, float | None]] = []
    taken: set[str] = set()
    for apart, old_name, new_name, last, first in pairs:
        if apart <= largest_gap_bps and old_name not in taken and new_name not in taken:
            taken |= {old_name, new_name}
            rows.append(("rename", old_name, new_name, last, first, apart))
    rows += [("delisting", old["symbol"], None, old["last"], None, None) for old in ended if old["symbol"] not in taken]
    rows += [("listing", new["symbol"], None, None, new["first"], None) for new in begun if new["symbol"] not in taken]
    table = pl.DataFrame(rows, schema={**SUCCESSIONS, "ended": pl.Int64, "began": pl.Int64}, orient="row")
    return _instants(table)


def _instants(table: pl.DataFrame) -> pl.DataFrame:
    names = [name for name in ("start", "end", "ended", "began") if name in table.columns]
    return table.with_columns(pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in names)
