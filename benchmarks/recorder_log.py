"""How soon a received frame is safe: the recorder's log beside SQLite (WAL, synchronous FULL), on the same disk.

Run with ``python benchmarks/recorder_log.py [--seconds 5] [--rounds 3] [--folder .]``. Messages of 85 bytes come in
frames of 16, evenly, from a thread of the same process; SQLite commits each 5 ms what has come. Latency is from the
call of append to the return of the sync; ours and the peer take turns and figures are medians of the rounds. Compare
the ratios: a disk that others use gives other milliseconds. A follower is another process that reads the log.
"""

import argparse
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from cryptoquant.data.disk import LocalDisk
from cryptoquant.data.log import Log
from cryptoquant.data.log_reader import LogReader
from cryptoquant.errors import LogFullError

MESSAGE, MESSAGES = 85, 16
GROUP_S = 0.005
FULL_RATE_LIMIT = 32 << 20


class Sink(Protocol):
    """What frames are sent into."""

    def append(self, received: int, connection: int, kind: int, payload: bytes) -> int:
        """Take a frame and return its number."""

    def on_durable(self, callback: Callable[[int], None]) -> None:
        """Have the callback called with the last durable number."""

    def wait(self, sequence: int, timeout: float | None = None) -> bool:
        """Wait until a frame is durable."""

    def close(self) -> None:
        """Write what waits."""


class SqliteLog:
    """The peer: rows wait in memory and are committed each 5 ms by a thread."""

    def __init__(self, folder: Path) -> None:
        self._base = sqlite3.connect(folder / "log.sqlite", check_same_thread=False, isolation_level=None)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=FULL")
        self._base.execute("CREATE TABLE log (sequence INTEGER PRIMARY KEY, received, connection, kind, payload BLOB)")
        self._lock, self._done = threading.Lock(), threading.Condition()
        self._waiting: list[tuple[int, int, int, int, bytes]] = []
        self._sequence = self._durable = 0
        self._callbacks: list[Callable[[int], None]] = []
        self._is_closing = False
        self._thread = threading.Thread(target=self._commit_on, daemon=True)
        self._thread.start()

    def append(self, received: int, connection: int, kind: int, payload: bytes) -> int:
        """Take a frame and return its number."""
        with self._lock:
            if len(self._waiting) * len(payload) > FULL_RATE_LIMIT:
                raise LogFullError("too much waits")
            self._sequence += 1
            self._waiting.append((self._sequence, received, connection, kind, payload))
            return self._sequence

    def on_durable(self, callback: Callable[[int], None]) -> None:
        """Have the callback called with the last durable number."""
        self._callbacks.append(callback)

    def wait(self, sequence: int, timeout: float | None = None) -> bool:
        """Wait until a frame is durable."""
        with self._done:
            return self._done.wait_for(lambda: self._durable >= sequence, timeout)

    def close(self) -> None:
        """Write what waits."""
        self._is_closing = True
        self._thread.join()
        self._base.close()

    def _commit_on(self) -> None:
        while not (self._is_closing and not self._waiting):
            time.sleep(GROUP_S)
            with self._lock:
                batch, self._waiting = self._waiting, []
            if batch:
                self._base.execute("BEGIN")
                self._base.executemany("INSERT INTO log VALUES (?,?,?,?,?)", batch)
                self._base.execute("COMMIT")
                with self._done:
                    self._durable = batch[-1][0]
                    self._done.notify_all()
                for callback in self._callbacks:
                    callback(self._durable)


class Figures(NamedTuple):
    """Latency, and the share of a core that sending and writing took."""

    p50_ms: float
    p99_ms: float
    cpu: float


def our_log(folder: Path) -> Sink:
    return Log(LocalDisk(folder), epoch=1, limit_bytes=FULL_RATE_LIMIT)


def paced(sink: Sink, rate: int, seconds: float, stamp: bool = False) -> Figures:
    """Send ``rate`` messages a second and return the latency until they were durable."""
    frames = int(rate * seconds / MESSAGES)
    sent, safe = np.zeros(frames), np.zeros(frames)
    done = 0

    def note(durable: int) -> None:
        nonlocal done
        safe[done:durable] = time.perf_counter()
        done = durable

    sink.on_durable(note)
    body = os.urandom(MESSAGE * MESSAGES - 8)
    start, cpu = time.perf_counter(), time.process_time()
    for number in range(frames):
        rest = start + number * MESSAGES / rate - time.perf_counter()
        if rest > 0:
            time.sleep(rest)
        head = time.monotonic_ns().to_bytes(8, "little") if stamp else bytes(8)
        sent[number] = time.perf_counter()
        sink.append(time.time_ns(), 1, 0, head + body)
    sink.wait(frames, 60)
    sink.close()
    spent = (time.process_time() - cpu) / (time.perf_counter() - start)
    p50, p99 = np.percentile(1e3 * (safe - sent), [50, 99])
    return Figures(float(p50), float(p99), spent)


def unpaced(sink: Sink, seconds: float, messages: int) -> float:
    """Send as fast as the sink takes it; return durable messages a second."""
    body = os.urandom(MESSAGE * messages)
    start, number = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        with suppress(LogFullError):
            for _ in range(100):
                number = sink.append(1, 1, 0, body)
            continue
        time.sleep(0.001)
    sink.wait(number, 60)
    rate = messages * number / (time.perf_counter() - start)
    sink.close()
    return rate


