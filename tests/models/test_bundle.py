"""Bundles: what is loaded is what was saved, and nothing else is believed."""

import json
from dataclasses import dataclass, replace
from datetime import time, timedelta
from pathlib import Path

import numpy as np
import pytest

from cryptoquant import features as f
from cryptoquant.errors import BundleError
from cryptoquant.features import FeatureSet
from cryptoquant.features.catalogue import CONSTRUCTORS
from cryptoquant.market.slice import Panel, Slice
from cryptoquant.models import LSTM, Logistic, Scaled, Vetoed, XGBoost
from cryptoquant.models.bundle import STRATEGIES, Bundle, digest, strategy_to_dict
from cryptoquant.performance.evidence import Evidence
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.strategy import (
    Breakout,
    Ensemble,
    LongFlat,
    LongShort,
    Momentum,
    MovingAverageCross,
    OpeningMomentum,
    Optimised,
    OvernightHold,
    Session,
    Switch,
    TimeOfDay,
    TopK,
    VolatilityRegime,
    VolatilityScaled,
    Voting,
)
from cryptoquant.trading.venue import Costs
from tests.models.datasets import HOUR, small_dataset

STRONG = Evidence(
    days=400, sharpe=2.5, sharpe_before_costs=3.0, sharpe_double_costs=2.0, sharpe_low=1.0, sharpe_high=4.0, psr=0.999,
    dsr=float("nan"), minimum_track_record_days=100.0, max_drawdown=-0.1, max_drawdown_low=-0.2, round_trips=200,
    study_trials=1, tuning_trials=0, sharpe_delayed=2.2,
)  # fmt: skip
SINGLE = set(STRATEGIES) - {"Ensemble", "Voting", "Switch", "VolatilityScaled", "Followed", "FixedQuantity"}


@dataclass(frozen=True, slots=True)
class Contrarian:
    """A strategy that the library does not know."""

    level: float = 0.4
    lookback: int = 1

    def decide(self, view):
        return {}


def small_bundle(model=XGBoost(n_estimators=10, seed=1), evidence: Evidence = STRONG, **changed) -> Bundle:  # noqa: B008
    dataset = small_dataset(days=15)
    known = dataset.examples.take(np.flatnonzero(~np.isnan(dataset.rises)))
    bundle = Bundle(
        name="btc-eth-1h",
        symbols=dataset.symbols,
        timeframe="1h",
        predictor=model.fit(known),
        features=dataset.feature_set,
        strategy=LongFlat(threshold=0.52, max_weight=0.4),
        execution=Execution(reserve=0.02, band=0.01),
        costs=Costs.alpaca(3, 2.0),
        horizon=timedelta(hours=12),
        evidence=evidence,
        fingerprints={"data": dataset.fingerprint, "configuration": "none"},
        study="a study",
    )
    return replace(bundle, **changed)


def at(number: int = 0) -> Slice:
    return Slice(number * HOUR, number * HOUR + 7, ("BTC/USD", "ETH/USD"), np.ones((2, 7)))


def altered(folder: Path, **changed) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


@pytest.mark.parametrize(
    "model",
    [XGBoost(n_estimators=10, seed=1), Logistic(), Scaled(Logistic(), f.Scaler("rank"))],
    ids=["trees", "line", "scaled"],
)
def test_a_loaded_bundle_gives_the_same_signals_to_the_bit(model, tmp_path):
    bundle = small_bundle(model)
    loaded = Bundle.load(bundle.save(tmp_path / "bundle"))
    panel = Panel.from_frame(small_dataset(days=15).bars)
    rows = bundle.features.compute_panel(panel)
    said = 0
    first, second = bundle.forecaster(), loaded.forecaster()
    for number, market in enumerate(panel):
        one, two = first.update(market, rows[number]), second.update(market, rows[number])
        assert one == two
        said += len(one)
    assert said == len(small_dataset(days=15))
    for name in ("name", "symbols", "timeframe", "features", "strategy", "execution", "costs", "horizon", "study"):
        assert getattr(loaded, name) == getattr(bundle, name), name
    assert loaded.fingerprints == bundle.fingerprints
    assert repr(loaded.evidence) == repr(bundle.evidence)
    assert "NaN" not in (tmp_path / "bundle" / "bundle.json").read_text()


