"""The venue's price list and rules: fees, slippage, impact, increments, the smallest and the largest order."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, get_args

from cryptoquant.market.instrument import Instrument
from cryptoquant.trading.financing import Financing
from cryptoquant.trading.schedule import Rate, schedule

FeeAsset = Literal["received", "quote"]
Path = Literal["worst", "best", "ohlc", "olhc", "adaptive"]
PATHS = get_args(Path)

# Alpaca "Crypto Spot Trading", fee table of 2025-09-24: trailing 30-day volume tier -> (maker, taker) basis points.
ALPACA_TIERS: Mapping[int, tuple[float, float]] = {
    1: (15.0, 25.0),
    2: (12.0, 22.0),
    3: (10.0, 20.0),
    4: (8.0, 18.0),
    5: (5.0, 15.0),
    6: (2.0, 13.0),
    7: (2.0, 12.0),
    8: (0.0, 10.0),
}
BASIS_POINT = 1e-4


@dataclass(frozen=True, slots=True)
class Costs:
    """What a trade costs.

    Parameters
    ----------
    maker_bps, taker_bps
        Fee on resting and on marketable orders, in basis points of the traded value.
    slippage_bps
        How much worse than the reference price a marketable order fills, in basis points.
    fee_asset
        ``received``: the fee is taken from what is received (coins of a buy, cash of a sell), as Alpaca does;
        ``quote``: always from the cash.
    spread_bps
        Between bid and ask, in basis points; a marketable order pays half of it, as slippage.
    volatility_share
        Slippage in multiples of a bar's volatility (exponential, 48 bars, known before the fill).
    impact_linear_bps, impact_sqrt
        How far an order as large as the bar's volume moves its own price: basis points, falling in proportion to the
        order's share of the volume; and multiples of a bar's volatility, falling with the root of the share.
    schedule
        Fees by date and trailing 30-day volume. Given, they take the place of ``maker_bps`` and ``taker_bps``.
    """

    maker_bps: float = 0.0
    taker_bps: float = 0.0
    slippage_bps: float = 0.0
    fee_asset: FeeAsset = "received"
    spread_bps: float = 0.0
    volatility_share: float = 0.0
    impact_linear_bps: float = 0.0
    impact_sqrt: float = 0.0
    schedule: tuple[Rate, ...] = ()

    def __post_init__(self) -> None:
        for name in ("maker_bps", "taker_bps", "slippage_bps", "spread_bps", "impact_linear_bps"):
            value = getattr(self, name)
            if not 0 <= value < 10_000:
                raise ValueError(f"{name} must lie in [0, 10000), found {value}")
        for name in ("volatility_share", "impact_sqrt"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be zero or more, found {getattr(self, name)}")
        if self.fee_asset not in ("received", "quote"):
            raise ValueError(f"fee_asset must be 'received' or 'quote', found {self.fee_asset!r}")
        rates: Iterable[Any] = self.schedule
        rows = tuple(rate if isinstance(rate, Rate) else Rate(**rate) for rate in rates)
        object.__setattr__(self, "schedule", rows)

    def __repr__(self) -> str:
        hidden = ("schedule", "maker_bps", "taker_bps") if self.schedule else ("schedule",)
        said = [f"{item.name}={getattr(self, item.name)!r}" for item in fields(self) if item.name not in hidden]
        said += [f"schedule=<{len(self.schedule)} rate{'s' * (len(self.schedule) > 1)}>"] if self.schedule else []
        return f"Costs({', '.join(said)})"

    @property
    def reads_volatility(self) -> bool:
        """Whether a fill's price depends on the volatility before it."""
        return self.volatility_share > 0.0 or self.impact_sqrt > 0.0

    @property
    def reads_volume(self) -> bool:
        """Whether a fill's price depends on the bar's volume."""
        return self.impact_linear_bps > 0.0 or self.impact_sqrt > 0.0

    @classmethod
    def alpaca(cls, tier: int = 1, slippage_bps: float = 0.0) -> "Costs":
        """Return Alpaca's crypto fees for a 30-day volume tier, 1 (below 100,000 USD) to 8 (above 100 million)."""
        if tier not in ALPACA_TIERS:
            raise ValueError(f"Alpaca has fee tiers 1 to 8, found {tier}")
        maker, taker = ALPACA_TIERS[tier]
        return cls(maker, taker, slippage_bps)

    @classmethod
    def of(cls, name: str, slippage_bps: float = 0.0, fee_asset: FeeAsset | None = None) -> "Costs":
        """Return the published fees of alpaca, binance, bitstamp or coinbase by date and trailing 30-day volume.

        Since when each is supported, and by which source, is in ``trading.schedule``. Alpaca takes its fee from what is
        received, the others are taken from the quote currency by default. ``maker_bps`` and ``taker_bps`` show the
        first row of the schedule and charge nothing.

        Raises
        ------
        ValueError
            No schedule has this name; the message lists the known ones.
        """
        rates = schedule(name)
        asset: FeeAsset = fee_asset or ("received" if name == "alpaca" else "quote")
        return cls(rates[0].maker_bps, rates[0].taker_bps, slippage_bps, asset, schedule=rates)

    @classmethod
    def free(cls) -> "Costs":
        """Return a market without fees and slippage."""
        return cls()

    def scaled(self, factor: float) -> "Costs":
        """Return the same costs times ``factor``, to see how much dearer it may get."""
        numbers = ("maker_bps", "taker_bps", "slippage_bps", "spread_bps", "volatility_share")
        scaled = {name: getattr(self, name) * factor for name in (*numbers, "impact_linear_bps", "impact_sqrt")}
        rates = tuple(
            replace(rate, maker_bps=rate.maker_bps * factor, taker_bps=rate.taker_bps * factor)
            for rate in self.schedule
        )
        return replace(self, **scaled, schedule=rates)


