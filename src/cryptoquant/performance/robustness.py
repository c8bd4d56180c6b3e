"""What a study's result is worth under other assumptions: one row for each change, with the limit that it must keep."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import polars as pl


@dataclass(frozen=True, slots=True)
class Stress:
    """One change to a study and what became of it.

    Attributes
    ----------
    family
        What was changed: costs, delay, bars, prices, parameters, start, universe, calendar, regime or luck.
    name
        The change in words, such as ``costs x 2``.
    sharpe, total_return, max_drawdown
        Of the changed run: annual from daily returns, fractions.
    limit
        The Sharpe ratio that must be exceeded; NaN where none is demanded.
    """

    family: str
    name: str
    sharpe: float
    total_return: float
    max_drawdown: float
    limit: float = math.nan

    @property
    def passed(self) -> bool | None:
        """Whether the limit is exceeded; None where none is demanded. A ratio that is not defined does not pass."""
        return None if math.isnan(self.limit) else self.sharpe > self.limit


@dataclass(frozen=True, slots=True)
class Robustness:
    """The table of all changes that were tried.

    Attributes
    ----------
    stresses
        In the order of their families.
    """

    stresses: tuple[Stress, ...] = ()

    @property
    def frame(self) -> pl.DataFrame:
        """One row for each change: family, name, sharpe, total_return, max_drawdown, limit, passed."""
        rows = [{**asdict(stress), "passed": stress.passed} for stress in self.stresses]
        kinds = {"family": pl.String, "name": pl.String}
        schema = {one.name: kinds.get(one.name, pl.Float64) for one in fields(Stress)} | {"passed": pl.Boolean}
        return pl.DataFrame(rows, schema=schema)

    @property
    def failures(self) -> tuple[Stress, ...]:
        """Changes whose limit was missed."""
        return tuple(stress for stress in self.stresses if stress.passed is False)

    def to_dict(self) -> dict[str, Any]:
        """Return the rows as plain values."""
        return {"stresses": [asdict(stress) for stress in self.stresses]}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "Robustness":
        """Return what ``to_dict`` gave."""
        return cls(tuple(Stress(**row) for row in saved["stresses"]))