def test_a_signal_says_who_what_when_and_for_how_long():
    bundle = small_bundle()
    first, second = bundle.forecaster().update(at(3), np.zeros((2, 3)))
    assert (first.name, first.symbol, second.symbol) == ("btc-eth-1h", "BTC/USD", "ETH/USD")
    assert (first.time, first.known, first.kind, first.horizon) == (3 * HOUR, 3 * HOUR + 7, "probability", 12 * HOUR)


def test_a_row_that_is_not_complete_gives_no_signal():
    bundle = small_bundle()
    rows = np.zeros((2, 3))
    rows[0, 1] = np.nan
    assert [signal.symbol for signal in bundle.forecaster().update(at(), rows)] == ["ETH/USD"]
    assert (
        bundle.forecaster().update(at(), rows)[0].value == bundle.forecaster().update(at(), np.zeros((2, 3)))[1].value
    )
    assert bundle.forecaster().update(at(), np.full((2, 3), np.nan)) == []
    with pytest.raises(BundleError, match=r"feature rows of shape \(1, 3\), wanted \(2, 3\)"):
        bundle.forecaster().update(at(), rows[:1])


def test_an_altered_model_file_is_refused(tmp_path):
    folder = small_bundle().save(tmp_path)
    content = bytearray((folder / "model.ubj").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.ubj").write_bytes(content)
    with pytest.raises(BundleError, match=r"model.ubj is missing or was altered"):
        Bundle.load(folder)
    (folder / "model.ubj").unlink()
    with pytest.raises(BundleError, match="missing or was altered"):
        Bundle.load(folder)


def test_a_bundle_of_another_format_or_of_other_feature_code_is_refused(tmp_path):
    folder = small_bundle().save(tmp_path)
    altered(folder, features_fingerprint="0" * 64)
    with pytest.raises(BundleError, match="features were computed by other code"):
        Bundle.load(folder)
    altered(folder, format=99)
    with pytest.raises(BundleError, match="bundle format 99, this version reads 1"):
        Bundle.load(folder)
    (folder / "bundle.json").write_text("[]")
    with pytest.raises(BundleError, match="bundle format list"):
        Bundle.load(folder)
    (folder / "bundle.json").write_text("{")
    with pytest.raises(BundleError, match=r"no readable bundle\.json"):
        Bundle.load(folder)
    with pytest.raises(BundleError, match=r"no readable bundle\.json in nowhere"):
        Bundle.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"execution": {"reserve": 2.0}}, "reserve must lie"),
        ({"costs": {"taker": 2.0}}, "taker"),
        ({"features": {"features": [{"name": "magic", "parameters": {}, "version": 1}]}}, "magic"),
        ({"evidence": {}}, "Evidence"),
        ({"model": {}}, "format"),
    ],
)
def test_a_bundle_whose_values_make_no_sense_is_refused(tmp_path, changed, text):
    folder = small_bundle().save(tmp_path)
    altered(folder, **changed)
    with pytest.raises(BundleError, match=text):
        Bundle.load(folder)


@f.custom(inputs=["close", "open"])
def rise(state, settings, bar, out):
    out[0] = bar[0] / bar[1] - 1.0


def test_a_feature_of_ones_own_is_loaded_only_when_it_is_named(tmp_path):
    names = FeatureSet([f.log_return(1), f.timeframe("4h", [rise()]), f.rsi(14)])
    saved = small_bundle(features=names).save(tmp_path / "own")
    assert Bundle.load(saved, features={**CONSTRUCTORS, "rise": rise}).features == names
    with pytest.raises(BundleError, match="unknown feature 'rise'"):
        Bundle.load(saved)


def test_models_behind_different_scalers_are_told_apart_by_their_parameters():
    kinds = [Scaled(Logistic(), f.Scaler(kind, limit)) for kind in ("standard", "rank") for limit in (None, 3.0)]
    found = [tuple(model.get_params().items()) for model in (*kinds, Scaled(XGBoost()))]
    assert len(set(found)) == len(found)
    changed = kinds[0].with_params(strength=0.5, scaler="robust", limit=4.0)
    assert changed == Scaled(Logistic(strength=0.5), f.Scaler("robust", 4.0))
    with pytest.raises(ValueError, match="depth"):
        kinds[0].with_params(depth=3)


