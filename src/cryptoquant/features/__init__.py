"""Turning the past into columns, without a glance at the future; and the labels that a model learns from."""

from cryptoquant.features.catalogue.averages import dema, ema, kama, sma, tema, wma
from cryptoquant.features.catalogue.calendar import hour_of_day
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
from cryptoquant.features.catalogue.momentum import log_return, momentum, roc, rsi, tsi
from cryptoquant.features.catalogue.money_flow import (
    accumulation_distribution,
    chaikin_money_flow,
    chaikin_oscillator,
    mfi,
)
from cryptoquant.features.catalogue.oscillators import cci, stochastic, stochastic_rsi, ultimate_oscillator, williams_r
from cryptoquant.features.catalogue.panel import cross_sectional_rank, relative_return
from cryptoquant.features.catalogue.statistics import zscore
from cryptoquant.features.catalogue.stops import parabolic_sar, supertrend
from cryptoquant.features.catalogue.trend import adx, aroon, linear_trend, macd
from cryptoquant.features.catalogue.volatility import atr, bollinger, natr, realized_volatility, true_range
from cryptoquant.features.catalogue.volume import force_index, obv, session_vwap, volume_ratio, vwap
from cryptoquant.features.feature import Feature
from cryptoquant.features.feature_set import FeatureSet
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

__all__ = [
    "Feature",
    "FeatureQuality",
    "FeatureSet",
    "ForwardReturn",
    "Label",
    "OnlineFeatures",
    "TripleBarrier",
    "accumulation_distribution",
    "adx",
    "aroon",
    "atr",
    "bollinger",
    "bollinger_bands",
    "cci",
    "chaikin_money_flow",
    "chaikin_oscillator",
    "cross_sectional_rank",
    "dema",
    "donchian",
    "donchian_position",
    "ema",
    "force_index",
    "forward_return",
    "highest",
    "hour_of_day",
    "ichimoku",
    "kama",
    "keltner",
    "keltner_position",
    "label_from_dict",
    "linear_trend",
    "log_return",
    "lowest",
    "macd",
    "mfi",
    "momentum",
    "natr",
    "obv",
    "parabolic_sar",
    "realized_volatility",
    "relative_return",
    "roc",
    "rsi",
    "session_vwap",
    "sma",
    "stochastic",
    "stochastic_rsi",
    "supertrend",
    "tema",
    "triple_barrier",
    "true_range",
    "tsi",
    "ultimate_oscillator",
    "volume_ratio",
    "vwap",
    "williams_r",
    "wma",
    "zscore",
]
