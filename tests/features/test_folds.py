"""Folds that remember their window: the same bits however cut, and near the long double on the worst of prices."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.features.folds.extremes import places, places_size
from cryptoquant.features.folds.moments import powers, powers_size, spreads, spreads_size
from cryptoquant.features.folds.ordered import insert, mean_rank, place_of, quantile_of, replace
from cryptoquant.features.folds.products import products, products_size
from cryptoquant.features.folds.sums import sums, sums_size
from tests.features.test_drivers import same_bits

EPSILON = np.finfo(float).eps


def folded(values: np.ndarray, others: np.ndarray, window: int, cuts: list[int]) -> np.ndarray:
    """Return the results of all four folds on a series (and a second one) that is taken in runs."""
    found = np.empty((9, len(values)))
    pairs = np.empty(len(values))
    sizes = (sums_size, spreads_size, powers_size, products_size)
    memories = [np.zeros(size(window) + 3) for size in sizes]
    ends = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    for at, stop in itertools.pairwise(ends):
        total, mean, squares, *more = (out[at:stop] for out in found)
        run = values[at:stop]
        sums(memories[0], 3, window, run, at, total)
        spreads(memories[1], 3, window, run, at, mean, squares)
        powers(memories[2], 3, window, run, at, *more[:3])
        products(memories[3], 3, window, run, others[at:stop], at, *more[3:], pairs[at:stop])
    assert all((memory[:3] == 0).all() for memory in memories)
    assert (pairs[window - 1 :] == window).all()
    return found


def exact(values: np.ndarray, others: np.ndarray, window: int, every: int = 1) -> np.ndarray:
    """Return the same by definition, for one full window of ``every``, in long doubles and less a level."""
    level, other_level = np.longdouble(np.median(values)), np.longdouble(np.median(others))
    x = np.lib.stride_tricks.sliding_window_view(values - level, window)[::every]
    y = np.lib.stride_tricks.sliding_window_view(others - other_level, window)[::every]
    a, b = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    total = x.sum(axis=1) + window * level
    squares = (a * a).sum(axis=1)
    moments = [squares, (a**3).sum(axis=1), (a**4).sum(axis=1)]
    return np.array([total, total / window, squares, *moments, (a * b).sum(axis=1), squares, (b * b).sum(axis=1)])


@given(st.integers(1, 40), st.integers(0, 10_000), st.lists(st.integers(1, 200), max_size=12), st.floats(-12, 12))
def test_a_fold_gives_the_same_bits_however_its_series_is_cut_and_equals_its_definition(
    window: int, seed: int, cuts: list[int], scale: float
) -> None:
    rng = np.random.default_rng(seed)
    values, others = 10.0**scale * np.where(rng.random((2, 200)) < 0.03, 1e6, 1.0) * rng.lognormal(0, 1, (2, 200))
    found = folded(values, others, window, cuts)
    assert same_bits(found, folded(values, others, window, list(range(200))))
    assert np.isnan(found[:, : window - 1]).all()
    wanted = exact(values, others, window)
    reach = np.ptp(np.lib.stride_tricks.sliding_window_view(values, window), axis=1)
    other_reach = np.ptp(np.lib.stride_tricks.sliding_window_view(others, window), axis=1)
    error = np.abs(found[:, window - 1 :] - wanted)
    powers_of_reach = (reach**2, reach**2, reach**3, reach**4, reach * other_reach, reach**2, other_reach**2)
    largest = np.array([wanted[0], wanted[1] + reach, *powers_of_reach])
    assert (error <= 1e-14 * window**2 * largest).all()


PRICES = {
    "a market": lambda rng, n: 5e4 * np.exp(np.cumsum(1e-3 * rng.standard_t(4, n))),
    "small steps": lambda rng, n: 5e4 + np.cumsum(1e-3 * rng.standard_normal(n)),
    "far from zero": lambda rng, n: 1e9 + rng.standard_normal(n),
    "spikes": lambda rng, n: np.where(np.arange(n) % 701 == 7, 1e12, 5e4 + np.cumsum(rng.standard_normal(n))),
}


@pytest.mark.parametrize("window", [4, 20, 240, 1440])
@pytest.mark.parametrize("kind", PRICES)
def test_moments_lose_little_to_rounding_on_the_worst_of_prices(kind: str, window: int) -> None:
    rng = np.random.default_rng(window)
    values, others = PRICES[kind](rng, 3 * window + 1500), PRICES[kind](rng, 3 * window + 1500)
    every = max(1, window // 100)  # every window is folded, some are summed anew
    found = folded(values, others, window, [])[:, window - 1 :: every]
    wanted = exact(values, others, window, every)
    _, _, squares, _, cubes, fourths, mixed, first, second = np.abs(found - wanted)
    assert np.max(squares / wanted[2]) < 4 * (window + 1) * EPSILON
    assert np.max(cubes / wanted[2] ** 1.5) < 20 * (window + 1) * EPSILON
    assert np.max(fourths / wanted[5]) < 40 * (window + 1) * EPSILON
    assert np.max(mixed / np.sqrt(wanted[7] * wanted[8])) < 8 * (window + 1) * EPSILON
    assert np.max(first / wanted[7]) < 4 * (window + 1) * EPSILON
    assert np.max(second / wanted[8]) < 4 * (window + 1) * EPSILON


def test_what_has_left_a_window_leaves_no_trace() -> None:
    for window in (1, 2, 7, 64):
        values = np.where(np.arange(5 * window) < window, 1e9, 0.1)
        late = folded(values, values, window, [])[:, 2 * window :]
        assert set(late[1]) == {0.1}
        assert not late[2:].any()
        quiet = np.where(np.arange(5 * window) < window, 1e9, 0.0)
        assert not folded(quiet, quiet, window, [])[:, 2 * window :].any()


@given(st.integers(1, 40), st.integers(0, 10_000), st.lists(st.integers(1, 200), max_size=12))
def test_pairs_that_are_not_finite_are_left_out_of_products(window: int, seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    firsts, seconds = rng.normal(0, 1e-2, (2, 200))
    for series in (firsts, seconds):
        series[rng.random(200) < 0.3] = rng.choice([np.nan, np.inf, -np.inf])

    def taken(ends: list[int]) -> np.ndarray:
        found, memory = np.empty((4, 200)), np.zeros(products_size(window))
        for at, stop in itertools.pairwise(sorted({0, 200, *(end for end in ends if end < 200)})):
            products(memory, 0, window, firsts[at:stop], seconds[at:stop], at, *(out[at:stop] for out in found))
        return found

    found = taken(cuts)
    assert same_bits(found, taken(list(range(200))))
    assert np.isnan(found[:, : window - 1]).all()
    for row in range(window - 1, 200):
        x, y = firsts[row + 1 - window : row + 1], seconds[row + 1 - window : row + 1]
        is_pair = np.isfinite(x) & np.isfinite(y)
        assert found[3, row] == is_pair.sum()
        if is_pair.any():
            a, b = x[is_pair] - x[is_pair].mean(), y[is_pair] - y[is_pair].mean()
            np.testing.assert_allclose(found[:3, row], [(a * b).sum(), (a * a).sum(), (b * b).sum()], atol=1e-14)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=200), st.integers(1, 40), st.booleans(), st.booleans())
def test_the_place_of_an_extreme_is_that_of_the_oldest_or_the_latest_of_equals(
    numbers: list[int], window: int, latest: bool, top: bool
) -> None:
    values, sign = np.array(numbers, dtype=float), 1.0 if top else -1.0
    found, memory = np.empty((2, len(values))), np.zeros(places_size(window))
    for at, stop in itertools.pairwise([0, len(values) // 3, len(values)]):
        places(memory, 0, window, sign, latest, values, at, stop - at, at, found[0, at:stop], found[1, at:stop])
    assert np.isnan(found[:, : window - 1]).all()
    for row in range(window - 1, len(values)):
        recent = sign * values[row + 1 - window : row + 1]
        places_of_it = np.flatnonzero(recent == recent.max())
        assert found[0, row] == sign * recent.max()
        assert found[1, row] == 1 + places_of_it[-1 if latest else 0]


@given(st.lists(st.integers(-3, 3) | st.floats(-1e6, 1e6), min_size=2, max_size=300), st.integers(1, 150))
def test_an_ordered_window_stays_the_sorted_window(values: list[float], window: int) -> None:
    numbers = np.array(values, dtype=float)
    ordered = np.full(window, np.inf)
    for row, value in enumerate(numbers):
        if row < window:
            insert(ordered, row, value)
        else:
            replace(ordered, window, numbers[row - window], value)
        count = min(row + 1, window)
        wanted = np.sort(numbers[row + 1 - count : row + 1])
        np.testing.assert_array_equal(ordered[:count], wanted)
        assert place_of(ordered, count, value) == np.searchsorted(wanted, value)
        below, upto = np.searchsorted(wanted, value), np.searchsorted(wanted, value, side="right")
        assert mean_rank(numbers[row + 1 - count : row + 1], value) == (below + 1 + upto) / 2
        assert quantile_of(ordered, count, 0.0) == wanted[0]
        assert quantile_of(ordered, count, 1.0) == wanted[-1]
        np.testing.assert_allclose(quantile_of(ordered, count, 0.3), np.quantile(wanted, 0.3), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 66, 130, 1000])
def test_a_place_among_many_equal_numbers_is_before_the_first_of_them(count: int) -> None:
    ordered = np.sort(np.random.default_rng(count).integers(0, 9, count)).astype(float)
    for value in np.arange(-1, 10, 0.5):
        assert place_of(ordered, count, value) == np.searchsorted(ordered, value)