def test_a_strategy_of_ones_own_is_loaded_only_when_it_is_named(tmp_path):
    folder = small_bundle(strategy=Contrarian(0.3)).save(tmp_path)
    with pytest.raises(BundleError, match="strategy Contrarian is unknown; known: Breakout, BuyAndHold, Ensemble"):
        Bundle.load(folder)
    loaded = Bundle.load(folder, {**STRATEGIES, "Contrarian": Contrarian})
    assert loaded.strategy == Contrarian(0.3)


MIXTURE = Ensemble(
    (
        Voting((MovingAverageCross(2, 5), Breakout(5, 2), OpeningMomentum(first=timedelta(minutes=15)))),
        Switch(VolatilityRegime((0.5, 0.9), symbol="BTC/USD"), (Momentum(5), TimeOfDay(time(1, 30)), LongShort())),
        VolatilityScaled(TopK(2, "score", 0.5)),
        OvernightHold(Session("Asia/Tokyo", time(9), time(15, 30), (0, 1))),
    ),
    shares=(1, 2, 3, 4),
)


@pytest.mark.parametrize(
    "strategy", [MIXTURE, *(cls() for name, cls in STRATEGIES.items() if name in SINGLE)], ids=repr
)
def test_every_strategy_is_loaded_as_it_was_saved_with_its_parts_and_members(tmp_path, strategy):
    assert Bundle.load(small_bundle(strategy=strategy).save(tmp_path)).strategy == strategy


def test_costs_by_a_schedule_and_an_execution_with_exits_are_loaded_as_they_were_saved(tmp_path):
    costs = replace(Costs.of("coinbase", 1.0), spread_bps=2.0, volatility_share=0.1, impact_sqrt=0.5)
    execution = Execution(0.02, 0.1, 5.0, timedelta(minutes=30), 0.02, 0.04, 0.03)
    loaded = Bundle.load(small_bundle(costs=costs, execution=execution).save(tmp_path))
    assert loaded.costs == costs
    assert loaded.execution == execution
    assert loaded.execution.plan == execution.plan


def test_a_member_that_is_unknown_is_refused_and_numbers_of_numpy_are_kept_as_numbers(tmp_path):
    folder = small_bundle(strategy=Ensemble((Contrarian(np.float64(0.3)),))).save(tmp_path)
    with pytest.raises(BundleError, match="strategy Contrarian is unknown"):
        Bundle.load(folder)
    assert Bundle.load(folder, {**STRATEGIES, "Contrarian": Contrarian}).strategy == Ensemble((Contrarian(0.3),))
    assert strategy_to_dict(Momentum(np.int64(5)))["parameters"]["window"] == 5


def test_a_strategy_that_carries_code_cannot_be_kept():
    class Estimator:
        def fit(self, returns):
            return self

    with pytest.raises(TypeError, match="estimator: a parameter of a strategy to study or register is a plain value"):
        strategy_to_dict(Optimised(Estimator()))


def test_a_strategy_without_named_parameters_cannot_be_kept():
    class Loose:
        lookback = 1

        def decide(self, view):
            return {}

    with pytest.raises(TypeError, match="frozen dataclass"):
        strategy_to_dict(Loose())


@pytest.mark.parametrize(("name", "kind"), [("format_1_trees", "Trees"), ("format_1_scaled", "ScaledPredictor")])
def test_a_bundle_of_an_earlier_format_still_loads(name, kind):
    bundle = Bundle.load(Path(__file__).parent / "bundles" / name)
    assert type(bundle.predictor).__name__ == kind
    assert (bundle.chosen, bundle.trained_until, bundle.study) == (None, 0, "a study")
    rows = np.array([[0.0, 0.0, 50.0], [0.01, 2.0, 70.0]])
    values = [signal.value for signal in bundle.forecaster().update(at(), rows)]
    # What version 0.1.0 predicted before format 2 was introduced.
    written = {
        "format_1_trees": [0.4274459481239319, 0.45611390471458435],
        "format_1_scaled": [0.465023033284723, 0.8217433618294381],
    }
    # xgboost itself, which predicted then, adds in single precision.
    assert values == pytest.approx(written[name], abs=1e-7 if name == "format_1_trees" else 1e-12)


