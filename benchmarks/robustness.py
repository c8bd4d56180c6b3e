"""What the robustness table of a study costs, beside one simulation and beside the study itself.

Run with ``python benchmarks/robustness.py [days]``. One pair of hourly bars and a linear model; one process and one
thread. Figures are medians of repeated runs; compare the ratios, the seconds depend on the machine.
"""

import statistics
import sys
import time
from collections.abc import Callable
from datetime import timedelta

from cryptoquant import features as f
from cryptoquant.backtest.paths import combinatorial
from cryptoquant.backtest.robustness import outcome_of, robustness
from cryptoquant.backtest.walk_forward import walk_forward
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.features import FeatureSet
from cryptoquant.models import Logistic
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.splits import CombinatorialPurged, WalkForward
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


def main(days: int = 890) -> None:
    features = FeatureSet([f.log_return(1), f.zscore("volume", 96), f.ema(48, relative=True), f.rsi(14), f.natr(48)])
    bars = SyntheticMarket(seed=7, symbols=["BTC/USD"], days=days, timeframe="1h", edge=0.05).bars("1h")
    dataset = Dataset.build(bars, features, f.triple_barrier(2.0, 2.0, timedelta(hours=12)))
    splits = WalkForward(timedelta(days=180), timedelta(days=60), timedelta(hours=12))

    def run() -> object:
        plan = (dataset, Logistic(), LongFlat(threshold=0.52), splits, Costs.alpaca(8, 1.0))
        return walk_forward(*plan, ledger=TrialLedger(), jobs=1)

    study = run()
    rows = len(robustness(study, refit=False).stresses)
    slices = len(study.scenario.panel)
    print(f"{slices:,} slices, {len(study.folds)} folds, {rows} rows without refits")
    print(f"the study                 {median(run):8.2f} s")
    once = median(lambda: outcome_of(study.scenario))
    print(f"one simulation            {once:8.2f} s   {1e6 * once / slices:.0f} us a slice")
    plain = median(lambda: robustness(study, refit=False))
    print(f"robustness, no refit      {plain:8.2f} s   {plain / once:.1f} simulations")
    print(f"robustness                {median(lambda: robustness(study, jobs=1)):8.2f} s")
    choices = CombinatorialPurged(6, 2, timedelta(hours=12))
    print(f"5 paths of 15 fits        {median(lambda: combinatorial(study, choices, jobs=1)):8.2f} s")


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:]))
