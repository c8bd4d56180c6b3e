"""How often a venue may be asked: one allowance that all threads share, and pauses that the venue asks for."""

import threading
import time
from collections.abc import Callable

PER_MINUTE = 200
BURST = 20


class TokenBucket:
    """At most ``per_minute`` requests in any minute, of which ``burst`` may come at once.

    The generic cell rate algorithm (ITU-T I.371): requests beyond the burst are spaced evenly, and ``burst`` of them
    plus a minute of spaced ones are the limit.

    Parameters
    ----------
    per_minute
        Alpaca allows 200 to a free key.
    clock, sleep
        Seconds that never go back, and the wait for them. A wait that returns True was ended before its time, as that
        of a `threading.Event` is when it is set: then nothing is allowed any more.

    Examples
    --------
    >>> waited = TokenBucket(60).take()
    >>> waited < 1.0
    True
    """

    def __init__(
        self,
        per_minute: int = PER_MINUTE,
        *,
        burst: int = BURST,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], bool | None] = time.sleep,
    ) -> None:
        if not 1 <= burst < per_minute:
            raise ValueError(f"rate: wanted 1 <= burst < per_minute, found {burst} and {per_minute}")
        self._interval = 60.0 / (per_minute - burst)
        self._ahead = (burst - 1) * self._interval
        self._clock, self.sleep = clock, sleep
        self._lock = threading.Lock()
        self._next = clock()
        self._closed_until = clock()

    def take(self) -> float | None:
        """Wait until a request is allowed; return how long that took in seconds, None when the wait was ended."""
        began = self._clock()
        while True:
            with self._lock:
                now = self._clock()
                granted = max(now, self._next - self._ahead, self._closed_until)
                self._next = max(self._next, granted) + self._interval
            while (left := granted - self._clock()) > 0:
                if self.sleep(left):
                    return None
            with self._lock:
                if self._closed_until <= granted:  # no pause was asked for in the meantime
                    return max(0.0, self._clock() - began)

    def pause(self, seconds: float) -> None:
        """Allow no request for some seconds from now, as a venue asks by ``Retry-After``."""
        with self._lock:
            self._closed_until = max(self._closed_until, self._clock() + seconds)
