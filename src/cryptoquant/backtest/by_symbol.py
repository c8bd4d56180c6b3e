"""One study for each symbol, side by side, all of them trials of the same question."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from cryptoquant.backtest.parallel import side_by_side
from cryptoquant.backtest.plan import Plan
from cryptoquant.backtest.study import Study
from cryptoquant.backtest.walk_forward import Progress, run_plan
from cryptoquant.performance.progress import bar
from cryptoquant.performance.trials import TrialLedger, recount
from cryptoquant.settings import settings


def walk_forward_by_symbol(
    dataset: Any,
    model: Any,
    strategy: Any,
    splits: Any,
    *args: Any,
    symbols: str | Sequence[str] | None = None,
    ledger: TrialLedger | None = None,
    jobs: int | None = None,
    progress: Progress | bool = False,
    resume: str | Path | None = None,
    notes: Sequence[str] = (),
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
        Called with symbols done and symbols in total; or True for a bar with the time that is left.
    resume, notes
        As of ``walk_forward``, for each study.
    args, options
        As of ``walk_forward``.

    Returns
    -------
    dict
        Studies by symbol, in the order of the symbols.

    Raises
    ------
    ValueError
        The dataset has no such symbol.
    """
    whole = Plan.of(dataset, model, strategy, splits, *args, **{"name": "study", **options})
    chosen = (symbols,) if isinstance(symbols, str) else tuple(symbols or whole.panel.symbols)
    strange = [symbol for symbol in chosen if symbol not in whole.panel.symbols]
    if strange:
        raise ValueError(f"no bars of {', '.join(strange)}; there are {', '.join(whole.panel.symbols)}")
    tasks = ((_alone(whole, symbol), resume, tuple(notes)) for symbol in chosen)
    found: dict[str, Study] = {}
    book = ledger if ledger is not None else TrialLedger(settings().trials)
    with ExitStack() as stack:
        tell = stack.enter_context(bar("symbols")) if progress is True else progress
        runs = side_by_side(_run, tasks, jobs, prefer="processes")
        for symbol, (study, own) in zip(chosen, runs, strict=True):
            found[symbol] = study
            book.take(own)
            if tell:
                tell(len(found), len(chosen))
    return {symbol: _recounted(study, book) for symbol, study in found.items()}


def _alone(whole: Plan, symbol: str) -> Plan:
    bars = whole.bars.filter(pl.col("symbol") == symbol)
    return replace(whole, bars=bars, dataset=None if whole.dataset is None else whole.dataset.of(symbol))


def _run(plan: Plan, resume: str | Path | None, notes: tuple[str, ...]) -> tuple[Study, TrialLedger]:
    own = TrialLedger()
    study = run_plan(plan, ledger=own, jobs=1, resume=resume)
    return replace(study, report=replace(study.report, notes=notes)), own


def _recounted(study: Study, book: TrialLedger) -> Study:
    """Return the study with its evidence deflated by the trials of all symbols."""
    return study.with_papers(evidence=recount(study.evidence, book, study.name, study.key))
