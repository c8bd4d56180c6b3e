"""What each profile did on each day: what it was worth in the end, what it won, paid, and was refused."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, timedelta

import polars as pl

from cryptoquant.live.replay import Replay
from cryptoquant.live.status import equity_of
from cryptoquant.market.time import NANOSECONDS_PER_SECOND

DAY, EPOCH = 86_400 * NANOSECONDS_PER_SECOND, date(1970, 1, 1)
SCHEMA = {
    "profile": pl.String,
    "day": pl.Date,
    "equity": pl.Float64,
    "profit": pl.Float64,
    "fills": pl.Int64,
    "fees": pl.Float64,
    "refused": pl.Int64,
}


def summary(known: Mapping[str, Replay]) -> pl.DataFrame:
    """Return one row for each profile and UTC day on which it had a slice, a fill or a refusal.

    Parameters
    ----------
    known
        Profiles by name, as ``replay_all`` reads them from a journal.

    Returns
    -------
    polars.DataFrame
        ``profile``, ``day``, ``equity`` at the day's last slice (of the last day: after its last fill), ``profit``
        since the day before, ``fills``, their ``fees``, and ``refused``, the orders that our gate or the venue did not
        take. Money in quote currency. The days of a profile add up to its status. A slice that closes at midnight
        belongs to the day that it ends, an order that is decided on it to the day that begins.
    """
    rows = [row for name, one in known.items() for row in _days(name, one)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _days(name: str, one: Replay) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a profile, day by day."""
    equity = {(time - 1) // DAY: value for time, value, _, _ in one.curve}
    refused = Counter(rejection.time // DAY for rejection in one.refused)
    fills, fees = Counter[int](), defaultdict[int, float](float)
    for fill in one.fills:
        fills[fill.time // DAY] += 1
        fees[fill.time // DAY] += fill.fee
    days = sorted({*equity, *fills, *refused})
    if days:
        equity[days[-1]] = equity_of(one.engine.portfolio)
    before = one.start.cash
    for day in days:
        value = equity.get(day, before)
        yield name, EPOCH + timedelta(days=day), value, value - before, fills[day], fees[day], refused[day]
        before = value