def in_turn(works: dict[str, Callable[[Path], object]], rounds: int, place: Path) -> dict[str, list]:
    found: dict[str, list] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            with tempfile.TemporaryDirectory(dir=place) as folder:
                found[name].append(work(Path(folder)))
    return found


def latencies(rate: int, seconds: float, rounds: int, place: Path) -> None:
    print(f"\n{rate:,} messages/s for {seconds:g} s, median of {rounds} rounds (worst p99 in brackets)")
    found = in_turn(
        {
            "ours": lambda folder: paced(our_log(folder), rate, seconds),
            "SQLite WAL FULL, 5 ms": lambda folder: paced(SqliteLog(folder), rate, seconds),
        },
        rounds,
        place,
    )
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    peer = medians["SQLite WAL FULL, 5 ms"]
    for name, (p50, p99, cpu) in medians.items():
        worst = max(row.p99_ms for row in found[name])
        ratio = "" if name != "ours" else f"  {peer[0] / p50:.1f} x, {peer[1] / p99:.1f} x sooner"
        print(f"  {name:24s} p50 {p50:7.2f} ms  p99 {p99:7.2f} ms ({worst:.2f})  {100 * cpu:3.0f} % of a core{ratio}")


def rates(seconds: float, rounds: int, place: Path) -> None:
    for messages in (MESSAGES, 1):
        print(f"\nas fast as it goes, frames of {messages}, median of {rounds} rounds")
        found = in_turn(
            {
                "ours": lambda folder, n=messages: unpaced(our_log(folder), seconds, n),
                "SQLite WAL FULL, 5 ms": lambda folder, n=messages: unpaced(SqliteLog(folder), seconds, n),
            },
            rounds,
            place,
        )
        for name, rows in found.items():
            print(f"  {name:24s} {statistics.median(rows):12,.0f} messages/s durable")


def recovery(place: Path) -> None:
    print("\nopening after a kill with a full segment of 64 MB (wanted: under 3 s)")
    for messages in (MESSAGES, 1):
        with tempfile.TemporaryDirectory(dir=place) as name:
            disk, body = LocalDisk(Path(name)), os.urandom(MESSAGE * messages)
            log = Log(disk, epoch=1, threaded=False)
            for _ in range(((64 << 20) - 4096) // (len(body) + 24)):
                last = log.append(1, 1, 0, body)
            log.commit()
            start = time.perf_counter()
            again = Log(disk, epoch=2, threaded=False)
            spent = time.perf_counter() - start
            if again.durable != last:
                raise SystemExit(f"recovered {again.durable:,} records of {last:,}")
            print(f"  frames of {messages:2d}: {last:9,} records in {spent:.2f} s")


def follow(folder: Path, frames: int) -> None:
    """Be the other process: print the delays' percentiles and the share of a core that following took."""
    reader, delays = LogReader(LocalDisk(folder)), []
    print("ready", flush=True)
    start, cpu = time.perf_counter(), time.process_time()
    while len(delays) < frames:
        records = reader.follow(10)
        now = time.monotonic_ns()
        delays += [1e-6 * (now - int.from_bytes(record.payload[:8], "little")) for record in records]
    spent = (time.process_time() - cpu) / (time.perf_counter() - start)
    print(*np.percentile(delays, [50, 99]), spent, reader.missed)


def followed(folder: Path, rate: int, seconds: float, followers: int) -> list[float]:
    log = our_log(folder)
    command = [sys.executable, __file__, "--follow", str(folder), str(int(rate * seconds / MESSAGES))]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(followers)]
    for other in others:
        if other.stdout is None or other.stdout.readline() != "ready\n":
            raise SystemExit("a follower did not start")
    figures = paced(log, rate, seconds, stamp=True)
    answers = [[float(word) for word in other.communicate()[0].split()] for other in others]
    worst = max(answers, key=lambda answer: answer[1], default=[0.0] * 4)
    return [*worst, figures.p50_ms, figures.p99_ms]


def following(rate: int, seconds: float, rounds: int, place: Path) -> None:
    print(f"\nfollowers in other processes at {rate:,} messages/s, from append to return (wanted: p99 under 5 ms)")
    works = {count: (lambda folder, n=count: followed(folder, rate, seconds, n)) for count in (0, 1, 3)}
    for count, rows in in_turn(works, rounds, place).items():  # type: ignore[arg-type]
        p50, p99, cpu, missed, own_p50, own_p99 = (statistics.median(column) for column in zip(*rows, strict=True))
        theirs = f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, {100 * cpu:.0f} % of a core, {missed:.0f} missed; "
        print(f"  {count} followers: {theirs if count else ''}durable p50 {own_p50:.2f} ms, p99 {own_p99:.2f} ms")


def processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk to ask")
    parser.add_argument("--follow", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.follow:
        follow(Path(options.follow[0]), int(options.follow[1]))
        return
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, {processor()}, load "
          f"{os.getloadavg()[0]:.1f}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}")  # fmt: skip
    for rate in (10_000, 100_000):
        latencies(rate, options.seconds, options.rounds, options.folder)
    rates(options.seconds, options.rounds, options.folder)
    recovery(options.folder)
    following(10_000, options.seconds, options.rounds, options.folder)


if __name__ == "__main__":
    main()
