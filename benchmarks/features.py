"""How fast features are: against TA-Lib and against polars on the same bars, and one update of the present.

Run with ``python benchmarks/features.py [--quick] [talib columns threads universe online]``. Ours and the peer take
turns in one process and their columns are compared before anything is timed; figures are medians of the turns (CPU
time, and wall time beside it). Compare the ratios: seconds depend on the machine and on what else it does. Alpha158
has a script of its own, ``alpha158.py``.
"""

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import talib

from cryptoquant import features as f
from cryptoquant.features.history import run_symbols
from cryptoquant.market.slice import FIELDS, Floats, Panel, Slice

HOUR = 3_600_000_000_000
RUNS = 7
SETTLED = 3_000
Works = dict[str, Callable[[], object]]


def market(rows: int, symbols: int = 1, seed: int = 7) -> Panel:
    rng = np.random.default_rng(seed)
    close = 5e4 * np.exp(np.cumsum(1e-3 * rng.standard_t(4, (rows, symbols)), axis=0))
    before = np.vstack([close[:1], close[:-1]])
    high = np.maximum(before, close) * (1 + 1e-3 * rng.random(close.shape))
    low = np.minimum(before, close) * (1 - 1e-3 * rng.random(close.shape))
    volume = rng.lognormal(0, 1, close.shape)
    values = np.stack([before, high, low, close, volume, np.ones_like(close), (high + low + close) / 3], axis=2)
    times = HOUR * np.arange(1, rows + 1, dtype=np.int64)
    return Panel.from_values(times, times, tuple(f"S{index}/USD" for index in range(symbols)), values, HOUR)


def frame(panel: Panel) -> pl.DataFrame:
    """Return the fields of a panel, symbol after symbol."""
    columns = {name: np.ascontiguousarray(panel.field(name).T).reshape(-1) for name in FIELDS}
    symbols = np.repeat(np.array(panel.symbols), len(panel))
    rows = np.tile(np.arange(len(panel), dtype=np.float64), len(panel.symbols))
    return pl.DataFrame({"symbol": symbols, "row": rows, **columns})


def steps(features: f.FeatureSet, panel: Panel, threads: int = 1) -> Callable[[], Floats]:
    """Return a run of a set over a panel: the steps alone, into memory of its own."""
    names = sorted(features._reads)
    columns = {name: np.ascontiguousarray(panel.field(name).T).reshape(-1) for name in names}
    offsets = [len(panel) * number for number in range(len(panel.symbols) + 1)]
    program = features._program

    def run() -> Floats:
        out = np.empty((len(features.names), offsets[-1]))
        run_symbols(program, columns, offsets, out, threads)
        return out

    return run


