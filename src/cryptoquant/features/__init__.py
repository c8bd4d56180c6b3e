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
from cryptoquant.features.catalogue.averages import dema, ema, kama, sma, tema, wma
from cryptoquant.features.catalogue.books import book_depth, book_imbalance, book_slope, depth_within
from cryptoquant.features.catalogue.calendar import day_of_week, hour, hour_of_day, weekday, weekend
from cryptoquant.features.catalogue.channels import (
    bollinger_bands,
    donchian,
    donchian_position,
    highest,
    ichimoku,
    keltner,
    keltner_position,
    lowest,
)
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
from cryptoquant.features.catalogue.liquidity import amihud
from cryptoquant.features.catalogue.momentum import log_return, momentum, roc, rsi, tsi
from cryptoquant.features.catalogue.money_flow import (
    accumulation_distribution,
    chaikin_money_flow,
    chaikin_oscillator,
    mfi,
)
from cryptoquant.features.catalogue.oscillators import cci, stochastic, stochastic_rsi, ultimate_oscillator, williams_r
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
from cryptoquant.features.catalogue.sets import classic, microstructure
from cryptoquant.features.catalogue.statistics import deviation, kurtosis, mean, skew, zscore
from cryptoquant.features.catalogue.stops import parabolic_sar, supertrend
from cryptoquant.features.catalogue.trades import (
    effective_spread,
    kyle_lambda,
    realized_spread,
    roll_spread,
    trade_flow,
    vpin,
)
from cryptoquant.features.catalogue.transforms import difference, fractional_difference, lag, regime
from cryptoquant.features.catalogue.trend import adx, aroon, linear_trend, macd
from cryptoquant.features.catalogue.volatility import atr, bollinger, natr, realized_volatility, true_range
from cryptoquant.features.catalogue.volume import force_index, obv, session_vwap, volume_ratio, vwap
from cryptoquant.features.custom import custom
from cryptoquant.features.expressions import expression
from cryptoquant.features.feature import Feature
from cryptoquant.features.feature_set import FeatureSet, timeframe
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
from cryptoquant.features.normalised import normalised
from cryptoquant.features.online import OnlineFeatures
from cryptoquant.features.quality import FeatureQuality
from cryptoquant.features.scaling import Scaler, Scaling
from cryptoquant.features.tick_feature import TickFeature
from cryptoquant.features.ticks import Ticks
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
    "Scaler",
    "Scaling",
    "Sign",
    "TickFeature",
    "Ticks",
    "TrendScanning",
    "TripleBarrier",
    "accumulation_distribution",
    "adx",
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
    "amihud",
    "aroon",
    "atr",
    "autocorrelation",
    "average_spread",
    "bars_since_highest",
    "bars_since_lowest",
    "beta",
    "bipower_variation",
    "bollinger",
    "bollinger_bands",
    "book_depth",
    "book_imbalance",
    "book_slope",
    "cci",
    "chaikin_money_flow",
    "chaikin_oscillator",
    "classic",
    "correlation",
    "cross_sectional_rank",
    "cross_sectional_zscore",
    "custom",
    "day_of_week",
    "dema",
    "depth_within",
    "deviation",
    "difference",
    "donchian",
    "donchian_position",
    "effective_spread",
    "ema",
    "entropy",
    "ewma_volatility",
    "expression",
    "force_index",
    "forward_return",
    "fractional_difference",
    "garman_klass",
    "highest",
    "hour",
    "hour_of_day",
    "hurst",
    "ichimoku",
    "kama",
    "keltner",
    "keltner_position",
    "kurtosis",
    "kyle_lambda",
    "label_from_dict",
    "lag",
    "linear_trend",
    "log_return",
    "lowest",
    "macd",
    "mean",
    "meta_label",
    "mfi",
    "microprice",
    "microstructure",
    "mid_price",
    "momentum",
    "natr",
    "normalised",
    "obv",
    "order_flow_imbalance",
    "parabolic_sar",
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
    "return_attribution",
    "roc",
    "rogers_satchell",
    "roll_spread",
    "rsi",
    "scaled_return",
    "sequential_bootstrap",
    "session_vwap",
    "sign",
    "skew",
    "sma",
    "stochastic",
    "stochastic_rsi",
    "supertrend",
    "tema",
    "time_decay",
    "timeframe",
    "trade_flow",
    "trend_scanning",
    "triple_barrier",
    "true_range",
    "tsi",
    "ultimate_oscillator",
    "uniqueness",
    "variance_ratio",
    "volume_ratio",
    "vpin",
    "vwap",
    "weekday",
    "weekend",
    "williams_r",
    "winsorised",
    "wma",
    "yang_zhang",
    "zscore",
]
