"""History and the present give the same bits, and a memory survives being saved."""

import copy
import dataclasses
import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant import features as f
from cryptoquant.compiled import borrowing, floats_at
from cryptoquant.errors import DataError
from cryptoquant.features.catalogue import CONSTRUCTORS
from cryptoquant.features.feature import CLOSE, HIGH, LOW, Bars, Run
from cryptoquant.features.folds.averages import means, means_size
from cryptoquant.features.folds.extremes import extreme, extreme_size
from cryptoquant.features.folds.moments import moments, moments_size
from cryptoquant.market.slice import FIELDS, Floats, Panel, Slice
from tests.features.examples import every_comparison, every_feature, every_tick_feature, panel_of
from tests.market_makers import frame_of, gapping_panel

Flags = np.ndarray
SYMBOLS = ("A/USD", "B/USD", "C/USD")


@st.composite
def rough_panels(draw: st.DrawFn) -> Panel:
    """A panel with absent symbols, missing and infinite inputs, spikes, flat stretches and tiny prices."""
    seed = draw(st.integers(0, 10_000))
    panel = gapping_panel(draw(st.integers(1, 160)), SYMBOLS, seed=seed, absent=draw(st.sampled_from([0.0, 0.2, 0.7])))
    rng = np.random.default_rng(seed)
    values = panel.values * draw(st.sampled_from([1.0, 1e-9, 1e7]))
    if draw(st.booleans()):
        values[rng.random(values.shape) < 0.02] = np.nan
        values[rng.random(values.shape) < 0.02] = np.inf
    if draw(st.booleans()):
        values[rng.random(values.shape[:2]) < 0.02] *= 1e8
    if draw(st.booleans()):
        values[len(values) // 2 :] = values[len(values) // 2]
    return Panel.from_values(panel.times, panel.known, panel.symbols, values, panel.width)


def same_bits(one: np.ndarray, two: np.ndarray) -> bool:
    return one.shape == two.shape and bool(np.all((one == two) | (np.isnan(one) & np.isnan(two))))


@given(rough_panels())
def test_online_equals_history_to_the_bit_whatever_the_market_does(panel: Panel) -> None:
    features = every_feature()
    online = features.online(panel.symbols)
    found = np.stack([online.update(slice) for slice in panel])
    assert same_bits(found, features.compute_panel(panel))


@given(rough_panels(), st.integers(0, 159), st.integers(0, 159))
def test_a_memory_saved_and_restored_anywhere_goes_on_as_if_nothing_happened(panel: Panel, one: int, two: int) -> None:
    features = every_feature()
    history = features.compute_panel(panel)
    cut, end = sorted((min(one, len(panel)), min(two, len(panel))))
    first, second = features.online(panel.symbols), features.online(panel.symbols)
    first.warm(Panel.from_values(panel.times[:cut], panel.known[:cut], panel.symbols, panel.values[:cut]))
    second.restore(first.state())
    assert second.time == first.time
    for row in range(cut, end):
        assert same_bits(second.peek(panel[row]), history[row])
        assert same_bits(second.update(panel[row]), history[row])
    assert first.time == (int(panel.times[cut - 1]) if cut else None)


@given(rough_panels(), st.integers(1, 160))
def test_no_row_changes_when_the_later_rows_are_cut_off(panel: Panel, cut: int) -> None:
    features = every_feature()
    part = Panel.from_values(panel.times[:cut], panel.known[:cut], panel.symbols, panel.values[:cut])
    assert same_bits(features.compute_panel(part), features.compute_panel(panel)[:cut])


@given(rough_panels(), st.permutations(range(3)))
def test_the_order_of_the_symbols_does_not_matter_to_the_bit(panel: Panel, order: list[int]) -> None:
    features = every_feature()
    symbols = tuple(panel.symbols[index] for index in order)
    turned = Panel.from_values(panel.times, panel.known, symbols, np.ascontiguousarray(panel.values[:, order]))
    assert same_bits(features.compute_panel(turned), features.compute_panel(panel)[:, order])


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.3]))
def test_a_frame_a_panel_and_pandas_give_the_same_bits(seed: int, absent: float) -> None:
    panel = gapping_panel(90, SYMBOLS, seed=seed, absent=absent)
    features, bars = every_feature(), frame_of(panel)
    table = features.compute(bars)
    assert table.columns == ["symbol", "time", "known", *features.names]
    assert table.select("symbol", "time").equals(bars.select("symbol", "time"))
    dense = features.compute_panel(panel)
    for column, symbol in enumerate(panel.symbols):
        there = ~np.isnan(panel.values[:, column, 3])
        mine = table.filter(symbol=symbol).select(features.names).to_numpy()
        assert same_bits(mine, dense[there, column])
    assert features.compute(bars.to_pandas()).equals(table)
    mixed = bars.sort("time", "symbol")
    assert features.compute(mixed).equals(table.sort("time", "symbol"))


