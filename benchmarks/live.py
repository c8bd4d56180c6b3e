"""Live trading: from a market frame to its order at the HTTP client, many profiles over many symbols, the journal.

    python benchmarks/live.py [--minutes 120] [--symbols 100] [--profiles 20]

The sandbox runs in a process of its own, so that its work is not counted as the trader's; everything else is what a
user runs: the SDK's socket, the recorder with its log, features, model, engine, SQLite with fsync, the dispatcher.
At ``SPEED`` a minute lasts two seconds: what the venue does for it (a tenth of a core, all in all) and what the trader
does behind its orders is long over when the next one comes, while the deadline of a slice is still 0.7 s away. Each
part of the way is said beside what it costs bare: the model by xgboost's own calls, the disk without a database. Work
of others on the same disk or cores shows in the p99: compare runs of the same minutes only.
The peer of the journal is the same SQLite file written by plain ``INSERT`` of JSON made with the standard library.
"""

import argparse
import json
import math
import multiprocessing
import os
import resource
import sqlite3
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xgboost

from cryptoquant import features as f
from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.data import clock as data_clock
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
from cryptoquant.models.trees import Trees
from cryptoquant.performance.evidence import Evidence
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.order import Order
from cryptoquant.trading.strategy import LongFlat
from cryptoquant.trading.venue import Costs

SPEED = 30.0
REFRESH = data_clock.REFRESH_SECONDS
CAUSES = ("frame", "deadline", "history")
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


class Asked(NamedTuple):
    """An order that the floor has given to the dispatcher: why, and when each step towards it was reached (seconds)."""

    cause: str
    slice: int
    began: float
    decided: float
    wrote: float
    asked: float


class Stopwatch:
    """Times each order from what completed its slice, and the parts of the way.

    A frame counts from the moment at which the recorder hands it on, so that its wait behind other frames and answers
    is part of it, and no slow one is left out. A slice that its deadline completed, or a minute of the history, follows
    from no frame: it is timed from the trader's look and told apart; an order that is sent again counts once.
    """

    def __init__(self, trader: Trader) -> None:
        self.slices = dict.fromkeys(CAUSES, 0)
        self.asked: dict[str, Asked] = {}
        self.handed: dict[str, float] = {}
        self.again = 0
        self._cause, self._began, self._decided, self._wrote = CAUSES[0], 0.0, 0.0, 0.0
        self._feed, floor, dispatcher, journal = trader.feed, trader.floor, trader.floor.dispatcher, trader.journal
        self._decide, self._ask, self._write, self._fetch = floor.decide, dispatcher.ask, journal.write, floor._fetch
        for name in ("on_bar", "on_timer", "on_answer", "on_update"):
            setattr(floor, name, self.causing("frame" if name == "on_bar" else "deadline", getattr(floor, name)))
        floor.decide, floor._fetch, journal.write = self.decide, self.fetch, self.write  # type: ignore[method-assign]
        dispatcher.ask = self.ask  # type: ignore[method-assign]
        dispatcher.on_handed = lambda order: self.handed.setdefault(order.id, time.perf_counter())

    def causing(self, cause, work):
        """Return a method of the floor that notes what it follows from, and since when."""

        def noted(what):
            self._cause = cause
            self._began = self._feed.arrived if cause == "frame" else time.perf_counter()
            work(what)

        return noted

    def fetch(self, *span):
        """Note that minutes come from the history."""
        self._cause = "history"
        return self._fetch(*span)

    def decide(self, universe, market) -> None:
        """Note that a slice is decided on."""
        self.slices[self._cause] += 1
        self._decided = time.perf_counter()
        self._decide(universe, market)

    def write(self, rows: list[Row], *, durable: bool) -> int:
        """Note how long the last write took."""
        began = time.perf_counter()
        found = self._write(rows, durable=durable)
        self._wrote = time.perf_counter() - began
        return found

    def ask(self, task: Task, order: Order | None = None, *, reduces: bool = False) -> None:
        """Note how an order came to be."""
        if task == "send" and order is not None:
            self.again += order.id in self.asked
            came = self._cause, order.time, self._began, self._decided, self._wrote, time.perf_counter()
            self.asked.setdefault(order.id, Asked(*came))
        self._ask(task, order, reduces=reduces)

    def of(self, cause: str, *, first: bool) -> list[tuple[Asked, float]]:
        """Return the orders of a cause and when the HTTP client had them: all, or the first of each slice."""
        found: dict[object, tuple[Asked, float]] = {}
        for name, at in sorted(self.handed.items(), key=lambda item: item[1]):
            one = self.asked[name]
            if one.cause == cause:
                found.setdefault(one.slice if first else name, (one, at))
        return list(found.values())


