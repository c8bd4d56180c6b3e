"""Bars as they were known: one revision of each, in the timeframe asked for, folded from smaller ones where need be."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl

from cryptoquant.data.entry import Entry
from cryptoquant.data.keys import once
from cryptoquant.data.layout import PLAIN_KINDS, SHARED, STORED, empty
from cryptoquant.data.reading import Fresh, View, is_clean, loose
from cryptoquant.data.selection import Bounds, inside, known_by, latest
from cryptoquant.errors import EmptyStoreError
from cryptoquant.market.aggregation import bucket_open, fold
from cryptoquant.market.schema import BARS
from cryptoquant.market.time import Timeframe, span_ns, timeframe_name

READERS = min(4, os.cpu_count() or 1)
PARTS = ["open_time", "known", "open", "high", "low", "close", "volume", "trade_count", "vwap"]
"""What a larger bar is made of; the close of a part follows from its open."""


@dataclass(frozen=True, slots=True)
class Question:
    """Bars of one timeframe in a range, as they were known at ``limit`` (ns UTC; None: as they are known now).

    Attributes
    ----------
    is_named
        Whether the symbols were named, so that one that cannot be given is an error and not left out.
    columns
        Those of bars, and of rows that are stored as they are asked for perhaps others.
    """

    timeframe: Timeframe
    bounds: Bounds
    limit: int | None = None
    is_named: bool = True
    columns: tuple[str, ...] = tuple(BARS)

    @property
    def width(self) -> int:
        """The length of a bar in nanoseconds."""
        return span_ns(self.timeframe)

    def bounds_of(self, length: int) -> Bounds:
        """Return the bounds of smaller bars: a larger one counts when it opens inside the range."""
        first, last = self.bounds
        return (first if first is None or length == self.width else -(-first // self.width) * self.width), last


def bars(view: View, symbols: Sequence[str], asked: Question) -> pl.DataFrame:
    """Return the bars of some symbols, symbol after symbol in time order.

    Raises
    ------
    EmptyStoreError
        The stored timeframes of a symbol that was named, or of all symbols, do not make the one asked for.
    """
    fresh = view.fresh("bars", symbols, asked.bounds)
    at_hand: list[Entry] = []
    folded: list[str] = []
    refused: list[EmptyStoreError] = []
    for symbol in symbols:
        try:
            stored = _fitting(view, fresh, symbol, asked)
        except EmptyStoreError as error:
            refused.append(error)
            continue
        entries = _entries(view, symbol, asked, asked.width)
        is_plain = list(stored) == [asked.width] and (stored[asked.width], symbol) not in fresh
        if is_plain and is_clean("bars", entries):
            at_hand += entries
        else:
            folded.append(symbol)
    if refused and (asked.is_named or len(refused) == len(symbols)):
        raise refused[0]
    if not folded:
        return view.load(at_hand, "bars", asked.bounds, asked.columns, wanted=known_by(asked.limit))
    with ThreadPoolExecutor(READERS) as readers:
        made = dict(zip(folded, readers.map(lambda name: _of_symbol(view, fresh, name, asked), folded), strict=True))
    plain = view.load(at_hand, "bars", asked.bounds, asked.columns, wanted=known_by(asked.limit))
    parts = {part["symbol"].item(0): part for part in plain.partition_by("symbol", maintain_order=True)} | made
    return pl.concat([parts[symbol] for symbol in symbols if symbol in parts], how="diagonal")


def _fitting(view: View, fresh: Fresh, symbol: str, asked: Question) -> dict[int, str]:
    """Return the stored timeframes that make the one asked for, the largest first, by their length."""
    names = view.snapshot.timeframes("bars", symbol) | {name for name, owner in fresh if owner == symbol}
    stored = {span_ns(name): name for name in names}
    fitting = {length: stored[length] for length in sorted(stored, reverse=True) if asked.width % length == 0}
    if stored and not fitting:
        found = ", ".join(stored[length] for length in sorted(stored))
        raise EmptyStoreError(f"{symbol}: bars of {found} do not make {timeframe_name(asked.timeframe)}")
    return fitting


def _entries(view: View, symbol: str, asked: Question, length: int) -> list[Entry]:
    name = timeframe_name(asked.timeframe) if length == asked.width else ""
    return view.snapshot.series("bars", name, symbol).within(*asked.bounds_of(length))


def _of_symbol(view: View, fresh: Fresh, symbol: str, asked: Question) -> pl.DataFrame:
    whole: pl.DataFrame | None = None
    for length, name in _fitting(view, fresh, symbol, asked).items():
        made = _made(view, fresh.get((name, symbol)), symbol, asked, length, name)
        whole = (
            made if whole is None else pl.concat([whole, made.join(whole, on="open_time", how="anti")], how="diagonal")
        )
    return pl.DataFrame(schema=BARS) if whole is None else whole.sort("open_time")


def _made(
    view: View, recent: pl.DataFrame | None, symbol: str, asked: Question, length: int, name: str
) -> pl.DataFrame:
    """Return what the bars of one stored timeframe come to in the one asked for."""
    bounds = asked.bounds_of(length)
    series = view.snapshot.series("bars", name, symbol)
    entries = series.within(*bounds)
    needed = asked.columns if length == asked.width else PARTS
    if recent is None and is_clean("bars", entries):
        rows = view.load(entries, "bars", bounds, needed, wanted=known_by(asked.limit))
    else:
        written = view.load(series.as_written(entries), "bars", bounds)
        every = written if recent is None else pl.concat([written, recent.filter(inside("bars", bounds))])
        rows = latest(every, asked.limit).select(needed)
    if length == asked.width or not rows.height:
        return rows if length == asked.width else pl.DataFrame(schema=BARS)
    return _folded(view, rows, symbol, asked, length, name)


def _folded(view: View, rows: pl.DataFrame, symbol: str, asked: Question, length: int, name: str) -> pl.DataFrame:
    """Fold bars of a range so that each large one is as it is in the whole: what is absent at an edge did not trade.

    Only at the ends of all bars that were known it is not known whether something is absent or was never recorded.
    """
    opened = rows["open_time"].to_physical()
    begin, end = bucket_open(int(opened[0]), asked.width), int(opened[-1]) + length
    close = bucket_open(int(opened[-1]), asked.width) + asked.width
    first, last = asked.bounds
    is_begun = first is not None and begin < opened[0] and _holds(view, symbol, asked, name, (None, begin))
    is_over = last is not None and end < close <= last and _holds(view, symbol, asked, name, (close, asked.limit))
    return fold(rows, symbol, asked.width, close if is_over else end, since=begin if is_begun else None)


def _holds(view: View, symbol: str, asked: Question, name: str, bounds: Bounds) -> bool:
    """Whether any bar of a stored timeframe in a range was known; files are opened for the sake of a limit only."""
    series = view.snapshot.series("bars", name, symbol)
    wanted = known_by(asked.limit)
    entries = series.within(*bounds)
    if asked.limit is None and entries:
        return True
    recent = view.fresh("bars", [symbol], bounds).get((name, symbol))
    if recent is not None and not recent.filter(wanted).is_empty():
        return True
    return any(not view.load([entry], "bars", bounds, ["time"], wanted=wanted).is_empty() for entry in entries)


def daily(view: View, symbols: Sequence[str], bounds: Bounds, limit: int | None) -> pl.DataFrame:
    """Return running daily bars, of each day the state known last (at ``limit``)."""
    parts = [latest(rows, limit).select(*BARS) for rows in as_written(view, "daily_bars", symbols, bounds).values()]
    return pl.concat(parts) if parts else pl.DataFrame(schema=BARS)


def every(view: View, kind: str, symbols: Sequence[str], bounds: Bounds) -> pl.DataFrame:
    """Return all rows of some symbols as they are stored, each once: of bars all revisions, of all timeframes."""
    if kind not in PLAIN_KINDS | SHARED:
        return view.ticks(kind, symbols, bounds, list(STORED[kind]))
    parts = [once(kind, rows) for rows in as_written(view, kind, symbols, bounds).values()]
    return pl.concat(parts) if parts else empty(kind)


def gaps(view: View) -> pl.DataFrame:
    """Return the outages, one row each as it is known last."""
    ledger = every(view, "gaps", view.symbols("gaps"), (None, None))
    ordered = ledger.sort("known", "position", nulls_last=False, maintain_order=True)
    return ordered.unique("id", keep="last", maintain_order=True).sort("time", "id")


def quarantine(view: View) -> pl.DataFrame:
    """Return the messages that could not be read, in the order in which they came."""
    rows = every(view, "quarantine", view.symbols("quarantine"), (None, None))
    return rows.sort("known", "position", maintain_order=True)


def as_written(
    view: View, kind: str, symbols: Sequence[str], bounds: Bounds = (None, None)
) -> dict[tuple[str, str], pl.DataFrame]:
    """Return the rows of some symbols by timeframe and symbol, as often as they are stored, in the order written."""
    fresh = view.fresh(kind, symbols, bounds)
    found: dict[tuple[str, str], pl.DataFrame] = {}
    for symbol in symbols:
        names = view.snapshot.timeframes(kind, symbol) | {name for name, owner in fresh if owner == symbol}
        for name in sorted(names):
            series = view.snapshot.series(kind, name, symbol)
            entries = series.as_written(series.within(*loose(kind, bounds))) if symbol else []
            recent = [fresh[name, symbol]] if (name, symbol) in fresh else []
            rows = pl.concat([view.load(entries, kind, bounds), *recent])
            if rows.height:
                found[name, symbol] = rows
    return found
