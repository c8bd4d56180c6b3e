"""What venues charged and when: fee schedules by date and by the volume of the last 30 days."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import kernel
from cryptoquant.market.time import iso, to_ns

Floats = NDArray[np.float64]

BASIS_POINT = 1e-4
DAY_NS = 86_400_000_000_000
TRAILING_DAYS = 30
SLOTS = TRAILING_DAYS + 1  # the days that count, and the day that is still running


@dataclass(frozen=True, slots=True)
class Rate:
    """One row of a fee table.

    Parameters
    ----------
    since
        Nanoseconds UTC from which the table of this row applies; a later date replaces the whole table.
    volume_from
        Traded value of the trailing 30 days from which the row applies, in quote currency.
    maker_bps, taker_bps
        Fee on resting and on marketable orders, in basis points of the traded value.
    """

    since: int
    volume_from: float
    maker_bps: float
    taker_bps: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.volume_from < float("inf"):
            raise ValueError(f"volume_from must be zero or more and finite, found {self.volume_from}")
        for name in ("maker_bps", "taker_bps"):
            if not 0.0 <= getattr(self, name) < 10_000:
                raise ValueError(f"{name} must lie in [0, 10000), found {getattr(self, name)}")


def _from(since: str, *rows: tuple[float, float, float]) -> tuple[Rate, ...]:
    """Return the table of one date; rows are (volume from, maker bps, taker bps)."""
    return tuple(Rate(to_ns(since), *row) for row in rows)


def _level(since: str, *rows: tuple[float, float]) -> tuple[Rate, ...]:
    """Return the table of a date on which makers and takers paid the same; rows are (volume from, bps)."""
    return _from(since, *((volume, bps, bps) for volume, bps in rows))


ALPACA = (
    # alpaca.markets/docs/crypto/activities, column "Trading API". In force on 2022-08-12, the date of the fee that the
    # page shows; when it began is not known.
    *_level(
        "2022-08-12",
        (0, 25.0),
        (500_000, 22.0),
        (1_000_000, 20.0),
        (5_000_000, 18.0),
        (10_000_000, 15.0),
        (25_000_000, 13.0),
        (50_000_000, 10.0),
        (100_000_000, 8.0),
    ),
    # alpaca.markets/support/crypto-maker-taker-gmt-faq: "effective from March 13th 2023"; the same table stands in
    # "Crypto Spot Trading" of 2025-09-24.
    *_from(
        "2023-03-13",
        (0, 15.0, 25.0),
        (100_000, 12.0, 22.0),
        (500_000, 10.0, 20.0),
        (1_000_000, 8.0, 18.0),
        (10_000_000, 5.0, 15.0),
        (25_000_000, 2.0, 13.0),
        (50_000_000, 2.0, 12.0),
        (100_000_000, 0.0, 10.0),
    ),
)

# binance.com, "Binance Launches New Tiered Trading Fee Discount Program", 2018-07-19: general tier 0.1 % from
# 2018-07-21 01:00 UTC, and both a volume and a BNB balance for every tier above it. "Binance VIP Program Upgrade" of
# 2021-12-15 and of 2022-05-31 keep the 0.1 % and the word "and" before the BNB balance.
BINANCE = _level("2018-07-21T01:00:00Z", (0, 10.0))

COINBASE = (
    # "Improving our Fee Schedule", the Coinbase blog: GDAX from April 5 00:00 UTC; its example of a bitcoin at 10,000
    # dollars tells the year 2018.
    *_from("2018-04-05", (0, 0.0, 30.0), (10_000_000, 0.0, 20.0), (100_000_000, 0.0, 10.0)),
    # cryptocoinnewsworld.com, March 2019, and ccxt#4835: from March 22, 18:00 PDT. The tiers between one and fifty
    # million are not in these sources and pay as the tier below.
    *_from(
        "2019-03-23T01:00:00Z",
        (0, 15.0, 25.0),
        (100_000, 10.0, 20.0),
        (50_000_000, 0.0, 10.0),
        (100_000_000, 0.0, 8.0),
    ),
    # cryptonomist.ch, 2019-10-04: from October 7, 17:00 PT; nobody above 50,000 pays more than before. (The article
    # lets the third tier begin at 35,000, which contradicts that; 50,000 is the dearer reading.)
    *_from(
        "2019-10-08",
        (0, 50.0, 50.0),
        (10_000, 35.0, 35.0),
        (50_000, 15.0, 25.0),
        (100_000, 10.0, 20.0),
        (50_000_000, 0.0, 10.0),
        (100_000_000, 0.0, 7.0),
    ),
    # "Coinbase Exchange fee updates - March 2022", the Coinbase blog, for the date; ccxt#12470 of 2022-03-24 for the
    # first tier; the rows up to 15 million because the change of September 2022 left them as they were. The tiers
    # above are not in these sources and pay as the last one.
    *_from(
        "2022-03-01",
        (0, 40.0, 60.0),
        (10_000, 25.0, 40.0),
        (50_000, 15.0, 25.0),
        (100_000, 10.0, 20.0),
        (1_000_000, 8.0, 18.0),
    ),
    # extracrypto.net and tremplin.io, September 2022: from September 20, 17:00 (taken as Pacific time, as of the
    # changes before); the table as support.goldenclick.ai copies it from help.coinbase.com "Exchange fees", whose page
    # of August 2023 names the same bounds.
    *_from(
        "2022-09-21",
        (0, 40.0, 60.0),
        (10_000, 25.0, 40.0),
        (50_000, 15.0, 25.0),
        (100_000, 10.0, 20.0),
        (1_000_000, 8.0, 18.0),
        (15_000_000, 6.0, 16.0),
        (75_000_000, 3.0, 12.0),
        (250_000_000, 0.0, 8.0),
        (400_000_000, 0.0, 5.0),
    ),
)

BITSTAMP = (
    # cryptoninjas.net, 2017-08-09, which copies Bitstamp's announcement of one price list for all pairs.
    *_level(
        "2017-08-09",
        (0, 25.0),
        (20_000, 24.0),
        (100_000, 22.0),
        (200_000, 20.0),
        (400_000, 15.0),
        (600_000, 14.0),
        (1_000_000, 13.0),
        (2_000_000, 12.0),
        (4_000_000, 11.0),
        (20_000_000, 10.0),
    ),
    # ccxt#23708 of 2024-09-13, after bitstamp.net/fee-schedule. It gives a maker of 20 bps at 20 million, more than any
    # row around it; that row keeps the maker of the row before.
    *_from(
        "2024-09-13",
        (0, 30.0, 40.0),
        (10_000, 20.0, 30.0),
        (100_000, 10.0, 20.0),
        (500_000, 8.0, 18.0),
        (1_500_000, 6.0, 16.0),
        (5_000_000, 3.0, 12.0),
        (20_000_000, 3.0, 10.0),
        (50_000_000, 1.0, 8.0),
        (100_000_000, 0.0, 6.0),
        (250_000_000, 0.0, 5.0),
        (1_000_000_000, 0.0, 3.0),
    ),
)

SCHEDULES: Mapping[str, tuple[Rate, ...]] = MappingProxyType(
    {"alpaca": ALPACA, "binance": BINANCE, "bitstamp": BITSTAMP, "coinbase": COINBASE}
)


def schedule(name: str) -> tuple[Rate, ...]:
    """Return the published fees of a venue, for spot and an ordinary account without discounts for holding a token.

    Where no source supports a tier it is left out, so that its volume pays as the tier below, which is dearer. Before
    the first date of a schedule its first table is charged; what was true then is not known.

    ``alpaca``
        Supported from 2022-08-12.
    ``binance``
        Supported from 2018-07-21. One rate at every volume, because each tier above the first asks for a balance of
        BNB too. Promotions are not in it, among them the months without fees on bitcoin pairs that ended for BTC/USDT
        on 2023-03-22.
    ``bitstamp``
        Supported from 2017-08-09, and again from 2024-09-13, the day on which its second table was first seen; when
        that began is not known. In between there was at least one more table (0.5 % below 20,000 dollars, in ccxt of
        about 2021) whose dates are not known: costs of small accounts in those years are understated.
    ``coinbase``
        GDAX, Coinbase Pro, Coinbase Exchange; supported from 2018-04-05. Stable pairs are cheaper. "Coinbase
        Advanced", the retail offer, became dearer on a day that is not known: below 1,000 dollars it charged 60 and
        120 bps on 2024-08-07 (ccxt#23347).

    Raises
    ------
    ValueError
        The name is not known.

    Examples
    --------
    >>> schedule("binance")[0].taker_bps
    10.0
    """
    if name not in SCHEDULES:
        raise ValueError(f"no fee schedule of {name!r}; known are {', '.join(sorted(SCHEDULES))}")
    return SCHEDULES[name]


def table_of(rates: Iterable[Rate]) -> Floats:
    """Return rates as the kernels read them, by date and volume.

    Returns
    -------
    array of shape (rows, 4)
        Nanoseconds UTC since when, volume from which (quote currency), maker and taker as fractions. Dates are exact to
        256 ns, whole seconds to the nanosecond.

    Raises
    ------
    ValueError
        There is no row, two rows say the same date and volume, or the rows of a date do not begin at volume zero.
    """
    rows = sorted(rates, key=lambda rate: (rate.since, rate.volume_from))
    if not rows:
        raise ValueError("a fee schedule needs at least one row")
    for before, row in zip((None, *rows[:-1]), rows, strict=True):
        starts = before is None or before.since != row.since
        if starts and row.volume_from != 0.0:
            raise ValueError(f"the rates since {iso(row.since)} begin at a volume of {row.volume_from}, wanted 0")
        if not starts and before is not None and before.volume_from == row.volume_from:
            raise ValueError(f"two rates since {iso(row.since)} for a volume from {row.volume_from}")
    columns = [(row.since, row.volume_from, row.maker_bps * BASIS_POINT, row.taker_bps * BASIS_POINT) for row in rows]
    return np.array(columns, dtype=np.float64)


@kernel
def rates_at(table: Floats, time: int, volume: float) -> tuple[float, float]:
    """Return (maker, taker) as fractions at a time (ns UTC) for a trailing volume in quote currency.

    ``table`` comes from `table_of`. Before its first date the table of that date applies.
    """
    when = float(time)
    start = 0
    for row in range(len(table)):
        if table[row, 0] <= when:
            if table[row, 0] != table[start, 0]:
                start = row
        else:
            break
    chosen = start
    for row in range(start + 1, len(table)):
        if table[row, 0] != table[start, 0] or table[row, 1] > volume:
            break
        chosen = row
    return table[chosen, 2], table[chosen, 3]


def volume_state() -> Floats:
    """Return the memory of an account that has traded nothing: the last day, and the traded value of 31 days."""
    return np.zeros(1 + SLOTS)


@kernel
def note_volume(state: Floats, time: int, value: float) -> None:
    """Add the value of a trade (quote currency) at a time (ns UTC since 1970, never before the last one)."""
    day = time // DAY_NS
    last = int(state[0])
    gone = min(day - last, SLOTS)
    for step in range(gone):
        state[1 + (day - step) % SLOTS] = 0.0
    if day > last:
        state[0] = float(day)
    state[1 + day % SLOTS] += value


@kernel
def trailing_volume(state: Floats, time: int) -> float:
    """Return the value traded in the 30 days before the UTC day of a time, which is not before the last trade noted.

    The day itself does not count: "any transaction starting the next trading day" is charged by the new tier
    (alpaca.markets/support/crypto-maker-taker-gmt-faq). Added from the oldest day to the youngest.
    """
    day = time // DAY_NS
    last = int(state[0])
    total = 0.0
    for past in range(max(day - TRAILING_DAYS, 0), min(day, last + 1)):
        total += state[1 + past % SLOTS]
    return total
