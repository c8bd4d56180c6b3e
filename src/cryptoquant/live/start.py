"""How a profile was set up: what a journal keeps of it, enough to make its engine again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cryptoquant.errors import BundleError, ConfigurationError
from cryptoquant.live.profile import OnStop, Profile
from cryptoquant.market.instrument import Instrument
from cryptoquant.market.slice import Slice
from cryptoquant.models.bundle import STRATEGIES, strategy_from_dict, strategy_to_dict
from cryptoquant.models.monitoring.predictions import bundle_digest
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import Strategy
from cryptoquant.trading.venue import Costs, Venue, increments


@dataclass(frozen=True, slots=True)
class Start:
    """A profile's setup.

    Attributes
    ----------
    model
        Digest of the bundle's content.
    cash
        Quote currency of the profile at its start.
    warm
        Slices before the start that the strategy's lookback reaches.
    """

    reference: str
    profile: str
    timeframe: str
    strategy: Strategy
    venue: Venue
    execution: Execution
    limits: RiskLimits
    symbols: tuple[str, ...]
    cash: float
    time: int
    warm: tuple[Slice, ...] = ()
    version: str = ""
    model: str = ""
    on_stop: OnStop = "keep"
    is_shadow: bool = False

    @classmethod
    def of(cls, profile: Profile, venue: Venue, cash: float, time: int, warm: tuple[Slice, ...]) -> "Start":
        """Return the setup of a profile that starts now (nanoseconds UTC)."""
        bundle = profile.bundle
        return cls(
            reference=profile.reference,
            profile=profile.name,
            timeframe=bundle.timeframe,
            strategy=bundle.strategy,
            venue=venue,
            execution=bundle.execution,
            limits=profile.limits,
            symbols=bundle.symbols,
            cash=cash,
            time=time,
            warm=warm,
            version=profile.version,
            model=bundle_digest(bundle),
            on_stop=profile.on_stop,
            is_shadow=profile.is_shadow,
        )

    @property
    def universe(self) -> str:
        """The name of its universe and timeframe."""
        return f"{self.timeframe} {','.join(self.symbols)}"

    def engine(self) -> Engine:
        """Return the engine as it was before its first event."""
        engine = Engine(
            self.strategy,
            self.venue,
            self.symbols,
            self.cash,
            profile=self.profile,
            execution=self.execution,
            limits=self.limits,
            holds=True,
        )
        engine.warm(self.warm)
        return engine

    def to_dict(self) -> dict[str, Any]:
        """Return the setup as JSON-ready values."""
        return {
            "reference": self.reference,
            "version": self.version,
            "model": self.model,
            "profile": self.profile,
            "timeframe": self.timeframe,
            "strategy": strategy_to_dict(self.strategy),
            "costs": asdict(self.venue.costs),
            "instruments": [
                [i.symbol, str(i.quantity_increment), str(i.price_increment), str(i.minimum_quantity)]
                for i in self.venue.instruments.values()
            ],
            "execution": self.execution.to_dict(),
            "limits": limits_to_dict(self.limits),
            "symbols": list(self.symbols),
            "cash": self.cash,
            "time": self.time,
            "warm": [slice_to_list(market) for market in self.warm],
            "on_stop": self.on_stop,
            "is_shadow": self.is_shadow,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], strategies: Mapping[str, type[Any]] = STRATEGIES) -> "Start":
        """Return the setup of ``to_dict``; ``strategies`` are the classes by name."""
        listed: list[Instrument] = [increments(*row) for row in content["instruments"]]
        symbols = tuple(content["symbols"])
        plain = ("reference", "version", "model", "profile", "timeframe", "cash", "time", "on_stop", "is_shadow")
        return cls(
            strategy=strategy_from_dict(content["strategy"], strategies),
            venue=Venue.alpaca(Costs(**content["costs"]), listed),
            execution=Execution.from_dict(content["execution"]),
            limits=limits_from_dict(content["limits"]),
            symbols=symbols,
            warm=tuple(slice_from_list(row, symbols) for row in content["warm"]),
            **{name: content[name] for name in plain},
        )


def check_strategy(strategy: Strategy, strategies: Mapping[str, type[Any]]) -> None:
    """Check that a journal that holds a strategy can be read again.

    Raises
    ------
    ConfigurationError
        It is of a class, or has a part of a class, that is not among ``strategies``; or its parameters are no values.
    """
    try:
        strategy_from_dict(json.loads(json.dumps(strategy_to_dict(strategy))), strategies)
    except (BundleError, TypeError, ValueError) as error:
        name = type(strategy).__name__
        raise ConfigurationError(f"the journal could not be read again with the strategy {name}: {error}") from error


def check_change(engine: Engine, strategy: Strategy, execution: Execution) -> None:
    """Check that an engine could go on by another strategy and execution, on one that is thrown away.

    A change is journalled before it is made: one that fails then would fail at every start again.

    Raises
    ------
    ConfigurationError
        It could not, and why.
    """
    book = engine.portfolio
    try:
        Engine(strategy, engine.venue, book.symbols, 1.0, profile=book.profile, execution=execution, holds=engine.holds)
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(f"profile {book.profile} cannot trade so: {error}") from error


def limits_to_dict(limits: RiskLimits) -> dict[str, str]:
    """Return limits as texts, which also say infinity."""
    return {name: repr(value) for name, value in asdict(limits).items()}


def limits_from_dict(content: Mapping[str, str]) -> RiskLimits:
    """Return the limits of ``limits_to_dict``."""
    numbers: dict[str, Any] = {name: float(value) for name, value in content.items()}
    numbers["max_orders_per_minute"] = int(numbers["max_orders_per_minute"])
    return RiskLimits(**numbers)


def slice_to_list(market: Slice) -> list[Any]:
    """Return time, known and values of a slice as JSON-ready values; NaN becomes null."""
    rows = [[None if value != value else value for value in row] for row in market.values.tolist()]
    return [market.time, market.known, rows]


def slice_from_list(row: list[Any], symbols: tuple[str, ...]) -> Slice:
    """Return the slice of ``slice_to_list``."""
    values = np.array([[np.nan if v is None else v for v in line] for line in row[2]], dtype=np.float64)
    return Slice(row[0], row[1], symbols, values)
