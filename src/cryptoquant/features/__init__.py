"""Turning the past into columns, without a glance at the future; and the labels that a model learns from."""

from cryptoquant.features.barriers import MetaLabel, TripleBarrier, meta_label, triple_barrier
from cryptoquant.features.catalogue.alpha158 import ALPHA158, alpha158
from cryptoquant.features.catalogue.alpha_prices import (
    alpha_candle,
    alpha_extremes,
    alpha_moves,
    alpha_quantiles,
    alpha_roc,
    alpha_trend,
)
from cryptoquant.features.catalogue.alpha_volumes import (
    alpha_change_correlation,
    alpha_correlation,
    alpha_turbulence,
    alpha_volume,
    alpha_volume_moves,
    alpha_vwap,
)
from cryptoquant.features.catalogue.calendar import hour_of_day
from cryptoquant.features.catalogue.momentum import log_return, roc, rsi
from cryptoquant.features.catalogue.panel import cross_sectional_rank, relative_return
from cryptoquant.features.catalogue.statistics import zscore
from cryptoquant.features.catalogue.trend import donchian_position, ema_ratio, macd, sma_ratio
from cryptoquant.features.catalogue.volatility import atr, bollinger, natr, realized_volatility
from cryptoquant.features.catalogue.volume import volume_ratio
from cryptoquant.features.feature import Feature
from cryptoquant.features.feature_set import FeatureSet
from cryptoquant.features.labels import (
    ForwardReturn,
    Label,
    ScaledReturn,
    Sign,
    forward_return,
    label_from_dict,
    scaled_return,
    sign,
)
from cryptoquant.features.online import OnlineFeatures
from cryptoquant.features.quality import FeatureQuality
from cryptoquant.features.trends import TrendScanning, trend_scanning
from cryptoquant.features.weights import return_attribution, sequential_bootstrap, time_decay, uniqueness

__all__ = [
    "ALPHA158",
    "Feature",
    "FeatureQuality",
    "FeatureSet",
    "ForwardReturn",
    "Label",
    "MetaLabel",
    "OnlineFeatures",
    "ScaledReturn",
    "Sign",
    "TrendScanning",
    "TripleBarrier",
    "alpha158",
    "alpha_candle",
    "alpha_change_correlation",
    "alpha_correlation",
    "alpha_extremes",
    "alpha_moves",
    "alpha_quantiles",
    "alpha_roc",
    "alpha_trend",
    "alpha_turbulence",
    "alpha_volume",
    "alpha_volume_moves",
    "alpha_vwap",
    "atr",
    "bollinger",
    "cross_sectional_rank",
    "donchian_position",
    "ema_ratio",
    "forward_return",
    "hour_of_day",
    "label_from_dict",
    "log_return",
    "macd",
    "meta_label",
    "natr",
    "realized_volatility",
    "relative_return",
    "return_attribution",
    "roc",
    "rsi",
    "scaled_return",
    "sequential_bootstrap",
    "sign",
    "sma_ratio",
    "time_decay",
    "trend_scanning",
    "triple_barrier",
    "uniqueness",
    "volume_ratio",
    "zscore",
]
