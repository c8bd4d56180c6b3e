"""The latch: a halt or a pause of all profiles that nobody has ended; one that joins meanwhile is under it too."""

from collections.abc import Iterable
from typing import Literal

from cryptoquant.live.damage import reading
from cryptoquant.live.journal import Entry
from cryptoquant.trading.engine import Command

Latch = Literal["halt", "pause"]


def latched(entries: Iterable[Entry]) -> dict[Latch, str]:
    """Return what is in force for all profiles at the end of a journal, with its reason.

    A command to one profile changes nothing here: who halts all means those that are still to come, until all are
    resumed.

    Raises
    ------
    JournalError
        A row is damaged.
    """
    found: dict[Latch, str] = {}
    for entry in entries:
        if entry.scope or entry.kind not in ("command", "halted"):
            continue
        with reading(entry):
            if entry.kind == "halted":
                found["halt"] = str(entry.content()["reason"])
            else:
                _take(found, entry.fact())  # type: ignore[arg-type]
    return found


def _take(found: dict[Latch, str], command: Command) -> None:
    """Do to what is in force what the command does to each engine."""
    if command.action == "halt":
        found["halt"] = command.reason
    elif command.action in ("pause", "close"):
        found["pause"] = command.reason
    elif command.action == "resume":
        found.clear()
    elif command.action == "unpause":
        found.pop("pause", None)
