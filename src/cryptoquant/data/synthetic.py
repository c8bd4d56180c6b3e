"""A seeded market that never existed, with or without a planted edge, to test research against the truth."""

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import UnknownSymbolError
from cryptoquant.market.aggregation import aggregate
from cryptoquant.market.instrument import normalize_symbol
from cryptoquant.market.schema import BARS, INSTANT, Bar, BookUpdate, Quote, Trade
from cryptoquant.market.time import Instant, Timeframe, span_ns, timeframe_name, to_ns

HOUR = 3_600_000_000_000
START_PRICES = {"BTC": 42_000.0, "ETH": 2_300.0, "SOL": 100.0, "LTC": 72.0, "DOGE": 0.09}
HOURLY_VOLATILITY = {"BTC": 0.006, "ETH": 0.007}
NOTIONAL_PER_HOUR = 1_500_000.0
NOTIONAL_PER_TRADE = 1_200.0
CLUSTERING_HOURS = 48.0
CLUSTERING_DEVIATION = 0.35
GAP_SHARE = 0.05
VOLUME_SHIFT = 0.5
VOLUME_NOISE_HOURLY = 0.4
VOLUME_NOISE_BAR = 0.3
TAIL_DEGREES = 5.0
LEVELS = 5
HALF_SPREAD = 0.0001
FIRST_ID = 1 << 60

Floats = NDArray[np.float64]
Tick = Trade | Quote | BookUpdate


