"""The features that come with the library, by subject; ``CONSTRUCTORS`` finds one by its name."""

from collections.abc import Callable

from cryptoquant.features.catalogue import (
    calendar,
    momentum,
    panel,
    statistics,
    trend,
    volatility,
    volume,
)
from cryptoquant.features.custom import expression
from cryptoquant.features.feature import Feature

CONSTRUCTORS: dict[str, Callable[..., Feature]] = {
    "expression": expression,
    **{
        name: getattr(subject, name)
        for subject in (calendar, momentum, panel, statistics, trend, volatility, volume)
        for name in subject.__all__
    },
}
