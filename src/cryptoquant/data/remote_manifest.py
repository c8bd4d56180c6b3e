"""The list of what a store holds, where nothing can be appended to: one numbered object per write, created once."""

import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

from cryptoquant.data.entry import Entry, Write
from cryptoquant.data.snapshot import Fold, Snapshot
from cryptoquant.errors import StoreError

COMMIT, STATE = ".json", ".state"
EVERY = 64
REMEMBERED = 1_000
ATTEMPTS = 10
T = TypeVar("T")


class Objects(Protocol):
    """Whole objects, seen by everybody as soon as they are put; FileNotFoundError for one that is not there."""

    def put(self, path: str, content: bytes) -> None:
        """Store an object."""

    def create(self, path: str, content: bytes) -> bool:
        """Store an object unless there is one; of several who try at once, one is told True."""

    def fetch(self, paths: Sequence[str]) -> list[bytes]:
        """Return the contents of objects."""

    def delete(self, path: str, *, unless_after: int | None = None) -> bool:
        """Remove an object."""

    def listing(self, folder: str, after: str = "") -> list[tuple[str, int]]:
        """Return the names in a folder that sort after a name, each with its modification time (ns UTC)."""


class Commit(msgspec.Struct, frozen=True):
    """One write and a token by which its writer knows it again."""

    token: str
    write: Write


class State(msgspec.Struct, frozen=True):
    """All writes up to a number, merged, and the tokens of the last ones."""

    tokens: dict[int, str]
    writes: list[Write]


