"""Portfolios over the whole universe, made anew on a schedule from the returns of the past."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cryptoquant.market.time import NANOSECONDS_PER_YEAR, Timeframe, span_ns
from cryptoquant.trading.strategy.allocation import hierarchical_risk_parity, mean_variance, risk_parity
from cryptoquant.trading.strategy.sizing import check_number, check_share, check_window
from cryptoquant.trading.strategy.view import HOLD, Floats, Target, View


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a portfolio is made anew and from how much of the past.

    It is made at the first slice of each period, counted from 1970-01-01 (a Thursday, midnight UTC), once the window
    is full; in between everything is held. A symbol takes part when its window has no hole and its price moved; one
    that does not is held, and what it holds is taken off the gross share of the others.

    Parameters
    ----------
    window
        Returns of the past that are looked at, one for each slice.
    every
        The period, such as ``"7d"``.
    """

    window: int = 720
    every: Timeframe = "7d"

    def __post_init__(self) -> None:
        check_window(self, "window", 2)
        span_ns(self.every)

    @property
    def lookback(self) -> int:
        """The window and the close that its first return starts from."""
        return self.window + 1

    def is_due(self, view: View) -> bool:
        """Return whether this slice is the first of its period."""
        times = view.times(2)
        period = span_ns(self.every)
        return len(times) == 2 and int(times[0]) // period < int(times[1]) // period

    def returns(self, view: View) -> tuple[tuple[str, ...], Floats]:
        """Return the symbols that take part and their simple returns, shape (window, symbols)."""
        names, columns = [], []
        for symbol in view.symbols:
            closes = view.history(symbol, "close", self.lookback)
            if len(closes) == self.lookback:
                moves = closes[1:] / closes[:-1] - 1.0
                if np.isfinite(moves).all() and np.ptp(moves) > 0.0:
                    names.append(symbol)
                    columns.append(moves)
        return tuple(names), np.column_stack(columns) if columns else np.empty((self.window, 0))

    def target(self, view: View, gross: float, weigh: Callable[[tuple[str, ...], Floats, float], Floats]) -> Target:
        """Return what ``weigh(symbols, returns, free share)`` wants when it is due, and a hold else."""
        if not self.is_due(view):
            return HOLD
        names, returns = self.returns(view)
        if not names:
            return HOLD
        kept = math.fsum(abs(view.weight(symbol)) for symbol in view.symbols if symbol not in names)
        weights = weigh(names, returns, max(0.0, gross - kept))
        return {symbol: float(weight) for symbol, weight in zip(names, weights, strict=True)}


@dataclass(frozen=True, slots=True)
class VolatilityTarget:
    """Equal parts of the universe, together scaled to a wanted volatility; cash is the rest.

    Parameters
    ----------
    volatility
        Wanted annual volatility of the whole, a fraction.
    bar
        Length of a bar, such as ``"1h"``; a year has 365 days.
    schedule
        When, and from how much of the past.
    max_gross
        Largest share of the equity invested.
    """

    volatility: float = 0.3
    bar: Timeframe = "1h"
    schedule: Schedule = field(default_factory=Schedule)
    max_gross: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "volatility", 5e-324)
        span_ns(self.bar)
        check_share(self.max_gross, "max_gross")

    @property
    def lookback(self) -> int:
        """The schedule's."""
        return self.schedule.lookback

    def decide(self, view: View) -> Target:
        """Return new weights when they are due."""
        return self.schedule.target(view, self.max_gross, self._weigh)

    def _weigh(self, names: tuple[str, ...], returns: Floats, free: float) -> Floats:
        equal = np.full(len(names), 1.0 / len(names))
        yearly = float(equal @ covariance_of(returns) @ equal) * NANOSECONDS_PER_YEAR / span_ns(self.bar)
        scale = self.volatility / math.sqrt(yearly) if yearly > 0.0 else math.inf
        weights: Floats = equal * min(free, scale)
        return weights


@dataclass(frozen=True, slots=True)
class Parity:
    """What shares the risk by the covariance of returns alone; a subclass says how.

    Parameters
    ----------
    schedule
        When, and from how much of the past.
    max_gross
        Share of the equity invested.
    """

    schedule: Schedule = field(default_factory=Schedule)
    max_gross: float = 1.0

    def __post_init__(self) -> None:
        check_share(self.max_gross, "max_gross")

    @property
    def lookback(self) -> int:
        """The schedule's."""
        return self.schedule.lookback

    def shares(self, covariance: Floats) -> Floats:
        """Return the share of each symbol, shape (symbols,), together 1."""
        raise NotImplementedError

    def decide(self, view: View) -> Target:
        """Return new weights when they are due."""

        def weigh(_: tuple[str, ...], returns: Floats, free: float) -> Floats:
            return free * self.shares(covariance_of(returns))

        return self.schedule.target(view, self.max_gross, weigh)


