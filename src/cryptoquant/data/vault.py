"""A store's files and the manifest over them: what every part of the store reads from and writes to."""

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from cryptoquant.data.disk import Disk, LocalDisk
from cryptoquant.data.encryption import KeyRing, opening
from cryptoquant.data.entry import Entry, Write
from cryptoquant.data.layout import VERSION
from cryptoquant.data.lock import only_writer
from cryptoquant.data.manifest import Manifest
from cryptoquant.data.object_store import ObjectShelf
from cryptoquant.data.opening import Opener
from cryptoquant.data.remote_manifest import RemoteManifest
from cryptoquant.data.shelf import LocalShelf, Shelf
from cryptoquant.data.snapshot import Snapshot
from cryptoquant.data.subscription import Follower
from cryptoquant.data.tail import LogTail, last_sequence
from cryptoquant.errors import StoreError, StoreLayoutError

MARK = "store.json"
OWN = ("log",)
FILE = "file://"


@dataclass(frozen=True, slots=True)
class RemoteRoot:
    """The URL of a store that is no folder: whoever needs a folder, as a recorder for its log, is refused."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __fspath__(self) -> str:
        raise StoreError(f"store {self.url}: lies in an object store; wanted a local folder, as a recorder's log needs")


Root = Path | RemoteRoot


def root_of(place: str | Path | RemoteRoot) -> Root:
    """Return the folder of a path or of a ``file://`` URL, and of other URLs the URL."""
    said = str(place)
    if said.startswith(FILE):
        return Path(url2pathname(urlsplit(said).path))
    return RemoteRoot(said.rstrip("/")) if "://" in said else Path(said)


def place_of(said: str | Path | RemoteRoot) -> str:
    """Return the one way in which a place is told: the resolved path, or the URL without a slash at its end."""
    root = root_of(said)
    return str(root) if isinstance(root, RemoteRoot) else str(root.resolve())


@dataclass(frozen=True, slots=True)
class Access:
    """What a store needs to be opened, beside its place.

    Attributes
    ----------
    disk
        What writes to a local folder go through, by default the folder itself.
    storage
        Options for fsspec's file system of a URL.
    ring
        The keys of encryption.
    """

    disk: Disk | None = None
    storage: Mapping[str, Any] | None = None
    ring: KeyRing | None = None


