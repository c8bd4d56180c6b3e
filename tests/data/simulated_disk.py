"""A disk in memory that forgets, tears and reorders what was not synced when its power is cut, and fails on demand."""

import errno
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

SECTOR = 512


class Crash(Exception):  # noqa: N818 - not an error of ours
    """The process died in this call; the disk answers nothing more."""


class Node:
    """The content of a file: as the system shows it, as it is on the platter, and the changes on their way there."""

    def __init__(self, durable: bytes = b"") -> None:
        self.seen = bytearray(durable)
        self.durable = bytearray(durable)
        self.pending: list[tuple[int, bytes | None]] = []

    def change(self, offset: int, data: bytes | None) -> None:
        """Write ``data`` at ``offset``, or with None make ``offset`` the length."""
        apply(self.seen, offset, data)
        self.pending.append((offset, data))

    def sync(self) -> None:
        for offset, data in self.pending:
            apply(self.durable, offset, data)
        self.pending.clear()

    def copy(self) -> "Node":
        node = Node()
        node.seen, node.durable, node.pending = bytearray(self.seen), bytearray(self.durable), list(self.pending)
        return node

    def after_cut(self, rng: random.Random) -> "Node":
        """Return what a power cut leaves: of each pending change all, nothing or some sectors, in any order."""
        changes = list(self.pending)
        if rng.random() < 0.5:
            rng.shuffle(changes)
        content = bytearray(self.durable)
        for offset, data in changes:
            fate = rng.choice(("kept", "dropped", "torn", "prefix"))
            if fate == "dropped" or (data is None and fate != "kept"):
                continue
            pieces = [(offset, data)] if data is None or fate == "kept" else list(sectors(offset, data))
            if fate == "prefix":
                pieces = pieces[: rng.randrange(len(pieces) + 1)]
            for place, piece in pieces:
                if fate != "torn" or rng.random() < 0.5:
                    apply(content, place, piece)
        return Node(bytes(content))


def apply(content: bytearray, offset: int, data: bytes | None) -> None:
    end = offset + len(data or b"")
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset:end] = data


def sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(data):
        stop = start + SECTOR - (offset + start) % SECTOR
        yield offset + start, data[start:stop]
        start = stop


class SimulatedFile:
    def __init__(self, disk: "SimulatedDisk", path: str, node: Node) -> None:
        self._disk, self._path, self._node = disk, path, node

    def write_at(self, offset: int, chunks: Sequence[bytes]) -> int:
        data = b"".join(chunks)
        with self._disk.call("write", self._path):
            room = self._disk.room() + max(0, len(self._node.seen) - offset)
            self._node.change(offset, data[:room])
            if room < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(data)

    def read_at(self, offset: int, length: int) -> bytes:
        self._disk.check_power()
        return bytes(self._node.seen[offset : offset + length])

    def allocate(self, size: int) -> None:
        with self._disk.call("allocate", self._path):
            if size > len(self._node.seen):
                if size - len(self._node.seen) > self._disk.room():
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._node.change(size, None)

    def truncate(self, size: int) -> None:
        with self._disk.call("truncate", self._path):
            self._node.change(size, None)

    def size(self) -> int:
        self._disk.check_power()
        return len(self._node.seen)

    def sync(self) -> None:
        try:
            with self._disk.call("sync", self._path) as is_done:
                if is_done:
                    self._node.sync()
        except OSError:
            # As Linux does: the pages count as clean although they never reached the platter.
            self._node.pending.clear()
            raise

    def close(self) -> None:
        pass


