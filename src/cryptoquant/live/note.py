"""A note: something that happened while trading, for the console, a notification or a page, and who hears it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Note:
    """Something that happened on the floor.

    ``time`` is nanoseconds UTC of the venue; ``what`` is one word, ``facts`` are JSON-ready.
    """

    time: int
    level: Level
    what: str
    profile: str
    facts: Mapping[str, Any]


class Listener(Protocol):
    """Hears what happens; it must not wait, and one that raises hears nothing more."""

    def __call__(self, note: Note) -> None:
        """Take a note."""
        ...
