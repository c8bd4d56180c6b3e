"""Ranks and correlations within groups of rows: within symbols, within months of symbols, or across symbols."""

import numpy as np

from cryptoquant.features.kernel import Integers
from cryptoquant.market.slice import Floats


def distinct(values: Floats) -> Integers:
    """Return the place of each row's value among the distinct values, the lowest 0; NaN stand last."""
    order = np.argsort(values)
    ordered = values[order]
    found = np.empty(len(values), np.int64)
    found[order] = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
    return found


def places(found: Integers, groups: Integers) -> Integers:
    """Return places that ascend by group first and by value then; equal values of a group share one."""
    return distinct(groups * (found.max() + 1) + found)


def mean_ranks(found: Integers) -> Floats:
    """Return ranks of places; equal places share the mean of their ranks."""
    counts = np.bincount(found)
    ranks: Floats = np.cumsum(counts)[found] - 0.5 * (counts[found] - 1)
    return ranks


def centred(values: Floats, groups: Integers, sizes: Integers) -> Floats:
    """Return values less their group's mean; exactly 0 where all values of a group are equal.

    Parameters
    ----------
    sizes
        Rows of each group, by its number.
    """
    anchors = np.zeros(len(sizes))
    anchors[groups[::-1]] = values[::-1]
    moved = values - anchors[groups]
    means = np.bincount(groups, moved, len(sizes)) / np.maximum(sizes, 1)
    less: Floats = moved - means[groups]
    return less


def correlations(first: Floats, second: Floats, groups: Integers, count: int) -> Floats:
    """Return Pearson's correlation of centred rows in each of ``count`` groups; NaN where one does not vary."""
    products, left, right = (
        np.bincount(groups, values, count) for values in (first * second, first * first, second * second)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = products / np.sqrt(left * right)
    return found


def rank_correlations(first: Integers, second: Integers, groups: Integers, least: int) -> tuple[Floats, Integers]:
    """Return Spearman's correlation in each group and its rows; NaN for fewer than ``least`` rows.

    Parameters
    ----------
    first, second
        Places that ascend by group first.
    """
    sizes = np.bincount(groups)
    ranks, others = (centred(mean_ranks(found), groups, sizes) for found in (first, second))
    found = correlations(ranks, others, groups, len(sizes))
    return np.where(sizes >= least, found, np.nan), sizes


def average(values: Floats, weights: Integers) -> float:
    """Return the mean of the values that are defined, by weight; NaN if none is."""
    there = ~np.isnan(values)
    return float(np.average(values[there], weights=weights[there])) if there.any() else float("nan")
