"""Markets that differ a little from the one that was: bars lost, prices blurred, a symbol gone."""

from dataclasses import replace

import numpy as np
import polars as pl

from cryptoquant.backtest.scenario import Scenario
from cryptoquant.market.slice import Panel

# A bar's own volatility is the deviation of the last 48 returns, the window of the simulator's slippage.
VOLATILITY_BARS = 48
# A blur is cut at three deviations: what lies beyond would be a wrong print, not noise.
WIDEST = 3.0


def thinned(bars: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """Return bars of which a random share is missing; no symbol loses its first bar."""
    kept = np.random.default_rng(seed).random(bars.height) >= share
    return bars.filter(pl.Series(kept) | bars["symbol"].is_first_distinct())


def blurred(bars: pl.DataFrame, level: float, seed: int) -> pl.DataFrame:
    """Return bars whose prices are each off by a random part of the bar's own volatility; they stay possible.

    Open, high, low and close move apart from each other, so that an error of one is not an error of the next; high and
    low give way where another price passes them.

    Parameters
    ----------
    bars
        Schema ``bars``, in time order within each symbol.
    level
        Deviation of the error, in deviations of the symbol's last 48 returns.
    """
    change = pl.col("close").log().diff()
    spread = change.rolling_std(VOLATILITY_BARS, min_samples=2).backward_fill().fill_null(0.0).over("symbol")
    draws = np.random.default_rng(seed).standard_normal((bars.height, 4)).clip(-WIDEST, WIDEST)
    noise = {name: pl.Series(level * draws[:, place]) for place, name in enumerate(("open", "high", "low", "close"))}
    moved = bars.with_columns(spread=spread).with_columns(
        (pl.col(name) * (pl.col("spread") * errors).exp()).alias(name) for name, errors in noise.items()
    )
    return (
        moved.with_columns(high=pl.max_horizontal(*noise), low=pl.min_horizontal(*noise))
        .with_columns(pl.col("vwap").clip(pl.col("low"), pl.col("high")))
        .drop("spread")
    )


def without_symbol(scenario: Scenario, symbol: str) -> Scenario:
    """Return a scenario on the market of the other symbols, without the signals for it."""
    market = scenario.market
    kept = [place for place, name in enumerate(market.symbols) if name != symbol]
    rest = ~np.isnan(market.field("close")[:, kept]).all(axis=1)
    columns = {name: column[rest][:, kept] for name, column in market.columns.items()}
    symbols = tuple(market.symbols[place] for place in kept)
    panel = Panel(market.times[rest], market.known[rest], symbols, columns, market.width)
    signals = None if scenario.signals is None else scenario.signals.filter(pl.col("symbol") != symbol)
    return replace(scenario, market=panel, signals=signals)
