"""Every number against TA-Lib, or against the formula in plain NumPy where TA-Lib has none."""

import numpy as np
import pytest
import talib

from cryptoquant import features as f
from cryptoquant.market.slice import Panel
from tests.features.examples import panel_of, panel_with

ROWS = 400


def series(kind: str) -> Panel:
    rng = np.random.default_rng(11)
    if kind == "random":
        return panel_of(5e4 * np.exp(np.cumsum(rng.standard_t(4, ROWS) * 1e-3)))
    if kind == "gapping":
        values = panel_of(100 * np.exp(np.cumsum(rng.standard_normal(ROWS) * 0.05))).values
        values[..., :4] *= np.exp(rng.standard_normal(ROWS) * 0.1)[:, None, None]
        return panel_with(values)
    if kind == "flat":
        return panel_of(np.full(ROWS, 123.45), spread=0.0)
    if kind == "rising":
        return panel_of(100.0 + np.arange(ROWS))
    if kind == "falling":
        return panel_of(1000.0 - np.arange(ROWS))
    return panel_of(1e-5 * np.exp(np.cumsum(rng.standard_normal(ROWS) * 0.01)))


KINDS = ("random", "gapping", "flat", "rising", "falling", "tiny")


def column(panel: Panel, field: str) -> np.ndarray:
    return np.ascontiguousarray(panel.field(field)[:, 0])


def computed(feature: f.Feature, panel: Panel) -> list[np.ndarray]:
    table = f.FeatureSet([feature]).compute_panel(panel)
    return [table[:, 0, index] for index in range(table.shape[2])]


def agree(found: np.ndarray, wanted: np.ndarray, scale: float = 1.0) -> None:
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize("kind", KINDS)
def test_rsi_equals_talib(kind: str) -> None:
    panel = series(kind)
    for window in (2, 14, 100):
        agree(computed(f.rsi(window), panel)[0], talib.RSI(column(panel, "close"), window))


@pytest.mark.parametrize("kind", KINDS)
def test_average_ranges_equal_talib(kind: str) -> None:
    panel = series(kind)
    high, low, close = (column(panel, name) for name in ("high", "low", "close"))
    for window in (1, 14):
        agree(computed(f.atr(window), panel)[0], talib.ATR(high, low, close, window), close[0])
    for window in (2, 14):  # TA-Lib forgets to divide by the close at a window of 1
        agree(computed(f.natr(window), panel)[0], talib.NATR(high, low, close, window) / 100)


@pytest.mark.parametrize("kind", KINDS)
def test_macd_equals_talib_in_all_three_outputs(kind: str) -> None:
    panel = series(kind)
    close = column(panel, "close")
    wanted = talib.MACD(close, 12, 26, 9)
    for plain, relative, oracle in zip(
        computed(f.macd(), panel), computed(f.macd(relative=True), panel), wanted, strict=True
    ):
        agree(plain, oracle, close[0])
        agree(relative, oracle / close)


@pytest.mark.parametrize("kind", KINDS)
def test_ratios_to_averages_equal_talib(kind: str) -> None:
    panel = series(kind)
    close = column(panel, "close")
    for window in (2, 20, 100):
        agree(computed(f.sma(window, relative=True), panel)[0], close / talib.SMA(close, window) - 1)
        agree(computed(f.ema(window, relative=True), panel)[0], close / talib.EMA(close, window) - 1)


