"""Explanations: what a model rests on is found, what it does not rest on is not, and the numbers add up."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.inspection import partial_dependence as their_dependence
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from cryptoquant import features as f
from cryptoquant.errors import ModelError
from cryptoquant.features import FeatureSet
from cryptoquant.models import Estimator, Logistic, Scaled, XGBoost
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.explain import (
    clustered_importance,
    feature_groups,
    partial_dependence,
    permutation_importance,
    shap_values,
)
from cryptoquant.models.objectives import log_loss
from cryptoquant.models.splits import Fold, PurgedKFold
from tests.models.datasets import market_bars

SPLITS = PurgedKFold(4, timedelta(hours=12))
MODEL = XGBoost(n_estimators=30, max_depth=3, seed=1)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Volume betrays the hidden state of this market; the hour of the day and twins of a return say nothing more."""
    said = [f.zscore("volume", 48), f.log_return(1), f.hour_of_day(), f.rsi(14), f.rsi(15)]
    label = f.triple_barrier(take=1.5, stop=1.5, horizon=timedelta(hours=12), volatility_window=24)
    return Dataset.build(market_bars(90, 0.6), FeatureSet(said), label)


def test_the_planted_feature_matters_and_noise_does_not(dataset):
    found = permutation_importance(MODEL, dataset, SPLITS)
    rows = {row["feature"]: row for row in found.frame.iter_rows(named=True)}
    assert found.frame["importance"].is_sorted(descending=True)
    assert rows["zscore_volume_48"]["low"] > 0
    assert rows["zscore_volume_48"]["share_above_zero"] == 1.0
    for name, row in rows.items():
        assert row["low"] < row["importance"] < row["high"], name
        if name.startswith("hour"):
            assert abs(row["importance"]) < 0.2 * rows["zscore_volume_48"]["importance"]
    assert found.frame["folds"].to_list() == [4] * found.frame.height
    assert permutation_importance(MODEL, dataset, SPLITS).frame.equals(found.frame)
    assert 0.3 < found.loss < 1.0


def test_importance_on_rows_that_were_learned_would_credit_noise(dataset):
    """The guard is the purged test fold: on its own training rows a deep model gains from every feature."""

    class Leaking:
        def split(self, dataset):
            return [Fold(fold.number, fold.train, fold.train, 0, 0) for fold in SPLITS.split(dataset)]

    deep = replace(MODEL, max_depth=8, n_estimators=60, min_child_weight=0.0)
    noise = f"{next(name for name in dataset.names if name.startswith('hour'))}"
    honest, leaking = (permutation_importance(deep, dataset, splits).frame for splits in (SPLITS, Leaking()))
    assert leaking.filter(pl.col("feature") == noise)["low"].item() > 0.01
    assert honest.filter(pl.col("feature") == noise)["low"].item() < 0.01


def test_a_shuffle_leaves_nothing_behind_for_the_next(dataset):
    """What is said of a feature is the same whatever was shuffled before it, of itself or of others."""
    first, second = dataset.names[:2]
    found = []
    for before in (first, dataset.names[2]):
        frame = permutation_importance(MODEL, dataset, SPLITS, groups=[[before], [second]], repeats=2).frame
        found.append(frame.filter(pl.col("feature") == second).rows())
    assert found[0] == found[1]
    mean = by_copies(dataset, second, repeats=2)
    assert found[0][0][1] == pytest.approx(mean, abs=1e-12)


def by_copies(dataset, name, repeats):
    """Return the importance of the second of two features, each shuffle made in a table of its own."""
    examples, column, rises = dataset.examples, dataset.names.index(name), []
    for fold in SPLITS.split(dataset):
        predictor, judged = MODEL.fit(examples.take(fold.train)), examples.take(fold.test)
        rng, loss = np.random.default_rng([0, fold.number, 1]), log_loss(judged, predictor.predict(judged.features))
        for _ in range(repeats):
            table = judged.features.copy()
            for symbol in np.unique(judged.symbols):
                own = np.flatnonzero(judged.symbols == symbol)
                table[own, column] = judged.features[rng.permutation(own), column]
            rises.append(log_loss(judged, predictor.predict(table)) - loss)
    return np.mean(rises)