def test_an_absent_symbol_gives_nan_and_does_not_step() -> None:
    features = every_feature()
    panel = gapping_panel(100, SYMBOLS, seed=3)
    values = np.insert(panel.values, 50, np.nan, axis=0)
    times = panel.times[0] + np.arange(101) * panel.width
    holed = features.compute_panel(Panel.from_values(times, times, panel.symbols, values))
    clock = ("hour", "day_of_week", "week", "session")
    alone = [index for index, name in enumerate(features.names) if not name.startswith(clock)]
    assert np.isnan(holed[50]).all()
    assert same_bits(np.delete(holed, 50, axis=0)[:, :, alone], features.compute_panel(panel)[:, :, alone])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_missing_input_silences_only_the_features_that_read_it_for_one_bar(bad: float) -> None:
    features = f.FeatureSet([f.volume_ratio(5), f.zscore("volume", 70), f.rsi(5)])
    panel = gapping_panel(100, seed=3)
    values = panel.values.copy()
    values[80, 0, FIELDS.index("volume")] = bad
    found = features.compute_panel(Panel.from_values(panel.times, panel.known, panel.symbols, values))
    skipped = Panel.from_values(panel.times[:99], panel.known[:99], panel.symbols, np.delete(panel.values, 80, axis=0))
    assert np.isnan(found[80, 0, :2]).all()
    assert same_bits(np.delete(found, 80, axis=0)[:, :, :2], features.compute_panel(skipped)[:, :, :2])
    assert same_bits(found[:, :, 2], features.compute_panel(panel)[:, :, 2])


def test_every_feature_starts_exactly_at_its_lookback() -> None:
    features = every_feature()
    table = features.compute_panel(gapping_panel(120, SYMBOLS, seed=1))
    column = 0
    for feature in features.features:
        for _ in feature.outputs:
            defined = ~np.isnan(table[:, :, column])
            assert not defined[: feature.lookback].any(), feature.name
            assert defined[feature.lookback :].all(), feature.name
            column += 1
    assert features.lookback == 69


def test_after_its_warm_up_a_feature_forgets_where_the_series_began() -> None:
    features = every_feature()
    panel = panel_of(100 * np.exp(np.cumsum(np.random.default_rng(5).standard_normal((900, 2)) * 0.01, axis=0)))
    whole = features.compute_panel(panel)[-1]
    column = 0
    for feature in features.features:
        if feature.memory == "cumulative":
            column += len(feature.outputs)
            continue
        start = len(panel) - feature.warm_up
        part = Panel.from_values(panel.times[start:], panel.known[start:], panel.symbols, panel.values[start:])
        late = features.compute_panel(part)[-1]
        last = column + len(feature.outputs)
        tolerance = 1e-11 if feature.memory == "finite" else 1e-9
        np.testing.assert_allclose(late[:, column:last], whole[:, column:last], rtol=tolerance, atol=tolerance)
        column = last


def folded(values: np.ndarray, window: int, cuts: list[int]) -> np.ndarray:
    """Return mean, mean of ``moments``, squares, highest and lowest of a series that is taken in runs."""
    found = np.empty((5, len(values)))
    memories = [np.zeros(size(window)) for size in (means_size, moments_size, extreme_size, extreme_size)]
    ends = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    for at, stop in itertools.pairwise(ends):
        place = (window, values, at, stop - at, at)
        mean, average, squares, top, bottom = (out[at:stop] for out in found)
        means(memories[0], 0, *place, mean)
        moments(memories[1], 0, *place, average, squares)
        extreme(memories[2], 0, window, 1.0, *place[1:], top)
        extreme(memories[3], 0, window, -1.0, *place[1:], bottom)
    return found


