"""Directional movement, Aroon, straight lines and trailing stops against TA-Lib or their papers."""

import numpy as np
import pytest
import talib
from scipy.stats import linregress

from cryptoquant import features as f
from cryptoquant.market.slice import Panel
from tests.features.examples import panel_of, panel_with
from tests.features.test_formulas import KINDS, ROWS, agree, column, computed, series


def prices(panel: Panel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return column(panel, "high"), column(panel, "low"), column(panel, "close")


def stepping(seed: int = 5) -> Panel:
    """Return whole-numbered bars, so that highs and lows are often equal."""
    rng = np.random.default_rng(seed)
    values = panel_of(np.full(ROWS, 50.0), spread=0.0).values
    close = 50.0 + np.cumsum(rng.integers(-1, 2, ROWS))
    values[:, 0, 3] = close
    values[:, 0, 1] = close + rng.integers(0, 3, ROWS)
    values[:, 0, 2] = close - rng.integers(0, 3, ROWS)
    return panel_with(values)


@pytest.mark.parametrize("kind", [*KINDS, "stepping"])
def test_directional_movement_equals_talib(kind: str) -> None:
    panel = stepping() if kind == "stepping" else series(kind)
    for window in (2, 14, 60):
        strength, plus, minus = computed(f.adx(window), panel)
        agree(strength, talib.ADX(*prices(panel), window))
        for found, oracle in ((plus, talib.PLUS_DI), (minus, talib.MINUS_DI)):
            wanted = oracle(*prices(panel), window)
            wanted[: 2 * window - 1] = np.nan
            agree(found, wanted)


def test_strength_holds_its_last_value_when_the_market_stops() -> None:
    rise = panel_of(np.r_[100.0 + np.arange(30), np.full(60, 129.0)])
    values = rise.values
    values[30:, 0, :4] = values[29, 0, 3]
    strength, plus, minus = computed(f.adx(5), panel_with(values))
    assert strength[29] == pytest.approx(100)
    assert strength[-1] == pytest.approx(100)
    assert plus[-1] > 0
    assert minus[-1] == 0
    assert [found[-1] for found in computed(f.adx(5), series("flat"))] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("kind", [*KINDS, "stepping"])
def test_aroon_equals_talib_also_where_extremes_are_equal(kind: str) -> None:
    panel = stepping() if kind == "stepping" else series(kind)
    high, low, _ = prices(panel)
    for window in (2, 3, 14, 60):
        up, down, oscillator = computed(f.aroon(window), panel)
        wanted_down, wanted_up = talib.AROON(high, low, window)
        agree(up, wanted_up)
        agree(down, wanted_down)
        agree(oscillator, talib.AROONOSC(high, low, window))


@pytest.mark.parametrize("kind", KINDS)
def test_the_slope_equals_talib_and_its_fit_scipy(kind: str) -> None:
    panel = series(kind)
    close = column(panel, "close")
    for window in (2, 14, 100):
        slope, fit = computed(f.linear_trend(window), panel)
        relative, same = computed(f.linear_trend(window, relative=True), panel)
        agree(slope, talib.LINEARREG_SLOPE(close, window), close[0])
        agree(relative, talib.LINEARREG_SLOPE(close, window) / close)
        np.testing.assert_array_equal(fit, same)
        steps = np.arange(window)
        exact = [linregress(steps, close[row + 1 - window : row + 1]) for row in range(window - 1, ROWS)]
        np.testing.assert_allclose(
            fit[window - 1 :], np.nan_to_num([line.rvalue**2 for line in exact]), rtol=1e-9, atol=1e-9
        )
        np.testing.assert_allclose(slope[window - 1 :], [line.slope for line in exact], rtol=1e-9, atol=1e-12)


def test_a_straight_line_fits_wholly_and_a_flat_one_not_at_all() -> None:
    slope, fit = computed(f.linear_trend(10), series("falling"))
    assert slope[-1] == -1.0
    assert fit[-1] == 1.0
    assert [found[-1] for found in computed(f.linear_trend(10), series("flat"))] == [0.0, 0.0]


@pytest.mark.parametrize("kind", [*KINDS, "stepping"])
def test_the_parabolic_stop_equals_talib(kind: str) -> None:
    panel = stepping() if kind == "stepping" else series(kind)
    high, low, close = prices(panel)
    for acceleration, maximum in ((0.02, 0.2), (0.05, 0.06), (0.3, 0.1)):
        wanted = talib.SAR(high, low, acceleration, maximum)
        agree(computed(f.parabolic_sar(acceleration, maximum), panel)[0], wanted, 0.0)
        relative = computed(f.parabolic_sar(acceleration, maximum, relative=True), panel)[0]
        agree(relative, close / wanted - 1)


@pytest.mark.parametrize("seed", range(20))
def test_the_parabolic_stop_begins_like_talib_in_any_market(seed: int) -> None:
    high, low, _ = prices(stepping(seed))
    agree(computed(f.parabolic_sar(), stepping(seed))[0], talib.SAR(high, low), 0.0)


def published_supertrend(panel: Panel, window: int, multiplier: float) -> tuple[np.ndarray, np.ndarray]:
    """Return level and direction, line for line as TradingView's Pine reference does it, on TA-Lib's ATR."""
    high, low, close = prices(panel)
    reach = multiplier * talib.ATR(high, low, close, window)
    upper, lower = (high + low) / 2 + reach, (high + low) / 2 - reach
    level, direction = np.full((2, len(close)), np.nan)
    for bar in range(window, len(close)):
        before = bar - 1
        if bar > window:
            if not (lower[bar] > lower[before] or close[before] < lower[before]):
                lower[bar] = lower[before]
            if not (upper[bar] < upper[before] or close[before] > upper[before]):
                upper[bar] = upper[before]
        if bar == window:
            is_up = False
        elif level[before] == upper[before]:
            is_up = close[bar] > upper[bar]
        else:
            is_up = not close[bar] < lower[bar]
        level[bar] = lower[bar] if is_up else upper[bar]
        direction[bar] = 1 if is_up else -1
    return level, direction


@pytest.mark.parametrize("kind", KINDS)
def test_the_supertrend_equals_its_published_rule(kind: str) -> None:
    panel = series(kind)
    close = column(panel, "close")
    for window, multiplier in ((1, 1.0), (5, 0.5), (10, 3.0)):
        wanted, turn = published_supertrend(panel, window, multiplier)
        level, direction = computed(f.supertrend(window, multiplier), panel)
        relative, same = computed(f.supertrend(window, multiplier, relative=True), panel)
        agree(level, wanted, 0.0)
        np.testing.assert_array_equal(direction, turn)
        np.testing.assert_array_equal(same, turn)
        agree(relative, close / wanted - 1)


def test_the_supertrend_turns_both_ways_in_a_random_market() -> None:
    turns = np.diff(computed(f.supertrend(5, 0.5), series("random"))[1][5:])
    assert {-2.0, 0.0, 2.0} == set(turns)


def test_wrong_parameters_are_refused_by_name() -> None:
    for make in (f.adx, f.aroon, f.linear_trend):
        with pytest.raises(ValueError, match=f"{make.__name__}: window .* at least 2, found 1"):
            make(1)
    with pytest.raises(ValueError, match="supertrend: multiplier must be a finite number above 0"):
        f.supertrend(10, 0.0)
    with pytest.raises(ValueError, match="supertrend: window"):
        f.supertrend(0)
    with pytest.raises(ValueError, match="parabolic_sar: acceleration"):
        f.parabolic_sar(-0.02)
    with pytest.raises(ValueError, match="parabolic_sar: maximum"):
        f.parabolic_sar(0.02, float("inf"))
