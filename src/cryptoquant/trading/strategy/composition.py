"""Strategies made of strategies: an average, a vote, a switch between regimes, a size that follows volatility.

Each member sees the whole view, and each of these is a strategy itself, so they nest. A member that leaves a symbol out
wants to hold it: in an average and in a vote it then stands for the symbol's present weight. Where all members leave a
symbol out, so does the whole.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from cryptoquant.market.time import NANOSECONDS_PER_YEAR, Timeframe, span_ns
from cryptoquant.trading.strategy.sizing import check_number, check_share, check_window
from cryptoquant.trading.strategy.view import HOLD, Floats, Strategy, Target, View


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Holds the weighted average of what several strategies want.

    Parameters
    ----------
    strategies
        The members, at least one.
    shares
        How much each member counts, above 0; scaled to sum to 1. By default all count the same.
    """

    strategies: tuple[Strategy, ...]
    shares: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "strategies", _members(self))
        if self.shares is None:
            return
        object.__setattr__(self, "shares", tuple(self.shares))
        if len(self.shares) != len(self.strategies):
            raise ValueError(f"Ensemble: {len(self.strategies)} strategies and {len(self.shares)} shares")
        if not all(0.0 < share < math.inf for share in self.shares):
            raise ValueError(f"Ensemble: shares must lie above 0, found {self.shares}")

    @property
    def lookback(self) -> int:
        """The longest of the members."""
        return max(member.lookback for member in self.strategies)

    @property
    def reads_signals(self) -> bool:
        """Whether a member does."""
        return any(reads_signals(member) for member in self.strategies)

    def decide(self, view: View) -> Target:
        """Return the average of each symbol that a member has an opinion on."""
        shares = self.shares or (1.0,) * len(self.strategies)
        total = math.fsum(shares)
        target = {}
        for symbol, wanted in _opinions(self.strategies, view).items():
            target[symbol] = math.fsum(share * weight for share, weight in zip(shares, wanted, strict=True)) / total
        return target


@dataclass(frozen=True, slots=True)
class Voting:
    """Goes where more than half of several strategies go: long, flat or short.

    A vote is the sign of what a member wants. The majority's side is taken at the mean of the weights that it wants;
    without a majority the symbol is held.

    Parameters
    ----------
    strategies
        The members, at least one.
    """

    strategies: tuple[Strategy, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "strategies", _members(self))

    @property
    def lookback(self) -> int:
        """The longest of the members."""
        return max(member.lookback for member in self.strategies)

    @property
    def reads_signals(self) -> bool:
        """Whether a member does."""
        return any(reads_signals(member) for member in self.strategies)

    def decide(self, view: View) -> Target:
        """Return the majority's weight of each symbol that a member has an opinion on."""
        target = {}
        for symbol, wanted in _opinions(self.strategies, view).items():
            for side in (1, 0, -1):
                voices = [weight for weight in wanted if (weight > 0.0) - (weight < 0.0) == side]
                if 2 * len(voices) > len(wanted):
                    target[symbol] = math.fsum(voices) / len(voices)
        return target


@runtime_checkable
class Regime(Protocol):
    """Says in which of several states the market is: a pure function of the view, like a strategy.

    ``states`` is how many there are; ``lookback`` is how many slices of the past it reads.
    """

    @property
    def lookback(self) -> int:
        """Slices of the past that ``state`` reads, this one included."""
        ...

    @property
    def states(self) -> int:
        """How many states there are."""
        ...

    def state(self, view: View) -> int | None:
        """Return the state from 0, None when it cannot be told."""
        ...


@dataclass(frozen=True, slots=True)
class VolatilityRegime:
    """Calm or wild: the trailing volatility against thresholds.

    The volatility is the root of the mean squared log return of the last bars, annualised (365 days), and the mean
    over the symbols whose window has no hole.

    Parameters
    ----------
    thresholds
        Annual volatilities as fractions, rising; state k lies above k of them.
    window
        Returns in the mean.
    bar
        Length of a bar, such as ``"1h"``.
    symbol
        The one to look at; by default all.
    """

    thresholds: tuple[float, ...] = (0.6,)
    window: int = 168
    bar: Timeframe = "1h"
    symbol: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", tuple(self.thresholds))
        if not self.thresholds or any(
            not b > a for a, b in zip((0.0, *self.thresholds), self.thresholds, strict=False)
        ):
            raise ValueError(f"VolatilityRegime: wanted rising thresholds above 0, found {self.thresholds}")
        check_window(self, "window")
        span_ns(self.bar)

    @property
    def lookback(self) -> int:
        """The window and the close that its first return starts from."""
        return self.window + 1

    @property
    def states(self) -> int:
        """One more than there are thresholds."""
        return len(self.thresholds) + 1

    def state(self, view: View) -> int | None:
        """Return how many thresholds the volatility exceeds."""
        symbols = view.symbols if self.symbol is None else (self.symbol,)
        found = [
            annual_volatility(view.history(symbol, "close", self.lookback), self.window, self.bar) for symbol in symbols
        ]
        known = [volatility for volatility in found if not math.isnan(volatility)]
        if not known:
            return None
        level = math.fsum(known) / len(known)
        return sum(1 for threshold in self.thresholds if level > threshold)