@given(st.integers(1, 40), st.integers(0, 10_000), st.lists(st.integers(1, 200), max_size=12), st.floats(-12, 12))
def test_a_window_gives_the_same_bits_however_its_series_is_cut_and_equals_numpy(
    window: int, seed: int, cuts: list[int], scale: float
) -> None:
    rng = np.random.default_rng(seed)
    values = 10.0**scale * np.where(rng.random(200) < 0.03, 1e9, 1.0) * (5e4 + rng.standard_normal(200))
    found = folded(values, window, cuts)
    assert same_bits(found, folded(values, window, list(range(200))))
    assert np.isnan(found[:, : window - 1]).all()
    windows = np.lib.stride_tricks.sliding_window_view(values, window)
    mean, average, squares, top, bottom = found[:, window - 1 :]
    np.testing.assert_array_equal([top, bottom], [windows.max(axis=1), windows.min(axis=1)])
    np.testing.assert_allclose(mean, windows.mean(axis=1), rtol=1e-13)
    np.testing.assert_array_equal(mean, average)
    exact = ((windows - windows.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    np.testing.assert_allclose(squares, exact, rtol=1e-9, atol=1e-13 * window * (values.max() - values.min()) ** 2)


@pytest.mark.parametrize("window", [5, 20, 64, 240, 1440])
def test_a_window_is_equal_to_rounding_wherever_its_series_began(window: int) -> None:
    values = 5e4 * np.exp(np.cumsum(1e-3 * np.random.default_rng(window).standard_normal(3 * window + 300)))
    whole = folded(values, window, [])
    deviation = np.sqrt(whole[2] / window)
    for start in range(1, 60, 7):
        late, same = folded(values[start:], window, [])[:, window:], whole[:, start + window :]
        assert np.max(np.abs(late[0] - same[0]) / deviation[start + window :]) < 1e-13
        assert np.max(np.abs(late[2] / same[2] - 1)) < 1e-13
        assert same_bits(late[3:], same[3:])


@pytest.mark.parametrize("window", [2, 20, 64, 240, 1440])
def test_squares_lose_no_more_than_the_window_to_rounding_though_a_spike_has_passed(window: int) -> None:
    values = 5e4 + np.cumsum(np.random.default_rng(window).standard_normal(4 * window + 300))
    values[7] = 1e12
    values[window + 9 :: 2 * window + 3] = 1e10
    squares = folded(values, window, [])[2, window - 1 :]
    windows = np.lib.stride_tricks.sliding_window_view(values.astype(np.longdouble), window)
    exact = ((windows - windows.mean(axis=1, keepdims=True)) ** 2).sum(axis=1).astype(float)
    assert np.max(np.abs(squares / exact - 1)) < 4 * (window + 1) * np.finfo(float).eps
    flat = folded(np.where(np.arange(5 * window) < window, 1e9, 0.1), window, [])
    assert set(flat[0, 2 * window :]) == {0.1}
    assert set(flat[2, 2 * window :]) == {0.0}


@pytest.mark.parametrize("symbols", [1, 2, 5, 10, 11, 16, 40])
def test_panel_features_equal_numpy_for_any_number_of_symbols(symbols: int) -> None:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(symbols).standard_normal((30, symbols)) * 0.01, axis=0))
    panel = panel_of(close)
    features = f.FeatureSet([f.relative_return(1), f.cross_sectional_rank(1)])
    history = features.compute_panel(panel)
    online = features.online(panel.symbols)
    assert same_bits(np.stack([online.update(slice) for slice in panel]), history)
    returns = np.diff(np.log(close), axis=0)
    np.testing.assert_allclose(history[1:, :, 0], returns - returns.mean(axis=1, keepdims=True), atol=1e-14)
    ranks = returns.argsort(axis=1).argsort(axis=1) / max(symbols - 1, 1) if symbols > 1 else np.full((29, 1), 0.5)
    np.testing.assert_allclose(history[1:, :, 1], ranks, atol=1e-14)
    nobody = Panel.from_values(panel.times, panel.known, (), np.empty((30, 0, len(FIELDS))))
    assert features.compute_panel(nobody).shape == (30, 0, 2)