def latency(minutes: int) -> None:
    """Ten symbols, forty features, XGBoost, a decision each minute; the fsync's share, and what bare parts cost."""
    symbols = symbols_of(10)
    bundle = bundle_of(symbols, band=0.0)
    data_clock.REFRESH_SECONDS = math.inf  # the sandbox's time is a request; Alpaca's is this machine's
    with Venue(symbols, SPEED) as connection, tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        trader = Trader(bundle, connection, Store(place / "store"), journal=place / "j.sqlite").open()
        watch, used, began = Stopwatch(trader), time.process_time(), time.perf_counter()
        trader.run(until=timedelta(minutes=minutes))
        used, took = time.process_time() - used, time.perf_counter() - began
        probed = fsyncs(place)
    data_clock.REFRESH_SECONDS = REFRESH
    venue = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = venue.ru_utime + venue.ru_stime
    print(
        f"latency: {minutes} minutes in {took:.0f} s; CPU: trader {used / took:.0%}, venue {busy / took:.0%} of a core"
    )
    tell(watch)
    say("bare: fsync of 40 kB appended, 20 ms apart", probed)
    bare(bundle.predictor)


def tell(watch: Stopwatch) -> None:
    """Say how long the ways took, and what of them a frame did not bring about."""
    print("  slices completed by " + ", ".join(f"a {cause}: {n}" for cause, n in watch.slices.items()))
    first = watch.of("frame", first=True)
    say("frame -> first order of a slice handed over", [at - one.began for one, at in first])
    say("  the frame's wait in the feed", [one.decided - one.began for one, _ in first])
    say("  features, model, engine, encoding", [one.asked - one.decided - one.wrote for one, _ in first])
    say("  the journal's write with fsync", [one.wrote for one, _ in first])
    say("  to the thread of the dispatcher", [at - one.asked for one, at in first])
    say("  all without the write", [at - one.began - one.wrote for one, at in first])
    slowest = sorted(((at - one.began, one.wrote) for one, at in first), reverse=True)[:5]
    print("  slowest (ms, of that the write): " + ", ".join(f"{a * 1e3:.1f} ({w * 1e3:.1f})" for a, w in slowest))
    say("frame -> each order handed over, 4 at a time", [at - one.began for one, at in watch.of("frame", first=False)])
    for cause in CAUSES[1:]:
        say(f"no frame: {cause} -> first order", [at - one.began for one, at in watch.of(cause, first=True)])
    print(f"  {watch.again} orders sent again")


def fsyncs(place: Path) -> list[float]:
    """Return what the disk takes for about as much as the rows of a slice, without a database."""
    took, block = [], bytes(40_960)
    with (place / "bare").open("wb", buffering=0) as file:
        for _ in range(200):
            time.sleep(0.02)
            file.write(block)
            took.append(timed(lambda: os.fdatasync(file.fileno())))
    return took


def bare(trees: Trees) -> None:
    """Predict the rows of a slice by ours and by xgboost's own ways, all with one thread and warm."""
    booster, rows = trees.booster(), np.random.default_rng(1).standard_normal((10, trees.features))
    ways = {
        "ours": lambda: trees.predict(rows),
        "DMatrix, predict": lambda: booster.predict(xgboost.DMatrix(rows, nthread=1)),
        "inplace_predict": lambda: booster.inplace_predict(rows),
    }
    for name, way in ways.items():
        way()
        say(f"bare: model of a slice, {name}", [timed(way) for _ in range(1_000)])


def say(name: str, seconds: list[float]) -> None:
    """Print percentiles in milliseconds, nothing where nothing was timed."""
    if seconds:
        p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
        print(f"{name:48s} p50 {p50:7.3f} ms   p99 {p99:7.2f} ms   ({len(seconds)})")


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
