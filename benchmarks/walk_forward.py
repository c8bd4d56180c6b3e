"""What a walk-forward study costs beyond its bare fits: splitting, searching, predicting, trading and the evidence.

Run with ``python benchmarks/walk_forward.py [rows] [folds] [trials] [trees]``; by default one symbol, 100,000 hourly
bars, 30 features, 12 folds of 20 trials. One process and one thread. The bare fits are the same fits with the same
parameters on the same rows, one after the other, and nothing else. Compare the ratio of CPU
times, the seconds depend on the machine and on what else it does.
"""

import sys
import time
from collections.abc import Iterator
from datetime import timedelta

import numpy as np

import cryptoquant as cq
from cryptoquant import features as f
from cryptoquant.backtest.walk_forward import run_plan
from cryptoquant.models.splits import PurgedKFold

DAY = timedelta(days=1)


def plan_of(rows: int, folds: int, trials: int, trees: int) -> cq.Plan:
    """Return the plan; the training window is a third of the rows, and the rest is tested."""
    bars = cq.SyntheticMarket(seed=7, symbols=["BTC/USD"], days=rows // 24 + 20, timeframe="1h", edge=0.05).bars()
    returns = [f.log_return(window) for window in (1, 2, 3, 6, 12, 24, 48, 72, 96)]
    averages = [f.ema(window, relative=True) for window in (6, 12, 24, 48, 96, 168)]
    volumes = [f.zscore("volume", window) for window in (24, 48, 96, 168)]
    spreads = [f.realized_volatility(window) for window in (12, 24, 48, 96)]
    others = [f.rsi(14), f.rsi(48), f.natr(24), f.donchian_position(48), f.bollinger(48), f.volume_ratio(24)]
    features = cq.FeatureSet([*returns, *averages, *volumes, *spreads, *others, f.skew("close", 48)])
    dataset = cq.Dataset.build(bars.head(rows), features, f.triple_barrier(2.0, 2.0, DAY))
    test = timedelta(hours=2 * rows // 3 // folds)
    return cq.Plan.of(
        dataset,
        cq.models.XGBoost(n_estimators=trees, seed=7),
        cq.strategy.LongFlat(0.55),
        cq.WalkForward(timedelta(hours=rows // 3), test, DAY),
        cq.Costs.alpaca(),
        cq.Tune(trials=trials, space={"max_depth": (3, 7), "learning_rate": (0.02, 0.2, "log")}, storage="memory"),
        name="benchmark",
    )


def bare_fits(plan: cq.Plan, study: cq.Study) -> Iterator[None]:
    """Do the fits of a study: each trial on its part of the training rows, then the chosen one on all of them."""
    examples, model = plan.dataset.examples, plan.model
    for result in study.folds:
        train = examples.take(result.fold.train)
        cuts = PurgedKFold(plan.tune.folds, plan.tune.embargo)
        ((learned, _),) = cuts.cut(train.times, train.label_known, [plan.tune.folds - 1])
        part = train.take(learned)
        for trial in result.trials:
            yield model.with_params(**trial["params"]).fit(part)
        yield model.with_params(**result.params).fit(train)
    yield model.with_params(**study.folds[-1].params).fit(examples.take(study.folds[-1].fold.train))


def main(rows: int = 100_000, folds: int = 12, trials: int = 20, trees: int = 100) -> None:
    plan = plan_of(rows, folds, trials, trees)
    examples = plan.dataset.examples
    warm = plan_of(6_000, 2, 2, 5)
    run_plan(warm, ledger=cq.TrialLedger(), jobs=1)
    started, cpu = time.perf_counter(), time.process_time()
    study = run_plan(plan, ledger=cq.TrialLedger(), jobs=1)
    whole, whole_cpu = time.perf_counter() - started, time.process_time() - cpu
    started, cpu = time.perf_counter(), time.process_time()
    fits = sum(1 for _ in bare_fits(plan, study))
    bare, bare_cpu = time.perf_counter() - started, time.process_time() - cpu
    sizes = [len(result.fold.train) for result in study.folds]
    shape = f"{len(examples):,} rows x {len(plan.dataset.names)} features"
    print(f"{shape}, {len(study.folds)} folds of {np.mean(sizes):,.0f} rows")
    print(f"{fits} bare fits   {bare:8.1f} s   CPU {bare_cpu:8.1f} s   1.00")
    print(
        f"the study       {whole:8.1f} s   CPU {whole_cpu:8.1f} s   {whole / bare:.3f}, CPU {whole_cpu / bare_cpu:.3f}"
    )


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:]))
