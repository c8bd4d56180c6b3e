"""Small reports for tests, built through the same door as every run."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from cryptoquant.performance.evidence import Evidence
from cryptoquant.performance.report import FILLS, REJECTIONS, Report, build_report
from cryptoquant.trading.venue import Costs
from tests.market_makers import HOUR, START

GOOD = Evidence(
    days=400,
    sharpe=2.0,
    sharpe_before_costs=2.6,
    sharpe_double_costs=1.4,
    sharpe_low=0.4,
    sharpe_high=3.5,
    psr=0.98,
    dsr=0.96,
    minimum_track_record_days=250.0,
    max_drawdown=-0.1,
    max_drawdown_low=-0.2,
    round_trips=120,
    study_trials=7,
    tuning_trials=80,
    pbo=0.2,
    pbo_low=0.05,
    sharpe_delayed=1.8,
)


def stamps(times: Any) -> pl.Series:
    return pl.from_epoch(pl.Series("time", np.asarray(times, dtype=np.int64)), "ns").dt.replace_time_zone("UTC")


def fills_of(rows: list[tuple[int, str, float, float]], fee: float = 0.0) -> pl.DataFrame:
    """Return a fills frame from (hour, symbol, signed quantity, price) with a fee of the value in quote currency."""
    data = [
        (
            START + hour * HOUR,
            symbol,
            "buy" if quantity > 0 else "sell",
            abs(quantity),
            paid,
            abs(quantity) * paid,
            fee * abs(quantity) * paid,
            0.0,
            0.0,
            "taker",
            "",
            quantity,
            -quantity * paid - fee * abs(quantity) * paid,
            f"order-{hour}",
        )
        for hour, symbol, quantity, paid in rows
    ]
    stored = {name: pl.Int64 if name == "time" else kind for name, kind in FILLS.items()}
    return pl.DataFrame(data, schema=stored, orient="row").with_columns(
        pl.from_epoch("time", "ns").dt.replace_time_zone("UTC")
    )


def report_over(
    slices: int, *, trades: int = 0, symbols: tuple[str, ...] = ("BTC/USD",), name: str = "a run", **changes: Any
) -> Report:
    """Return a random but repeatable report of hourly slices."""
    rng = np.random.default_rng(7)
    times = stamps(START + HOUR * np.arange(1, slices + 1, dtype=np.int64))
    walk = 100_000 * np.exp(np.cumsum(0.002 * rng.standard_normal(slices)))
    equity = pl.DataFrame(
        {"time": times, "equity": walk, "cash": walk, "exposure": np.zeros(slices), "benchmark": walk[::-1].copy()}
    )
    prices = pl.concat(
        pl.DataFrame({"time": times, "symbol": [symbol] * slices, "close": walk / 1_000}) for symbol in symbols
    )
    hours = np.linspace(0, slices - 1, trades).astype(int).tolist()
    rows = [
        (hour, symbols[i // 2 % len(symbols)], 1.0 if i % 2 == 0 else -1.0, walk[hour] / 1_000)
        for i, hour in enumerate(hours)
    ]
    refused = pl.DataFrame(schema=REJECTIONS)
    built = build_report(name, equity, (fills_of(rows, 0.001), refused), 100_000.0, Costs.alpaca(), prices=prices)
    return replace(built, **changes) if changes else built


def folds_frame(count: int = 3) -> pl.DataFrame:
    ends = [START + 200 * HOUR * (number + 1) for number in range(count)]
    return pl.DataFrame(
        {
            "fold": list(range(count)),
            "test_start": stamps([end - 200 * HOUR for end in ends]),
            "test_end": stamps(ends),
            "train_rows": [1_000] * count,
            "test_rows": [200] * count,
            "hit_rate_train": [0.61] * count,
            "hit_rate_test": [0.5 + 0.01 * number for number in range(count)],
            "trials": [8] * count,
            "params": ['{"depth": 3, "rate": 0.0123456}'] * count,
            "seconds": [0.5] * count,
        }
    )
