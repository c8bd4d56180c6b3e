"""Features that go well together, ready for a set: what traders look at, and what the grain of the market says."""

from cryptoquant.features.catalogue.averages import ema, sma
from cryptoquant.features.catalogue.books import book_imbalance, book_slope, depth_within
from cryptoquant.features.catalogue.calendar import day_of_week, hour_of_day
from cryptoquant.features.catalogue.channels import donchian_position, keltner_position
from cryptoquant.features.catalogue.dependence import autocorrelation, variance_ratio
from cryptoquant.features.catalogue.estimators import garman_klass, yang_zhang
from cryptoquant.features.catalogue.momentum import log_return, rsi, tsi
from cryptoquant.features.catalogue.money_flow import chaikin_money_flow, mfi
from cryptoquant.features.catalogue.oscillators import cci, stochastic, williams_r
from cryptoquant.features.catalogue.quotes import average_spread, microprice, order_flow_imbalance, quote_imbalance
from cryptoquant.features.catalogue.ranks import rank
from cryptoquant.features.catalogue.statistics import kurtosis, skew, zscore
from cryptoquant.features.catalogue.trades import (
    effective_spread,
    kyle_lambda,
    realized_spread,
    roll_spread,
    trade_flow,
)
from cryptoquant.features.catalogue.trend import adx, aroon, linear_trend, macd
from cryptoquant.features.catalogue.volatility import bollinger, natr, realized_volatility
from cryptoquant.features.catalogue.volume import volume_ratio, vwap
from cryptoquant.features.feature import Feature
from cryptoquant.features.tick_feature import TickFeature
from cryptoquant.market.time import Timeframe


def classic() -> list[Feature]:
    """Return 36 features of bars that a trader knows by name, none in units of the price: 48 columns.

    Returns over 1 to 24 bars; distances from averages; trend, channels and oscillators; volatility; volume; the shape
    of recent returns; the clock. So that symbols and years can be compared, levels are fractions of the price.

    Examples
    --------
    >>> from cryptoquant import features as f
    >>> len(f.FeatureSet(f.classic()).names)
    48
    """
    returns = [log_return(window) for window in (1, 3, 6, 12, 24)]
    averages = [sma(20, relative=True), ema(12, relative=True), ema(50, relative=True), vwap(24, relative=True)]
    trend = [macd(relative=True), adx(14), aroon(25), linear_trend(24, relative=True)]
    channels = [bollinger(20, 2.0), donchian_position(20), keltner_position(20, 10, 2.0)]
    oscillators = [rsi(14), stochastic(14, 3, 3), williams_r(14), cci(20), tsi(25, 13)]
    volatility = [natr(14), realized_volatility(24), garman_klass(24), yang_zhang(24)]
    volume = [volume_ratio(24), zscore("volume", 96), rank("volume", 96), mfi(14), chaikin_money_flow(21)]
    shape = [skew("log_return", 96), kurtosis("log_return", 96), autocorrelation(96), variance_ratio(96, 4)]
    clock = [hour_of_day(), day_of_week()]
    return [*returns, *averages, *trend, *channels, *oscillators, *volatility, *volume, *shape, *clock]


def microstructure(window: Timeframe = "5m", delay: Timeframe = "30s", *, books: bool = True) -> list[TickFeature]:
    """Return features of trades and quotes over a span of time, and of books: none in units of the price.

    Parameters
    ----------
    window
        Over which flows and costs are summed.
    delay
        After which the realised spread looks at the mid again.
    books
        Whether features that read order books are among them.
    """
    quotes = [average_spread(window), microprice(), quote_imbalance(), order_flow_imbalance(window)]
    costs = [effective_spread(window), realized_spread(window, delay), roll_spread(window), kyle_lambda(window)]
    shapes = [book_imbalance(1), book_imbalance(5), book_slope(5), depth_within(10.0)] if books else []
    return [trade_flow(window), *quotes, *costs, *shapes]
