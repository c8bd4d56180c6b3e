"""Drift: distances as others compute them, thresholds that keep their false-alarm rate, and shifts that are found."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import binomtest, ks_2samp

from cryptoquant.errors import MissingExtraError, ModelError
from cryptoquant.models.monitoring.drift import Adwin, FeatureDrift, ks, psi
from cryptoquant.models.monitoring.resampling import Blocks, memory_of
from tests.models.datasets import small_dataset


def persistent(rng: np.random.Generator, rows: int, columns: int, rho: float) -> np.ndarray:
    """Return stationary AR(1) columns of unit variance."""
    noise = rng.standard_normal((rows + 400, columns)) * np.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], noise, axis=0)[400:]


values = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=80).map(np.array)


@given(values, values)
def test_ks_is_that_of_scipy_whatever_repeats(reference, live):
    assert ks(reference, live) == pytest.approx(ks_2samp(reference, live).statistic, abs=1e-12)


@given(values, values)
def test_psi_is_never_negative_and_zero_for_the_same_shares(reference, live):
    assert psi(reference, live) >= 0.0
    assert psi(reference, reference) == 0.0
    assert psi(reference * 3 + 1, live * 3 + 1) == pytest.approx(psi(reference, live), abs=1e-12)


def test_psi_by_hand():
    # Two bins with the edge at the median 2: counts 2 and 2 against 1 and 3, each raised by a half.
    p, q = np.array([2.5, 2.5]) / 5.0, np.array([1.5, 3.5]) / 5.0
    wanted = float(((q - p) * np.log(q / p)).sum())
    assert psi(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 4.0, 9.0]), bins=2) == pytest.approx(
        wanted, abs=1e-15
    )


def test_ks_of_many_values_errs_by_less_than_a_knot():
    rng = np.random.default_rng(0)
    reference, live = rng.standard_normal(5_000), rng.standard_normal(300) + 0.1
    assert ks(reference, live) == pytest.approx(ks_2samp(reference, live).statistic, abs=1 / 200)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_memory_is_that_of_an_autoregression(rho):
    # sum |k| rho^|k| / sum rho^|k| = 2 rho / (1 - rho^2)
    found = memory_of(persistent(np.random.default_rng(1), 60_000, 1, rho))[0]
    assert found == pytest.approx(2 * rho / (1 - rho**2), rel=0.25, abs=0.15)


def test_drawn_windows_are_blocks_of_the_reference_and_the_same_for_a_seed():
    blocks = Blocks.of(1_000, 100, memory=2.0)
    assert blocks.block == 16
    first, again, other = (next(iter(blocks.draw(1, seed))) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    steps = np.diff(first) % 1_000
    assert (np.delete(steps, np.arange(15, 99, 16)) == 1).all()
    assert first.shape == (100,)


def rates(rho: float, windows: int, repeats: int, looks: int = 10, columns: int = 6) -> tuple[int, int]:
    """Return false alarms and checks, each of a fresh window behind a reference of some windows."""
    window, alarms, checks = 240, 0, 0
    for seed in range(repeats):
        rows = persistent(np.random.default_rng([seed, windows]), window * (windows + 2 * looks), columns, rho)
        fitted = FeatureDrift.fit(rows[: window * windows], window=window, seed=seed)
        for look in range(looks):
            start = window * (windows + 1 + 2 * look)
            alarms += fitted.judge(rows[start : start + window]).is_alarm
            checks += 1
    return alarms, checks


def test_a_market_that_does_not_change_alarms_seldom_though_it_remembers():
    alarms, checks = rates(0.95, 12, repeats=12)
    # With a rate of 1 % more than 6 of 120 come once in 1,000 such tests.
    assert alarms <= 6, f"{alarms} of {checks}"


@pytest.mark.deep
@pytest.mark.parametrize("rho", [0.0, 0.8, 0.95])
@pytest.mark.parametrize("windows", [6, 12, 40])
def test_the_false_alarm_rate_is_the_stated_one(rho, windows):
    alarms, checks = rates(rho, windows, repeats=60, looks=20)
    interval = binomtest(alarms, checks).proportion_ci(0.99, method="wilson")
    assert interval.low <= 0.02, f"{alarms} of {checks}: {interval.low:.4f} to {interval.high:.4f}, stated 0.01"


def test_rules_of_thumb_would_alarm_all_the_time():
    rng = np.random.default_rng(3)
    rows = persistent(rng, 20_000, 5, 0.95)
    fitted = FeatureDrift.fit(rows[:5_000], window=240)
    checks = [fitted.check(rows[start : start + 240]) for start in range(6_000, 19_000, 1_000)]
    above = [(one["psi"] > 0.25).any() for one in checks]
    assert np.mean(above) > 0.9
    assert sum(one["is_drifted"].any() for one in checks) <= 1


@pytest.mark.parametrize("shift", [1.0, 2.0])
def test_a_shift_of_one_feature_is_found_and_named(shift):
    rng = np.random.default_rng(4)
    rows = persistent(rng, 6_000, 5, 0.5)
    fitted = FeatureDrift.fit(rows[:5_000], list("abcde"), window=240)
    moved = rows[5_000:5_240] + np.array([0, 0, shift, 0, 0])
    table = fitted.check(moved)
    assert table.filter("is_drifted")["feature"].to_list() == ["c"]
    assert fitted.judge(moved).detail == "c"
    assert not fitted.judge(rows[5_000:5_240]).is_alarm


def test_a_wider_spread_around_the_same_mean_is_found():
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((5_000, 3))
    fitted = FeatureDrift.fit(rows, window=240)
    assert fitted.judge(rng.standard_normal((240, 3)) * 2.0).is_alarm


def test_the_last_window_is_compared_and_a_constant_may_not_change():
    rng = np.random.default_rng(6)
    rows = np.column_stack([rng.standard_normal(2_000), np.full(2_000, 7.0)])
    fitted = FeatureDrift.fit(rows, ["moves", "stands"], window=200)
    late = np.concatenate([rng.standard_normal((300, 2)) * 9, rows[-200:]])
    assert fitted.check(late).equals(fitted.check(rows[-200:]))
    assert not fitted.judge(rows[-200:]).is_alarm
    changed = rows[-200:] + np.array([0.0, 0.1])
    assert fitted.check(changed).filter("is_drifted")["feature"].to_list() == ["stands"]


def test_it_is_kept_as_plain_values_and_reads_a_dataset():
    dataset = small_dataset(days=40)
    fitted = FeatureDrift.fit(dataset, window=200, seed=3)
    assert fitted.names == dataset.names
    read = FeatureDrift.from_dict(json.loads(json.dumps(fitted.to_dict())))
    rows = dataset.features[-300:]
    assert read.check(rows).equals(fitted.check(rows))
    assert read.judge(rows) == fitted.judge(rows)
    again = FeatureDrift.fit(dataset, window=200, seed=3)
    assert again.to_dict() == fitted.to_dict()


def test_what_cannot_be_compared_is_refused():
    rows = np.random.default_rng(0).standard_normal((1_000, 2))
    fitted = FeatureDrift.fit(rows, window=100)
    for wrong in (rows[:99], rows[:, :1], np.where(rows == rows[-1, 0], np.nan, rows)):
        with pytest.raises(ModelError, match="rows of shape"):
            fitted.check(wrong)
    with pytest.raises(ModelError, match="wanted at least 4 windows of 300"):
        FeatureDrift.fit(rows, window=300)
    with pytest.raises(ModelError, match="a window of 4 rows"):
        FeatureDrift.fit(rows, window=4)
    with pytest.raises(ModelError, match="3 names for 2 features"):
        FeatureDrift.fit(rows, list("abc"), window=100)
    with pytest.raises(ValueError, match="false_alarm"):
        FeatureDrift.fit(rows, window=100, false_alarm=0.0)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1_000), st.integers(1, 40))
def test_adwin_sees_the_same_in_any_portions(seed, portion):
    river = pytest.importorskip("river.drift")
    stream = np.concatenate([np.random.default_rng(seed).random(200) * 0.4, np.ones(100)])
    whole, parts, theirs = Adwin(0.0, 1.0), Adwin(0.0, 1.0), river.ADWIN(delta=0.002)
    whole.update(stream)
    for start in range(0, len(stream), portion):
        parts.update(stream[start : start + portion])
    for value in stream:
        theirs.update(value)
    one = whole.look()
    assert one == parts.look()
    assert one.value == pytest.approx(theirs.estimation)
    assert one.is_alarm


def test_adwin_tells_a_rise_of_the_error_once_and_its_fall_not():
    pytest.importorskip("river.drift")
    rng = np.random.default_rng(2)
    low, high = rng.random(400) * 0.4, 0.3 + rng.random(400) * 0.7
    rising, falling = Adwin(0, 1), Adwin(0, 1)
    assert rising.look() is None
    rising.update(np.concatenate([low, high]))
    falling.update(np.concatenate([high, low]))
    found = rising.look()
    assert found.is_alarm
    assert found.threshold < found.value
    assert not rising.look().is_alarm
    assert not falling.look().is_alarm
    profits = Adwin(-1, 1, worse="down")
    profits.update(np.concatenate([high, low]))
    assert profits.look().is_alarm
    profits.reset()
    assert profits.look() is None


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1_000), st.lists(st.integers(0, 299), min_size=1, max_size=9))
def test_adwin_leaves_out_what_is_no_number_and_goes_on(seed, places):
    pytest.importorskip("river.drift")
    stream = np.concatenate([np.random.default_rng(seed).random(200) * 0.4, np.ones(100)])
    holed = np.insert(stream, places, np.resize([np.nan, np.inf, -np.inf], len(places)))
    plain, torn = Adwin(0.0, 1.0), Adwin(0.0, 1.0)
    plain.update(stream)
    torn.update(holed)
    assert (plain.left_out, torn.left_out) == (0, len(places))
    one = plain.look()
    assert torn.look() == one
    assert one.is_alarm


def test_adwin_tells_a_shift_whenever_it_is_looked_at():
    """A rule for means that have gone back lost one shift in three, since a cut moves the mean by little at first."""
    found = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        watch = Adwin(-5.0, 5.0)
        watch.update(rng.standard_normal(1_000))
        assert not watch.look().is_alarm
        for _ in range(50):
            watch.update(1.0 + rng.standard_normal(20))
            if watch.look().is_alarm:
                found += 1
                break
    assert found == 12


def test_adwin_alarms_seldom_on_streams_that_do_not_change():
    pytest.importorskip("river.drift")
    alarms = 0
    for seed in range(60):
        watch = Adwin(0.0, 1.0)
        watch.update(np.random.default_rng(seed).random(1_000))
        alarms += watch.look().is_alarm
    # 60 streams of 1,000 values: a rate of 2 % a stream gives more than 5 once in 1,000 such tests.
    assert alarms <= 5


def test_adwin_without_river_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "river.drift", None)
    with pytest.raises(MissingExtraError, match=r'pip install "cryptoquant\[river\]"'):
        Adwin(0, 1)
    with pytest.raises(ValueError, match="low must lie below high"):
        Adwin(1, 1)
    with pytest.raises(ValueError, match="worse must be"):
        Adwin(0, 1, worse="sideways")


def test_blocks_of_a_long_memory_are_half_a_window():
    blocks = Blocks.of(1_000, 100, memory=50.0)
    assert blocks.block == 50
    assert Blocks.of(1_000, 100, memory=0.0).block == 6
    wide, wider = blocks.widening(np.array([0.0, 10.0]), 0.01)
    assert 1.0 <= wide < wider
    assert replace(blocks, length=10_000).widening(np.array([0.0]), 0.01)[0] < wide
