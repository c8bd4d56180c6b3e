"""Trees of every kind as flat arrays: boosted, bagged or grown at random."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoquant.models.rows import TOGETHER

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
ABOVE_SINGLE = 2.0**128  # what follows the largest number of single precision


def widened(thresholds: NDArray[Any]) -> Floats:
    """Return for each threshold t the largest double that, rounded to single precision, is not above t.

    So ``x <= widened(t)`` says of a double x what ``float32(x) <= t`` says, and nothing is rounded where rows are read.
    """
    wanted = np.asarray(thresholds, dtype=np.float64)
    with np.errstate(over="ignore", under="ignore"):
        single = wanted.astype(np.float32)
        single = np.where(single > wanted, np.nextafter(single, np.float32(-np.inf)), single)
        after = np.nextafter(single, np.float32(np.inf))
    low, high = (np.clip(one.astype(np.float64), -ABOVE_SINGLE, ABOVE_SINGLE) for one in (single, after))
    middle = low + 0.5 * (high - low)
    is_even = single.view(np.int32) & 1 == 0  # ties go to the even neighbour
    bounds = np.where(is_even, middle, np.nextafter(middle, -np.inf))
    return np.where(np.isposinf(wanted), np.inf, bounds)


class Nodes(NamedTuple):
    """The nodes of one tree, as a library keeps them; children count from the root, below 0 in a leaf.

    A row goes left where its value is not above the threshold, and where it has none and ``missing_left`` says so.
    """

    feature: NDArray[Any]
    threshold: NDArray[Any]
    left: NDArray[Any]
    right: NDArray[Any]
    value: NDArray[Any]
    missing_left: NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Trees as flat arrays, level by level, the roots first; see ``rows.walk_trees`` for what they mean.

    The number of roots is a multiple of four: trees of one leaf of 0 stand for those that lack.
    """

    thresholds: Floats
    steps: NDArray[np.uint32]
    values: Floats
    rights: NDArray[np.bool_]
    depths: Integers

    @classmethod
    def of(cls, trees: Sequence[Nodes]) -> "Forest":
        """Return trees level by level.

        Raises
        ------
        ValueError
            A tree is none: a node has one child only, or stands below itself.
        IndexError
            A child is not among the nodes.
        """
        blank = Nodes(*(np.array([number]) for number in (0, 0.0, -1, -1, 0.0, True)))
        grown = [*trees, *[blank] * (-len(trees) % TOGETHER)]
        sizes = np.array([len(tree.left) for tree in grown])
        roots = np.cumsum(sizes) - sizes
        shift, total = np.repeat(roots, sizes), int(sizes.sum())
        joined = Nodes(*(np.concatenate(columns) for columns in zip(*grown, strict=True)))
        left = np.where(joined.left >= 0, joined.left + shift, -1)
        right = np.where(joined.right >= 0, joined.right + shift, -1)
        if ((left < 0) != (right < 0)).any():
            raise ValueError("a node with one child")
        levels, children, placed = [roots], [], len(roots)
        while len(levels[-1]):
            level = levels[-1]
            inner = left[level] >= 0
            own = placed - len(level) + np.arange(len(level))
            children.append(np.where(inner, placed + 2 * (np.cumsum(inner) - 1), own))
            levels.append(np.column_stack([left[level[inner]], right[level[inner]]]).ravel())
            placed += len(levels[-1])
            if placed > total:
                raise ValueError("a node stands below itself")
        order, first = np.concatenate(levels), np.concatenate(children)
        is_leaf = left[order] < 0
        return cls.checked(
            np.where(is_leaf, np.inf, joined.threshold[order]),
            np.column_stack([np.where(is_leaf, 0, joined.feature[order]), first]),
            np.where(is_leaf, joined.value[order], 0.0),
            ~is_leaf & ~joined.missing_left[order].astype(np.bool_),
            len(grown),
        )

    @classmethod
    def checked(
        cls, thresholds: NDArray[Any], steps: NDArray[Any], values: NDArray[Any], rights: NDArray[Any], roots: int
    ) -> "Forest":
        """Return the trees of arrays that may be damaged: a walk ends in a leaf whatever a row holds.

        Raises
        ------
        ValueError
            The arrays hold no trees.
        """
        count = len(thresholds)
        shapes = [array.shape for array in (thresholds, steps, values, rights)]
        if shapes != [(count,), (count, 2), (count,), (count,)] or not 0 < roots <= count or roots % TOGETHER:
            raise ValueError(f"arrays of shapes {shapes} and {roots} roots hold no trees")
        feature, left = steps[:, 0].astype(np.int64), steps[:, 1].astype(np.int64)
        own = np.arange(count)
        is_leaf = left == own
        is_sound = np.where(is_leaf, np.isposinf(thresholds) & ~rights, (left > own) & (left + 1 < count))
        if not (is_sound & (feature >= 0)).all():
            raise ValueError(f"node {int(np.argmin(is_sound))} leads nowhere")
        depths, seen = np.zeros(roots, dtype=np.int64), roots
        level = trees = own[:roots]
        while not is_leaf[level].all():
            inner = ~is_leaf[level]
            below = left[level[inner]]
            level, trees = np.concatenate([below, below + 1]), np.tile(trees[inner], 2)
            depths[trees] += 1
            seen += len(level)
            if seen > count:
                raise ValueError("a node stands in two places")
        return cls(
            np.ascontiguousarray(thresholds, dtype=np.float64),
            np.ascontiguousarray(steps, dtype=np.uint32),
            np.ascontiguousarray(values, dtype=np.float64),
            np.ascontiguousarray(rights, dtype=np.bool_),
            depths.reshape(-1, TOGETHER).max(axis=1),
        )
