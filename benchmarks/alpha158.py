"""How fast Qlib's Alpha158 is: the same 158 columns from this library and from native polars expressions, side by side.

Run with ``python benchmarks/alpha158.py [rows]``; with ``POLARS_MAX_THREADS=1`` in the environment polars has one core,
as we do. Both tables are compared first. Times are medians of repeated runs in one process; compare the ratios.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from cryptoquant import features as f
from cryptoquant.market.slice import FIELDS, Panel

HOUR = 3_600_000_000_000
WINDOWS = (5, 10, 20, 30, 60)
POINT = 1e-12
RUNS = 5


def market(rows: int, seed: int = 7) -> Panel:
    rng = np.random.default_rng(seed)
    close = 5e4 * np.exp(np.cumsum(1e-3 * rng.standard_t(4, (rows, 1)), axis=0))
    before = np.vstack([close[:1], close[:-1]])
    high = np.maximum(before, close) * (1 + 1e-3 * rng.random(close.shape))
    low = np.minimum(before, close) * (1 - 1e-3 * rng.random(close.shape))
    volume = rng.lognormal(0, 1, close.shape)
    values = np.stack([before, high, low, close, volume, np.ones_like(close), (high + low) / 2], axis=2)
    times = HOUR * np.arange(1, rows + 1, dtype=np.int64)
    return Panel.from_values(times, times, ("BTC/USD",), values, HOUR)


def frame(panel: Panel) -> pl.DataFrame:
    table = pl.DataFrame({name: np.ascontiguousarray(panel.field(name)[:, 0]) for name in FIELDS})
    return table.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64), x=pl.col("row").cast(pl.Float64))


OPEN, HIGH, LOW, CLOSE, VOLUME = (pl.col(name) for name in ("open", "high", "low", "close", "volume"))
TOP, BOTTOM, WIDTH = pl.max_horizontal(OPEN, CLOSE), pl.min_horizontal(OPEN, CLOSE), HIGH - LOW + POINT


def of_bar() -> dict[str, pl.Expr]:
    shapes = {"MID": CLOSE - OPEN, "LEN": HIGH - LOW, "UP": HIGH - TOP, "LOW": BOTTOM - LOW}
    shapes["SFT"] = 2 * CLOSE - HIGH - LOW
    prices = {"OPEN0": OPEN, "HIGH0": HIGH, "LOW0": LOW, "VWAP0": pl.col("vwap")}
    return {
        **{f"K{name}": shape / OPEN for name, shape in shapes.items()},
        **{f"K{name}2": shape / WIDTH for name, shape in shapes.items() if name != "LEN"},
        **{name: price / CLOSE for name, price in prices.items()},
    }


def of_prices(window: int) -> dict[str, pl.Expr]:
    mean, deviation = CLOSE.rolling_mean(window), CLOSE.rolling_std(window)
    slope = pl.rolling_cov("x", CLOSE, window_size=window) / (window * (window + 1) / 12)
    top, bottom = HIGH.rolling_max(window), LOW.rolling_min(window)
    full = pl.when(pl.col("row") >= window - 1)
    up = full.then(HIGH.arg_max().rolling("row", period=f"{window}i") + 1)
    down = full.then(LOW.arg_min().rolling("row", period=f"{window}i") + 1)
    return {
        "ROC": CLOSE.shift(window) / CLOSE,
        "MA": mean / CLOSE,
        "STD": deviation / CLOSE,
        "BETA": slope / CLOSE,
        "RSQR": pl.rolling_corr("x", CLOSE, window_size=window) ** 2,
        "RESI": (CLOSE - mean - slope * ((window - 1) / 2)) / CLOSE,
        "MAX": top / CLOSE,
        "MIN": bottom / CLOSE,
        "QTLU": CLOSE.rolling_quantile(0.8, interpolation="linear", window_size=window) / CLOSE,
        "QTLD": CLOSE.rolling_quantile(0.2, interpolation="linear", window_size=window) / CLOSE,
        "RANK": CLOSE.rolling_rank(window, method="average") / window,
        "RSV": (CLOSE - bottom) / (top - bottom + POINT),
        "IMAX": up / window,
        "IMIN": down / window,
        "IMXD": (up.cast(pl.Float64) - down) / window,
    }


def of_changes(window: int) -> dict[str, pl.Expr]:
    change, flow, ratio = CLOSE.diff(), VOLUME.diff(), CLOSE / CLOSE.shift(1)
    rising, falling = ((x > 0).cast(pl.Float64).rolling_mean(window) for x in (change, -change))
    swing = (ratio - 1).abs() * VOLUME
    found = {
        "CORR": pl.rolling_corr(CLOSE, (VOLUME + 1).log(), window_size=window),
        "CORD": pl.rolling_corr(ratio, (VOLUME / VOLUME.shift(1) + 1).log(), window_size=window),
        "CNTP": rising,
        "CNTN": falling,
        "CNTD": rising - falling,
        "VMA": VOLUME.rolling_mean(window) / (VOLUME + POINT),
        "VSTD": VOLUME.rolling_std(window) / (VOLUME + POINT),
        "WVMA": swing.rolling_std(window) / (swing.rolling_mean(window) + POINT),
    }
    for name, moves in (("SUM", change), ("VSUM", flow)):
        rise, fall = moves.clip(0).rolling_sum(window), (-moves).clip(0).rolling_sum(window)
        total = moves.abs().rolling_sum(window) + POINT
        found |= {f"{name}P": rise / total, f"{name}N": fall / total, f"{name}D": (rise - fall) / total}
    return found


def expressions() -> dict[str, pl.Expr]:
    """Return the columns in polars, without Qlib's masks for what stands still."""
    found = of_bar()
    for window in WINDOWS:
        found |= {f"{name}{window}": made for part in (of_prices, of_changes) for name, made in part(window).items()}
    return {name: found[name] for name in f.ALPHA158}


