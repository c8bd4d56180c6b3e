"""The gate that every order passes, in backtests and live: one pure function and its limits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cryptoquant.market.time import NANOSECONDS_PER_SECOND
from cryptoquant.trading.order import Order
from cryptoquant.trading.portfolio import Portfolio

DAY = 86_400 * NANOSECONDS_PER_SECOND
MINUTE = 60 * NANOSECONDS_PER_SECOND
ABOVE_ZERO = (
    "max_order_value",
    "max_weight",
    "max_gross",
    "max_drawdown",
    "max_daily_loss",
    "max_age",
    "price_collar",
    "max_spread_bps",
    "max_dissimilarity",
)


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
    price_collar
        Largest distance of an order's price (its limit, or else the last price) from the symbol's close of the slice
        before, as a fraction of that: a price that jumped so far is more likely wrong than cheap.
    min_cash
        Share of the equity that must be left as cash after a buy and all buys in flight.
    max_spread_bps
        Largest spread at the last quote, in basis points of the middle; not judged where no quote is known, as in a
        backtest on bars.
    max_dissimilarity
        Largest ``dissimilarity`` of the symbol's last signal; not judged where the signal does not tell.
    """

    max_order_value: float = math.inf
    max_weight: float = 1.0
    max_gross: float = 1.0
    max_drawdown: float = 1.0
    max_daily_loss: float = 1.0
    max_orders_per_minute: int = 200
    max_age: float = math.inf
    price_collar: float = math.inf
    min_cash: float = 0.0
    max_spread_bps: float = math.inf
    max_dissimilarity: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.min_cash < 1:
            raise ValueError(f"min_cash must lie in [0, 1), found {self.min_cash}")
        for name in ABOVE_ZERO:
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
    """What the gate remembers: peak, equity at the last close and before the day, order times, and the latch.

    Attributes
    ----------
    halted, paused
        Why it refuses what opens a position, empty when it does not: a halt stands until the gate is reset.
    before
        Closes of the slice before, shape (symbols,).
    spreads
        By symbol, the spread at the last quote where it is above the limit, in basis points.
    strange
        By symbol, the dissimilarity of the last signal.
    promised
        Cash that buys in flight will take, in quote currency.
    """

    peak: float = 0.0
    day: int = -1
    day_equity: float = 0.0
    last_equity: float = 0.0
    times: tuple[int, ...] = ()
    halted: str = ""
    paused: str = ""
    before: np.ndarray | None = None
    spreads: dict[str, float] = field(default_factory=dict)
    strange: dict[str, float] = field(default_factory=dict)
    promised: float = 0.0

    def reset(self) -> None:
        """Open the gate, and forget what it remembers of the account; of the market it keeps what it knows."""
        self.peak, self.day, self.day_equity, self.last_equity = 0.0, -1, 0.0, 0.0
        self.times, self.halted, self.paused = (), "", ""

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
    if state.halted or state.paused:
        return state.halted or state.paused
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
    if limits.min_cash > 0.0 and order.sign > 0:
        spent = state.promised + math.fsum(_value(buy, portfolio) for buy in (*ahead, order) if buy.sign > 0)
        if portfolio.cash_value - spent < limits.min_cash * portfolio.equity:
            return f"cash would fall below {limits.min_cash:.1%} of the equity"
    if state.before is None and not state.spreads and not state.strange:
        return ""
    return _out_of_the_ordinary(order, portfolio.marks.item(index), index, limits, state)


def _out_of_the_ordinary(order: Order, mark: float, index: int, limits: RiskLimits, state: RiskState) -> str:
    """Return what is strange about the market that an order would trade in, or an empty text."""
    if limits.price_collar < math.inf and state.before is not None:
        before = float(state.before[index])
        moved = abs((mark if order.limit_price is None else order.limit_price) / before - 1.0)
        if moved > limits.price_collar:  # not where no close is known before: NaN is above nothing
            return f"price {moved:.1%} away from the last close, at most {limits.price_collar:.1%}"
    spread = state.spreads.get(order.symbol, 0.0)
    if spread > limits.max_spread_bps:
        return f"spread {spread:.1f} bps above {limits.max_spread_bps:.1f} bps"
    strange = state.strange.get(order.symbol, 0.0)
    if strange > limits.max_dissimilarity:
        return f"signal's dissimilarity {strange:.2f} above {limits.max_dissimilarity:.2f}"
    return ""


def _value(order: Order, portfolio: Portfolio) -> float:
    """Return the value of an order at the last price, in quote currency."""
    index = portfolio.index(order.symbol)
    return order.lots * float(portfolio.lot[index] * portfolio.marks[index])


def _gross(portfolio: Portfolio, ahead: Sequence[Order], order: Order) -> float:
    """Return the value of all positions, each taken as positive, as if the orders were filled."""
    held = portfolio.lots.copy()
    for other in (*ahead, order):
        held[portfolio.index(other.symbol)] += other.sign * other.lots
    return float(np.abs(held * (portfolio.lot * portfolio.marks))[held != 0].sum())
