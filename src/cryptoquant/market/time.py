"""Instants and spans: int64 nanoseconds since 1970 in UTC, timeframes such as ``"5m"``, and nothing without a zone."""

import re
from datetime import UTC, date, datetime, timedelta

NANOSECONDS_PER_SECOND = 1_000_000_000
NANOSECONDS_PER_MICROSECOND = 1_000
NANOSECONDS_PER_YEAR = 365 * 86_400 * NANOSECONDS_PER_SECOND

Instant = datetime | date | str | int
Timeframe = str | timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
PATTERN = re.compile(r"^(\d+)\s*([a-z]+)$")
SPELLINGS = {"sec": "s", "min": "m", "t": "m", "hour": "h", "day": "d", "week": "w"}


def to_ns(instant: Instant) -> int:
    """Return nanoseconds since the epoch.

    A date (or a string ``"2024-01-01"``) is midnight UTC, an int is nanoseconds already. A datetime needs a zone, a
    string with a time needs ``Z`` or an offset.

    Raises
    ------
    ValueError
        The instant is naive or not readable.

    Examples
    --------
    >>> to_ns("1970-01-02")
    86400000000000
    >>> to_ns("1970-01-01T00:00:01+00:00")
    1000000000
    """
    if isinstance(instant, bool):
        raise TypeError("an instant is a datetime, a date, a string or int nanoseconds, not a bool")
    if isinstance(instant, int):
        return instant
    if isinstance(instant, str):
        instant = _parse(instant)
    if not isinstance(instant, datetime):
        instant = datetime(instant.year, instant.month, instant.day, tzinfo=UTC)
    if instant.tzinfo is None:
        raise ValueError(f"naive datetime {instant.isoformat()}: give it a zone, for example tzinfo=UTC")
    elapsed = instant - EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * NANOSECONDS_PER_SECOND + elapsed.microseconds * 1_000


def _parse(text: str) -> datetime | date:
    try:
        if len(text) == 10:
            return date.fromisoformat(text)
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"cannot read the instant {text!r}: wanted 2024-01-01 or 2024-01-01T00:00:00Z") from error
    if parsed.tzinfo is None:
        raise ValueError(f"the instant {text!r} has no zone: add Z or an offset")
    return parsed


def to_datetime(ns: int) -> datetime:
    """Return an aware UTC datetime, cut to microseconds.

    Examples
    --------
    >>> to_datetime(1_000_000_000).isoformat()
    '1970-01-01T00:00:01+00:00'
    """
    return EPOCH + timedelta(microseconds=ns // NANOSECONDS_PER_MICROSECOND)


def iso(ns: int) -> str:
    """Return RFC 3339 with nanoseconds, trailing zeros cut, as Alpaca writes it.

    Examples
    --------
    >>> iso(1_500_000_000)
    '1970-01-01T00:00:01.5Z'
    """
    seconds, fraction = divmod(ns, NANOSECONDS_PER_SECOND)
    text = (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    decimals = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{text}{decimals}Z"


def from_iso(text: str) -> int:
    """Return nanoseconds since the epoch of an RFC 3339 text with up to nine decimals and a zone.

    Examples
    --------
    >>> from_iso("1970-01-01T00:00:01.000000007Z")
    1000000007
    """
    match = re.match(r"^(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$", text)
    if match is None:
        raise ValueError(f"cannot read the instant {text!r}: wanted RFC 3339 with a zone")
    whole, fraction, zone = match.groups()
    return to_ns(datetime.fromisoformat(whole + zone)) + int((fraction or "0").ljust(9, "0"))


def span(timeframe: Timeframe) -> timedelta:
    """Return the length of a timeframe such as ``"30s"``, ``"5m"``, ``"1h"``, ``"1d"`` or ``"5Min"``.

    Examples
    --------
    >>> span("90m")
    datetime.timedelta(seconds=5400)
    """
    if isinstance(timeframe, timedelta):
        length = timeframe
    else:
        match = PATTERN.match(timeframe.strip().lower())
        unit = SPELLINGS.get(match[2], match[2]) if match else ""
        if match is None or unit not in UNITS:
            raise ValueError(f"cannot read the timeframe {timeframe!r}: wanted a number and s, m, h, d or w")
        length = timedelta(seconds=int(match[1]) * UNITS[unit])
    if length <= timedelta(0):
        raise ValueError(f"a timeframe must be longer than zero, found {timeframe!r}")
    return length


def span_ns(timeframe: Timeframe) -> int:
    """Return the length of a timeframe in nanoseconds."""
    length = span(timeframe)
    return (length.days * 86_400 + length.seconds) * NANOSECONDS_PER_SECOND + length.microseconds * 1_000


def timeframe_name(timeframe: Timeframe) -> str:
    """Return the canonical name: the largest unit that divides the span, up to days.

    Examples
    --------
    >>> timeframe_name(timedelta(minutes=60))
    '1h'
    """
    seconds = span_ns(timeframe) // NANOSECONDS_PER_SECOND
    for unit in ("d", "h", "m"):
        if seconds % UNITS[unit] == 0:
            return f"{seconds // UNITS[unit]}{unit}"
    return f"{seconds}s"
