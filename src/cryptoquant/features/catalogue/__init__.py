"""The features that come with the library, by subject; ``CONSTRUCTORS`` finds one by its name."""

from collections.abc import Callable

from cryptoquant.features.catalogue import (
    alpha_prices,
    alpha_volumes,
    calendar,
    momentum,
    panel,
    statistics,
    trend,
    volatility,
    volume,
)
from cryptoquant.features.feature import Feature

CONSTRUCTORS: dict[str, Callable[..., Feature]] = {
    name: getattr(subject, name)
    for subject in (alpha_prices, alpha_volumes, calendar, momentum, panel, statistics, trend, volatility, volume)
    for name in subject.__all__
}