def redescribed(folder: Path, **changed) -> None:
    content = json.loads((folder / "bundle.json").read_text())
    altered(folder, model={**content["model"], **changed})


def test_a_model_file_that_is_not_pinned_is_refused(tmp_path):
    folder = small_bundle(Logistic()).save(tmp_path / "bundle")
    (tmp_path / "outside.json").write_text('{"slope": [9, 9, 9], "intercept": 0}')
    for place in ("../outside.json", str(tmp_path / "outside.json"), "bundle.json"):
        redescribed(folder, file=place)
        with pytest.raises(BundleError, match="is not among the files of the bundle"):
            Bundle.load(folder)
    redescribed(folder, file="model.json")
    altered(folder, files={})
    with pytest.raises(BundleError, match=r"model\.json is not among the files"):
        Bundle.load(folder)
    altered(folder, files={"../outside.json": digest(tmp_path / "outside.json")})
    with pytest.raises(BundleError, match=r"outside\.json is missing or was altered"):
        Bundle.load(folder)


@pytest.mark.parametrize("odd", [None, 5, "text", [1], {"a": 1}, 1e30, -1, True])
@pytest.mark.parametrize(
    "key", ["model", "files", "features", "strategy", "execution", "costs", "horizon_seconds", "evidence", "symbols"]
)
def test_odd_values_are_an_error_of_the_bundle(tmp_path, key, odd):
    folder = small_bundle(Logistic()).save(tmp_path / "bundle")
    altered(folder, **{key: odd})
    try:
        Bundle.load(folder)
    except BundleError:
        return
    assert key in ("horizon_seconds", "symbols")


def test_deep_and_huge_descriptions_are_refused_at_once(tmp_path):
    folder = small_bundle(LSTM(window=4, units=4, epochs=1)).save(tmp_path / "bundle")
    redescribed(folder, layers=10**30)
    with pytest.raises(BundleError, match=r"layers .*wanted a whole number from 1 to 100"):
        Bundle.load(folder)
    redescribed(folder, layers=1, window=10**12)
    with pytest.raises(BundleError, match="window"):
        Bundle.load(folder)
    (folder / "bundle.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(BundleError, match="no readable"):
        Bundle.load(folder)


def test_a_model_of_another_shape_is_refused_when_it_is_loaded(tmp_path):
    folder = small_bundle(Logistic()).save(tmp_path / "bundle")
    other = json.dumps({"slope": [1.0, 2.0], "intercept": 0.0})
    (folder / "model.json").write_text(other)
    altered(folder, files={"model.json": digest(folder / "model.json")})
    with pytest.raises(BundleError, match="3 features"):
        Bundle.load(folder)


def test_a_loaded_bundle_knows_its_digest(tmp_path):
    made = small_bundle(Logistic())
    folder = made.save(tmp_path / "bundle")
    assert made.digest == ""
    loaded = Bundle.load(folder)
    assert loaded.digest == digest(folder / "bundle.json")
    # What was made elsewhere says so for good: saved again it is the same to the byte.
    altered(folder, libraries={"python": "3.99", "numpy": "9.9"})
    again = Bundle.load(folder).save(tmp_path / "again")
    assert json.loads((again / "bundle.json").read_text())["libraries"] == {"python": "3.99", "numpy": "9.9"}
    twice = Bundle.load(again).save(tmp_path / "twice")
    assert digest(twice / "bundle.json") == digest(again / "bundle.json")


def test_numbers_that_are_not_finite_are_no_model(tmp_path):
    folder = small_bundle(Vetoed(Logistic())).save(tmp_path / "vetoed")
    redescribed(folder, threshold=float("nan"))
    with pytest.raises(BundleError, match="threshold nan are not finite"):
        Bundle.load(folder)
    folder = small_bundle(Logistic()).save(tmp_path / "line")
    (folder / "model.json").write_text('{"slope": [1.0, NaN, 1.0], "intercept": 0.0}')
    altered(folder, files={"model.json": digest(folder / "model.json")})
    with pytest.raises(BundleError, match="not finite"):
        Bundle.load(folder)
