"""What the volume says, against TA-Lib or plain NumPy, also where nothing trades or next to nothing."""

import numpy as np
import pytest
import talib

from cryptoquant import features as f
from cryptoquant.market.slice import FIELDS, Panel
from tests.features.examples import panel_of, panel_with
from tests.features.test_formulas import KINDS, ROWS, agree, column, computed, series

HOUR_SECONDS = 3_600
VOLUMES = ("lognormal", "tiny", "often zero", "zero", "spiked")


def traded(kind: str, volumes: str) -> Panel:
    """Return one of the series with bars' own VWAPs and volumes of some kind."""
    rng = np.random.default_rng(4)
    values = series(kind).values
    values[..., FIELDS.index("vwap")] = values[..., 2] + rng.random((ROWS, 1)) * (values[..., 1] - values[..., 2])
    volume = rng.lognormal(0, 1, (ROWS, 1))
    if volumes == "tiny":
        volume *= 1e-9
    if volumes == "often zero":
        volume *= rng.random((ROWS, 1)) < 0.2
    if volumes == "zero":
        volume *= 0.0
    if volumes == "spiked":
        volume[50], volume[200] = 1e9, 1e12
    values[..., FIELDS.index("volume")] = volume
    return panel_with(values)


def bars(panel: Panel) -> tuple[np.ndarray, ...]:
    return tuple(column(panel, name) for name in ("high", "low", "close", "volume"))


def over_windows(values: np.ndarray, window: int) -> np.ndarray:
    """Return the sums of the last values, NaN where there are fewer."""
    total = np.lib.stride_tricks.sliding_window_view(values.astype(np.longdouble), window).sum(axis=1)
    return np.r_[np.full(window - 1, np.nan), total.astype(float)]


