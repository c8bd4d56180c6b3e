"""Whose turn it is: one thread at a time opens a trader or trades with it, and any other may ask it to end."""

import threading

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
        Whether what was opened is being closed.
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
        if self.is_ending and not self.is_own:
            self._over.wait()
        with self._lock:
            if self.is_taken:
                raise TradingError("another thread opens this trader, or trades with it: stop() ends that")
            self._owner, self.stopping = threading.get_ident(), stopping
            self._over.clear()

    def pass_to(self, thread: threading.Thread) -> None:
        """Start a thread that has it from now on; it says so by ``adopt``."""
        self._owner = NEXT
        thread.start()

    def adopt(self) -> None:
        """Take what was passed to this thread."""
        self._owner = threading.get_ident()

    def leave(self) -> None:
        """Give it up."""
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