@dataclass(frozen=True)
class SyntheticMarket:
    """A market drawn from a seed: the same arguments give the same bars, on every machine.

    Returns have clustered volatility (log-volatility is AR(1) over hours) and Student tails; a bar's high and low are
    drawn from the extremes of a Brownian bridge between its open and close. Without an edge prices are a martingale
    (but for rounding). With an edge a hidden state z in {-1, +1} with exponential holding times adds a drift of
    ``edge * hourly volatility * z`` per hour. The state shifts the mean of log-volume by ``0.5 z`` in both cases, under
    noise of deviation 0.5, so that volume against its own past reveals the state imperfectly.

    Parameters
    ----------
    seed
        Each symbol draws from ``seed`` and its own name: adding a symbol changes no other.
    symbols
        Pairs such as ``BTC/USD``.
    start
        Open of the first bar.
    days
        Length in days.
    timeframe
        The smallest bars; it divides an hour or is a multiple of one.
    edge
        Drift per hour in units of the hourly volatility; 0 plants none.
    regime
        Mean holding time of the hidden state.

    Examples
    --------
    >>> market = SyntheticMarket(seed=7, symbols=["BTC/USD"], days=2, timeframe="5m")
    >>> market.bars("1h").height
    48
    """

    seed: int = 7
    symbols: Sequence[str] = ("BTC/USD", "ETH/USD")
    start: Instant = "2024-01-01"
    days: int = 730
    timeframe: Timeframe = "1m"
    edge: float = 0.0
    regime: timedelta = timedelta(hours=72)
    _drawn: dict[str, pl.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = (self.symbols,) if isinstance(self.symbols, str) else self.symbols
        object.__setattr__(self, "symbols", tuple(normalize_symbol(name) for name in names))
        if self.days <= 0:
            raise ValueError(f"days must be positive, found {self.days}")
        if self.regime <= timedelta(0):
            raise ValueError(f"regime must be longer than zero, found {self.regime}")
        if not self.symbols:
            raise ValueError("symbols: found none, wanted at least one pair such as BTC/USD")

    def bars(
        self,
        timeframe: Timeframe | None = None,
        symbols: str | Sequence[str] | None = None,
        start: Instant | None = None,
        end: Instant | None = None,
    ) -> pl.DataFrame:
        """Return bars (schema ``bars``) by symbol in time order, with ``start <= open_time`` and ``time <= end``.

        Raises
        ------
        UnknownSymbolError
            The market has no such symbol.
        SchemaError
            The timeframe is not a multiple of the market's own.
        ValueError
            ``start`` lies after ``end``.
        """
        chosen = self.symbols if symbols is None else (symbols,) if isinstance(symbols, str) else tuple(symbols)
        width = span_ns(self.timeframe if timeframe is None else timeframe)
        first = -(-(to_ns(self.start if start is None else start)) // width) * width
        last = None if end is None else to_ns(end) // width * width
        if start is not None and end is not None and to_ns(start) > to_ns(end):
            raise ValueError(f"start {start} lies after end {end}")
        frames = [self._between(normalize_symbol(name), first, last) for name in chosen]
        bars = pl.concat(frames)
        return bars if width == span_ns(self.timeframe) else aggregate(bars, timeframe_name(timedelta_of(width)))

    def state(self, symbol: str) -> NDArray[np.int8]:
        """Return the hidden state, -1 or +1, of each base bar of a symbol, shape (bars,)."""
        return self._state(np.random.default_rng(self._entropy(self._known(symbol), stream=1)))

    def _known(self, symbol: str) -> str:
        name = normalize_symbol(symbol)
        if name not in self.symbols:
            raise UnknownSymbolError(f"{name} is not in this market; found {', '.join(self.symbols)}")
        return name

    def _between(self, symbol: str, first: int, last: int | None) -> pl.DataFrame:
        name = self._known(symbol)
        if name not in self._drawn:
            self._drawn[name] = self._draw(name)
        bars = self._drawn[name]
        inside = pl.col("open_time").dt.epoch("ns") >= first
        if last is not None:
            inside &= pl.col("time").dt.epoch("ns") <= last
        return bars.filter(inside)

    def _entropy(self, symbol: str, *, stream: int) -> np.random.SeedSequence:
        return np.random.SeedSequence([self.seed & 0xFFFFFFFFFFFFFFFF, stream, *symbol.encode()])

    @property
    def _rows(self) -> int:
        return self.days * 24 * HOUR // span_ns(self.timeframe)

    def _state(self, rng: np.random.Generator) -> NDArray[np.int8]:
        mean = self.regime / timedelta(hours=1)
        length = self.days * 24.0
        switches = np.cumsum(rng.exponential(mean, size=int(length / mean * 1.5) + 50))
        while switches[-1] < length:
            switches = np.r_[switches, switches[-1] + np.cumsum(rng.exponential(mean, size=50))]
        hours = np.arange(self._rows) * (span_ns(self.timeframe) / HOUR)
        first = 1 if rng.random() < 0.5 else -1
        flips = np.searchsorted(switches, hours, side="right") % 2
        return (first * (1 - 2 * flips)).astype(np.int8)

    def _draw(self, symbol: str) -> pl.DataFrame:
        rng = np.random.default_rng(self._entropy(symbol, stream=0))
        coin, state = symbol.partition("/")[0], self.state(symbol)
        price = START_PRICES.get(coin, float(10 ** rng.uniform(-1, 2)))
        hourly = HOURLY_VOLATILITY.get(coin, float(rng.uniform(0.007, 0.010)))
        hours = span_ns(self.timeframe) / HOUR
        deviation: Floats = (hourly * hours**0.5) * _clusters(rng, len(state), hours)
        drift: Floats = self.edge * hourly * hours * state.astype(np.float64)
        opens, closes, highs, lows = _prices(rng, price, deviation, drift)
        volume = _volumes(rng, state, hours, NOTIONAL_PER_HOUR * hours / price)
        count = 1 + rng.poisson(volume * price / NOTIONAL_PER_TRADE)
        open_time = to_ns(self.start) + np.arange(len(state), dtype=np.int64) * span_ns(self.timeframe)
        close_time = open_time + span_ns(self.timeframe)
        values = (open_time, opens, highs, lows, closes, volume, count, (opens + highs + lows + closes) / 4)
        columns = dict(zip(list(BARS)[3:], values, strict=True))
        bars = pl.DataFrame({"time": close_time, "known": close_time, **columns}).with_columns(
            pl.from_epoch(name, "ns").dt.replace_time_zone("UTC").cast(INSTANT)
            for name in ("time", "known", "open_time")
        )
        return bars.select(pl.lit(symbol).alias("symbol"), pl.all()).with_columns(
            pl.col("vwap").clip(pl.col("low"), pl.col("high")), pl.col("trade_count").cast(pl.Int64)
        )


def timedelta_of(ns: int) -> timedelta:
    """Return a span of nanoseconds as a timedelta, cut to microseconds."""
    return timedelta(microseconds=ns // 1_000)


def decimals(price: float) -> int:
    """Return the decimals to which a price of this size is rounded: two for large prices, more for small ones.

    Examples
    --------
    >>> decimals(42_000.0), decimals(0.09)
    (2, 7)
    """
    return max(2, 5 - int(np.floor(np.log10(price))))


def _clusters(rng: np.random.Generator, rows: int, hours: float) -> Floats:
    """Return volatility factors of mean square one: exp of an AR(1) over hours, interpolated to the bars."""
    knots = int(np.ceil(rows * hours)) + 2
    memory = float(np.exp(-1.0 / CLUSTERING_HOURS))
    shocks = (CLUSTERING_DEVIATION * np.sqrt(1 - memory**2) * rng.standard_normal(knots)).tolist()
    level, path = CLUSTERING_DEVIATION * float(rng.standard_normal()), []
    for shock in shocks:
        level = memory * level + shock
        path.append(level)
    between = np.interp(np.arange(rows) * hours, np.arange(knots), path)
    factors: Floats = np.exp(between - CLUSTERING_DEVIATION**2)
    return factors


def _prices(
    rng: np.random.Generator, price: float, deviation: Floats, drift: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return open, close, high and low, rounded; simple returns have the mean ``drift``.

    The extremes of a Brownian bridge from 0 to x of variance s2 are (x +- sqrt(x^2 - 2 s2 ln U)) / 2 with U uniform.
    """
    rows = len(deviation)
    shocks = rng.standard_t(TAIL_DEGREES, rows) * np.sqrt((TAIL_DEGREES - 2) / TAIL_DEGREES)
    body = np.log1p(deviation * np.clip(shocks, -12.0, 12.0) + drift)
    gap = np.log1p(GAP_SHARE * deviation * rng.standard_normal(rows).clip(-6.0, 6.0))
    closes = np.log(price) + np.cumsum(body + gap)
    opens = closes - body
    reach = -2.0 * deviation**2
    highs = opens + (body + np.sqrt(body**2 + reach * np.log(1.0 - rng.random(rows)))) / 2
    lows = opens + (body - np.sqrt(body**2 + reach * np.log(1.0 - rng.random(rows)))) / 2
    digits, smallest = decimals(price), 10.0 ** -decimals(price)
    opened, closed, high, low = (
        np.maximum(np.round(np.exp(path), digits), smallest) for path in (opens, closes, highs, lows)
    )
    return opened, closed, np.maximum.reduce([high, opened, closed]), np.minimum.reduce([low, opened, closed])


def _volumes(rng: np.random.Generator, state: NDArray[np.int8], hours: float, level: float) -> Floats:
    rows = len(state)
    hourly = rng.standard_normal(int(np.ceil(rows * hours)) + 1)[(np.arange(rows) * hours).astype(np.int64)]
    noise = VOLUME_NOISE_HOURLY * hourly + VOLUME_NOISE_BAR * rng.standard_normal(rows)
    volume: Floats = np.maximum(np.round(level * np.exp(VOLUME_SHIFT * state + noise), 4), 1e-4)
    return volume


def ticks(bar: Bar, *, seed: int, trades: int = 3) -> list[Tick]:
    """Return what might have happened inside a bar, in time order, the same for the same bar and seed.

    The first trade is at the open, the last at the close; with four trades or more one touches the high and one the
    low, so that the trades make up the bar. Sizes add up to the volume (nine decimals); a bar without volume has no
    trade. Each trade has a quote just before it that it hits. The book starts with a reset of five levels a side around
    the open and ends, by one delta, around the close. All times lie in ``(open_time, time]``; ids are above 2**53.
    """
    if trades < 1:
        raise ValueError(f"{bar.symbol}: trades must be at least 1, found {trades}")
    rng = np.random.default_rng(np.random.SeedSequence([seed, bar.time // 1_000, *bar.symbol.encode()]))
    count = trades if bar.volume > 0 else 0
    moments = _moments(bar, count)
    events: list[Tick] = [_reset(bar, moments[0], rng)]
    for index, (price, size) in enumerate(zip(_trade_prices(bar, count, rng), _sizes(bar, count, rng), strict=True)):
        events += _trade(bar, index, moments[index + 1], price, size, rng)
    if not count:
        events.append(_quote(bar, moments[0] + 1, bar.open, buyer=True, rng=rng))
    events.append(_delta(bar, moments[-1], events[0], rng))
    return events


def _moments(bar: Bar, count: int) -> list[int]:
    """Return count + 2 rising times: the reset, the trades, the delta; the last is the bar's close."""
    width = bar.time - bar.open_time
    return [bar.open_time + width * (index + 1) // (count + 2) for index in range(count + 2)]


def _trade_prices(bar: Bar, count: int, rng: np.random.Generator) -> list[float]:
    if count == 0:
        return []
    if count == 1:
        return [bar.close]
    digits = decimals(bar.close)
    between = [round(float(price), digits) for price in rng.uniform(bar.low, bar.high, count - 2)]
    if count >= 4:
        between[:2] = [bar.high, bar.low]
    inside = [min(max(between[int(i)], bar.low), bar.high) for i in rng.permutation(len(between))]
    return [bar.open, *inside, bar.close]


def _sizes(bar: Bar, count: int, rng: np.random.Generator) -> list[float]:
    if count == 0:
        return []
    units = round(bar.volume * 1e9)
    cuts = np.sort(rng.random(count - 1))
    edges = [0, *(int(units * cut) for cut in cuts), units]
    return [(after - before) / 1e9 for before, after in itertools.pairwise(edges)]


def _trade(bar: Bar, index: int, time: int, price: float, size: float, rng: np.random.Generator) -> list[Tick]:
    buyer = bool(rng.random() < 0.5)
    identity = FIRST_ID + ((bar.time // 1_000_000_000) << 28) + (zlib.crc32(bar.symbol.encode()) % 2**16 << 12) + index
    quote = _quote(bar, time - 1_000, price, buyer=buyer, rng=rng)
    return [quote, Trade(bar.symbol, time, time, identity, price, size, "B" if buyer else "S")]


def _step(price: float) -> float:
    tick: float = 10.0 ** -decimals(price)
    return max(tick, price * HALF_SPREAD)


def _quote(bar: Bar, time: int, price: float, *, buyer: bool, rng: np.random.Generator) -> Quote:
    digits, width = decimals(price), 2 * _step(price)
    bid = round(price - width, digits) if buyer else price
    ask = price if buyer else round(price + width, digits)
    sizes = rng.uniform(0.01, 2.0, 2).round(4)
    return Quote(bar.symbol, time, time, bid, float(sizes[0]), ask, float(sizes[1]))


def _ladder(price: float, rng: np.random.Generator) -> tuple[dict[float, float], dict[float, float]]:
    digits, step = decimals(price), _step(price)
    sizes = rng.uniform(0.01, 2.0, 2 * LEVELS).round(4).tolist()
    bids = {round(price - step * (level + 1), digits): sizes[level] for level in range(LEVELS)}
    asks = {round(price + step * (level + 1), digits): sizes[LEVELS + level] for level in range(LEVELS)}
    return bids, asks


def _reset(bar: Bar, time: int, rng: np.random.Generator) -> BookUpdate:
    bids, asks = _ladder(bar.open, rng)
    return BookUpdate(bar.symbol, time, time, tuple(bids.items()), tuple(asks.items()), reset=True)


def _delta(bar: Bar, time: int, first: Tick, rng: np.random.Generator) -> BookUpdate:
    """Return the update that turns the opening book into one around the close: old levels removed, new ones set."""
    bids, asks = _ladder(bar.close, rng)
    before = first if isinstance(first, BookUpdate) else _reset(bar, time, rng)
    gone_bids = {price: 0.0 for price, _ in before.bids}
    gone_asks = {price: 0.0 for price, _ in before.asks}
    return BookUpdate(bar.symbol, time, time, tuple((gone_bids | bids).items()), tuple((gone_asks | asks).items()))
