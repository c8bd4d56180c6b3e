"""What one fold does: tune and fit on its training rows, settle how to trade, and predict what follows."""

import time as clock
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.backtest.reliance import reliance
from cryptoquant.backtest.scenario import Scenario
from cryptoquant.backtest.strategy_search import TuneStrategy
from cryptoquant.errors import ModelError
from cryptoquant.market.schema import SIGNALS
from cryptoquant.market.signal import SignalKind
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.examples import Examples
from cryptoquant.models.model import Model, Predictor
from cryptoquant.models.splits import Fold, PurgedKFold
from cryptoquant.models.tune import Tune
from cryptoquant.models.windows import dissimilarity_rows, predict_rows
from cryptoquant.trading.strategy import Strategy

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
# How many of the latest training rows are predicted to see how far the fit lies above what follows.
MOST_TRAIN_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class FoldResult:
    """What one fold learned and how well it did on its own training rows and out of sample.

    Attributes
    ----------
    params, trials
        Of the model: what was chosen and every trial.
    predicted
        A value for each test row; empty for a rule over bars.
    strategy, strategy_params, strategy_trials
        How the fold's signals are traded: what was chosen and every trial.
    dissimilarity
        How unlike the training rows each test row is, NaN from a model that does not tell; empty for a rule.
    predictor
        What the fold learned; None for a rule, and for a fold that was read back from a folder.
    reliance
        How much the test predictions rest on each feature, shape (features,); empty for a rule.
    """

    fold: Fold
    params: dict[str, Any]
    trials: list[dict[str, Any]]
    predicted: Floats
    hit_rate_train: float
    hit_rate_test: float
    seconds: float
    strategy: Strategy | None = None
    strategy_params: dict[str, Any] = field(default_factory=dict)
    strategy_trials: list[dict[str, Any]] = field(default_factory=list)
    predictor: Predictor | None = None
    reliance: Floats = field(default_factory=lambda: np.empty(0))
    dissimilarity: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def said(self) -> Floats:
        """What the model said of the test rows, as of ``said_of``."""
        return np.stack([self.predicted, self.dissimilarity])


@dataclass(frozen=True, slots=True)
class Retraining:
    """How often a study learns anew, counted in folds; in between it goes on with what it has.

    Parameters
    ----------
    fit
        The model is fitted in every so many folds.
    tune
        Parameters, of the model and of the strategy, are searched in every so many folds; a multiple of ``fit``.
    """

    fit: int = 1
    tune: int | None = None

    def __post_init__(self) -> None:
        if any(type(turn) is not int for turn in (self.fit, self.eras)):
            raise TypeError(f"fit and tune count folds: wanted whole numbers, found {self.fit!r} and {self.tune!r}")
        if self.fit < 1 or self.eras < 1 or self.eras % self.fit:
            raise ValueError(f"wanted fit from 1 and tune a multiple of it, found fit {self.fit} and tune {self.tune}")

    @property
    def eras(self) -> int:
        """Folds from one search to the next."""
        return self.fit if self.tune is None else self.tune


class Learner(Protocol):
    """Learns an era of folds, the first of which searches; a pure function of what it holds, so it runs anywhere."""

    def learn(self, folds: Sequence[Fold]) -> list[FoldResult]:
        """Return the result of each fold; test rows are read for prediction only."""
        ...


@dataclass(frozen=True, eq=False)
class RuleLearner:
    """A rule over bars: all that is learned is its parameters, on the bars of the training window.

    Attributes
    ----------
    scenario
        The whole market; each fold trades its own span of it.
    times
        Closes of the slices that folds count by.
    """

    scenario: Scenario
    times: Rows
    search: TuneStrategy | None = None

    def learn(self, folds: Sequence[Fold]) -> list[FoldResult]:
        """Return the result of each fold."""
        started = clock.perf_counter()
        first = folds[0]
        start = int(self.times[first.train[0]]) - 1
        chosen = settle(self.search, replace(self.scenario, start=start, end=int(self.times[first.train[-1]])))
        lasted = clock.perf_counter() - started
        return [
            FoldResult(
                fold,
                {},
                [],
                np.empty(0),
                np.nan,
                np.nan,
                lasted if fold is first else 0.0,
                chosen.strategy,
                chosen.params,
                chosen.trials if fold is first else [],
            )
            for fold in folds
        ]


@dataclass(frozen=True, slots=True)
class Settled:
    """How a fold is to be traded, and what was tried for it."""

    strategy: Strategy | None
    params: dict[str, Any]
    trials: list[dict[str, Any]]


def settle(search: TuneStrategy | None, scenario: Scenario) -> Settled:
    """Return the strategy of a scenario with the parameters that did best in it, or as it is without a search."""
    if search is None:
        return Settled(scenario.strategy, {}, [])
    return Settled(*search.run(scenario))


