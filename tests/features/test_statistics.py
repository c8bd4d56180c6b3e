"""Rolling statistics and ranks of a field against TA-Lib or NumPy, over every window, and by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import talib

from cryptoquant import features as f
from cryptoquant.market.slice import Panel
from tests.features.examples import panel_of, panel_with
from tests.features.test_estimators import agree, log_returns, over
from tests.features.test_formulas import KINDS, column, computed, series

VOLUMES = ("tiny volume", "no volume", "rare volume")


def market(kind: str) -> Panel:
    """Return a series of test_formulas, or a random one with strange volumes."""
    if kind in KINDS:
        return series(kind)
    values = series("random").values.copy()
    quiet = np.random.default_rng(4).random(len(values)) < 0.9
    values[..., 4] *= 1e-9 if kind == "tiny volume" else 0.0 if kind == "no volume" else 1.0
    values[quiet, :, 4] *= 0.0 if kind == "rare volume" else 1.0
    return panel_with(values)


def read(panel: Panel, field: str) -> np.ndarray:
    return log_returns(panel) if field == "log_return" else column(panel, field)


def skew(x: np.ndarray) -> float:
    n, d = len(x), x - x.mean()
    if np.ptp(x) == 0:
        return 0.0
    return float(np.sqrt(n * (n - 1)) / (n - 2) * (d**3).mean() / (d**2).mean() ** 1.5)


def kurtosis(x: np.ndarray) -> float:
    n, d = len(x), x - x.mean()
    if np.ptp(x) == 0:
        return 0.0
    return float((n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * ((d**4).mean() / (d**2).mean() ** 2 - 3) + 6))


def rank(x: np.ndarray) -> float:
    return float(((x < x[-1]).sum() + ((x == x[-1]).sum() - 1) / 2) / (len(x) - 1))


def position(x: np.ndarray) -> float:
    return 0.5 if np.ptp(x) == 0 else float((x[-1] - x.min()) / np.ptp(x))


@pytest.mark.parametrize("field", ["close", "volume", "log_return"])
@pytest.mark.parametrize("kind", KINDS + VOLUMES)
def test_statistics_equal_numpy_over_every_window(kind: str, field: str) -> None:
    panel = market(kind)
    x = read(panel, field)
    late = int(field == "log_return")
    exact = x.astype(np.longdouble)
    formulas: dict[Callable[[str, int], f.Feature], Callable[[np.ndarray], float]] = {
        f.mean: lambda w: float(w.mean()),
        f.deviation: lambda w: 0.0 if np.ptp(w) == 0 else float(w.std(ddof=1)),
        f.zscore: lambda w: 0.0 if np.ptp(w) == 0 else float((w[-1] - w.mean()) / w.std(ddof=1)),
        f.skew: skew,
        f.kurtosis: kurtosis,
        f.rank: rank,
        f.range_position: position,
        f.bars_since_highest: lambda w: float(np.argmax(w[::-1])),
        f.bars_since_lowest: lambda w: float(np.argmin(w[::-1])),
    }
    for window in (5, 60):
        for make, formula in formulas.items():
            wanted = over(window, window - 1 + late, lambda s, formula=formula: formula(exact[s]))
            scale = np.nanmax(np.abs(x)) if make in (f.mean, f.deviation) else 1.0
            agree(computed(make(field, window), panel)[0], wanted, atol=1e-13 * scale if scale else 0.0)


@pytest.mark.parametrize("field", ["close", "volume", "log_return", "true_range"])
@pytest.mark.parametrize("kind", KINDS + VOLUMES)
def test_quantiles_equal_numpy_over_every_window(kind: str, field: str) -> None:
    panel = market(kind)
    if field == "true_range":
        high, low, close = (column(panel, name) for name in ("high", "low", "close"))
        x = np.r_[np.nan, talib.TRANGE(high, low, close)[1:]]
    else:
        x = read(panel, field)
    late = int(field in ("log_return", "true_range"))
    for window, level in ((1, 0.3), (5, 0.0), (5, 1), (20, 0.5), (66, 0.95), (100, 0.01)):
        wanted = over(window, window - 1 + late, lambda s, level=level: float(np.quantile(x[s], level)))
        agree(computed(f.quantile(field, window, level), panel)[0], wanted, rtol=1e-12, atol=1e-15)
    for window, level in ((2, 0.4), (20, 0.05), (100, 0.1)):
        wanted = np.full(len(x), np.nan)
        for row in range(window + late, len(x)):
            wanted[row] = np.clip(x[row], *np.quantile(x[row - window : row], [level, 1 - level]))
        agree(computed(f.winsorised(field, window, level), panel)[0], wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS + VOLUMES)
def test_what_talib_has_equals_talib(kind: str) -> None:
    panel = market(kind)
    for field in ("close", "volume", "vwap"):
        x = column(panel, field)
        scale = x.max()
        for window in (2, 14, 100):
            agree(computed(f.mean(field, window), panel)[0], talib.SMA(x, window), atol=1e-13 * scale)
            deviation = talib.STDDEV(x, window) * np.sqrt(window / (window - 1))
            agree(computed(f.deviation(field, window), panel)[0], deviation, rtol=1e-7, atol=1e-9 * scale)
            low, high = talib.MINMAX(x, window)
            width = np.where(high == low, 1.0, high - low)
            place = np.where(np.isnan(low), np.nan, np.where(high == low, 0.5, (x - low) / width))
            agree(computed(f.range_position(field, window), panel)[0], place)


@pytest.mark.parametrize("kind", ["random", "gapping", "rising", "falling", "tiny"])
def test_bars_since_an_extreme_equal_talib(kind: str) -> None:
    panel = series(kind)
    high, low = column(panel, "high"), column(panel, "low")
    rows = np.arange(len(high))
    for window in (2, 14, 100):
        missing = rows < window - 1
        wanted = np.where(missing, np.nan, rows - talib.MAXINDEX(high, window))
        agree(computed(f.bars_since_highest("high", window), panel)[0], wanted)
        wanted = np.where(missing, np.nan, rows - talib.MININDEX(low, window))
        agree(computed(f.bars_since_lowest("low", window), panel)[0], wanted)


def test_a_flat_market_gives_neutral_statistics() -> None:
    panel = series("flat")
    flat = 123.45
    wanted = {
        f.mean("close", 7): flat,
        f.deviation("close", 7): 0.0,
        f.skew("close", 7): 0.0,
        f.kurtosis("log_return", 7): 0.0,
        f.quantile("close", 7, 0.3): flat,
        f.winsorised("close", 7): flat,
        f.rank("close", 7): 0.5,
        f.range_position("close", 7): 0.5,
        f.bars_since_highest("close", 7): 0.0,
        f.bars_since_lowest("close", 7): 0.0,
    }
    for feature, value in wanted.items():
        assert computed(feature, panel)[0][-1] == value, feature.name


def test_statistics_by_hand() -> None:
    panel = panel_of(np.array([1.0, 2.0, 3.0, 4.0, 10.0, 10.0, 0.0 + 5.0, 7.0]))
    last = {make: computed(make("close", 5), panel)[0][4] for make in (f.mean, f.deviation, f.rank, f.range_position)}
    assert last == {f.mean: 4.0, f.deviation: np.sqrt(12.5), f.rank: 1.0, f.range_position: 1.0}
    np.testing.assert_allclose(computed(f.skew("close", 5), panel)[0][4], 180 / 5 / 10**1.5 * np.sqrt(20) / 3)
    np.testing.assert_allclose(
        computed(f.kurtosis("close", 5), panel)[0][4], 4 / 6 * (6 * (1394 / 5 / 100 - 3) + 6), rtol=1e-12
    )
    assert computed(f.rank("close", 3), panel)[0][5] == 0.75
    assert computed(f.bars_since_highest("close", 5), panel)[0][4:].tolist() == [0.0, 0.0, 1.0, 2.0]
    assert computed(f.bars_since_lowest("close", 5), panel)[0][4:].tolist() == [4.0, 4.0, 4.0, 4.0]
    assert computed(f.quantile("close", 5, 0.125), panel)[0][4] == 1.5
    assert computed(f.winsorised("close", 4, 0.25), panel)[0][4:].tolist() == [3.25, 5.5, 5.0, 7.0]


def test_an_outlier_cannot_move_its_own_fences() -> None:
    values = series("random").values.copy()
    values[200, :, 3] *= 1e12
    panel = panel_with(values)
    found, plain = (computed(f.winsorised("close", 50, 0.1), market)[0] for market in (panel, series("random")))
    close = column(series("random"), "close")
    assert found[200] <= close[150:200].max()
    agree(found[251:], plain[251:], rtol=0.0)


@pytest.mark.parametrize("make", [f.skew, f.kurtosis, f.deviation, f.mean, f.zscore])
def test_a_spike_that_has_left_leaves_no_trace_in_statistics(make: Callable[[str, int], f.Feature]) -> None:
    values = series("random").values.copy()
    values[100, :, 3] = 1e12
    found, plain = (computed(make("close", 30), panel)[0][131:] for panel in (panel_with(values), series("random")))
    agree(found, plain, rtol=1e-11, atol=1e-12)


def test_wrong_parameters_of_statistics_are_refused_by_name() -> None:
    least = {f.mean: 1, f.deviation: 2, f.skew: 3, f.kurtosis: 4, f.rank: 2, f.range_position: 1}
    for make, window in (least | {f.bars_since_highest: 1, f.bars_since_lowest: 1}).items():
        make("close", window)
        with pytest.raises(ValueError, match=f"{make.__name__}: window .* at least {window}"):
            make("close", window - 1)
        with pytest.raises(ValueError, match=f"{make.__name__}: unknown field 'colour'; .*log_return"):
            make("colour", 9)
    for level in (-0.1, 1.1, np.nan, "high", True, False):
        with pytest.raises(ValueError, match="quantile: level must be"):
            f.quantile("close", 5, level)  # type: ignore[arg-type]
    for level in (0, 0.5, np.nan, True):
        with pytest.raises(ValueError, match="winsorised: level must be"):
            f.winsorised("close", 5, level)
