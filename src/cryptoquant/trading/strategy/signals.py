"""Strategies that trade what a model says: on a threshold, by the size of its edge, or by rank across the universe."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from cryptoquant.market.signal import Signal
from cryptoquant.trading.strategy.sizing import check_number, check_share, check_window, share_of
from cryptoquant.trading.strategy.view import HOLD, Strategy, Target, View


@dataclass(frozen=True, slots=True)
class LongFlat:
    """Long when the signal reaches a threshold, flat when it falls below another; in between the position is kept.

    Parameters
    ----------
    threshold
        Enter when the signal's value is at least this.
    exit
        Leave when it is below this; by default the threshold mirrored at one half (0.55 leaves below 0.45).
    max_weight
        Share of the equity in each symbol when long; by default the universe shares it equally.
    """

    threshold: float = 0.55
    exit: float | None = None
    max_weight: float | None = None

    lookback: ClassVar[int] = 1
    reads_signals: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.leave > self.threshold:
            raise ValueError(f"exit {self.leave} must not lie above threshold {self.threshold}")
        check_share(self.max_weight)

    @property
    def leave(self) -> float:
        """The value below which a position is closed."""
        return 1.0 - self.threshold if self.exit is None else self.exit

    def decide(self, view: View) -> Target:
        """Return the weight of each symbol whose signal asks for a change."""
        share = share_of(self.max_weight, len(view.symbols))
        target = {}
        for symbol in view.symbols:
            signal = view.signal(symbol)
            if signal is None or math.isnan(signal.value):
                continue
            if signal.value >= self.threshold:
                target[symbol] = share
            elif signal.value < self.leave:
                target[symbol] = 0.0
        return target


@dataclass(frozen=True, slots=True)
class LongShort:
    """Long far above the centre of a signal, short far below it, flat near it; in between the position is kept.

    For research: a spot venue refuses the short leg and says so.

    Parameters
    ----------
    enter
        Distance from the centre at which a position is taken, in units of the signal.
    exit
        Distance below which it is closed; 0 turns from long to short without a pause.
    centre
        The value that says nothing: one half for a probability, 0 for a score or an expected return.
    max_weight
        Share of the equity in each symbol; by default the universe shares it equally.
    """

    enter: float = 0.05
    exit: float = 0.0
    centre: float = 0.5
    max_weight: float | None = None

    lookback: ClassVar[int] = 1
    reads_signals: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (0.0 <= self.exit <= self.enter and 0.0 < self.enter < math.inf):
            found = f"exit={self.exit}, enter={self.enter}"
            raise ValueError(f"LongShort: wanted 0 <= exit <= enter and 0 < enter, found {found}")
        check_number(self, "centre", -math.inf)
        check_share(self.max_weight)

    def decide(self, view: View) -> Target:
        """Return the weight of each symbol whose signal asks for a change."""
        share = share_of(self.max_weight, len(view.symbols))
        target = {}
        for symbol in view.symbols:
            signal = view.signal(symbol)
            if signal is None or math.isnan(signal.value):
                continue
            distance = signal.value - self.centre
            if abs(distance) >= self.enter:
                target[symbol] = math.copysign(share, distance)
            elif abs(distance) < self.exit:
                target[symbol] = 0.0
        return target


@dataclass(frozen=True, slots=True)
class ProbabilitySize:
    """Holds the more, the surer the model is: a fraction of Kelly's bet, clipped.

    With the probability p of a rise and odds b (what a rise wins over what a fall loses) the growth of capital is
    largest at ``p - (1 - p) / b`` (Kelly 1956; Thorp 2006, equation 2.3). A fraction of it gives up little growth and
    much of the risk, and forgives a probability that is too bold.

    Parameters
    ----------
    fraction
        Of Kelly's bet, in (0, 1].
    odds
        Win over loss, above 0: the ``take`` over the ``stop`` of a triple barrier.
    max_weight
        Largest share of the equity in each symbol; by default an equal part of the universe.
    allows_short
        Bets on a fall by the same rule with p and 1 - p exchanged; a spot venue refuses that.
    """

    fraction: float = 0.25
    odds: float = 1.0
    max_weight: float | None = None
    allows_short: bool = False

    lookback: ClassVar[int] = 1
    reads_signals: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_share(self.fraction, "fraction")
        if not 0.0 < self.odds < math.inf:
            raise ValueError(f"ProbabilitySize: odds must lie above 0, found {self.odds}")
        check_share(self.max_weight)

    def decide(self, view: View) -> Target:
        """Return the weight of each symbol with a signal.

        Raises
        ------
        ValueError
            A signal is no probability.
        """
        share = share_of(self.max_weight, len(view.symbols))
        target = {}
        for symbol in view.symbols:
            signal = view.signal(symbol)
            if signal is None or math.isnan(signal.value):
                continue
            chance = _probability(signal)
            long = min(share, max(0.0, self._bet(chance)))
            short = min(share, max(0.0, self._bet(1.0 - chance))) if self.allows_short else 0.0
            target[symbol] = long - short
        return target

    def _bet(self, chance: float) -> float:
        return self.fraction * (chance - (1.0 - chance) / self.odds)


@dataclass(frozen=True, slots=True)
class TopK:
    """Holds the k symbols with the largest signals and sells the others.

    A symbol without a signal is held as it is; if it is in the book it takes one of the k places. Without any signal
    everything is held. Equal values rank in the universe's order.

    Parameters
    ----------
    k
        Places.
    weighting
        ``equal``, or ``score``: in proportion to how far the value lies above ``floor``.
    floor
        Only larger values qualify; a place that nobody qualifies for stays in cash. By default all qualify, which
        ``score`` cannot do.
    max_gross
        Share of the equity that k filled places take together.
    """

    k: int = 3
    weighting: Literal["equal", "score"] = "equal"
    floor: float | None = None
    max_gross: float = 1.0

    lookback: ClassVar[int] = 1
    reads_signals: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_window(self, "k")
        if self.weighting not in ("equal", "score"):
            raise ValueError(f"TopK: weighting must be 'equal' or 'score', found {self.weighting!r}")
        if self.weighting == "score" and self.floor is None:
            raise ValueError("TopK: weighting by score needs a floor, 0.5 for a probability or 0 for a score")
        if self.floor is not None:
            check_number(self, "floor", -math.inf)
        check_share(self.max_gross, "max_gross")

    def decide(self, view: View) -> Target:
        """Return the weight of each symbol that has a signal."""
        values = {}
        for symbol in view.symbols:
            signal = view.signal(symbol)
            if signal is not None and math.isfinite(signal.value):
                values[symbol] = signal.value
        if not values:
            return HOLD
        taken = sum(1 for symbol in view.symbols if symbol not in values and view.weight(symbol) != 0.0)
        ranked = sorted(values, key=lambda symbol: -values[symbol])
        fit = [symbol for symbol in ranked if self.floor is None or values[symbol] > self.floor]
        chosen = fit[: max(0, self.k - taken)]
        gross = self.max_gross * len(chosen) / self.k
        parts = {symbol: self._part(values[symbol]) for symbol in chosen}
        total = sum(parts.values())
        return {symbol: gross * parts[symbol] / total if symbol in parts else 0.0 for symbol in values}

    def _part(self, value: float) -> float:
        return 1.0 if self.weighting == "equal" or self.floor is None else value - self.floor


@dataclass(frozen=True, slots=True)
class Followed:
    """Follows a rule only where a model believes that its trade will make money.

    The model's probability is that of ``features.meta_label``, which learns from the sides of the same rule
    (``backtest.sides_of``). What the rule leaves out is held, and what it closes is closed, whatever the model says. A
    position that it wants is taken at the threshold and above, and closed below. Without a probability nothing new is
    opened: a position on the rule's side is held, one against it closed. Lopez de Prado (2018), Advances in Financial
    Machine Learning, section 3.6.

    Parameters
    ----------
    rule
        Says the side; it reads no signals itself.
    threshold
        Probability from which the rule is followed, in (0, 1).
    sized
        Scales the rule's weight by ``2 N(z) - 1`` with ``z = (p - 1/2) / sqrt(p (1 - p))``, the size of a bet on the
        probability p of two outcomes (the same, section 10.3); none at one half and below.
    """

    rule: Strategy
    threshold: float = 0.5
    sized: bool = False

    reads_signals: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if getattr(self.rule, "reads_signals", False):
            raise ValueError(f"Followed: {type(self.rule).__name__} reads signals itself, wanted a rule over bars")
        if not 0.0 < self.threshold < 1.0:
            raise ValueError(f"Followed: threshold must lie in (0, 1), found {self.threshold}")

    @property
    def lookback(self) -> int:
        """That of the rule."""
        return self.rule.lookback

    def decide(self, view: View) -> Target:
        """Return the weights of the rule that the model believes in, and 0 for the others.

        Raises
        ------
        ValueError
            A signal is no probability.
        """
        target = {}
        for symbol, weight in self.rule.decide(view).items():
            signal = view.signal(symbol)
            if weight == 0.0:
                target[symbol] = weight
            elif signal is None or math.isnan(signal.value):
                if view.weight(symbol) * weight < 0.0:
                    target[symbol] = 0.0
            else:
                chance = _probability(signal)
                size = bet_size(chance) if self.sized else 1.0
                target[symbol] = weight * size if chance >= self.threshold else 0.0
        return target


def bet_size(chance: float) -> float:
    """Return the share of a full bet on the probability of a gain, 0 up to one half; see ``Followed``."""
    if not 0.5 < chance < 1.0:
        return float(chance >= 1.0)
    return math.erf((chance - 0.5) / math.sqrt(2.0 * chance * (1.0 - chance)))


def _probability(signal: Signal) -> float:
    if signal.kind != "probability" or not 0.0 <= signal.value <= 1.0:
        found = f"a {signal.kind} of {signal.value}"
        raise ValueError(f"{signal.name} {signal.symbol}: wanted a probability in [0, 1], found {found}")
    return signal.value
