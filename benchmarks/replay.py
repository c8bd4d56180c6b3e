"""How fast the past comes back as events: ours against a pandas merge and its rows, on the same stored ticks.

Run with ``python benchmarks/replay.py [--quick]``. Ours gives typed events in a fixed order, window by window; the peer
reads everything, concatenates, sorts by the time known and yields named tuples, without the books (whose updates it
would have to assemble). Both take turns; figures are medians of wall time with the events counted. Compare the ratios.
"""

import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import polars as pl

from cryptoquant.data.replay import replay_of
from cryptoquant.data.store import Store

BEGIN = 1_704_067_200_000_000_000
DAY = 86_400_000_000_000
SYMBOLS = ["BTC/USD", "ETH/USD", "LTC/USD", "SOL/USD"]
RUNS = 5


def stamped(rng: np.random.Generator, rows: int) -> dict[str, pl.Series]:
    times = np.sort(BEGIN + rng.integers(0, 2 * DAY, rows))
    known = times + rng.integers(1_000_000, 80_000_000, rows)
    names = rng.choice(SYMBOLS, rows)
    instants = {name: pl.from_epoch(pl.Series(ns), "ns") for name, ns in (("time", times), ("known", known))}
    zoned = {name: instant.dt.replace_time_zone("UTC") for name, instant in instants.items()}
    return {"symbol": pl.Series(names), **zoned}


def filled(store: Store, rows: int) -> None:
    rng = np.random.default_rng(7)
    price = np.round(100 + np.cumsum(rng.normal(0, 0.01, rows)), 2)
    size = np.round(rng.lognormal(-2, 1, rows), 4)
    sides = rng.choice(["B", "S"], rows)
    trades = pl.DataFrame({**stamped(rng, rows), "id": np.arange(rows), "price": price, "size": size})
    store.write("trades", trades.with_columns(taker_side=pl.Series(sides)))
    best = {"bid_price": price - 0.01, "bid_size": size, "ask_price": price + 0.01, "ask_size": size[::-1]}
    store.write("quotes", pl.DataFrame({**stamped(rng, rows), **best}))
    levels = {"side": rng.choice(["bid", "ask"], rows // 4), "price": price[: rows // 4], "size": size[: rows // 4]}
    store.write("books", pl.DataFrame({**stamped(rng, rows // 4), **levels, "reset": np.arange(rows // 4) == 0}))


def pandas_rows(store: Store) -> Iterator[object]:
    frames = [store.trades().to_pandas(), store.quotes().to_pandas()]
    merged = pd.concat([frame.assign(kind=kind) for kind, frame in enumerate(frames)], ignore_index=True)
    yield from merged.sort_values(["known", "kind", "symbol"], kind="stable").itertuples(index=False)


def count(events: Iterator[object]) -> int:
    return sum(1 for _ in events)


def batched(store: Store, kinds: tuple[str, ...]) -> int:
    return sum(len(batch) for batch in replay_of(store, kinds).batches())


def main() -> None:
    rows = 100_000 if "--quick" in sys.argv else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"{folder}/store")
        filled(store, rows)
        works: dict[str, Callable[[], int]] = {
            "pandas merge, itertuples": lambda: count(pandas_rows(store)),
            "replay, one by one": lambda: count(iter(replay_of(store, ("trades", "quotes")))),
            "replay, batches": lambda: batched(store, ("trades", "quotes")),
            "replay with books": lambda: count(iter(replay_of(store))),
        }
        spent: dict[str, list[float]] = {name: [] for name in works}
        events: dict[str, int] = {}
        for _ in range(RUNS):
            for name, work in works.items():
                start = time.perf_counter()
                events[name] = work()
                spent[name].append(time.perf_counter() - start)
        rates = {name: events[name] / float(np.median(times)) for name, times in spent.items()}
    print(f"{platform.processor()}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}")
    for name, rate in rates.items():
        ratio = rate / rates["pandas merge, itertuples"]
        print(f"{name:26} {events[name]:>10,} events  {rate:>12,.0f} events/s  {ratio:5.2f} x the peer")
    print(f"most memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:,} MB")


if __name__ == "__main__":
    main()
