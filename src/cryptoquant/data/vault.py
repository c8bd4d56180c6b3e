"""A store's files and the manifest over them: what every part of the store reads from and writes to."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptoquant.data.disk import Disk, LocalDisk
from cryptoquant.data.entry import Write
from cryptoquant.data.layout import VERSION
from cryptoquant.data.lock import only_writer
from cryptoquant.data.manifest import Manifest
from cryptoquant.data.shelf import LocalShelf, Shelf, open_shelf
from cryptoquant.data.snapshot import Snapshot
from cryptoquant.errors import StoreError, StoreLayoutError

MARK = "store.json"
OWN = ("log",)


class Vault:
    """The folder of a store.

    Parameters
    ----------
    root
        A local folder, made by the first write.
    disk
        By default the folder itself.
    clock
        The present in nanoseconds UTC.
    version
        Only what the store held after that many writes; nothing can be written then.

    Raises
    ------
    StoreLayoutError
        The folder holds something else, or a store of another layout version.
    """

    def __init__(
        self, root: Path, clock: Callable[[], int], *, disk: Disk | None = None, version: int | None = None
    ) -> None:
        self.root, self.clock, self.version = root, clock, version
        self.disk: Disk = LocalDisk(root) if disk is None else disk
        self.shelf: Shelf = LocalShelf(self.disk)
        self.manifest = Manifest(self.disk)
        self._others: dict[str, Shelf] = {}
        self._check_layout()

    def snapshot(self) -> Snapshot:
        """Return what the store holds, now or at its version."""
        return self.manifest.snapshot() if self.version is None else self.manifest.at(self.version)

    def shelf_of(self, place: str) -> Shelf:
        """Return the shelf of a tier; ``""`` is the store's own folder."""
        if not place:
            return self.shelf
        if place not in self._others:
            self._others[place] = open_shelf(place)
        return self._others[place]

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Hold the store's lock, so that nobody else changes the manifest."""
        if self.version is not None:
            raise StoreError(f"store {self.root}: opened at version {self.version}; wanted the present to write to")
        self.create()
        with only_writer(self.root / ".lock"):
            yield

    def append(self, write: Write) -> Snapshot:
        """Add a write to the manifest; the caller holds the lock."""
        return self.manifest.append(write)

    def settle(self) -> None:
        """Make durable what the manifest says, before anything is removed because another process wrote it."""
        with self.only_writer():
            self.manifest.settle()

    def create(self) -> None:
        """Make the folder a store, if it is not one yet."""
        if not self.disk.exists(MARK):
            self._check_layout()
            self.shelf.put(MARK, json.dumps({"layout": VERSION}).encode())
        self.root.mkdir(parents=True, exist_ok=True)

    def _check_layout(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise StoreLayoutError(f"store {self.root}: found a file, wanted a folder")
        if not self.disk.exists(MARK):
            foreign = [name for name in self.disk.listing("") if not name.startswith(".") and name not in OWN]
            if foreign:
                raise StoreLayoutError(f"store {self.root}: found {foreign[0]} but no {MARK}; wanted an empty folder")
            return
        try:
            found = json.loads(self.shelf.get(MARK))["layout"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreLayoutError(f"{self.root / MARK}: cannot be read; wanted layout version {VERSION}") from error
        if found != VERSION:
            raise StoreLayoutError(f"store {self.root}: found layout version {found}, wanted {VERSION}")
