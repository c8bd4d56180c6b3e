"""Is the market still the one that the model learned: distances between its rows then and now, and what chance shows.

The usual rules of thumb for these distances know nothing about the length of a window or the memory of a market, so the
thresholds here come from the reference itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import MissingExtraError, ModelError
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.monitoring.finding import Finding, Part
from cryptoquant.models.monitoring.resampling import Blocks, memory_of

Floats = NDArray[np.float64]
Cells = NDArray[np.int64]

BINS = 10
KNOTS = 200
SMOOTHING = 0.5
DRAWS = 2_000
COMMON = 0.95


def psi(reference: Floats, live: Floats, bins: int = BINS) -> float:
    """Return the population stability index: ``sum (q - p) ln(q / p)`` over quantile bins of the reference.

    Each count is raised by a half before shares are taken, so that an empty bin gives a finite number. Bins are closed
    above; values that repeat share one, so that there may be fewer.

    Source: Siddiqi (2006), "Credit Risk Scorecards", chapter 10; the half is Jeffreys' (1946).
    """
    grid = _Grid.of(np.asarray(reference, dtype=np.float64)[:, None], bins)
    return float(grid.psi(grid.count(_column(reference)), grid.count(_column(live)))[0])


def ks(reference: Floats, live: Floats) -> float:
    """Return the largest distance between two empirical distributions (Kolmogorov and Smirnov, two samples).

    Exact where the reference has at most 200 distinct values; else the distance at its quantiles, short by 1/200 at
    most.
    """
    grid = _Grid.of(np.asarray(reference, dtype=np.float64)[:, None])
    return float(grid.ks(grid.count(_column(reference)), grid.count(_column(live)))[0])


def _column(values: Floats) -> Floats:
    return np.asarray(values, dtype=np.float64)[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """Where the values of each column are cut: cells on and between knots, and bins of several cells."""

    knots: tuple[Floats, ...]
    edges: tuple[Floats, ...]
    first: Cells
    bin_first: Cells
    bin_column: Cells
    column_bin: Cells
    cells: int

    @classmethod
    def of(cls, table: Floats, bins: int = BINS) -> "_Grid":
        shares = np.arange(1, KNOTS) / KNOTS
        parts = np.arange(1, bins) / bins
        knots, edges = [], []
        for column in table.T:
            distinct = np.unique(column)
            cuts = np.unique(np.quantile(column, parts, method="inverted_cdf"))
            fine = distinct if len(distinct) <= KNOTS else np.quantile(column, shares, method="inverted_cdf")
            knots.append(np.union1d(fine, cuts))
            edges.append(cuts)
        return cls.cut(tuple(knots), tuple(edges))

    @classmethod
    def cut(cls, knots: tuple[Floats, ...], edges: tuple[Floats, ...]) -> "_Grid":
        sizes = np.array([2 * len(one) + 1 for one in knots])
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        starts, owners = [], []
        for column, (fine, cuts) in enumerate(zip(knots, edges, strict=True)):
            # The cell after the one of a knot is the first above it.
            begins = np.concatenate([[0], 2 * np.searchsorted(fine, cuts) + 2])
            starts.append(first[column] + begins)
            owners.append(np.full(len(begins), column))
        owned = np.concatenate(owners)
        column_bin = np.searchsorted(owned, np.arange(len(knots)))
        return cls(knots, edges, first, np.concatenate(starts), owned, column_bin, int(sizes.sum()))

    def cells_of(self, table: Floats) -> Cells:
        """Return the cell of each value, shape (rows, columns): even ones lie between knots, odd ones on them."""
        out = np.empty(table.shape, dtype=np.int64)
        for column, fine in enumerate(self.knots):
            values = table[:, column]
            out[:, column] = (
                self.first[column] + np.searchsorted(fine, values, "left") + np.searchsorted(fine, values, "right")
            )
        return out

    def count(self, table: Floats) -> Cells:
        return self.tally(self.cells_of(table))

    def tally(self, cells: Cells) -> Cells:
        return np.bincount(cells.ravel(), minlength=self.cells)

    def ks(self, one: Cells, other: Cells) -> Floats:
        columns = np.arange(len(self.knots))
        rows, others = one.sum() / len(columns), other.sum() / len(columns)
        apart = np.abs(np.cumsum(one) / rows - np.cumsum(other) / others)
        # Counts of earlier columns are whole in both, so that their shares cancel.
        found: Floats = np.maximum.reduceat(apart, self.first)
        return found

    def psi(self, one: Cells, other: Cells) -> Floats:
        p, q = self._shares(one), self._shares(other)
        found: Floats = np.add.reduceat((q - p) * np.log(q / p), self.column_bin)
        return found

    def _shares(self, counts: Cells) -> Floats:
        raised = np.add.reduceat(counts, self.bin_first) + SMOOTHING
        shares: Floats = raised / np.add.reduceat(raised, self.column_bin)[self.bin_column]
        return shares


@dataclass(frozen=True, slots=True, eq=False)
class FeatureDrift:
    """How far the last rows lie from those that a model learned from, by feature, against what chance shows.

    The thresholds hold for a window of one length. They are such that a window of a market that has not changed exceeds
    any of them, of all features and both measures, with probability ``false_alarm``: per check, not per feature. Draws
    of windows from the reference keep its memory (``Blocks``); each feature's draws are scaled to their 95 % quantile,
    and the largest of a draw counts (Westfall, Young 1993).

    Attributes
    ----------
    names
        Of the features.
    window, false_alarm
        Rows that are compared at once, in time order, all symbols together; and the rate.
    thresholds
        Shape (2, features): of PSI and KS.
    memory
        Shape (features,): over how many rows each remembers. One beyond a quarter of the window cannot be told from
        drift by this window: its threshold is wide and its false-alarm rate not kept.
    """

    names: tuple[str, ...]
    window: int
    false_alarm: float
    thresholds: Floats
    memory: Floats
    grid: _Grid
    counts: Cells

    @classmethod
    def fit(
        cls,
        rows: Any,
        names: Sequence[str] | None = None,
        *,
        window: int,
        false_alarm: float = 0.01,
        seed: int = 0,
    ) -> "FeatureDrift":
        """Return the measure of drift from reference rows.

        Parameters
        ----------
        rows
            Shape (rows, features) in time order, or a Dataset: what the model was trained on; for predictions, those
            made out of sample.
        names
            By default those of the Dataset, else ``x0`` and so on.

        Raises
        ------
        ModelError
            The reference is shorter than four windows, or holds values that are not finite.
        ValueError
            The rate lies outside of 0.001 to 0.5, which 2,000 draws can tell.
        """
        if not 0.001 <= false_alarm <= 0.5:
            raise ValueError(f"false_alarm must lie between 0.001 and 0.5, found {false_alarm!r}")
        named = names if names is not None else rows.names if isinstance(rows, Dataset) else None
        table = _table(rows.features if isinstance(rows, Dataset) else rows)
        labels = tuple(named) if named is not None else tuple(f"x{place}" for place in range(table.shape[1]))
        if len(labels) != table.shape[1]:
            raise ModelError(f"{len(labels)} names for {table.shape[1]} features")
        grid, memory = _Grid.of(table), memory_of(table)
        blocks = Blocks.of(len(table), window, float(memory.max()))
        cells = grid.cells_of(table)
        counts = grid.tally(cells)
        drawn = np.stack([_distances(grid, counts, grid.tally(cells[rows])) for rows in blocks.draw(DRAWS, seed)])
        wider = blocks.widening(memory, false_alarm)
        drawn *= np.stack([wider, np.sqrt(wider)])
        return cls(labels, window, false_alarm, _thresholds(drawn, false_alarm), memory, grid, counts)

    @property
    def columns(self) -> int:
        """How many columns it reads."""
        return len(self.names)

    def check(self, rows: Any) -> pl.DataFrame:
        """Return by feature: psi, psi_threshold, ks, ks_threshold, is_drifted; of the last ``window`` rows.

        Raises
        ------
        ModelError
            There are fewer rows than the window, other columns, or values that are not finite.
        """
        table = _table(rows)
        if len(table) < self.window or table.shape[1] != len(self.names):
            raise ModelError(f"rows of shape {table.shape}, wanted ({self.window} or more, {len(self.names)})")
        found = _distances(self.grid, self.counts, self.grid.count(table[-self.window :]))
        return pl.DataFrame(
            {
                "feature": self.names,
                "psi": found[0],
                "psi_threshold": self.thresholds[0],
                "ks": found[1],
                "ks_threshold": self.thresholds[1],
                "is_drifted": (found > self.thresholds).any(axis=0),
            }
        )

    def judge(self, rows: Floats) -> Finding:
        """Return the check as one number: the largest distance in units of its threshold."""
        table = self.check(rows)
        ratios = [
            (_ratio(row["psi"], row["psi_threshold"]), _ratio(row["ks"], row["ks_threshold"]))
            for row in table.iter_rows(named=True)
        ]
        parts = tuple(Part(name, max(pair), 1.0) for name, pair in zip(self.names, ratios, strict=True))
        worst = max(parts, key=lambda part: part.value)
        moved = [part.name for part in sorted(parts, key=lambda part: -part.value) if part.value > 1.0]
        return Finding(worst.value, 1.0, worst.value > 1.0, ", ".join(moved[:5]), parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the measure as plain JSON values."""
        return {
            "names": list(self.names),
            "window": self.window,
            "false_alarm": self.false_alarm,
            "thresholds": self.thresholds.tolist(),
            "memory": self.memory.tolist(),
            "knots": [one.tolist() for one in self.grid.knots],
            "edges": [one.tolist() for one in self.grid.edges],
            "counts": self.counts.tolist(),
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "FeatureDrift":
        """Return the measure that ``to_dict`` described."""
        knots, edges = (tuple(np.array(one, dtype=np.float64) for one in saved[key]) for key in ("knots", "edges"))
        return cls(
            tuple(saved["names"]),
            saved["window"],
            saved["false_alarm"],
            np.array(saved["thresholds"]),
            np.array(saved["memory"]),
            _Grid.cut(knots, edges),
            np.array(saved["counts"], dtype=np.int64),
        )


def _table(rows: Any) -> Floats:
    table = np.asarray(rows, dtype=np.float64)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ModelError(f"rows of shape {table.shape}, wanted finite numbers of shape (rows, features)")
    return table


def _distances(grid: _Grid, base: Cells, window: Cells) -> Floats:
    return np.stack([grid.psi(base, window), grid.ks(base, window)])


def _thresholds(drawn: Floats, false_alarm: float) -> Floats:
    """Return the threshold of each measure and feature from draws of shape (draws, 2, features)."""
    usual: Floats = np.quantile(drawn, COMMON, axis=0)
    safe = np.where(usual > 0.0, usual, 1.0)
    largest = (drawn / safe).reshape(len(drawn), -1).max(axis=1)
    limit: Floats = usual * np.quantile(largest, 1.0 - false_alarm, method="higher")
    # What is never apart may still be apart by rounding.
    return limit + 1e-12


def _ratio(value: float, threshold: float) -> float:
    return min(value / threshold, 1e6)


class Adwin:
    """Notices that the mean of a stream has changed, from no reference, by a window that cuts itself.

    Values are clipped to ``low`` to ``high``, which the bound of the test wants known; those that are not finite are
    left out and counted in ``left_out``. Feed it values that do not overlap (one for each horizon): it takes them as
    independent. A change is told at the next look, also where the mean has gone back by then: what it is now is said.

    Source: Bifet, Gavalda (2007), "Learning from time-changing data with adaptive windowing"; the library is river.

    Parameters
    ----------
    low, high
        Range of the values, for example 0 and 1 of a Brier score.
    worse
        Which way is bad: ``up`` for errors, ``down`` for profits, ``both``.
    delta
        The rate of the test; the false alarms of one run over a stationary stream are fewer than it says.

    Raises
    ------
    MissingExtraError
        river is not installed.
    """

    def __init__(self, low: float, high: float, *, worse: str = "up", delta: float = 0.002) -> None:
        if not low < high:
            raise ValueError(f"low must lie below high, found {low!r} and {high!r}")
        if worse not in ("up", "down", "both"):
            raise ValueError(f"worse must be up, down or both, found {worse!r}")
        try:
            from river.drift import ADWIN
        except ImportError as error:
            raise MissingExtraError("river", "river") from error
        self.low, self.high, self.worse, self.delta = low, high, worse, delta
        self._make = ADWIN
        self.reset()

    def reset(self) -> None:
        """Forget all values."""
        self._window = self._make(delta=self.delta)
        self._before = 0.0
        self._changed = False
        self._seen = self.left_out = 0

    def update(self, rows: Floats) -> None:
        """Take the next values, oldest first."""
        values = np.asarray(rows, dtype=np.float64).ravel()
        finite = values[np.isfinite(values)]
        self.left_out += len(values) - len(finite)
        for value in np.clip(finite, self.low, self.high):
            before = self._window.estimation
            self._window.update(float((value - self.low) / (self.high - self.low)))
            self._seen += 1
            now = self._window.estimation
            if self._window.drift_detected and self._is_worse(now, before) and not self._changed:
                self._changed, self._before = True, before

    def look(self) -> Finding | None:
        """Return whether the mean has changed for the worse since the last look; None before the first value."""
        if not self._seen:
            return None
        changed, self._changed = self._changed, False
        now, before = (self.low + (self.high - self.low) * one for one in (self._window.estimation, self._before))
        words = f"mean {before:.4g} before, {now:.4g} now" if changed else ""
        return Finding(now, before if changed else float("nan"), changed, words)

    def _is_worse(self, now: float, before: float) -> bool:
        return now != before if self.worse == "both" else now > before if self.worse == "up" else now < before