def cost(works: Works, runs: int = RUNS) -> dict[str, tuple[float, float]]:
    """Return median wall and CPU seconds of each work; all take turns, and a first turn is thrown away."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for turn in range(runs + 1):
        for name, work in works.items():
            start = time.perf_counter(), time.process_time()
            work()
            if turn:
                spent[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return {name: tuple(np.median(turns, axis=0)) for name, turns in spent.items()}  # type: ignore[misc]


def show(title: str, works: Works, peer: str, wanted: str) -> None:
    figures = cost(works)
    print(f"\n{title}; wanted: {wanted}")
    for name, (wall, cpu) in figures.items():
        ratio = f"{figures[peer][1] / cpu:6.2f} x less CPU, {figures[peer][0] / wall:6.2f} x less wall"
        print(f"  {name:34s} {cpu * 1e3:8.1f} ms CPU {wall * 1e3:8.1f} ms wall  {'' if name == peer else ratio}")


def compare(names: tuple[str, ...], ours: Floats, theirs: Floats, tolerance: float) -> None:
    """Raise when a column differs by more than a share of its spread, once the seeds are forgotten."""
    for name, one, two in zip(names, ours, theirs, strict=True):
        one, two = one[SETTLED:], two[SETTLED:]
        worst = np.nanmax(np.abs(one - two)) / max(np.nanstd(one), 1e-300)
        if not worst <= tolerance:
            raise SystemExit(f"{name}: ours and the peer's differ by {worst:.1e} of its deviation")


INDICATORS = [
    f.sma(20), f.ema(20), f.wma(20), f.rsi(14), f.macd(), f.bollinger_bands(20, 2.0), f.atr(14), f.adx(14),
    f.stochastic(14, 3, 3), f.cci(20), f.obv(), f.mfi(14), f.highest("high", 20), f.lowest("low", 20),
]  # fmt: skip


def talib_columns(panel: Panel) -> list[Floats]:
    high, low, close, volume = (
        np.ascontiguousarray(panel.field(name)[:, 0]) for name in ("high", "low", "close", "volume")
    )
    slow_k, slow_d = talib.STOCH(high, low, close, 14, 3, 0, 3, 0)
    return [
        *(talib.SMA(close, 20), talib.EMA(close, 20), talib.WMA(close, 20), talib.RSI(close, 14)),
        *talib.MACD(close, 12, 26, 9),
        *talib.BBANDS(close, 20, 2.0, 2.0),
        talib.ATR(high, low, close, 14),
        *(talib.ADX(high, low, close, 14), talib.PLUS_DI(high, low, close, 14), talib.MINUS_DI(high, low, close, 14)),
        *(slow_k, slow_d, talib.CCI(high, low, close, 20), talib.OBV(close, volume)),
        *(talib.MFI(high, low, close, volume, 14), talib.MAX(high, 20), talib.MIN(low, 20)),
    ]


def against_talib(rows: int) -> None:
    panel = market(rows)
    features = f.FeatureSet(INDICATORS)
    run = steps(features, panel)
    compare(features.names, run(), np.array(talib_columns(panel)), 1e-6)
    works: Works = {f"ours, {len(features.names)} columns": run, "TA-Lib": lambda: talib_columns(panel)}
    show(f"TA-Lib: 13 indicators, {rows:,} bars, one core", works, "TA-Lib", "TA-Lib's CPU time or better")


def pairs() -> list[tuple[f.Feature, list[pl.Expr]]]:
    """Return features and the polars expressions of the same columns (averages there begin with the first value)."""
    open_, high, low, close, volume, vwap = (
        pl.col(name) for name in ("open", "high", "low", "close", "volume", "vwap")
    )
    before, returns = close.shift(1), (close / close.shift(1)).log()
    true_range = pl.max_horizontal(high - low, (high - before).abs(), (low - before).abs())

    def ema(values: pl.Expr, window: int) -> pl.Expr:
        return values.ewm_mean(span=window, adjust=False)

    def wilder(values: pl.Expr, window: int) -> pl.Expr:
        return values.ewm_mean(alpha=1 / window, adjust=False)

    def share(one: pl.Expr, two: pl.Expr) -> pl.Expr:
        return 100 * one / (one + two)

    mean, deviation = close.rolling_mean(20), close.rolling_std(20, ddof=0)
    upper, lower = mean + 2 * deviation, mean - 2 * deviation
    top, bottom = high.rolling_max(20), low.rolling_min(20)
    gain, loss = close.diff().clip(0), -close.diff().clip(None, 0)
    line = ema(close, 12) - ema(close, 26)
    up, down = high.diff(), -low.diff()
    plus = wilder(pl.when((up > down) & (up > 0)).then(up).otherwise(0.0), 14)
    minus = wilder(pl.when((down > up) & (down > 0)).then(down).otherwise(0.0), 14)
    range_14 = wilder(true_range, 14)
    plus_di, minus_di = 100 * plus / range_14, 100 * minus / range_14
    strength = (100 * (plus_di - minus_di).abs() / (plus_di + minus_di)).fill_nan(0.0)
    fast_k = 100 * (close - low.rolling_min(14)) / (high.rolling_max(14) - low.rolling_min(14))
    typical = (high + low + close) / 3
    flow, change = typical * volume, typical.diff()
    bought = pl.when(change > 0).then(flow).otherwise(0.0).rolling_sum(14)
    sold = pl.when(change < 0).then(flow).otherwise(0.0).rolling_sum(14)
    place = ((close - low) - (high - close)) / (high - low)
    once, twice = ema(close, 20), ema(ema(close, 20), 20)
    slope = pl.rolling_cov("row", "close", window_size=20) / (20 * 21 / 12)
    spread = ((high / low).log() ** 2).rolling_mean(20)
    body = ((high / low).log() ** 2 / 2 - (2 * np.log(2) - 1) * (close / open_).log() ** 2).rolling_mean(20)
    drift = (high / close).log() * (high / open_).log() + (low / close).log() * (low / open_).log()
    return [
        (f.log_return(1), [returns]),
        (f.roc(10), [close / close.shift(10) - 1]),
        (f.momentum(10), [close - close.shift(10)]),
        (f.sma(20, relative=True), [close / mean - 1]),
        (f.sma(100), [close.rolling_mean(100)]),
        (f.ema(20), [once]),
        (f.dema(20), [2 * once - twice]),
        (f.tema(20), [3 * once - 3 * twice + ema(twice, 20)]),
        (f.macd(), [line, ema(line, 9), line - ema(line, 9)]),
        (f.rsi(14), [share(wilder(gain, 14), wilder(loss, 14))]),
        (f.atr(14), [range_14]),
        (f.natr(14), [range_14 / close]),
        (f.bollinger(20, 2.0), [(close - lower) / (upper - lower), (upper - lower) / mean]),
        (f.bollinger_bands(20, 2.0), [upper, mean, lower]),
        (f.donchian(20), [top, bottom]),
        (f.donchian_position(20), [(close - bottom) / (top - bottom)]),
        (f.adx(14), [wilder(strength, 14), plus_di, minus_di]),
        (f.stochastic(14, 3, 3), [fast_k.rolling_mean(3), fast_k.rolling_mean(3).rolling_mean(3)]),
        (f.williams_r(14), [fast_k - 100]),
        (f.mfi(14), [share(bought, sold)]),
        (f.force_index(13), [ema(close.diff() * volume, 13)]),
        (f.chaikin_money_flow(21), [(place * volume).rolling_sum(21) / volume.rolling_sum(21)]),
        (f.vwap(20), [(vwap * volume).rolling_sum(20) / volume.rolling_sum(20)]),
        (f.volume_ratio(20), [volume / volume.rolling_mean(20)]),
        (f.zscore("volume", 96), [(volume - volume.rolling_mean(96)) / volume.rolling_std(96)]),
        (f.realized_volatility(48), [returns.rolling_std(48)]),
        (f.parkinson(20), [(spread / (4 * np.log(2))).sqrt()]),
        (f.garman_klass(20), [body.clip(0).sqrt()]),
        (f.rogers_satchell(20), [drift.rolling_mean(20).sqrt()]),
        (f.skew("log_return", 60), [returns.rolling_skew(60, bias=False)]),
        (f.kurtosis("log_return", 60), [returns.rolling_kurtosis(60, bias=False)]),
        (f.quantile("close", 20, 0.9), [close.rolling_quantile(0.9, "linear", window_size=20)]),
        (f.autocorrelation(60), [pl.rolling_corr(returns, returns.shift(1), window_size=60)]),
        (f.linear_trend(20), [slope, (slope**2 * 33.25 * 20 / 19 / close.rolling_var(20, ddof=1))]),
    ]


def asked() -> tuple[f.FeatureSet, list[pl.Expr]]:
    """Return the set of all pairs, and its columns as expressions."""
    features = f.FeatureSet([feature for feature, _ in pairs()])
    expressions = [expression for _, columns in pairs() for expression in columns]
    return features, [expression.alias(name) for expression, name in zip(expressions, features.names, strict=True)]


def against_polars(rows: int) -> None:
    panel = market(rows)
    bars = frame(panel)
    features, expressions = asked()
    run = steps(features, panel)
    compare(features.names, run(), bars.select(expressions).to_numpy().T, 1e-4)
    works: Works = {
        "ours": run,
        "polars, eager": lambda: bars.select(expressions),
        "polars, lazy": lambda: bars.lazy().select(expressions).collect(),
    }
    title = f"polars: {len(features.features)} features in {len(features.names)} columns, {rows:,} bars, one core"
    show(title, works, "polars, eager", "2.5 x less CPU")


def in_threads(rows: int) -> None:
    panel = market(rows)
    features, _ = asked()
    alone, both = steps(features, panel), steps(features, panel, 2)

    def twice() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: alone(), range(2)))

    if not np.array_equal(alone(), both(), equal_nan=True):
        raise SystemExit("two threads gave other numbers than one")
    works: Works = {"one thread": alone, "two threads": both, "two whole runs at once": twice}
    figures = cost(works)
    print(f"\nthreads: {len(features.names)} columns, {rows:,} bars; wanted: 1.7 x on a free machine")
    for name, (wall, _) in figures.items():
        print(f"  {name:34s} {wall * 1e3:8.1f} ms wall  {figures['one thread'][0] / wall:6.2f} x")
    both_free = 2 * figures["one thread"][0] / figures["two whole runs at once"][0]
    print(f"  the machine gave two independent runs {both_free:.2f} x the throughput of one meanwhile")


def universe(rows: int, symbols: int = 100) -> None:
    panel = market(rows, symbols)
    bars = frame(panel)
    features, expressions = asked()
    over = [expression.over("symbol") for expression in expressions]
    run = steps(features, panel)
    compare(features.names, run()[:, :rows], bars.select(over).head(rows).to_numpy().T, 1e-4)
    works: Works = {"ours": run, "polars .over": lambda: bars.select(over)}
    title = f"a universe: {symbols} symbols x {rows:,} bars, {len(features.names)} columns, one core"
    show(title, works, "polars .over", "3 x less CPU")


def online(symbols: int, slices: int = 4_000) -> None:
    features, _ = asked()
    panel = market(slices, symbols)
    updater = features.online(panel.symbols)
    live = [Slice(piece.time, piece.known, updater.symbols, piece.values) for piece in panel]
    spent = np.empty(slices)
    for row, piece in enumerate(live):
        start = time.perf_counter_ns()
        updater.update(piece)
        spent[row] = time.perf_counter_ns() - start
    empty = np.empty(slices)
    for row in range(slices):
        start = time.perf_counter_ns()
        empty[row] = time.perf_counter_ns() - start
    timer = np.median(empty) / 1e3
    median, late = np.percentile(spent[400:], [50, 99]) / 1e3 - timer
    wanted = "1.5 us median, 5 us p99" if symbols == 1 else "150 us median" if symbols == 100 else "none"
    columns = len(features.names)
    print(f"  {symbols:3d} symbols x {columns} columns: median {median:6.2f} us, p99 {late:6.2f} us; wanted: {wanted}")


def main(chosen: set[str], rows: int) -> None:
    if "talib" in chosen:
        against_talib(rows)
    if "columns" in chosen:
        against_polars(rows)
    if "threads" in chosen:
        in_threads(rows)
    if "universe" in chosen:
        universe(max(rows // 100, 2 * SETTLED))
    if "online" in chosen:
        print(f"\nonline: one slice from Python, the timer taken off (load {os.getloadavg()[0]:.1f})")
        for symbols in (1, 10, 100):
            online(symbols)


if __name__ == "__main__":
    given = set(sys.argv[1:]) - {"--quick"}
    main(
        given or {"talib", "columns", "threads", "universe", "online"}, 100_000 if "--quick" in sys.argv else 1_000_000
    )
