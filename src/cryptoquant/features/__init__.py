"""Turning the past into columns, without a glance at the future; and the labels that a model learns from."""

from cryptoquant.features.catalogue.calendar import day_of_week, hour, hour_of_day, weekday, weekend
from cryptoquant.features.catalogue.comparison import beta, correlation
from cryptoquant.features.catalogue.dependence import autocorrelation, entropy, hurst, variance_ratio
from cryptoquant.features.catalogue.estimators import (
    bipower_variation,
    ewma_volatility,
    garman_klass,
    parkinson,
    rogers_satchell,
    yang_zhang,
)
from cryptoquant.features.catalogue.momentum import log_return, roc, rsi
from cryptoquant.features.catalogue.panel import cross_sectional_rank, cross_sectional_zscore, relative_return
from cryptoquant.features.catalogue.ranks import (
    bars_since_highest,
    bars_since_lowest,
    quantile,
    range_position,
    rank,
    winsorised,
)
from cryptoquant.features.catalogue.statistics import deviation, kurtosis, mean, skew, zscore
from cryptoquant.features.catalogue.transforms import difference, fractional_difference, lag, regime
from cryptoquant.features.catalogue.trend import donchian_position, ema_ratio, macd, sma_ratio
from cryptoquant.features.catalogue.volatility import atr, bollinger, natr, realized_volatility
from cryptoquant.features.catalogue.volume import volume_ratio
from cryptoquant.features.custom import custom, expression
from cryptoquant.features.feature import Feature
from cryptoquant.features.feature_set import FeatureSet, timeframe
from cryptoquant.features.labels import (
    ForwardReturn,
    Label,
    TripleBarrier,
    forward_return,
    label_from_dict,
    triple_barrier,
)
from cryptoquant.features.normalised import normalised
from cryptoquant.features.online import OnlineFeatures
from cryptoquant.features.quality import FeatureQuality
from cryptoquant.features.scaling import Scaler, Scaling
from cryptoquant.features.ticks import TickFeature, Ticks

__all__ = [
    "Feature",
    "FeatureQuality",
    "FeatureSet",
    "ForwardReturn",
    "Label",
    "OnlineFeatures",
    "Scaler",
    "Scaling",
    "TickFeature",
    "Ticks",
    "TripleBarrier",
    "atr",
    "autocorrelation",
    "bars_since_highest",
    "bars_since_lowest",
    "beta",
    "bipower_variation",
    "bollinger",
    "correlation",
    "cross_sectional_rank",
    "cross_sectional_zscore",
    "custom",
    "day_of_week",
    "deviation",
    "difference",
    "donchian_position",
    "ema_ratio",
    "entropy",
    "ewma_volatility",
    "expression",
    "forward_return",
    "fractional_difference",
    "garman_klass",
    "hour",
    "hour_of_day",
    "hurst",
    "kurtosis",
    "label_from_dict",
    "lag",
    "log_return",
    "macd",
    "mean",
    "natr",
    "normalised",
    "parkinson",
    "quantile",
    "range_position",
    "rank",
    "realized_volatility",
    "regime",
    "relative_return",
    "roc",
    "rogers_satchell",
    "rsi",
    "skew",
    "sma_ratio",
    "timeframe",
    "triple_barrier",
    "variance_ratio",
    "volume_ratio",
    "weekday",
    "weekend",
    "winsorised",
    "yang_zhang",
    "zscore",
]
