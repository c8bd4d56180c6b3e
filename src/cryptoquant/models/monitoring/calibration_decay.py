"""Whether a deployed model's probabilities still mean what they meant out of sample."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import ModelError
from cryptoquant.models.monitoring.finding import Finding, Part
from cryptoquant.models.monitoring.resampling import Blocks, memory_of

Floats = NDArray[np.float64]
BINS = 10
DRAWS = 2_000
NAMES = ("level", "slope", "spiegelhalter")


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationDecay:
    """How far the last outcomes lie from what the same probabilities came to out of sample.

    A probability p stands for q, the share of rises among the reference rows of its tenth. Three numbers are taken of a
    window, each normal if outcomes were independent: ``level`` (more or fewer rises than q says), ``slope`` (rises less
    tied to p than they were) and Spiegelhalter's Z of q. Labels that overlap and symbols that move together make them
    wider than normal, wherefore their thresholds come from windows drawn in blocks from the reference: a window of a
    model whose calibration has not changed exceeds any of the three with probability ``false_alarm``, per check.

    Source: Cox (1958), "Two further applications of a model for binary regression" (level and slope); Spiegelhalter
    (1986), "Probabilistic prediction in patient management and clinical trials" (Z).

    Attributes
    ----------
    window, false_alarm
        Settled predictions of a check, in time order, and the rate.
    edges, shares
        Upper edges of the tenths but the last, and q of each.
    middle
        Mean probability of the reference.
    thresholds
        Shape (3,), of the absolute numbers.
    """

    window: int
    false_alarm: float
    edges: Floats
    shares: Floats
    middle: float
    thresholds: Floats

    @property
    def columns(self) -> int:
        """How many columns it reads."""
        return 2

    @classmethod
    def fit(
        cls, predicted: Floats, rises: Floats, *, window: int, false_alarm: float = 0.01, seed: int = 0
    ) -> "CalibrationDecay":
        """Return the check from out-of-sample predictions and what came of them, in time order, shape (rows,) each.

        Raises
        ------
        ModelError
            The rows are fewer than four windows or hold values that are no probabilities or classes.
        ValueError
            The rate lies outside of 0.001 to 0.5.
        """
        if not 0.001 <= false_alarm <= 0.5:
            raise ValueError(f"false_alarm must lie between 0.001 and 0.5, found {false_alarm!r}")
        table = _outcomes(np.column_stack([predicted, rises]))
        values, ups = table.T
        edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS, method="inverted_cdf"))
        place = np.searchsorted(edges, values)
        counts = np.bincount(place, minlength=len(edges) + 1)
        shares = (np.bincount(place, ups, len(edges) + 1) + 0.5) / (counts + 1.0)
        middle = float(values.mean())
        tops, squares = _terms(values, ups, shares[place], middle)
        memory = memory_of(tops)
        blocks = Blocks.of(len(table), window, float(memory.max()))
        drawn = np.stack([_numbers(tops[rows], squares[rows]) for rows in blocks.draw(DRAWS, seed)])
        drawn = np.abs(drawn) * np.sqrt(blocks.widening(memory, false_alarm))
        usual = np.maximum(np.quantile(drawn, 0.95, axis=0), 1e-12)
        limit = float(np.quantile((drawn / usual).max(axis=1), 1.0 - false_alarm, method="higher"))
        return cls(window, false_alarm, edges, shares, middle, usual * limit)

    def judge(self, rows: Floats) -> Finding:
        """Return what the last ``window`` rows show; rows have shape (rows, 2): probability and 1 for a rise.

        Raises
        ------
        ModelError
            There are fewer rows than the window, or they are no probabilities and classes.
        """
        table = _outcomes(rows)
        if len(table) < self.window:
            raise ModelError(f"{len(table)} settled predictions, wanted at least {self.window}")
        values, ups = table[-self.window :].T
        shares = self.shares[np.searchsorted(self.edges, values)]
        found = _numbers(*_terms(values, ups, shares, self.middle))
        numbers = zip(NAMES, found.tolist(), self.thresholds.tolist(), strict=True)
        parts = tuple(Part(name, value, bound) for name, value, bound in numbers)
        worst = max(parts, key=lambda part: abs(part.value) / part.threshold)
        gap = f"{worst.name} {worst.value:.1f}; {ups.mean():.1%} rises, {shares.mean():.1%} expected"
        return Finding(abs(worst.value), worst.threshold, abs(worst.value) > worst.threshold, gap, parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the check as plain JSON values."""
        return {
            "window": self.window,
            "false_alarm": self.false_alarm,
            "edges": self.edges.tolist(),
            "shares": self.shares.tolist(),
            "middle": self.middle,
            "thresholds": self.thresholds.tolist(),
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "CalibrationDecay":
        """Return the check that ``to_dict`` described."""
        arrays = {name: np.array(saved[name], dtype=np.float64) for name in ("edges", "shares", "thresholds")}
        return cls(saved["window"], saved["false_alarm"], middle=saved["middle"], **arrays)


def spiegelhalter(predicted: Floats, rises: Floats) -> float:
    """Return Spiegelhalter's Z: ``sum (y - p)(1 - 2p) / sqrt(sum (1 - 2p)^2 p (1 - p))``, NaN when all p are a half.

    Standard normal for independent outcomes of calibrated probabilities.

    Source: Spiegelhalter (1986), Statistics in Medicine 5(5).
    """
    away = 1.0 - 2.0 * predicted
    spread = math.sqrt(float((away**2 * predicted * (1.0 - predicted)).sum()))
    return float(((rises - predicted) * away).sum()) / spread if spread > 0.0 else math.nan


def _terms(values: Floats, ups: Floats, shares: Floats, middle: float) -> tuple[Floats, Floats]:
    """Return the terms of the three sums and those of their variances, shape (rows, 3) each."""
    weights = np.column_stack([np.ones(len(values)), values - middle, 1.0 - 2.0 * shares])
    return (ups - shares)[:, None] * weights, (shares * (1.0 - shares))[:, None] * weights**2


def _numbers(tops: Floats, squares: Floats) -> Floats:
    found: Floats = tops.sum(axis=0) / np.sqrt(np.maximum(squares.sum(axis=0), 1e-300))
    return found


def _outcomes(rows: Any) -> Floats:
    table = np.asarray(rows, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != 2:
        raise ModelError(f"outcomes of shape {table.shape}, wanted (rows, 2): probability and rise")
    values, ups = table.T
    if not (np.isfinite(table).all() and ((values >= 0) & (values <= 1)).all() and np.isin(ups, (0.0, 1.0)).all()):
        raise ModelError("outcomes: wanted probabilities from 0 to 1, and 1 for a rise or 0 for a fall")
    return table
