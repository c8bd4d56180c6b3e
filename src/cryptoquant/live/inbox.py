"""The inbox: what an operator asks of a running trader, in a file beside its journal that any process may write."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from cryptoquant.errors import JournalError

SCHEMA = "CREATE TABLE IF NOT EXISTS asked (seq INTEGER PRIMARY KEY, body BLOB NOT NULL, answer TEXT)"


@dataclass(frozen=True, slots=True)
class Request:
    """One wish: what to do, for which profile ('' for all), and further settings by name."""

    seq: int
    action: str
    profile: str
    settings: Mapping[str, Any]


class Inbox:
    """Wishes in order, each with the trader's answer once it was taken.

    Parameters
    ----------
    journal
        The journal of the trader; the inbox lies beside it.

    Raises
    ------
    JournalError
        The file cannot be used.
    """

    def __init__(self, journal: Path) -> None:
        self.path = journal.with_name(journal.name + ".commands")
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5.0)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(SCHEMA)
        except sqlite3.Error as error:
            raise JournalError(f"{self.path} is no inbox of commands: {error}") from error

    def ask(self, action: str, profile: str = "", **settings: Any) -> int:
        """Leave a wish for the trader; return its number."""
        body = msgspec.json.encode({"action": action, "profile": profile, "settings": settings})
        try:
            found = self._db.execute("INSERT INTO asked (body) VALUES (?)", (body,))
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: cannot write: {error}") from error
        return int(found.lastrowid or 0)

    def waiting(self) -> list[Request]:
        """Return the wishes that have no answer yet, oldest first."""
        try:
            rows = self._db.execute("SELECT seq, body FROM asked WHERE answer IS NULL ORDER BY seq").fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: cannot read: {error}") from error
        return [Request(seq, **msgspec.json.decode(body)) for seq, body in rows]

    def answer(self, request: Request, text: str) -> None:
        """Say what came of a wish; an empty text says that it was done."""
        self._db.execute("UPDATE asked SET answer = ? WHERE seq = ?", (text, request.seq))

    def answer_of(self, number: int) -> str | None:
        """Return the answer to a wish, None while there is none."""
        row = self._db.execute("SELECT answer FROM asked WHERE seq = ?", (number,)).fetchone()
        return None if row is None else row[0]

    def close(self) -> None:
        """Close the file."""
        self._db.close()