class SimulatedDisk:
    """A `Disk` in memory.

    ``capacity`` limits the bytes of all files together (ENOSPC). ``errors[n]`` is the errno of the n-th changing call,
    ``crash_at`` the number of the call after whose effect the process dies. ``swallows(call, path)`` may claim calls
    that then report success and do nothing, by which tests plant bugs.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self.errors: dict[int, int] = {}
        self.crash_at: int | None = None
        self.swallows: Callable[[str, str], bool] = lambda call, path: False
        self.calls = 0
        self._is_off = False
        self._nodes: dict[str, Node] = {}
        self._durable: dict[str, Node] = {}
        self._pending: list[dict[str, Node | None]] = []

    @contextmanager
    def call(self, name: str, path: str) -> Iterator[bool]:
        """Count a changing call; yield whether it takes effect."""
        self.check_power()
        self.calls += 1
        number = self.calls
        if number in self.errors:
            code = self.errors[number]
            raise OSError(code, os.strerror(code))
        yield not self.swallows(name, path)
        if number == self.crash_at:
            self._is_off = True
            self.check_power()

    def check_power(self) -> None:
        if self._is_off:
            raise Crash

    def room(self) -> int:
        if self.capacity is None:
            return 1 << 62
        return self.capacity - sum(len(node.seen) for node in self._nodes.values())

    def create(self, path: str) -> SimulatedFile:
        with self.call("create", path):
            if path in self._nodes:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            self._name({path: Node()})
        return SimulatedFile(self, path, self._nodes[path])

    def open(self, path: str) -> SimulatedFile:
        self.check_power()
        if path not in self._nodes:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return SimulatedFile(self, path, self._nodes[path])

    def replace(self, old: str, new: str) -> None:
        with self.call("replace", new):
            if old not in self._nodes:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), old)
            self._name({new: self._nodes[old], old: None})

    def remove(self, path: str) -> None:
        with self.call("remove", path):
            if path in self._nodes:
                self._name({path: None})

    def exists(self, path: str) -> bool:
        self.check_power()
        return path in self._nodes or any(name.startswith(f"{path}/") for name in self._nodes)

    def listing(self, folder: str) -> list[str]:
        self.check_power()
        start = f"{folder}/" if folder else ""
        return sorted({name[len(start) :].split("/")[0] for name in self._nodes if name.startswith(start)})

    def sync_folder(self, folder: str) -> None:
        with self.call("sync_folder", folder) as is_done:
            if is_done:
                inside = [any(folder_of(path) == folder for path in change) for change in self._pending]
                for change, is_inside in zip(self._pending, inside, strict=True):
                    if is_inside:
                        rename(self._durable, change)
                self._pending = [
                    change for change, is_inside in zip(self._pending, inside, strict=True) if not is_inside
                ]

    def _name(self, change: dict[str, Node | None]) -> None:
        rename(self._nodes, change)
        self._pending.append(change)

    def power_cut(self, seed: int) -> "SimulatedDisk":
        """Return the disk after a power cut: each name and each write that was not synced may be there or not."""
        rng = random.Random(seed)
        names = dict(self._durable)
        for change in self._pending:
            if rng.random() < 0.5:
                rename(names, change)
        survivors: dict[int, Node] = {}
        for path in names:
            if id(names[path]) not in survivors:
                survivors[id(names[path])] = names[path].after_cut(rng)
        disk = SimulatedDisk(self.capacity)
        disk._nodes = {path: survivors[id(node)] for path, node in names.items()}
        disk._durable = dict(disk._nodes)
        return disk

    def kill(self) -> "SimulatedDisk":
        """Return the disk after the process alone has died: what was written is seen, and no more of it durable."""
        changes = [node for change in self._pending for node in change.values() if node is not None]
        copies = {id(node): node.copy() for node in [*self._nodes.values(), *self._durable.values(), *changes]}
        disk = SimulatedDisk(self.capacity)
        disk._nodes = {path: copies[id(node)] for path, node in self._nodes.items()}
        disk._durable = {path: copies[id(node)] for path, node in self._durable.items()}
        disk._pending = [
            {path: None if node is None else copies[id(node)] for path, node in change.items()}
            for change in self._pending
        ]
        return disk


def rename(names: dict[str, Node], change: dict[str, Node | None]) -> None:
    for path, node in change.items():
        if node is None:
            names.pop(path, None)
        else:
            names[path] = node


def folder_of(path: str) -> str:
    return path.rpartition("/")[0]
