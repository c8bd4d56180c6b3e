"""What a study's result is worth under other assumptions: one row for each change, with the limit that it must keep."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import polars as pl

PARAMETERS = "parameters"
TEXTS = ("family", "name")


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

    def __str__(self) -> str:
        found = "not defined" if math.isnan(self.sharpe) else _two_digits(self.sharpe)
        wanted = "" if math.isnan(self.limit) else f", wanted above {_two_digits(self.limit)}"
        return f"{self.name}: Sharpe {found}{wanted}"


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
        schema: dict[str, Any] = {one.name: pl.String if one.name in TEXTS else pl.Float64 for one in fields(Stress)}
        return pl.DataFrame(rows, schema=schema | {"passed": pl.Boolean})

    @property
    def failures(self) -> tuple[Stress, ...]:
        """Changes whose limit was missed."""
        return tuple(stress for stress in self.stresses if stress.passed is False)

    @property
    def neighbourhood(self) -> Literal["plateau", "spike", "unknown"]:
        """Whether other parameters nearby do about as well (a plateau) or the chosen ones stand alone (a spike).

        Unknown for a study that earns nothing: its limit, a share of its own ratio, is not above zero, and what loses
        stands on no height.
        """
        judged = [stress.passed for stress in self.stresses if stress.family == PARAMETERS and stress.limit > 0.0]
        return "unknown" if not judged else "plateau" if all(judged) else "spike"

    @property
    def summary(self) -> str:
        """The table in words: how many demands are kept, what the parameters stand on, and every demand missed.

        Examples
        --------
        >>> Robustness((Stress("costs", "costs x 2", -0.4, -0.1, -0.2, 0.0),)).summary
        '0 of 1 demands are kept. Missed: costs x 2: Sharpe -0.40, wanted above 0.00.'
        """
        demanded = [stress for stress in self.stresses if stress.passed is not None]
        if not demanded:
            return "Nothing was demanded of any change."
        words = f"{len(demanded) - len(self.failures)} of {len(demanded)} demands are kept."
        if self.neighbourhood != "unknown":
            words += f" The parameters stand on a {self.neighbourhood}."
        missed = "; ".join(map(str, self.failures))
        return f"{words} Missed: {missed}." if missed else words

    def show(self) -> None:
        """Print the table and its summary."""
        from rich.console import Console

        from cryptoquant.performance.figures import print_frame

        print_frame(pl.DataFrame([_shown(stress) for stress in self.stresses], orient="row"))
        Console().print(self.summary, markup=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the rows as plain values."""
        return {"stresses": [asdict(stress) for stress in self.stresses]}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "Robustness":
        """Return what ``to_dict`` gave; a number that is null, as strict JSON writes NaN, is NaN.

        Raises
        ------
        ValueError
            A name is missing or surplus, or a value is of another kind; the message names the row.
        """
        rows = saved.get("stresses") if isinstance(saved, Mapping) else None
        if not isinstance(rows, list | tuple) or set(saved) != {"stresses"}:
            raise ValueError(f"robustness: wanted stresses, a list of rows, found {_kind_of(saved)}")
        return cls(tuple(_stress(number, row) for number, row in enumerate(rows)))


def _stress(number: int, row: Any) -> Stress:
    names = [one.name for one in fields(Stress)]
    if not isinstance(row, Mapping) or set(row) - set(names) or set(names[:-1]) - set(row):
        raise ValueError(f"robustness: row {number} holds {_kind_of(row)}, wanted {', '.join(names)}")
    for name, value in row.items():
        wanted: Any = str if name in TEXTS else float | int | None
        if not isinstance(value, wanted) or isinstance(value, bool):
            kind = "a text" if name in TEXTS else "a number"
            raise ValueError(f"robustness: row {number}: {name} is {value!r}, wanted {kind}")
    numbers = {name: math.nan if row[name] is None else float(row[name]) for name in row if name not in TEXTS}
    return Stress(str(row["family"]), str(row["name"]), **numbers)


def _shown(stress: Stress) -> dict[str, str]:
    """Return a row as a person reads it."""
    return {
        "change": stress.name,
        "Sharpe": "" if math.isnan(stress.sharpe) else _two_digits(stress.sharpe),
        "wanted": "" if math.isnan(stress.limit) else f"> {_two_digits(stress.limit)}",
        "kept": {None: "", True: "yes", False: "NO"}[stress.passed],
        "return": f"{stress.total_return:+.1%}",
        "drawdown": f"{stress.max_drawdown:.1%}",
    }


def _two_digits(value: float) -> str:
    """Return a ratio without the sign of a zero."""
    return f"{round(value, 2) + 0.0:.2f}"


def _kind_of(value: Any) -> str:
    return ", ".join(map(str, value)) or "nothing" if isinstance(value, Mapping) else type(value).__name__
