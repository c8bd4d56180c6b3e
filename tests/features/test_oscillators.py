"""Oscillators and momentum against TA-Lib, or against their papers in plain NumPy."""

import numpy as np
import pytest
import talib

from cryptoquant import features as f
from tests.features.examples import panel_of, panel_with
from tests.features.test_formulas import KINDS, ROWS, agree, column, computed, series
from tests.features.test_trend import prices, stepping


@pytest.mark.parametrize("kind", [*KINDS, "stepping"])
def test_the_stochastic_equals_talib(kind: str) -> None:
    panel = stepping() if kind == "stepping" else series(kind)
    for window, smooth, signal in ((14, 3, 3), (5, 1, 1), (1, 2, 5), (60, 20, 7)):
        wanted = talib.STOCH(*prices(panel), window, smooth, 0, signal, 0)
        for found, oracle in zip(computed(f.stochastic(window, smooth, signal), panel), wanted, strict=True):
            agree(found, oracle)


@pytest.mark.parametrize("kind", KINDS)
def test_the_stochastic_of_the_index_equals_talib(kind: str) -> None:
    panel = series(kind)
    for window, reach, signal in ((14, 14, 3), (5, 3, 1), (2, 20, 8)):
        wanted = talib.STOCHRSI(column(panel, "close"), window, reach, signal)
        for found, oracle in zip(computed(f.stochastic_rsi(window, reach, signal), panel), wanted, strict=True):
            agree(found, oracle)


@pytest.mark.parametrize("kind", [*KINDS, "stepping"])
def test_williams_r_and_momentum_equal_talib(kind: str) -> None:
    panel = stepping() if kind == "stepping" else series(kind)
    for window in (2, 14, 100):
        agree(computed(f.williams_r(window), panel)[0], talib.WILLR(*prices(panel), window))
        close = column(panel, "close")
        agree(computed(f.momentum(window), panel)[0], talib.MOM(close, window), close[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_commodity_channel_index_equals_talib(kind: str) -> None:
    panel = series(kind)
    for window in (2, 3, 20, 100):
        agree(computed(f.cci(window), panel)[0], talib.CCI(*prices(panel), window))


def test_the_commodity_channel_index_of_three_bars_by_hand() -> None:
    values = panel_of(np.array([6.0, 9.0, 15.0]), spread=0.0).values
    values[:, 0, 1] = values[:, 0, 2] = values[:, 0, 3]
    assert computed(f.cci(3), panel_with(values))[0][-1] == pytest.approx((15 - 10) / (0.015 * (4 + 1 + 5) / 3))
    assert computed(f.cci(3), panel_of(np.full(9, 0.1), spread=0.0))[0][-1] == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_ultimate_oscillator_equals_talib(kind: str) -> None:
    panel = series(kind)
    for windows in ((7, 14, 28), (1, 2, 3), (5, 30, 100)):
        agree(computed(f.ultimate_oscillator(*windows), panel)[0], talib.ULTOSC(*prices(panel), *windows))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("windows", [(25, 13), (3, 20), (1, 1)])
def test_the_true_strength_index_is_blaus_formula_on_talibs_averages(kind: str, windows: tuple[int, int]) -> None:
    panel = series(kind)
    change = np.diff(column(panel, "close"))

    def smooth(values: np.ndarray) -> np.ndarray:
        slow, fast = windows
        once = talib.EMA(values, slow)[slow - 1 :] if slow > 1 else values
        return talib.EMA(once, fast)[fast - 1 :] if fast > 1 else once

    top, bottom = smooth(change), smooth(np.abs(change))
    wanted = np.where(bottom > 0, 100 * top / np.where(bottom > 0, bottom, 1), 0.0)
    agree(computed(f.tsi(*windows), panel)[0], np.r_[np.full(ROWS - len(wanted), np.nan), wanted])


def test_oscillators_of_a_market_that_stands_still_or_goes_one_way() -> None:
    flat = {
        feature.name: {found[-1] for found in computed(feature, series("flat"))}
        for feature in (
            f.stochastic(),
            f.stochastic_rsi(),
            f.williams_r(),
            f.cci(),
            f.ultimate_oscillator(),
            f.tsi(),
            f.momentum(),
        )
    }
    assert all(values == {0.0} for values in flat.values()), flat
    assert computed(f.tsi(), series("rising"))[0][-1] == pytest.approx(100)
    assert computed(f.tsi(), series("falling"))[0][-1] == pytest.approx(-100)


def test_wrong_oscillators_are_refused_by_name() -> None:
    for make, names in (
        (f.stochastic, ("window", "smooth", "signal")),
        (f.stochastic_rsi, ("window", "range_window", "signal")),
        (f.tsi, ("slow", "fast")),
        (f.williams_r, ("window",)),
        (f.momentum, ("window",)),
        (f.ultimate_oscillator, ("short", "medium", "long")),
    ):
        for name in names:
            with pytest.raises(ValueError, match=f"{make.__name__}: {name} must be a whole number"):
                make(**{name: 0})
    with pytest.raises(ValueError, match="cci: window must be a whole number of at least 2"):
        f.cci(1)
    with pytest.raises(ValueError, match="wanted short < medium < long, found 7, 7 and 28"):
        f.ultimate_oscillator(7, 7)
