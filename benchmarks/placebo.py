"""How often the default gate says yes: on markets without an edge, and at planted Sharpe ratios from 0 to 4.

Run with ``python benchmarks/placebo.py [file of runs] [runs] [power runs] [trials]``; a stopped call goes on where it
was. Two years of hourly bars, a ridge regression with five trials a fold. At one study trial, the default, the gate's
demands on DSR and PBO are waived; more put so many trials without skill beside each run. ``REAL_BARS`` may name a
Parquet file of hourly bars (columns time, open, high, low, close, volume) whose blocks are shuffled; without it only
random walks are drawn. ``PIPELINE=xgboost`` takes 50 trees instead, about twice as slow.
"""

import os
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl

import cryptoquant as cq
from cryptoquant import features as f
from cryptoquant.backtest.placebo import cheap_plan, default_markets, placebo, power
from cryptoquant.backtest.placebo_markets import Shuffled
from cryptoquant.backtest.plan import Plan

LENGTH = timedelta(days=730)


def pipeline() -> Plan:
    plan = cheap_plan(cq.SyntheticMarket(symbols=["BTC/USD"], days=730, timeframe="1h").bars())
    if os.environ.get("PIPELINE", "ridge") == "ridge":
        return plan
    label = f.triple_barrier(take=2.0, stop=2.0, horizon=timedelta(days=1))
    tune = replace(plan.tune, space={"max_depth": (2, 4)}, objective=cq.Tune(space={"x": (0, 1)}).objective)
    return replace(
        plan,
        dataset=cq.Dataset.build(plan.bars, plan.dataset.feature_set, label),
        model=cq.models.XGBoost(n_estimators=50, learning_rate=0.1, seed=7),
        strategy=cq.strategy.LongFlat(threshold=0.56, exit=0.44, max_weight=0.25),
        tune=tune,
    )


def main(storage: str = "placebo.jsonl", runs: int = 200, power_runs: int = 100, trials: int = 1) -> None:
    plan, started = pipeline(), time.perf_counter()
    markets = list(default_markets(plan))[:1]
    if "REAL_BARS" in os.environ:
        markets.append(Shuffled(real_bars(os.environ["REAL_BARS"])))
    found = [placebo(plan, markets, runs=runs, trials=trials, storage=storage, jobs=2, progress=told)]
    if power_runs:
        found.append(power(plan, runs=power_runs, trials=trials, storage=storage, jobs=2, progress=told))
    rates = pl.concat([one.rates for one in found])
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=160, float_precision=3, tbl_hide_dataframe_shape=True):
        print(rates)
    print(f"{sum(one.frame.height for one in found)} studies, {(time.perf_counter() - started) / 60:.0f} minutes now")


def told(done: int, total: int) -> None:
    if done % 50 == 0:
        print(f"{done} of {total}", file=sys.stderr, flush=True)


def real_bars(path: str) -> pl.DataFrame:
    """Return the first two years of a file as bars of BTC/USD."""
    store = cq.Store(Path(os.environ.get("TMPDIR", "/tmp")) / "placebo-bars")
    store.import_file(Path(path))
    bars = store.bars(store.symbols("bars"), "1h")
    return bars.filter(pl.col("time") <= bars["time"].min() + LENGTH)


if __name__ == "__main__":
    main(*sys.argv[1:2], *(int(text) for text in sys.argv[2:]))
