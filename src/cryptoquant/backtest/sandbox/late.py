"""Trades that are reported after their bar: which bars they change, and how; drawn from the seed."""

import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.market.schema import Bar, Trade

SIZE_SHARE = 0.1
SMALLEST_SIZE = 1e-9
LARGE_ID = 1 << 62

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LateTrades:
    """A rule by which some bars get one more trade half a bar after their close.

    The trade happened inside the bar, at its open price, with a tenth of its volume; so volume, trade count and vwap
    change, and open, high, low and close do not. Alpaca corrects the minute before in the same way on its channel
    ``updatedBars`` ("Real-time Crypto Data", Alpaca's documentation).

    Parameters
    ----------
    seed
        Of the sandbox.
    share
        Fraction of the bars with trades that are changed, 0 to 1.
    """

    seed: int
    share: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"late_trades must be a fraction from 0 to 1, found {self.share}")

    def chosen(self, symbol: str, bars: pl.DataFrame) -> Flags:
        """Return which of a symbol's bars are changed, shape (bars,)."""
        opened = bars["open_time"].dt.epoch("ns").to_numpy().astype(np.uint64)
        drawn = _scatter(opened ^ np.uint64(_number(symbol, self.seed)))
        flags: Flags = (drawn / 2.0**64 < self.share) & (bars["volume"].to_numpy() > 0)
        return flags

    def applied(self, bars: pl.DataFrame, chosen: Flags) -> pl.DataFrame:
        """Return the bars with the late trades of the chosen ones."""
        size = pl.max_horizontal((pl.col("volume") * SIZE_SHARE).round(9), pl.lit(SMALLEST_SIZE))
        volume = pl.col("volume") + size
        changes = {
            "volume": volume,
            "vwap": (pl.col("volume") * pl.col("vwap") + size * pl.col("open")) / volume,
            "trade_count": pl.col("trade_count") + 1,
        }
        flag = pl.lit(pl.Series(chosen))
        return bars.with_columns(
            pl.when(flag).then(new).otherwise(pl.col(name)).cast(bars.schema[name]).alias(name)
            for name, new in changes.items()
        )

    def trade(self, bar: Bar) -> Trade:
        """Return the late trade of a bar before its change."""
        size = max(round(bar.volume * SIZE_SHARE, 9), SMALLEST_SIZE)
        time = bar.open_time + (bar.time - bar.open_time) // 2 + 1
        drawn = int(_scatter(np.array([time ^ _number(bar.symbol, self.seed)], np.uint64))[0])
        return Trade(bar.symbol, time, time, LARGE_ID | drawn >> 2, bar.open, size)


def _number(symbol: str, seed: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}|{symbol}".encode(), digest_size=8).digest())


def _scatter(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return numbers that look random (the finalizer of Steele, Lea and Flood's SplitMix64, 2014)."""
    with np.errstate(over="ignore"):
        z = numbers + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
