"""What is computed row by row: compiled, and in the same order for a row alone and among others."""

import math

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import kernel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
TOGETHER = 4


@kernel
def weigh_rows(rows: Floats, slope: Floats, intercept: float, is_logistic: bool, out: Floats) -> None:
    """Write ``intercept + slope . row`` for each row, added left to right; its logistic function where asked for."""
    for row in range(len(rows)):
        level = intercept
        for column in range(len(slope)):
            level += slope[column] * rows[row, column]
        out[row] = 1.0 / (1.0 + np.exp(-level)) if is_logistic else level


@kernel
def descend(
    rows: Floats, row: int, node: np.uintp, thresholds: Floats, steps: NDArray[np.uint32], rights: NDArray[np.bool_]
) -> np.uintp:
    """Return the next node on the way of a row that has holes."""
    value = rows[row, steps[node, 0]]
    right = rights[node] if value != value else value > thresholds[node]
    return np.uintp(steps[node, 1]) + np.uintp(right)


@kernel
def walk_trees(
    rows: Floats,
    thresholds: Floats,
    steps: NDArray[np.uint32],
    values: Floats,
    rights: NDArray[np.bool_],
    depths: Integers,
    base: float,
    divisor: float,
    is_logistic: bool,
    out: Floats,
) -> None:
    """Write ``base`` and the leaves that each row ends in, added tree by tree, over ``divisor``.

    Trees are walked four at a time, so that the waits for memory overlap. The roots are the first nodes. ``steps``
    (nodes, 2): the feature that a node asks for and its left child, beside which stands the right one, where values
    above the threshold go. A leaf is its own left child, below an infinite threshold. ``rights``: where a hole goes
    right. ``depths``: of the deepest of each four trees.
    """
    for row in range(len(rows)):
        has_hole = False
        for column in range(rows.shape[1]):
            has_hole |= rows[row, column] != rows[row, column]
        total = base
        for four in range(len(depths)):
            a, b = np.uintp(TOGETHER * four), np.uintp(TOGETHER * four + 1)
            c, d = np.uintp(TOGETHER * four + 2), np.uintp(TOGETHER * four + 3)
            if has_hole:
                for _ in range(depths[four]):
                    a = descend(rows, row, a, thresholds, steps, rights)
                    b = descend(rows, row, b, thresholds, steps, rights)
                    c = descend(rows, row, c, thresholds, steps, rights)
                    d = descend(rows, row, d, thresholds, steps, rights)
            else:
                for _ in range(depths[four]):
                    a = np.uintp(steps[a, 1]) + np.uintp(rows[row, steps[a, 0]] > thresholds[a])
                    b = np.uintp(steps[b, 1]) + np.uintp(rows[row, steps[b, 0]] > thresholds[b])
                    c = np.uintp(steps[c, 1]) + np.uintp(rows[row, steps[c, 0]] > thresholds[c])
                    d = np.uintp(steps[d, 1]) + np.uintp(rows[row, steps[d, 0]] > thresholds[d])
            total += values[a]
            total += values[b]
            total += values[c]
            total += values[d]
        total /= divisor
        out[row] = 1.0 / (1.0 + np.exp(-total)) if is_logistic else total


@kernel
def bend(values: Floats, slope: float, offset: float, is_odds: bool, out: Floats) -> None:
    """Write ``1 / (1 + exp(-(offset + slope * value)))``; of a probability its log odds count, NaN stays NaN."""
    for place in range(len(values)):
        value = values[place]
        if is_odds:
            if value < 1e-12:
                value = 1e-12
            elif value > 1.0 - 1e-12:
                value = 1.0 - 1e-12
            value = np.log(value / (1.0 - value))
        out[place] = 1.0 / (1.0 + np.exp(-(offset + slope * value)))


@kernel
def interpolate(values: Floats, corners: Floats, levels: Floats, out: Floats) -> None:
    """Write the height at each value of the line through corners that ascend; flat beyond them, NaN stays NaN."""
    last = len(corners) - 1
    for place in range(len(values)):
        value = values[place]
        if value != value:
            out[place] = value
        elif value <= corners[0]:
            out[place] = levels[0]
        elif value >= corners[last]:
            out[place] = levels[last]
        else:
            after = np.searchsorted(corners, value, side="right")
            share = (value - corners[after - 1]) / (corners[after] - corners[after - 1])
            out[place] = levels[after - 1] + share * (levels[after] - levels[after - 1])


@kernel
def nearest_distances(
    rows: Floats, mean: Floats, scale: Floats, references: Floats, own: Integers, out: Floats
) -> None:
    """Write the distance of each row, standardised, to the nearest reference, infinite for a row with holes.

    ``references`` (features, references): standardised. ``own``: the reference that each row is itself and that does
    not count, -1 for none; empty where no row is one.
    """
    count = references.shape[1]
    squares = np.empty(count)
    for row in range(len(rows)):
        squares[:] = 0.0
        for column in range(len(mean)):
            value = (rows[row, column] - mean[column]) / scale[column]
            for other in range(count):
                step = value - references[column, other]
                squares[other] += step * step
        if len(own) and own[row] >= 0:
            squares[own[row]] = np.inf
        best = np.inf
        for other in range(count):
            if squares[other] < best:
                best = squares[other]
        out[row] = np.sqrt(best)


@kernel
def mean_distance(references: Floats) -> float:
    """Return the mean distance between two references; ``references`` has shape (features, references)."""
    count = references.shape[1]
    squares = np.empty(count)
    total = 0.0
    for one in range(count):
        squares[:] = 0.0
        for column in range(references.shape[0]):
            value = references[column, one]
            for other in range(one + 1, count):
                step = value - references[column, other]
                squares[other] += step * step
        for other in range(one + 1, count):
            total += math.sqrt(squares[other])
    mean: float = total / (0.5 * count * (count - 1))
    return mean
