"""Qlib's Alpha158 against its definition, over every window with plain NumPy."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from cryptoquant import features as f
from cryptoquant.market.slice import FIELDS, Panel
from tests.features.examples import panel_of, panel_with
from tests.features.test_formulas import KINDS, column, series

WINDOWS = (5, 10, 20, 30, 60)
POINT = 1e-12
SMALL = 2e-5
VOLUME = FIELDS.index("volume")


def with_volume(panel: Panel, volume: np.ndarray) -> Panel:
    values = panel.values.copy()
    values[:, 0, VOLUME] = volume
    return panel_with(values)


def market(kind: str) -> Panel:
    rng = np.random.default_rng(5)
    if kind in KINDS:
        panel = series(kind)
        return with_volume(panel, rng.lognormal(0, 1, len(panel)))
    panel = series("random")
    if kind == "without volume":
        return with_volume(panel, np.zeros(len(panel)))
    if kind == "tiny volumes":
        return with_volume(panel, 1e-9 * rng.lognormal(0, 1, len(panel)))
    if kind == "pauses":
        return with_volume(panel, np.where(rng.random(len(panel)) < 0.4, 0.0, rng.lognormal(0, 1, len(panel))))
    if kind == "steps":  # equal closes, equal highs, equal volumes
        steps = 100.0 + rng.integers(-2, 3, len(panel))
        return with_volume(panel_of(steps, spread=0.0), rng.integers(0, 3, len(panel)).astype(float))
    values = panel.values.copy()
    values[SPIKES] *= 1e8
    return panel_with(values)


MARKETS = (*KINDS, "without volume", "tiny volumes", "pauses", "steps", "spikes")
SPIKES = [100, 107, 230]


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    if len(x) < 2 or x.std(ddof=1) <= SMALL or y.std(ddof=1) <= SMALL:
        return np.nan
    a, b = x - x.mean(), y - y.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def wanted_prices(panel: Panel, window: int) -> dict[str, np.ndarray]:
    high, low, close = (column(panel, name) for name in ("high", "low", "close"))
    c, h, lo = (sliding_window_view(x, window) for x in (close, high, low))
    last = c[:, -1]
    x = np.arange(1, window + 1) - (window + 1) / 2
    away = c - c.mean(axis=1, keepdims=True)
    slope = (x * away).sum(axis=1) / (x * x).sum()
    r = (x * away).sum(axis=1) / np.sqrt((x * x).sum() * (away * away).sum(axis=1))
    deviation = c.std(axis=1, ddof=1)
    top, bottom = h.max(axis=1), lo.min(axis=1)
    up, down = h.argmax(axis=1) + 1, lo.argmin(axis=1) + 1
    rank = (c < last[:, None]).sum(axis=1) + ((c == last[:, None]).sum(axis=1) + 1) / 2
    return {
        "MA": c.mean(axis=1) / last,
        "STD": deviation / last,
        "BETA": slope / last,
        "RSQR": np.where(deviation <= SMALL, np.nan, r * r),
        "RESI": (away[:, -1] - slope * x[-1]) / last,
        "MAX": top / last,
        "MIN": bottom / last,
        "QTLU": np.quantile(c, 0.8, axis=1) / last,
        "QTLD": np.quantile(c, 0.2, axis=1) / last,
        "RANK": rank / window,
        "RSV": (last - bottom) / (top - bottom + POINT),
        "IMAX": up / window,
        "IMIN": down / window,
        "IMXD": (up - down) / window,
    }


def wanted_volumes(panel: Panel, window: int) -> dict[str, np.ndarray]:
    close, volume = column(panel, "close"), column(panel, "volume")
    c, v = sliding_window_view(close, window), sliding_window_view(volume, window)
    logs = np.log(volume + 1)
    return {
        "CORR": np.array([correlation(*pair) for pair in zip(c, sliding_window_view(logs, window), strict=True)]),
        "VMA": v.mean(axis=1) / (v[:, -1] + POINT),
        "VSTD": v.std(axis=1, ddof=1) / (v[:, -1] + POINT),
    }


def wanted_changes(panel: Panel, window: int) -> dict[str, np.ndarray]:
    """What needs the bar before: its first value is that of the second bar."""
    close, volume = column(panel, "close"), column(panel, "volume")
    moves, flows = (sliding_window_view(np.diff(x), window) for x in (close, volume))
    ratio = close[1:] / close[:-1]
    logs = np.log(volume[1:] / volume[:-1] + 1)
    swing = sliding_window_view(np.abs(ratio - 1) * volume[1:], window)
    pairs = zip(sliding_window_view(ratio, window), sliding_window_view(logs, window), strict=True)
    found = {
        "CORD": np.array([correlation(*pair) for pair in pairs]),
        "CNTP": (moves > 0).mean(axis=1),
        "CNTN": (moves < 0).mean(axis=1),
        "CNTD": (moves > 0).mean(axis=1) - (moves < 0).mean(axis=1),
        "WVMA": swing.std(axis=1, ddof=1) / (swing.mean(axis=1) + POINT),
    }
    for name, change in (("SUM", moves), ("VSUM", flows)):
        rise, fall = np.maximum(change, 0).sum(axis=1), np.maximum(-change, 0).sum(axis=1)
        total = np.abs(change).sum(axis=1) + POINT
        found |= {f"{name}P": rise / total, f"{name}N": fall / total, f"{name}D": (rise - fall) / total}
    return found


def wanted(panel: Panel) -> dict[str, np.ndarray]:
    open_, high, low, close, vwap = (column(panel, name) for name in ("open", "high", "low", "close", "vwap"))
    top, bottom, width = np.maximum(open_, close), np.minimum(open_, close), high - low + POINT
    shapes = {"MID": close - open_, "LEN": high - low, "UP": high - top, "LOW": bottom - low}
    shapes["SFT"] = 2 * close - high - low
    found = {f"K{name}": shape / open_ for name, shape in shapes.items()}
    found |= {f"K{name}2": shape / width for name, shape in shapes.items() if name != "LEN"}
    found |= {"OPEN0": open_ / close, "HIGH0": high / close, "LOW0": low / close, "VWAP0": vwap / close}
    for window in WINDOWS:
        parts = (wanted_prices(panel, window), wanted_volumes(panel, window), wanted_changes(panel, window))
        found |= {f"{name}{window}": values for part in parts for name, values in part.items()}
        found[f"ROC{window}"] = close[:-window] / close[window:]
    return {name: np.r_[np.full(len(panel) - len(values), np.nan), values] for name, values in found.items()}


def test_the_names_are_qlibs() -> None:
    features = f.FeatureSet(f.alpha158())
    assert len(f.ALPHA158) == len(features.names) == 158
    assert set(features.names) == set(f.ALPHA158)
    assert f.ALPHA158[:15] == (
        *("KMID", "KLEN", "KMID2", "KUP", "KUP2", "KLOW", "KLOW2", "KSFT", "KSFT2", "OPEN0", "HIGH0", "LOW0", "VWAP0"),
        *("ROC5", "ROC10"),
    )
    assert f.ALPHA158[-1] == "VSUMD60"
    assert f.FeatureSet.from_dict(features.to_dict()) == features


@pytest.mark.parametrize("kind", MARKETS)
def test_every_column_is_qlibs_definition_over_every_full_window(kind: str) -> None:
    panel = market(kind)
    features = f.FeatureSet(f.alpha158())
    table = features.compute_panel(panel)[:, 0, :]
    with np.errstate(all="ignore"):
        oracle = wanted(panel)
    assert set(oracle) == set(features.names)
    rows = np.arange(len(panel))
    is_plain = kind != "spikes" or np.all([(rows < spike) | (rows > spike + 60) for spike in SPIKES], axis=0)
    for index, name in enumerate(features.names):
        found, right = table[:, index], oracle[name]
        np.testing.assert_array_equal(np.isnan(found), np.isnan(right), err_msg=name)
        with np.errstate(invalid="ignore"):
            reach = np.where(is_plain, 0.1, 1e8)
            assert np.all((np.abs(found - right) <= 1e-9 * (np.abs(right) + reach)) | np.isnan(right)), name


def test_a_long_history_equals_the_present_to_the_bit_across_its_runs() -> None:
    rng = np.random.default_rng(8)
    values = panel_of(5e4 * np.exp(np.cumsum(rng.standard_t(4, 2_300) * 1e-3))).values
    values[rng.random(2_300) < 0.1, 0, VOLUME] = 0.0
    panel, features = panel_with(values), f.FeatureSet(f.alpha158())
    history, online = features.compute_panel(panel), features.online(panel.symbols)
    present = np.stack([online.update(slice) for slice in panel])
    np.testing.assert_array_equal(present, history)


def test_a_market_that_stands_still_has_no_line_and_no_correlation_and_is_balanced() -> None:
    panel = market("flat")
    features = f.FeatureSet(f.alpha158())
    last = dict(zip(features.names, features.compute_panel(panel)[-1, 0], strict=True))
    assert np.isnan([last[name] for name in ("RSQR5", "RSQR60", "CORR5", "CORR60", "CORD5", "CORD60")]).all()
    for name in ("KMID", "KMID2", "STD5", "BETA60", "RESI60", "RSV5", "IMXD60"):
        assert last[name] == 0.0, name
    for name in ("CNTP5", "CNTN5", "CNTD5", "SUMP60", "SUMN60", "SUMD60", "WVMA30"):
        assert last[name] == 0.0, name
    for name in ("MA60", "MAX5", "MIN5", "QTLU60", "QTLD60", "ROC60", "VWAP0"):
        assert last[name] == pytest.approx(1.0, abs=1e-15), name
    assert last["RANK60"] == (1 + 60) / 2 / 60


def test_of_equal_highs_the_oldest_counts() -> None:
    values = panel_of(np.full(6, 10.0), spread=0.0).values
    values[[1, 3], 0, 1] = 12.0
    values[[2, 5], 0, 2] = 9.0
    table = f.FeatureSet([f.alpha_extremes(4)]).compute_panel(panel_with(values))[:, 0, :]
    names = f.FeatureSet([f.alpha_extremes(4)]).names
    peaks, troughs = (table[:, names.index(name)] for name in ("IMAX4", "IMIN4"))
    np.testing.assert_array_equal(peaks[3:], [2 / 4, 1 / 4, 2 / 4])
    np.testing.assert_array_equal(troughs[3:], [3 / 4, 2 / 4, 1 / 4])


def test_a_bar_after_one_without_volume_is_left_out_of_the_correlation_of_changes() -> None:
    close = np.array([100.0, 101.0, 99.0, 103.0, 102.0, 105.0])
    panel = with_volume(panel_of(close), np.array([1.0, 2.0, 0.0, 3.0, 4.0, 3.0]))
    found = f.FeatureSet([f.alpha_change_correlation(5)]).compute_panel(panel)[:, 0, 0]
    x = np.array([101 / 100, 99 / 101, 102 / 103, 105 / 102])
    y = np.log(np.array([2 / 1, 0 / 2, 4 / 3, 3 / 4]) + 1)
    assert found[5] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
    assert np.isnan(found[:5]).all()


def test_wrong_windows_are_refused_by_name() -> None:
    for constructor, least in (
        (f.alpha_trend, 2),
        (f.alpha_correlation, 2),
        (f.alpha_change_correlation, 2),
        (f.alpha_volume, 2),
        (f.alpha_turbulence, 2),
        (f.alpha_roc, 1),
        (f.alpha_extremes, 1),
        (f.alpha_quantiles, 1),
        (f.alpha_moves, 1),
        (f.alpha_volume_moves, 1),
    ):
        constructor(least)
        for wrong in (least - 1, 2.5, True):
            with pytest.raises(ValueError, match=f"{constructor.__name__}: window must be a whole number"):
                constructor(wrong)
