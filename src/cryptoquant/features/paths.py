"""The bars after a decision: where a horizon ends, when its end was known, and what the past made of the horizon.

A label is decided at a bar's close and entered at that close. Its path is the bars after it, up to the first that
closes at or after ``time + horizon``; when bars are missing, the path ends at the first bar after the gap.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from cryptoquant.compiled import kernel
from cryptoquant.features.catalogue.volatility import realized_volatility
from cryptoquant.features.history import run_symbols
from cryptoquant.features.kernel import Integers
from cryptoquant.features.program import Program
from cryptoquant.market.schema import check_bars, validate
from cryptoquant.market.slice import Floats
from cryptoquant.market.time import span_ns


@kernel
def latest(known: Integers, places: Integers, when: Integers) -> None:
    """Write the latest ``known`` of each row and the rows after it up to its place; none of a place before its row.

    ``places`` must not fall. The rows that may still be the latest of a later one wait in a queue.
    """
    queue = np.empty(len(known), dtype=np.int64)
    first, last, taken = 0, 0, 0
    for row in range(len(places)):
        if places[row] < row:
            continue
        while taken <= places[row]:
            while last > first and known[queue[last - 1]] <= known[taken]:
                last -= 1
            queue[last] = taken
            last += 1
            taken += 1
        while queue[first] < row:
            first += 1
        when[row] = known[queue[first]]


def check_horizon(label: str, horizon: timedelta) -> None:
    """Raise ValueError unless the horizon of a label is a timedelta above zero."""
    if not isinstance(horizon, timedelta) or horizon <= timedelta(0):
        raise ValueError(f"{label}: horizon must be a timedelta above zero, found {horizon!r}")


def horizon_of(saved: dict[str, Any]) -> timedelta:
    """Take the horizon out of what ``to_dict`` of a label gave."""
    return timedelta(microseconds=saved.pop("horizon_ns") // 1_000)


def instants(name: str, nanoseconds: Integers) -> pl.Series:
    """Return nanoseconds as a column of instants."""
    return pl.from_epoch(pl.Series(name, nanoseconds), "ns").dt.replace_time_zone("UTC")


def labelled(bars: Any, columns: Sequence[str], path: Callable[[pl.DataFrame, Floats, Integers], None]) -> pl.DataFrame:
    """Return what came after each bar, as ``symbol``, ``time``, ``label_known`` and ``columns``.

    Parameters
    ----------
    bars
        Schema ``bars``, polars or pandas, in time order within each symbol.
    path
        Takes the bars of one symbol and writes their columns, shape (columns, rows), and when they were known; a row
        whose first column is NaN is left out.
    """
    frame = check_bars(validate(bars, "bars"))
    out = np.full((len(columns), frame.height), np.nan)
    when = np.zeros(frame.height, dtype=np.int64)
    for rows in frame.with_row_index("row").partition_by("symbol"):
        places = rows["row"].to_numpy()
        part_out, part_when = np.full((len(columns), rows.height), np.nan), np.zeros(rows.height, dtype=np.int64)
        path(rows, part_out, part_when)
        out[:, places], when[places] = part_out, part_when
    series = [pl.Series(name, out[index]) for index, name in enumerate(columns)]
    table = frame.select("symbol", "time").with_columns(instants("label_known", when), *series)
    return table.filter(pl.col(columns[0]).is_not_nan())


def stamps(rows: pl.DataFrame, name: str) -> Integers:
    """Return a column of instants as nanoseconds."""
    nanoseconds: Integers = rows[name].dt.epoch("ns").to_numpy()
    return nanoseconds


def returns_over(rows: pl.DataFrame, horizon: timedelta, returns: Floats, when: Integers) -> None:
    """Write the log return of each bar's close over a horizon, NaN while it is not over, and when it was known."""
    times, close, count = stamps(rows, "time"), rows["close"].to_numpy(), rows.height
    places = np.maximum(np.searchsorted(times, times + span_ns(horizon)), np.arange(1, count + 1))
    over = places < count
    latest(stamps(rows, "known"), np.where(over, places, -1), when)
    returns[over] = np.log(close[places[over]] / close[over])


def volatility_over(rows: pl.DataFrame, horizon: timedelta, window: int) -> Floats:
    """Return the volatility over the horizon known at each bar: deviation per bar times the root of its bars."""
    out = np.empty((1, rows.height))
    close = {"close": rows["close"].to_numpy()}
    run_symbols(Program.of([realized_volatility(window)]), close, [0, rows.height], out)
    spans = (rows["time"] - rows["open_time"]).dt.total_nanoseconds().to_numpy()
    scaled: Floats = out[0] * np.sqrt(span_ns(horizon) / spans)
    return scaled
