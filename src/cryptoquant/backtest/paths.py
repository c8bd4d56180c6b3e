"""Many histories from one: every block of time predicted by fits that did not see it, traded as whole paths."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.backtest.learning import Learner, keys_of, said_of, signal_frame
from cryptoquant.backtest.parallel import side_by_side
from cryptoquant.backtest.plan import Plan
from cryptoquant.backtest.robustness import outcome_of
from cryptoquant.backtest.scenario import Scenario
from cryptoquant.backtest.study import Study
from cryptoquant.backtest.walk_forward import Progress
from cryptoquant.errors import ModelError
from cryptoquant.models.examples import Examples
from cryptoquant.models.splits import CombinatorialPurged, Fold
from cryptoquant.performance.progress import bar

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Paths:
    """What the same plan made of several histories, each predicted by fits that did not see it.

    The paths share their market and most of their training rows, so they are far from independent: their spread shows
    how much hangs on what was learned from, not how sure the edge is.

    Attributes
    ----------
    frame
        One row for each path: path, sharpe (annual, by daily returns), total_return, max_drawdown.
    fits
        How many fits they are made of.
    """

    frame: pl.DataFrame
    fits: int

    def __repr__(self) -> str:
        return f"Paths({self.summary})"

    @property
    def probability_of_loss(self) -> float:
        """The share of paths that lost money."""
        return float((self.frame["total_return"].to_numpy() < 0.0).mean())

    @property
    def quantiles(self) -> pl.DataFrame:
        """Quantiles over the paths: level, sharpe, total_return, max_drawdown; a ratio that is not defined is 0."""
        names = [name for name in self.frame.columns if name != "path"]
        values = {name: np.quantile(self.frame[name].fill_nan(0.0).to_numpy(), LEVELS) for name in names}
        return pl.DataFrame({"level": LEVELS, **values})

    @property
    def summary(self) -> str:
        """The distribution in words."""
        low, middle, high = (self.quantiles["sharpe"][place] for place in (0, 2, -1))
        return (
            f"{self.frame.height} paths of {self.fits} fits: Sharpe {middle:.2f} in the middle, {low:.2f} to "
            f"{high:.2f} in nine of ten; {self.probability_of_loss:.0%} of them lost money"
        )

    def show(self) -> None:
        """Print the paths, their quantiles and what they say."""
        from rich.console import Console

        from cryptoquant.performance.figures import print_frame

        print_frame(self.frame)
        print_frame(self.quantiles)
        Console().print(self.summary, markup=False)


def combinatorial(
    what: Plan | Study, splits: CombinatorialPurged, *, jobs: int | None = None, progress: Progress | bool = False
) -> Paths:
    """Trade every path of a combinatorial purged cross-validation, each in one simulation over the whole span.

    Each choice of test blocks is fitted once on what is left, labels that reach into them and the embargo purged. It is
    tuned only where the plan tunes, inside its own training rows. No trial is counted: nobody chooses among paths.

    Parameters
    ----------
    what
        A plan or study of a model; its own splits are not used.
    jobs, progress
        As of ``walk_forward``: choices fitted side by side (a ``joblib.parallel_config`` sends them elsewhere), and
        what is told of choices done and paths traded.

    Raises
    ------
    ModelError
        The plan is of a rule without a model, or searches its strategy's parameters, which it would do on blocks with
        holes between them; or purging leaves a choice nothing to learn from.

    Notes
    -----
    Source: Lopez de Prado (2018), "Advances in Financial Machine Learning", sections 12.3 to 12.5.
    """
    plan = what.plan if isinstance(what, Study) else what
    with ExitStack() as stack:
        tell = stack.enter_context(bar("paths")) if progress is True else progress or _silent
        streams = path_signals(plan, splits, jobs=jobs, tell=lambda done: tell(done, _steps(splits)))
        rows = []
        for number, signals in enumerate(streams):
            one = outcome_of(_whole(plan, signals))
            rows.append((number, one.sharpe, one.total_return, one.max_drawdown))
            tell(len(splits.choices) + number + 1, _steps(splits))
    names = {"path": pl.Int64, "sharpe": pl.Float64, "total_return": pl.Float64, "max_drawdown": pl.Float64}
    return Paths(pl.DataFrame(rows, schema=names, orient="row"), len(splits.choices))


def path_signals(
    plan: Plan, splits: CombinatorialPurged, *, jobs: int | None = None, tell: Callable[[int], None] | None = None
) -> list[pl.DataFrame]:
    """Return the signals of each path (schema ``signals``): every row of the dataset once, by a fit that never saw it.

    Rows whose label is not known belong to the block that they lie in: they are predicted, but never learned from.
    Errors as of ``combinatorial``.
    """
    if plan.dataset is None or plan.model is None:
        raise ModelError(f"{plan.name}: a rule over bars learns nothing, so that all its paths would be one")
    if plan.tune_strategy is not None:
        raise ModelError(
            f"{plan.name}: paths do not search a strategy's parameters; wanted a plan with tune_strategy=None"
        )
    learner, examples, blocks = plan.learner(), plan.dataset.examples, block_rows(plan, splits)
    cuts = zip(splits.split(plan.dataset), splits.choices, strict=True)
    tasks = ((learner, examples, fold, {block: blocks[block] for block in chosen}) for fold, chosen in cuts)
    told: list[tuple[str, dict[int, Floats]]] = []
    for one in side_by_side(_learned, tasks, jobs):
        told.append(one)
        if tell is not None:
            tell(len(told))
    keys, rows, streams = keys_of(plan.dataset), np.concatenate(blocks), []
    for path in splits.paths:
        said = np.concatenate([told[choice][1][block] for block, choice in enumerate(path)], axis=1)
        streams.append(signal_frame(keys[rows], said, plan.name, told[0][0], plan.dataset.horizon))
    return streams


def block_rows(plan: Plan, splits: CombinatorialPurged) -> list[Rows]:
    """Return the rows of each block of time, those without a known label too: every row lies in one block."""
    if plan.dataset is None:
        raise ModelError(f"{plan.name}: a rule over bars has no rows to cut")
    times, of = plan.dataset.times, splits.blocks(plan.dataset)
    starts = [int(times[of == block].min()) for block in range(splits.folds)]
    place = np.maximum(np.searchsorted(starts, times, side="right") - 1, 0)
    return [np.flatnonzero(place == block) for block in range(splits.folds)]


def _learned(learner: Learner, examples: Examples, fold: Fold, rows: dict[int, Rows]) -> tuple[str, dict[int, Floats]]:
    """Fit one choice and return the kind of its values, and what it says of the rows of each of its blocks."""
    (result,) = learner.learn([fold])
    predictor = result.predictor
    if predictor is None:
        raise ModelError(f"fold {fold.number}: nothing was learned")
    return predictor.kind, {block: said_of(predictor, examples, within) for block, within in rows.items()}


def _whole(plan: Plan, signals: pl.DataFrame) -> Scenario:
    """Return the plan's trading of one stream of signals, from its first to its last."""
    span = plan.dataset.times if plan.dataset is not None else plan.panel.times
    start, end = int(span[0]) - 1, int(span[-1])
    terms: Any = (plan.strategy, plan.venue, plan.execution, plan.cash, plan.limits)
    return replace(Scenario(plan.name, plan.panel, start, end, *terms), signals=signals)


def _steps(splits: CombinatorialPurged) -> int:
    return len(splits.choices) + len(splits.paths)


def _silent(done: int, total: int) -> None:
    return
