"""What came after a decision: the answers that a model learns, each with the time at which it was known.

Every label is decided at a bar's close and entered at that close. Returns over a horizon are here, what depends on the
path is in ``barriers``, what looks for a trend in ``trends``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from cryptoquant.features.barriers import MetaLabel, TripleBarrier
from cryptoquant.features.feature import positive, whole
from cryptoquant.features.kernel import Integers
from cryptoquant.features.paths import check_horizon, horizon_of, labelled, returns_over, volatility_over
from cryptoquant.features.trends import TrendScanning
from cryptoquant.market.slice import Floats
from cryptoquant.market.time import span_ns


@dataclass(frozen=True, slots=True)
class ForwardReturn:
    """The log return from a bar's close to the first close at or after ``time + horizon``.

    Raises
    ------
    ValueError
        The horizon is not above zero.
    """

    horizon: timedelta

    def __post_init__(self) -> None:
        check_horizon("forward_return", self.horizon)

    def to_dict(self) -> dict[str, Any]:
        """Return the label as plain JSON values."""
        return {"name": "forward_return", "horizon_ns": span_ns(self.horizon)}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "ForwardReturn":
        """Return the label that ``to_dict`` described."""
        rest = {name: value for name, value in saved.items() if name != "name"}
        return cls(horizon=horizon_of(rest), **rest)

    def build(self, bars: Any) -> pl.DataFrame:
        """Return the labels of a frame of bars; columns and errors as for ``TripleBarrier.build``."""

        def path(rows: pl.DataFrame, out: Floats, when: Integers) -> None:
            returns_over(rows, self.horizon, out[1], when)
            out[0] = out[1]

        return labelled(bars, ("label", "label_return"), path)


@dataclass(frozen=True, slots=True)
class Sign:
    """Whether the price rises (+1) or falls (-1) over a horizon, 0 if by no more than ``dead_zone``.

    The log return is that of ``ForwardReturn``; the dead zone is a log return of zero or more, such as what a round
    trip costs. Lopez de Prado (2018), Advances in Financial Machine Learning, section 3.2.

    Raises
    ------
    ValueError
        The horizon is not above zero, or the dead zone below it.
    """

    horizon: timedelta
    dead_zone: float = 0.0

    def __post_init__(self) -> None:
        check_horizon("sign", self.horizon)
        zone = 0.0 if self.dead_zone == 0 else positive("sign", "dead_zone", self.dead_zone)
        object.__setattr__(self, "dead_zone", zone)

    def to_dict(self) -> dict[str, Any]:
        """Return the label as plain JSON values."""
        return {"name": "sign", "horizon_ns": span_ns(self.horizon), "dead_zone": self.dead_zone}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "Sign":
        """Return the label that ``to_dict`` described."""
        rest = {name: value for name, value in saved.items() if name != "name"}
        return cls(horizon=horizon_of(rest), **rest)

    def build(self, bars: Any) -> pl.DataFrame:
        """Return the labels of a frame of bars; columns and errors as for ``TripleBarrier.build``."""

        def path(rows: pl.DataFrame, out: Floats, when: Integers) -> None:
            returns_over(rows, self.horizon, out[1], when)
            out[0] = np.where(np.abs(out[1]) <= self.dead_zone, 0.0, np.sign(out[1]))

        return labelled(bars, ("label", "label_return"), path)


@dataclass(frozen=True, slots=True)
class ScaledReturn:
    """The log return over a horizon in units of what the past would have led to expect.

    Formula: forward return / s, with s the deviation of the last ``volatility_window`` log returns known at the
    decision, times the root of the bars in the horizon. A flat past (s = 0) gives no label. The unit is that of Lopez
    de Prado (2018), Advances in Financial Machine Learning, section 3.3.

    Raises
    ------
    ValueError
        The horizon is not above zero, or the window smaller than 2.
    """

    horizon: timedelta
    volatility_window: int = 48

    def __post_init__(self) -> None:
        check_horizon("scaled_return", self.horizon)
        window = whole("scaled_return", "volatility_window", self.volatility_window, 2)
        object.__setattr__(self, "volatility_window", window)

    def to_dict(self) -> dict[str, Any]:
        """Return the label as plain JSON values."""
        horizon = span_ns(self.horizon)
        return {"name": "scaled_return", "horizon_ns": horizon, "volatility_window": self.volatility_window}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "ScaledReturn":
        """Return the label that ``to_dict`` described."""
        rest = {name: value for name, value in saved.items() if name != "name"}
        return cls(horizon=horizon_of(rest), **rest)

    def build(self, bars: Any) -> pl.DataFrame:
        """Return the labels of a frame of bars; columns and errors as for ``TripleBarrier.build``."""

        def path(rows: pl.DataFrame, out: Floats, when: Integers) -> None:
            returns_over(rows, self.horizon, out[1], when)
            reach = volatility_over(rows, self.horizon, self.volatility_window)
            moving = reach > 0.0
            out[0, moving] = out[1, moving] / reach[moving]

        return labelled(bars, ("label", "label_return"), path)


Label = TripleBarrier | ForwardReturn | Sign | ScaledReturn | TrendScanning | MetaLabel

READERS: dict[str, Callable[[dict[str, Any]], Label]] = {
    "triple_barrier": TripleBarrier.from_dict,
    "forward_return": ForwardReturn.from_dict,
    "sign": Sign.from_dict,
    "scaled_return": ScaledReturn.from_dict,
    "trend_scanning": TrendScanning.from_dict,
    "meta_label": MetaLabel.from_dict,
}


def forward_return(horizon: timedelta) -> ForwardReturn:
    """Return the label that is the log return over a horizon; see ``ForwardReturn``."""
    return ForwardReturn(horizon)


def sign(horizon: timedelta, dead_zone: float = 0.0) -> Sign:
    """Return the label that is the direction over a horizon, 0 inside a dead zone; see ``Sign``."""
    return Sign(horizon, dead_zone)


def scaled_return(horizon: timedelta, volatility_window: int = 48) -> ScaledReturn:
    """Return the label that is the log return over a horizon in units of past volatility; see ``ScaledReturn``."""
    return ScaledReturn(horizon, volatility_window)


def label_from_dict(saved: dict[str, Any]) -> Label:
    """Return the label that ``to_dict`` described.

    Raises
    ------
    ValueError
        The name is unknown or a parameter is missing, surplus or wrong.
    """
    name = saved.get("name")
    if name not in READERS:
        raise ValueError(f"label: unknown name {name!r}; wanted one of {', '.join(READERS)}")
    try:
        return READERS[name](saved)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"label: {name} cannot be read from {saved}: {error}") from error
