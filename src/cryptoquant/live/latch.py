"""The latch: a halt or a pause of all profiles that nobody has ended; one that joins meanwhile is under it too."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from cryptoquant.live.damage import reading
from cryptoquant.live.journal import Entry
from cryptoquant.trading.engine import Command

Latch = Literal["halt", "pause"]


def latched(entries: Iterable[Entry]) -> dict[Latch, str]:
    """Return what is in force for all profiles at the end of a journal, with its reason.

    Who halts all means those that are still to come, until all are resumed, at once or one by one.

    Raises
    ------
    JournalError
        A row is damaged.
    """
    latches = _Latches()
    for entry in entries:
        if entry.kind in ("command", "halted", "profile"):
            with reading(entry):
                latches.take(entry)
    return latches.found


@dataclass(slots=True)
class _Latches:
    """What is in force, which profiles there are, and which of them were let go by a command of their own."""

    found: dict[Latch, str] = field(default_factory=dict)
    present: set[str] = field(default_factory=set)
    freed: dict[Latch, set[str]] = field(default_factory=lambda: {"halt": set(), "pause": set()})

    def take(self, entry: Entry) -> None:
        if entry.kind == "profile":
            self._list(entry.scope, entry.content()["action"])
        elif entry.kind == "halted":
            self._close("halt", str(entry.content()["reason"]), entry.scope)
        else:
            self._obey(entry.fact(), entry.scope)  # type: ignore[arg-type]

    def _list(self, profile: str, action: str) -> None:
        if action == "add":
            self.present.add(profile)
            for freed in self.freed.values():
                freed.discard(profile)
        elif action == "remove":
            self.present.discard(profile)
            self._end()

    def _obey(self, command: Command, profile: str) -> None:
        """Do to what is in force what the command does to an engine."""
        if command.action == "halt":
            self._close("halt", command.reason, profile)
        elif command.action in ("pause", "close"):
            self._close("pause", command.reason, profile)
        elif command.action == "resume":
            self._free("halt", profile)
            self._free("pause", profile)
        elif command.action == "unpause":
            self._free("pause", profile)

    def _close(self, latch: Latch, reason: str, profile: str) -> None:
        if profile:
            self.freed[latch].discard(profile)
        else:
            self.found[latch] = reason
            self.freed[latch].clear()

    def _free(self, latch: Latch, profile: str) -> None:
        if profile:
            self.freed[latch].add(profile)
            self._end()
        else:
            self.found.pop(latch, None)

    def _end(self) -> None:
        """End what every profile was let go from."""
        for latch, freed in self.freed.items():
            if self.present and self.present <= freed:
                self.found.pop(latch, None)
