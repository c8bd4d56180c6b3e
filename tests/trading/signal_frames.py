"""Frames of seeded signals over a panel."""

import numpy as np
import polars as pl

from cryptoquant.market.slice import Panel


def random_signals(panel: Panel, seed: int = 5) -> pl.DataFrame:
    """Return a probability for every symbol and slice, drawn around one half."""
    rng = np.random.default_rng(seed)
    parts = [
        pl.DataFrame({"time": panel.times, "value": np.clip(0.5 + 0.1 * rng.standard_normal(len(panel)), 0, 1)})
        .with_columns(pl.from_epoch("time", "ns").dt.replace_time_zone("UTC"))
        .with_columns(
            name=pl.lit("m"),
            symbol=pl.lit(symbol),
            known=pl.col("time"),
            kind=pl.lit("probability"),
            horizon=pl.duration(hours=1, time_unit="ns"),
        )
        for symbol in panel.symbols
    ]
    return pl.concat(parts).sort("time").select("name", "symbol", "time", "known", "kind", "value", "horizon")
