"""Features that compare symbols: against NumPy, and under all laws of the drivers."""

import copy
import itertools
import json
import pickle

import numpy as np
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant import features as f
from cryptoquant.errors import DataError
from cryptoquant.market.slice import Panel
from tests.features.examples import every_comparison, panel_of, panel_with
from tests.features.test_drivers import SYMBOLS, rough_panels, same_bits
from tests.market_makers import frame_of, gapping_panel

WINDOW = 12


def table(feature: f.Feature, panel: Panel) -> np.ndarray:
    return f.FeatureSet([feature]).compute_panel(panel)[:, :, 0]


@pytest.mark.parametrize("absent", [0.0, 0.3])
def test_correlation_and_beta_equal_numpy_over_the_slices_that_both_have(absent: float) -> None:
    panel = gapping_panel(150, SYMBOLS, seed=6, absent=absent)
    close = panel.field("close")
    found = [table(make("B/USD", WINDOW), panel) for make in (f.correlation, f.beta)]
    for symbol in range(3):
        both = np.flatnonzero(np.isfinite(close[:, symbol]) & np.isfinite(close[:, 1]))
        x, y = (np.diff(np.log(close[both, place])) for place in (symbol, 1))
        wanted = np.full((2, len(close)), np.nan)
        for count in range(WINDOW, len(both)):
            covariance = np.cov(x[count - WINDOW : count], y[count - WINDOW : count])
            correlation = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
            wanted[:, both[count]] = correlation, covariance[0, 1] / covariance[1, 1]
        np.testing.assert_allclose([values[:, symbol] for values in found], wanted, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[0][~np.isnan(found[0][:, 1]), 1], 1.0, rtol=1e-15)
    np.testing.assert_allclose(found[1][~np.isnan(found[1][:, 1]), 1], 1.0, rtol=1e-15)


def test_correlation_equals_talib() -> None:
    panel = gapping_panel(150, SYMBOLS, seed=7)
    returns = np.diff(np.log(panel.field("close")), axis=0)
    found = table(f.correlation("C/USD", WINDOW), panel)
    wanted = talib.CORREL(*(np.ascontiguousarray(returns[:, symbol]) for symbol in (0, 2)), WINDOW)
    np.testing.assert_allclose(found[1:, 0], wanted, rtol=1e-9)


def test_where_nothing_moves_there_is_no_correlation_and_no_beta() -> None:
    close = 100 * np.exp(np.cumsum(0.01 * np.random.default_rng(0).standard_normal((40, 2)), axis=0))
    close[:, 1] = 100.0
    panel = panel_of(close)
    for make in (f.correlation, f.beta):
        assert table(make("S1/USD", 5), panel)[-1].tolist() == [0.0, 0.0]
    assert table(f.beta("S0/USD", 5), panel)[-1].tolist() == [1.0, 0.0]


def test_a_symbol_that_moves_twice_as_much_has_a_beta_of_two_and_its_mirror_minus_one() -> None:
    path = np.cumsum(0.01 * np.random.default_rng(0).standard_normal(60))
    panel = panel_of(100 * np.exp(np.column_stack([2 * path, path, -path])))
    np.testing.assert_allclose(table(f.beta("S1/USD", 20), panel)[-1], [2.0, 1.0, -1.0], rtol=1e-12)
    np.testing.assert_allclose(table(f.correlation("S1/USD", 20), panel)[-1], [1.0, 1.0, -1.0], rtol=1e-12)


def test_a_slice_without_either_symbol_has_no_value_and_does_not_count() -> None:
    panel = gapping_panel(60, SYMBOLS, seed=3)
    values = panel.values.copy()
    values[40, 1] = np.nan
    values[45, 0] = np.nan
    holed = Panel.from_values(panel.times, panel.known, panel.symbols, values)
    for make in (f.correlation, f.beta):
        found = table(make("B/USD", 6), holed)
        assert np.isnan(found[40]).all()
        assert np.isnan(found[45]).tolist() == [True, False, False]
        joint = np.delete(np.arange(60), [40, 45])
        times = panel.times[joint]
        dense = Panel.from_values(times, times, panel.symbols, panel.values[joint])
        assert same_bits(found[joint, 0], table(make("B/USD", 6), dense)[:, 0])


def test_a_universe_without_the_symbol_is_refused() -> None:
    panel = gapping_panel(20, SYMBOLS)
    for make in (f.correlation, f.beta):
        features = f.FeatureSet([make("D/USD", 5)])
        with pytest.raises(DataError, match=f"{make.__name__}: compares with D/USD, found only A/USD, B/USD, C/USD"):
            features.compute_panel(panel)
        with pytest.raises(DataError, match="compares with D/USD"):
            features.compute(frame_of(panel))
        with pytest.raises(DataError, match="compares with D/USD"):
            features.online(SYMBOLS)
        with pytest.raises(ValueError, match=f"{make.__name__}: symbol"):
            make("", 5)
        with pytest.raises(ValueError, match=f"{make.__name__}: window .* at least 2"):
            make("A/USD", 1)


