"""The bars of the works: random walks of minute bars without gaps, the same for everyone."""

from datetime import UTC
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.market.slice import Panel
from cryptoquant.trading.venue import Costs, Venue

Floats = NDArray[np.float64]
MINUTE = 60_000_000_000
SIGMA = 8e-4
FAST, SLOW = 240, 1440
CASH, UNITS = 1e6, 1_000.0
FEE, SLIPPAGE = 25e-4, 5e-4
COSTS = Costs(25.0, 25.0, 5.0, "quote")
VENUE = Venue.research(COSTS)
SYMBOL = "BTC/USD"


def walk(bars: int, symbols: int = 1, seed: int = 7) -> tuple[Floats, Floats]:
    """Return opens and closes, shape (bars, symbols): geometric Brownian motion that opens where it has closed."""
    moves = np.random.default_rng(seed).standard_normal((bars, symbols))
    moves *= SIGMA
    moves -= SIGMA * SIGMA / 2
    np.cumsum(moves, axis=0, out=moves)
    np.exp(moves, out=moves)
    moves *= 100.0
    return np.vstack([np.full((1, symbols), 100.0), moves[:-1]]), moves


def panel_of(opens: Floats, closes: Floats) -> Panel:
    """Return minute bars from opens and closes; they hold nothing in between."""
    bars, symbols = closes.shape
    names = (SYMBOL,) if symbols == 1 else tuple(f"S{number:03d}/USD" for number in range(symbols))
    times = MINUTE * np.arange(1, bars + 1, dtype=np.int64)
    columns = {"open": opens, "close": closes}
    if symbols == 1:  # a universe is only traded at its opens
        columns |= {"high": np.maximum(opens, closes), "low": np.minimum(opens, closes)}
        columns |= {"volume": np.ones(closes.shape)}
    return Panel.from_arrays(times, names, columns, MINUTE)


def market(bars: int, symbols: int = 1) -> Panel:
    return panel_of(*walk(bars, symbols))


def stamps(times: NDArray[np.int64]) -> pl.Series:
    """Return nanoseconds as moments."""
    return pl.from_epoch(pl.Series("time", times), "ns").dt.replace_time_zone(str(UTC))


def turns(levels: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows at which the levels of a cross go up, and those at which they go down afterwards."""
    known = int(np.isnan(levels).argmin())  # not a number as long as one of the averages is unknown
    above = levels[known:] > 0
    moves = np.flatnonzero(above[1:] != above[:-1]) + 1
    up, down = (known + moves[above[moves] == goes_up] for goes_up in (True, False))
    return up, down[down > (up[0] if len(up) else 0)]


def orders_frame(levels: Floats, panel: Panel) -> pl.DataFrame:
    """Return market orders of a fixed size at the turns of a cross."""
    up, down = turns(levels)
    rows = np.concatenate([up, down])
    sides = np.repeat(["buy", "sell"], [len(up), len(down)])
    order = np.argsort(rows)
    frame: dict[str, Any] = {"time": stamps(panel.times[rows[order]]), "side": sides[order]}
    return pl.DataFrame(frame).with_columns(symbol=pl.lit(SYMBOL), quantity=pl.lit(UNITS))
