"""A profile: a bundle that trades its own share of an account, under limits of its own."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cryptoquant.errors import ConfigurationError
from cryptoquant.features import FeatureSet, log_return
from cryptoquant.live.broker import check_tradable
from cryptoquant.market.time import Timeframe, span, timeframe_name
from cryptoquant.models.bundle import STRATEGIES, Bundle
from cryptoquant.models.no_model import NoModel
from cryptoquant.models.registry import Registry
from cryptoquant.performance.evidence import Evidence
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import Strategy
from cryptoquant.trading.venue import Costs

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,15}")
NAN = math.nan
NO_EVIDENCE = Evidence(0, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, 0, 0, 0)
OnStop = Literal["keep", "close"]


@dataclass(frozen=True, slots=True)
class Profile:
    """What trades, with how much, and under which limits. Several share an account, each with a ledger of its own.

    Parameters
    ----------
    name
        At most 16 of ``a-z``, ``0-9``, ``-`` and ``_``; it is part of every order's id, by which fills find their
        ledger.
    bundle
        Model, features, strategy, execution and costs.
    reference, version
        Where the bundle came from: ``btc-eth-1h@champion``, and the version that was at that moment.
    capital
        Quote currency that it starts with; by default all that no other profile has.
    limits
        The gate that each of its orders passes.
    on_stop
        Whether its positions are kept or closed when the trader stops.
    is_shadow
        It sends nothing to the venue: its orders are matched here, with live prices.

    Raises
    ------
    ValueError
        The name is no name, the capital is not above zero, or ``on_stop`` is another word.
    ConfigurationError
        The bundle's costs are not those of the venue.
    """

    name: str
    bundle: Bundle
    reference: str = ""
    version: str = ""
    capital: float | None = None
    limits: RiskLimits = field(default_factory=RiskLimits)
    on_stop: OnStop = "keep"
    is_shadow: bool = False

    def __post_init__(self) -> None:
        if NAME.fullmatch(self.name) is None:
            raise ValueError(f"profile {self.name!r}: wanted 1 to 16 of a-z, 0-9, - and _")
        if self.capital is not None and not self.capital > 0:
            raise ValueError(f"profile {self.name}: capital must be above zero, found {self.capital}")
        if self.on_stop not in ("keep", "close"):
            raise ValueError(f"profile {self.name}: on_stop must be 'keep' or 'close', found {self.on_stop!r}")
        check_tradable(self.bundle.costs)
        object.__setattr__(self, "reference", self.reference or self.bundle.name)

    @classmethod
    def of(cls, reference: str, registry: Registry | None = None, *, name: str = "main", **settings: Any) -> "Profile":
        """Return the profile of a registered bundle, ``name@alias`` or ``name@number``."""
        shelf = registry or Registry()
        version = shelf.resolve(reference)
        return cls(name, shelf.load(version), reference, str(version), **settings)

    @classmethod
    def rule(
        cls,
        name: str,
        strategy: Strategy,
        symbols: Sequence[str],
        timeframe: Timeframe,
        *,
        execution: Execution | None = None,
        costs: Costs | None = None,
        **settings: Any,
    ) -> "Profile":
        """Return the profile of a strategy without a model; costs are Alpaca's first tier by default.

        Raises
        ------
        ConfigurationError
            The strategy reads signals, which only a model gives.
        """
        if getattr(strategy, "reads_signals", False):
            raise ConfigurationError(f"{type(strategy).__name__} reads signals: give a bundle with a model")
        bundle = Bundle(
            name=name,
            symbols=tuple(symbols),
            timeframe=timeframe_name(timeframe),
            predictor=NoModel(),
            features=FeatureSet([log_return(1)]),
            strategy=strategy,
            execution=execution or Execution(),
            costs=costs or Costs.alpaca(),
            horizon=span(timeframe),
            evidence=NO_EVIDENCE,
            fingerprints={},
        )
        return cls(name, bundle, **settings)

    @property
    def universe(self) -> str:
        """The name of its universe and timeframe, which profiles may share."""
        return f"{self.bundle.timeframe} {','.join(self.bundle.symbols)}"

    @property
    def strategies(self) -> Mapping[str, type[Any]]:
        """The classes by which its strategy is read again from a journal."""
        own = type(self.bundle.strategy)
        return {**STRATEGIES, own.__name__: own}


def check_profiles(profiles: Sequence[Profile]) -> None:
    """Check that profiles can share an account.

    Raises
    ------
    ValueError
        There is none, two have a name, or several want the rest of the cash.
    """
    names = [profile.name for profile in profiles]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"wanted one profile or several of different names, found {', '.join(names) or 'none'}")
    open_ended = [one.name for one in profiles if one.capital is None and not one.is_shadow]
    if len(open_ended) > 1:
        raise ValueError(f"profiles {', '.join(open_ended)} all want the rest of the cash: give each its capital")