def test_an_estimator_of_scikit_learn_is_explained_as_it_is(dataset):
    plain, told = (
        permutation_importance(model, dataset, SPLITS, repeats=1) for model in (GaussianNB(), Estimator(GaussianNB()))
    )
    assert plain.frame.equals(told.frame)
    for strange in ("Logistic", None, Logistic):
        with pytest.raises(TypeError, match="wanted a model or a classifier"):
            permutation_importance(strange, dataset, SPLITS)


def test_features_that_say_the_same_are_shuffled_together(dataset):
    groups = [sorted(group) for group in feature_groups(dataset)]
    assert ["rsi_14", "rsi_15"] in groups
    assert sorted(name for group in groups for name in group) == sorted(dataset.names)
    found = clustered_importance(Logistic(), dataset, SPLITS)
    assert found.frame.height == len(groups)
    alone = permutation_importance(Logistic(), dataset, SPLITS, groups=[["rsi_14"]], repeats=2)
    assert alone.frame["feature"].to_list() == ["rsi_14"]


def test_shap_values_add_up_to_the_log_odds_also_behind_a_scale(dataset):
    known = dataset.examples.take(dataset.examples.is_known)
    rows = known.features[:200]
    for model in (MODEL, Scaled(MODEL, f.Scaler("robust"))):
        predictor = model.fit(known)
        found = shap_values(predictor, rows, dataset.names)
        odds = 1.0 / (1.0 + np.exp(-(found.values.sum(axis=1) + found.base)))
        assert odds == pytest.approx(predictor.predict(rows), abs=1e-5)
        assert "zscore_volume_48" in found.frame["feature"][:3]
        assert found.frame["contribution"].sum() == pytest.approx(np.abs(found.values).mean(axis=0).sum())
    with pytest.raises(ModelError, match="Line has none: use permutation_importance"):
        shap_values(Logistic().fit(known), rows, dataset.names)


def test_partial_dependence_equals_scikit_learns(dataset):
    known = dataset.examples.take(dataset.examples.is_known)
    ours = partial_dependence(Logistic().fit(known), dataset, "rsi_14", points=9, most_rows=10**9).frame
    scale = dataset.features[: len(dataset)]
    mean, width = known.features.mean(axis=0), known.features.std(axis=0)
    theirs = LogisticRegression(max_iter=1_000).fit((known.features - mean) / width, known.rises)
    column = dataset.names.index("rsi_14")
    grid = (ours["value"].to_numpy() - mean[column]) / width[column]
    found = their_dependence(
        theirs, (scale - mean) / width, [column], custom_values={column: grid}, response_method="predict_proba"
    )
    assert ours["prediction"].to_numpy() == pytest.approx(found["average"][0], abs=1e-9)
    assert (ours["low"] <= ours["prediction"]).all()
    assert (ours["prediction"] <= ours["high"]).all()


def test_what_makes_no_sense_is_refused(dataset):
    with pytest.raises(ValueError, match="no feature magic; it has zscore_volume_48"):
        permutation_importance(MODEL, dataset, SPLITS, groups=[["magic"]])
    with pytest.raises(ValueError, match="no feature magic"):
        partial_dependence(MODEL.fit(dataset.examples.take(dataset.examples.is_known)), dataset, "magic")

    class Single:
        def split(self, dataset):
            return SPLITS.split(dataset)[:1]

    with pytest.raises(ValueError, match="at least 2 folds"):
        permutation_importance(MODEL, dataset, Single())


def test_the_figures_show_what_the_tables_say(dataset, capsys):
    known = dataset.examples.take(dataset.examples.is_known)
    predictor = MODEL.fit(known)
    importance = permutation_importance(MODEL, dataset, SPLITS, repeats=1)
    bars = importance.figure().data[0]
    assert list(bars.y)[::-1] == importance.frame["feature"].to_list()
    assert list(bars.x)[::-1] == importance.frame["importance"].to_list()
    shap = shap_values(predictor, known.features[:3_000], dataset.names)
    assert len(shap.figure().data) == len(dataset.names)
    assert all(len(trace.x) <= 1_500 for trace in shap.figure().data)
    dependence = partial_dependence(predictor, dataset, "rsi_14")
    assert list(dependence.figure().data[2].y) == dependence.frame["prediction"].to_list()
    for one in (importance, shap, dependence):
        one.show()
    said = capsys.readouterr().out
    assert "zscore_volume_48" in said
    assert "prediction" in said