@pytest.mark.parametrize("kind", ["random", "gapping", "rising", "falling"])
def test_bollinger_equals_talib(kind: str) -> None:
    panel = series(kind)
    close = column(panel, "close")
    for window in (20, 80):
        upper, middle, lower = talib.BBANDS(close, window, 2.0, 2.0)
        position, width = computed(f.bollinger(window, 2.0), panel)
        np.testing.assert_allclose(position, (close - lower) / (upper - lower), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(width, (upper - lower) / middle, rtol=1e-6)
        assert np.isnan(position[: window - 1]).all()
        assert not np.isnan(position[window - 1])


@pytest.mark.parametrize("kind", KINDS)
def test_returns_and_the_channel_equal_talib_and_numpy(kind: str) -> None:
    panel = series(kind)
    high, low, close = (column(panel, name) for name in ("high", "low", "close"))
    agree(computed(f.roc(10), panel)[0], talib.ROCP(close, 10))
    wanted = np.r_[np.full(10, np.nan), np.log(close[10:] / close[:-10])]
    agree(computed(f.log_return(10), panel)[0], wanted)
    top, bottom = talib.MAX(high, 20), talib.MIN(low, 20)
    width = np.where(top == bottom, np.nan, top - bottom)
    position = np.where(top == bottom, 0.5, (close - bottom) / width)
    agree(computed(f.donchian_position(20), panel)[0], position)


@pytest.mark.parametrize("window", [2, 48, 100])
def test_deviations_equal_numpy_over_every_window(window: int) -> None:
    panel = series("random")
    close, volume = column(panel, "close"), column(panel, "volume")
    returns = np.diff(np.log(close))
    volatility = [returns[row - window : row].std(ddof=1) for row in range(window, ROWS)]
    agree(computed(f.realized_volatility(window), panel)[0], np.r_[np.full(window, np.nan), volatility])
    windows = [volume[row + 1 - window : row + 1] for row in range(window - 1, ROWS)]
    score = [(x[-1] - x.mean()) / x.std(ddof=1) for x in windows]
    ratio = [x[-1] / x.mean() for x in windows]
    missing = np.full(window - 1, np.nan)
    agree(computed(f.zscore("volume", window), panel)[0], np.r_[missing, score])
    agree(computed(f.volume_ratio(window), panel)[0], np.r_[missing, ratio])


def test_a_flat_market_gives_neutral_numbers() -> None:
    values = series("flat").values
    values[..., 4] = 0.0
    panel = panel_with(values)
    last = {
        feature.name: [values[-1] for values in computed(feature, panel)]
        for feature in (
            f.rsi(14),
            f.bollinger(20, 2.0),
            f.donchian_position(20),
            f.zscore("close", 70),
            f.volume_ratio(5),
            f.realized_volatility(70),
        )
    }
    assert last == {
        "rsi": [0.0],
        "bollinger": [0.5, 0.0],
        "donchian_position": [0.5],
        "zscore": [0.0],
        "volume_ratio": [1.0],
        "realized_volatility": [0.0],
    }


def test_the_clock_goes_round_once_a_day() -> None:
    sine, cosine = computed(f.hour_of_day(), series("random"))
    hours = np.arange(1, ROWS + 1) % 24
    np.testing.assert_allclose(sine, np.sin(2 * np.pi * hours / 24), atol=1e-12)
    np.testing.assert_allclose(cosine, np.cos(2 * np.pi * hours / 24), atol=1e-12)


def test_panel_features_compare_the_symbols_that_are_present() -> None:
    close = np.array([[1.0, 1.0, 1.0, 1.0], [2.0, 4.0, 4.0, 1.0], [4.0, 4.0, 8.0, 2.0]])
    values = panel_of(close).values
    values[2, 3] = np.nan
    panel = panel_with(values)
    relative = computed_panel(f.relative_return(1), panel)
    ranks = computed_panel(f.cross_sectional_rank(1), panel)
    two = np.log(2.0)
    np.testing.assert_allclose(relative[1], [two * (1 - 1.25), two * 0.75, two * 0.75, -1.25 * two], atol=1e-15)
    np.testing.assert_allclose(relative[2], [two / 3, -two * 2 / 3, two / 3, np.nan], atol=1e-15)
    np.testing.assert_allclose(ranks[1], [1 / 3, 5 / 6, 5 / 6, 0.0])
    np.testing.assert_allclose(ranks[2], [0.75, 0.0, 0.75, np.nan])
    assert np.isnan(relative[0]).all()
    assert np.isnan(ranks[0]).all()
    alone = panel_of(close[:, :1])
    assert computed_panel(f.relative_return(1), alone)[2].tolist() == [0.0]
    assert computed_panel(f.cross_sectional_rank(1), alone)[2].tolist() == [0.5]


def computed_panel(feature: f.Feature, panel: Panel) -> np.ndarray:
    return f.FeatureSet([feature]).compute_panel(panel)[:, :, 0]
