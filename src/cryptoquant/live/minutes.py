"""Minutes that the stream did not bring, from the venue's history; a venue that fails is asked again."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.errors import AuthenticationError, VenueError
from cryptoquant.market.schema import Bar, bar_rows

MINUTE = timedelta(minutes=1)
PAUSE_SECONDS = 0.5


class Minutes:
    """Fetches minutes for as long as a silence of the venue is borne, or says at once that it is silent.

    Parameters
    ----------
    patience
        How long a silence is borne by who has nothing else to do.
    is_busy
        Whether others wait meanwhile; then nobody waits for a silent venue, and it is not asked more than half of the
        time.
    tell
        Takes a reason when a silence begins.

    Attributes
    ----------
    away
        Why the history did not answer the last time, None when it did.
    """

    def __init__(
        self, connection: Alpaca, patience: timedelta, is_busy: Callable[[], bool], tell: Callable[[str], None]
    ) -> None:
        self.away: VenueError | None = None
        self._connection, self._patience, self._is_busy, self._tell = connection, patience, is_busy, tell
        self._asks_again = 0.0

    def fetch(self, symbol: str, start: int, end: int) -> Iterator[Bar]:
        """Yield the minutes of a symbol between two moments, nanoseconds UTC.

        Raises
        ------
        AuthenticationError
            The keys are refused.
        VenueError
            The history is away.
        """
        deadline = time.monotonic() + self._patience.total_seconds()
        while True:
            if self.away is not None and self._is_busy() and time.monotonic() < self._asks_again:
                raise self.away
            begun = time.monotonic()
            try:
                pages = list(self._connection.fetch_bars(symbol, MINUTE, start, end))
                break
            except AuthenticationError:
                raise
            except VenueError as error:
                self._tell(str(error))
                now = time.monotonic()
                self.away, self._asks_again = error, now + max(PAUSE_SECONDS, now - begun)
                if self._is_busy() or now > deadline:
                    raise
                time.sleep(PAUSE_SECONDS)
        self.away = None
        for page in pages:
            yield from bar_rows(page)
