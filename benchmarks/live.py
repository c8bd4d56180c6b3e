"""Live trading: from a market frame to its order at the HTTP client, many profiles over many symbols, the journal.

    python benchmarks/live.py [--minutes 120] [--symbols 100] [--profiles 20]

The sandbox runs in a process of its own, so that its work is not counted as the trader's; everything else is what a
user runs: the SDK's socket, the recorder with its log, features, model, engine, SQLite with fsync, the dispatcher.
The peer of the journal is the same SQLite file written by plain ``INSERT`` of JSON made with the standard library.
"""

import argparse
import json
import multiprocessing
import sqlite3
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from cryptoquant import features as f
from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.rate import TokenBucket
from cryptoquant.data.store import Store
from cryptoquant.features import FeatureSet
from cryptoquant.live.dispatcher import Task
from cryptoquant.live.journal import Journal, Row
from cryptoquant.live.profile import Profile
from cryptoquant.live.replay import replay_all
from cryptoquant.live.trader import Trader
from cryptoquant.models.boosting import XGBoost
from cryptoquant.models.bundle import Bundle
from cryptoquant.models.examples import Examples
from cryptoquant.performance.evidence import Evidence
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.order import Order
from cryptoquant.trading.strategy import LongFlat
from cryptoquant.trading.venue import Costs

SPEED = 30.0
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def symbols_of(count: int) -> tuple[str, ...]:
    """Return names of pairs."""
    return tuple(f"{LETTERS[n // 26]}{LETTERS[n % 26]}X/USD" for n in range(count))


def feature_set() -> FeatureSet:
    """Return forty features."""
    spans = (2, 3, 5, 8, 13, 21, 34, 55)
    return FeatureSet(
        [
            one
            for span in spans
            for one in (
                f.log_return(span),
                f.rsi(span + 2),
                f.realized_volatility(span + 2),
                f.zscore("volume", span + 2),
                f.zscore("close", span + 2),
            )
        ]
    )


def bundle_of(symbols: tuple[str, ...], band: float) -> Bundle:
    """Return a bundle with an XGBoost classifier that was fitted on noise: many turns, no skill."""
    features, rng = feature_set(), np.random.default_rng(7)
    rows = rng.standard_normal((4_000, len(features.names)))
    fitted = XGBoost(max_depth=4, n_estimators=100, seed=7).fit(Examples.of(rows, (rows[:, 0] > 0).astype(float)))
    evidence = Evidence(100, 1.0, 1.1, 0.9, 0.1, 2.0, 0.99, float("nan"), 50.0, -0.1, -0.2, 40, 1, 0)
    return Bundle(
        name="bench",
        symbols=symbols,
        timeframe="1m",
        predictor=fitted,
        features=features,
        strategy=LongFlat(threshold=0.5, max_weight=0.9 / len(symbols)),
        execution=Execution(band=band),
        costs=Costs.alpaca(tier=1),
        horizon=timedelta(minutes=5),
        evidence=evidence,
        fingerprints={},
    )


def serve(symbols: tuple[str, ...], speed: float, pipe: multiprocessing.connection.Connection) -> None:
    """Run a sandbox until told to stop."""
    with Sandbox(11, symbols, days=3, history=timedelta(days=1), speed=speed, cash=1e7) as venue:
        pipe.send(venue.url)
        pipe.recv()


class Venue:
    """A sandbox in a process of its own."""

    def __init__(self, symbols: tuple[str, ...], speed: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(symbols, speed, theirs), daemon=True)

    def __enter__(self) -> Alpaca:
        self._process.start()
        return Alpaca.sandbox(self._pipe.recv())

    def __exit__(self, *_: object) -> None:
        self._pipe.send("stop")
        self._process.join(10)


class Stopwatch:
    """Times each order from the arrival of the frame that completed its slice, and the writes of the journal."""

    def __init__(self, trader: Trader) -> None:
        self.handed: list[float] = []
        self.first: dict[int, float] = {}
        self.written: list[float] = []
        self._began: dict[str, float] = {}
        self._feed = trader.feed
        dispatcher, journal = trader.floor.dispatcher, trader.journal
        self._ask, self._write = dispatcher.ask, journal.write
        dispatcher.ask, dispatcher.on_handed, journal.write = self.ask, self.hand, self.write  # type: ignore[method-assign]

    def ask(self, task: Task, order: Order | None = None, *, reduces: bool = False) -> None:
        """Note when the frame came that an order follows from."""
        if task == "send" and order is not None:
            self._began[order.id] = self._feed.arrived
        self._ask(task, order, reduces=reduces)

    def hand(self, order: Order) -> None:
        """Note that the HTTP client has an order."""
        took = time.perf_counter() - self._began[order.id]
        self.handed.append(took)
        self.first.setdefault(order.time, took)

    def write(self, rows: list[Row], *, durable: bool) -> int:
        """Note how long a durable write takes."""
        began = time.perf_counter()
        found = self._write(rows, durable=durable)
        if durable:
            self.written.append(time.perf_counter() - began)
        return found


