"""A recorder and a compactor killed at random moments, again and again, and held to what the sender was promised.

Run as ``python -m tests.data.kill_harness SEED KILLS FOLDER [BUG]``; the last line of its output is the verdict as
JSON. The same seed chooses the same moments. Each process is forked from one that has loaded everything and started
nothing, so that a life costs milliseconds instead of the seconds of an import.
"""

import hashlib
import io
import json
import os
import random
import select
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import msgpack
import numpy as np
import polars as pl

from cryptoquant.data import recorder, shelf, wire
from cryptoquant.data.alpaca import Alpaca, _load_sdk
from cryptoquant.data.disk import Disk, LocalDisk
from cryptoquant.data.log import Log
from cryptoquant.data.log_reader import LogReader
from cryptoquant.data.recorder_status import RecorderOptions
from cryptoquant.data.segment import Record, RecordKind, position
from cryptoquant.data.store import Store
from cryptoquant.errors import CryptoquantError, EmptyStoreError
from tests.data.planted import TwoLines
from tests.data.stream import START, Venue, book, frame, quote, trade

SYMBOLS = ("BTC/USD", "ETH/USD")
CHANNELS = ("trades", "quotes", "orderbooks")
ROWS = {"trades": 1, "quotes": 1, "books": 2}
MAKERS = (trade, quote, book)
GRACE = timedelta(milliseconds=50)
LONGEST_LIFE = 0.4
RECOVERY = 0.3


@dataclass
class Findings:
    """What is wrong with a store, by what the sender knows; all zero in a good one."""

    lost: int = 0
    doubled: int = 0
    torn: int = 0
    disordered: int = 0
    found: int = 0
    said: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.doubled or self.torn or self.disordered)


def examine(root: Path, acknowledged: set[int]) -> Findings:
    """Look at every file and every record of the log, by other means than the store's own reads where there are any."""
    findings = Findings()
    while True:
        try:
            placed = list(_placed(root, findings))
            break
        except FileNotFoundError as error:
            # A compactor may have been faster; a file that is listed and stays away is not excused.
            if not any(root.rglob(Path(str(error.filename)).name)) and _is_listed(root, str(error.filename)):
                findings.torn += 1
                findings.said.append(f"{error.filename}: is listed and not there")
                return findings
            findings = Findings()
    numbers = Counter(number for _, number in placed)
    findings.found = len(numbers)
    missing = sorted(acknowledged - set(numbers))
    findings.lost = len(missing)
    findings.doubled += sum(count - 1 for count in numbers.values())
    findings.doubled += len(placed) - len({place for place, _ in placed})
    ordered = [number for _, number in sorted(placed)]
    findings.disordered = sum(before > after for before, after in pairwise(ordered))
    if missing:
        findings.said.append(f"lost: {missing[:5]} of {len(missing)}")
    elif _trades(root) != sorted(number for number in numbers if number % 3 == 0):
        findings.doubled += 1
        findings.said.append("Store.trades says something else than the files and the log")
    return findings


def _trades(root: Path) -> list[int]:
    try:
        return sorted(Store(root).trades()["time"].to_physical() - START)
    except EmptyStoreError:
        return []


def _is_listed(root: Path, path: str) -> bool:
    return any(entry.path == path or path.endswith(entry.path) for entry in Store(root)._vault.snapshot().entries())


def _placed(root: Path, findings: Findings) -> Iterator[tuple[int, int]]:
    """Yield position and number of each message in the files and in the log behind them; count what is torn."""
    snapshot = Store(root)._vault.snapshot()
    for entry in snapshot.entries():
        content = (root / entry.path).read_bytes()
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            findings.torn += 1
            findings.said.append(f"{entry.path}: not what the manifest says")
            continue
        rows = pl.read_parquet(io.BytesIO(content))
        findings.torn += rows.height != entry.rows
        if entry.kind not in ROWS:
            continue
        told = rows.group_by("position", pl.col("time").to_physical() - START).agg(pl.len())
        findings.doubled += told.filter(pl.col("len") != ROWS[entry.kind]).height
        yield from told.select("position", "time").iter_rows()
    for path in [path for folder in ("_recent", "kind=*") for path in root.glob(f"{folder}/**/*.parquet")]:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if not path.stem.endswith(digest[:24]):
            findings.torn += 1
            findings.said.append(f"{path.name}: torn under its final name")
    reader = LogReader(LocalDisk(root), after=snapshot.published)
    while records := reader.read():
        for record in records:
            for item, number in enumerate(_numbers(record)):
                if number is not None:
                    yield position(record.sequence, item), number
    reader.close()


