"""Extremes and channels against TA-Lib, Ichimoku's cloud against NumPy."""

import numpy as np
import pytest
import talib

from cryptoquant import features as f
from tests.features.examples import panel_of
from tests.features.test_formulas import KINDS, agree, column, computed, series
from tests.features.test_trend import prices


@pytest.mark.parametrize("kind", KINDS)
def test_extremes_and_donchian_equal_talib(kind: str) -> None:
    panel = series(kind)
    high, low, _ = prices(panel)
    for window in (2, 3, 20, 100):
        top, bottom = talib.MAX(high, window), talib.MIN(low, window)
        upper, lower = computed(f.donchian(window), panel)
        np.testing.assert_array_equal(upper, top)
        np.testing.assert_array_equal(lower, bottom)
        np.testing.assert_array_equal(computed(f.highest("high", window), panel)[0], top)
        np.testing.assert_array_equal(computed(f.lowest("low", window), panel)[0], bottom)
        volume = column(panel, "volume")
        np.testing.assert_array_equal(computed(f.highest("volume", window), panel)[0], talib.MAX(volume, window))


def test_extremes_are_named_after_their_field() -> None:
    assert f.highest("high", 20).outputs == ("highest_high_20",)
    assert f.lowest("vwap", 5).outputs == ("lowest_vwap_5",)
    with pytest.raises(ValueError, match="highest: unknown field 'colour'"):
        f.highest("colour", 5)
    with pytest.raises(ValueError, match="lowest: window"):
        f.lowest("low", 0)


@pytest.mark.parametrize("kind", KINDS)
def test_bollinger_bands_equal_talib(kind: str) -> None:
    panel = series(kind)
    close = column(panel, "close")
    for window, width in ((2, 1.0), (20, 2.0), (100, 2.5)):
        wanted = talib.BBANDS(close, window, width, width)
        for found, oracle in zip(computed(f.bollinger_bands(window, width), panel), wanted, strict=True):
            agree(found, oracle, 0.0)


def test_bands_position_and_width_say_the_same() -> None:
    panel = series("gapping")
    upper, middle, lower = computed(f.bollinger_bands(20, 2.0), panel)
    position, width = computed(f.bollinger(20, 2.0), panel)
    agree(position, (column(panel, "close") - lower) / (upper - lower))
    agree(width, (upper - lower) / middle)
    upper, middle, lower = computed(f.keltner(20, 10, 1.5), panel)
    position, width = computed(f.keltner_position(20, 10, 1.5), panel)
    agree(position, (column(panel, "close") - lower) / (upper - lower))
    agree(width, (upper - lower) / middle)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("windows", [(20, 10), (5, 30), (2, 1), (1, 3)])
def test_keltners_channel_is_talibs_ema_and_atr(kind: str, windows: tuple[int, int]) -> None:
    panel = series(kind)
    high, low, close = prices(panel)
    middle = talib.EMA(close, windows[0]) if windows[0] > 1 else close
    reach = 2.0 * talib.ATR(high, low, close, windows[1])
    first = max(windows[0] - 1, windows[1])
    middle = np.r_[np.full(first, np.nan), middle[first:]]
    for found, wanted in zip(
        computed(f.keltner(*windows), panel), (middle + reach, middle, middle - reach), strict=True
    ):
        agree(found, wanted, 0.0)


def test_channels_of_a_market_that_stands_still_are_points() -> None:
    panel = panel_of(np.full(60, 0.1), spread=0.0)
    for feature in (f.bollinger_bands(7), f.keltner(7, 5), f.donchian(7), f.ichimoku(3, 5, 7)):
        assert [found[-1] for found in computed(feature, panel)] == pytest.approx(
            [0.1] * len(feature.outputs), rel=1e-15
        )
    assert [found[-1] for found in computed(f.keltner_position(7, 5), panel)] == [0.5, 0.0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("windows", [(9, 26, 52), (1, 2, 3), (3, 40, 41)])
def test_the_cloud_equals_numpy_and_lies_where_the_chart_draws_it(kind: str, windows: tuple[int, int, int]) -> None:
    panel = series(kind)
    high, low, close = prices(panel)

    def line(window: int, bar: int) -> float:
        return (high[bar + 1 - window : bar + 1].max() + low[bar + 1 - window : bar + 1].min()) / 2

    tenkan, kijun, senkou = windows
    delay = kijun - 1
    wanted = np.full((4, len(close)), np.nan)
    for bar in range(senkou - 1 + delay, len(close)):
        wanted[0, bar], wanted[1, bar] = line(tenkan, bar), line(kijun, bar)
        wanted[2, bar] = (line(tenkan, bar - delay) + line(kijun, bar - delay)) / 2
        wanted[3, bar] = line(senkou, bar - delay)
    relative = computed(f.ichimoku(*windows, relative=True), panel)
    for found, share, level in zip(computed(f.ichimoku(*windows), panel), relative, wanted, strict=True):
        agree(found, level, 0.0)
        agree(share, close / level - 1)


def test_wrong_channels_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="ichimoku: wanted tenkan < kijun < senkou, found 9, 9 and 52"):
        f.ichimoku(9, 9, 52)
    with pytest.raises(ValueError, match="ichimoku: kijun must be a whole number"):
        f.ichimoku(9, 2.5, 52)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bollinger_bands: width"):
        f.bollinger_bands(20, -1.0)
    with pytest.raises(ValueError, match="keltner: range_window"):
        f.keltner(20, 0)
    with pytest.raises(ValueError, match="keltner_position: multiplier"):
        f.keltner_position(20, 10, 0.0)
    with pytest.raises(ValueError, match="donchian: window"):
        f.donchian(0)
