"""The sandbox's market: bars of every timeframe, and the present moment that divides them into past and future."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.backtest.sandbox.late import Flags, LateTrades
from cryptoquant.errors import DataError, SchemaError
from cryptoquant.market.aggregation import aggregate
from cryptoquant.market.schema import Bar, Trade, check_bars, validate
from cryptoquant.market.slice import FIELDS, Slice
from cryptoquant.market.time import iso, span_ns

DAY = 86_400_000_000_000
YEAR = 365 * DAY
POINT_COLUMNS = {
    "o": "open",
    "h": "high",
    "l": "low",
    "c": "close",
    "v": "volume",
    "n": "trade_count",
    "vw": "vwap",
}
TIMEFRAME = re.compile(r"^(\d{1,2})(Min|T|Hour|H|Day|D|Week|W|Month|M)$")
SPANS = {"Min": ("m", 59), "T": ("m", 59), "Hour": ("h", 23), "H": ("h", 23), "Day": ("d", 1), "D": ("d", 1)}
CALENDAR = {
    "Week": ("w", (1,)),
    "W": ("w", (1,)),
    "Month": ("mo", (1, 2, 3, 4, 6, 12)),
    "M": ("mo", (1, 2, 3, 4, 6, 12)),
}

Instants = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Series:
    """The bars of one symbol and timeframe.

    Attributes
    ----------
    symbol
        Slash form.
    bars
        Schema ``bars``, in time order.
    opens, closes
        Shape (bars,), nanoseconds UTC.
    values
        Shape (bars, fields) in the order of ``FIELDS``.
    """

    symbol: str
    bars: pl.DataFrame
    opens: Instants
    closes: Instants
    values: NDArray[np.float64]

    @classmethod
    def of(cls, symbol: str, bars: pl.DataFrame) -> "Series":
        """Return the series of a frame that holds one symbol; missing counts and vwaps are 0."""
        frame = bars.with_columns(pl.col("trade_count").fill_null(0), pl.col("vwap").fill_null(0.0))
        values = frame.select(pl.col(name).cast(pl.Float64) for name in FIELDS).to_numpy()
        stamps = [frame[name].dt.epoch("ns").to_numpy() for name in ("open_time", "time")]
        return cls(symbol, frame, stamps[0], stamps[1], values)

    def bar(self, index: int) -> Bar:
        """Return one bar."""
        opened, high, low, close, volume, count, vwap = self.values[index].tolist()
        closed = int(self.closes[index])
        return Bar(
            self.symbol, closed, closed, int(self.opens[index]), opened, high, low, close, volume, int(count), vwap
        )

    def points(self, first: int, last: int, *, descending: bool = False) -> str:
        """Return the bars ``first`` to ``last`` (exclusive) as the JSON array that Alpaca's ``bars`` answer holds."""
        chosen = self.bars.slice(first, last - first)
        table = (chosen.reverse() if descending else chosen).select(
            t=pl.col("open_time").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            **{key: pl.col(n) for key, n in POINT_COLUMNS.items()},
        )
        return table.write_json()

    def with_row(self, row: int, other: "Series") -> "Series":
        """Return the series up to a row, which is the other series' row of the same place."""
        frame = pl.concat([self.bars.head(row), other.bars.slice(row, 1)])
        values = np.concatenate([self.values[:row], other.values[row : row + 1]])
        return Series(self.symbol, frame, self.opens[: row + 1], self.closes[: row + 1], values)


