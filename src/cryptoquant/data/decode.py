"""From the recorder's log to rows: every message becomes rows of its kind, or a row of the quarantine with a reason."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.data.layout import CORRECTED, FETCHED, STORED, STREAMED
from cryptoquant.data.message import CONTROL, BookMessage, Unreadable, instant, read_frame, read_page
from cryptoquant.data.segment import POSITION_BITS, Record, RecordKind
from cryptoquant.data.wire import BAR, BOOK, DAILY_BAR, QUOTE, TRADE, UPDATED_BAR, Columns, parse
from cryptoquant.market.instrument import normalize_symbol
from cryptoquant.market.time import from_iso, iso

MINUTE = 60_000_000_000
FAULTS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    pl.exceptions.PolarsError,
)
"""What a record that nobody foresaw may raise: it is put in quarantine rather than stopping all that follow."""
DAY = 86_400_000_000_000
EARLIEST = 1_230_768_000_000_000_000
FUTURE = 60_000_000_000
LONGEST_SYMBOL = 64  # it becomes a folder's name, in which a character may take three
LATE = "the time lies more than a minute after it was received"
EARLY = "time: wanted a timestamp of 2009 or later"
NAMELESS = "symbol: wanted BASE/QUOTE, for example BTC/USD, in at most 64 characters"
SHAPES = {
    "trades": (TRADE,),
    "quotes": (QUOTE,),
    "bars": (BAR, UPDATED_BAR),
    "daily_bars": (DAILY_BAR,),
    "books": (BOOK,),
}
SIDES = pl.Series(["" if code not in (66, 83) else chr(code) for code in range(128)])
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Decoded:
    """What some records held.

    Attributes
    ----------
    frames
        Rows by kind in the stored schemas, in the order of the log; only kinds with rows.
    messages
        Data messages read, those in quarantine included.
    early
        Bars received before their close by a clock that lags; their ``known`` is their close.
    """

    frames: dict[str, pl.DataFrame]
    messages: int
    early: int


class Piece(NamedTuple):
    """Packed messages in a row, with the record that they came in and the place there of the first."""

    payload: bytes
    record: int
    item: int


class Aside(NamedTuple):
    """A row of the quarantine; times in ns UTC."""

    symbol: str
    time: int
    known: int
    reason: str
    message: str
    position: int
    rank: int


def decode(records: Sequence[Record], kinds: Collection[str] | None = None) -> Decoded:
    """Return the rows of log records; ``known`` is the receive time.

    A bar cannot be known before its close: where the receive clock lags, the close is taken and the bar counted as
    early. A message is put in quarantine when a field is absent, of a wrong type or impossible, when its time lies more
    than a minute after it was received or before 2009, or when its kind is unknown; unknown fields are passed over.

    Parameters
    ----------
    kinds
        The kinds to build; by default all.
    """
    wanted = set(STORED if kinds is None else kinds)
    try:
        return _decoded(records, wanted)
    except FAULTS as error:
        if len(records) > 1:
            half = len(records) // 2
            return _joined(decode(records[:half], wanted), decode(records[half:], wanted))
        return _unreadable(records[0], wanted, error)


def _decoded(records: Sequence[Record], wanted: set[str]) -> Decoded:
    batch = _Batch(records)
    frames = {kind: batch.rows(kind) for kind in SHAPES if kind in wanted or "quarantine" in wanted}
    if wanted & {"gaps", "quarantine"}:
        frames["gaps"] = _gaps(records)
    if "quarantine" in wanted:
        frames["quarantine"] = batch.quarantine()
    kept = {kind: frame for kind, frame in frames.items() if frame.height and kind in wanted}
    return Decoded(kept, batch.count, batch.early)


def _joined(first: Decoded, second: Decoded) -> Decoded:
    kinds = dict.fromkeys([*first.frames, *second.frames])
    parts = {kind: [half.frames[kind] for half in (first, second) if kind in half.frames] for kind in kinds}
    frames = {kind: pl.concat(listed) for kind, listed in parts.items()}
    return Decoded(frames, first.messages + second.messages, first.early + second.early)


def _unreadable(record: Record, wanted: set[str], error: Exception) -> Decoded:
    """Return a record that no reader of messages could take, whole, as one row of the quarantine."""
    place = record.sequence << POSITION_BITS
    reason = f"the record cannot be read: {error!r}"
    row = Aside("", record.received, record.received, reason, record.payload.hex(), place, STREAMED)
    return Decoded({"quarantine": _rows("quarantine", [row])} if "quarantine" in wanted else {}, 1, 0)


def messages(record: Record) -> Sequence[Any]:
    """Return the messages of one record, one by one; a record that holds none gives none."""
    if record.kind == RecordKind.FRAME:
        return read_frame(record.payload)
    if record.kind == RecordKind.PAGE:
        return list(read_page(record.payload))
    return ()


class _Batch:
    """The messages of some records as columns, and what was set aside of them."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self._aside: list[Aside] = []
        pieces = [
            Piece(record.payload, index, 0) for index, record in enumerate(records) if record.kind == RecordKind.FRAME
        ]
        pages = [index for index, record in enumerate(records) if record.kind == RecordKind.PAGE]
        pieces += [piece for index in pages for piece in self._one_by_one(index)]
        columns = _parse(pieces)
        if columns.bad.any():
            pieces = [
                piece
                for whole, bad in zip(pieces, columns.bad.tolist(), strict=True)
                for piece in (self._one_by_one(whole.record) if bad and not whole.item else (whole,))
            ]
            columns = _parse(pieces)
            for index in np.flatnonzero(columns.bad).tolist():
                self._set_aside(pieces[index].record, pieces[index].item, "a number or a time is out of range")
        self.columns, self.early = columns, 0
        self._place(pieces)
        self.count = len(columns.shape) + len(self._aside)

    def _one_by_one(self, index: int) -> Iterator[Piece]:
        """Yield each message of a record that can be read as a piece of its own, packed anew; set the others aside."""
        for item, message in enumerate(messages(self._records[index])):
            if message.__class__ is Unreadable:
                self._set_aside(index, item, message.reason, message)
            elif not isinstance(message, CONTROL):
                yield Piece(msgspec.msgpack.encode([message]), index, item)

    def _place(self, pieces: Sequence[Piece]) -> None:
        """Find for each message when it was received, where it stands in the log, and its symbol."""
        columns, records = self.columns, self._records
        owner = np.array([piece.record for piece in pieces], np.int64)
        base = np.array([piece.item for piece in pieces], np.int64)
        self._record = owner[columns.frame]
        self._item = base[columns.frame] + columns.item
        self._received = np.array([record.received for record in records], np.int64)[self._record]
        sequence = np.array([record.sequence for record in records], np.int64)[self._record]
        self._position = sequence << POSITION_BITS | self._item
        fetched = np.array([record.kind == RecordKind.PAGE for record in records], np.bool_)[self._record]
        self._rank = np.where(fetched, FETCHED, STREAMED).astype(np.int8)
        self._rank[(columns.shape == UPDATED_BAR) & ~fetched] = CORRECTED
        self._connection = np.array([record.connection for record in records], np.int32)[self._record]
        content = b"".join([piece.payload for piece in pieces])
        names = [_symbol(content[start:stop]) for start, stop in columns.names.tolist()]
        self._names = pl.Series(names, dtype=pl.String)
        self._unnamed = np.array([name is None for name in names], np.bool_)

    def rows(self, kind: str) -> pl.DataFrame:
        """Return the rows of a kind; messages that are impossible are set aside."""
        chosen = np.flatnonzero(np.isin(self.columns.shape, SHAPES[kind]))
        if not len(chosen):
            return pl.DataFrame(schema=STORED[kind])
        if kind in ("bars", "daily_bars"):
            return self._bars(kind, chosen)
        return {"trades": self._trades, "quotes": self._quotes, "books": self._books}[kind](chosen)

    def _trades(self, chosen: Ints) -> pl.DataFrame:
        price, size = self.columns.values[chosen, 0], self.columns.values[chosen, 1]
        wrong = {
            "price: wanted a finite number above zero": ~(np.isfinite(price) & (price > 0)),
            "size: wanted a finite number, zero or more": ~(np.isfinite(size) & (size >= 0)),
        }
        side = SIDES.gather(self.columns.side[chosen])
        values = {"id": self.columns.identity[chosen], "price": price, "size": size, "taker_side": side}
        return self._table("trades", chosen, values, wrong)

    def _quotes(self, chosen: Ints) -> pl.DataFrame:
        """Return quotes; a side without orders has price and size 0."""
        names = ("bid_price", "bid_size", "ask_price", "ask_size")
        values = {name: self.columns.values[chosen, slot] for slot, name in enumerate(names)}
        wrong = {
            f"{name}: wanted a finite number, zero or more": ~(np.isfinite(value) & (value >= 0))
            for name, value in values.items()
        }
        return self._table("quotes", chosen, values, wrong)

    def _bars(self, kind: str, chosen: Ints) -> pl.DataFrame:
        """Return bars; ``time`` is the close. Running days are known before it, minutes never."""
        opened, count = self.columns.time[chosen], self.columns.identity[chosen]
        first, high, low, last, volume, mean = (self.columns.values[chosen, slot] for slot in range(6))
        close = opened + (MINUTE if kind == "bars" else DAY)
        known = self._received[chosen]
        prices = np.stack([first, high, low, last])
        wrong = {
            "a price is not finite and above zero": ~(np.isfinite(prices) & (prices > 0)).all(0),
            "high and low do not hold open and close": (high < prices.max(0)) | (low > prices.min(0)),
            "volume: wanted a finite number, zero or more": ~(np.isfinite(volume) & (volume >= 0)),
            "vwap: wanted a finite number, zero or more": ~(np.isfinite(mean) & (mean >= 0)),
            "trade count: wanted zero or more": count < 0,
        }
        values = {"open_time": opened, "open": first, "high": high, "low": low, "close": last}
        values |= {"volume": volume, "trade_count": count, "vwap": mean, "time": close}
        if kind == "bars":
            self.early += int((known < close).sum())
            values["known"] = np.maximum(known, close)
        return self._table(kind, chosen, values, wrong)

    def _books(self, chosen: Ints) -> pl.DataFrame:
        """Return changed levels: of each message the bids, then the asks.

        An update that changes nothing has no row; an empty reset is one bid of price and size 0.
        """
        columns = self.columns
        counts = np.diff(columns.levels)[chosen]
        resets = columns.side[chosen] == 1
        owner = np.repeat(np.arange(len(chosen)), counts)
        inside = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        index = columns.levels[chosen][owner] + inside
        side, level = columns.level_side[index], columns.level[index]
        bad_level = ~(np.isfinite(level).all(1) & (level[:, 0] > 0) & (level[:, 1] >= 0))
        bad = np.zeros(len(chosen), np.bool_)
        bad[owner[bad_level]] = True
        empty = np.flatnonzero(resets & (counts == 0))
        owner, side = np.r_[owner, empty], np.r_[side, np.zeros(len(empty), np.int8)]
        level = np.concatenate([level, np.zeros((len(empty), 2))])
        order = np.lexsort((side, owner))
        owner = owner[order]
        values = {
            "side": pl.Series(["bid", "ask"]).gather(side[order]),
            "price": level[order, 0],
            "size": level[order, 1],
            "reset": resets[owner],
            "connection": self._connection[chosen][owner],
        }
        wrong = {"a level: wanted a price above zero and a size of zero or more": bad}
        return self._table("books", chosen, values, wrong, owner)

    def _table(
        self, kind: str, chosen: Ints, values: dict[str, Any], wrong: dict[str, Mask], owner: Ints | None = None
    ) -> pl.DataFrame:
        """Return the stored rows of some messages; ``owner`` gives each row its message where one has several."""
        stamps, received = self.columns.time[chosen], self._received[chosen]
        wrong = {
            NAMELESS: self._unnamed[self.columns.symbol[chosen]],
            EARLY: stamps < EARLIEST,
            LATE: stamps > received + FUTURE,
            **wrong,
        }
        bad = np.logical_or.reduce(list(wrong.values()))
        for index in np.flatnonzero(bad).tolist():
            reason = next(reason for reason, mask in wrong.items() if mask[index])
            message = chosen[index]
            self._set_aside(int(self._record[message]), int(self._item[message]), reason)
        row = chosen if owner is None else chosen[owner]
        columns = {
            "symbol": self._names.gather(self.columns.symbol[row]),
            "time": self.columns.time[row],
            "known": self._received[row],
            "position": self._position[row],
            "rank": self._rank[row],
            **values,
        }
        table = pl.DataFrame(columns).select(_typed(name, dtype) for name, dtype in STORED[kind].items())
        return table.filter(pl.Series(~(bad if owner is None else bad[owner]))) if bad.any() else table

    def _set_aside(self, index: int, item: int, reason: str, message: Any = None) -> None:
        record = self._records[index]
        found = messages(record)[item] if message is None else message
        stamp = -1 if found.__class__ is Unreadable else instant(found.t)
        rank = FETCHED if record.kind == RecordKind.PAGE else STREAMED
        symbol = "" if found.__class__ is Unreadable else found.S
        text = found.text if found.__class__ is Unreadable else _described(found)
        time = record.received if stamp < EARLIEST else stamp
        self._aside.append(
            Aside(symbol, time, record.received, reason, text, record.sequence << POSITION_BITS | item, rank)
        )

    def quarantine(self) -> pl.DataFrame:
        """Return what was set aside, in the order of the log."""
        rows: list[Aside] = sorted(self._aside, key=lambda row: row.position)
        return _rows("quarantine", rows)


