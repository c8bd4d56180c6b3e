"""The features that come with the library, by subject; ``CONSTRUCTORS`` finds one by its name."""

from collections.abc import Callable
from typing import Any

from cryptoquant.features.catalogue import (
    alpha_prices,
    alpha_volumes,
    averages,
    books,
    calendar,
    channels,
    comparison,
    dependence,
    estimators,
    liquidity,
    momentum,
    money_flow,
    oscillators,
    panel,
    quotes,
    ranks,
    statistics,
    stops,
    trades,
    transforms,
    trend,
    volatility,
    volume,
)
from cryptoquant.features.expressions import expression

CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "expression": expression,
    **{
        name: getattr(subject, name)
        for subject in (
            alpha_prices,
            alpha_volumes,
            averages,
            books,
            calendar,
            channels,
            comparison,
            dependence,
            estimators,
            liquidity,
            momentum,
            money_flow,
            oscillators,
            panel,
            quotes,
            ranks,
            statistics,
            stops,
            trades,
            transforms,
            trend,
            volatility,
            volume,
        )
        for name in subject.__all__
    },
}
