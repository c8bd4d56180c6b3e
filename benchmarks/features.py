"""How fast features are: history against polars expressions and TA-Lib on the same bars, and one online update.

Run with ``python benchmarks/features.py [rows]``. Figures are medians of repeated runs in one process; compare the
ratios, the absolute figures depend on the machine and on what else it does.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import polars as pl
import talib

from cryptoquant import features as f
from cryptoquant.market.slice import FIELDS, Panel, Slice

HOUR = 3_600_000_000_000
RUNS = 5


def market(rows: int, symbols: int = 1, seed: int = 7) -> Panel:
    rng = np.random.default_rng(seed)
    close = 5e4 * np.exp(np.cumsum(1e-3 * rng.standard_t(4, (rows, symbols)), axis=0))
    before = np.vstack([close[:1], close[:-1]])
    high = np.maximum(before, close) * (1 + 1e-3 * rng.random(close.shape))
    low = np.minimum(before, close) * (1 - 1e-3 * rng.random(close.shape))
    volume = rng.lognormal(0, 1, close.shape)
    values = np.stack([before, high, low, close, volume, np.ones_like(close), close], axis=2)
    times = HOUR * np.arange(1, rows + 1, dtype=np.int64)
    return Panel.from_values(times, times, tuple(f"S{index}/USD" for index in range(symbols)), values, HOUR)


def frame(panel: Panel) -> pl.DataFrame:
    columns = {name: panel.field(name)[:, 0] for name in FIELDS}
    stamps = {"time": panel.times, "known": panel.times, "open_time": panel.times - HOUR}
    table = pl.DataFrame({"symbol": [panel.symbols[0]] * len(panel), **stamps, **columns})
    return table.with_columns(
        *(pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in stamps),
        pl.col("trade_count").cast(pl.Int64),
    )


def expressions(bars: pl.DataFrame) -> pl.DataFrame:
    close, volume, high, low = (pl.col(name) for name in ("close", "volume", "high", "low"))
    mean, deviation = close.rolling_mean(20), close.rolling_std(20, ddof=0)
    returns = (close / close.shift(1)).log()
    top, bottom = high.rolling_max(20), low.rolling_min(20)
    ranges = pl.max_horizontal(high - low, (high - close.shift(1)).abs(), (low - close.shift(1)).abs())
    gain, loss = (x.ewm_mean(alpha=1 / 14, adjust=False) for x in (close.diff().clip(0), -close.diff().clip(None, 0)))
    line = close.ewm_mean(span=12, adjust=False) - close.ewm_mean(span=26, adjust=False)
    signal = line.ewm_mean(span=9, adjust=False)
    return bars.select(
        log_return=returns,
        roc=close / close.shift(10) - 1,
        rsi=100 * gain / (gain + loss),
        sma=mean,
        ema=close.ewm_mean(span=20, adjust=False),
        macd=line,
        signal=signal,
        histogram=line - signal,
        donchian=(close - bottom) / (top - bottom),
        atr=ranges.ewm_mean(alpha=1 / 14, adjust=False),
        volatility=returns.rolling_std(48),
        position=(close - mean + 2 * deviation) / (4 * deviation),
        width=4 * deviation / mean,
        volume=volume / volume.rolling_mean(20),
        zscore=(volume - volume.rolling_mean(96)) / volume.rolling_std(96),
    )


def comparable() -> list[f.Feature]:
    """Return the features that ``expressions`` writes in polars (there without TA-Lib's seeds)."""
    return [
        *(f.log_return(1), f.roc(10), f.rsi(14), f.sma(20), f.ema(20), f.macd(), f.donchian_position(20)),
        *(f.atr(14), f.realized_volatility(48), f.bollinger(20, 2.0), f.volume_ratio(20), f.zscore("volume", 96)),
    ]


def in_talib() -> list[f.Feature]:
    return [f.roc(10), f.rsi(14), f.sma(20), f.ema(20), f.macd(), f.atr(14), f.bollinger(20, 2.0)]


def call_talib(panel: Panel) -> None:
    high, low, close = (np.ascontiguousarray(panel.field(name)[:, 0]) for name in ("high", "low", "close"))
    talib.ROCP(close, 10)
    talib.RSI(close, 14)
    talib.SMA(close, 20)
    talib.EMA(close, 20)
    talib.MACD(close, 12, 26, 9)
    talib.ATR(high, low, close, 14)
    talib.BBANDS(close, 20, 2.0, 2.0)


def cost(work: Callable[[], object]) -> tuple[float, float]:
    """Return median wall and CPU seconds of ``RUNS`` runs after one that is thrown away."""
    work()
    wall, cpu = [], []
    for _ in range(RUNS):
        start = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return float(np.median(wall)), float(np.median(cpu))


def show(name: str, columns: int, rows: int, work: Callable[[], object]) -> None:
    wall, cpu = cost(work)
    speed = columns * rows / wall / 1e6
    print(f"{name:42s} {columns:3d} columns {wall * 1e3:7.0f} ms wall {cpu * 1e3:7.0f} ms CPU {speed:6.1f} M values/s")


def batch(rows: int) -> None:
    panel = market(rows)
    bars = frame(panel)
    same, oracle = f.FeatureSet(comparable()), f.FeatureSet(in_talib())
    print(f"history, {rows:,} bars of one symbol")
    show("compute (with checks of the bars)", len(same.names), rows, lambda: same.compute(bars))
    show("compute_panel (steps alone)", len(same.names), rows, lambda: same.compute_panel(panel))
    show("polars expressions, same features", len(same.names), rows, lambda: expressions(bars))
    show("compute_panel, features that TA-Lib has", len(oracle.names), rows, lambda: oracle.compute_panel(panel))
    show("TA-Lib, one symbol", len(oracle.names), rows, lambda: call_talib(panel))


def online(symbols: int, slices: int = 3_000) -> None:
    features = f.FeatureSet([*comparable(), f.hour_of_day(), f.relative_return(5), f.cross_sectional_rank(5)])
    panel = market(slices, symbols)
    updater = features.online(panel.symbols)
    spent = np.empty(slices)
    live = [Slice(piece.time, piece.known, piece.symbols, piece.values) for piece in panel]
    for row, piece in enumerate(live):
        start = time.perf_counter_ns()
        updater.update(piece)
        spent[row] = time.perf_counter_ns() - start
    median, late = np.percentile(spent[200:], [50, 99]) / 1e3
    print(f"online, {symbols:3d} symbols x {len(features.names)} columns: median {median:6.1f} us, p99 {late:6.1f} us")


if __name__ == "__main__":
    batch(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
    for count in (1, 10, 100):
        online(count)
