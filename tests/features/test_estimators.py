"""Volatility estimators against their papers' formulas, over every window, and by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from cryptoquant import features as f
from cryptoquant.market.slice import FIELDS, Panel
from tests.features.examples import panel_of, panel_with
from tests.features.test_formulas import KINDS, ROWS, column, computed, series


def over(window: int, lookback: int, formula: Callable[[slice], float], rows: int = ROWS) -> np.ndarray:
    """Return a formula of the last ``window`` places at every row from ``lookback`` on."""
    values = [formula(slice(row + 1 - window, row + 1)) for row in range(lookback, rows)]
    return np.r_[np.full(lookback, np.nan), values]


def agree(found: np.ndarray, wanted: np.ndarray, rtol: float = 1e-9, atol: float = 0.0) -> None:
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=atol)


def log_returns(panel: Panel) -> np.ndarray:
    close = column(panel, "close")
    return np.r_[np.nan, np.log(close[1:] / close[:-1])]


def variance(values: np.ndarray) -> float:
    return 0.0 if np.ptp(values) == 0 else float(values.var(ddof=1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [2, 20, 100])
def test_estimators_from_ranges_equal_their_formulas(kind: str, window: int) -> None:
    panel = series(kind)
    o, h, l, c = (np.log(column(panel, name).astype(np.longdouble)) for name in FIELDS[:4])  # noqa: E741
    parkinson, klass = (h - l) ** 2 / (4 * np.log(2)), 0.5 * (h - l) ** 2 - (2 * np.log(2) - 1) * (c - o) ** 2
    satchell = (h - c) * (h - o) + (l - c) * (l - o)
    gaps, inside = np.r_[np.nan, o[1:] - c[:-1]].astype(np.longdouble), c - o
    k = 0.34 / (1.34 + (window + 1) / (window - 1))

    def yang_zhang(s: slice) -> float:
        total = variance(gaps[s]) + k * variance(inside[s]) + (1 - k) * satchell[s].mean()
        return float(np.sqrt(total))

    pairs = {
        f.parkinson(window): over(window, window - 1, lambda s: float(np.sqrt(parkinson[s].mean()))),
        f.garman_klass(window): over(window, window - 1, lambda s: float(np.sqrt(klass[s].mean()))),
        f.rogers_satchell(window): over(window, window - 1, lambda s: float(np.sqrt(abs(satchell[s].mean())))),
        f.yang_zhang(window): over(window, window, yang_zhang),
    }
    for feature, wanted in pairs.items():
        agree(computed(feature, panel)[0], wanted, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_bipower_variation_and_the_fading_volatility_equal_their_formulas(kind: str) -> None:
    panel = series(kind)
    returns = log_returns(panel)
    pairs = np.abs(returns) * np.abs(np.r_[np.nan, returns[:-1]])
    for window in (1, 20):
        wanted = over(window, window + 1, lambda s: float(np.sqrt(np.pi / 2 * pairs[s].mean())))
        agree(computed(f.bipower_variation(window), panel)[0], wanted, atol=1e-15)
    for half_life in (0.5, 11.2, 500.0):
        fade = 0.5 ** (1 / half_life)
        variances = [returns[1] ** 2]
        for value in returns[2:]:
            variances.append(fade * variances[-1] + (1 - fade) * value**2)
        agree(computed(f.ewma_volatility(half_life), panel)[0], np.r_[np.nan, np.sqrt(variances)], atol=1e-15)


def bars_of(rows: list[tuple[float, float, float, float]]) -> Panel:
    values = np.ones((len(rows), 1, len(FIELDS)))
    values[:, 0, :4] = rows
    return panel_with(values)


def test_estimators_by_hand() -> None:
    e = np.e
    panel = bars_of([(1.0, e, 1.0, 1.0), (e, e**2, 1.0, e), (e, e, e, e), (e, e, e, e)])
    np.testing.assert_allclose(
        computed(f.parkinson(2), panel)[0][1:], np.sqrt(np.array([2.5, 2.0, 0.0]) / (4 * np.log(2)))
    )
    np.testing.assert_allclose(computed(f.garman_klass(1), panel)[0], [np.sqrt(0.5), np.sqrt(2.0), 0.0, 0.0])
    np.testing.assert_allclose(computed(f.rogers_satchell(1), panel)[0], [1.0, np.sqrt(2.0), 0.0, 0.0])
    gapped = bars_of([(1.0, 1.0, 1.0, 1.0), (e, e, e, e), (e, e, e, e)])
    np.testing.assert_allclose(computed(f.yang_zhang(2), gapped)[0], [np.nan, np.nan, np.sqrt(0.5)])
    np.testing.assert_allclose(computed(f.ewma_volatility(1.0), gapped)[0], [np.nan, 1.0, np.sqrt(0.5)])
    assert computed(f.bipower_variation(1), gapped)[0][2] == 0.0


def test_a_flat_market_has_no_volatility() -> None:
    panel = series("flat")
    for make in (f.parkinson, f.garman_klass, f.rogers_satchell, f.yang_zhang, f.bipower_variation, f.ewma_volatility):
        assert computed(make(5), panel)[0][-1] == 0.0


def test_one_jump_hardly_moves_the_bipower_variation() -> None:
    rng = np.random.default_rng(3)
    returns = 1e-3 * rng.standard_normal(500)
    calm = panel_of(100 * np.exp(np.cumsum(returns)))
    returns[400] += 0.1
    jump = panel_of(100 * np.exp(np.cumsum(returns)))
    plain, robust = (computed(make(200), jump)[0][-1] for make in (f.realized_volatility, f.bipower_variation))
    before = computed(f.realized_volatility(200), calm)[0][-1]
    assert plain > 6 * before
    assert robust < 1.5 * before


def test_estimators_find_the_volatility_of_a_random_walk_and_only_some_stand_a_drift() -> None:
    rng = np.random.default_rng(5)
    steps = 1e-3 * rng.standard_normal((4000, 1000)) / np.sqrt(1000) + 3e-6
    paths = np.cumsum(steps, axis=1)
    level = np.r_[0.0, np.cumsum(paths[:-1, -1])]
    prices = np.exp(level[:, None] + np.c_[np.zeros(4000), paths])
    panel = bars_of(list(zip(prices[:, 0], prices.max(axis=1), prices.min(axis=1), prices[:, -1], strict=True)))
    found = {
        make.__name__: computed(make(3999), panel)[0][-1] for make in (f.rogers_satchell, f.yang_zhang, f.parkinson)
    }
    assert abs(found["rogers_satchell"] / 1e-3 - 1) < 0.08
    assert abs(found["yang_zhang"] / 1e-3 - 1) < 0.08
    assert found["parkinson"] > 1.5e-3


def test_a_spike_that_has_left_leaves_no_trace() -> None:
    panel = series("random")
    values = panel.values.copy()
    values[100, :, :4] *= 1e12
    spiked = panel_with(values)
    for feature in (
        f.parkinson(20),
        f.garman_klass(20),
        f.rogers_satchell(20),
        f.yang_zhang(20),
        f.bipower_variation(20),
    ):
        agree(computed(feature, spiked)[0][140:], computed(feature, panel)[0][140:], rtol=1e-11)


@pytest.mark.parametrize("half_life", [0, -1.0, float("nan"), float("inf"), "long", True])
def test_a_half_life_that_is_none_is_refused(half_life: object) -> None:
    with pytest.raises(ValueError, match="ewma_volatility: half_life must be"):
        f.ewma_volatility(half_life)  # type: ignore[arg-type]


def test_wrong_windows_are_refused_by_name() -> None:
    for make, least in ((f.parkinson, 1), (f.garman_klass, 1), (f.rogers_satchell, 1), (f.yang_zhang, 2)):
        with pytest.raises(ValueError, match=f"{make.__name__}: window .* at least {least}"):
            make(least - 1)
    with pytest.raises(ValueError, match="bipower_variation: window"):
        f.bipower_variation(2.5)  # type: ignore[arg-type]


def test_a_half_life_longer_than_any_history_is_still_a_feature() -> None:
    feature = f.ewma_volatility(1e15)
    found = computed(feature, series("random"))[0]
    np.testing.assert_allclose(found[1:], found[1], rtol=1e-9)
