"""Differences, lags, regimes and the clock against their definitions; and long histories against the present."""

import datetime as dt

import numpy as np
import pytest
import talib

from cryptoquant import features as f
from cryptoquant.market.slice import FIELDS, Panel
from tests.features.examples import panel_of
from tests.features.test_drivers import same_bits
from tests.features.test_estimators import agree, log_returns
from tests.features.test_formulas import KINDS, ROWS, column, computed, series
from tests.market_makers import gapping_panel


@pytest.mark.parametrize("kind", KINDS)
def test_differences_and_lags_equal_numpy_and_talib(kind: str) -> None:
    panel = series(kind)
    close, volume, returns = column(panel, "close"), column(panel, "volume"), log_returns(panel)
    for bars in (1, 7):
        missing = np.full(bars, np.nan)
        agree(computed(f.difference("close", bars), panel)[0], talib.MOM(close, bars), rtol=0.0)
        agree(computed(f.lag("volume", bars), panel)[0], np.r_[missing, volume[:-bars]], rtol=0.0)
        agree(computed(f.lag("log_return", bars), panel)[0], np.r_[missing, returns[:-bars]], rtol=1e-11, atol=1e-15)
        changes = np.r_[missing, returns[bars:] - returns[:-bars]]
        agree(computed(f.difference("log_return", bars), panel)[0], changes, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", [0.1, 0.4, 1.0, 1.7, 3.0])
def test_the_fractional_difference_equals_its_formula(kind: str, order: float) -> None:
    panel = series(kind)
    x = np.log(column(panel, "close").astype(np.longdouble))
    for window in (2, 20, 150):
        weights = [np.longdouble(1)]
        for k in range(1, window):
            weights.append(-weights[-1] * (order - k + 1) / k)
        values = [np.dot(weights, x[row : row - window : -1] if row >= window else x[row::-1]) for row in range(ROWS)
                  if row >= window - 1]  # fmt: skip
        wanted = np.r_[np.full(window - 1, np.nan), np.array(values, dtype=float)]
        agree(computed(f.fractional_difference(order, window), panel)[0], wanted, rtol=1e-11, atol=1e-14)


def test_a_difference_of_order_one_is_the_log_return() -> None:
    panel = series("random")
    returns = computed(f.log_return(1), panel)[0]
    found = computed(f.fractional_difference(1.0, 30), panel)[0]
    assert same_bits(found[29:], returns[29:])


@pytest.mark.parametrize("kind", KINDS)
def test_the_regime_equals_its_definition(kind: str) -> None:
    panel = series(kind)
    returns = log_returns(panel)
    for window, long_window in ((2, 1), (10, 50), (33, 64)):
        volatility = computed(f.realized_volatility(window), panel)[0]
        deviations = np.array([returns[max(row + 1 - window, 0) : row + 1].std(ddof=1) for row in range(1, ROWS)])
        np.testing.assert_allclose(volatility[window:], deviations[window - 1 :], atol=1e-12)
        wanted = np.full(ROWS, np.nan)
        for row in range(window + long_window, ROWS):
            wanted[row] = volatility[row] > np.median(volatility[row - long_window : row])
        agree(computed(f.regime(window, long_window), panel)[0], wanted)


def test_the_regime_tells_calm_from_turbulent_times() -> None:
    rng = np.random.default_rng(1)
    steps = np.r_[0.001 * rng.standard_normal(300), 0.01 * rng.standard_normal(60), 0.001 * rng.standard_normal(140)]
    flags = computed(f.regime(20, 200), panel_of(100 * np.exp(np.cumsum(steps))))[0]
    assert set(flags[320:360]) == {1.0}
    assert flags[385:].mean() < 0.7
    assert computed(f.regime(5, 9), series("flat"))[0][-1] == 0.0


def clocked(times: list[dt.datetime]) -> Panel:
    stamps = np.array([int(time.timestamp()) * 1_000_000_000 + time.microsecond * 1000 for time in times])
    values = np.ones((len(times), 1, len(FIELDS)))
    return Panel.from_values(stamps, stamps.copy(), ("A/USD",), values, 60_000_000_000)


def test_the_calendar_equals_that_of_python() -> None:
    rng = np.random.default_rng(2)
    minutes = np.unique(rng.integers(0, 60 * 24 * 365 * 60, 2000))
    start = dt.datetime(1999, 12, 31, 23, 59, tzinfo=dt.UTC)
    times = [start + dt.timedelta(minutes=int(count), microseconds=int(count) % 3) for count in minutes]
    panel = clocked(times)
    assert computed(f.hour(), panel)[0].tolist() == [time.hour for time in times]
    assert computed(f.weekday(), panel)[0].tolist() == [time.weekday() for time in times]
    assert computed(f.weekend(), panel)[0].tolist() == [time.weekday() >= 5 for time in times]
    days = np.array([(time.hour * 3600 + time.minute * 60 + time.microsecond / 1e6) / 86_400 for time in times])
    weeks = (np.array([time.weekday() for time in times]) + days) / 7
    for feature, turns in ((f.hour_of_day(), days), (f.day_of_week(), weeks)):
        sine, cosine = computed(feature, panel)
        np.testing.assert_allclose(sine, np.sin(2 * np.pi * turns), rtol=0.0, atol=2e-11)
        np.testing.assert_allclose(cosine, np.cos(2 * np.pi * turns), rtol=0.0, atol=2e-11)


def test_the_circle_is_exact_at_the_quarters_and_within_a_rounding_or_two_of_it_elsewhere() -> None:
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    quarters = computed(f.hour_of_day(), clocked([start + dt.timedelta(hours=6 * count) for count in range(5)]))
    assert [values.tolist() for values in quarters] == [[0.0, 1.0, 0.0, -1.0, 0.0], [1.0, 0.0, -1.0, 0.0, 1.0]]
    assert not np.signbit(np.array(quarters)[np.array(quarters) == 0.0]).any()
    seconds = np.arange(86_400)
    panel = clocked([start + dt.timedelta(seconds=int(second)) for second in seconds])
    sine, cosine = computed(f.hour_of_day(), panel)
    angle = 2 * np.longdouble("3.14159265358979323846") * seconds / 86_400
    assert np.max(np.abs(sine - np.sin(angle))) < 2.5e-16
    assert np.max(np.abs(cosine - np.cos(angle))) < 2.5e-16


@pytest.mark.parametrize("nanoseconds", [-480, -240, -1, 0, 1, 240, 500_000_000])
def test_the_day_turns_at_midnight_and_never_before(nanoseconds: int) -> None:
    days = 1_000_000_000 * 86_400 * np.arange(18_000, 24_000)
    values = np.ones((len(days), 1, len(FIELDS)))
    stamps = days + nanoseconds
    panel = Panel.from_values(stamps, stamps.copy(), ("A/USD",), values, 60_000_000_000)
    seconds = stamps / 1_000_000_000
    assert computed(f.hour(), panel)[0].tolist() == (seconds % 86_400 // 3600).tolist()
    assert computed(f.weekday(), panel)[0].tolist() == ((seconds // 86_400 + 3) % 7).tolist()
    turns = computed(f.hour_of_day(), panel)[0]
    np.testing.assert_allclose(turns, np.sin(2 * np.pi * (seconds % 86_400) / 86_400), atol=1e-12)


def large_windows() -> f.FeatureSet:
    return f.FeatureSet(
        [
            *(f.parkinson(300), f.yang_zhang(70), f.bipower_variation(129), f.ewma_volatility(50)),
            *(f.skew("volume", 240), f.kurtosis("log_return", 99), f.mean("close", 700), f.deviation("vwap", 513)),
            *(f.quantile("close", 300, 0.9), f.winsorised("log_return", 200), f.rank("volume", 77)),
            *(f.bars_since_highest("high", 333), f.range_position("low", 65), f.autocorrelation(120, 24)),
            *(f.variance_ratio(400, 30), f.hurst(256), f.entropy(130, 8), f.fractional_difference(0.3, 200)),
            *(f.regime(40, 500), f.lag("close", 600), f.difference("true_range", 90), f.day_of_week()),
        ]
    )


def test_long_histories_equal_the_present_to_the_bit_with_large_windows() -> None:
    panel = gapping_panel(2300, ("A/USD", "B/USD"), seed=4, absent=0.1)
    features = large_windows()
    history = features.compute_panel(panel)
    online = features.online(panel.symbols)
    assert same_bits(np.stack([online.update(slice) for slice in panel]), history)
    assert not np.isnan(history[-1]).any()


def test_wrong_parameters_of_transforms_are_refused_by_name() -> None:
    for make, message in (
        (lambda: f.lag("close", 0), "lag: bars"),
        (lambda: f.lag("colour", 1), "lag: unknown field 'colour'"),
        (lambda: f.difference("close", 0), "difference: lag"),
        (lambda: f.fractional_difference(0.0, 5), "fractional_difference: order"),
        (lambda: f.fractional_difference(0.5, 1), "fractional_difference: window"),
        (lambda: f.regime(1, 5), "regime: window"),
        (lambda: f.regime(5, 0), "regime: long_window"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
