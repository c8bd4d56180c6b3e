"""A recorder on a simulated disk, killed and cut off again and again, and asked from its sender's side what it lost."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cryptoquant.data.disk import Disk, publish
from cryptoquant.data.log import Log
from cryptoquant.data.log_reader import LogReader
from cryptoquant.data.segment import Record
from cryptoquant.errors import CryptoquantError
from tests.data.simulated_disk import Crash, SimulatedDisk

LIVES = 4
STEPS = 24
READ = 1 << 20
ACTS = ("append", "append", "commit", "publish", "publish", "drop")


class Lost(AssertionError):  # noqa: N818 - the verdict of a world
    """A promise was broken."""


class Publisher(Protocol):
    """What takes records out of the log for good: a manifest and its files."""

    def published(self) -> int:
        """Return the last sequence whose records are in the files."""

    def publish(self, records: Sequence[Record]) -> None:
        """Make the records part of the store durably, and move `published`."""

    def contents(self) -> list[tuple[int, bytes]]:
        """Return sequence and payload of all records in the store, in order."""


class SmallStore:
    """One file a publication and a manifest that is replaced as a whole.

    The manifest that is found was perhaps renamed just before a kill and is not durable: segments may be dropped for
    what it says only once it is.
    """

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        disk.sync_folder("")

    def _manifest(self) -> list[dict[str, int | str]]:
        if not self.disk.exists("manifest.json"):
            return []
        file = self.disk.open("manifest.json")
        return json.loads(file.read_at(0, file.size()))

    def published(self) -> int:
        return max((int(entry["last"]) for entry in self._manifest()), default=0)

    def publish(self, records: Sequence[Record]) -> None:
        path = f"files/{records[0].sequence}-{records[-1].sequence}.json"
        rows = [[record.sequence, record.payload.hex()] for record in records]
        publish(self.disk, path, [json.dumps(rows).encode()])
        entries = [*self._manifest(), {"path": path, "last": records[-1].sequence}]
        publish(self.disk, "manifest.json", [json.dumps(entries).encode()])

    def contents(self) -> list[tuple[int, bytes]]:
        found = []
        for entry in self._manifest():
            file = self.disk.open(str(entry["path"]))
            rows = json.loads(file.read_at(0, file.size()))
            found += [(sequence, bytes.fromhex(payload)) for sequence, payload in rows]
        return found


@dataclass
class World:
    """Several lives of one recorder; a death is a power cut or the end of the process, after any call of the disk.

    ``swallows(call, path, is_open)`` plants bugs in the disk (``is_open`` tells recovery from work); ``drops_early``
    drops segments before their records are published.
    """

    seed: int
    store: Callable[[Disk], Publisher] = SmallStore
    swallows: Callable[[str, str, bool], bool] = lambda call, path, is_open: False
    drops_early: bool = False
    cuts: int = 0
    sent: int = 0
    kept: dict[int, bytes] = field(default_factory=dict)
    taken: dict[int, bytes] = field(default_factory=dict)
    is_open: bool = False

    def run(self) -> None:
        """Live and die; raise `Lost` with the seed when a promise is broken."""
        self.rng = random.Random(self.seed)
        disk = SimulatedDisk()
        for epoch in range(1, LIVES + 1):
            disk.swallows = lambda call, path: self.swallows(call, path, self.is_open)
            disk.crash_at = self.rng.randrange(1, 100)
            self.is_open = False
            self.survive(disk, epoch, STEPS)
            is_cut = self.rng.random() < 0.6
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

    def live(self, disk: SimulatedDisk, epoch: int, steps: int) -> None:
        store = self.store(disk)
        log = Log(
            disk,
            segment_bytes=self.rng.choice((100, 600, 4000)),
            epoch=epoch,
            after=store.published(),
            clock=lambda: 1,
            threaded=False,
        )
        self.is_open = True
        self.check(store, disk, log)
        log.on_durable(self.acknowledge)
        published = store.published()
        reader, follower = LogReader(disk, after=published), LogReader(disk, after=published)
        seen: list[Record] = []
        if self.rng.random() < 0.5:
            log.drop(published)
        try:
            for _ in range(steps):
                match self.rng.choice(ACTS):
                    case "append":
                        self.append(log)
                    case "commit":
                        log.commit()
                    case "publish":
                        self.publish(store, reader, log)
                    case "drop":
                        log.drop(log.durable if self.drops_early else store.published())
                while records := follower.read(READ):
                    seen += records
            log.close()
        finally:
            self.check_follower(seen, published, follower.last)

    def check_follower(self, seen: list[Record], published: int, last: int) -> None:
        """A follower got a prefix of what was written, without a hole and as it was sent."""
        wanted = {number: payload for number, payload in self.taken.items() if published < number <= last}
        got = [(record.sequence, record.payload) for record in seen]
        self.expect(got == sorted(wanted.items()) or self.drops_early, "a follower did not get what was written")

    def append(self, log: Log) -> None:
        for _ in range(self.rng.randrange(1, 6)):
            self.sent += 1
            payload = b"%d:" % self.sent + self.rng.randbytes(self.rng.choice((0, 5, 60, 700)))
            sequence = log.append(1 + self.sent, 1, 0, payload)
            self.expect(sequence not in self.kept, f"sequence {sequence} was used for a second record")
            self.taken[sequence] = payload

    def acknowledge(self, durable: int) -> None:
        self.kept.update((sequence, self.taken[sequence]) for sequence in self.taken if sequence <= durable)

    def publish(self, store: Publisher, reader: LogReader, log: Log) -> None:
        records = reader.read(self.rng.choice((1, 500, READ)))
        self.expect(all(record.sequence <= log.durable for record in records), "a reader saw what was not written")
        if records:
            store.publish(records)

    def check(self, store: Publisher, disk: Disk, log: Log) -> None:
        """Hold what is there after a death against what the sender was promised."""
        in_files, published = store.contents(), store.published()
        reader, in_log = LogReader(disk, after=published), []
        while records := reader.read(READ):
            in_log += [(record.sequence, record.payload) for record in records]
        found = in_files + in_log
        self.expect([row[0] for row in found] == sorted({row[0] for row in found}), "records out of order or twice")
        for sequence, payload in found:
            self.expect(self.taken.get(sequence) == payload, f"record {sequence} is not what was sent")
        rows = dict(found)
        for sequence, payload in self.kept.items():
            self.expect(rows.get(sequence) == payload, f"record {sequence} was acknowledged and is gone")
        self.expect(all(row[0] <= log.durable for row in found), "a record is found that does not count as durable")
        # What the sender was not told about may be gone; what is found is promised from now on.
        self.taken, self.kept = dict(rows), dict(rows)

    def expect(self, holds: bool, message: str) -> None:
        if not holds:
            raise Lost(f"seed {self.seed}, after {self.cuts} cuts: {message}")
