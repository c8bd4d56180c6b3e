"""Damage: a row of a journal that decodes, and does not hold what a row of its kind holds."""

from collections.abc import Iterator
from contextlib import contextmanager

from cryptoquant.live.journal import UNREADABLE, Entry


@contextmanager
def reading(entry: Entry) -> Iterator[None]:
    """Read a row; what fails for lack of a field, or by a field of another kind, is damage of the row.

    No code of a strategy may run in it: what that raises is no damage.

    Raises
    ------
    JournalError
        The row is damaged: its place, what it holds and what was missed.
    """
    try:
        yield
    except UNREADABLE as error:
        raise entry.misfit(error) from error