@dataclass(frozen=True, slots=True)
class RiskParity(Parity):
    """Every symbol brings the same risk to the whole (``risk_parity``); the parameters are those of ``Parity``."""

    def shares(self, covariance: Floats) -> Floats:
        """Return the share of each symbol, shape (symbols,), together 1."""
        return risk_parity(covariance)


@dataclass(frozen=True, slots=True)
class HierarchicalRiskParity(Parity):
    """Halves the capital down a tree of likeness (``hierarchical_risk_parity``, López de Prado 2016).

    The parameters are those of ``Parity``.
    """

    def shares(self, covariance: Floats) -> Floats:
        """Return the share of each symbol, shape (symbols,), together 1."""
        return hierarchical_risk_parity(covariance)


@dataclass(frozen=True, slots=True)
class MeanVariance:
    """The best mean against variance, less the price of getting there (``mean_variance``).

    The mean of past returns is a poor guide to the next; a high ``aversion`` and few symbols keep it from doing harm.

    Parameters
    ----------
    aversion
        Price of variance, above 0.
    turnover_cost_bps
        Paid on what is bought or sold, in basis points.
    bar
        Length of a bar; means and variances are taken over the schedule's period.
    schedule
        When, and from how much of the past.
    max_weight
        Largest share of the equity in each symbol.
    max_gross
        Largest share of the equity invested.
    """

    aversion: float = 5.0
    turnover_cost_bps: float = 25.0
    bar: Timeframe = "1h"
    schedule: Schedule = field(default_factory=Schedule)
    max_weight: float = 1.0
    max_gross: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "aversion", 5e-324)
        check_number(self, "turnover_cost_bps", 0.0)
        span_ns(self.bar)
        check_share(self.max_weight)
        check_share(self.max_gross, "max_gross")

    @property
    def lookback(self) -> int:
        """The schedule's."""
        return self.schedule.lookback

    def decide(self, view: View) -> Target:
        """Return new weights when they are due."""
        bars = span_ns(self.schedule.every) / span_ns(self.bar)

        def weigh(names: tuple[str, ...], returns: Floats, free: float) -> Floats:
            held = np.array([view.weight(symbol) for symbol in names])
            return mean_variance(
                returns.mean(axis=0) * bars,
                covariance_of(returns) * bars,
                held,
                aversion=self.aversion,
                turnover_cost=self.turnover_cost_bps * 1e-4,
                bounds=(self.max_weight, free),
            )

        return self.schedule.target(view, self.max_gross, weigh)


@dataclass(frozen=True, slots=True)
class Optimised:
    """Any portfolio estimator that follows scikit-learn, such as skfolio's: ``fit(returns)``, then ``weights_``.

    A copy is fitted each time, so the estimator stays as it was given. Its weights are taken as they are, times
    ``max_gross``: one below zero is a short, which a spot venue refuses. A bundle cannot name it, for it keeps no code.

    Parameters
    ----------
    estimator
        Gets simple returns, an array of shape (window, symbols); ``weights_`` has shape (symbols,).
    schedule
        When, and from how much of the past.
    max_gross
        What the weights are multiplied by.
    """

    estimator: Any
    schedule: Schedule = field(default_factory=Schedule)
    max_gross: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.estimator, type) or not callable(getattr(self.estimator, "fit", None)):
            raise TypeError(f"Optimised: wanted an estimator with fit(returns), found {self.estimator!r}")
        check_share(self.max_gross, "max_gross")

    @property
    def lookback(self) -> int:
        """The schedule's."""
        return self.schedule.lookback

    def decide(self, view: View) -> Target:
        """Return new weights when they are due.

        Raises
        ------
        ValueError
            The estimator's weights are not one finite number for each symbol.
        """
        return self.schedule.target(view, self.max_gross, self._weigh)

    def _weigh(self, names: tuple[str, ...], returns: Floats, free: float) -> Floats:
        fitted = copy.deepcopy(self.estimator)
        fitted.fit(returns)
        weights: Floats = np.asarray(fitted.weights_, dtype=np.float64)
        if weights.shape != (len(names),) or not np.isfinite(weights).all():
            name = type(self.estimator).__name__
            raise ValueError(f"{name}: weights_ {weights}, wanted one finite number for each of {', '.join(names)}")
        return weights * free


def covariance_of(returns: Floats) -> Floats:
    """Return the sample covariance of returns of shape (rows, symbols)."""
    covariance: Floats = np.atleast_2d(np.cov(returns, rowvar=False))
    return covariance
