"""How much of each symbol makes a good portfolio, from covariances: risk parity, a hierarchy, mean against variance."""

import math

import numpy as np

from cryptoquant.compiled import kernel
from cryptoquant.trading.strategy.view import Floats

PATIENCE = 1000
PRECISION = 1e-12


def risk_parity(covariance: Floats) -> Floats:
    """Return the long weights, summing to 1, to which every symbol brings the same risk, shape (symbols,).

    The minimum of ``w' C w / 2 - sum(log w) / n`` (Spinu 2013), one weight after the other: given the others, each is
    the root of a quadratic equation (Griveau-Billion, Richard and Roncalli 2013). The problem is convex and its
    answer is unique. It is solved on correlations, for the answer only scales with the deviations.

    Parameters
    ----------
    covariance
        Shape (symbols, symbols), positive definite on the diagonal.

    Raises
    ------
    ValueError
        A variance is not above zero, or the weights do not settle.
    """
    deviations = _deviations(covariance)
    linked = covariance / np.outer(deviations, deviations)
    count = len(linked)
    weights = np.full(count, 1.0 / math.sqrt(count))
    for _ in range(PATIENCE):
        before = weights.copy()
        for place in range(count):
            others = float(linked[place] @ weights) - linked[place, place] * weights[place]
            weights[place] = (math.sqrt(others * others + 4.0 / count) - others) / 2.0
        if float(np.abs(weights - before).max()) <= PRECISION * float(weights.max()):
            found = weights / deviations
            whole: Floats = found / found.sum()
            return whole
    raise ValueError(f"risk parity of {count} symbols did not settle in {PATIENCE} rounds: are some all but the same?")