def _numbers(record: Record) -> list[int | None]:
    """Return the sender's number of each message of a record, None for control messages."""
    if record.kind != RecordKind.FRAME:
        return []
    messages = msgpack.unpackb(record.payload)
    return [message["t"].to_unix_nano() - START if "t" in message else None for message in messages]


class Witness:
    """Stands where a subscriber stands, and tells the harness the sender's numbers as soon as they count as kept."""

    def __init__(self, pipe: int, *, is_hasty: bool) -> None:
        self.pipe, self.is_hasty = pipe, is_hasty
        self.waiting: dict[int, list[int | None]] = {}

    def push(self, record: Record) -> None:
        numbers = _numbers(record)
        if self.is_hasty:
            self.tell(numbers)
        else:
            self.waiting[record.sequence] = numbers

    def durable(self, sequence: int) -> None:
        for known in [known for known in list(self.waiting) if known <= sequence]:
            self.tell(self.waiting.pop(known))

    def tell(self, numbers: list[int | None]) -> None:
        told = [number for number in numbers if number is not None]
        if told:
            say(self.pipe, f"A {told[0]} {told[-1]}")

    def close(self) -> None:
        pass


def say(pipe: int, line: str) -> None:
    os.write(pipe, line.encode() + b"\n")


class EagerLog(Log):
    """Drops segments as soon as they are durable, published or not."""

    def _flush(self, *content: object) -> None:
        super()._flush(*content)
        self.drop(self.durable)


def publish_in_place(disk: Disk, path: str, chunks: list[bytes]) -> None:
    """Write under the final name at once, as a slow disk does."""
    disk.remove(path)
    file = disk.create(path)
    content = b"".join(chunks)
    for start in range(0, len(content), 512):
        file.write_at(start, [content[start : start + 512]])
        time.sleep(0.0002)
    file.sync()
    file.close()
    disk.sync_folder(path.rpartition("/")[0])


BUGS = (
    "acknowledged before the write",
    "segments dropped early",
    "published in a line of its own",
    "no temporary name",
)


def plant(bug: str) -> type[Store]:
    """Put a bug into this process and return the store to use."""
    if bug == BUGS[1]:
        recorder.Log = EagerLog
    if bug == BUGS[3]:
        shelf.publish = publish_in_place
    return TwoLines if bug == BUGS[2] else Store