class Market:
    """Bars of one timeframe, larger ones on demand, and the present.

    Parameters
    ----------
    bars
        Schema ``bars``, one timeframe; at least two closes.
    history
        How much of the market lies in the past at the start; by default a year, or half of a market that is shorter.
    late
        Which bars a late trade changes half a bar after their close, none by default. Orders are matched against the
        bars as they were at their close.

    Raises
    ------
    DataError
        The market is empty, or ``history`` leaves no past or no future.
    SchemaError
        The bars are impossible or of several timeframes.
    """

    def __init__(self, bars: Any, history: timedelta | None = None, late: LateTrades | None = None) -> None:
        frame = check_bars(validate(bars, "bars"), where="sandbox market")
        spans = (frame["time"] - frame["open_time"]).dt.total_nanoseconds().unique().to_list()
        if len(spans) != 1:
            raise SchemaError(f"sandbox market: wanted bars of one timeframe, found {len(spans)}")
        self.width = int(spans[0])
        parts = {str(part["symbol"][0]): part for part in frame.partition_by("symbol", maintain_order=True)}
        self.symbols: tuple[str, ...] = tuple(parts)
        self._series: dict[tuple[str, str], tuple[Series, Series]] = {}
        self._base = {symbol: Series.of(symbol, part) for symbol, part in parts.items()}
        self.late = late or LateTrades(0)
        self._chosen = {symbol: self.late.chosen(symbol, series.bars) for symbol, series in self._base.items()}
        self._settled = {symbol: self._with_late(symbol, flags) for symbol, flags in self._chosen.items()}
        self.times: Instants = np.unique(np.concatenate([series.closes for series in self._base.values()]))
        self.begin, self.end = int(self.times[0]) - self.width, int(self.times[-1])
        self.start = self.now = self._first_moment(history)

    def _first_moment(self, history: timedelta | None) -> int:
        length = self.end - self.begin
        past = (YEAR if length > YEAR else length // 2) if history is None else span_ns(history)
        moment = self.begin + past // self.width * self.width
        if not self.begin < moment < self.end:
            raise DataError(
                f"sandbox market: a history of {timedelta(microseconds=past // 1_000)} does not leave past and future"
                f" between {iso(self.begin)} and {iso(self.end)}"
            )
        return moment

    def _with_late(self, symbol: str, flags: Flags) -> Series:
        base = self._base[symbol]
        return Series.of(symbol, self.late.applied(base.bars, flags)) if flags.any() else base

    @property
    def has_ended(self) -> bool:
        """Whether no further bar will come."""
        return self.now >= self.end

    def due(self, target: int) -> Iterator[int]:
        """Return the closes after the present up to ``target``, oldest first."""
        first, last = np.searchsorted(self.times, [self.now, target], side="right")
        return (int(time) for time in self.times[first:last])

    def closing(self, time: int) -> list[Bar]:
        """Return the bars that close at ``time``, in the order of the symbols."""
        found = []
        for series in self._base.values():
            index = int(np.searchsorted(series.closes, time))
            if index < len(series.closes) and series.closes[index] == time:
                found.append(series.bar(index))
        return found

    def slice(self, bars: Sequence[Bar]) -> Slice:
        """Return the slice of bars that share one close; absent symbols are NaN."""
        rows = {bar.symbol: [float(getattr(bar, name)) for name in FIELDS] for bar in bars}
        values = np.array([rows.get(symbol, [np.nan] * len(FIELDS)) for symbol in self.symbols])
        return Slice(bars[0].time, bars[0].time, self.symbols, values)

    def marks(self) -> NDArray[np.float64]:
        """Return the last close before the present by symbol, shape (symbols,); NaN where there is none."""
        last = [self.last(symbol) for symbol in self.symbols]
        return np.array([np.nan if bar is None else bar.close for bar in last])

    def last(self, symbol: str, *, traded: bool = False) -> Bar | None:
        """Return the last closed bar of a symbol, or the last one in which something was traded."""
        series = self._base[symbol]
        end = int(np.searchsorted(series.closes, self.now, side="right"))
        if traded:
            rows = np.flatnonzero(series.values[:end, FIELDS.index("volume")] > 0)
            end = int(rows[-1]) + 1 if len(rows) else 0
        return series.bar(end - 1) if end else None

    def updates(self, time: int) -> list[Bar]:
        """Return the bars that late trades changed between the close before ``time`` and ``time`` (a close), updated.

        Each changed bar is in the answer for one close only, which is the next one unless bars are missing.
        """
        return [self._settled[symbol].bar(row) for symbol, row in self._changed(time)]

    def late_trades(self, time: int) -> list[Trade]:
        """Return the late trades that changed the bars of ``updates(time)``, in the same order."""
        return [self.late.trade(self._base[symbol].bar(row)) for symbol, row in self._changed(time)]

    def _changed(self, time: int) -> Iterator[tuple[str, int]]:
        place = int(np.searchsorted(self.times, time))
        before = int(self.times[place - 1]) if place else self.begin
        for symbol, series in self._base.items():
            first, last = np.searchsorted(series.closes, [before - self.delay, time - self.delay], side="right")
            yield from ((symbol, row) for row in range(int(first), int(last)) if self._chosen[symbol][row])

    @property
    def delay(self) -> int:
        """Nanoseconds after a bar's close at which its late trade is known: half a bar."""
        return self.width // 2

    def late_trade(self, symbol: str, index: int) -> Trade | None:
        """Return the late trade of one of the smallest bars, None when it has none or it is not known yet."""
        series = self._base[symbol]
        is_known = int(series.closes[index]) + self.delay <= self.now
        return self.late.trade(series.bar(index)) if self._chosen[symbol][index] and is_known else None

    def latest(self, symbol: str) -> Bar | None:
        """Return the last closed bar of a symbol as it is known now, None before the first."""
        closes = self._base[symbol].closes
        end = int(np.searchsorted(closes, self.now, side="right"))
        if not end:
            return None
        return self._known(self._settled[symbol], self._base[symbol], end - 1).bar(end - 1)

    def _known(self, settled: Series, early: Series, row: int) -> Series:
        """Return the series in which a closed row can be read: late trades are in it half a bar after its close."""
        return settled if int(settled.closes[row]) + self.delay <= self.now else early

    def day(self, symbol: str) -> Bar | None:
        """Return the unfinished UTC day up to the present as one bar, None before its first bar."""
        series, opened = self._settled[symbol], (self.now - 1) // DAY * DAY
        first, last = np.searchsorted(series.opens, opened), np.searchsorted(series.closes, self.now, side="right")
        if first >= last:
            return None
        newest = self._known(series, self._base[symbol], int(last) - 1).values[last - 1 : last]
        values = np.concatenate([series.values[first : last - 1], newest])
        part = {name: values[:, column] for column, name in enumerate(FIELDS)}
        volume = float(part["volume"].sum())
        vwap = float((part["volume"] * part["vwap"]).sum()) / volume if volume > 0 else 0.0
        extremes = float(part["high"].max()), float(part["low"].min())
        prices = (float(part["open"][0]), *extremes, float(part["close"][-1]))
        return Bar(symbol, self.now, self.now, opened, *prices, volume, int(part["trade_count"].sum()), vwap)

    def base(self, symbol: str) -> Series:
        """Return the smallest bars of a symbol as they were at their closes."""
        return self._base[symbol]

    def series(self, symbol: str, timeframe: str) -> Series:
        """Return the bars of a symbol by Alpaca's name of a timeframe: ``1Min``, ``4H``, ``1Day``, ``1W``, ``3Month``.

        Buckets are aligned in UTC: minutes, hours and days to the epoch, weeks to Monday, months to the year.

        Raises
        ------
        ValueError
            The timeframe cannot be read, or is smaller than the market's own bars.
        """
        key = (symbol, timeframe)
        if key not in self._series:
            self._series[key] = self._aggregated(symbol, timeframe)
        settled, early = self._series[key]
        end = int(np.searchsorted(settled.closes, self.now, side="right"))
        if settled is early or not end or self._known(settled, early, end - 1) is settled:
            return settled
        return settled.with_row(end - 1, early)

    def _aggregated(self, symbol: str, timeframe: str) -> tuple[Series, Series]:
        """Return the bars of a timeframe with all late trades, and without those of each bar's last minute."""
        settled = self._aggregate(self._settled[symbol], timeframe)
        base = self._base[symbol]
        if self._settled[symbol] is base:
            return settled, settled
        flags = self._chosen[symbol] & ~np.isin(base.closes, settled.closes)
        return settled, self._aggregate(self._with_late(symbol, flags), timeframe)

    def _aggregate(self, base: Series, timeframe: str) -> Series:
        match = TIMEFRAME.match(timeframe)
        count, unit = (int(match[1]), match[2]) if match else (0, "")
        if unit in SPANS and 1 <= count <= SPANS[unit][1]:
            name = f"{count}{SPANS[unit][0]}"
            if span_ns(name) == self.width:
                return base
            if span_ns(name) % self.width:
                raise ValueError(f"timeframe {timeframe} is no multiple of this market's {self.width // 10**9} seconds")
            return Series.of(base.symbol, aggregate(base.bars, name))
        if unit in CALENDAR and count in CALENDAR[unit][1]:
            return Series.of(base.symbol, _by_calendar(base.bars, f"{count}{CALENDAR[unit][0]}"))
        raise ValueError(f"invalid timeframe: {timeframe}")


def _by_calendar(bars: pl.DataFrame, every: str) -> pl.DataFrame:
    """Return weeks or months; one that the market's end cuts keeps its calendar close, which is never reached."""
    opened = pl.col("open_time").dt.truncate(every)
    grouped = bars.group_by(opened, maintain_order=True).agg(
        pl.col("symbol", "open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume", "trade_count").sum(),
        traded=(pl.col("volume") * pl.col("vwap")).sum(),
    )
    closed = pl.col("open_time").dt.offset_by(every)
    vwap = pl.when(pl.col("volume") > 0).then(pl.col("traded") / pl.col("volume")).otherwise(0.0)
    return validate(grouped.with_columns(time=closed, known=closed, vwap=vwap), "bars")
