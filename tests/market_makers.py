"""Small seeded markets for tests: panels and frames that gap between bars."""

import numpy as np
import polars as pl

from cryptoquant.market.slice import FIELDS, Panel

HOUR = 3_600_000_000_000
START = 1_704_067_200_000_000_000


def gapping_panel(
    slices: int, symbols: tuple[str, ...] = ("BTC/USD",), *, seed: int = 0, sigma: float = 0.01, absent: float = 0.0
) -> Panel:
    """Return a random panel whose opens differ from the previous closes; a share of bars is absent."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(sigma * rng.standard_normal((slices, len(symbols))), axis=0))
    before = np.vstack([np.full((1, len(symbols)), 100.0), close[:-1]])
    open_ = before * np.exp(0.3 * sigma * rng.standard_normal(close.shape))
    high = np.maximum(open_, close) * (1 + 0.2 * sigma * rng.random(close.shape))
    low = np.minimum(open_, close) * (1 - 0.2 * sigma * rng.random(close.shape))
    values = np.empty((slices, len(symbols), len(FIELDS)))
    for index, field in enumerate((open_, high, low, close)):
        values[:, :, index] = field
    values[:, :, 4] = rng.lognormal(0, 0.5, close.shape)
    values[:, :, 5] = 10
    values[:, :, 6] = (high + low) / 2
    gone = rng.random(close.shape) < absent
    gone[0] = False
    values[gone] = np.nan
    times = START + HOUR * np.arange(1, slices + 1, dtype=np.int64)
    return Panel.from_values(times, times.copy(), symbols, values, HOUR)


def frame_of(panel: Panel) -> pl.DataFrame:
    """Return the bars frame of a panel, by symbol in time order."""
    parts = []
    for column, symbol in enumerate(panel.symbols):
        values = panel.rows(0, len(panel))[:, column, :]
        there = ~np.isnan(values[:, 3])
        data = {field: values[there, index] for index, field in enumerate(FIELDS)}
        parts.append(
            pl.DataFrame(
                {
                    "symbol": [symbol] * int(there.sum()),
                    "time": panel.times[there],
                    "known": panel.known[there],
                    "open_time": panel.times[there] - panel.width,
                    **data,
                }
            )
        )
    return pl.concat(parts).with_columns(
        *(pl.from_epoch(c, "ns").dt.replace_time_zone("UTC") for c in ("time", "known", "open_time")),
        pl.col("trade_count").cast(pl.Int64),
    )
