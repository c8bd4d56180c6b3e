"""The set of all features at small windows, and rough markets to run it on."""

import numpy as np
from numpy.typing import NDArray

from cryptoquant import features as f
from cryptoquant.market.slice import FIELDS, Panel
from tests.market_makers import HOUR, START


def every_feature() -> f.FeatureSet:
    return f.FeatureSet(
        [
            f.log_return(3),
            f.roc(5),
            f.rsi(7),
            f.sma_ratio(5),
            f.sma_ratio(70),
            f.ema_ratio(6),
            f.macd(3, 6, 4),
            f.macd(3, 6, 4, relative=True),
            f.donchian_position(5),
            f.atr(5),
            f.natr(5),
            f.realized_volatility(5),
            f.realized_volatility(66),
            f.bollinger(5, 2.0),
            f.volume_ratio(5),
            f.zscore("volume", 6),
            f.zscore("vwap", 65),
            f.hour_of_day(),
            f.relative_return(2),
            f.cross_sectional_rank(2),
            f.alpha_candle(),
            f.alpha_extremes(5),
            f.alpha_moves(4),
            f.alpha_quantiles(6),
            f.alpha_roc(3),
            f.alpha_trend(5),
            f.alpha_change_correlation(4),
            f.alpha_correlation(6),
            f.alpha_turbulence(5),
            f.alpha_volume(3),
            f.alpha_volume_moves(7),
            f.alpha_vwap(),
        ]
    )


def panel_of(close: NDArray[np.float64], *, spread: float = 0.001) -> Panel:
    """Return a panel whose closes are given, shape (slices,) or (slices, symbols)."""
    close = close.reshape(len(close), -1)
    rng = np.random.default_rng(1)
    before = np.vstack([close[:1], close[:-1]])
    values = np.empty((*close.shape, len(FIELDS)))
    values[..., 0] = before
    values[..., 1] = np.maximum(before, close) * (1 + spread * rng.random(close.shape))
    values[..., 2] = np.minimum(before, close) * (1 - spread * rng.random(close.shape))
    values[..., 3] = close
    values[..., 4] = rng.lognormal(0, 1, close.shape)
    values[..., 5] = 3
    values[..., 6] = close
    return panel_with(values)


def panel_with(values: NDArray[np.float64]) -> Panel:
    """Return a panel of hourly bars, ``values`` of shape (slices, symbols, fields)."""
    times = START + HOUR * np.arange(1, len(values) + 1, dtype=np.int64)
    symbols = tuple(f"S{index}/USD" for index in range(values.shape[1]))
    return Panel.from_values(times, times.copy(), symbols, values, HOUR)