def test_threads_that_peek_and_update_take_turns() -> None:
    features = every_feature()
    panel = gapping_panel(400, tuple(f"S{number}/USD" for number in range(12)), seed=2)
    history = features.compute_panel(panel)
    online = features.online(panel.symbols)
    for slice in itertools.islice(panel, 200):
        online.update(slice)
    values = [panel[row].values for row in range(200, 400)]
    with ThreadPoolExecutor(4) as pool:
        last = [Slice(int(panel.times[200]), int(panel.times[200]), panel.symbols, value) for value in values]
        alone = [online.peek(slice) for slice in last]
        together = list(pool.map(online.peek, last))
    assert all(same_bits(one, two) for one, two in zip(alone, together, strict=True))
    assert same_bits(online.update(panel[200]), history[200])


@borrowing
def raising_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Raise at the fifth bar."""
    _, rows, seen, to = run
    for row in range(rows):
        out[0, to + row] = 1.0
        if seen + row == 4:
            raise ValueError("the fifth bar")


@borrowing
def raising_panel_step(state: Floats, settings: Floats, bars: Floats, present: Flags, out: Floats) -> None:
    """Raise at the fifth slice."""
    state[0, 0] += 1.0
    if state[0, 0] == 5.0:
        raise ValueError("the fifth slice")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("across", [False, True])
def test_a_step_that_raises_gives_an_error_with_the_name_of_its_feature(across: bool) -> None:
    step = raising_panel_step if across else raising_step
    broken = dataclasses.replace(
        home_made(), name="broken", step=step, outputs=("x",), lead=0, history=0, across=across
    )
    features, panel = f.FeatureSet([f.rsi(3), broken, f.roc(1)]), gapping_panel(9, SYMBOLS, absent=0.0)
    with pytest.raises(RuntimeError, match="broken: its step raised"):
        features.compute_panel(panel)
    online = features.online(SYMBOLS)
    for row in range(4):
        online.update(panel[row])
    with pytest.raises(RuntimeError, match="broken: its step raised"):
        online.peek(panel[4])
    with pytest.raises(RuntimeError, match="broken: its step raised"):
        features.online(SYMBOLS).warm(panel)


def test_features_that_the_drivers_cannot_feed_are_refused() -> None:
    with pytest.raises(ValueError, match="range: unknown input colour"):
        dataclasses.replace(home_made(), inputs=("colour",))
    with pytest.raises(ValueError, match="range: a panel feature reads fields"):
        dataclasses.replace(home_made(), across=True)
    with pytest.raises(ValueError, match="range: a panel feature reads fields"):
        dataclasses.replace(home_made(), across=True, lead=0, history=0, inputs=("log_return",))
    with pytest.raises(ValueError, match="wanted a lead of 1"):
        dataclasses.replace(home_made(), lead=0, inputs=("true_range",))


def scaled(factor: float) -> f.Feature:
    @borrowing
    def scaled_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
        """Write a multiple of the close."""
        at, rows, _, to = run
        closes = floats_at(bars[CLOSE], at + rows)
        for row in range(rows):
            out[0, to + row] = factor * closes[at + row]

    return dataclasses.replace(home_made(), step=scaled_step, outputs=("scaled",), lead=0, lookback=0)


def test_steps_made_inside_a_function_are_told_apart() -> None:
    panel = gapping_panel(20, SYMBOLS)
    two, three = f.FeatureSet([scaled(2.0)]), f.FeatureSet([scaled(3.0)])
    assert two.fingerprint != three.fingerprint
    assert two.fingerprint == f.FeatureSet([scaled(2.0)]).fingerprint
    for factor, features in ((2.0, two), (3.0, three)):
        assert same_bits(features.compute_panel(panel)[:, :, 0], factor * panel.field("close"))


def test_whatever_changes_the_numbers_changes_the_fingerprint() -> None:
    plain = home_made()
    changes = {"settings": (1.0,), "lead": 2, "history": 3, "state_size": 4, "inputs": ("high", "low", "volume")}
    others = [dataclasses.replace(plain, **{name: value}) for name, value in changes.items()]
    assert len({f.FeatureSet([feature]).fingerprint for feature in (plain, *others)}) == 1 + len(changes)


@given(rough_panels(), st.integers(0, 159))
def test_a_copy_goes_its_own_way_and_a_pickled_one_goes_on(panel: Panel, cut: int) -> None:
    features = every_feature()
    history = features.compute_panel(panel)
    online = features.online(panel.symbols)
    for slice in itertools.islice(panel, cut):
        online.update(slice)
    copies = [online.copy(), copy.deepcopy(online), pickle.loads(pickle.dumps(online))]
    online.warm(Panel.from_values(panel.times[cut:], panel.known[cut:], panel.symbols, panel.values[cut:]))
    del online
    for row in range(cut, len(panel)):
        for other in copies:
            assert same_bits(other.update(panel[row]), history[row])


def test_a_pickled_set_is_the_same_set_with_the_same_compiled_steps() -> None:
    features = every_feature()
    again = pickle.loads(pickle.dumps(features))
    assert again == features
    assert again.fingerprint == features.fingerprint
    assert all(one.step is two.step for one, two in zip(again.features, features.features, strict=True))


def test_every_feature_of_the_library_is_tried_here() -> None:
    tried = (*every_feature().features, *every_comparison("A/USD").features)
    own = {feature.name for feature in every_tick_feature().features}
    assert {feature.name for feature in tried} | own == CONSTRUCTORS.keys() - {"expression"}


@borrowing
def range_step(state: Floats, settings: Floats, bars: Bars, run: Run, scratch: Floats, out: Floats) -> None:
    """Write the range of the bar over that of the bar before, and how many bars were seen."""
    at, rows, seen, to = run
    high, low = floats_at(bars[HIGH], at + rows), floats_at(bars[LOW], at + rows)
    for row in range(rows):
        place = at + row
        out[0, to + row] = (high[place] - low[place]) / (high[place - 1] - low[place - 1])
        out[1, to + row] = seen + row
        state[0] += 1.0


def home_made() -> f.Feature:
    return f.Feature(
        name="range",
        step=range_step,
        parameters=(),
        settings=(),
        inputs=("high", "low"),
        outputs=("range_growth", "range_seen"),
        lookback=1,
        memory="cumulative",
        warm_up=1,
        state_size=1,
        history=1,
        lead=1,
    )


@given(rough_panels())
def test_a_step_of_ones_own_goes_through_the_same_drivers(panel: Panel) -> None:
    features = f.FeatureSet([f.rsi(3), home_made(), f.zscore("volume", 5)])
    history = features.compute_panel(panel)
    online = features.online(panel.symbols)
    assert same_bits(np.stack([online.update(slice) for slice in panel]), history)
    high, low = panel.field("high"), panel.field("low")
    for symbol in range(len(panel.symbols)):
        whole = (
            np.isfinite(high[:, symbol]) & np.isfinite(low[:, symbol]) & np.isfinite(panel.field("close")[:, symbol])
        )
        ranges = (high - low)[whole, symbol]
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(history[whole, symbol, 1][1:], ranges[1:] / ranges[:-1])
        np.testing.assert_array_equal(history[whole, symbol, 2][1:], np.arange(max(len(ranges) - 1, 0)))


def test_the_online_updater_refuses_strange_slices_and_states() -> None:
    features, panel = every_feature(), gapping_panel(5, SYMBOLS)
    online = features.online(SYMBOLS)
    online.warm(panel)
    with pytest.raises(DataError, match="after the one of"):
        online.update(panel[4])
    with pytest.raises(DataError, match="after the one of"):
        online.warm(panel)
    with pytest.raises(ValueError, match="wanted A/USD, B/USD, C/USD"):
        online.update(Slice(2**62, 2**62, SYMBOLS[:2], panel.values[0][:2]))
    state = online.state()
    with pytest.raises(ValueError, match="length"):
        online.restore(state[:-8])
    with pytest.raises(ValueError, match="damaged"):
        online.restore(state[:-8] + b"\x01" * 8)
    with pytest.raises(ValueError, match="header"):
        online.restore(b"nonsense")
    with pytest.raises(ValueError, match="fingerprint"):
        f.FeatureSet([f.rsi(3)]).online(SYMBOLS).restore(state)
    with pytest.raises(ValueError, match="symbols"):
        features.online(SYMBOLS[::-1]).restore(state)
    with pytest.raises(ValueError, match="different symbols"):
        features.online(["A/USD", "A/USD"])
