"""How many requests an account may make in a minute, and the headers that tell a client how many are left."""

import time
from collections.abc import Callable

SECONDS = 60


class Meter:
    """Counts requests in windows of one minute that begin with a request.

    Alpaca allows 200 requests a minute and account for trading, and answers 429 beyond ("Usage Limits").

    Parameters
    ----------
    limit
        Requests in a window; at least one.
    clock
        Seconds since 1970: the wall's by default, as clients wait by the wall's clock.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.time) -> None:
        if limit < 1:
            raise ValueError(f"requests_per_minute must be at least 1, found {limit}")
        self.limit, self.clock = limit, clock
        self._windows: dict[str, tuple[float, int]] = {}

    def count(self, account: str) -> tuple[bool, dict[str, str]]:
        """Count a request; return whether it is allowed, and the headers of its answer (``reset`` in epoch seconds)."""
        now = self.clock()
        began, made = self._windows.get(account, (now, 0))
        if now >= began + SECONDS:
            began, made = now, 0
        self._windows[account] = began, made + 1
        left, reset = max(0, self.limit - made - 1), -int(-(began + SECONDS) // 1)
        said = {"limit": self.limit, "remaining": left, "reset": reset}
        return made < self.limit, {f"x-ratelimit-{name}": str(value) for name, value in said.items()}