def hierarchical_risk_parity(covariance: Floats) -> Floats:
    """Return the long weights, summing to 1, of hierarchical risk parity (López de Prado 2016), shape (symbols,).

    Symbols are clustered by the distance of their distances ``sqrt((1 - correlation) / 2)`` with single linkage and
    laid in the order of the tree. Then the capital is halved down that order, each half in inverse proportion to the
    variance of its inverse-variance portfolio. No matrix is inverted, so it stands where symbols are all but the same.

    Parameters
    ----------
    covariance
        Shape (symbols, symbols).

    Raises
    ------
    ValueError
        A variance is not above zero.
    """
    deviations = _deviations(covariance)
    count = len(covariance)
    if count == 1:
        return np.ones(1)
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import pdist

    linked = covariance / np.outer(deviations, deviations)
    distance = np.sqrt(np.clip((1.0 - linked) / 2.0, 0.0, 1.0))
    order = [int(place) for place in leaves_list(linkage(pdist(distance), "single"))]
    weights = np.ones(count)
    clusters = [order]
    while clusters:
        cluster = clusters.pop()
        if len(cluster) == 1:
            continue
        left, right = cluster[: len(cluster) // 2], cluster[len(cluster) // 2 :]
        risk_left, risk_right = _cluster_variance(covariance, left), _cluster_variance(covariance, right)
        part = risk_right / (risk_left + risk_right)
        weights[left] *= part
        weights[right] *= 1.0 - part
        clusters += [left, right]
    return weights


@kernel
def nearest(
    point: Floats, held: Floats, tops: Floats, parts: Floats, costs: Floats, step: float, gross: float, out: Floats
) -> None:
    """Write into ``out`` the best trade-off between lying near ``point``, costs and bounds; all of shape (symbols,).

    Minimises ``abs(out - point)**2 / (2 step) + costs' abs(out - held)`` over ``0 <= out <= tops`` and
    ``parts' out <= gross``. Given the price of the last bound each symbol stands alone; the price is found by halving.
    """
    low, high, price, doubled = 0.0, 0.0, 0.0, False
    for _ in range(200):
        total = 0.0
        for place in range(len(point)):
            moved = point[place] - step * price * parts[place]
            toll = step * costs[place]
            if moved - toll > held[place]:
                moved -= toll
            elif moved + toll < held[place]:
                moved += toll
            else:
                moved = held[place]
            out[place] = min(max(moved, 0.0), tops[place])
            total += parts[place] * out[place]
        if total > gross:
            low = price
        else:
            high, doubled = price, True
        if not doubled:
            price = 2.0 * price if price > 0.0 else 1.0
        else:
            price = 0.5 * (low + high)
            if high == 0.0 or not low < price < high:
                if total <= gross:
                    return
                price = high


@kernel
def descend(
    linked: Floats, mean: Floats, held: Floats, tops: Floats, parts: Floats, costs: Floats, step: float, gross: float
) -> Floats:
    """Return the minimum of ``w' linked w / 2 - mean' w + costs' abs(w - held)`` within the bounds of ``nearest``.

    Accelerated proximal gradients (Beck and Teboulle 2009, FISTA), begun anew whenever the pace leads uphill
    (O'Donoghue and Candes 2015), until a round moves nothing by more than a rounding or two, or 100 000 rounds.
    """
    count = len(mean)
    now, ahead, new = np.zeros(count), np.zeros(count), np.zeros(count)
    pace, moved = 1.0, math.inf
    for _ in range(PATIENCE * 100):
        nearest(ahead - step * (linked @ ahead - mean), held, tops, parts, costs, step, gross, new)
        uphill, moved, largest = 0.0, 0.0, 0.0
        for place in range(count):
            change = new[place] - now[place]
            uphill += (ahead[place] - new[place]) * change
            moved = max(moved, abs(change))
            largest = max(largest, abs(new[place]))
        if uphill > 0.0:
            pace = 1.0
        faster = 0.5 * (1.0 + math.sqrt(1.0 + 4.0 * pace * pace))
        for place in range(count):
            lead = 0.0 if uphill > 0.0 else (pace - 1.0) / faster
            ahead[place] = new[place] + lead * (new[place] - now[place])
            now[place] = new[place]
        pace = faster
        if moved <= PRECISION * largest:
            break
    return now


def mean_variance(
    mean: Floats,
    covariance: Floats,
    held: Floats,
    *,
    aversion: float,
    turnover_cost: float,
    bounds: tuple[float, float],
) -> Floats:
    """Return the long weights with the best ``w' m - aversion / 2 w' C w - turnover_cost sum(abs(w - held))``.

    Markowitz (1952) with a price on trading, so that a small improvement is not traded. The problem is convex; it is
    solved by ``descend`` in units of each symbol's deviation.

    Parameters
    ----------
    mean, covariance
        Of the returns over the time until the next change; shapes (symbols,) and (symbols, symbols).
    held
        Present weights, shape (symbols,).
    aversion
        Price of variance, above 0.
    turnover_cost
        Fraction paid on what is bought or sold.
    bounds
        Largest weight of a symbol, and largest sum of all.

    Raises
    ------
    ValueError
        A variance is not above zero.
    """
    deviations = _deviations(covariance)
    linked = np.ascontiguousarray(covariance / np.outer(deviations, deviations))
    largest, gross = bounds
    found = descend(
        linked,
        mean / deviations / aversion,
        held * deviations,
        largest * deviations,
        1.0 / deviations,
        turnover_cost / aversion / deviations,
        1.0 / float(np.linalg.eigvalsh(linked)[-1]),
        gross,
    )
    weights: Floats = found / deviations
    return weights


def _cluster_variance(covariance: Floats, members: list[int]) -> float:
    """Return the variance of the inverse-variance portfolio of some symbols."""
    part = covariance[np.ix_(members, members)]
    inverse = 1.0 / np.diag(part)
    weights = inverse / inverse.sum()
    return float(weights @ part @ weights)


def _deviations(covariance: Floats) -> Floats:
    variances = np.diag(covariance)
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1] or not np.isfinite(covariance).all():
        raise ValueError(f"wanted a finite covariance of shape (symbols, symbols), found shape {covariance.shape}")
    if not (variances > 0.0).all():
        raise ValueError(f"wanted variances above 0, found {variances.min()}")
    deviations: Floats = np.sqrt(variances)
    return deviations
