"""The whole path on a simulated disk: log, publisher, store and compaction, cut off at any call; what is left then."""

import hashlib
import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import msgpack
import polars as pl

from cryptoquant.data.log import Log
from cryptoquant.data.log_reader import LogReader
from cryptoquant.data.publisher import Publisher
from cryptoquant.data.segment import RecordKind, position
from cryptoquant.data.store import Store
from cryptoquant.errors import CryptoquantError, EmptyStoreError
from tests.data.power_world import Lost
from tests.data.simulated_disk import Crash, SimulatedDisk
from tests.data.stream import MINUTE, START, book, frame, quote, trade

LIVES = 5
STEPS = 30
CUTS = 8
BEFORE = "before recovery"
ACTS = ("append", "append", "append", "commit", "commit", "publish", "publish", "compact", "vacuum")
MAKERS = (trade, quote, book)
ROWS = {"trades": 1, "quotes": 1, "books": 2}
Told = list[tuple[int, int]]


@dataclass
class StoreWorld:
    """Several lives of a recorder with a compactor beside it; a death is a power cut or the end of both processes.

    Of each death also several other power cuts are looked at, before and after recovery, that do not live on.
    ``store``, ``publisher`` and ``swallows`` plant bugs. ``folder`` is a real one, for the lock alone.
    """

    seed: int
    folder: Path
    store: type[Store] = Store
    publisher: type[Publisher] = Publisher
    swallows: Callable[[str, str], bool] = lambda call, path: False
    cuts: int = 0
    sent: int = 0
    ticks: int = 0
    acknowledged: set[int] = field(default_factory=set)
    waiting: dict[int, range] = field(default_factory=dict)
    known: dict[str, Told] = field(default_factory=dict)

    def run(self) -> None:
        """Live and die; raise `Lost` with the seed when a promise is broken."""
        self.rng = random.Random(self.seed)
        disk = SimulatedDisk()
        for epoch in range(1, LIVES + 1):
            disk.swallows = self.swallows
            disk.crash_at = self.rng.randrange(1, 160)
            self.survive(disk, epoch, STEPS)
            for _ in range(CUTS):
                self.look(disk.power_cut(self.rng.randrange(1 << 30)), epoch + 1)
            is_cut = self.rng.random() < 0.75
            disk = disk.power_cut(self.rng.randrange(1 << 30)) if is_cut else disk.kill()
            self.cuts += is_cut
        self.survive(disk, LIVES + 1, 0)

    def survive(self, disk: SimulatedDisk, epoch: int, steps: int) -> None:
        try:
            self.live(disk, epoch, steps)
        except Crash:
            pass
        except (OSError, ValueError, KeyError, CryptoquantError) as error:
            raise Lost(f"seed {self.seed}, life {epoch}: {type(error).__name__}: {error}") from error

    def look(self, disk: SimulatedDisk, epoch: int) -> None:
        """Hold what a power cut left against the promises, and again when the log is open."""
        promised, waiting = set(self.acknowledged), dict(self.waiting)
        self.cuts += 1
        try:
            self.check(disk, BEFORE)
            self.open(disk, epoch)
            self.check(disk, "after recovery")
        except (OSError, ValueError, KeyError, CryptoquantError) as error:
            raise Lost(f"seed {self.seed}, a cut in life {epoch - 1}: {type(error).__name__}: {error}") from error
        self.acknowledged, self.waiting = promised, waiting

    def open(self, disk: SimulatedDisk, epoch: int) -> tuple[Store, Log]:
        """Open store and log as `Recorder.open` does."""
        store = self.store(self.folder, disk=disk, clock=self.clock)
        store.create()
        size = self.rng.choice((300, 2_000, 20_000))
        return store, Log(
            disk, segment_bytes=size, epoch=epoch, after=store.published, clock=self.clock, threaded=False
        )

    def clock(self) -> int:
        self.ticks += 1
        return START + MINUTE + self.ticks

    def live(self, disk: SimulatedDisk, epoch: int, steps: int) -> None:
        self.check(disk, BEFORE)
        store, log = self.open(disk, epoch)
        beside = self.store(self.folder, disk=disk, clock=self.clock)
        publisher = self.publisher(store, log, LogReader(disk, after=store.published))
        publisher.drain()
        self.check(disk, "after recovery")
        self.waiting.clear()
        log.on_durable(self.acknowledge)
        for _ in range(steps):
            match self.rng.choice(ACTS):
                case "append":
                    self.append(log)
                case "commit":
                    log.commit()
                case "publish":
                    publisher.decode()
                    publisher.publish()
                case "compact":
                    self.rng.choice((store, beside)).compact()
                case "vacuum":
                    self.rng.choice((store, beside)).vacuum(timedelta(0))
        log.close()
        publisher.drain()
        self.check(disk, "at the end")

    def append(self, log: Log) -> None:
        for _ in range(self.rng.randrange(1, 4)):
            numbers = range(self.sent, self.sent + self.rng.randrange(1, 6))
            self.sent = numbers.stop
            payload = frame(*(MAKERS[number % 3](number) for number in numbers))
            self.waiting[log.append(self.clock(), 1, RecordKind.FRAME, payload)] = numbers

    def acknowledge(self, durable: int) -> None:
        for sequence in [sequence for sequence in self.waiting if sequence <= durable]:
            self.acknowledged.update(self.waiting.pop(sequence))

    def check(self, disk: SimulatedDisk, when: str) -> None:
        """Hold what is there against what the sender was promised, read once past the store and once through it."""
        store = Store(self.folder, disk=disk)
        placed = sorted([*self.in_files(store), *in_log(disk, store.published)])
        numbers = [number for _, number in placed]
        self.expect(len({place for place, _ in placed}) == len(placed), f"{when}: a position twice")
        self.expect(numbers == sorted(set(numbers)), f"{when}: messages twice or out of order")
        gone = self.acknowledged - set(numbers)
        self.expect(not gone, f"{when}: {sorted(gone)[:3]} of {len(gone)} acknowledged are gone")
        self.expect(not numbers or numbers[-1] < self.sent, f"{when}: found what was never sent")
        through = trades(store)
        self.expect(through == [number for number in numbers if number % 3 == 0], f"{when}: the store reads other rows")
        if when != BEFORE:
            # What the sender was not told about may be gone; what recovery has found is promised from now on.
            self.acknowledged = set(numbers)

    def in_files(self, store: Store) -> Iterator[tuple[int, int]]:
        vault = store._vault
        for entry in vault.snapshot().entries():
            content = vault.shelf.get(entry.path)
            self.expect(hashlib.sha256(content).hexdigest() == entry.sha256, f"{entry.path} is torn")
            if entry.sha256 not in self.known:
                rows = pl.read_parquet(io.BytesIO(content))
                told = rows.group_by("position", pl.col("time").to_physical() - START).len().sort("position")
                self.expect((told["len"] == ROWS[entry.kind]).all(), f"{entry.path} holds rows twice")
                self.known[entry.sha256] = list(told.select("position", "time").iter_rows())
            yield from self.known[entry.sha256]

    def expect(self, holds: bool, message: str) -> None:
        if not holds:
            raise Lost(f"seed {self.seed}, after {self.cuts} cuts: {message}")


def in_log(disk: SimulatedDisk, published: int) -> Iterator[tuple[int, int]]:
    reader = LogReader(disk, after=published)
    while records := reader.read():
        for record in records:
            for item, message in enumerate(msgpack.unpackb(record.payload)):
                yield position(record.sequence, item), message["t"].to_unix_nano() - START


def trades(store: Store) -> list[int]:
    try:
        return list(store.trades()["time"].to_physical() - START)
    except EmptyStoreError:
        return []