def in_polars(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.select(**expressions())


def compare(panel: Panel, bars: pl.DataFrame) -> None:
    """Print how far the two tables lie apart where both have numbers, in shares of a column's deviation."""
    features = f.FeatureSet(f.alpha158())
    ours, theirs = features.compute_panel(panel)[:, 0, :], in_polars(bars)
    apart = {}
    for index, name in enumerate(features.names):
        mine, other = ours[60:, index], theirs[name].cast(pl.Float64).to_numpy()[60:]
        apart[name] = float(np.nanmax(np.abs(mine - other)) / np.nanstd(mine))
    worst = sorted(apart, key=lambda name: apart[name])[-6:]
    print("furthest apart:", ", ".join(f"{name} {apart[name]:.1e}" for name in reversed(worst)))


def cost(work: Callable[[], object], runs: int = RUNS) -> tuple[float, float]:
    """Return median wall and CPU seconds of some runs after one that is thrown away."""
    work()
    wall, cpu = [], []
    for _ in range(runs):
        start = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return float(np.median(wall)), float(np.median(cpu))


def by_operator(bars: pl.DataFrame) -> None:
    """Print what each operator costs at a window of 60, in polars and here."""
    rows = bars.height
    for name, expression in (of_prices(60) | of_changes(60)).items():
        wall, cpu = cost(lambda made=expression: bars.select(made), 1)  # type: ignore[misc]
        print(f"polars {name:6s} {wall / rows * 1e9:7.1f} ns wall {cpu / rows * 1e9:7.1f} ns CPU per bar")


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    market_panel = market(count)
    market_frame = frame(market_panel)
    compare(market_panel, market_frame)
    alpha = f.FeatureSet(f.alpha158())
    print(f"{count:,} bars, {len(alpha.names)} columns, polars on {pl.thread_pool_size()} threads")
    for who, work in (
        ("compute_panel", lambda: alpha.compute_panel(market_panel)),
        ("polars expressions", lambda: in_polars(market_frame)),
    ):
        seconds, spent = cost(work)
        print(f"{who:20s} {seconds * 1e3:8.0f} ms wall {spent * 1e3:8.0f} ms CPU")
    if "--operators" in sys.argv:
        by_operator(market_frame)
