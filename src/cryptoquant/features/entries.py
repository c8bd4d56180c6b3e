"""How a step of each form is entered: at an address, with one frame of numbers that says where everything lies.

A step of the library takes runs of bars (see ``kernel``). A step of the user's own may take one bar at a time,
``step(state, settings, bar, out)``: compiled, or as plain Python. Or it is a polars expression. The drivers see no
difference: machine code or a Python function, each is called at its address.
"""

import ctypes
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.compiled import callback, entry, flags_at, floats_at, integers_at, table_at
from cryptoquant.features.feature import Feature
from cryptoquant.features.folds.moments import spreads
from cryptoquant.features.kernel import (
    AT,
    BARS,
    DONE,
    FRAME,
    NAMES,
    OUT,
    OUTPUTS,
    PANEL_DONE,
    PANEL_FRAME,
    PLACES,
    ROWS,
    SCRATCH,
    SEEN,
    SETTINGS,
    SETTINGS_SIZE,
    SPACE,
    SPACE_ROWS,
    STATE,
    STATE_SIZE,
    TO,
    Integers,
    source_digest,
)
from cryptoquant.market.slice import Floats

STEP: Any = None


def _symbol_entry(frame: int) -> None:
    given = integers_at(frame, FRAME)
    STEP(
        floats_at(given[STATE], given[STATE_SIZE]),
        floats_at(given[SETTINGS], given[SETTINGS_SIZE]),
        integers_at(given[BARS], NAMES),
        (given[AT], given[ROWS], given[SEEN], given[TO]),
        table_at(given[SPACE], SCRATCH, given[SPACE_ROWS]),
        table_at(given[OUT], given[OUTPUTS], given[PLACES]),
    )
    given[DONE] = 1


def _normalised_entry(frame: int) -> None:
    given = integers_at(frame, FRAME)
    state, chosen = floats_at(given[STATE], given[STATE_SIZE]), floats_at(given[SETTINGS], given[SETTINGS_SIZE])
    space = table_at(given[SPACE], SCRATCH, given[SPACE_ROWS])
    table = table_at(given[OUT], given[OUTPUTS], given[PLACES])
    window, size, undefined, each = int(chosen[0]), int(chosen[1]), int(chosen[2]), int(chosen[3])
    at, rows, seen, to = given[AT], given[ROWS], given[SEEN], given[TO]
    STEP(state[:size], chosen[4:], integers_at(given[BARS], NAMES), (at, rows, seen, to), space, table)
    early = min(max(undefined - seen, 0), rows)
    for column in range(given[OUTPUTS]):
        values = table[column, to + early : to + rows]
        means, squares = space[0, : rows - early], space[1, : rows - early]
        if early < rows:
            spreads(state, size + column * each, window, values, seen + early - undefined, means, squares)
        for row in range(rows - early):
            deviation = math.sqrt(squares[row] / (window - 1.0))
            values[row] = 0.0 if deviation == 0.0 else (values[row] - means[row]) / deviation
    given[DONE] = 1


def _bar_entry(frame: int) -> None:
    given = integers_at(frame, FRAME)
    state = floats_at(given[STATE], given[STATE_SIZE])
    chosen = floats_at(given[SETTINGS], given[SETTINGS_SIZE])
    series = integers_at(given[BARS], NAMES)
    space = table_at(given[SPACE], SCRATCH, given[SPACE_ROWS])
    table = table_at(given[OUT], given[OUTPUTS], given[PLACES])
    count, outputs, end = int(chosen[0]), given[OUTPUTS], given[AT] + given[ROWS]
    settings, bar, values = chosen[1 + count :], space[0, :count], space[1, :outputs]
    for row in range(given[ROWS]):
        for index in range(count):
            bar[index] = floats_at(series[int(chosen[1 + index])], end)[given[AT] + row]
        for column in range(outputs):
            values[column] = np.nan
        STEP(state, settings, bar, values)
        for column in range(outputs):
            table[column, given[TO] + row] = values[column]
    given[DONE] = 1


def _panel_entry(frame: int) -> None:
    given = integers_at(frame, PANEL_FRAME)
    symbols = given[0]
    STEP(
        table_at(given[1], symbols, given[2]),
        floats_at(given[3], given[4]),
        table_at(given[5], symbols, given[6]),
        flags_at(given[7], symbols),
        table_at(given[8], symbols, given[9]),
    )
    given[PANEL_DONE] = 1


