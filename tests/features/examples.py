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
            f.sma(5, relative=True),
            f.sma(70, relative=True),
            f.ema(6, relative=True),
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
            f.parkinson(3),
            f.garman_klass(4),
            f.rogers_satchell(5),
            f.yang_zhang(6),
            f.ewma_volatility(3.0),
            f.bipower_variation(5),
            f.mean("close", 4),
            f.mean("log_return", 5),
            f.deviation("high", 5),
            f.deviation("true_range", 3),
            f.skew("volume", 6),
            f.skew("log_return", 5),
            f.kurtosis("close", 7),
            f.quantile("low", 5, 0.3),
            f.quantile("log_return", 6, 1.0),
            f.rank("volume", 5),
            f.range_position("vwap", 4),
            f.bars_since_highest("high", 5),
            f.bars_since_lowest("log_return", 4),
            f.winsorised("log_return", 6, 0.2),
            f.autocorrelation(5, 2),
            f.variance_ratio(7, 3),
            f.hurst(8),
            f.entropy(5, 3),
            f.fractional_difference(0.4, 6),
            f.difference("volume", 3),
            f.lag("log_return", 2),
            f.regime(4, 6),
            f.day_of_week(),
            f.hour(),
            f.weekday(),
            f.weekend(),
            f.cross_sectional_zscore(2),
            f.sma(4),
            f.ema(4),
            f.wma(5),
            f.wma(3, relative=True),
            f.dema(4),
            f.tema(3, relative=True),
            f.kama(5),
            f.adx(4),
            f.aroon(5),
            f.linear_trend(6),
            f.linear_trend(5, relative=True),
            f.supertrend(4, 2.0),
            f.parabolic_sar(relative=True),
            f.ichimoku(3, 5, 7),
            f.bollinger_bands(6, 1.5),
            f.donchian(4),
            f.keltner(6, 3, 1.5),
            f.keltner_position(4, 7, 2.0),
            f.highest("vwap", 5),
            f.lowest("volume", 3),
            f.momentum(4),
            f.tsi(5, 3),
            f.stochastic(5, 3, 4),
            f.stochastic_rsi(4, 5, 3),
            f.cci(7),
            f.williams_r(4),
            f.ultimate_oscillator(3, 5, 7),
            f.obv(),
            f.force_index(4),
            f.vwap(5, relative=True),
            f.session_vwap(),
            f.accumulation_distribution(),
            f.chaikin_oscillator(3, 6),
            f.chaikin_money_flow(5),
            f.mfi(4),
            f.true_range(),
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
            f.amihud(4),
        ]
    )


def every_comparison(symbol: str) -> f.FeatureSet:
    """Return the features that compare with one symbol of the universe."""
    return f.FeatureSet([f.correlation(symbol, 4), f.beta(symbol, 5)])


def every_tick_feature() -> f.FeatureSet:
    return f.FeatureSet(
        [
            f.mid_price(),
            f.quoted_spread(),
            f.average_spread("2m"),
            f.microprice(),
            f.quote_imbalance(),
            f.order_flow_imbalance("3m"),
            f.trade_flow("2m"),
            f.effective_spread("5m"),
            f.realized_spread("5m", "20s"),
            f.roll_spread("4m"),
            f.kyle_lambda("6m"),
            f.vpin(3.0, 4),
            f.book_depth(2),
            f.book_imbalance(3),
            f.depth_within(15.0),
            f.book_slope(4),
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


if __name__ == "__main__":
    every = [
        *every_feature().features,
        *every_tick_feature().features,
        *f.alpha158(),
        *f.classic(),
        *f.microstructure(),
    ]
    for number, feature in enumerate(every):
        f.FeatureSet([feature]).online([f"S{number}/USD"])
    f.FeatureSet(every_comparison("S0/USD").features).online(["S0/USD"])