class RemoteManifest:
    """Numbered commits under one folder of an object store, and the fold over them.

    The commit after number n is the object n + 1, and only one writer can create it: another one finds the name taken,
    reads what was written and decides again. Now and then a writer puts a checkpoint beside the commits, which says
    all writes up to its number in short; readers go on from the newest one, and old commits are deleted after a grace.

    A writer that slept longer than that grace may create a commit that others have made, merged and deleted before.
    It notices, for the checkpoint does not name its token; nobody reads a commit that a checkpoint covers.
    """

    def __init__(self, objects: Objects, folder: str = "_manifest", *, every: int = EVERY) -> None:
        self.path = folder
        self._objects, self._every = objects, every
        self._taking = threading.RLock()
        self._checkpoint = 0
        self._begin(State({}, []))

    def _begin(self, state: State) -> None:
        self._fold, self._tokens = Fold(), dict(state.tokens)
        self._fold.take(state.writes)
        self._latest = self._fold.snapshot()

    def removed(self) -> list[tuple[int, Entry]]:
        """Return the files that no longer count and may still be there, each with when it was removed (ns UTC)."""
        with self._taking:
            self.snapshot()
            return self._fold.removed()

    def snapshot(self) -> Snapshot:
        """Return what the store holds now; it stays as it is while the store goes on.

        Raises
        ------
        StoreError
            A commit is missing or damaged, or the object store does not answer.
        """
        with self._taking:
            for _ in range(ATTEMPTS):
                if self._catch_up():
                    return self._latest
            raise StoreError(f"{self.path}: commit {self._fold.version + 1} is missing, later ones are there")

    def at(self, version: int) -> Snapshot:
        """Return what the store held after ``version`` writes.

        Raises
        ------
        StoreError
            There were fewer writes, or the commits up to there have been merged and deleted.
        """
        if version == 0:
            return Fold().snapshot()
        commits, states = self._listed(0)
        start = max((number for number in states if number <= version), default=0)
        wanted = range(start + 1, version + 1)
        if not set(wanted) <= commits.keys():
            raise StoreError(f"{self.path}: version {version} cannot be told; the newest is {self.snapshot().version}")
        fold = Fold()
        if start:
            fold.take(self._state(start).writes)
        fold.take([commit.write for commit in self._commits(wanted)])
        return fold.snapshot()

    def commit(self, decide: Callable[[Snapshot], Write | None]) -> Snapshot:
        """Add the write that ``decide`` makes of the present state, unless it makes none; return the state then.

        ``decide`` is called again when another writer was faster.

        Raises
        ------
        StoreError
            The object store refused; whether the write counts is known only by reading the manifest again.
        """
        token = uuid.uuid4().hex
        while True:
            before = self.snapshot()
            write = decide(before)
            if write is None:
                return before
            number = before.version + 1
            is_made = self._objects.create(self._name(number, COMMIT), msgspec.json.encode(Commit(token, write)))
            with self._taking:
                after = self.snapshot()
                # A request that was answered too late and sent again finds its own commit.
                if self._tokens.get(number) == token:
                    if number - self._checkpoint >= self._every:
                        self._put_checkpoint(-1)
                    return after
            if is_made:
                self._objects.delete(self._name(number, COMMIT))

    def append(self, write: Write) -> Snapshot:
        """Add one write on top of whatever there is; errors as `commit`."""
        return self.commit(lambda snapshot: write)

    def settle(self) -> None:
        """Do nothing: an object that is seen is durable."""

    def checkpoint(self, removed_after: int, *, least_commits: int | None = None) -> bool:
        """Merge the commits when there are many new ones or there is something to forget; return whether it was due.

        What was removed after an instant (ns UTC) stays known, and commits that were put after it stay; older ones are
        deleted.
        """
        with self._taking:
            version = self.snapshot().version
            is_long = version - self._checkpoint >= max(1, self._every if least_commits is None else least_commits)
            is_due = is_long or any(at <= removed_after for at, _ in self._fold.removed())
            if is_due:
                self._begin(self._put_checkpoint(removed_after))
        commits, states = self._listed(0)
        newest = max(states, default=0)
        for numbers, suffix in ((commits, COMMIT), (states, STATE)):
            for number, modified in numbers.items():
                if number < newest and modified <= removed_after:
                    self._objects.delete(self._name(number, suffix))
        return is_due

    def _put_checkpoint(self, removed_after: int) -> State:
        version = self._fold.version
        state = State(self._tokens, [self._fold.checkpoint(removed_after)])
        self._objects.put(self._name(version, STATE), msgspec.json.encode(state))
        self._checkpoint = version
        return state

    def _catch_up(self) -> bool:
        """Take what was added since the last look; False when a commit is not there that has to be."""
        commits, states = self._listed(self._fold.version)
        try:
            if states:
                self._checkpoint = max(states)
                self._begin(self._state(self._checkpoint))
            version = self._fold.version
            news = sorted(number for number in commits if number > version)
            wanted = [number for place, number in enumerate(news, version + 1) if number == place]
            taken = self._commits(wanted)
        except FileNotFoundError:
            return False  # merged and deleted meanwhile
        if taken:
            self._fold.take([commit.write for commit in taken])
            self._tokens.update(zip(wanted, (commit.token for commit in taken), strict=True))
            for number in list(self._tokens)[: max(0, len(self._tokens) - REMEMBERED)]:
                del self._tokens[number]
            self._latest = self._fold.snapshot()
        return bool(wanted) or not news

    def _listed(self, after: int) -> tuple[dict[int, int], dict[int, int]]:
        """Return the numbers of commits and of checkpoints after one, each with its modification time (ns UTC)."""
        found: dict[str, dict[int, int]] = {COMMIT: {}, STATE: {}}
        for name, modified in self._objects.listing(self.path, f"{after:020d}~"):
            number, suffix = name[:20], name[20:]
            if suffix in found and number.isdigit():
                found[suffix][int(number)] = modified
        return found[COMMIT], found[STATE]

    def _commits(self, numbers: Sequence[int]) -> list[Commit]:
        names = [self._name(number, COMMIT) for number in numbers]
        contents = self._objects.fetch(names) if names else []
        return [_decoded(name, content, Commit) for name, content in zip(names, contents, strict=True)]

    def _state(self, number: int) -> State:
        name = self._name(number, STATE)
        return _decoded(name, self._objects.fetch([name])[0], State)

    def _name(self, number: int, suffix: str) -> str:
        return f"{self.path}/{number:020d}{suffix}"


def _decoded(name: str, content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{name}: is damaged ({error}); wanted a {kind.__name__.lower()} as JSON") from error
