"""Autocorrelation, variance ratio, Hurst exponent and entropy against their definitions, and by hand."""

import numpy as np
import pytest

from cryptoquant import features as f
from cryptoquant.market.slice import Panel
from tests.features.examples import panel_of
from tests.features.test_estimators import agree, log_returns, over
from tests.features.test_formulas import KINDS, ROWS, column, computed, series


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    a, b = x - x.mean(), y - y.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.parametrize("kind", KINDS)
def test_autocorrelation_equals_its_formula(kind: str) -> None:
    panel = series(kind)
    r = log_returns(panel).astype(np.longdouble)
    for window, lag in ((2, 1), (20, 1), (60, 7), (5, 12)):
        before = np.r_[np.full(lag, np.nan), r[:-lag]]
        wanted = over(window, window + lag, lambda s, before=before: correlation(r[s], before[s]))
        agree(computed(f.autocorrelation(window, lag), panel)[0], wanted, atol=1e-11)


def variance_ratio(x: np.ndarray, q: int) -> float:
    """Return Lo and MacKinlay's ratio of the log prices x[0] ... x[n]."""
    n = len(x) - 1
    mean = (x[n] - x[0]) / n
    short = sum((x[k] - x[k - 1] - mean) ** 2 for k in range(1, n + 1)) / (n - 1)
    long = sum((x[k] - x[k - q] - q * mean) ** 2 for k in range(q, n + 1)) / (q * (n - q + 1) * (1 - q / n))
    return float(long / short) if short > 0 else 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_variance_ratio_equals_its_formula(kind: str) -> None:
    panel = series(kind)
    x = np.log(column(panel, "close").astype(np.longdouble))
    for window, lag in ((3, 2), (20, 2), (50, 5), (30, 29)):
        wanted = over(window + 1, window, lambda s, lag=lag: variance_ratio(x[s], lag))
        agree(computed(f.variance_ratio(window, lag), panel)[0], wanted, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_the_hurst_exponent_equals_its_formula(kind: str) -> None:
    panel = series(kind)
    close = column(panel, "close")
    for window, lags in ((8, [1, 2]), (31, [1, 2, 4]), (128, [1, 2, 4, 8, 16, 32])):
        wanted = np.full(ROWS, np.nan)
        for row in range(window - 1 + lags[-1], ROWS):
            places = np.arange(row - window + 1, row + 1)
            squares = [np.mean(np.log(close[places] / close[places - lag]) ** 2) for lag in lags]
            still = squares[0] == 0
            wanted[row] = 0.5 if still else np.clip(np.polyfit(np.log(lags), np.log(squares), 1)[0] / 2, 0, 1)
        agree(computed(f.hurst(window), panel)[0], wanted, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_entropy_equals_its_definition(kind: str) -> None:
    panel = series(kind)
    r = log_returns(panel)
    for window, bins in ((2, 2), (20, 4), (33, 7), (10, 30)):
        codes = np.full(ROWS, -1)
        for row in range(window + 1, ROWS):
            share = (r[row - window : row] < r[row]).sum() * bins // window
            codes[row] = min(share, bins - 1)
        wanted = np.full(ROWS, np.nan)
        for row in range(2 * window, ROWS):
            shares = np.unique(codes[row - window + 1 : row + 1], return_counts=True)[1] / window
            wanted[row] = max(-(shares * np.log(shares)).sum() / np.log(bins), 0.0)
        agree(computed(f.entropy(window, bins), panel)[0], wanted, atol=1e-14)


def walk(returns: np.ndarray) -> Panel:
    return panel_of(100 * np.exp(np.cumsum(returns)))


def test_a_flat_market_depends_on_nothing() -> None:
    panel = series("flat")
    features = (f.autocorrelation(10, 2), f.variance_ratio(10, 3), f.hurst(10), f.entropy(10, 3))
    assert [computed(feature, panel)[0][-1] for feature in features] == [0.0, 1.0, 0.5, 0.0]


def test_dependence_by_hand() -> None:
    to_and_fro = walk(0.01 * (-1.0) ** np.arange(200))
    np.testing.assert_allclose(computed(f.autocorrelation(50, 1), to_and_fro)[0][-1], -1.0, rtol=1e-12)
    np.testing.assert_allclose(computed(f.autocorrelation(50, 2), to_and_fro)[0][-1], 1.0, rtol=1e-12)
    assert abs(computed(f.variance_ratio(50, 2), to_and_fro)[0][-1]) < 1e-9
    assert computed(f.hurst(64), to_and_fro)[0][-1] == 0.0
    trend = walk(np.full(200, 0.01) + 1e-4 * np.random.default_rng(0).standard_normal(200))
    assert computed(f.hurst(64), trend)[0][-1] > 0.99
    blocks = walk(0.01 * np.sign(np.sin(np.arange(400) * 2 * np.pi / 80 + 0.01)))
    assert computed(f.variance_ratio(160, 10), blocks)[0][-1] > 7


def test_a_random_walk_shows_no_dependence() -> None:
    panel = walk(1e-3 * np.random.default_rng(8).standard_normal(4100))
    assert abs(computed(f.autocorrelation(4000, 1), panel)[0][-1]) < 0.05
    assert abs(computed(f.variance_ratio(4000, 4), panel)[0][-1] - 1) < 0.1
    assert abs(computed(f.hurst(256), panel)[0][-1] - 0.5) < 0.2
    assert computed(f.entropy(1000, 4), panel)[0][-1] > 0.99


def test_wrong_parameters_of_dependence_are_refused_by_name() -> None:
    for make, message in (
        (lambda: f.autocorrelation(1), "autocorrelation: window"),
        (lambda: f.autocorrelation(9, 0), "autocorrelation: lag"),
        (lambda: f.variance_ratio(9, 1), "variance_ratio: lag"),
        (lambda: f.variance_ratio(9, 9), "variance_ratio: window .* at least 10"),
        (lambda: f.hurst(7), "hurst: window .* at least 8"),
        (lambda: f.entropy(1), "entropy: window"),
        (lambda: f.entropy(9, 1), "entropy: bins"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