@dataclass(frozen=True, slots=True)
class Switch:
    """Lets the regime pick which strategy decides.

    What a strategy holds is not sold when the regime changes: it is the next one's to keep or to sell, and one that
    leaves a symbol out keeps it. While the regime is unknown everything is held.

    Parameters
    ----------
    regime
        Says in which state the market is.
    strategies
        One for each state, in its order.
    """

    regime: Regime
    strategies: tuple[Strategy, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "strategies", _members(self))
        if not isinstance(self.regime, Regime):
            raise TypeError(f"Switch: wanted a regime with lookback, states and state, found {self.regime!r}")
        if len(self.strategies) != self.regime.states:
            raise ValueError(f"Switch: {self.regime.states} states and {len(self.strategies)} strategies")

    @property
    def lookback(self) -> int:
        """The longest of the members and of the regime."""
        return max(self.regime.lookback, *(member.lookback for member in self.strategies))

    @property
    def reads_signals(self) -> bool:
        """Whether a member does."""
        return any(reads_signals(member) for member in self.strategies)

    def decide(self, view: View) -> Target:
        """Return what the strategy of the present state wants."""
        state = self.regime.state(view)
        return HOLD if state is None else self.strategies[state].decide(view)


@dataclass(frozen=True, slots=True)
class VolatilityScaled:
    """Scales what a strategy wants of each symbol by wanted over trailing volatility (Moreira and Muir 2017).

    A symbol whose volatility is unknown or zero is held, unless the strategy wants it flat.

    Parameters
    ----------
    strategy
        What is scaled: a rule or a strategy over signals.
    volatility
        The annual volatility (a fraction) at which a weight is left as it is.
    window
        Returns in the trailing volatility: the root of their mean square, annualised by 365 days.
    bar
        Length of a bar, such as ``"1h"``.
    max_weight
        Largest share of the equity in each symbol after scaling.
    """

    strategy: Strategy
    volatility: float = 0.5
    window: int = 168
    bar: Timeframe = "1h"
    max_weight: float = 1.0

    def __post_init__(self) -> None:
        _member(self, self.strategy)
        check_number(self, "volatility", 5e-324)
        check_window(self, "window")
        span_ns(self.bar)
        check_share(self.max_weight)

    @property
    def lookback(self) -> int:
        """The longer of the strategy's and the window's."""
        return max(self.strategy.lookback, self.window + 1)

    @property
    def reads_signals(self) -> bool:
        """Whether the strategy does."""
        return reads_signals(self.strategy)

    def decide(self, view: View) -> Target:
        """Return the scaled weights."""
        target = {}
        for symbol, weight in self.strategy.decide(view).items():
            found = annual_volatility(view.history(symbol, "close", self.window + 1), self.window, self.bar)
            if weight == 0.0:
                target[symbol] = 0.0
            elif found > 0.0:
                size = min(self.max_weight, abs(weight) * self.volatility / found)
                target[symbol] = math.copysign(size, weight)
        return target


def annual_volatility(closes: Floats, window: int, bar: Timeframe) -> float:
    """Return the annualised root of the mean squared log return of ``window + 1`` closes; NaN when one is missing."""
    if len(closes) < window + 1:
        return math.nan
    moves = np.diff(np.log(closes))
    return math.sqrt(float(np.mean(moves * moves)) * NANOSECONDS_PER_YEAR / span_ns(bar))


def reads_signals(strategy: Strategy) -> bool:
    """Return whether a strategy, or a member of it, reads signals."""
    return bool(getattr(strategy, "reads_signals", False))


def _opinions(strategies: tuple[Strategy, ...], view: View) -> dict[str, list[float]]:
    """Return what each member wants of each symbol that one of them names; who does not name it wants what is held."""
    targets = [member.decide(view) for member in strategies]
    named = {symbol for target in targets for symbol, weight in target.items() if not math.isnan(weight)}
    found = {}
    for symbol in view.symbols:
        if symbol in named:
            wanted = [target.get(symbol, math.nan) for target in targets]
            found[symbol] = [view.weight(symbol) if math.isnan(weight) else weight for weight in wanted]
    return found


def _members(owner: "Ensemble | Voting | Switch") -> tuple[Strategy, ...]:
    members = tuple(owner.strategies)
    if not members:
        raise ValueError(f"{type(owner).__name__}: wanted at least one strategy, found none")
    for member in members:
        _member(owner, member)
    return members


def _member(owner: object, member: object) -> None:
    if isinstance(member, type) or not isinstance(member, Strategy):
        raise TypeError(f"{type(owner).__name__}: wanted a strategy, found {member!r}")
