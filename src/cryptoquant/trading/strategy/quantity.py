"""How many coins rather than which share: a strategy's side, and a quantity of one's own."""

import math
from dataclasses import dataclass

from cryptoquant.trading.strategy.view import Strategy, Target, View

NUDGE = 1.0 + 1e-12  # so that the division by the lot does not fall one lot short


@dataclass(frozen=True, slots=True)
class FixedQuantity:
    """Holds a stated quantity wherever a strategy wants to hold anything, on the side that it wants.

    Parameters
    ----------
    strategy
        Says which side: the sign of its weight.
    quantity
        Coins of each symbol; it is made a share of the equity at the present price. Execute it with ``reserve=0``, for
        the reserve is taken off the share.
    """

    strategy: Strategy
    quantity: float

    def __post_init__(self) -> None:
        if not 0.0 < self.quantity < math.inf:
            raise ValueError(f"FixedQuantity: quantity must be above zero, found {self.quantity}")

    @property
    def lookback(self) -> int:
        """As far as the strategy looks back."""
        return self.strategy.lookback

    def decide(self, view: View) -> Target:
        """Return the share that the quantity is of the equity, with the sign of what the strategy wants."""
        target = {}
        for symbol, weight in self.strategy.decide(view).items():
            price = float(view.history(symbol, "close", 1)[-1])
            share = self.quantity * price / view.equity * NUDGE
            target[symbol] = math.copysign(share, weight) if weight else 0.0
        return target
