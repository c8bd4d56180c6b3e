"""Which features say the same: correlations between features and the clusters that they form."""

import math
from itertools import pairwise

import numpy as np
import polars as pl

from cryptoquant.features.quality_pairs import Rows
from cryptoquant.market.slice import Floats

CLUSTER_CORRELATION = 0.7
LEAST_VARIANCE = 1e-12


def correlations_between(ranks: list[Floats], rows: Rows) -> Floats:
    """Return Spearman's correlation between features within symbols, averaged by rows; NaN where not defined.

    A feature is ranked among its own rows, and two are compared on the rows that both have: where the rows differ, that
    is Spearman's correlation up to the ranking of the rows that they do not share.

    Parameters
    ----------
    ranks
        Of each feature within symbols, less their mean; NaN where it has no value.
    """
    bounds = np.searchsorted(rows.symbols, np.arange(rows.symbols[-1] + 2))
    total, weights = np.zeros((2, len(ranks), len(ranks)))
    for start, end in pairwise(bounds.tolist()):
        found, counts = _within(np.array([own[start:end] for own in ranks]))
        there = ~np.isnan(found)
        total[there] += found[there] * counts[there]
        weights[there] += counts[there]
    with np.errstate(invalid="ignore"):
        average: Floats = np.clip(total / weights, -1.0, 1.0)
    return average


def _within(ranks: Floats) -> tuple[Floats, Floats]:
    """Return the correlations in one symbol and the rows that each pair shares; ``ranks`` (features, rows)."""
    there = np.isfinite(ranks).astype(np.float64)
    ranks = np.nan_to_num(ranks)
    counts = there @ there.T
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (ranks @ there.T) / counts
        variances = (ranks**2 @ there.T) / counts - means**2
        between: Floats = ((ranks @ ranks.T) / counts - means * means.T) / np.sqrt(variances * variances.T)
    between[(variances < LEAST_VARIANCE) | (variances.T < LEAST_VARIANCE)] = np.nan
    return between, counts


def clusters_of(names: list[str], correlation: Floats, best: list[tuple[float, int]]) -> pl.DataFrame:
    """Return ``cluster``, ``feature``, ``representative``, ``correlation``, ``rank_ic`` and ``horizon`` of features.

    Average linkage (Sokal, Michener 1958) on the distance 1 - |correlation|, cut where the mean distance of two
    clusters exceeds 0.3: features of one cluster correlate by 0.7 and more on average, with whatever sign. Clusters
    are numbered by the rank IC of their representatives, and similar features stand next to each other.

    Parameters
    ----------
    best
        The strongest rank IC of each feature and its horizon.
    """
    labels, order = linked(correlation)
    strength = np.array([0.0 if math.isnan(ic) else abs(ic) for ic, _ in best])
    members = {label: [place for place in order if labels[place] == label] for label in labels}
    leaders = {label: max(places, key=lambda place: (strength[place], -place)) for label, places in members.items()}
    ranked = sorted(leaders, key=lambda label: (-strength[leaders[label]], leaders[label]))
    rows = [
        {
            "cluster": number + 1,
            "feature": names[place],
            "representative": names[leaders[label]],
            "correlation": 1.0 if place == leaders[label] else float(correlation[place, leaders[label]]),
            "rank_ic": best[place][0],
            "horizon": best[place][1],
        }
        for number, label in enumerate(ranked)
        for place in members[label]
    ]
    return pl.DataFrame(rows)


def linked(correlation: Floats) -> tuple[list[int], list[int]]:
    """Return the cluster of each feature, and the features so that similar ones are neighbours."""
    if len(correlation) == 1:
        return [1], [0]
    from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = 1.0 - np.abs(np.nan_to_num(correlation))
    np.fill_diagonal(distance, 0.0)
    condensed = squareform(0.5 * (distance + distance.T), checks=False)
    tree = linkage(condensed, "average", optimal_ordering=True)
    labels = fcluster(tree, 1.0 - CLUSTER_CORRELATION, "distance")
    return [int(label) for label in labels], [int(place) for place in leaves_list(tree)]