class Vault:
    """The place of a store.

    Parameters
    ----------
    root
        A local folder, made by the first write, or a URL.
    access
        How to open it.
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
        self, root: Root, clock: Callable[[], int], access: Access | None = None, *, version: int | None = None
    ) -> None:
        self.root, self.clock, self.version = root, clock, version
        self.access = access = Access() if access is None else access
        self.ring = access.ring
        self.disk: Disk | None = None
        if isinstance(root, RemoteRoot):
            remote = ObjectShelf(root.url, access.storage)
            self.shelf: Shelf = remote
            self.manifest: Manifest | RemoteManifest = RemoteManifest(remote)
        else:
            self.disk = LocalDisk(root) if access.disk is None else access.disk
            self.shelf, self.manifest = LocalShelf(self.disk), Manifest(self.disk)
        self._others: dict[str, Shelf] = {}
        self._tiers: dict[str, str] = {}
        self._past: Snapshot | None = None
        self.opener = Opener(self.shelf_of, self.ring)
        self._check_layout()

    @property
    def place(self) -> str:
        """The store as the place of a tier."""
        return place_of(self.root)

    def tier(self, place: str) -> str:
        """Return the place of a file as it is told in one way only; ``""`` is the store's own, however it is told."""
        if place not in self._tiers:
            told = place_of(place) if place else ""
            self._tiers[place] = "" if told == self.place else told
        return self._tiers[place]

    def tier_below(self, place: str) -> str:
        """Return the place of this store's files below a place that several stores may share.

        Raises
        ------
        ValueError
            The place is a store or lies in one, which would take the files for leftovers.
        StoreError
            The store is opened at an earlier version.
        """
        with self.only_writer():
            about = json.loads(self.shelf.get(MARK))
            if "id" not in about:
                about["id"] = _new_id()
                self.shelf.put(MARK, json.dumps(about).encode())
        root = root_of(place)
        if isinstance(root, RemoteRoot):
            is_store = f"{place}/".startswith(f"{self.place}/") or self.shelf_of(place).exists(MARK)
        else:
            is_store = any(os.path.exists(folder / MARK) for folder in (root, *root.parents))
        if is_store:
            raise ValueError(f"{place} is a store or lies in one; wanted another place")
        return f"{place}/{about['id']}"

    def tail(self) -> LogTail | None:
        """Return a reader of the log in the store's folder; None where there can be none."""
        return None if self.disk is None else LogTail(self.disk, cipher=opening(self.ring))

    def follower(self, kinds: Sequence[str] | None, symbols: Sequence[str] | None) -> Follower:
        """Return the stream of the recorder, from now on; StoreError where there can be none."""
        root, cipher = Path(self.root), opening(self.ring)
        last = last_sequence(LocalDisk(root), self.snapshot().published, cipher)
        return Follower(root, kinds, symbols, after=last, cipher=cipher)

    def past(self, version: int) -> "Vault":
        """Return the vault as it was after so many writes; StoreError when that can no longer be told."""
        vault = Vault(self.root, self.clock, self.access, version=version)
        vault.snapshot()
        return vault

    def snapshot(self) -> Snapshot:
        """Return what the store holds, now or at its version."""
        if self.version is None:
            return self.manifest.snapshot()
        if self._past is None:
            self._past = self.manifest.at(self.version)
        return self._past

    def shelf_of(self, place: str) -> Shelf:
        """Return the shelf of a tier; ``""`` is the store's own place."""
        if not place:
            return self.shelf
        if place not in self._others:
            root = root_of(place)
            if isinstance(root, RemoteRoot):
                self._others[place] = ObjectShelf(root.url, self.access.storage)
            else:
                self._others[place] = LocalShelf(LocalDisk(root))
        return self._others[place]

    def has_key(self, entry: Entry) -> bool:
        """Whether a file is not encrypted, or its key is here."""
        return not entry.key or (self.ring is not None and entry.key in self.ring.names)

    def has_old_key(self, entry: Entry) -> bool:
        """Whether a file is encrypted with another key than the current one, or not at all though there is one."""
        return self.ring is not None and self.ring.current not in ("", entry.key)

    def check_present(self) -> None:
        """Raise StoreError when the store is opened at an earlier version, to which nothing can be written."""
        if self.version is not None:
            raise StoreError(f"store {self.root}: opened at version {self.version}; wanted the present to write to")

    def restore(self, files: Iterable[tuple[Entry, bytes]]) -> None:
        """Put files again that are not there; under the lock of a local store none can go.

        Elsewhere a vacuum of another machine takes a file that waits for its commit longer than the grace for a
        leftover.
        """
        if self.disk is None:
            for entry, content in files:
                if not self.shelf.exists(entry.path):
                    self.shelf.put(entry.path, content)

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Hold the lock of a local store, so that nobody else changes the manifest.

        An object store has none: there a commit that comes too late is decided again, and what is deleted is old.
        """
        self.check_present()
        self.create()
        if isinstance(self.root, RemoteRoot):
            yield
            return
        with only_writer(self.root / ".lock"):
            yield

    def commit(self, decide: Callable[[Snapshot], Write | None]) -> Snapshot:
        """Add the write that ``decide`` makes of the present state to the manifest, unless it makes none.

        It may be called several times, when other writers are faster.
        """
        with self.only_writer():
            return self.manifest.commit(decide)

    def settle(self) -> None:
        """Make durable what the manifest says, before anything is removed because another process wrote it."""
        with self.only_writer():
            self.manifest.settle()

    def create(self) -> None:
        """Make the place a store, if it is not one yet."""
        if not self.shelf.exists(MARK):
            self._check_layout()
            self.shelf.put(MARK, json.dumps({"layout": VERSION, "id": _new_id()}).encode())
        if isinstance(self.root, Path):
            self.root.mkdir(parents=True, exist_ok=True)

    def _check_layout(self) -> None:
        if isinstance(self.root, Path) and self.root.exists() and not self.root.is_dir():
            raise StoreLayoutError(f"store {self.root}: found a file, wanted a folder")
        if not self.shelf.exists(MARK):
            foreign = [name for name in self.shelf.names() if not name.startswith(".") and name not in OWN]
            # Of two who make a store at once the other may have put it meanwhile.
            if foreign and not self.shelf.exists(MARK):
                raise StoreLayoutError(f"store {self.root}: found {foreign[0]} but no {MARK}; wanted an empty folder")
            return
        try:
            found = json.loads(self.shelf.get(MARK))["layout"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreLayoutError(f"{self.root}/{MARK}: cannot be read; wanted layout version {VERSION}") from error
        if found != VERSION:
            raise StoreLayoutError(f"store {self.root}: found layout version {found}, wanted {VERSION}")


def _new_id() -> str:
    return uuid.uuid4().hex[:16]
