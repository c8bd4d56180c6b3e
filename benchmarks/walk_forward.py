"""What a walk-forward study costs beyond its bare fits: splitting, predicting, trading three times and the evidence.

Run with ``python benchmarks/walk_forward.py [days] [trees]``. Two pairs of 5-minute bars, one process and one thread.
Figures are medians of repeated runs; compare the ratios, the seconds depend on the machine and on what else it does.
"""

import statistics
import sys
import time
from collections.abc import Callable
from datetime import timedelta

from cryptoquant import features as f
from cryptoquant.backtest.walk_forward import fit_fold, walk_forward
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.features import FeatureSet
from cryptoquant.models import XGBoost
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.splits import WalkForward
from cryptoquant.performance.trials import TrialLedger
from cryptoquant.trading.strategy import LongFlat
from cryptoquant.trading.venue import Costs

RUNS = 3


def median(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def main(days: int = 150, trees: int = 100) -> None:
    paths = [f.log_return(1), f.log_return(12), f.rsi(14), f.ema(48, relative=True), f.natr(48)]
    spread = [f.realized_volatility(288)]
    others = [f.zscore("volume", 288), f.donchian_position(144), f.bollinger(48), f.hour_of_day()]
    features = FeatureSet([*paths, *spread, *others])
    bars = SyntheticMarket(seed=7, days=days, timeframe="5m", edge=0.2).bars("5m")
    dataset = Dataset.build(bars, features, f.triple_barrier(2.0, 2.0, timedelta(hours=4)))
    splits = WalkForward(timedelta(days=60), timedelta(days=15), timedelta(hours=4))
    model, strategy = XGBoost(n_estimators=trees, seed=7), LongFlat()
    folds, examples = splits.split(dataset), dataset.examples

    def fits() -> None:
        """Fit each fold and the model to deploy (on as many rows as the last fold), and nothing else."""
        for fold in [*folds, folds[-1]]:
            train = examples.take(fold.train)
            model.fit(train)

    def study() -> None:
        walk_forward(dataset, model, strategy, splits, Costs.alpaca(), ledger=TrialLedger(), jobs=1)

    study()
    bare, folded, whole = (
        median(fits),
        median(lambda: [fit_fold(examples, model, None, x) for x in folds]),
        median(study),
    )
    slices = len({int(t) for fold in folds for t in dataset.times[fold.test]})
    print(
        f"{len(dataset):,} rows, {len(folds)} folds of {len(folds[0].train):,} rows, {trees} trees, {slices:,} slices"
    )
    print(f"bare fits                 {bare:8.2f} s   1.00")
    print(f"fit_fold of every fold    {folded:8.2f} s   {folded / bare * (len(folds) + 1) / len(folds):.2f} per fit")
    print(f"walk_forward              {whole:8.2f} s   {whole / bare:.2f}")
    print(f"beyond the fits           {1e6 * (whole - bare) / slices:8.0f} us for each slice traded three times")


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:]))
