"""The list of what a store holds: one line per write, appended durably, the only truth that readers ask."""

import threading
from collections.abc import Callable
from contextlib import suppress

import msgspec

from cryptoquant.data.disk import Disk, publish
from cryptoquant.data.entry import Entry, Write
from cryptoquant.data.snapshot import Fold, Snapshot
from cryptoquant.errors import StoreError

__all__ = ["Entry", "Manifest", "Write"]

HEAD_BYTES = 64
CHECKPOINT_BYTES = 1 << 20


class Manifest:
    """The append-only log of writes in one file, and the fold over it.

    A last line that was torn by a crash is not part of the log: readers pass over it and the next writer cuts it off.
    Readers take only what was added since they last looked. A checkpoint, which puts a short log in the place of a
    long one, is known by its first bytes; the writes before it can no longer be told apart.
    """

    def __init__(self, disk: Disk, path: str = "manifest.jsonl") -> None:
        self.path = path
        self._disk = disk
        self._taking = threading.Lock()
        self._is_named = False
        self._forget()

    def _forget(self) -> None:
        self._head, self._end = b"", 0
        self._writes: list[Write] = []
        self._fold = Fold()
        self._latest = self._fold.snapshot()

    def removed(self) -> list[tuple[int, Entry]]:
        """Return the files that no longer count and may still lie on disk, each with when it was removed (ns UTC)."""
        self.snapshot()
        return self._fold.removed()

    def snapshot(self) -> Snapshot:
        """Return what the store holds now; it stays as it is while the store goes on.

        Raises
        ------
        StoreError
            A line before the last is damaged (the message gives its number), or the log cannot be read.
        """
        with self._taking:
            try:
                content = self._unread()
            except OSError as error:
                raise StoreError(f"{self.path}: cannot be read: {error.strerror}") from error
            if content:
                self._take(content)
            return self._latest

    def at(self, version: int) -> Snapshot:
        """Return what the store held after ``version`` writes.

        Raises
        ------
        StoreError
            There were fewer writes, or a checkpoint has merged them.
        """
        self.snapshot()
        writes = self._writes
        # Of the lines up to the last that names its version only that one can be told.
        merged = max((number for number, write in enumerate(writes, 1) if write.version), default=0)
        before = writes[merged - 1].version - merged if merged else 0
        oldest, newest = before + merged, before + len(writes)
        if version != 0 and not oldest <= version <= newest:
            raise StoreError(f"{self.path}: version {version} cannot be told; wanted {oldest} to {newest}")
        fold = Fold()
        fold.take(writes[: max(0, version - before)])
        return fold.snapshot()

    def commit(self, decide: Callable[[Snapshot], Write | None]) -> Snapshot:
        """Add durably the write that ``decide`` makes of the present state, if any; return what the store holds then.

        The caller holds the store's lock.

        Raises
        ------
        StoreError
            The disk refused; whether the write counts is known only by reading the log again.
        """
        snapshot = self.snapshot()
        write = decide(snapshot)
        return snapshot if write is None else self.append(write)

    def append(self, write: Write) -> Snapshot:
        """Add one write; errors as `commit`."""
        self.snapshot()
        try:
            self._extend(msgspec.json.encode(write) + b"\n")
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written: {error.strerror}") from error
        return self.snapshot()

    def settle(self) -> None:
        """Make durable what the log says, whoever wrote it; the caller holds the store's lock.

        A line may be seen that is not on the disk: its writer was killed before the sync, or the sync failed, after
        which the system forgets what it could not write. So the log is written anew.

        Raises
        ------
        StoreError
            The disk refused.
        """
        self.snapshot()
        try:
            if self._end:
                file = self._disk.open(self.path)
                try:
                    content = file.read_at(0, self._end)
                finally:
                    file.close()
                publish(self._disk, self.path, [content])
            else:
                self._disk.sync_folder(self.path.rpartition("/")[0])
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written: {error.strerror}") from error

    def checkpoint(self, removed_after: int, *, least_bytes: int = CHECKPOINT_BYTES) -> bool:
        """Put a shorter log in the place of a long one and return whether it was worth it.

        The caller holds the store's lock. Lineages stay, and so does what was removed after an instant (ns UTC): those
        files may still lie on disk. Earlier versions can no longer be read.
        """
        self.snapshot()
        line = msgspec.json.encode(_marked(self._fold.checkpoint(removed_after))) + b"\n"
        if self._end < least_bytes or 2 * len(line) > self._end:
            return False
        try:
            publish(self._disk, self.path, [line])
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written: {error.strerror}") from error
        self.snapshot()
        return True

    def _extend(self, line: bytes) -> None:
        is_new = not self._disk.exists(self.path)
        file = self._disk.create(self.path) if is_new else self._disk.open(self.path)
        try:
            file.truncate(self._end)
            file.write_at(self._end, [line])
            file.sync()
        except OSError:
            # A line that perhaps never becomes durable must not be seen, or others would build on it.
            with suppress(OSError):
                file.truncate(self._end)
            raise
        finally:
            file.close()
        if not self._is_named:
            # Whoever made the file may have been killed before its name was durable.
            self._disk.sync_folder(self.path.rpartition("/")[0])
            self._is_named = True

    def _unread(self) -> bytes:
        try:
            file = self._disk.open(self.path)
        except FileNotFoundError:
            if self._end:
                self._forget()
            return b""
        try:
            size = file.size()
            if self._end and (size < self._end or file.read_at(0, len(self._head)) != self._head):
                self._forget()
            return file.read_at(self._end, size - self._end) if size > self._end else b""
        finally:
            file.close()

    def _take(self, content: bytes) -> None:
        lines = content.split(b"\n")
        taken: list[Write] = []
        end = self._end
        for index, line in enumerate(lines[:-1]):
            try:
                write = msgspec.json.decode(line, type=Write)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if index == len(lines) - 2 and not lines[-1]:
                    break
                number = len(self._writes) + len(taken) + 1
                raise StoreError(
                    f"{self.path}: line {number} is damaged ({error}); wanted one write as JSON"
                ) from error
            taken.append(write)
            end += len(line) + 1
        if not self._end:
            self._head = content[: min(HEAD_BYTES, end)]
        if taken:
            self._end = end
            self._writes = [*self._writes, *taken]
            self._fold.take(taken)
            self._latest = self._fold.snapshot()


def _marked(write: Write) -> dict[str, object]:
    """Return a write with what tells it apart first, so that no two checkpoints begin with the same bytes."""
    return {"version": write.version, "at": write.at, **msgspec.to_builtins(write)}