@dataclass(frozen=True, eq=False)
class ModelLearner:
    """A model and how its signals are traded.

    Attributes
    ----------
    search
        For the strategy's parameters, with the market that it trades in; None leaves the strategy as it is.
    """

    examples: Examples
    model: Model
    tune: Tune | None = None
    retraining: Retraining = field(default_factory=Retraining)
    strategy: Strategy | None = None
    search: "SignalSearch | None" = None

    def learn(self, folds: Sequence[Fold]) -> list[FoldResult]:
        """Return the result of each fold."""
        started = clock.perf_counter()
        first = self.examples.learning(folds[0].train, folds[0].test)
        params, trials = ({}, []) if self.tune is None else self.tune.search(self.model, first)
        model = self.model.with_params(**params)
        predictor = _fitted(model, first, folds[0])
        chosen = Settled(self.strategy, {}, [])
        if self.search is not None and self.strategy is not None:
            chosen = self.search.settle(model, first, folds[0].train, self.strategy)
        results: list[FoldResult] = []
        for place, fold in enumerate(folds):
            train = first if place == 0 else self.examples.learning(fold.train, fold.test)
            if place and place % self.retraining.fit == 0:
                predictor = _fitted(model, train, fold)
            result = _told(self.examples, predictor, train, fold)
            told = (trials, chosen.trials) if place == 0 else ([], [])
            results.append(
                replace(
                    result,
                    params=params,
                    trials=told[0],
                    strategy=chosen.strategy,
                    strategy_params=chosen.params,
                    strategy_trials=told[1],
                    seconds=clock.perf_counter() - started,
                )
            )
            started = clock.perf_counter()
        return results


def fit_fold(examples: Examples, model: Model, tune: Tune | None, fold: Fold) -> FoldResult:
    """Tune and fit on the training rows of one fold; predict its test rows. Test rows are read for prediction only."""
    return ModelLearner(examples, model, tune).learn([fold])[0]


def _told(examples: Examples, predictor: Predictor, train: Examples, fold: Fold) -> FoldResult:
    """Return what a predictor says of a fold's test rows, and how often it is right on both sides of the border."""
    predicted, dissimilarity = said_of(predictor, examples, fold.test)
    latest = np.arange(max(0, len(train) - MOST_TRAIN_ROWS), len(train))
    return FoldResult(
        fold=fold,
        params={},
        trials=[],
        predicted=predicted,
        hit_rate_train=_hit_rate(predict_rows(predictor, train, latest), train.rises[latest], predictor.kind),
        hit_rate_test=_hit_rate(predicted, examples.rises[fold.test], predictor.kind),
        seconds=0.0,
        predictor=predictor,
        reliance=reliance(predictor, examples, fold.test, fold.number),
        dissimilarity=dissimilarity,
    )


def _fitted(model: Model, train: Examples, fold: Fold) -> Predictor:
    try:
        return model.fit(train)
    except ModelError as error:
        raise ModelError(f"fold {fold.number}: {error}") from error


def _hit_rate(predicted: Floats, rises: Floats, kind: SignalKind) -> float:
    """Return how often the side came true: a probability above one half, any other prediction above zero."""
    border = 0.5 if kind == "probability" else 0.0
    known = ~np.isnan(rises) & ~np.isnan(predicted)
    return float(((predicted > border) == (rises > 0.5))[known].mean()) if known.any() else float("nan")


@dataclass(frozen=True, eq=False)
class SignalSearch:
    """The search for a strategy's parameters on signals that the model gives for rows it has not learned from.

    The model learns from all but the last of the training window's purged blocks; its signals over that last block are
    traded with each candidate.

    Attributes
    ----------
    keys
        Columns symbol, time, known of every row of the dataset.
    scenario
        The whole market, costs and purse.
    """

    how: TuneStrategy
    keys: pl.DataFrame
    scenario: Scenario
    horizon: Any

    def settle(self, model: Model, train: Examples, rows: Rows, strategy: Strategy) -> Settled:
        """Return the strategy with the parameters that did best on the last block of the training rows."""
        blocks = PurgedKFold(self.how.folds, self.how.embargo)
        ((learned, judged),) = blocks.cut(train.times, train.label_known, [self.how.folds - 1])
        predictor = model.fit(train.learning(learned, judged))
        said = said_of(predictor, train, judged)
        signals = signal_frame(self.keys[rows[judged]], said, "tuning", predictor.kind, self.horizon)
        start, end = int(train.times[judged].min()) - 1, int(train.times[judged].max())
        return settle(self.how, replace(self.scenario, start=start, end=end, strategy=strategy, signals=signals))


def said_of(predictor: Predictor, examples: Examples, rows: Rows) -> Floats:
    """Return what a predictor says of some rows, shape (2, rows): its value, and how unlike its training rows each is.

    The second is NaN from a predictor that does not tell.
    """
    return np.stack([predict_rows(predictor, examples, rows), dissimilarity_rows(predictor, examples, rows)])


def signal_frame(keys: pl.DataFrame, said: Floats, name: str, kind: str, horizon: Any) -> pl.DataFrame:
    """Return predictions as signals, without those that are not finite.

    Schema ``signals``, and a column ``dissimilarity`` where the model tells: a limit of the risk gate reads it.

    Parameters
    ----------
    keys
        Columns symbol, time, known of each prediction.
    said
        As of ``said_of``, shape (2, keys).
    """
    values, dissimilarity = said[:, np.isfinite(said[0])]
    tells = not np.isnan(dissimilarity).all()
    more = {"dissimilarity": pl.Series(dissimilarity).fill_nan(None)} if tells else {}
    return (
        keys.select("symbol", "time", "known")
        .filter(pl.Series(np.isfinite(said[0])))
        .with_columns(
            name=pl.lit(name),
            kind=pl.lit(kind),
            value=pl.Series(values),
            horizon=pl.lit(horizon).cast(pl.Duration("ns")),
            **more,
        )
        .select(*SIGNALS, *more)
    )


def keys_of(dataset: Dataset) -> pl.DataFrame:
    """Return symbol, time and known of every row."""
    return dataset.frame.select("symbol", "time", "known")
