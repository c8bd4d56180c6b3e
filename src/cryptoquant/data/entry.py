"""The facts that a manifest lists: a file with what it holds, and a write with the files it added and removed."""

import msgspec


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file of the store; times in nanoseconds UTC, ``path`` relative to the store (or to ``place``).

    Attributes
    ----------
    symbol, symbols
        The one symbol of the file, or, in recent files, ``""`` and all of them.
    first, last
        Smallest and largest ``time`` of its rows.
    keys
        A hash of the rows that does not depend on their order, by which a compaction proves that it kept them all;
        empty of recent files, of which ``sha256`` alone tells whether they are whole.
    is_distinct
        Whether the rows are in time order and no key occurs twice.
    positions
        Smallest and largest log position of its rows, none when they did not come through a log.
    place
        URL of another store folder (a colder tier) that holds the file; empty when it lies in this one.
    key
        The name of the key with which the file is encrypted; empty when it is not.
    written
        The version that its rows came with and their place in that write, by which files of one kind, timeframe and
        symbol are read: of rows that say otherwise the one written last counts. A file that is moved keeps it, and a
        merged one has the last of those that it replaces. The fold sets it where it is not said.
    """

    path: str
    kind: str
    timeframe: str
    symbol: str
    first: int
    last: int
    rows: int
    bytes: int
    sha256: str
    source: str
    symbols: tuple[str, ...] = ()
    keys: str = ""
    is_distinct: bool = False
    positions: tuple[int, int] | None = None
    place: str = ""
    key: str = ""
    written: tuple[int, int] = (0, 0)


class Write(msgspec.Struct, frozen=True, omit_defaults=True):
    """One write: the files it added and removed, seen all or not at all.

    Attributes
    ----------
    removed
        Paths of files that no longer count; they stay on disk for a grace period.
    lineage
        The key of a resumable download, or what a derived table was made from.
    published
        The last record of the log whose rows are in the store's files; later ones are read from the log itself.
    received
        The receive time of that record.
    at
        When the write was made; of a checkpoint the instant up to which it has forgotten what was removed.
    version
        Of a checkpoint: how many writes the log would have told up to here.
    lineages
        Of a checkpoint: the lineages of those writes.
    gone
        Of a checkpoint: files that no longer count and may still be there, each with when it was removed.
    """

    added: tuple[Entry, ...] = ()
    lineage: str | None = None
    removed: tuple[str, ...] = ()
    published: int | None = None
    received: int = 0
    at: int = 0
    version: int = 0
    lineages: tuple[str, ...] = ()
    gone: tuple[tuple[int, Entry], ...] = ()
