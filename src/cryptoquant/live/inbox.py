"""The inbox: what an operator asks of a running trader, in a file beside its journal that any process may write."""

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from cryptoquant.errors import ConfigurationError, JournalError

SCHEMA = """
CREATE TABLE IF NOT EXISTS asked (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL, answer TEXT, taken INTEGER NOT NULL DEFAULT 0
)
"""


class Request(msgspec.Struct, frozen=True):
    """One wish: what to do, for which profile ('' for all), and further settings by name; its number in the inbox."""

    action: str
    profile: str = ""
    settings: dict[str, Any] = {}
    seq: int = 0


WISH = msgspec.json.Decoder(Request)


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
        """Leave a wish for the trader; return its number.

        Raises
        ------
        ConfigurationError
            A setting is a number that JSON has no word for: it would be read as none, a capital as all the spare cash.
        JournalError
            The file cannot be written.
        """
        for name, number in _numbers("", settings):
            if not math.isfinite(number):
                raise ConfigurationError(f"{action} {profile}: found {name}={number}, wanted a finite number")
        body = msgspec.json.encode({"action": action, "profile": profile, "settings": settings})
        try:
            found = self._db.execute("INSERT INTO asked (body) VALUES (?)", (body,))
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: cannot write: {error}") from error
        return int(found.lastrowid or 0)

    def waiting(self) -> list[Request]:
        """Return the wishes that have no answer yet, oldest first; what is no wish is answered with that."""
        try:
            rows = self._db.execute("SELECT seq, body FROM asked WHERE answer IS NULL ORDER BY seq").fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: cannot read: {error}") from error
        found = []
        for seq, body in rows:
            try:
                found.append(msgspec.structs.replace(WISH.decode(body), seq=seq))
            except msgspec.MsgspecError as error:
                self._answer(seq, f"this is no command: {error}")
        return found

    def take(self, request: Request) -> bool:
        """Begin with a wish; False when it was withdrawn meanwhile."""
        update = "UPDATE asked SET taken = 1 WHERE seq = ? AND answer IS NULL"
        return self._write(update, request.seq) == 1

    def withdraw(self, number: int) -> bool:
        """Take a wish back that nobody has begun with; False when it is too late for that."""
        return self._write("DELETE FROM asked WHERE seq = ? AND taken = 0 AND answer IS NULL", number) == 1

    def answer(self, request: Request, text: str) -> None:
        """Say what came of a wish; an empty text says that it was done."""
        self._answer(request.seq, text)

    def _answer(self, number: int, text: str) -> None:
        self._write("UPDATE asked SET answer = ? WHERE seq = ?", text, number)

    def _write(self, statement: str, *values: Any) -> int:
        try:
            return self._db.execute(statement, values).rowcount
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: cannot write: {error}") from error

    def answer_of(self, number: int) -> str | None:
        """Return the answer to a wish, None while there is none."""
        try:
            row = self._db.execute("SELECT answer FROM asked WHERE seq = ?", (number,)).fetchone()
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: cannot read: {error}") from error
        return None if row is None else row[0]

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _numbers(name: str, value: Any) -> Iterator[tuple[str, float]]:
    """Yield the floats among settings, however deep, with their names."""
    if isinstance(value, float):
        yield name, value
    elif isinstance(value, dict | list | tuple):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(f"{name}.{key}" if name else str(key), one)
