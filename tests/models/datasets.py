"""Small seeded datasets for the tests of models and splits."""

from datetime import timedelta

import numpy as np
import polars as pl

from cryptoquant import features as f
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.features import FeatureSet
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.examples import Examples

HOUR = 3_600_000_000_000
FEATURES = FeatureSet([f.log_return(1), f.zscore("volume", 48), f.rsi(14)])
LABEL = f.triple_barrier(take=1.5, stop=1.5, horizon=timedelta(hours=12), volatility_window=24)


def market_bars(days: int = 40, edge: float = 0.4, seed: int = 7) -> pl.DataFrame:
    return SyntheticMarket(seed=seed, days=days, timeframe="1h", edge=edge).bars("1h")


def small_dataset(days: int = 40, edge: float = 0.4, seed: int = 7) -> Dataset:
    return Dataset.build(market_bars(days, edge, seed), FEATURES, LABEL)


def planted(rows: int = 3_000, columns: int = 4, strength: float = 1.0, seed: int = 0) -> Examples:
    """Return examples whose first feature moves the odds of a rise by ``strength``; the others are noise."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((rows, columns))
    rises = (rng.random(rows) < 1 / (1 + np.exp(-strength * features[:, 0]))).astype(float)
    times = HOUR * np.arange(1, rows + 1, dtype=np.int64)
    return Examples.of(features, rises, rises - 0.5, times=times, label_known=times + 4 * HOUR)


def area_under_curve(rises: np.ndarray, values: np.ndarray) -> float:
    """Return the probability that a rise is ranked above a fall."""
    ranks = np.argsort(np.argsort(values)) + 1
    up = rises == 1
    return float((ranks[up].sum() - up.sum() * (up.sum() + 1) / 2) / (up.sum() * (~up).sum()))
