"""The journal: every fact before it is acted on, append-only, from which the same books can be made again."""

import fcntl
import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import msgspec
import numpy as np

from cryptoquant.errors import JournalError
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import Slice
from cryptoquant.trading.engine import Command
from cryptoquant.trading.order import Adjustment, Cancellation, Fill, Order, Rejection

FORMAT = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL UNIQUE, time INTEGER NOT NULL, body BLOB NOT NULL
);
"""
STRUCTS: dict[str, Any] = {
    "signal": Signal,
    "order": Order,
    "fill": Fill,
    "rejection": Rejection,
    "cancellation": Cancellation,
    "adjustment": Adjustment,
    "command": Command,
}
Fact = Slice | Signal | Order | Fill | Rejection | Cancellation | Adjustment | Command


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: its place, what it is, its identity and its time (nanoseconds UTC)."""

    seq: int
    kind: str
    id: str
    time: int
    body: bytes

    def fact(self) -> Fact:
        """Return the event that the row holds; its kind must be one of an event."""
        return decode(self.kind, self.body)

    def content(self) -> dict[str, Any]:
        """Return the body of a row that is no event (``start``, ``state``)."""
        content: dict[str, Any] = json.loads(self.body)
        return content


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
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(SCHEMA)
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.DatabaseError as error:
            self._lock.close()
            raise JournalError(f"{self.path} is not a journal: {error}") from error
        if found not in (0, FORMAT):
            self._lock.close()
            raise JournalError(f"{self.path} has format {found}, this version reads {FORMAT}")
        self._db.execute(f"PRAGMA user_version={FORMAT}")

    def _acquire(self) -> TextIO:
        lock = _lock_of(self.path).open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise JournalError(f"{self.path} is written by another trader") from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    def append(self, facts: Iterable[Fact], *, durable: bool = False) -> int:
        """Write facts in one transaction and return how many were new; a fact whose id is there already is left out.

        ``durable`` waits until the disk has it (fsync); without it a crash of the process loses nothing, a power cut
        may lose the last rows.
        """
        rows = [(kind, identity, time, body) for kind, identity, time, body in map(encode, facts)]
        return self._write(rows, durable=durable)

    def note(self, kind: str, identity: str, time: int, content: dict[str, Any]) -> int:
        """Write a row that is no event, durably."""
        return self._write([(kind, identity, time, json.dumps(content, default=str).encode())], durable=True)

    def _write(self, rows: list[tuple[str, str, int, bytes]], *, durable: bool) -> int:
        try:
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            before = self._db.total_changes
            self._db.executemany("INSERT OR IGNORE INTO facts (kind, id, time, body) VALUES (?, ?, ?, ?)", rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise JournalError(f"{self.path}: cannot write: {error}") from error
        return self._db.total_changes - before

    def entries(self, after: int = 0) -> list[Entry]:
        """Return all rows behind a place, in order."""
        return list(_rows(self._db, after))

    def close(self) -> None:
        """Close the file and let another trader have it."""
        self._db.close()
        self._lock.close()


def read_journal(path: str | Path) -> list[Entry]:
    """Return all rows of a journal without locking it: while a trader writes, too.

    Raises
    ------
    JournalError
        There is no such file, or it is no journal.
    """
    place = Path(path)
    if not place.is_file():
        raise JournalError(f"no journal at {place}")
    try:
        connection = sqlite3.connect(f"{place.resolve().as_uri()}?mode=ro", uri=True)
        try:
            return list(_rows(connection, 0))
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
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


def _rows(connection: sqlite3.Connection, after: int) -> Iterator[Entry]:
    found = connection.execute("SELECT seq, kind, id, time, body FROM facts WHERE seq > ? ORDER BY seq", (after,))
    return (Entry(*row) for row in found)


def encode(fact: Fact) -> tuple[str, str, int, bytes]:
    """Return kind, id, time and body of a fact; floats read back as the same bits."""
    if isinstance(fact, Slice):
        rows = [[None if math.isnan(value) else value for value in row] for row in fact.values.tolist()]
        body = {"time": fact.time, "known": fact.known, "symbols": fact.symbols, "values": rows}
        return "slice", f"slice:{fact.time}", fact.time, msgspec.json.encode(body)
    body_bytes = msgspec.json.encode(fact)
    if isinstance(fact, Signal):
        return "signal", f"signal:{fact.name}:{fact.symbol}:{fact.time}", fact.time, body_bytes
    if isinstance(fact, Order):
        return "order", f"order:{fact.id}", fact.time, body_bytes
    if isinstance(fact, Fill):
        return "fill", f"fill:{fact.execution_id}", fact.time, body_bytes
    if isinstance(fact, Rejection | Cancellation):
        kind = "rejection" if isinstance(fact, Rejection) else "cancellation"
        return kind, f"{kind}:{fact.order_id}", fact.time, body_bytes
    kind = "adjustment" if isinstance(fact, Adjustment) else "command"
    return kind, f"{kind}:{fact.id}", fact.time, body_bytes


def decode(kind: str, body: bytes) -> Fact:
    """Return the fact of ``encode``."""
    if kind == "slice":
        found = msgspec.json.decode(body)
        values = np.array([[math.nan if v is None else v for v in row] for row in found["values"]], dtype=np.float64)
        return Slice(found["time"], found["known"], tuple(found["symbols"]), values)
    if kind not in STRUCTS:
        raise JournalError(f"a row of kind {kind!r} is no event")
    fact: Fact = msgspec.json.decode(body, type=STRUCTS[kind])
    return fact
