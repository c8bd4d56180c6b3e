"""Work C: a hundred symbols with one purse, target weights every hour."""

import numpy as np
import polars as pl

from cryptoquant.market.slice import Panel
from works.cross import PLAN, traded
from works.data import Floats, market, stamps
from works.measure import Way, Work

SYMBOLS, EVERY = 100, 60


def hourly(bars: int) -> tuple[Floats, Floats]:
    """Return the rows of decisions and their weights: nearly equal, 0.95 together."""
    rows = np.arange(EVERY, bars - 1, EVERY)
    weights = 1.0 + 0.1 * np.random.default_rng(8).standard_normal((len(rows), SYMBOLS))
    return rows, 0.95 * weights / weights.sum(axis=1, keepdims=True)


def frame_of(rows: Floats, weights: Floats, panel: Panel) -> pl.DataFrame:
    """Return the decisions as a table."""
    times = stamps(np.repeat(panel.times[rows], SYMBOLS))
    symbols = pl.Series("symbol", panel.symbols * len(rows))
    return pl.DataFrame({"time": times, "symbol": symbols, "weight": weights.ravel()})


def array_of(rows: Floats, weights: Floats, bars: int) -> Floats:
    """Return the decisions as an array over all slices, NaN in between."""
    found = np.full((bars, SYMBOLS), np.nan)
    found[rows] = weights
    return found


def work(*, quick: bool, with_peers: bool) -> Work:
    """Return work C."""
    panel = market(10_000 if quick else 100_000, SYMBOLS)
    rows, weights = hourly(len(panel))
    table, array = frame_of(rows, weights, panel), array_of(rows, weights, len(panel))
    ways = [
        Way("weights", lambda: traded(array, panel, PLAN), "share", target=50, megabytes=600),
        Way("weights as a table", lambda: traded(table, panel, PLAN), "share"),
    ]
    if with_peers:
        from works import peers

        prices, late = peers.Prices.of(panel), peers.late(array)
        for engine in peers.engines():
            run = peers.by(engine, lambda: peers.judged(peers.shared(prices, late)))
            ways.append(Way(f"vectorbt {engine} from_orders", run, "share", is_peer=True))
    return Work("C", f"{SYMBOLS} symbols, weights every {EVERY} bars", len(panel) * SYMBOLS, ways)
