"""The courier: hands things to a slow receiver in a thread of its own, so that who gives them never waits."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from cryptoquant.errors import CryptoquantError

T = TypeVar("T")
CLOSE_SECONDS = 5.0


class Courier(Generic[T]):
    """Delivers in order; when too much waits, the oldest is dropped and counted.

    Parameters
    ----------
    deliver
        Called in the courier's thread. What it raises (OSError, ValueError, CryptoquantError) counts as a failure.
    capacity
        How many may wait.

    Attributes
    ----------
    delivered, dropped, failed
        Counts.

    Examples
    --------
    >>> got = []
    >>> courier = Courier(got.append, "example")
    >>> courier.put("a")
    >>> courier.close()
    >>> got
    ['a']
    """

    def __init__(self, deliver: Callable[[T], None], name: str, capacity: int = 1_000) -> None:
        self.delivered = self.dropped = self.failed = 0
        self._deliver, self._capacity = deliver, capacity
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name=f"courier-{name}", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Leave something to be delivered; this never waits for the receiver."""
        with self._changed:
            if len(self._waiting) >= self._capacity:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(item)
            self._changed.notify()

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Deliver what waits, at most so long (seconds), and end."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_ending)
                if not self._waiting:
                    return
                item = self._waiting.popleft()
            try:
                self._deliver(item)
            except (OSError, ValueError, CryptoquantError):
                self.failed += 1
            else:
                self.delivered += 1
