"""The journal: every fact before it is acted on, append-only, from which the same books can be made again."""

import fcntl
import json
import math
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import msgspec
import numpy as np

from cryptoquant.errors import JournalError
from cryptoquant.market.price import Price
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import FIELDS, Slice
from cryptoquant.trading.engine import Command, Timer
from cryptoquant.trading.order import Adjustment, Cancel, Cancellation, Fill, Order, Rejection

FORMAT = 2
SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, scope TEXT NOT NULL, id TEXT NOT NULL UNIQUE, time INTEGER NOT NULL,
    body BLOB NOT NULL
);
"""
INSERT = "INSERT OR IGNORE INTO facts (kind, scope, id, time, body) VALUES (?, ?, ?, ?, ?)"
STRUCTS: dict[str, Any] = {
    "order": Order,
    "cancel": Cancel,
    "fill": Fill,
    "rejection": Rejection,
    "cancellation": Cancellation,
    "adjustment": Adjustment,
    "command": Command,
    "price": Price,
    "timer": Timer,
}


class SliceBody(msgspec.Struct, frozen=True):
    """The body of a slice; an absent symbol's row holds nothing."""

    time: int
    known: int
    symbols: tuple[str, ...]
    values: list[list[float | None]]


SLICE = msgspec.json.Decoder(SliceBody)
KIND_OF = {struct: kind for kind, struct in STRUCTS.items()}
DECODERS = {kind: msgspec.json.Decoder(struct) for kind, struct in STRUCTS.items()}
SIGNALS = msgspec.json.Decoder(list[Signal])
ENCODER = msgspec.json.Encoder()
REST_ROWS, FULL_PAGES = 500, 8_000
ONCE = ("command", "profile", "account", "warm")
"""Kinds of rows that the books would be other without."""
UNREADABLE = (msgspec.MsgspecError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What decoding raises when a body is not what its kind says."""
EXCERPT = 60
LOOKS, LOOK_SECONDS = 20, 0.005
"""How often the lock is tried: who only looks whether a journal is written holds it for a moment."""
Fact = Slice | Order | Cancel | Fill | Rejection | Cancellation | Adjustment | Command | Price | Timer
Row = tuple[str, str, str, int, bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: its place, what it is, whom it concerns, its identity and its time (nanoseconds UTC).

    ``scope`` is a profile, of a slice the universe that it belongs to, and empty for what concerns all. ``journal`` is
    the file, where it was read from one. What cannot be read as what it should be is a `JournalError` that names it.
    """

    seq: int
    kind: str
    scope: str
    id: str
    time: int
    body: bytes
    journal: str = field(default="", compare=False)

    def fact(self) -> Fact:
        """Return the event that the row holds; its kind must be one of an event."""
        try:
            return decode(self.kind, self.body)
        except UNREADABLE as error:
            raise self.misfit(error) from error

    def signals(self) -> list[Signal]:
        """Return the signals of a row of kind ``signals``."""
        try:
            found: list[Signal] = SIGNALS.decode(self.body)
        except UNREADABLE as error:
            raise self.misfit(error) from error
        return found

    def content(self) -> dict[str, Any]:
        """Return the body of a row that is no event (``account``, ``profile``, ``settled``)."""
        try:
            content = json.loads(self.body)
        except UNREADABLE as error:
            raise self.misfit(error) from error
        if not isinstance(content, dict):
            raise self.damaged(_excerpt(self.body), "a JSON object")
        return content

    def misfit(self, error: Exception) -> JournalError:
        """Return the error for a body that was read as what its kind says, which raised ``error``."""
        why = f"{type(error).__name__}: {error}"
        return self.damaged(_excerpt(self.body), f"what {self.kind!r} rows hold ({why})")

    def damaged(self, found: str, wanted: str) -> JournalError:
        """Return the error that says of this row what was found in it, and what was wanted."""
        where = f"{self.journal}: " if self.journal else ""
        return JournalError(f"{where}row {self.seq} ({self.kind} {self.id}) is damaged: found {found}, wanted {wanted}")


class Journal:
    """Facts in the order in which they were learned, in one SQLite file; one writer at a time.

    Parameters
    ----------
    path
        The file; it is made when it does not exist.

    Raises
    ------
    JournalError
        Another trader writes it, or the file is no journal of this format.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self._acquire()
        self._is_durable = False
        self._rested = 0
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(f"PRAGMA wal_autocheckpoint={FULL_PAGES}")
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found in (0, FORMAT):
                self._db.executescript(SCHEMA)
                self._db.execute(f"PRAGMA user_version={FORMAT}")
        except sqlite3.Error as error:
            self._lock.close()
            raise JournalError(f"{self.path} is not a journal: {error}") from error
        if found not in (0, FORMAT):
            self.close()
            raise JournalError(f"{self.path} has format {found}, this version reads {FORMAT}")

    def _acquire(self) -> TextIO:
        lock = _lock_of(self.path).open("a+")
        for look in range(1, LOOKS + 1):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if look == LOOKS:
                    lock.close()
                    raise JournalError(f"{self.path} is written by another trader") from error
                time.sleep(LOOK_SECONDS)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    def append(self, facts: Iterable[Fact], scope: str = "", *, durable: bool = False) -> int:
        """Write facts in one transaction and return how many were new; a fact whose id is there already is left out.

        Parameters
        ----------
        scope
            Of facts that name no profile themselves.
        durable
            Wait until the disk has it (fsync); without it a crash of the process loses nothing, a power cut may lose
            the last rows.
        """
        return self._insert([encode(fact, scope) for fact in facts], durable=durable)

    def note(
        self, kind: str, identity: str, time: int, content: Mapping[str, Any], scope: str = "", *, durable: bool = True
    ) -> int:
        """Write a row that is no event; one of the same moment as another gets a number."""
        return self.write([self.row(kind, identity, time, content, scope)], durable=durable)

    def row(self, kind: str, identity: str, time: int, content: Mapping[str, Any], scope: str = "") -> Row:
        """Return the row that `note` writes."""
        return kind, scope, self.unused(identity), time, json.dumps(content, default=str).encode()

    def unused(self, identity: str) -> str:
        """Return an id that no row has: ``identity``, or with the first number behind it that is free.

        Two commands of one moment are two, also when a trader has ended between them.
        """
        found, number = identity, 1
        try:
            while self._db.execute("SELECT 1 FROM facts WHERE id = ?", (found,)).fetchone():
                number += 1
                found = f"{identity}.{number}"
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: cannot read: {error}") from error
        return found

    def write(self, rows: Iterable[Row], *, durable: bool) -> int:
        """Write encoded facts as ``append`` does, commands and changes only if they are new.

        Raises
        ------
        JournalError
            It cannot be written, or a row that may not be left out, a command or a change, has the id of another.
        """
        return self._insert(list(rows), durable=durable, once=ONCE)

    def _insert(self, rows: list[Row], *, durable: bool, once: Collection[str] = ()) -> int:
        try:
            if durable is not self._is_durable:
                self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                self._is_durable = durable
            self._db.execute("BEGIN IMMEDIATE")
            before = self._db.total_changes
            self._db.executemany(INSERT, rows)
            if self._db.total_changes - before < len(rows) and any(row[0] in once for row in rows):
                raise sqlite3.IntegrityError(f"not new: one of {', '.join(row[2] for row in rows)}")
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise JournalError(f"{self.path}: cannot write: {error}") from error
        return self._db.total_changes - before

    def rest(self) -> None:
        """Take what was written since into the file proper, while no one waits; without rest that is done in a write.

        It costs several times what a write costs, and an order that follows from a market frame would wait for it.

        Raises
        ------
        JournalError
            The disk failed.
        """
        if self._db.total_changes - self._rested < REST_ROWS:
            return
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._db.execute(f"PRAGMA user_version={FORMAT}")  # what is written next begins the log anew, with a sync
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: cannot write: {error}") from error
        self._rested = self._db.total_changes

    def entries(self, after: int = 0) -> list[Entry]:
        """Return all rows behind a place, in order.

        Raises
        ------
        JournalError
            The file is damaged.
        """
        try:
            return list(_rows(self._db, self.path, after))
        except sqlite3.Error as error:
            raise JournalError(f"{self.path} is damaged: {error}") from error

    def close(self) -> None:
        """Close the file and let another trader have it."""
        self._db.close()
        self._lock.close()


def read_journal(path: str | Path, after: int = 0) -> list[Entry]:
    """Return the rows of a journal behind a place, without locking it: while a trader writes, too.

    Raises
    ------
    JournalError
        There is no such file, or it is no journal of this format.
    """
    place = Path(path)
    if not place.is_file():
        raise JournalError(f"no journal at {place}")
    try:
        connection = sqlite3.connect(f"{place.resolve().as_uri()}?mode=ro", uri=True)
        try:
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found != FORMAT:
                raise JournalError(f"{place} has format {found}, this version reads {FORMAT}")
            return list(_rows(connection, place, after))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise JournalError(f"{place} is not a journal: {error}") from error


def writer_of(path: str | Path) -> int | None:
    """Return the process that writes a journal, None when there is none."""
    place = _lock_of(Path(path))
    if not place.is_file():
        return None
    with place.open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return int(lock.read() or 0) or None
    return None


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _rows(connection: sqlite3.Connection, path: Path, after: int) -> Iterator[Entry]:
    columns, name = "seq, kind, scope, id, time, body", str(path)
    found = connection.execute(f"SELECT {columns} FROM facts WHERE seq > ? ORDER BY seq", (after,))
    for seq, kind, scope, identity, at, body in found:
        entry = Entry(seq, kind, scope, identity, at, body, name)
        # SQLite keeps what it is given, also where a column was declared to be of another type.
        if not (isinstance(at, int) and all(isinstance(one, str) for one in (kind, scope, identity))):
            raise entry.damaged(_excerpt((kind, scope, identity, at)), "texts for kind, scope and id, and a whole time")
        yield entry


def _excerpt(body: Any) -> str:
    """Return the beginning of a body in words; a damaged one may be of any type that SQLite knows."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    return repr(text if len(text) <= EXCERPT else f"{text[:EXCERPT]}...")


def encode(fact: Fact, scope: str = "") -> Row:
    """Return kind, scope, id, time and body of a fact; floats read back as the same bits.

    Raises
    ------
    JournalError
        An order has a size or a price that is no number: JSON has no word for it, and no venue takes it.
    """
    if isinstance(fact, Slice):
        values = [[None if value != value else value for value in row] for row in fact.values.tolist()]
        body = {"time": fact.time, "known": fact.known, "symbols": fact.symbols, "values": values}
        return "slice", scope, f"slice:{scope}:{fact.time}", fact.time, ENCODER.encode(body)
    kind, content = KIND_OF[type(fact)], ENCODER.encode(fact)
    if isinstance(fact, Order) and b"null" in content:
        _check_numbers(fact)
    return kind, getattr(fact, "profile", scope), _identity(kind, fact), fact.time, content


def _check_numbers(order: Order) -> None:
    """Refuse what JSON wrote as null; a protection has nulls that are none of its exits."""
    for name in ("lots", "limit_price", "stop_price", "trail"):
        value = getattr(order, name)
        if value is not None and not math.isfinite(value):
            raise JournalError(f"order {order.id}: found {name}={value}, wanted a number that can be written")


def encode_signals(signals: list[Signal], profile: str) -> Row:
    """Return the row of the signals that a profile's model gave at one slice."""
    time = signals[0].time
    return "signals", profile, f"signals:{profile}:{time}", time, ENCODER.encode(signals)


def _identity(kind: str, fact: Any) -> str:
    if isinstance(fact, Fill):
        return f"fill:{fact.execution_id}"
    if isinstance(fact, Price):
        return f"price:{fact.symbol}:{fact.time}:{fact.known}:{fact.low!r}:{fact.high!r}"
    if isinstance(fact, Timer):
        return f"timer:{fact.time}"
    return f"{kind}:{fact.order_id}" if hasattr(fact, "order_id") else f"{kind}:{fact.id}"


def decode(kind: str, body: bytes) -> Fact:
    """Return the fact of ``encode``."""
    if kind == "slice":
        found = SLICE.decode(body)
        values = np.array([[math.nan if v is None else v for v in row] for row in found.values], dtype=np.float64)
        if values.shape != (len(found.symbols), len(FIELDS)):
            raise ValueError(
                f"values of shape {values.shape} for {len(found.symbols)} symbols and {len(FIELDS)} fields"
            )
        return Slice(found.time, found.known, found.symbols, values)
    if kind not in DECODERS:
        raise JournalError(f"a row of kind {kind!r} is no event")
    fact: Fact = DECODERS[kind].decode(body)
    return fact
