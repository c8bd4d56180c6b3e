"""Trades into bars of a fixed span: what was traded from one full minute, hour or day to the next, in UTC."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import SchemaError
from cryptoquant.market.aggregation import bars_table, bucket_open, mean_price, ordered_sums
from cryptoquant.market.schema import BARS, Bar, Trade, validate
from cryptoquant.market.time import Instant, Timeframe, iso, span_ns, to_ns


class TimeBars:
    """Folds trades of one symbol into bars that open at multiples of the timeframe since 1970 in UTC.

    A trade at the very close of a bar belongs to the next one. A bar closes with the first trade after its end, or when
    the clock is told to have passed it (`expire`): an unfinished bar never looks closed. A span without a trade has no
    bar. A trade whose bar has closed already is counted in ``late`` and changes nothing.

    Parameters
    ----------
    since
        From when the trades are complete (ns UTC): bars that open earlier are left out. By default the time of the
        first trade, so that the bar in which the trades begin is left out unless its first trade lies at its open.

    Attributes
    ----------
    late
        Trades that came after their bar had closed.
    """

    __slots__ = ("_open", "_parts", "late", "since", "width")

    def __init__(self, timeframe: Timeframe, *, since: int | None = None) -> None:
        self.width = span_ns(timeframe)
        self.since = since
        self.late = 0
        self._open: int | None = None
        self._parts: list[Trade] = []

    def update(self, trade: Trade) -> list[Bar]:
        """Take the next trade; return the bar that it closes, if any."""
        if self.since is None:
            self.since = trade.time
        bucket = bucket_open(trade.time, self.width)
        if self._open is not None and bucket < self._open:
            self.late += 1
            return []
        closed = self._close(bucket)
        self._parts.append(trade)
        return closed

    def expire(self, now: int) -> list[Bar]:
        """Return the open bar as a closed one when its end lies at or before ``now`` (ns UTC)."""
        return self._close(bucket_open(now, self.width))

    def _close(self, bucket: int) -> list[Bar]:
        if self._open is not None and bucket <= self._open:
            return []
        parts, start = self._parts, self._open
        self._parts, self._open = [], bucket
        if start is None or not parts or (self.since is not None and start < self.since):
            return []
        return [bar_of(parts, start, start + self.width)]


def bar_of(trades: list[Trade], start: int, end: int) -> Bar:
    """Return the bar of trades of one symbol in their order; ``end`` is its close (both ns UTC)."""
    volume, traded = 0.0, 0.0
    for trade in trades:
        volume += trade.size
        traded += trade.price * trade.size
    prices = [trade.price for trade in trades]
    return Bar(
        symbol=trades[0].symbol,
        time=end,
        known=max(end, max(trade.known for trade in trades)),
        open_time=start,
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=volume,
        trade_count=len(trades),
        vwap=traded / volume if volume > 0 else 0.0,
    )


def time_bars(
    trades: Any, timeframe: Timeframe, *, since: Instant | None = None, until: Instant | None = None
) -> pl.DataFrame:
    """Return bars of trades, by symbol in time order, equal to the bit to what `TimeBars` gives one by one.

    Spans without a trade have no bar. The bar in which the trades of a symbol begin (unless ``since`` covers it) and
    the one in which they end (unless ``until`` lies at or after its close) are left out: they may be partial.

    Parameters
    ----------
    since, until
        From when and until when the trades are complete.

    Raises
    ------
    SchemaError
        The trades of a symbol are not in time order, or a price or size is impossible.
    """
    width = span_ns(timeframe)
    bounds = [None if instant is None else to_ns(instant) for instant in (since, until)]
    made = [_of_symbol(part, width, *bounds) for part in ordered_trades(trades)]
    return pl.concat([pl.DataFrame(schema=BARS), *made])


def ordered_trades(trades: Any, *, rising: bool = True) -> list[pl.DataFrame]:
    """Return the trades of each symbol, checked: finite prices above zero, finite sizes, and times that do not fall."""
    frame = validate(trades, "trades")
    finite = pl.col("price").is_finite() & (pl.col("price") > 0) & pl.col("size").is_finite() & (pl.col("size") >= 0)
    wrong = frame.filter(~finite)
    if wrong.height:
        row = wrong.row(0, named=True)
        raise SchemaError(f"trades: {row['symbol']} {row['time']}: price {row['price']}, size {row['size']}")
    parts = frame.partition_by("symbol", maintain_order=True)
    for part in parts if rising else ():
        falls = part["time"].diff().dt.total_nanoseconds() < 0
        if falls.any():
            row = part.filter(falls).row(0, named=True)
            moment = iso(int(part.filter(falls)["time"].dt.epoch("ns").item(0)))
            raise SchemaError(f"trades: {row['symbol']} {moment}: times out of order; sort by symbol and time")
    return parts


def folded(
    trades: pl.DataFrame, starts: NDArray[np.intp], opens: NDArray[np.int64], closes: NDArray[np.int64]
) -> pl.DataFrame:
    """Return one bar per run of trades of a symbol, all trades in some run; ``starts`` are the runs' first rows."""
    if not len(starts):
        return pl.DataFrame(schema=BARS)
    price, size = trades["price"].to_numpy(), trades["size"].to_numpy()
    known = trades["known"].dt.epoch("ns").to_numpy()
    ends = np.r_[starts[1:], len(price)]
    volumes = ordered_sums(size, starts)
    return bars_table(
        trades["symbol"].item(0),
        {
            "time": closes,
            "known": np.maximum(closes, np.maximum.reduceat(known, starts)),
            "open_time": opens,
            "open": price[starts],
            "high": np.maximum.reduceat(price, starts),
            "low": np.minimum.reduceat(price, starts),
            "close": price[ends - 1],
            "volume": volumes,
            "trade_count": ends - starts,
            "vwap": mean_price(ordered_sums(price * size, starts), volumes),
        },
    )


def _of_symbol(trades: pl.DataFrame, width: int, since: int | None, until: int | None) -> pl.DataFrame:
    times = trades["time"].dt.epoch("ns").to_numpy()
    first = times[0] if since is None else since
    last = times[-1] if until is None else max(times[-1], until)
    buckets = times // width * width
    inside = slice(int(np.searchsorted(buckets, first)), int(np.searchsorted(buckets, bucket_open(int(last), width))))
    buckets = buckets[inside]
    starts = np.flatnonzero(np.r_[True, buckets[1:] != buckets[:-1]]) if len(buckets) else np.empty(0, np.intp)
    opens = buckets[starts]
    return folded(trades[inside], starts, opens, opens + width)