def share(top: np.ndarray, bottom: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    found = np.where(bottom == 0, otherwise, top / np.where(bottom == 0, 1, bottom))
    return np.where(np.isnan(bottom), np.nan, found)


@pytest.mark.parametrize("volumes", VOLUMES)
@pytest.mark.parametrize("kind", KINDS)
def test_volume_features_equal_talib(kind: str, volumes: str) -> None:
    panel = traded(kind, volumes)
    high, low, close, volume = bars(panel)
    size = volume.max()
    np.testing.assert_array_equal(computed(f.obv(), panel)[0], talib.OBV(close, volume))
    agree(computed(f.accumulation_distribution(), panel)[0], talib.AD(high, low, close, volume), size)
    for fast, slow in ((3, 10), (2, 40), (10, 3)):
        agree(computed(f.chaikin_oscillator(fast, slow), panel)[0], talib.ADOSC(*bars(panel), fast, slow), size)


@pytest.mark.parametrize("volumes", [name for name in VOLUMES if name != "spiked"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_money_flow_index_equals_talib(kind: str, volumes: str) -> None:
    panel = traded(kind, volumes)
    for window in (2, 14, 100):
        agree(computed(f.mfi(window), panel)[0], talib.MFI(*bars(panel), window))


@pytest.mark.parametrize("volumes", VOLUMES)
@pytest.mark.parametrize("kind", KINDS)
def test_flows_equal_numpy_over_every_window(kind: str, volumes: str) -> None:
    panel = traded(kind, volumes)
    high, low, close, volume = bars(panel)
    nothing = np.zeros(ROWS)
    place = share((close - low) - (high - close), high - low, nothing)
    typical = (high + low + close) / 3
    change = np.diff(typical, prepend=np.nan)
    price = column(panel, "vwap")
    for window in (1, 5, 60):
        flow = share(over_windows(place * volume, window), over_windows(volume, window), nothing)
        agree(computed(f.chaikin_money_flow(window), panel)[0], flow)
        up, down = (over_windows(np.where(side, typical * volume, 0)[1:], window) for side in (change > 0, change < 0))
        agree(computed(f.mfi(window), panel)[0], np.r_[np.nan, share(100 * up, up + down, nothing[1:])])
        average = share(over_windows(price * volume, window), over_windows(volume, window), price)
        agree(computed(f.vwap(window), panel)[0], average, 0.0)
        agree(computed(f.vwap(window, relative=True), panel)[0], close / average - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_force_index_is_the_average_of_change_times_volume(kind: str) -> None:
    panel = traded(kind, "lognormal")
    _, _, close, volume = bars(panel)
    force = np.diff(close) * volume[1:]
    for window in (2, 13):
        agree(computed(f.force_index(window), panel)[0], np.r_[np.nan, talib.EMA(force, window)], close[0])
    agree(computed(f.force_index(1), panel)[0][1:], force, close[0])


@pytest.mark.parametrize("volumes", VOLUMES)
def test_the_session_begins_anew_after_midnight(volumes: str) -> None:
    panel = traded("gapping", volumes)
    _, _, close, volume = bars(panel)
    price = column(panel, "vwap")
    hours = (panel.times // 1_000_000_000 // HOUR_SECONDS) % 24
    wanted, start = np.empty(ROWS), 0
    for bar in range(ROWS):
        if hours[bar] == 1:
            start = bar
        day = slice(start, bar + 1)
        wanted[bar] = (price[day] @ volume[day]) / volume[day].sum() if volume[day].sum() > 0 else price[bar]
    assert sum(hours == 1) > 10
    agree(computed(f.session_vwap(), panel)[0], wanted, 0.0)
    agree(computed(f.session_vwap(relative=True), panel)[0], close / wanted - 1)


def test_totals_by_hand() -> None:
    values = panel_of(np.array([10.0, 11.0, 11.0, 9.0])).values
    values[:, 0, FIELDS.index("high")] = [12.0, 12.0, 11.0, 12.0]
    values[:, 0, FIELDS.index("low")] = [8.0, 8.0, 11.0, 8.0]
    values[:, 0, FIELDS.index("volume")] = [5.0, 4.0, 3.0, 2.0]
    panel = panel_with(values)
    assert computed(f.obv(), panel)[0].tolist() == [5.0, 9.0, 9.0, 7.0]
    assert computed(f.accumulation_distribution(), panel)[0].tolist() == [0.0, 2.0, 2.0, 1.0]
    assert computed(f.chaikin_money_flow(2), panel)[0].tolist()[1:] == [2 / 9, 2 / 7, -1 / 5]
    last = 100 * (31 / 3 * 4 + 11 * 3) / (31 / 3 * 4 + 11 * 3 + 29 / 3 * 2)
    assert computed(f.mfi(3), panel)[0][-1] == pytest.approx(last)


def test_levels_since_the_start_are_called_cumulative() -> None:
    for feature in (f.obv(), f.accumulation_distribution(), f.session_vwap(), f.parabolic_sar(), f.supertrend()):
        assert feature.memory == "cumulative"


def test_money_that_the_oscillator_has_forgotten_costs_it_no_digits() -> None:
    values = traded("random", "lognormal").values
    spiked = values.copy()
    spiked[0, 0, FIELDS.index("volume")] = 1e18
    found, wanted = (computed(f.chaikin_oscillator(), panel_with(x))[0][-1] for x in (spiked, values))
    assert found == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_true_range_equals_talib(kind: str) -> None:
    panel = series(kind)
    high, low, close, _ = bars(panel)
    wanted = talib.TRANGE(high, low, close)
    agree(computed(f.true_range(), panel)[0], wanted, close[0])
    agree(computed(f.true_range(relative=True), panel)[0], wanted / close)


def test_wrong_parameters_are_refused_by_name() -> None:
    for make in (f.force_index, f.vwap, f.chaikin_money_flow, f.mfi):
        with pytest.raises(ValueError, match=f"{make.__name__}: window .* at least 1, found 0"):
            make(0)
    for name in ("fast", "slow"):
        with pytest.raises(ValueError, match=f"chaikin_oscillator: {name} .* at least 2, found 1"):
            f.chaikin_oscillator(**{name: 1})
