"""Whose turn it is: one thread at a time opens a trader or trades with it, and any other may ask it to end."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cryptoquant.errors import TradingError
from cryptoquant.live.stopping import Stopping

NOBODY, NEXT = 0, -1


class Turn:
    """The turn of one thread.

    Attributes
    ----------
    stopping
        Who asked for the end of this turn.
    is_ending
        Whether it will be over in a moment, for what was opened is being closed, or it was taken for a moment only:
        then it is waited for.
    """

    def __init__(self) -> None:
        self.stopping = Stopping()
        self.is_ending = False
        self._owner = NOBODY
        self._lock, self._over = threading.Lock(), threading.Event()
        self._over.set()

    @property
    def is_taken(self) -> bool:
        """Whether some thread has it."""
        return self._owner != NOBODY

    @property
    def is_lasting(self) -> bool:
        """Whether some thread has it, and not for a moment only."""
        return self.is_taken and not self.is_ending

    @property
    def is_own(self) -> bool:
        """Whether this thread has it."""
        return self._owner == threading.get_ident()

    def take(self, stopping: Stopping) -> None:
        """Take it; one that is ending is waited for.

        Raises
        ------
        TradingError
            Another thread has it.
        """
        if not self._has_taken(stopping, is_brief=False):
            raise TradingError("another thread opens this trader, or trades with it: stop() ends that")

    @contextmanager
    def moment(self) -> Iterator[bool]:
        """Take it for a moment, in which no other thread opens, trades or closes; yield False when it is another's."""
        has_it = self._has_taken(Stopping(), is_brief=True)
        try:
            yield has_it
        finally:
            if has_it:
                self.leave()

    def _has_taken(self, stopping: Stopping, *, is_brief: bool) -> bool:
        while True:
            with self._lock:
                if not self.is_taken:
                    self._owner, self.stopping, self.is_ending = threading.get_ident(), stopping, is_brief
                    self._over.clear()
                    return True
                if self.is_own or not self.is_ending:
                    return False
            self._over.wait()

    def pass_to(self, thread: threading.Thread) -> None:
        """Start a thread that has it from now on; it says so by ``adopt``."""
        self._owner = NEXT
        thread.start()

    def adopt(self) -> None:
        """Take what was passed to this thread."""
        self._owner = threading.get_ident()

    def leave(self) -> None:
        """Give it up."""
        with self._lock:
            self._owner, self.is_ending = NOBODY, False
            self._over.set()

    def end(self, who: str) -> bool:
        """Ask who has it to end, and wait for that; False when it is this thread, which cannot wait for itself."""
        with self._lock:
            if self.is_taken:
                self.stopping.asked = self.stopping.asked or who
        if self.is_own:
            return False
        self._over.wait()
        return True
