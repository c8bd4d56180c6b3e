"""What a trader says of itself: its state, the account, and each profile."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cryptoquant.live.desk import Desk
from cryptoquant.trading.portfolio import Portfolio

State = Literal["new", "opening", "ready", "running", "halted", "stopped"]


@dataclass(frozen=True, slots=True)
class ProfileStatus:
    """What one profile holds and has done; money in quote currency, ``positions`` in coins.

    ``profit`` is its equity less what it began with. ``halted`` says why it opens nothing, '' when it may.
    """

    equity: float
    cash: float
    positions: dict[str, float]
    fees: float
    profit: float
    slices: int
    orders: int
    fills: int
    refused: int
    in_flight: int
    halted: str
    version: str
    is_shadow: bool

    @classmethod
    def of(cls, desk: Desk) -> "ProfileStatus":
        """Return the status of a desk."""
        book, engine = desk.engine.portfolio, desk.engine
        equity = equity_of(book)
        return cls(
            equity=equity,
            cash=book.cash_value,
            positions={symbol: book.quantity(symbol) for symbol in book.symbols},
            fees=book.fees,
            profit=equity - desk.capital,
            slices=desk.slices,
            orders=len(desk.orders),
            fills=desk.fills,
            refused=desk.refused,
            in_flight=len(engine.in_flight),
            halted=engine.risk.halted or engine.risk.paused,
            version=desk.profile.version,
            is_shadow=desk.profile.is_shadow,
        )


@dataclass(frozen=True, slots=True)
class TraderStatus:
    """What a trader is doing: state and reason, market time, the account and its profiles; money in quote currency.

    The account is the sum of the profiles that are no shadows, and ``spare``, the cash that none of them has.
    """

    state: State
    reason: str
    now: str
    equity: float
    cash: float
    spare: float
    positions: dict[str, float]
    fees: float
    slices: int
    orders: int
    fills: int
    refused: int
    in_flight: int
    profiles: dict[str, ProfileStatus]

    @classmethod
    def of(cls, state: State, reason: str, now: str, desks: Iterable[Desk], spare: float) -> "TraderStatus":
        """Return the status of a trader with these desks."""
        found = {desk.name: ProfileStatus.of(desk) for desk in desks}
        real = [one for one in found.values() if not one.is_shadow]
        positions: dict[str, float] = {}
        for one in real:
            for symbol, quantity in one.positions.items():
                positions[symbol] = positions.get(symbol, 0.0) + quantity
        halted = next((one.halted for one in found.values() if one.halted), "")
        return cls(
            state=state,
            reason=reason or halted,
            now=now,
            equity=spare + sum(one.equity for one in real),
            cash=spare + sum(one.cash for one in real),
            spare=spare,
            positions=positions,
            fees=sum(one.fees for one in real),
            slices=max((one.slices for one in found.values()), default=0),
            orders=sum(one.orders for one in real),
            fills=sum(one.fills for one in real),
            refused=sum(one.refused for one in real),
            in_flight=sum(one.in_flight for one in real),
            profiles=found,
        )


def equity_of(book: Portfolio) -> float:
    """Return the equity of a ledger, its cash before it has seen every price."""
    return book.cash_value if np.isnan(book.marks).any() else book.equity
