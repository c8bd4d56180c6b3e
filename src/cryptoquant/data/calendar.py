"""Days and months in UTC, by which ranges are fetched, read and checked piece by piece."""

from collections.abc import Iterator
from datetime import UTC, datetime

from cryptoquant.market.time import to_datetime, to_ns

DAY_NS = 86_400_000_000_000


def months(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range that lie in one calendar month (UTC) each; nanoseconds.

    Examples
    --------
    >>> cut = months(to_ns("2024-01-31"), to_ns("2024-02-02"))
    >>> [f"{to_datetime(first):%m-%d} to {to_datetime(last):%m-%d}" for first, last in cut]
    ['01-31 to 02-01', '02-01 to 02-02']
    """
    while start < end:
        day = to_datetime(start)
        after = to_ns(datetime(day.year + day.month // 12, day.month % 12 + 1, 1, tzinfo=UTC))
        yield start, min(after, end)
        start = after


def days(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range that lie in one day (UTC) each; nanoseconds."""
    while start < end:
        after = start // DAY_NS * DAY_NS + DAY_NS
        yield start, min(after, end)
        start = after
