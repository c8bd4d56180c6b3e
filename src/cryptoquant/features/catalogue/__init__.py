"""The features that come with the library, by subject; ``CONSTRUCTORS`` finds one by its name."""

from collections.abc import Callable

from cryptoquant.features.catalogue import (
    averages,
    calendar,
    channels,
    momentum,
    money_flow,
    oscillators,
    panel,
    statistics,
    stops,
    trend,
    volatility,
    volume,
)
from cryptoquant.features.feature import Feature

CONSTRUCTORS: dict[str, Callable[..., Feature]] = {
    name: getattr(subject, name)
    for subject in (
        averages,
        calendar,
        channels,
        momentum,
        money_flow,
        oscillators,
        panel,
        statistics,
        stops,
        trend,
        volatility,
        volume,
    )
    for name in subject.__all__
}
