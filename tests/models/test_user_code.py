"""Code of one's own is part of what a study is: change it, and it is another trial, another search, another fold."""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

import numpy as np
import pytest

from cryptoquant import features as f
from cryptoquant.backtest.walk_forward import walk_forward
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.features import FeatureSet
from cryptoquant.models import Calibrated, Logistic
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.estimator import Estimator
from cryptoquant.models.identity import user_code
from cryptoquant.models.splits import WalkForward
from cryptoquant.models.tune import Tune
from cryptoquant.performance.trials import TrialLedger
from cryptoquant.trading.strategy import Ensemble, LongFlat, Momentum

BARS = SyntheticMarket(seed=3, symbols=["BTC/USD"], days=60, timeframe="1h").bars()
SPLITS = WalkForward(timedelta(days=30), timedelta(days=10))


def rule_of(sign: float) -> type:
    """Return two classes of one name and place that differ in their code alone."""

    @dataclass(frozen=True)
    class Rule:
        lookback: ClassVar[int] = 2

        if sign > 0:

            def decide(self, view):
                return {symbol: 0.5 for symbol in view.symbols if view.history(symbol)[-1] > view.history(symbol)[0]}

        else:

            def decide(self, view):
                return {symbol: 0.5 for symbol in view.symbols if view.history(symbol)[-1] < view.history(symbol)[0]}

    return Rule


def estimator_of(turned: bool) -> type:
    from sklearn.naive_bayes import GaussianNB

    class Mine(GaussianNB):
        if turned:

            def fit(self, rows, labels, sample_weight=None):
                return super().fit(rows, 1 - labels, sample_weight)

        else:

            def fit(self, rows, labels, sample_weight=None):
                return super().fit(rows, labels, sample_weight)

    return Mine


def test_the_librarys_own_classes_tell_nothing_and_others_their_code():
    assert user_code([Logistic(), LongFlat(), Ensemble((Momentum(), Momentum(48)))]) == {}
    one, two = user_code(rule_of(1.0)()), user_code(rule_of(-1.0)())
    assert list(one) == list(two) == ["tests.models.test_user_code.rule_of.<locals>.Rule"]
    assert one != two
    assert one == user_code(rule_of(1.0)())
    inside = Calibrated(Estimator(estimator_of(turned=False)()))
    assert "tests.models.test_user_code.estimator_of.<locals>.Mine" in user_code(inside)
    assert user_code(Ensemble((Momentum(), rule_of(1.0)()))) == one


def test_another_code_of_a_rule_is_another_trial(tmp_path):
    ledger = TrialLedger()
    keys, counts = [], []
    for sign in (1.0, -1.0, 1.0):
        study = walk_forward(
            BARS, None, rule_of(sign)(), SPLITS, name="own", ledger=ledger, jobs=1, resume=tmp_path / "folds"
        )
        keys.append(study.key)
        counts.append(study.evidence.study_trials)
    assert counts == [1, 2, 2]
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.parametrize(
    "search", [None, Tune(trials=2, space={"var_smoothing": (1e-9, 1e-6)})], ids=["plain", "searched"]
)
def test_another_code_of_an_estimator_takes_neither_folds_nor_trials_of_the_first(tmp_path, search):
    features = FeatureSet([f.log_return(1), f.zscore("volume", 48)])
    dataset = Dataset.build(BARS, features, f.forward_return(timedelta(hours=6)))
    found = {}
    for turned in (False, True):
        study = walk_forward(
            dataset,
            estimator_of(turned)(),
            LongFlat(0.5),
            SPLITS,
            tune=search,
            ledger=TrialLedger(),
            jobs=1,
            resume=tmp_path / "folds",
        )
        found[turned] = study
    values = [study.signals["value"].to_numpy() for study in found.values()]
    assert not np.allclose(values[0], values[1])
    if search is not None:
        losses = [[trial["loss"] for trial in study.folds[0].trials] for study in found.values()]
        assert losses[0] != losses[1]
