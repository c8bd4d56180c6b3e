"""How fast and how small the store is, beside polars, pyarrow, DuckDB and Delta on the same rows in the same run.

Run with ``python benchmarks/store.py [--quick] [--rows N] [--real FOLDER] [bytes ticks bars writing]``. Everything is
built in a temporary folder and removed. Reads are warm (the files lie in the page cache); works take turns and figures
are medians of the turns. Compare the ratios: seconds depend on the machine and on what else it does.
"""

import argparse
import os
import platform
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from cryptoquant.data.entry import Write
from cryptoquant.data.keys import arrange
from cryptoquant.data.layout import STORED, encode, files, packed, stored
from cryptoquant.data.store import Store
from cryptoquant.market.time import iso, to_ns

DAYS = 10
SYMBOLS = [f"S{number:02d}/USD" for number in range(100)]
DAY, HOUR, MINUTE, SECOND = (unit * 10**9 for unit in (86_400, 3_600, 60, 1))
START = to_ns("2024-01-01")
INSTANT = pl.Datetime("ns", "UTC")
RUNS = 15
Works = dict[str, Callable[[], object]]


def instants(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame whose columns of times are instants."""
    return frame.with_columns(
        pl.col(name).cast(INSTANT) for name in ("time", "known", "open_time", "end") if name in frame
    )


def resident() -> int:
    """Return the memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def cost(works: Works, runs: int = RUNS) -> dict[str, float]:
    """Return median wall seconds of each work; all take turns, and a first turn is thrown away."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(runs + 1):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            if turn:
                spent[name].append(time.perf_counter() - begin)
    return {name: float(np.median(turns)) for name, turns in spent.items()}


def show(title: str, works: Works, runs: int = RUNS, wanted: str = "") -> dict[str, float]:
    """Print the medians, and how many times the first (ours) each other takes."""
    figures = cost(works, runs)
    ours = next(iter(figures.values()))
    print(f"\n{title}" + (f"; wanted: {wanted}" if wanted else ""), flush=True)
    for name, seconds in figures.items():
        print(f"  {name:40s} {seconds * 1e3:10.2f} ms  {seconds / ours:7.2f} x ours", flush=True)
    return figures


def adopt(store: Store, kind: str, table: pl.DataFrame, timeframe: str = "") -> None:
    """Put rows into a store without the checks and syncs that make building 50 million of them slow."""
    vault = store._vault
    store.create()
    made = []
    for entry, content in files(kind, table, timeframe, "benchmark"):
        target = store.root / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        made.append(entry)
    vault.commit(lambda _: Write(tuple(made)))


def trades(symbol: str, day: int, rows: int) -> pl.DataFrame:
    """Return one day of trades on a random walk."""
    rng = np.random.default_rng([SYMBOLS.index(symbol), day])
    times = START + day * DAY + np.sort(rng.integers(0, DAY, rows))
    frame = pl.DataFrame({
        "symbol": np.full(rows, symbol), "time": times, "known": times + rng.integers(10**6, 10**8, rows),
        "id": day * rows + np.arange(rows) + 3 * 10**18,
        "price": np.round(6e4 + np.cumsum(rng.standard_normal(rows)), 1),
        "size": np.round(rng.exponential(1, rows), 4), "taker_side": rng.choice(["B", "S"], rows),
        "position": (np.arange(rows) + 1) << 20, "rank": np.zeros(rows, dtype=np.int8),
    })  # fmt: skip
    return instants(frame).select(*STORED["trades"])


def ticks(folder: Path, rows: int) -> None:
    """Ask 100 symbols over 10 days of trades for little and for much."""
    import duckdb
    import pyarrow.dataset as ds

    each = rows // (DAYS * len(SYMBOLS))
    store = Store(folder / "ticks")
    for symbol in SYMBOLS:
        adopt(store, "trades", pl.concat([trades(symbol, day, each) for day in range(DAYS)]))
    entries = list(store._vault.snapshot().entries())
    size = sum(entry.bytes for entry in entries)
    print(f"\n{rows:,} trades in {len(entries):,} files, {size / rows:.1f} bytes a row", flush=True)
    root, glob = str(store.root), f"{store.root}/kind=trades/**/*.parquet"
    listed = [f"{root}/{entry.path}" for entry in entries]
    symbol, first = SYMBOLS[42], START + 3 * DAY + 11 * HOUR
    columns = ["symbol", "time", "known", "id", "price", "size", "taker_side"]
    keeping = Store(folder / "ticks", cache_bytes=256 << 20)
    link = duckdb.connect()

    def between(low: int, high: int) -> pl.Expr:
        return (pl.col("time") >= pl.lit(low).cast(INSTANT)) & (pl.col("time") <= pl.lit(high).cast(INSTANT))

    def naive(low: int, high: int, name: str | None) -> pl.DataFrame:
        lazy = pl.scan_parquet(f"{root}/kind=trades", hive_partitioning=True).filter(between(low, high))
        return (lazy if name is None else lazy.filter(pl.col("symbol") == name)).select(columns).collect()

    def arrow(low: int, high: int, name: str | None) -> object:
        wanted = (ds.field("time") >= pl.Series([low]).cast(INSTANT).to_arrow()[0]) & (
            ds.field("time") <= pl.Series([high]).cast(INSTANT).to_arrow()[0]
        )
        data = ds.dataset(listed, format="parquet")
        return data.to_table(columns=columns, filter=wanted if name is None else wanted & (ds.field("symbol") == name))

    def duck(source: object, low: int, high: int, name: str | None) -> object:
        between = "time between ?::timestamptz_ns and ?::timestamptz_ns"
        text = f"select {', '.join(columns)} from read_parquet(?, hive_partitioning=false) where {between}"
        said = [source, iso(low)[:-1], iso(high)[:-1]] + ([] if name is None else [name])
        return link.execute(text + ("" if name is None else " and symbol = ?"), said).to_arrow_table()

    def peers(low: int, high: int, name: str | None) -> Works:
        works: Works = {"polars, glob and hive": lambda: naive(low, high, name)}
        works["pyarrow dataset, our list"] = lambda: arrow(low, high, name)
        works["DuckDB, our list"] = lambda: duck(listed, low, high, name)
        works["DuckDB, glob"] = lambda: duck(glob, low, high, name)
        return works

    show(
        "the manifest alone: symbol and hour",
        {"ours": lambda: store._vault.snapshot().series("trades", "", symbol).within(first, first + HOUR)},
        200,
        "< 0.3 ms",
    )
    for title, length in (("symbol and hour", HOUR), ("one second of one symbol", SECOND)):
        low, high = first, first + length
        works: Works = {
            "ours": lambda low=low, high=high: (
                store.scan("trades", symbol, low, high + HOUR) if low == high else ask(store, symbol, low, high)
            )
        }
        works["ours, with a cache"] = lambda low=low, high=high: ask(keeping, symbol, low, high)
        show(title, {**works, **peers(low, high, symbol)}, 7, "< 3 ms")
    raw = folder / "raw.bin"
    whole = store.trades(symbol)
    numbers = np.stack(
        [whole[n].to_physical().cast(pl.Float64).to_numpy() for n in ("time", "known", "id", "price", "size")]
    )
    numbers.tofile(raw)
    mapped = np.memmap(raw, dtype=np.float64, mode="r", shape=numbers.shape)
    low, high = START, START + DAYS * DAY
    works = {
        "ours": lambda: store.trades(symbol),
        "ours, with a cache": lambda: keeping.trades(symbol),
        "raw memory map, copied": lambda: np.array(mapped),
    }
    figures = show("one symbol, 10 days", {**works, **peers(low, high, symbol)}, 5, "within 30 x of a raw memory map")
    print(f"  within {figures['ours'] / figures['raw memory map, copied']:.1f} x of the memory map")
    low, high = first, first + HOUR
    show("100 symbols, one hour", {"ours": lambda: store.trades(None, low, high), **peers(low, high, None)}, 3)
    low, high = START, START + DAYS * DAY

    def summed(source: object) -> object:
        return link.execute(
            "select sum(size), max(price) from read_parquet(?, hive_partitioning=false)", [source]
        ).fetchall()

    everything = pl.scan_parquet(listed, glob=False, hive_partitioning=False)
    lazy = {"polars, glob and hive": pl.scan_parquet(f"{root}/kind=trades", hive_partitioning=True)}
    totals = [pl.col("size").sum(), pl.col("price").max()]
    show("full scan: sum of sizes, highest price", {
        "polars, our list": lambda: everything.select(totals).collect(),
        "polars, glob and hive": lambda: lazy["polars, glob and hive"].select(totals).collect(),
        "DuckDB, our list": lambda: summed(listed), "DuckDB, glob": lambda: summed(glob),
    }, 3)  # fmt: skip
    if rows <= 20_000_000:
        show(
            "full read into memory",
            {"ours": lambda: store.trades(None), "polars, glob and hive": lambda: naive(low, high, None)},
            2,
        )
    shutil.rmtree(store.root)


def ask(store: Store, symbol: str, low: int, high: int) -> object:
    """Return the trades of a range, also when there are none."""
    return store.trades(symbol, low, high)


def bars(folder: Path, quick: bool) -> None:
    """Fold 2 years of 100 symbols of minutes into hours."""
    months = 2 if quick else 24
    store = Store(folder / "bars")
    rows = 0
    for number, symbol in enumerate(SYMBOLS):
        table = minutes(symbol, number, months * 43_800)
        adopt(store, "bars", table, "1m")
        rows += table.height
    size = sum(entry.bytes for entry in store._vault.snapshot().entries())
    print(f"\n{rows:,} bars of a minute, {size / rows:.1f} bytes a row", flush=True)
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    spent, worked = [], []
    for _ in range(3):
        begin, busy = time.perf_counter(), time.process_time()
        made = store.bars(None, "1h")
        spent.append(time.perf_counter() - begin)
        worked.append(time.process_time() - busy)
    ended.set()
    watcher.join()
    print(f"  hours: {made.height:,} bars in {np.median(spent):.2f} s (each {', '.join(f'{s:.2f}' for s in spent)}; "
          f"{np.median(worked):.2f} s of CPU, load of the machine {os.getloadavg()[0]:.1f}), "
          f"peak {peak[0] / 1e9:.2f} GB; wanted for 105 million: < 6 s, < 4 GB", flush=True)  # fmt: skip
    listed = [f"{store.root}/{entry.path}" for entry in store._vault.snapshot().entries()]
    import duckdb

    link = duckdb.connect()
    text = (
        "select symbol, epoch_ns(open_time) // 3600000000000 h, arg_min(open, open_time), max(high), min(low), "
        "arg_max(close, open_time), sum(volume) from read_parquet(?, hive_partitioning=false) group by 1, 2"
    )
    begin = time.perf_counter()
    link.execute(text, [listed]).to_arrow_table()
    print(f"  DuckDB, our list, order of the fold not kept: {time.perf_counter() - begin:.2f} s", flush=True)
    shutil.rmtree(store.root)


def minutes(symbol: str, seed: int, rows: int) -> pl.DataFrame:
    """Return minute bars on a random walk."""
    rng = np.random.default_rng(seed)
    opened = START + np.arange(rows) * MINUTE
    close = np.round(6e4 + np.cumsum(rng.normal(0, 10, rows)), 2)
    before = np.r_[close[:1], close[:-1]]
    frame = pl.DataFrame({
        "symbol": np.full(rows, symbol), "time": opened + MINUTE, "known": opened + MINUTE + SECOND,
        "open_time": opened,
        "open": before, "high": np.maximum(before, close) + np.round(rng.exponential(3, rows), 2),
        "low": np.minimum(before, close) - np.round(rng.exponential(3, rows), 2), "close": close,
        "volume": np.round(rng.lognormal(0, 1, rows), 6), "trade_count": rng.poisson(30, rows),
        "vwap": (before + close) / 2,
    })  # fmt: skip
    return stored("bars", instants(frame)).select(*STORED["bars"])


def sizes(real: Path) -> None:
    """Print bytes a row of the real market data, by column and whole, in our encodings and in the defaults."""
    if not real.is_dir():
        print(f"\nbytes a row: no real data in {real}")
        return
    print("\nbytes a row on real data, position and rank included; wanted: trades 17 or fewer")
    for path in sorted([*real.glob("trades/*.parquet"), *real.glob("quotes/*.parquet"), *real.glob("book/*.parquet")]):
        kind = {"book": "books"}.get(path.parent.name, path.parent.name)
        table = arrange(kind, recorded(kind, pl.read_parquet(path)))
        plain = folder_size(table)
        ours = {level: packed(kind, table, "", ("", ""), level=level)[0].bytes / table.height for level in (1, 3)}
        print(f"  {path.name:42s} {kind:7s} {table.height:8,d} rows: zstd 1 {ours[1]:5.2f}, zstd 3 {ours[3]:5.2f}, "
              f"polars' default {plain / table.height:5.2f}")  # fmt: skip
        by_column = {name: len(encode(table.select(name), kind)) / table.height for name in table.columns}
        print("    " + ", ".join(f"{name} {size:.2f}" for name, size in by_column.items()), flush=True)


def folder_size(table: pl.DataFrame) -> int:
    """Return the bytes of a frame as polars writes it by default."""
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        table.write_parquet(file.name)
        return os.path.getsize(file.name)


def recorded(kind: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows of the shared sample as a recorder would have stored them, one frame for each receive time."""
    sequence = pl.col("recv_ns").rank("dense").cast(pl.Int64) * 3
    item = pl.int_range(pl.len()).over("recv_ns") if kind != "books" else pl.lit(0)
    table = rows.with_columns(
        pl.col("timestamp").dt.cast_time_unit("ns").alias("time"),
        pl.col("recv_ns").cast(INSTANT).alias("known"),
        position=sequence * (1 << 20) + item,
        rank=pl.lit(0, dtype=pl.Int8),
    )
    if kind == "trades":
        table = table.with_columns(id="trade_id", taker_side=pl.col("side").replace({"buy": "B", "sell": "S"}))
    if kind == "books":
        table = table.with_columns(reset="snapshot", connection=pl.lit(1, dtype=pl.Int32))
    return table.select(pl.col(name).cast(dtype) for name, dtype in STORED[kind].items())


def writing(folder: Path, quick: bool) -> None:
    """Append 1,000 rows at a time: ours durably, the peers as they do by default."""
    import pyarrow.dataset as ds
    from deltalake import write_deltalake

    times = 40 if quick else 200
    parts = [trades(SYMBOLS[0], day % DAYS, 1_000).with_columns(pl.col("id") + day * 10**6) for day in range(times)]
    store = Store(folder / "ours")
    counters = {"ours": 0, "pyarrow": 0, "delta": 0}

    def ours() -> None:
        counters["ours"] += 1
        store.publish_recent({"trades": parts[counters["ours"] % times]}, counters["ours"], 1)

    def pyarrow() -> None:
        counters["pyarrow"] += 1
        table = parts[counters["pyarrow"] % times].to_arrow(compat_level=pl.CompatLevel.oldest())
        ds.write_dataset(
            table,
            folder / "pyarrow",
            format="parquet",
            basename_template=f"{counters['pyarrow']}-{{i}}.parquet",
            existing_data_behavior="overwrite_or_ignore",
        )

    def delta() -> None:
        counters["delta"] += 1
        write_deltalake(
            str(folder / "delta"),
            parts[counters["delta"] % times].with_columns(pl.col("time", "known").dt.cast_time_unit("us")),
            mode="append",
        )

    works: Works = {
        "ours, fsynced": ours,
        "pyarrow write_dataset, not synced": pyarrow,
        "deltalake append, not synced": delta,
    }
    show(f"{times} appends of 1,000 rows", works, times)
    begin = time.perf_counter()
    replaced = store.compact()
    print(f"  our compaction of {replaced} files, proven: {time.perf_counter() - begin:.2f} s", flush=True)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["bytes", "ticks", "bars", "writing"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--real", type=Path, default=Path(__file__).resolve().parents[1].parent / "shared/data/market")
    asked = parser.parse_args()
    rows = asked.rows or (2_000_000 if asked.quick else 50_000_000)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, polars {pl.__version__}")
    folder = Path(tempfile.mkdtemp(prefix="cryptoquant-store-"))
    try:
        works: Works = {
            "bytes": lambda: sizes(asked.real),
            "ticks": lambda: ticks(folder, rows),
            "bars": lambda: bars(folder, asked.quick),
            "writing": lambda: writing(folder, asked.quick),
        }
        for part in asked.parts:
            works[part]()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