def entry_of(feature: Feature) -> int:
    """Return the address at which the drivers call a feature's step; it is compiled now if it is new.

    Raises
    ------
    TypeError
        The step cannot be compiled.
    """
    if feature.across:
        return entry(_panel_entry, feature.step)
    if feature.form == "run":
        return entry(_symbol_entry, feature.step)
    if feature.form == "normalised":
        return entry(_normalised_entry, feature.step)
    if feature.form == "bar":
        return entry(_bar_entry, feature.step)
    return callback(PythonStep(feature.step) if feature.form == "python" else feature.step)


def digest_of(feature: Feature) -> str:
    """Return the sha256 of all source that makes the numbers of a feature."""
    return source_digest(feature.step, *([_normalised_entry] if feature.form == "normalised" else []))


def settings_of(feature: Feature) -> list[float]:
    """Return what a step finds as its settings: where it does not take runs, first which inputs make up its bar."""
    if feature.form in ("run", "normalised"):
        return list(feature.settings)
    return [float(len(feature.inputs)), *map(float, feature.places), *feature.settings]


def _floats(address: int, count: int) -> Floats:
    return np.ctypeslib.as_array((ctypes.c_double * count).from_address(address))


def _integers(address: int, count: int) -> Integers:
    return np.ctypeslib.as_array((ctypes.c_int64 * count).from_address(address))


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a Python step, read from its frame.

    Attributes
    ----------
    state, settings
        As the step takes them.
    series
        One view for each input: the values up to the end of the run, from ``history`` bars before it on, or from the
        first.
    out
        Shape (outputs, rows); to be written.
    """

    state: Floats
    settings: Floats
    series: list[Floats]
    out: NDArray[np.float64]
    given: Integers

    @classmethod
    def at(cls, frame: int, history: int) -> "Call":
        """Return the call whose frame lies at an address; ``history`` bars before the run are read again."""
        given = _integers(frame, FRAME)
        chosen = _floats(int(given[SETTINGS]), int(given[SETTINGS_SIZE]))
        count, at, rows, to = int(chosen[0]), int(given[AT]), int(given[ROWS]), int(given[TO])
        first = at - min(history, int(given[SEEN]))
        starts = _integers(int(given[BARS]), NAMES)[chosen[1 : 1 + count].astype(np.int64)]
        places = int(given[PLACES])
        table = _floats(int(given[OUT]), int(given[OUTPUTS]) * places).reshape(-1, places)
        return cls(
            state=_floats(int(given[STATE]), int(given[STATE_SIZE])),
            settings=chosen[1 + count :],
            series=[_floats(int(start), at + rows)[first:] for start in starts],
            out=table[:, to : to + rows],
            given=given,
        )


@dataclass(frozen=True, slots=True)
class PythonStep:
    """Takes a run of bars through ``step(state, settings, bar, out)``, a plain Python function."""

    step: Callable[..., None]

    def __call__(self, frame: int) -> None:
        """Take the run of a frame."""
        call = Call.at(frame, 0)
        for row, bar in enumerate(np.column_stack(call.series)):
            values = np.full(len(call.out), np.nan)
            self.step(call.state, call.settings, bar, values)
            call.out[:, row] = values
        call.given[DONE] = 1


@lru_cache(maxsize=512)
def expression_of(text: str) -> pl.Expr:
    """Return the polars expression of its JSON; never give it a text that was not searched for Python functions."""
    return pl.Expr.deserialize(io.StringIO(text), format="json")


@dataclass(frozen=True, slots=True)
class ExpressionStep:
    """Takes a run of bars through a polars expression that looks back at most ``lookback`` bars.

    Attributes
    ----------
    text
        The expression as polars writes it in JSON.
    names
        The inputs.
    """

    text: str
    names: tuple[str, ...]
    lookback: int

    def __call__(self, frame: int) -> None:
        """Take the run of a frame."""
        call = Call.at(frame, self.lookback)
        rows = call.out.shape[1]
        bars = pl.DataFrame(dict(zip(self.names, call.series, strict=True)))
        if "time" in self.names:
            micros = (pl.col("time") * 1e6).round().cast(pl.Int64)
            bars = bars.with_columns(pl.from_epoch(micros, "us").cast(pl.Datetime("ns")).dt.replace_time_zone("UTC"))
        found = bars.with_columns(expression_of(self.text).alias("value"))["value"]
        call.out[0] = found.cast(pl.Float64).fill_null(np.nan).tail(rows).to_numpy()
        call.out[0, : max(self.lookback - int(call.given[SEEN]), 0)] = np.nan
        call.given[DONE] = 1
