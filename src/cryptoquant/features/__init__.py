"""Turning the past into columns, without a glance at the future; and the labels that a model learns from."""

from cryptoquant.features.catalogue.calendar import hour_of_day
from cryptoquant.features.catalogue.momentum import log_return, roc, rsi
from cryptoquant.features.catalogue.panel import cross_sectional_rank, relative_return
from cryptoquant.features.catalogue.statistics import zscore
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
    "bollinger",
    "cross_sectional_rank",
    "custom",
    "donchian_position",
    "ema_ratio",
    "expression",
    "forward_return",
    "hour_of_day",
    "label_from_dict",
    "log_return",
    "macd",
    "natr",
    "realized_volatility",
    "relative_return",
    "roc",
    "rsi",
    "sma_ratio",
    "timeframe",
    "triple_barrier",
    "volume_ratio",
    "zscore",
]
