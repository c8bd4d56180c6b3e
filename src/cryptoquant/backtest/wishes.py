"""Target weights of a table as a strategy, for the event driver."""

import numpy as np
from numpy.typing import NDArray

from cryptoquant.market.slice import Panel
from cryptoquant.trading.strategy import View


class Wishes:
    """Wants the weights that a table holds for each close, shape (slices, symbols); NaN holds."""

    lookback = 1

    def __init__(self, panel: Panel, weights: NDArray[np.float64]) -> None:
        self._rows = dict(zip(panel.times.tolist(), weights.tolist(), strict=True))

    def decide(self, view: View) -> dict[str, float]:
        """Return the weights of the row of this close."""
        wishes = zip(view.symbols, self._rows[view.time], strict=True)
        return {symbol: weight for symbol, weight in wishes if weight == weight}