def _parse(pieces: Sequence[Piece]) -> Columns:
    ends = np.cumsum([len(piece.payload) for piece in pieces], dtype=np.int64)
    return parse(b"".join([piece.payload for piece in pieces]), ends)


def _symbol(name: bytes) -> str | None:
    if len(name) > LONGEST_SYMBOL:
        return None
    try:
        return normalize_symbol(name.decode("ascii"))
    except ValueError:
        return None


def _described(message: Any) -> str:
    """Return a message as text, its time to the nanosecond."""
    values = msgspec.structs.asdict(message)
    stamp = instant(message.t)
    values["t"] = iso(stamp) if stamp >= 0 else f"ext {message.t.code}: {bytes(message.t.data).hex()}"
    if message.__class__ is BookMessage:
        values |= {side: [msgspec.structs.asdict(level) for level in values[side]] for side in "ba"}
    return repr({"T": message.__struct_config__.tag, **values})


def _gaps(records: Iterable[Record]) -> pl.DataFrame:
    """Return the rows of the gap ledger that records of the log tell."""
    rows = []
    for record in records:
        if record.kind != RecordKind.EVENT:
            continue
        told = msgspec.json.decode(record.payload)
        if told["event"] == "gap":
            facts = (told["id"], told["kind"], from_iso(told["end"]), told["cause"], told["state"], told["rows"])
            place = (record.sequence << POSITION_BITS, STREAMED)
            rows.append((told["symbol"], from_iso(told["start"]), record.received, *facts, *place))
    return _rows("gaps", rows)


def _rows(kind: str, rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    schema = {name: pl.Int64 if isinstance(dtype, pl.Datetime) else dtype for name, dtype in STORED[kind].items()}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    return table.select(_typed(name, dtype) for name, dtype in STORED[kind].items())


def _typed(name: str, dtype: Any) -> pl.Expr:
    if isinstance(dtype, pl.Datetime):
        return pl.from_epoch(name, "ns").dt.replace_time_zone("UTC")
    return pl.col(name).cast(dtype)