@dataclass(frozen=True, slots=True)
class Venue:
    """The rules by which orders are accepted and settled.

    Parameters
    ----------
    costs
        Fees and slippage.
    instruments
        By symbol; a symbol that is not listed gets the venue's usual increments.
    minimum_notional, maximum_notional
        Smallest and largest value of one order, in quote currency.
    cash_unit
        Cash is counted in whole multiples of this (quote currency); 0 counts any real number.
    allows_short
        Whether more may be sold than is held.
    is_continuous
        Whether any fraction of a coin and of a cash unit may change hands.
    collar
        A market buy needs this share more than its value in cash when it is sent, and what is being sold does not count
        until it is filled (Alpaca: 2.5 %). NaN on a venue that checks only when it fills.
    participation
        Largest share of a bar's volume that our orders may trade; what is left over waits for the next bar.
    latency
        Time between a decision and its arrival: an order takes part in bars that open when it has arrived.
    path
        In which order the prices of a bar were traded, where that matters; see ``trading.matching``.
    financing
        What shorts and borrowed cash cost, and when the account is liquidated; None on a spot venue.
    """

    costs: Costs = field(default_factory=Costs)
    instruments: Mapping[str, Instrument] = field(default_factory=dict)
    minimum_notional: float = 10.0
    maximum_notional: float = 200_000.0
    cash_unit: float = 1e-6
    allows_short: bool = False
    is_continuous: bool = False
    collar: float = 0.025
    participation: float = math.inf
    latency: timedelta = timedelta(0)
    path: Path = "worst"
    financing: Financing | None = None

    def __post_init__(self) -> None:
        if not self.participation > 0:
            raise ValueError(f"participation must be above zero, found {self.participation}")
        if self.latency < timedelta(0):
            raise ValueError(f"latency cannot be negative, found {self.latency}")
        if self.path not in PATHS:
            raise ValueError(f"path must be one of {', '.join(PATHS)}, found {self.path!r}")

    @property
    def latency_ns(self) -> int:
        """Nanoseconds between a decision and its arrival."""
        return self.latency // timedelta(microseconds=1) * 1000

    def instrument(self, symbol: str) -> Instrument:
        """Return the instrument of a symbol."""
        known = self.instruments.get(symbol)
        if known is not None:
            return known
        return _unlisted(symbol, is_continuous=self.is_continuous)

    @property
    def unit(self) -> float:
        """Quote currency in one cash unit (1 on a continuous market)."""
        return self.cash_unit or 1.0

    @classmethod
    def alpaca(cls, costs: Costs | None = None, instruments: Iterable[Instrument] = ()) -> "Venue":
        """Return Alpaca's crypto venue: spot, long only, 10 to 200,000 USD an order, 9 decimals unless listed.

        The 10 USD minimum (403, code 40310000) and the 200,000 USD maximum are from Alpaca's "Crypto Orders" page.
        """
        listed = {instrument.symbol: instrument for instrument in instruments}
        return cls(costs if costs is not None else Costs.alpaca(), listed)

    @classmethod
    def research(cls, costs: Costs | None = None, *, allows_short: bool = True) -> "Venue":
        """Return a continuous market without smallest or largest order, on which other simulators can be compared.

        Without ``costs`` it is free. Everything else is set by ``dataclasses.replace``:

        >>> replace(Venue.research(), participation=0.05, financing=Financing(borrow=0.1)).participation
        0.05
        """
        return cls(costs or Costs(), {}, 0.0, float("inf"), 0.0, allows_short, is_continuous=True, collar=math.nan)


@lru_cache(maxsize=4096)
def _unlisted(symbol: str, *, is_continuous: bool) -> Instrument:
    return Instrument.continuous(symbol) if is_continuous else Instrument(symbol)


def increments(symbol: str, quantity: str, price: str, minimum: str) -> Instrument:
    """Return an instrument from the decimal strings of a venue's asset list."""
    return Instrument(symbol, Decimal(quantity), Decimal(price), Decimal(minimum))