@given(rough_panels(), st.sampled_from(SYMBOLS), st.integers(0, 159))
def test_comparisons_online_equal_history_to_the_bit_saved_and_restored_anywhere(
    panel: Panel, symbol: str, cut: int
) -> None:
    features = every_comparison(symbol)
    history = features.compute_panel(panel)
    online = features.online(panel.symbols)
    for row, slice in enumerate(panel):
        if row == cut:
            memory, online = online.state(), features.online(panel.symbols)
            online.restore(memory)
        assert same_bits(online.peek(slice), history[row])
        assert same_bits(online.update(slice), history[row])


@given(rough_panels(), st.permutations(range(3)))
def test_comparisons_do_not_depend_on_the_order_of_the_symbols(panel: Panel, order: list[int]) -> None:
    features = every_comparison("B/USD")
    symbols = tuple(panel.symbols[index] for index in order)
    turned = Panel.from_values(panel.times, panel.known, symbols, np.ascontiguousarray(panel.values[:, order]))
    assert same_bits(features.compute_panel(turned), features.compute_panel(panel)[:, order])


def test_comparisons_pass_the_whole_gate() -> None:
    bars = frame_of(gapping_panel(150, ("A/USD", "B/USD"), seed=8, absent=0.05))
    for symbol in ("A/USD", "B/USD"):
        every_comparison(symbol).check_causal(bars)
        f.FeatureSet([f.correlation(symbol, 5), f.rsi(4), f.cross_sectional_zscore(2)]).check_causal(bars)


def test_comparisons_begin_at_their_lookback_and_forget_after_their_warm_up() -> None:
    panel = gapping_panel(200, SYMBOLS, seed=5)
    features = every_comparison("A/USD")
    found = features.compute_panel(panel)
    for column, feature in enumerate(features.features):
        assert np.isnan(found[: feature.lookback, :, column]).all()
        assert not np.isnan(found[feature.lookback :, :, column]).any()
        start = len(panel) - feature.warm_up
        part = Panel.from_values(panel.times[start:], panel.known[start:], panel.symbols, panel.values[start:])
        late = features.compute_panel(part)[-1, :, column]
        np.testing.assert_allclose(late, found[-1, :, column], rtol=1e-11)


def test_a_comparison_survives_json_pickle_and_a_copy() -> None:
    features = every_comparison("B/USD")
    assert features.names == ("correlation_B/USD_4", "beta_B/USD_5")
    assert f.FeatureSet.from_dict(json.loads(json.dumps(features.to_dict()))) == features
    assert pickle.loads(pickle.dumps(features)).fingerprint == features.fingerprint
    assert features.fingerprint != every_comparison("A/USD").fingerprint
    panel = gapping_panel(80, SYMBOLS, seed=2)
    history, online = features.compute_panel(panel), features.online(SYMBOLS)
    for slice in itertools.islice(panel, 40):
        online.update(slice)
    for other in (copy.deepcopy(online), pickle.loads(pickle.dumps(online))):
        assert same_bits(other.update(panel[40]), history[40])


def test_the_cross_sectional_zscore_equals_numpy() -> None:
    for symbols in (2, 3, 11):
        panel = gapping_panel(60, tuple(f"S{number}/USD" for number in range(symbols)), seed=symbols, absent=0.2)
        returns = table(f.log_return(3), panel)
        count = (~np.isnan(returns)).sum(axis=1, keepdims=True)
        with np.errstate(all="ignore"):
            mean = np.nansum(returns, axis=1, keepdims=True) / count
            deviation = np.sqrt(np.nansum((returns - mean) ** 2, axis=1, keepdims=True) / (count - 1))
            wanted = np.where(count == 1, 0.0 * returns, (returns - mean) / deviation)
        np.testing.assert_allclose(table(f.cross_sectional_zscore(3), panel), wanted, rtol=1e-9, atol=1e-12)


def test_symbols_that_move_alike_have_a_score_of_zero() -> None:
    close = 100.0 * 1.01 ** np.arange(20)
    assert table(f.cross_sectional_zscore(2), panel_of(close))[-1].tolist() == [0.0]
    alike = panel_of(np.column_stack([close, close, close])).values
    assert table(f.cross_sectional_zscore(2), panel_with(alike))[-1].tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="cross_sectional_zscore: window"):
        f.cross_sectional_zscore(0)
