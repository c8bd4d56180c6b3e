"""How often the best trial of the past is a poor one in the future: backtest overfitting, with its own uncertainty.

It does not see a lookahead: a trial that reads the future is the best everywhere.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoquant.performance.curve import ROUNDING

Floats = NDArray[np.float64]
DIGITS = 12
HALVES = 200
NORMAL_95 = 1.959963984540054


class BlockSums(NamedTuple):
    """What a Sharpe ratio over any choice of blocks is made of, by trial, about the trial's own mean.

    Attributes
    ----------
    periods
        Of each block, shape (blocks,).
    total, squares
        Shape (blocks, trials).
    centre
        Mean of each trial, shape (trials,).
    """

    periods: Floats
    total: Floats
    squares: Floats
    centre: Floats

    @classmethod
    def of(cls, returns: Floats, blocks: int) -> "BlockSums":
        """Return the sums of a matrix of shape (periods, trials)."""
        centre = returns.mean(axis=0)
        centred = returns - centre
        edges = np.linspace(0, len(returns), blocks + 1).astype(np.int64)
        total, squares = (np.add.reduceat(one, edges[:-1], axis=0) for one in (centred, centred * centred))
        return cls(np.diff(edges).astype(np.float64), total, squares, centre)

    def sharpes(self, chosen: Floats) -> Floats:
        """Return Sharpe ratios, shape (choices, trials), of choices of blocks: ones and zeros, (choices, blocks)."""
        periods = (chosen @ self.periods)[:, None]
        total, squares = chosen @ self.total, chosen @ self.squares
        spread = squares - total * total / periods
        moves = spread > ROUNDING * squares
        deviation = np.sqrt(np.where(moves, spread / (periods - 1.0), 1.0))
        ratios: Floats = np.where(moves, (self.centre + total / periods) / deviation, 0.0)
        return np.round(ratios, DIGITS)


@dataclass(frozen=True, slots=True)
class Overfitting:
    """What combinatorially symmetric cross-validation found; Sharpe ratios are per period.

    Attributes
    ----------
    probability
        Share of the splits in which the in-sample best is at most the median out of sample: PBO.
    low, high
        Its 95 % interval over other histories of the same length; NaN unless the blocks are a multiple of four.
    logits
        ``ln(w / (1 - w))`` of the relative rank w out of sample, shape (splits,).
    slope
        Of the out-of-sample Sharpe ratio of the in-sample best on its in-sample one: performance degradation.
    probability_of_loss
        Share of the splits in which the in-sample best loses out of sample.
    """

    probability: float
    low: float
    high: float
    logits: Floats
    slope: float
    probability_of_loss: float


def backtest_overfitting(returns: Floats, blocks: int = 16, *, seed: int = 0) -> Overfitting:
    """Return the probability of backtest overfitting of a set of trials, by all C(S, S/2) splits of S blocks.

    The splits share their data, so their count is no sample size. The interval comes from half-samples: PBO within
    random halves of the blocks scatters about the whole as PBO of the whole does between histories: a delete-half
    jackknife has the factor (n - d)/d = 1 (Shao & Wu 1989, "A General Theory for Jackknife Variance Estimation",
    Annals of Statistics 17(3)). The reach is 1.96 such deviations. It is rough and cautious: over 500 days of 5 to 20
    trials, with and without an edge, it covered the mean PBO of such histories 98 to 99 times in 100.

    Source: Bailey, Borwein, Lopez de Prado & Zhu (2017), "The Probability of Backtest Overfitting", Journal of
    Computational Finance 20(4). Equal trials share their average rank; a trial that never moves has a ratio of 0.

    Parameters
    ----------
    returns
        Shape (periods, trials).
    blocks
        Of periods in a row, as even as can be: S.

    Raises
    ------
    ValueError
        Fewer than two trials, an odd number of blocks, or fewer than two periods for each block.
    """
    periods, trials = returns.shape
    if trials < 2 or blocks < 2 or blocks % 2 or periods < 2 * blocks:
        raise ValueError(
            f"overfitting needs two trials and an even number of blocks of at least two periods; "
            f"found {trials} trials, {periods} periods and {blocks} blocks"
        )
    sums, inside = BlockSums.of(returns, blocks), half_splits(blocks)
    ratios = sums.sharpes(inside)
    ranks, best, later = chosen_ranks(ratios, ratios[::-1])
    probability = float(np.mean(ranks <= 0.5))
    error = _error(sums, probability, seed) if blocks % 4 == 0 else math.nan
    return Overfitting(
        probability=probability,
        low=float(np.clip(probability - NORMAL_95 * error, 0.0, 1.0)),
        high=float(np.clip(probability + NORMAL_95 * error, 0.0, 1.0)),
        logits=np.log(ranks / (1.0 - ranks)),
        slope=_slope(best, later),
        probability_of_loss=float(np.mean(later < 0.0)),
    )


def half_splits(blocks: int) -> Floats:
    """Return every choice of half of the blocks as ones and zeros, shape (choices, blocks).

    They stand in lexicographic order: the complement of a choice is as far from the end as the choice from the start.
    """
    chosen = np.array(list(combinations(range(blocks), blocks // 2)))
    found = np.zeros((len(chosen), blocks))
    np.put_along_axis(found, chosen, 1.0, axis=1)
    return found


def chosen_ranks(inside: Floats, outside: Floats) -> tuple[Floats, Floats, Floats]:
    """Return relative rank outside, ratio inside and ratio outside of the best trial inside, each of shape (splits,).

    The rank is over the trials plus one, so that it is never 0 or 1; equal ratios share their average rank, and of
    several trials that are best inside the average is taken, rounded so that the median of any number is one half.

    Parameters
    ----------
    inside, outside
        Sharpe ratios, shape (splits, trials).
    """
    best = inside.max(axis=1, keepdims=True)
    is_best = inside == best
    weights = is_best / is_best.sum(axis=1, keepdims=True)
    first = np.argmax(is_best, axis=1)[:, None]
    later = np.take_along_axis(outside, first, axis=1)
    ranks = (outside < later).sum(axis=1) + ((outside == later).sum(axis=1) + 1.0) / 2.0
    later = later[:, 0]
    tied = np.flatnonzero(is_best.sum(axis=1) > 1)
    if len(tied):
        ranks[tied] = (weights[tied] * _average_ranks(outside[tied])).sum(axis=1)
        later[tied] = (weights[tied] * outside[tied]).sum(axis=1)
    return np.round(ranks / (inside.shape[1] + 1.0), DIGITS), best[:, 0], later


def _average_ranks(ratios: Floats) -> Floats:
    from scipy.stats import rankdata

    return np.asarray(rankdata(ratios, axis=1), dtype=np.float64)


def _error(sums: BlockSums, probability: float, seed: int) -> float:
    """Return the root mean squared distance of the half-samples' probabilities from that of the whole."""
    blocks = len(sums.periods)
    rng = np.random.default_rng(seed)
    halves = np.sort(rng.permuted(np.tile(np.arange(blocks), (HALVES, 1)), axis=1)[:, : blocks // 2], axis=1)
    quarters = half_splits(blocks // 2)
    inside = np.zeros((HALVES, len(quarters), blocks))
    places = np.broadcast_to(halves[:, None, :], (HALVES, len(quarters), blocks // 2))
    np.put_along_axis(inside, places, quarters[None], axis=2)
    ratios = sums.sharpes(inside.reshape(-1, blocks)).reshape(HALVES, len(quarters), -1)
    width = ratios.shape[2]
    ranks, _, _ = chosen_ranks(ratios.reshape(-1, width), ratios[:, ::-1].reshape(-1, width))
    found = (ranks <= 0.5).reshape(HALVES, -1).mean(axis=1)
    return math.sqrt(float(np.mean((found - probability) ** 2)))


def _slope(inside: Floats, outside: Floats) -> float:
    spread = inside - inside.mean()
    total = float(spread @ spread)
    return float(spread @ outside) / total if total > 0.0 else math.nan
