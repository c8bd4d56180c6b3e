"""The past once more, event by event: trades, quotes, bars and books of a store, merged in the order of their time."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.data import revisions
from cryptoquant.data.reader import Reader
from cryptoquant.data.retention import summary
from cryptoquant.data.revisions import Question
from cryptoquant.data.selection import instants
from cryptoquant.errors import DataError, EmptyStoreError, UnknownSymbolError
from cryptoquant.market.book import book_updates, message_starts
from cryptoquant.market.instrument import normalize_symbol
from cryptoquant.market.schema import BARS, SCHEMAS, Bar, BookUpdate, Quote, Trade, bar_rows
from cryptoquant.market.time import NANOSECONDS_PER_SECOND, Instant, Timeframe, iso, span_ns, timeframe_name

if TYPE_CHECKING:
    from cryptoquant.data.store import Store

Event = Trade | Quote | Bar | BookUpdate
Kind = Literal["trades", "quotes", "bars", "books"]
By = Literal["known", "time"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ROWS_PER_WINDOW = 200_000
FIRST_WINDOW_NS = 60 * NANOSECONDS_PER_SECOND
LATEST = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Replay:
    """A range of a store as a stream of events; each iteration begins anew, with the store as it is then.

    Events come by ``known`` (or ``time``). Of events at one instant those with a position in the log come first, by
    position; then go trades, quotes, bars, books; then symbols by name; then the order of the store. So what was
    recorded without backfill comes as `Recorder.subscribe` handed it out, as long as the receiver's clock did not go
    back, but for what the store holds once: trades and quotes that were sent again, and bars, which come as the
    revision that is known last. A bar that was received before its close comes at its close.

    The store is read in windows of about 200,000 rows: memory holds one window and the events that were known later
    than it, whatever the range. What is written or received while an iteration runs is no part of it, unless files that
    it still needs are deleted (`Store.vacuum`): then it goes on with the store as it is after that.

    Attributes
    ----------
    kinds
        Any of ``trades``, ``quotes``, ``bars`` and ``books``.
    symbols
        Pairs, or None for all.
    first, last
        The range of ``time``, both inclusive (ns UTC; bars lie in it whole), or None.
    timeframe
        Of bars, as they are stored (`BarLadder` makes longer ones of them); by default the shortest.
    skew
        How far ``known`` may lie before ``time`` (a receiver's clock that runs behind); found to be more, the replay
        stops rather than give events out of order.
    """

    store: "Store"
    kinds: tuple[Kind, ...] = KINDS
    symbols: tuple[str, ...] | None = None
    first: int | None = None
    last: int | None = None
    timeframe: str | None = None
    by: By = "known"
    skew: timedelta = timedelta(minutes=1)
    rows_per_window: int = ROWS_PER_WINDOW

    def __iter__(self) -> Iterator[Event]:
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[Event]]:
        """Yield the events in lists, window by window; chained they are the same as one by one, and come faster.

        Raises
        ------
        EmptyStoreError, UnknownSymbolError
            Nothing of what was asked is stored.
        DataError
            An event was known further before its time than ``skew``.
        """
        reader = self.store._reader.steady()
        held = _stored(self, reader)
        chosen = {kind: sorted(held.filter(kind=kind)["symbol"].unique()) for kind in self.kinds}
        waiting: dict[str, pl.DataFrame] = {}
        given = 0
        for lower, upper in self._windows(held):
            for kind, names in chosen.items():
                window = self._read(reader, kind, names, lower, upper) if names else None
                if window is not None:
                    self._check_skew(kind, window)
                    waiting[kind] = pl.concat([waiting[kind], window], how="diagonal") if kind in waiting else window
            frontier = LATEST if upper is None else upper - self._skew_ns
            ready = {kind: frame.filter(pl.col("instant") < frontier) for kind, frame in waiting.items()}
            waiting = {kind: frame.filter(pl.col("instant") >= frontier) for kind, frame in waiting.items()}
            events = _merged(ready)
            given += len(events)
            if events:
                yield events
        if not given:
            raise EmptyStoreError(f"store {self.store.root}: no {', '.join(self.kinds)} in the range asked")

    def paced(
        self,
        speed: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> Iterator[Event]:
        """Yield the events no earlier than ``speed`` seconds of the market per second of ``clock`` allow.

        A consumer that is slower than the pace gets what is due at once; events are never dropped.
        """
        if not 0 < speed < float("inf"):
            raise ValueError(f"replay: speed must be above zero, found {speed}")
        began, origin = clock(), None
        for event in self:
            instant = event.known if self.by == "known" else event.time
            origin = instant if origin is None else origin
            due = began + (instant - origin) / NANOSECONDS_PER_SECOND / speed
            while (left := due - clock()) > 0:
                sleep(left)
            yield event

    @property
    def _skew_ns(self) -> int:
        return span_ns(self.skew) if self.by == "known" and self.skew else 0

    def _windows(self, held: pl.DataFrame) -> Iterator[tuple[int | None, int | None]]:
        """Yield ranges of time, the first and the last open where the range is: lower inclusive, upper exclusive."""
        begin, end = int(held["first"].dt.epoch("ns").min()), int(held["last"].dt.epoch("ns").max())  # type: ignore[arg-type]
        begin = begin if self.first is None else max(begin, self.first)
        end = end if self.last is None else min(end, self.last)
        width = max(FIRST_WINDOW_NS, (end - begin) * self.rows_per_window // max(1, int(held["rows"].sum())))
        lower: int | None = self.first
        upper = begin + width
        while upper <= end:
            yield lower, upper
            lower, upper = upper, upper + width
        yield lower, None

    def _read(
        self, reader: Reader, kind: str, names: list[str], lower: int | None, upper: int | None
    ) -> pl.DataFrame | None:
        """Return the rows of a window, with the instant by which they are ordered (ns), or None."""
        last = self.last if upper is None else upper - 1
        if kind == "bars":
            frame = self._bars(reader, names, lower, last)
        else:
            columns = [*SCHEMAS[kind], "position"]
            frame = reader.seen(lambda view: view.ticks(kind, names, (lower, last), columns))
        return frame.with_columns(instant=pl.col(self.by).dt.epoch("ns")) if frame.height else None

    def _bars(self, reader: Reader, names: list[str], lower: int | None, last: int | None) -> pl.DataFrame:
        """Return the bars that close in a window and open in the range of the replay."""
        timeframe = self.timeframe or ""
        begin = self.first if lower is None else max(lower - span_ns(timeframe), self.first or 0)
        asked = Question(timeframe, (begin, last), columns=(*BARS, "position"))
        bars = reader.seen(lambda view: revisions.bars(view, names, asked))
        return bars if lower is None else bars.filter(pl.col("time").dt.epoch("ns") >= lower)

    def _check_skew(self, kind: str, rows: pl.DataFrame) -> None:
        if self.by == "time" or not rows.height:
            return
        early = rows.filter(pl.col("instant") < pl.col("time").dt.epoch("ns") - self._skew_ns)
        if early.height:
            row = early.row(0, named=True)
            raise DataError(
                f"replay: {row['symbol']} {kind} of {row['time']} known {iso(row['instant'])}: more than the skew of "
                f"{self.skew.total_seconds():g} s before its time; give a larger skew, or replay by time"
            )


def replay(
    store: "Store",
    kinds: str | Iterable[str] = KINDS,
    symbols: str | Iterable[str] | None = None,
    start: Instant | None = None,
    end: Instant | None = None,
    *,
    timeframe: Timeframe | None = None,
    by: By = "known",
    speed: float | None = None,
) -> Iterator[Event]:
    """Return the events of a store with ``start <= time <= end``, merged over kinds and symbols in the order of time.

    The order, and what memory it takes, is told by `Replay`, which also gives batches and takes another clock.

    Parameters
    ----------
    kinds
        Any of ``trades``, ``quotes``, ``bars`` and ``books``; those that are not stored have no events.
    timeframe
        Of bars, as they are stored; by default the shortest. `BarLadder` makes longer ones of them.
    by
        ``"known"``, as it was received, or ``"time"``, as it happened.
    speed
        Seconds of the market per second; by default as fast as it is read.

    Raises
    ------
    EmptyStoreError, UnknownSymbolError
        Nothing of what was asked is stored.
    ValueError
        A kind is unknown, or ``start`` lies after ``end``.
    """
    whole = replay_of(store, kinds, symbols, start, end, timeframe=timeframe, by=by)
    return iter(whole) if speed is None else whole.paced(speed)


def replay_of(
    store: "Store",
    kinds: str | Iterable[str] = KINDS,
    symbols: str | Iterable[str] | None = None,
    start: Instant | None = None,
    end: Instant | None = None,
    *,
    timeframe: Timeframe | None = None,
    by: By = "known",
) -> Replay:
    """Return what `replay` iterates over, with everything checked; parameters and errors as there."""
    wanted = [kinds] if isinstance(kinds, str) else list(kinds)
    for kind in wanted:
        if kind not in KINDS:
            raise ValueError(f"replay: kind {kind!r}, wanted any of {', '.join(KINDS)}")
    if by not in ("known", "time"):
        raise ValueError(f"replay: by {by!r}, wanted 'known' or 'time'")
    names = [symbols] if isinstance(symbols, str) else symbols
    first, last = instants(start, end)
    chosen = tuple(kind for kind in KINDS if kind in wanted)
    pairs = None if names is None else tuple(normalize_symbol(name) for name in names)
    whole = Replay(store, chosen, pairs, first, last, by=by)
    if timeframe is not None:
        whole = replace(whole, timeframe=timeframe_name(timeframe))
    held = _stored(whole, store._reader)
    shortest = min(held.filter(kind="bars")["timeframe"], key=span_ns, default=None)
    return whole if timeframe is not None else replace(whole, timeframe=shortest)


def _stored(whole: Replay, reader: Reader) -> pl.DataFrame:
    """Return what of a replay is stored: kind, timeframe, symbol, first, last and rows.

    Raises
    ------
    EmptyStoreError, UnknownSymbolError
        Nothing is, or of a symbol nothing is.
    """
    held = reader.seen(summary).filter(pl.col("kind").is_in(whole.kinds))
    if whole.timeframe is not None:
        held = held.filter((pl.col("kind") != "bars") | (pl.col("timeframe") == whole.timeframe))
    if whole.symbols is not None and held.height:
        held = held.filter(pl.col("symbol").is_in(whole.symbols))
        for name in whole.symbols:
            if name not in held["symbol"]:
                raise UnknownSymbolError(f"store {whole.store.root}: no {', '.join(whole.kinds)} of {name}")
    if not held.height:
        raise EmptyStoreError(f"store {whole.store.root}: holds no {', '.join(whole.kinds)}")
    return held


def _merged(frames: dict[str, pl.DataFrame]) -> list[Event]:
    """Return the events of rows of several kinds in the order of a replay."""
    events: list[Event] = []
    orders: list[pl.DataFrame] = []
    for number, kind in enumerate(KINDS):
        rows = frames.get(kind)
        if rows is None or not rows.height:
            continue
        found, heads = _events(kind, rows)
        events += found
        position = pl.col("position") if "position" in heads.columns else pl.lit(None, dtype=pl.Int64)
        orders.append(heads.select("instant", position.fill_null(LATEST).alias("position"), "symbol", kind=number))
    if not events:
        return events
    keys = pl.concat(orders).with_columns(symbol=pl.col("symbol").rank("dense"))
    columns = (keys[name].to_numpy() for name in ("symbol", "kind", "position", "instant"))
    order: NDArray[np.intp] = np.lexsort(tuple(columns))
    return [events[place] for place in order.tolist()]


def _events(kind: str, rows: pl.DataFrame) -> tuple[list[Any], pl.DataFrame]:
    """Return the events of rows of one kind, and the rows that head them."""
    if kind == "books":
        return book_updates(rows), rows[message_starts(rows)]
    if kind == "bars":
        return bar_rows(rows), rows
    shape: type[Any] = Trade if kind == "trades" else Quote
    filled = rows.with_columns(pl.col("time", "known").dt.epoch("ns"))
    if kind == "trades":
        filled = filled.with_columns(pl.col("id").fill_null(0), pl.col("taker_side").fill_null(""))
    return list(map(shape, *(filled[name].to_list() for name in shape.__struct_fields__))), rows
