"""Turning the past into columns, without a glance at the future; and the labels that a model learns from."""

from cryptoquant.features.catalogue.books import book_depth, book_imbalance, book_slope, depth_within
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
from cryptoquant.features.catalogue.quotes import (
    average_spread,
    microprice,
    mid_price,
    order_flow_imbalance,
    quote_imbalance,
    quoted_spread,
)
from cryptoquant.features.catalogue.ranks import (
    bars_since_highest,
    bars_since_lowest,
    quantile,
    range_position,
    rank,
    winsorised,
)
from cryptoquant.features.catalogue.statistics import deviation, kurtosis, mean, skew, zscore
from cryptoquant.features.catalogue.trades import (
    effective_spread,
    kyle_lambda,
    realized_spread,
    roll_spread,
    trade_flow,
    vpin,
)
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
from cryptoquant.features.tick_feature import TickFeature
from cryptoquant.features.ticks import Ticks

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
    "average_spread",
    "bars_since_highest",
    "bars_since_lowest",
    "beta",
    "bipower_variation",
    "bollinger",
    "book_depth",
    "book_imbalance",
    "book_slope",
    "correlation",
    "cross_sectional_rank",
    "cross_sectional_zscore",
    "custom",
    "day_of_week",
    "depth_within",
    "deviation",
    "difference",
    "donchian_position",
    "effective_spread",
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
    "kyle_lambda",
    "label_from_dict",
    "lag",
    "log_return",
    "macd",
    "mean",
    "microprice",
    "mid_price",
    "natr",
    "normalised",
    "order_flow_imbalance",
    "parkinson",
    "quantile",
    "quote_imbalance",
    "quoted_spread",
    "range_position",
    "rank",
    "realized_spread",
    "realized_volatility",
    "regime",
    "relative_return",
    "roc",
    "rogers_satchell",
    "roll_spread",
    "rsi",
    "skew",
    "sma_ratio",
    "timeframe",
    "trade_flow",
    "triple_barrier",
    "variance_ratio",
    "volume_ratio",
    "vpin",
    "weekday",
    "weekend",
    "winsorised",
    "yang_zhang",
    "zscore",
]