@dataclass
class Harness:
    """Kills a recorder ``kills`` times and asks after each death, and after each recovery, what is there."""

    seed: int
    kills: int
    folder: Path
    bug: str = ""
    acknowledged: set[int] = field(default_factory=set)
    recovered: int = 0

    def run(self) -> dict[str, object]:
        begun, died, findings = time.monotonic(), 0, Findings()
        rng = random.Random(self.seed)
        root = self.folder / "store"
        hear, tell = os.pipe()
        sender = fork(lambda: self.send(tell))
        self.port = int(os.read(hear, 16))
        try:
            while died < self.kills:
                died += 1
                findings = self.live(root, rng) or ask(root, self.acknowledged)
                if not findings.is_good:
                    break
        finally:
            end(sender)
        verdict = {"seed": self.seed, "kills": died, "acknowledged": len(self.acknowledged), **asdict(findings)}
        return {**verdict, "recovered": self.recovered, "minutes": round((time.monotonic() - begun) / 60, 2)}

    def live(self, root: Path, rng: random.Random) -> Findings | None:
        """Run a recorder, mostly with a compactor beside it, and kill both; return what it found amiss by itself."""
        hear, tell = os.pipe()
        options = RecorderOptions(
            flush_every=timedelta(milliseconds=rng.choice((10, 40, 200))),
            compact_every=timedelta(milliseconds=60) if rng.random() < 0.5 else None,
            backfill=False,
            segment_bytes=rng.choice((3_000, 30_000, 1 << 20)),
        )
        children = [fork(lambda: self.record(root, options, tell))]
        os.close(tell)
        if rng.random() < 0.5:
            children.append(fork(lambda: compact(root)))
        is_early, life = rng.random() < RECOVERY, rng.uniform(0, LONGEST_LIFE)
        said = listen(hear, life if is_early else 30.0, "" if is_early else "R")
        if not is_early:
            said += listen(hear, life, "")
        for child in children if rng.random() < 0.5 else reversed(children):
            end(child)
        said += listen(hear, 30.0, "")
        os.close(hear)
        return self.heed(said)

    def heed(self, said: str) -> Findings | None:
        for line in said.splitlines():
            word, _, rest = line.partition(" ")
            if word == "A":
                first, last = map(int, rest.split())
                self.acknowledged |= set(range(first, last + 1))
            elif word == "E":
                return Findings(**json.loads(rest))
            elif word == "R":
                self.recovered += 1
        return None

    def send(self, tell: int) -> None:
        """Be the venue: send numbered messages as long as somebody listens, and no number twice."""
        rng, numbers = random.Random(self.seed), iter(range(1 << 40))

        def script(connection: int, asked: object) -> Iterator[object]:
            yield "echo"
            while True:
                listed = [next(numbers) for _ in range(rng.choice((1, 1, 2, 7, 40)))]
                yield frame(*(MAKERS[number % 3](number, rng.choice(SYMBOLS)) for number in listed))
                yield rng.choice((0, 0.0005, 0.001, 0.005))

        there = Venue(script)
        there._thread.start()
        there._ready.wait()
        os.write(tell, str(there.port).encode())
        signal.pause()

    def record(self, root: Path, options: RecorderOptions, tell: int) -> None:
        url = f"ws://127.0.0.1:{self.port}/v1beta3/crypto/us"
        store = plant(self.bug)(root)
        life = recorder.Recorder(
            store, SYMBOLS, Alpaca("K", "S", data_stream_url=url), channels=CHANNELS, options=options
        )
        life.open()
        findings = examine(root, self.acknowledged)
        say(tell, "R" if findings.is_good else f"E {json.dumps(asdict(findings))}")
        witness = Witness(tell, is_hasty=self.bug == BUGS[0])
        life._receiver.subscriptions = (witness,)
        life._receiver.log.on_durable(witness.durable)
        life.start()
        signal.pause()


def compact(root: Path) -> None:
    """Merge files and delete what was merged, without a pause, beside a recorder or without one."""
    store = Store(root)
    while True:
        try:
            store.compact()
            store.vacuum(GRACE)
        except (CryptoquantError, OSError):
            time.sleep(0.01)


def ask(root: Path, acknowledged: set[int]) -> Findings:
    """Examine a store in a process of its own, since whoever has used polars cannot be forked."""
    hear, tell = os.pipe()
    child = fork(lambda: say(tell, json.dumps(asdict(examine(root, acknowledged)))))
    os.close(tell)
    said = listen(hear, 60.0, "")
    os.close(hear)
    end(child)
    return Findings(**json.loads(said)) if said else Findings(torn=1, said=["the store cannot be read"])


def fork(work: Callable[[], None]) -> int:
    """Do something in a child and return its number."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:  # noqa: BLE001 - a child never returns to what its parent was doing
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def listen(pipe: int, seconds: float, until: str) -> str:
    """Return what comes out of a pipe until a line with a word, its end, or so many seconds."""
    deadline, said = time.monotonic() + seconds, b""
    while (rest := deadline - time.monotonic()) > 0:
        if not select.select([pipe], [], [], rest)[0]:
            break
        content = os.read(pipe, 1 << 16)
        said += content
        if not content or (
            until and said.endswith(b"\n") and any(line[:1] in (until.encode(), b"E") for line in said.splitlines())
        ):
            break
    return said.decode()


def warm() -> None:
    """Load what a recorder loads, without starting a thread."""
    _load_sdk()
    import pyarrow.parquet  # noqa: F401
    import websockets.legacy.client  # noqa: F401

    content = frame(trade(0), quote(1), book(2))
    wire.parse(content, np.array([len(content)]))


def main() -> None:
    seed, kills, folder, *bug = sys.argv[1:]
    warm()
    verdict = Harness(int(seed), int(kills), Path(folder), *bug).run()
    if verdict["kills"] == int(kills) and not bug:
        shutil.rmtree(Path(folder) / "store", ignore_errors=True)
    sys.stdout.write(json.dumps(verdict) + "\n")


if __name__ == "__main__":
    main()
