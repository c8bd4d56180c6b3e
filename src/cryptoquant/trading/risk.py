"""The gate that every order passes, in backtests and live: one pure function and its limits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cryptoquant.market.time import NANOSECONDS_PER_SECOND
from cryptoquant.trading.order import Order
from cryptoquant.trading.portfolio import Portfolio

DAY = 86_400 * NANOSECONDS_PER_SECOND
MINUTE = 60 * NANOSECONDS_PER_SECOND


@dataclass(frozen=True, slots=True)
class RiskLimits:
    """What the trader may not exceed; a limit of infinity never binds.

    Parameters
    ----------
    max_order_value
        Largest value of one order, in quote currency.
    max_weight
        Largest share of the equity in one symbol after the order. A share that drifts above it by price alone is no
        violation.
    max_gross
        Largest share of the equity invested in total after the order.
    max_drawdown, max_daily_loss
        Fractions of the highest equity, and of the last equity before the UTC day. When reached, buys are refused
        and the gate stays latched until it is reset.
    max_orders_per_minute
        Orders in any minute of decision time.
    max_age
        Seconds between a slice's close and the time at which it was known; older data may only reduce positions.
    """

    max_order_value: float = math.inf
    max_weight: float = 1.0
    max_gross: float = 1.0
    max_drawdown: float = 1.0
    max_daily_loss: float = 1.0
    max_orders_per_minute: int = 200
    max_age: float = math.inf

    def __post_init__(self) -> None:
        for name in ("max_order_value", "max_weight", "max_gross", "max_drawdown", "max_daily_loss", "max_age"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above zero, found {getattr(self, name)}")
        if self.max_orders_per_minute < 1:
            raise ValueError(f"max_orders_per_minute must be at least 1, found {self.max_orders_per_minute}")


UNLIMITED = RiskLimits(
    max_weight=math.inf,
    max_gross=math.inf,
    max_drawdown=math.inf,
    max_daily_loss=math.inf,
    max_orders_per_minute=2**31,
)


@dataclass(slots=True)
class RiskState:
    """What the gate remembers: peak, equity at the last close and before the day, order times, and the latch."""

    peak: float = 0.0
    day: int = -1
    day_equity: float = 0.0
    last_equity: float = 0.0
    times: tuple[int, ...] = ()
    halted: str = ""

    def observe(self, time: int, equity: float, limits: RiskLimits) -> None:
        """Take the equity at a close; latch when a loss limit is reached."""
        self.peak = max(self.peak, equity)
        if time // DAY != self.day:
            self.day, self.day_equity = time // DAY, self.last_equity or equity
        self.last_equity = equity
        if self.halted:
            return
        if equity < self.peak * (1.0 - limits.max_drawdown):
            self.halted = f"drawdown reached {limits.max_drawdown:.1%}"
        elif equity < self.day_equity * (1.0 - limits.max_daily_loss):
            self.halted = f"daily loss reached {limits.max_daily_loss:.1%}"

    def count(self, time: int) -> None:
        """Remember an approved order; times older than a minute are forgotten."""
        self.times = (*(t for t in self.times if t > time - MINUTE), time)


def refuse(
    order: Order,
    portfolio: Portfolio,
    limits: RiskLimits,
    state: RiskState,
    age_ns: int = 0,
    ahead: Sequence[Order] = (),
) -> str:
    """Return why the gate refuses an order, or an empty text.

    Orders that reduce a position pass every limit: what protects must not keep a position open. ``ahead`` are the
    orders of the same slice that were approved before: they count as if they were filled.
    """
    index = portfolio.index(order.symbol)
    price = portfolio.lot.item(index) * portfolio.marks.item(index)
    held = portfolio.lots.item(index)
    for other in ahead:
        if other.symbol == order.symbol:
            held += other.sign * other.lots
    after = held + order.sign * order.lots
    if abs(after) < abs(held):
        return ""
    if state.halted:
        return state.halted
    value = order.lots * price
    if value > limits.max_order_value:
        return f"order value {value:.2f} above {limits.max_order_value:.2f}"
    if sum(t > order.time - MINUTE for t in state.times) >= limits.max_orders_per_minute:
        return f"more than {limits.max_orders_per_minute} orders in a minute"
    if age_ns > limits.max_age * NANOSECONDS_PER_SECOND:
        return f"data is {age_ns / NANOSECONDS_PER_SECOND:.1f} s old, at most {limits.max_age:.1f} s"
    if limits.max_weight < math.inf and abs(after) * price > limits.max_weight * portfolio.equity:
        return f"weight above {limits.max_weight:.1%}"
    if limits.max_gross < math.inf and _gross(portfolio, ahead, order) > limits.max_gross * portfolio.equity:
        return f"gross exposure above {limits.max_gross:.1%}"
    return ""


def _gross(portfolio: Portfolio, ahead: Sequence[Order], order: Order) -> float:
    """Return the value of all positions, each taken as positive, as if the orders were filled."""
    held = portfolio.lots.copy()
    for other in (*ahead, order):
        held[portfolio.index(other.symbol)] += other.sign * other.lots
    return float(np.abs(held * (portfolio.lot * portfolio.marks))[held != 0].sum())
