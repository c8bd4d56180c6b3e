"""Smaller bars into larger ones: one fold, driven by a frame of history or by one bar at a time."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import SchemaError
from cryptoquant.market.schema import BARS, Bar, check_order, validate
from cryptoquant.market.time import Timeframe, span_ns, timeframe_name

FOLDED = ("open_time", "known", "open", "high", "low", "close", "volume", "trade_count", "vwap")
LARGEST_PADDING = 4


def bucket_open(open_time: int, width: int) -> int:
    """Return the open of the bucket that holds ``open_time``; buckets are aligned to the epoch in UTC (ns)."""
    return open_time // width * width


class BarAggregator:
    """Folds bars of one symbol into bars of a larger timeframe.

    A bucket closes when a bar arrives that ends it or lies beyond it, or when the clock is told to have passed its end:
    an unfinished bucket never looks closed. The first bucket counts only when its first bar opens it, or, with
    ``since``, every bucket that opens at or after it: what came before is not known. ``known`` of the large bar is the
    largest ``known`` of its parts. Its VWAP weighs the parts whose VWAP is known (above zero) by their volume.

    Parameters
    ----------
    since
        From when the bars are complete (ns UTC), so that an absent bar means that nothing traded.
    """

    __slots__ = ("_bucket", "_is_first", "_parts", "since", "width")

    def __init__(self, timeframe: Timeframe, *, since: int | None = None) -> None:
        self.width = span_ns(timeframe)
        self.since = since
        self._bucket: int | None = None
        self._parts: list[Bar] = []
        self._is_first = True

    def update(self, bar: Bar) -> list[Bar]:
        """Take the next smaller bar; return the large bars that it closes (none, one or two), oldest first.

        Raises
        ------
        SchemaError
            The bar is older than the last one, or does not fit into the grid of the larger timeframe.
        """
        bucket = bucket_open(bar.open_time, self.width)
        if bar.time > bucket + self.width:
            raise SchemaError(f"{bar.symbol}: a bar of {bar.time - bar.open_time} ns does not fit into {self.width} ns")
        if self._parts and bar.open_time < self._parts[-1].time:
            raise SchemaError(
                f"{bar.symbol}: bar {bar.open_time} overlaps the one before, which closed {self._parts[-1].time}"
            )
        closed = self._flush() if self._bucket is not None and bucket != self._bucket else []
        self._bucket = bucket
        self._parts.append(bar)
        return [*closed, *self._flush()] if bar.time == bucket + self.width else closed

    def expire(self, now: int) -> list[Bar]:
        """Return the open bucket as a closed bar when its end lies at or before ``now`` (ns)."""
        return self._flush() if self._bucket is not None and self._bucket + self.width <= now else []

    def _flush(self) -> list[Bar]:
        if not self._parts or self._bucket is None:
            return []
        parts, bucket = self._parts, self._bucket
        self._parts, self._bucket = [], None
        is_first, self._is_first = self._is_first, False
        if bucket < self.since if self.since is not None else is_first and bucket < parts[0].open_time:
            return []
        close = bucket + self.width
        volume, weight, traded = 0.0, 0.0, 0.0
        for part in parts:
            volume += part.volume
            if part.vwap > 0:
                weight += part.volume
                traded += part.volume * part.vwap
        return [
            Bar(
                symbol=parts[0].symbol,
                time=close,
                known=max(close, max(part.known for part in parts)),
                open_time=bucket,
                open=parts[0].open,
                high=max(part.high for part in parts),
                low=min(part.low for part in parts),
                close=parts[-1].close,
                volume=volume,
                trade_count=sum(part.trade_count for part in parts),
                vwap=traded / weight if weight > 0 else 0.0,
            )
        ]


def aggregate(bars: Any, timeframe: Timeframe, *, since: int | None = None) -> pl.DataFrame:
    """Return bars of a larger timeframe, by symbol in time order, equal to what BarAggregator emits one by one.

    A first bucket that its bars do not open (with ``since``, ns UTC: all that open before it) and a last one that they
    do not complete are left out; buckets without any bar are absent. The VWAP is null where there is volume but no
    part tells its VWAP.

    Raises
    ------
    SchemaError
        The bars are longer than the timeframe, do not divide it, or are out of order.
    """
    frame = check_order(validate(bars, "bars"))
    width = span_ns(timeframe)
    spans = (frame["time"] - frame["open_time"]).dt.total_nanoseconds().unique()
    if len(spans) and (spans.max() > width or any(width % int(s) for s in spans)):  # type: ignore[operator]
        found = ", ".join(f"{int(s) // 1_000_000_000} s" for s in spans)
        raise SchemaError(f"bars of {found} do not divide {timeframe_name(timeframe)}")
    if not frame.height:
        return frame
    parts = frame.partition_by("symbol", maintain_order=True)
    ends = [int(part["time"].to_physical()[-1]) for part in parts]
    return pl.concat(
        [fold(part, part["symbol"].item(0), width, end, since=since) for part, end in zip(parts, ends, strict=True)]
    )


def fold(bars: pl.DataFrame, symbol: str, width: int, end: int, *, since: int | None = None) -> pl.DataFrame:
    """Return bars of ``width`` nanoseconds of one symbol, as `aggregate` does, of rows that are known to be in order.

    Parameters
    ----------
    bars
        Rows of one symbol by ``open_time``, each once; ``symbol`` and ``time`` are not looked at.
    end
        The close of the last row (ns UTC).
    since
        As for `aggregate`.
    """
    if not bars.height:
        return pl.DataFrame(schema=BARS)
    numbers = bars.select(pl.col(FOLDED).to_physical()).with_columns(
        pl.col(name).fill_null(0) for name in FOLDED if bars[name].null_count()
    )
    opened = int(numbers["open_time"][0])
    oldest = bucket_open(opened, width) + (width if opened % width else 0) if since is None else since
    parts = [_folded(part, width) for part in _whole_buckets(numbers, width)]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    begin = int(np.searchsorted(columns["open_time"], oldest))
    kept = slice(begin, None if end >= columns["time"][-1] else -1)
    columns = {name: column[kept] for name, column in columns.items()}
    table = bars_table(symbol, columns)
    unknown = (columns["vwap"] == 0) & (columns["volume"] > 0)
    return table.with_columns(vwap=pl.when(pl.Series(unknown)).then(None).otherwise("vwap")) if unknown.any() else table


def _whole_buckets(bars: pl.DataFrame, width: int) -> Iterator[pl.DataFrame]:
    """Yield the rows of each file that they were read from, with the buckets at the ends whole.

    So much stays in the processor's cache, and rows that lie in memory as they were read need no copy.
    """
    opened = bars["open_time"]
    first = after = 0
    for chunk in opened.get_chunks():
        after += len(chunk)
        if after == bars.height:
            yield bars[first:]
        elif after > first:
            last = bucket_open(int(opened[after - 1]), width)
            cut = after if opened[after] >= last + width else int(opened.search_sorted(last, "left"))
            if cut > first:
                yield bars[first:cut]
                first = cut


def _folded(bars: pl.DataFrame, width: int) -> dict[str, NDArray[Any]]:
    """Return the columns of the bars of all buckets, also of those that are not whole."""
    values = {name: bars[name].to_numpy() for name in FOLDED}
    buckets = values["open_time"] // width
    starts = np.flatnonzero(np.concatenate(([True], buckets[1:] != buckets[:-1])))
    lasts = np.append(starts[1:], len(buckets)) - 1
    volume, vwap = values["volume"], values["vwap"]
    is_priced = vwap > 0
    volumes = ordered_sums(volume, starts)
    weights = volume if (is_priced | (volume == 0)).all() else np.where(is_priced, volume, 0.0)
    weighed = volumes if weights is volume else ordered_sums(weights, starts)
    opened = buckets[starts] * width
    return {
        "time": opened + width,
        "known": np.maximum(opened + width, np.maximum.reduceat(values["known"], starts)),
        "open_time": opened,
        "open": values["open"][starts],
        "high": np.maximum.reduceat(values["high"], starts),
        "low": np.minimum.reduceat(values["low"], starts),
        "close": values["close"][lasts],
        "volume": volumes,
        "trade_count": np.add.reduceat(values["trade_count"], starts),
        "vwap": mean_price(ordered_sums(weights * vwap, starts), weighed),
    }


def bars_table(symbol: str, columns: Mapping[str, NDArray[Any]]) -> pl.DataFrame:
    """Return bars of one symbol as a frame; ``columns`` are those of the schema but the symbol, instants in ns."""
    table = pl.DataFrame({"symbol": pl.repeat(symbol, len(columns["time"]), eager=True), **columns})
    instants = ("time", "known", "open_time")
    return table.select(
        pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") if name in instants else pl.col(name).cast(dtype)
        for name, dtype in BARS.items()
    )


def mean_price(traded: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return traded value over traded volume, 0 where nothing was traded."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weights > 0, traded / weights, 0.0)


def ordered_sums(values: NDArray[np.float64], starts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the sum of each run, added left to right from zero, as the online fold does.

    ``np.add.reduceat`` adds in pairs and differs in the last bit.
    """
    lengths = np.diff(np.append(starts, len(values)))
    longest = int(lengths.max())
    if len(starts) * longest > LARGEST_PADDING * len(values):
        total = np.zeros(len(starts))
        for offset in range(longest):
            inside = offset < lengths
            total[inside] += values[starts[inside] + offset]
        return total
    if len(starts) * longest == len(values):
        table = values.reshape(len(starts), longest)
    else:  # zeros behind the end of a run change no sum
        table = np.zeros((len(starts), longest))
        table[np.arange(longest) < lengths[:, None]] = values
    if longest > len(starts):
        last: NDArray[np.float64] = np.add.accumulate(table, axis=1)[:, -1]
        return last + 0.0
    sums = table[:, 0] + 0.0
    for column in range(1, longest):
        sums += table[:, column]
    return sums
