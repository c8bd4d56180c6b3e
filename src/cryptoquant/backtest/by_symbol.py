"""One study for each symbol, side by side, all of them trials of the same question."""

from dataclasses import replace
from typing import Any

import polars as pl

from cryptoquant.backtest.parallel import side_by_side
from cryptoquant.backtest.plan import Plan
from cryptoquant.backtest.study import Study
from cryptoquant.backtest.walk_forward import Progress, run_plan
from cryptoquant.performance.trials import TrialLedger, recount
from cryptoquant.settings import settings


def walk_forward_by_symbol(
    dataset: Any,
    model: Any,
    strategy: Any,
    splits: Any,
    *args: Any,
    symbols: tuple[str, ...] | None = None,
    ledger: TrialLedger | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Study]:
    """Run a walk-forward study for each symbol alone, with a model and a purse of its own.

    All of them are study trials under one name, so that choosing the best of the symbols is deflated like any other
    choice. Features that look at other symbols keep seeing the whole universe.

    Parameters
    ----------
    symbols
        By default all of the dataset's.
    jobs
        Processes, one symbol each; -1 uses every core. The result does not depend on it.
    progress
        Called with symbols done and symbols in total.
    args, options
        As of ``walk_forward``.

    Returns
    -------
    dict
        Studies by symbol, in the order of the symbols.
    """
    whole = Plan.of(dataset, model, strategy, splits, *args, **{"name": "study", **options})
    chosen = symbols or whole.panel.symbols
    plans = {symbol: _alone(whole, symbol) for symbol in chosen}
    found: dict[str, Study] = {}
    book = ledger if ledger is not None else TrialLedger(settings().trials)
    runs = side_by_side(_run, ((plan,) for plan in plans.values()), jobs, prefer="processes")
    for symbol, (study, own) in zip(chosen, runs, strict=True):
        found[symbol] = study
        book.take(own)
        if progress is not None:
            progress(len(found), len(chosen))
    return {symbol: _recounted(study, book) for symbol, study in found.items()}


def _alone(whole: Plan, symbol: str) -> Plan:
    bars = whole.bars.filter(pl.col("symbol") == symbol)
    return replace(whole, bars=bars, dataset=None if whole.dataset is None else whole.dataset.of(symbol))


def _run(plan: Plan) -> tuple[Study, TrialLedger]:
    own = TrialLedger()
    return run_plan(plan, ledger=own, jobs=1), own


def _recounted(study: Study, book: TrialLedger) -> Study:
    """Return the study with its evidence deflated by the trials of all symbols."""
    return study.with_papers(evidence=recount(study.evidence, book, study.name, study.key))
