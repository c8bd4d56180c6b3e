"""Features and bars for the tests of quality: symbols of one length, features given as arrays (symbols, bars)."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Array = NDArray[np.float64]


def market(returns: Array, features: dict[str, Array], every: timedelta = HOUR) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return features and bars; ``returns[s, t]`` leads to the close of bar t, features have the same shape."""
    returns = np.atleast_2d(returns)
    symbols, bars = returns.shape
    times = pl.datetime_range(START, START + every * (bars - 1), every, eager=True)
    closes = 100.0 * np.exp(np.cumsum(returns, axis=1))
    frame = pl.DataFrame(
        {
            "symbol": np.repeat([f"S{number:02d}/USD" for number in range(symbols)], bars),
            "time": pl.concat([times] * symbols),
            "known": pl.concat([times] * symbols),
            **{name: np.atleast_2d(values).reshape(-1) for name, values in features.items()},
            "close": closes.reshape(-1),
        }
    )
    return frame.drop("close"), frame.select("symbol", "time", "close")


def foreseen(returns: Array) -> Array:
    """Return the return of the next bar, NaN at the last."""
    returns = np.atleast_2d(returns)
    return np.hstack([returns[:, 1:], np.full((len(returns), 1), np.nan)])
