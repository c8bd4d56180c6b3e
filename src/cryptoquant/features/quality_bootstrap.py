"""How far a mean over closes could be from the truth, and how many of many findings chance alone would bring."""

import math
from dataclasses import dataclass

import numpy as np

from cryptoquant.features.kernel import Integers
from cryptoquant.market.slice import Floats

DRAWS = 1_000
CONFIDENCE = 0.95
DISCOVERY_RATE = 0.05
FEWEST_BLOCKS = 8
MOST_STARTS = 4_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its percentile interval, its ratio to the deviation of its draws, and the p-value of zero."""

    low: float = math.nan
    high: float = math.nan
    t_ratio: float = math.nan
    p_value: float = math.nan


def block_length(closes: int, horizon: int) -> int:
    """Return the closes of a block: twice the horizon and the cube root of the closes.

    Returns over ``horizon`` bars share bars with the next ``horizon - 1``, so what is averaged is dependent that far.
    The estimate of a variance by blocks of length L weighs the dependence at lag k by 1 - k/L (Bartlett), wherefore
    blocks of one horizon alone would find intervals a fifth too narrow for a feature that persists.
    """
    return 2 * horizon + math.ceil(math.cbrt(closes))


def estimates(sums: Floats, counts: Integers, found: Floats, horizon: int, seed: int) -> list[Estimate]:
    """Return what a circular block bootstrap over closes says of ratios ``sum of sums / sum of counts``.

    Blocks of closes, with all symbols in them, are drawn with replacement from the ring of all closes. The p-value is
    two-sided, of Student's t with one degree of freedom less than there are blocks: counted draws could not tell
    p-values below 1 / draws apart, which the correction for many pairs needs.

    Fewer than eight blocks say nothing: NaN.

    Source: Politis, Romano (1992), "A circular block-resampling procedure for stationary data".

    Parameters
    ----------
    sums
        Shape (figures, closes).
    counts
        Rows of each close, shape (closes,).
    found
        The figures themselves, shape (figures,).
    """
    closes = len(counts)
    length = block_length(closes, horizon)
    if closes < FEWEST_BLOCKS * length:
        return [Estimate() for _ in found]
    drawn = _drawn(sums, counts, length, seed)
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    lows, highs = np.quantile(drawn, tails, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = found / drawn.std(axis=1, ddof=1)
    p_values = _two_sided(ratios, math.ceil(closes / length) - 1)
    rows = zip(lows, highs, ratios, p_values, strict=True)
    return [Estimate(*(float(number) for number in row)) for row in rows]


def _drawn(sums: Floats, counts: Integers, length: int, seed: int) -> Floats:
    """Return the ratios of all draws, shape (figures, draws)."""
    closes = len(counts)
    blocks = math.ceil(closes / length)
    table = np.vstack([sums, counts])
    totals = np.cumsum(np.hstack([np.zeros((len(table), 1)), table, table[:, :length]]), axis=1)
    in_block = totals[:, length : length + closes] - totals[:, :closes]
    random = np.random.default_rng(seed)
    drawn = np.empty((len(table), DRAWS))
    step = max(1, MOST_STARTS // blocks)
    for draw in range(0, DRAWS, step):
        starts = random.integers(0, closes, (min(step, DRAWS - draw), blocks))
        for row, block in enumerate(in_block):
            drawn[row, draw : draw + len(starts)] = block[starts].sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios: Floats = drawn[:-1] / drawn[-1]
    return ratios


def _two_sided(ratios: Floats, freedom: int) -> Floats:
    from scipy.special import stdtr

    p_values: Floats = 2.0 * stdtr(freedom, -np.abs(ratios))
    return p_values


def q_values(p_values: Floats) -> Floats:
    """Return the lowest false discovery rate at which each p-value would count; NaN stay and do not count.

    Source: Benjamini, Hochberg (1995), "Controlling the False Discovery Rate"; valid for independent tests and for
    positively dependent ones (Benjamini, Yekutieli 2001).
    """
    found = np.full(len(p_values), np.nan)
    there = np.flatnonzero(~np.isnan(p_values))
    order = there[np.argsort(p_values[there], kind="stable")]
    scaled = p_values[order] * len(order) / np.arange(1, len(order) + 1)
    found[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return found