def latency(minutes: int) -> None:
    """Ten symbols, forty features, XGBoost, a decision each minute."""
    symbols = symbols_of(10)
    bundle = bundle_of(symbols, band=0.0)
    with Venue(symbols, SPEED) as connection, tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        trader = Trader(bundle, connection, Store(place / "store"), journal=place / "j.sqlite").open()
        watch = Stopwatch(trader)
        trader.run(until=timedelta(minutes=minutes))
    say("frame -> first order of a slice handed over", list(watch.first.values()))
    say("frame -> each order handed over, 4 at a time", watch.handed)
    say("  of that the journal's write with fsync", watch.written)


def say(name: str, seconds: list[float]) -> None:
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    print(f"{name:48s} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   ({len(seconds)})")


def load(minutes: int, count: int, profiles: int) -> None:
    """Many symbols and profiles: the trader's share of a core, and the queue to a venue of 200 requests a minute."""
    symbols = symbols_of(count)
    bundle = bundle_of(symbols, band=0.004)
    with Venue(symbols, SPEED) as connection, tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        several = [Profile(f"p{n}", replace(bundle, name=f"bench-{n}"), capital=4e5) for n in range(profiles)]
        trader = Trader(several, connection, Store(place / "store"), journal=place / "j.sqlite").open()
        trader.broker.bucket = TokenBucket(
            200, clock=lambda: trader.clock.now() / 1e9, sleep=lambda seconds: time.sleep(seconds / SPEED)
        )
        used, began = time.process_time(), time.perf_counter()
        done = trader.run(until=timedelta(minutes=minutes))
        used, took = time.process_time() - used, time.perf_counter() - began
        known = replay_all(place / "j.sqlite")
        signals = sum(len(one.signals) for one in known.values())
        orders = [order for one in known.values() for order in one.orders]
        lost = len({order.id for order in orders}) - len(orders)
    print(f"{count} symbols x {profiles} profiles, {minutes} minutes of market in {took:.0f} s")
    print(f"  {signals} signals, {done.slices} slices, {len(orders)} orders, {done.fills} fills, {lost} lost or double")
    print(f"  {used / minutes * 1e3:.0f} ms of CPU a market minute = {used / minutes / 60:.1%} of a core")


def journal(count: int) -> None:
    """Append and read back, beside plain SQLite."""
    orders = [Order(f"cq-main-BTCUSD-{n}-0", "main", "BTC/USD", "buy", 1e8 + n, n) for n in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        ours = Journal(Path(folder) / "ours.sqlite")
        ours_took = {
            "append, one transaction": timed(lambda: ours.append(orders)),
            "read back": timed(lambda: [entry.fact() for entry in ours.entries()]),
        }
        single = [timed(lambda n=n: ours.append([replace_id(n)], durable=True)) for n in range(500)]
        ours.close()
        plain = sqlite3.connect(Path(folder) / "plain.sqlite", isolation_level=None)
        plain.execute("PRAGMA journal_mode=WAL")
        plain.execute("PRAGMA synchronous=FULL")
        plain.execute("CREATE TABLE facts (seq INTEGER PRIMARY KEY, body TEXT)")
        fields = [{name: getattr(order, name) for name in order.__struct_fields__} for order in orders]
        theirs = {
            "append, one transaction": timed(lambda: written(plain, fields)),
            "read back": timed(
                lambda: [Order(**json.loads(body)) for (body,) in plain.execute("SELECT body FROM facts ORDER BY seq")]
            ),
        }
        alone = [timed(lambda n=n: written(plain, fields[n : n + 1])) for n in range(500)]
        plain.close()
    for name, took in ours_took.items():
        rates = f"{count / took:10,.0f} /s   plain SQLite {count / theirs[name]:10,.0f} /s"
        print(f"journal: {name:24s} {rates}   {theirs[name] / took:.2f} x")
    say("journal: one order with fsync", single)
    say("  plain SQLite with fsync", alone)


def replace_id(number: int) -> Order:
    return Order(f"cq-one-BTCUSD-{number}-0", "one", "BTC/USD", "buy", 1e8, number)


def written(connection: sqlite3.Connection, fields: list[dict[str, object]]) -> None:
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO facts (body) VALUES (?)", [(json.dumps(one, default=str),) for one in fields])
    connection.execute("COMMIT")


def timed(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=120)
    parser.add_argument("--symbols", type=int, default=100)
    parser.add_argument("--profiles", type=int, default=20)
    parser.add_argument("--events", type=int, default=100_000)
    chosen = parser.parse_args()
    journal(chosen.events)
    latency(chosen.minutes)
    load(chosen.minutes, chosen.symbols, chosen.profiles)
