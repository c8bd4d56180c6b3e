"""Feature sets: names, fingerprints, JSON, refusals, quality."""

import json

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from cryptoquant import features as f
from cryptoquant.errors import SchemaError
from cryptoquant.features.catalogue import calendar, volatility
from cryptoquant.features.folds.averages import means
from cryptoquant.features.kernel import source_digest
from tests.features.examples import every_feature, panel_of
from tests.market_makers import frame_of, gapping_panel

BARS = frame_of(gapping_panel(60, ("A/USD", "B/USD")))


def test_a_set_survives_json_with_its_fingerprint() -> None:
    features = every_feature()
    again = f.FeatureSet.from_dict(json.loads(json.dumps(features.to_dict())))
    assert again == features
    assert again.fingerprint == features.fingerprint
    assert again.names == features.names
    assert len(features.fingerprint) == 64


def test_the_fingerprint_changes_with_parameters_and_order() -> None:
    prints = {
        f.FeatureSet(features).fingerprint
        for features in ([f.rsi(14)], [f.rsi(15)], [f.rsi(14), f.roc(1)], [f.roc(1), f.rsi(14)], [f.natr(14)])
    }
    assert len(prints) == 5


def test_the_digest_of_a_step_covers_what_it_calls_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = {feature.name: feature.step for feature in every_feature().features}

    def digests() -> dict[str, str]:
        return {name: source_digest.__wrapped__(step) for name, step in steps.items()}

    before = digests()
    assert before == {name: source_digest(step) for name, step in steps.items()}
    assert len(set(before.values())) == len(steps)
    monkeypatch.setattr(calendar, "SECONDS_PER_DAY", 90_000.0)
    clock = {"hour_of_day", "hour", "weekday", "weekend"}
    assert {name for name, digest in digests().items() if digest != before[name]} == clock
    monkeypatch.setattr(volatility, "moments", means)
    changed = {name for name, digest in digests().items() if digest != before[name]}
    assert changed == clock | {"bollinger", "realized_volatility"}


def test_names_lookback_and_warm_up_come_from_the_features() -> None:
    features = f.FeatureSet([f.log_return(1), f.rsi(14), f.realized_volatility(48), f.zscore("volume", 96)])
    assert features.names == ("log_return_1", "rsi_14", "realized_volatility_48", "zscore_volume_96")
    assert features.lookback == 95
    assert features.warm_up == f.rsi(14).warm_up == 388


def test_duplicate_columns_and_empty_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="duplicate column rsi_14"):
        f.FeatureSet([f.rsi(14), f.rsi(14)])
    with pytest.raises(ValueError, match="no feature"):
        f.FeatureSet([])
    with pytest.raises(TypeError, match="found str"):
        f.FeatureSet(["rsi"])  # type: ignore[list-item]


WINDOWED = (
    *(f.log_return, f.roc, f.rsi, f.sma, f.ema, f.donchian_position, f.atr, f.natr),
    *(f.realized_volatility, f.bollinger, f.volume_ratio, f.relative_return, f.cross_sectional_rank),
)


@pytest.mark.parametrize("make", WINDOWED)
@pytest.mark.parametrize("window", [0, -3, 2.5, True, None])
def test_a_window_that_is_no_count_is_refused_by_name(make: object, window: object) -> None:
    with pytest.raises(ValueError, match=f"{make.__name__}: window .* found {window}"):  # type: ignore[attr-defined]
        make(window)  # type: ignore[operator]


