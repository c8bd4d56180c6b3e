"""Asking a running trader from another process: a command into its inbox, and its answer."""

import time
from collections.abc import Callable
from contextlib import closing
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
    if not put(journal, action, profile, timeout=timeout, is_there=lambda: writer_of(journal) is not None, **settings):
        raise TradingError(f"{action}: the trader, process {writer}, has ended meanwhile; the command was withdrawn")


def put(
    journal: Path,
    action: str,
    profile: str = "",
    *,
    timeout: float,
    is_there: Callable[[], bool],
    **settings: Any,
) -> bool:
    """Put a command into the inbox beside a journal and wait until it is done; False when no one is there any more.

    Then no one has begun with it, and it was withdrawn.

    Raises
    ------
    TradingError
        It cannot be done, or was not answered in time (seconds), or whoever began with it did not end it.
    """
    deadline, was_there = time.monotonic() + timeout, True
    with closing(Inbox(journal)) as inbox:
        number = inbox.ask(action, profile, **settings)
        try:
            while inbox.answer_of(number) is None and was_there and time.monotonic() < deadline:
                was_there = is_there()
                time.sleep(POLL_SECONDS)
        finally:
            is_withdrawn = inbox.withdraw(number)
        said = None if is_withdrawn else inbox.answer_of(number)
    if is_withdrawn and was_there:
        raise TradingError(f"{action}: the trader did not answer in {timeout:.0f} s; the command was withdrawn")
    if said is None and not is_withdrawn:
        begun = "has begun with it, and is not done yet" if was_there else "has begun with it, and has ended meanwhile"
        said = f"the trader {begun}"
    if said:
        raise TradingError(f"{action}: {said}")
    return not is_withdrawn
