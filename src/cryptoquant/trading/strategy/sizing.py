"""How much to hold when a rule says yes, and the loops that ask a rule symbol by symbol."""

import math
from collections.abc import Callable
from numbers import Integral

import numpy as np

from cryptoquant.market.slice import Panel
from cryptoquant.trading.strategy.view import Floats, Target, View


def share_of(max_weight: float | None, symbols: int) -> float:
    """Return the share of the equity in one symbol: the stated one, or an equal part of the universe."""
    return 1.0 / symbols if max_weight is None else max_weight


def sides_of(max_weight: float | None, symbols: int, *, allows_short: bool) -> tuple[float, float]:
    """Return the weights of a yes and of a no: long and flat, or long and short."""
    share = share_of(max_weight, symbols)
    return share, -share if allows_short else 0.0


def check_share(share: float | None, name: str = "max_weight") -> None:
    """Refuse a share of the equity outside (0, 1]; None is an equal part."""
    if share is not None and not 0 < share <= 1:
        raise ValueError(f"{name} must lie in (0, 1], found {share}")


def check_window(owner: object, name: str, least: int = 1) -> None:
    """Refuse a window that is no whole number of bars, or fewer than ``least``."""
    value = getattr(owner, name)
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{type(owner).__name__}: {name} must be a whole number of at least {least}, found {value!r}")


def check_number(owner: object, name: str, low: float, high: float = math.inf) -> None:
    """Refuse a parameter that is not a finite number in [low, high]."""
    value = getattr(owner, name)
    if not (low <= value <= high and math.isfinite(value)):
        raise ValueError(f"{type(owner).__name__}: {name} must lie in [{low}, {high}], found {value}")


def decide_alone(view: View, length: int, rule: Callable[[Floats], float]) -> Target:
    """Return what ``rule`` wants of each symbol, given its last closes, oldest first; NaN leaves the symbol out."""
    target = {}
    for symbol in view.symbols:
        weight = rule(np.ascontiguousarray(view.history(symbol, "close", length)))
        if not math.isnan(weight):
            target[symbol] = weight
    return target


def weigh_alone(panel: Panel, rule: Callable[[Floats, Floats], None]) -> Floats:
    """Return the weights that ``rule(closes, out)`` writes for each symbol, shape (slices, symbols)."""
    closes = panel.field("close")
    out = np.empty(closes.shape)
    for column in range(closes.shape[1]):
        weights = np.empty(len(closes))
        rule(np.ascontiguousarray(closes[:, column]), weights)
        out[:, column] = weights
    return out