def test_other_wrong_parameters_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="zscore: unknown field 'colour'"):
        f.zscore("colour", 10)
    with pytest.raises(ValueError, match="zscore: window"):
        f.zscore("close", 1)
    with pytest.raises(ValueError, match="fast must be below slow"):
        f.macd(26, 12, 9)
    with pytest.raises(ValueError, match="bollinger: width"):
        f.bollinger(20, float("nan"))


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({}, "unreadable"),
        ({"features": [{"name": "magic", "parameters": {}, "version": 1}]}, "unknown feature 'magic'"),
        ({"features": [{"name": "rsi", "parameters": {"length": 3}, "version": 1}]}, "cannot take"),
        ({"features": [{"name": "rsi", "parameters": {"window": 3}, "version": 9}]}, "version 9"),
    ],
)
def test_a_description_that_cannot_be_read_is_refused(saved: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        f.FeatureSet.from_dict(saved)


def test_bars_that_are_unordered_doubled_or_incomplete_are_refused() -> None:
    for features in (f.FeatureSet([f.rsi(3)]), f.FeatureSet([f.relative_return(3)])):
        with pytest.raises(SchemaError, match="out of order"):
            features.compute(BARS.reverse())
        with pytest.raises(SchemaError, match="duplicate"):
            features.compute(pl.concat([BARS.head(5), BARS.slice(4, 5)]))
        with pytest.raises(SchemaError, match="missing column volume"):
            features.compute(BARS.drop("volume"))
        with pytest.raises(SchemaError, match="not finite"):
            features.compute(BARS.with_columns(close=pl.lit(np.nan)))
    with pytest.raises(TypeError, match="found list"):
        features.compute([1, 2])


def test_an_empty_frame_gives_an_empty_table() -> None:
    features = every_feature()
    table = features.compute(BARS.clear())
    assert table.columns == ["symbol", "time", "known", *features.names]
    assert table.height == 0


def test_a_feature_that_foretells_has_a_high_rank_ic_and_noise_has_none() -> None:
    rng = np.random.default_rng(2)
    returns = np.zeros((3000, 2))
    for row in range(1, len(returns)):
        returns[row] = -0.6 * returns[row - 1] + 0.01 * rng.standard_normal(2)
    bars = frame_of(panel_of(100 * np.exp(np.cumsum(returns, axis=0))))
    quality = f.FeatureSet([f.log_return(1), f.zscore("volume", 20)]).quality(bars, horizons=[1, 6])
    table = {(row["feature"], row["horizon"]): row for row in quality.frame.iter_rows(named=True)}
    edge, noise = table["log_return_1", 1], table["zscore_volume_20", 1]
    assert -0.65 < edge["rank_ic"] < -0.5
    assert edge["rank_ic_high"] < -0.5
    assert edge["quantile_1"] > 0.005 > -0.005 > edge["quantile_5"]
    assert noise["rank_ic_low"] < 0.0 < noise["rank_ic_high"]
    assert edge["rows"] == 2 * 2998
    assert edge["coverage"] == pytest.approx(2999 / 3000)
    assert edge["autocorrelation"] == pytest.approx(-0.6, abs=0.05)
    again = f.FeatureSet([f.log_return(1), f.zscore("volume", 20)]).quality(bars, horizons=[1, 6])
    assert again.frame.equals(quality.frame)


def test_the_rank_ic_of_one_symbol_is_spearmans_correlation() -> None:
    bars = frame_of(gapping_panel(300, seed=4))
    features = f.FeatureSet([f.rsi(5)])
    ahead = np.log(bars["close"].to_numpy()[6:] / bars["close"].to_numpy()[:-6])
    values = features.compute(bars)["rsi_5"].to_numpy()[:-6]
    wanted = spearmanr(values[5:], ahead[5:]).statistic
    assert features.quality(bars, [6]).frame["rank_ic"].item() == pytest.approx(wanted, abs=1e-12)


def test_quality_prints_itself_and_survives_constants(capsys: pytest.CaptureFixture[str]) -> None:
    flat = frame_of(panel_of(np.full((30, 1), 5.0), spread=0.0))
    quality = f.FeatureSet([f.rsi(5), f.sma(5, relative=True)]).quality(flat, horizons=[1, 40])
    assert quality.frame["rank_ic"].is_nan().all()
    assert quality.show() is None
    assert "Feature quality" in capsys.readouterr().out
    with pytest.raises(ValueError, match="horizons"):
        f.FeatureSet([f.rsi(5)]).quality(flat, horizons=[0])
