"""What it costs to be short or to borrow, and when a lender closes the account: research accounts only."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import kernel
from cryptoquant.market.time import NANOSECONDS_PER_SECOND, NANOSECONDS_PER_YEAR

Floats = NDArray[np.float64]
HOUR = 3600 * NANOSECONDS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Financing:
    """The price of leverage.

    Parameters
    ----------
    borrow
        Annual rate on the value of coins sold short.
    margin
        Annual rate on borrowed cash.
    funding
        Share of a position's value that longs pay to shorts at every funding time (negative: shorts pay longs), as on
        perpetual contracts.
    funding_hours
        Hours between funding times, counted from midnight UTC.
    maintenance
        The account is liquidated at a close at which its equity is less than this share of the value of its positions:
        open orders are cancelled, new ones refused, and every position is closed at the next open.
    """

    borrow: float = 0.0
    margin: float = 0.0
    funding: float = 0.0
    funding_hours: float = 8.0
    maintenance: float = 0.0

    def __post_init__(self) -> None:
        for name in ("borrow", "margin", "maintenance"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be zero or more, found {getattr(self, name)}")
        if not -1 < self.funding < 1:
            raise ValueError(f"funding must lie between -1 and 1, found {self.funding}")
        if not self.funding_hours > 0:
            raise ValueError(f"funding_hours must be above zero, found {self.funding_hours}")


class FinancingTerms(NamedTuple):
    """The same as plain numbers for the kernels; ``every`` in nanoseconds, 0 without financing."""

    borrow: float
    margin: float
    funding: float
    every: int
    maintenance: float


def financing_terms(financing: Financing | None) -> FinancingTerms:
    """Return the terms in the form that the kernels take."""
    if financing is None:
        return FinancingTerms(0.0, 0.0, 0.0, 0, 0.0)
    every = round(financing.funding_hours * HOUR)
    return FinancingTerms(financing.borrow, financing.margin, financing.funding, every, financing.maintenance)


@kernel
def financing_charge(
    cash: float, lots: Floats, lot: Floats, marks: Floats, before: int, time: int, terms: FinancingTerms
) -> float:
    """Return what holding a book from ``before`` to ``time`` (ns) costs, in quote currency; negative when it earns.

    Simple interest over a year of 365 days on the values at the marks; ``cash`` in quote currency.
    """
    years = (time - before) / NANOSECONDS_PER_YEAR
    settlements = time // terms.every - before // terms.every
    charge = terms.margin * years * max(-cash, 0.0)
    for column in range(len(lots)):
        if lots[column] != 0.0:
            value = lots[column] * lot[column] * marks[column]
            charge += terms.borrow * years * max(-value, 0.0) + terms.funding * settlements * value
    return charge


@kernel
def is_short_of_margin(equity: float, lots: Floats, lot: Floats, marks: Floats, maintenance: float) -> bool:
    """Return whether the equity is less than the maintenance margin of the positions, all in quote currency."""
    gross = 0.0
    for column in range(len(lots)):
        if lots[column] != 0.0:
            gross += abs(lots[column] * lot[column] * marks[column])
    return equity < maintenance * gross
