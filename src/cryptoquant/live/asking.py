"""Asking a running trader from another process: a command into its inbox, and its answer."""

import time
from pathlib import Path
from typing import Any

from cryptoquant.errors import JournalError, TradingError
from cryptoquant.live.inbox import Inbox
from cryptoquant.live.journal import writer_of

POLL_SECONDS = 0.02


def ask(journal: Path, action: str, profile: str = "", *, timeout: float = 10.0, **settings: Any) -> None:
    """Give a command to the trader that writes a journal, and wait until it is done.

    A command that the trader has not begun with in time (seconds) is withdrawn, so that it does not come true later.

    Raises
    ------
    JournalError
        No trader writes the journal.
    TradingError
        The trader cannot do it, and says why; or it did not answer in time.
    """
    writer = writer_of(journal)
    if writer is None:
        raise JournalError(f"no trader writes {journal}: start one with `cryptoquant paper`")
    inbox = Inbox(journal)
    try:
        said = _answer(inbox, journal, inbox.ask(action, profile, **settings), time.monotonic() + timeout)
    finally:
        inbox.close()
    if said is None:
        raise TradingError(f"{action}: process {writer} did not answer in {timeout:.0f} s; the command was withdrawn")
    if said:
        raise TradingError(f"{action}: {said}")


def _answer(inbox: Inbox, journal: Path, number: int, deadline: float) -> str | None:
    """Return the answer to a wish, None when it was withdrawn without one."""
    is_there = True
    try:
        while is_there and time.monotonic() < deadline:
            if (said := inbox.answer_of(number)) is not None:
                return said
            is_there = writer_of(journal) is not None
            time.sleep(POLL_SECONDS)
    finally:
        is_withdrawn = inbox.withdraw(number)
    if is_withdrawn:
        return None
    if (said := inbox.answer_of(number)) is not None:
        return said
    return "the trader has ended meanwhile" if not is_there else "the trader has begun with it, and is not done yet"
