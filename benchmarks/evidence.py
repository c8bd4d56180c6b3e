"""What the statistics of evidence cost beside their peers, and how often the intervals cover the truth.

Run with ``python benchmarks/evidence.py [series]`` on one thread. Times are medians of five runs, in milliseconds; a
ratio is the peer's time over ours. Without ``series`` coverage is left out; with it, so many seeded histories of 500
days with an annual Sharpe ratio of 1 are drawn of each kind, and a fresh one of each for the drawdown. The plain
percentile intervals beside ours are arch's, with the same block length.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from scipy.signal import lfilter

from cryptoquant.performance.bootstrap import optimal_block
from cryptoquant.performance.deflation import deflated_sharpe_2026
from cryptoquant.performance.intervals import bootstrap_intervals
from cryptoquant.performance.metrics import drawdowns, sharpe_ratio
from cryptoquant.performance.overfitting import backtest_overfitting
from cryptoquant.performance.selection import selection_numbers, trial_sharpes
from cryptoquant.performance.significance import SharpeEstimate, deflated_sharpe
from cryptoquant.performance.superiority import superiority

SHARPE, DEVIATION, DAYS = 1.0 / math.sqrt(365), 0.02, 500


def spent(work: Callable[[], object], rounds: int = 5) -> float:
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return 1_000 * statistics.median(found)


def row(name: str, ours: float, peer: str = "", theirs: float = math.nan) -> None:
    beside = f"{peer:<34} {theirs:10.2f}   {theirs / ours:8.1f} x" if peer else ""
    print(f"{name:<52} {ours:10.2f}   {beside}", flush=True)


def costs() -> None:
    from arch.bootstrap import SPA, StationaryBootstrap, optimal_block_length
    from scipy.stats import kurtosis, skew
    from skfolio.measures import deflated_sharpe_ratio
    from vectorbt.returns import metrics

    rng = np.random.default_rng(0)
    wide, one = 0.01 * rng.standard_normal((5_000, 100)), 0.001 + 0.02 * rng.standard_normal(1_000)
    row("PBO, 100 trials x 5,000, S = 16, with its interval", spent(lambda: backtest_overfitting(wide)))

    def spa() -> None:
        SPA(np.zeros(5_000), -wide, block_size=5, reps=1_000, seed=1).compute()

    ours = spent(lambda: superiority(wide, block=5.0))
    row("SPA and reality check, 1,000 x 100 x 5,000", ours, "arch SPA, one round", spent(spa, 1))
    row("the same, with the block length of each trial", spent(lambda: superiority(wide)))
    block = optimal_block(one)

    def interval() -> None:
        StationaryBootstrap(block, one, seed=1).conf_int(described, 1_000, method="percentile")

    ours = spent(lambda: bootstrap_intervals(one, 365))
    row("three intervals, 1,000 days, 1,000 draws", ours, "arch percentile", spent(interval, 3))
    row("block length, 1,000 days", spent(lambda: optimal_block(one)), "arch", spent(lambda: optimal_block_length(one)))
    sharpes = trial_sharpes(wide)
    ours = spent(lambda: deflated_sharpe(wide[:, 0], sharpes))
    row("DSR 2014, 100 trials", ours, "skfolio", spent(lambda: deflated_sharpe_ratio(wide[:, 0], sharpes)))

    def vectorbt_dsr() -> None:
        metrics.deflated_sharpe_ratio(
            est_sharpe=sharpes[:1],
            var_sharpe=np.var(sharpes, ddof=1),
            nb_trials=100,
            backtest_horizon=5_000,
            skew=skew(wide[:, :1]),
            kurtosis=kurtosis(wide[:, :1], fisher=False),
        )

    row("", ours, "vectorbt", spent(vectorbt_dsr))
    own = SharpeEstimate.of(one)
    row("DSR 2026, 100 trials", spent(lambda: deflated_sharpe_2026(own, sharpes)))
    study = np.column_stack([one, 0.02 * rng.standard_normal((1_000, 19))])
    row("all that depends on trials, 20 x 1,000", spent(lambda: selection_numbers(own, 1.0, study)))


def described(returns: np.ndarray) -> np.ndarray:
    wealth = np.cumprod(1.0 + returns)
    return np.array([sharpe_ratio(returns), wealth[-1] ** (365 / len(returns)), drawdowns(wealth, 1.0).min()])


def scores(kind: str, rng: np.random.Generator, length: int) -> np.ndarray:
    if kind == "fat tails, t5":
        return rng.standard_t(5, length) / math.sqrt(5 / 3)
    noise = rng.standard_normal(length + 500)
    if kind == "memory, AR(1) of 0.2":
        return lfilter([math.sqrt(1 - 0.2**2)], [1.0, -0.2], noise)[500:]
    if kind == "volatility clusters":
        variance = 1.0
        for number, shock in enumerate(noise):
            noise[number] = math.sqrt(variance) * shock
            variance = 0.05 + 0.1 * noise[number] ** 2 + 0.85 * variance
    return noise[500:]


def histories(kind: str, series: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for seed in range(series):
        drawn = (scores(kind, np.random.default_rng([17, one]), DAYS) for one in (seed, seed + 1_000_000))
        first, fresh = (DEVIATION * (SHARPE + values) for values in drawn)
        yield first, fresh


def coverage(series: int) -> None:
    from arch.bootstrap import StationaryBootstrap

    head = f"95 % cover, of {series}"
    print(f"\n{head:<24} Sharpe   growth   drawdown band (below)   arch: Sharpe   growth")
    for kind in ("normal", "fat tails, t5", "memory, AR(1) of 0.2", "volatility clusters"):
        long = scores(kind, np.random.default_rng(99), 400_000)
        growth = float(np.log1p(DEVIATION * (SHARPE + (long - long.mean()) / long.std())).mean())
        found, peers = np.zeros(4), np.zeros(2)
        for returns, fresh in histories(kind, series):
            ours = bootstrap_intervals(returns, 1.0)
            fall = float(drawdowns(np.cumprod(1.0 + fresh), 1.0).min())
            truths = {"sharpe": SHARPE, "cagr": math.expm1(growth), "max_drawdown": fall}
            found[:3] += [ours[name].low <= truth <= ours[name].high for name, truth in truths.items()]
            found[3] += fall < ours["max_drawdown"].low
            resampled = StationaryBootstrap(optimal_block(returns), returns, seed=1)
            low, high = resampled.conf_int(
                lambda x: np.array([sharpe_ratio(x), np.log1p(x).mean()]), 500, method="percentile"
            )
            peers += (low <= [SHARPE, growth]) & (high >= [SHARPE, growth])
        sharpe, grown, band, below = found / series
        print(
            f"{kind:<24} {sharpe:6.1%}   {grown:6.1%}   {band:6.1%} ({below:.1%})          "
            f"{peers[0] / series:12.1%}   {peers[1] / series:6.1%}",
            flush=True,
        )


if __name__ == "__main__":
    print(f"{'':<52} {'ms':>10}   {'peer':<34} {'ms':>10}   {'peer/ours':>10}")
    costs()
    if len(sys.argv) > 1:
        coverage(int(sys.argv[1]))
