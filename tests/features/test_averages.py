"""Averages of the close against TA-Lib, and the folds beneath them against NumPy over every window."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant import features as f
from cryptoquant.features.folds.averages import weighted_means, weighted_means_size
from cryptoquant.features.folds.extremes import peaks
from cryptoquant.features.folds.lines import lines, lines_size
from cryptoquant.features.folds.sums import short_sums, sums, sums_size
from tests.features.examples import panel_of
from tests.features.test_formulas import KINDS, agree, column, computed, series

SHORTEST = {f.sma: 2, f.ema: 2, f.wma: 2, f.dema: 2, f.tema: 2, f.kama: 2}
ORACLES = {
    f.sma: talib.SMA,
    f.ema: talib.EMA,
    f.wma: talib.WMA,
    f.dema: talib.DEMA,
    f.tema: talib.TEMA,
    f.kama: talib.KAMA,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", ORACLES, ids=lambda make: make.__name__)
def test_averages_equal_talib_as_prices_and_relative_to_the_close(make: Callable[..., f.Feature], kind: str) -> None:
    panel = series(kind)
    close = column(panel, "close")
    for window in (SHORTEST[make], 3, 20, 100):
        wanted = ORACLES[make](close, window)
        agree(computed(make(window), panel)[0], wanted, 0.0)
        agree(computed(make(window, relative=True), panel)[0], close / wanted - 1)


def test_an_average_and_its_relative_form_have_names_of_their_own() -> None:
    for make in ORACLES:
        assert make(20).outputs == (f"{make.__name__}_20",)
        assert make(20, relative=True).outputs == (f"{make.__name__}_relative_20",)


@pytest.mark.parametrize("make", [make for make in ORACLES if make is not f.kama], ids=lambda make: make.__name__)
def test_an_average_of_one_bar_is_its_close(make: Callable[..., f.Feature]) -> None:
    panel = series("gapping")
    np.testing.assert_allclose(computed(make(1), panel)[0], column(panel, "close"), rtol=1e-14)


@pytest.mark.parametrize("make", ORACLES, ids=lambda make: make.__name__)
def test_a_market_that_stands_still_has_its_price_as_every_average(make: Callable[..., f.Feature]) -> None:
    panel = panel_of(np.full(90, 0.1), spread=0.0)
    found = computed(make(7), panel)[0]
    defined = found[make(7).lookback :]
    np.testing.assert_allclose(defined, 0.1, rtol=1e-15)


def test_kaufman_follows_a_straight_road_fast_and_a_crooked_one_slowly() -> None:
    road = computed(f.kama(5), panel_of(100.0 + np.arange(20.0)))[0]
    assert road[5] == pytest.approx(104 + (105 - 104) * (2 / 3) ** 2)
    crooked = computed(f.kama(4), panel_of(100.0 + np.arange(20.0) % 2))[0]
    assert crooked[4] == pytest.approx(101 + (100 - 101) * (2 / 31) ** 2)


def folded(values: np.ndarray, window: int, cuts: list[int]) -> np.ndarray:
    """Return both sums, highest, lowest, weighted mean, mean, squares and slope of a series that is taken in runs."""
    found = np.empty((8, len(values)))
    sizes = [sums_size] * 3 + [weighted_means_size, lines_size, sums_size]
    memories = [np.zeros(size(window)) for size in sizes]
    ends = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    for at, stop in itertools.pairwise(ends):
        rows = stop - at
        total, same, top, bottom, weighted, average, square, slope = (out[at:stop] for out in found)
        sums(memories[0], 0, window, values[at:stop], at, total)
        short_sums(memories[5], 0, window, values[at:stop], at, same)
        peaks(memories[1], 0, window, 1.0, values[at:stop], at, top)
        peaks(memories[2], 0, window, -1.0, values[at:stop], at, bottom)
        weighted_means(memories[3], 0, window, values, at, rows, at, weighted)
        lines(memories[4], 0, window, values, at, rows, at, average, square, slope)
        slope *= 12 / (window * (window**2 - 1))
    return found


@given(st.integers(2, 40), st.integers(0, 10_000), st.lists(st.integers(1, 200), max_size=12), st.floats(-12, 12))
def test_a_fold_gives_the_same_bits_however_its_series_is_cut_and_equals_numpy(
    window: int, seed: int, cuts: list[int], scale: float
) -> None:
    rng = np.random.default_rng(seed)
    values = 10.0**scale * np.where(rng.random(200) < 0.03, 1e9, 1.0) * (5e4 + rng.standard_normal(200))
    found = folded(values, window, cuts)
    np.testing.assert_array_equal(found, folded(values, window, list(range(200))))
    assert np.isnan(found[:, : window - 1]).all()
    windows = np.lib.stride_tricks.sliding_window_view(values.astype(np.longdouble), window)
    total, same, top, bottom, weighted, average, square, slope = found[:, window - 1 :]
    np.testing.assert_array_equal([top, bottom], [windows.max(axis=1), windows.min(axis=1)])
    np.testing.assert_allclose([total, same], [windows.sum(axis=1).astype(float)] * 2, rtol=1e-13)
    weights = np.arange(1, window + 1)
    mean = (windows * weights).sum(axis=1) / weights.sum()
    np.testing.assert_allclose(weighted, mean.astype(float), rtol=2 * window**2 * np.finfo(float).eps)
    deviations = windows - windows.mean(axis=1, keepdims=True)
    places = weights - weights.mean()
    product, spread = (deviations * places).sum(axis=1), (places**2).sum()
    squares = (deviations**2).sum(axis=1)
    reach = np.ptp(values)
    np.testing.assert_allclose(average, windows.mean(axis=1).astype(float), rtol=1e-13)
    np.testing.assert_allclose(slope, (product / spread).astype(float), rtol=1e-9, atol=1e-13 * reach)
    np.testing.assert_allclose(square, squares.astype(float), rtol=1e-9, atol=1e-13 * reach**2 * window)
    calm = np.ptp(windows, axis=1) > 1e-6 * reach
    wanted = product**2 / spread / squares
    fit = slope**2 * float(spread) / np.where(square > 0, square, 1.0)
    np.testing.assert_allclose(fit[calm], wanted[calm].astype(float), rtol=1e-6, atol=1e-9)


def test_a_spike_that_has_left_the_window_leaves_no_trace() -> None:
    values = 5e4 + np.cumsum(np.random.default_rng(3).standard_normal(300))
    spiked = values.copy()
    spiked[50] = 1e15
    np.testing.assert_allclose(folded(spiked, 20, [])[:, 100:], folded(values, 20, [])[:, 100:], rtol=1e-9)
    still = folded(np.where(np.arange(200) < 40, 1e9, 0.1), 20, [])[:, 80:]
    assert set(still[4]) == set(still[5]) == {0.1}
    assert set(still[6]) == set(still[7]) == {0.0}


@pytest.mark.parametrize("window", [5, 20, 240])
def test_a_fold_is_equal_to_rounding_wherever_its_series_began(window: int) -> None:
    values = 5e4 * np.exp(np.cumsum(1e-3 * np.random.default_rng(window).standard_normal(3 * window + 300)))
    whole = folded(values, window, [])
    for start in range(1, 60, 7):
        late = folded(values[start:], window, [])[:, window:]
        np.testing.assert_allclose(late, whole[:, start + window :], rtol=1e-11, atol=1e-12)
