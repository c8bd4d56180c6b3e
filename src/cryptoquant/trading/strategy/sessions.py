"""The hours of the old markets over a market that never sleeps: sessions, their nights, and times of day."""

import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from cryptoquant.market.slice import Panel
from cryptoquant.market.time import Timeframe, iso, span_ns, to_datetime, to_ns
from cryptoquant.trading.strategy.sizing import check_share, share_of
from cryptoquant.trading.strategy.view import HOLD, Floats, Target, View

EVERY_DAY = (0, 1, 2, 3, 4, 5, 6)
WORKDAYS = (0, 1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Session:
    """The opening hours of a place, in its own clock, daylight saving included; by default New York's stock market.

    A moment belongs to the session that has begun and has not ended: at the open it does, at the close it no longer
    does. A slice is known by its close, so it belongs to the session when the moment before its close does. An opening
    time that the clock leaps over in spring is taken by the clock of before; of one that comes twice in autumn, the
    first. Holidays are not known: crypto trades on them too.

    Parameters
    ----------
    zone
        Name of the IANA data base, such as ``America/New_York``.
    open, close
        Local times. A close that is not later than the open is on the next day.
    weekdays
        Days on which the session opens, 0 is Monday; by default all, for crypto has no weekend. ``WORKDAYS`` are
        Monday to Friday.
    """

    zone: str = "America/New_York"
    open: time = time(9, 30)
    close: time = time(16, 0)
    weekdays: tuple[int, ...] = EVERY_DAY

    def __post_init__(self) -> None:
        _zone(self.zone)
        for name in ("open", "close"):
            if getattr(self, name).tzinfo is not None:
                raise ValueError(
                    f"Session: {name} is in the clock of {self.zone}, found a zone in {getattr(self, name)}"
                )
        object.__setattr__(self, "weekdays", _weekdays(self.weekdays))

    @property
    def longest(self) -> timedelta:
        """From open to close by the clock on the wall, and the hour that autumn may add."""
        day = datetime(2000, 1, 1)  # noqa: DTZ001  a difference on the wall
        span = datetime.combine(day, self.close) - datetime.combine(day, self.open)
        return (span if span > timedelta(0) else span + timedelta(days=1)) + timedelta(hours=1)

    def bounds(self, day: date) -> tuple[int, int]:
        """Return open and close, nanoseconds UTC, of the session that opens on a local day."""
        return _bounds(self, day)

    def day(self, moment: int) -> date | None:
        """Return the day on which the session opened that a moment (nanoseconds UTC) belongs to, None outside."""
        local = to_datetime(moment).astimezone(_zone(self.zone)).date()
        for day in (local, local - timedelta(days=1)):
            if day.weekday() in self.weekdays:
                start, end = _bounds(self, day)
                if start <= moment < end:
                    return day
        return None

    def contains(self, moment: int) -> bool:
        """Return whether a moment (nanoseconds UTC) lies within a session."""
        return self.day(moment) is not None

    def within(self, moments: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return ``contains`` for many moments that rise, shape (moments,); its cost is that of their days."""
        inside = np.zeros(len(moments), dtype=np.bool_)
        if len(moments) == 0:
            return inside
        zone = _zone(self.zone)
        first, last = (to_datetime(int(moments[place])).astimezone(zone).date().toordinal() for place in (0, -1))
        for day in map(date.fromordinal, range(first - 1, last + 1)):
            if day.weekday() in self.weekdays:
                start, end = np.searchsorted(moments, _bounds(self, day))
                inside[start:end] = True
        return inside

    def slice_day(self, close: int) -> date | None:
        """Return the day of the session that a slice with this close (nanoseconds UTC) belongs to, None outside."""
        return self.day(close - 1)

    def is_first(self, close: int, width: int) -> bool:
        """Return whether no slice of this width (nanoseconds) ends earlier within the session."""
        day = self.slice_day(close)
        return day is not None and close - width <= _bounds(self, day)[0]

    def is_last(self, close: int, width: int) -> bool:
        """Return whether no slice of this width (nanoseconds) ends later within the session."""
        day = self.slice_day(close)
        return day is not None and close + width > _bounds(self, day)[1]


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """Holds a share of each symbol during stated hours, and nothing else.

    Parameters
    ----------
    start, end
        Local times: held from the slice that closes at ``start`` to the one that closes at ``end``. An end that is not
        later than the start is on the next day.
    weekdays
        Days on which holding starts, 0 is Monday.
    zone
        Whose clock; by default UTC.
    max_weight
        Share of the equity in each symbol when held; by default the universe shares it equally.
    allows_short
        Holds the share short; a spot venue refuses that.
    """

    start: time = time(21, 0)
    end: time = time(23, 0)
    weekdays: tuple[int, ...] = EVERY_DAY
    zone: str = "UTC"
    max_weight: float | None = None
    allows_short: bool = False

    lookback: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "weekdays", self.hours.weekdays)
        check_share(self.max_weight)

    @property
    def hours(self) -> Session:
        """The stated hours."""
        return Session(self.zone, self.start, self.end, self.weekdays)

    def decide(self, view: View) -> Target:
        """Return the share within the hours and nothing outside."""
        weight = self._share(len(view.symbols)) if self.hours.contains(view.time) else 0.0
        return dict.fromkeys(view.symbols, weight)

    def weights(self, panel: Panel) -> Floats:
        """Return the decisions for a whole panel, shape (slices, symbols)."""
        return _columns(self.hours.within(panel.times), self._share(len(panel.symbols)), len(panel.symbols))

    def _share(self, symbols: int) -> float:
        share = share_of(self.max_weight, symbols)
        return -share if self.allows_short else share


@dataclass(frozen=True, slots=True)
class OvernightHold:
    """Buys when a session closes and sells when the next one opens.

    Where stocks trade, most of their return came overnight (Cooper, Cliff and Gulen 2008); crypto trades through the
    night, so the question can be put to it. A slice that closes at the session's close buys, the first that closes at
    or after the open sells; with ``WORKDAYS`` a weekend is one long night.

    Parameters
    ----------
    session
        Whose night.
    max_weight
        Share of the equity in each symbol overnight; by default the universe shares it equally.
    """

    session: Session = field(default_factory=Session)
    max_weight: float | None = None

    lookback: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_share(self.max_weight)

    def decide(self, view: View) -> Target:
        """Return the share outside the session and nothing within it."""
        weight = 0.0 if self.session.contains(view.time) else share_of(self.max_weight, len(view.symbols))
        return dict.fromkeys(view.symbols, weight)

    def weights(self, panel: Panel) -> Floats:
        """Return the decisions for a whole panel, shape (slices, symbols)."""
        symbols = len(panel.symbols)
        return _columns(~self.session.within(panel.times), share_of(self.max_weight, symbols), symbols)


@dataclass(frozen=True, slots=True)
class OpeningMomentum:
    """Follows the first minutes of a session until its close: intraday momentum (Gao, Han, Li and Zhou 2018).

    The return runs from the open of the first bar that closes within the session to the close of the last bar that
    closes within ``first`` of its open. It is read at every slice from the past alone, so the position stands until
    the session's close. Before the first minutes are over, and outside the session, it is flat; a symbol without one
    of the two prices is held as it is.

    Parameters
    ----------
    session
        Whose open.
    first
        How long the opening is watched, such as ``"30m"``.
    threshold
        Long when the return lies above this fraction.
    bar
        Length of a bar; it says how many slices reach back to the open. Longer bars are fine up to ``first``.
    max_weight
        Share of the equity in each symbol; by default the universe shares it equally.
    allows_short
        Short when the return lies below ``-threshold``; a spot venue refuses that.
    """

    session: Session = field(default_factory=Session)
    first: Timeframe = timedelta(minutes=30)
    threshold: float = 0.01
    bar: Timeframe = timedelta(minutes=5)
    max_weight: float | None = None
    allows_short: bool = False

    def __post_init__(self) -> None:
        if not span_ns(self.bar) <= span_ns(self.first) < span_ns(self.session.longest - timedelta(hours=1)):
            found = f"bar={self.bar}, first={self.first}"
            raise ValueError(f"OpeningMomentum: wanted bar <= first < the session's length, found {found}")
        if not 0.0 <= self.threshold < math.inf:
            raise ValueError(f"OpeningMomentum: threshold must be a fraction of at least 0, found {self.threshold}")
        check_share(self.max_weight)

    @property
    def lookback(self) -> int:
        """Bars from the close of a session back to its open, and one before."""
        return math.ceil(span_ns(self.session.longest) / span_ns(self.bar)) + 2

    def decide(self, view: View) -> Target:
        """Return the weight of each symbol whose opening is known.

        Raises
        ------
        ValueError
            The bars are shorter than ``bar``, so that the past that is shown does not reach back to the open.
        """
        day = self.session.day(view.time)
        if day is None:
            return dict.fromkeys(view.symbols, 0.0)
        start, _ = self.session.bounds(day)
        watched = start + span_ns(self.first)
        if view.time < watched:
            return dict.fromkeys(view.symbols, 0.0)
        times = view.times(self.lookback)
        if times[0] > start:
            if len(times) == self.lookback:
                raise ValueError(
                    f"OpeningMomentum: the last {self.lookback} slices begin at {iso(int(times[0]))}, "
                    f"after the open at {iso(start)}: bars are shorter than bar={self.bar}"
                )
            return HOLD
        opening, ending = (int(place) for place in np.searchsorted(times, [start, watched], side="right"))
        if ending <= opening:
            return HOLD
        share = share_of(self.max_weight, len(view.symbols))
        target = {}
        for symbol in view.symbols:
            before = view.history(symbol, "open", self.lookback)[opening]
            change = float(view.history(symbol, "close", self.lookback)[ending - 1] / before) - 1.0
            if not math.isnan(change):
                target[symbol] = self._side(change) * share
        return target

    def _side(self, change: float) -> float:
        if change > self.threshold:
            return 1.0
        return -1.0 if self.allows_short and change < -self.threshold else 0.0


def _columns(held: NDArray[np.bool_], weight: float, symbols: int) -> Floats:
    return np.repeat(np.where(held, weight, 0.0)[:, None], symbols, axis=1)


@lru_cache(maxsize=4096)
def _bounds(session: Session, day: date) -> tuple[int, int]:
    zone = _zone(session.zone)
    ends = day if session.close > session.open else day + timedelta(days=1)
    start, end = datetime.combine(day, session.open, zone), datetime.combine(ends, session.close, zone)
    return to_ns(start.astimezone(UTC)), to_ns(end.astimezone(UTC))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"no time zone {name!r}: wanted a name of the IANA data base, America/New_York") from error


def _weekdays(days: tuple[int, ...]) -> tuple[int, ...]:
    found = tuple(sorted(set(days)))
    if not found or not set(found) <= set(EVERY_DAY):
        raise ValueError(f"weekdays are numbers from 0 (Monday) to 6 (Sunday), at least one, found {days}")
    return found
