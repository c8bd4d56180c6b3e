"""Bugs planted in the path from the log to the files; whoever looks after its promises must find each of them."""

from collections.abc import Mapping, Sequence

import polars as pl

from cryptoquant.data import compaction, publication
from cryptoquant.data.entry import Entry, Write
from cryptoquant.data.manifest import Manifest
from cryptoquant.data.publisher import Publisher
from cryptoquant.data.store import Store
from cryptoquant.data.vault import Vault

replace_as_it_is = compaction._replace


class TwoLines(Store):
    """Moves ``published`` in a line of its own, after that of the files."""

    def publish_recent(self, frames: Mapping[str, pl.DataFrame], published: int, received: int) -> int:
        publication.add(self._vault, made_of(frames), None)
        self._vault.commit(lambda _: Write((), None, (), published, received, self._vault.clock()))
        return 0


class LineFirst(Store):
    """Lists the files before it writes them."""

    def publish_recent(self, frames: Mapping[str, pl.DataFrame], published: int, received: int) -> int:
        made = made_of(frames)
        added = tuple(entry for entry, _ in made)
        self._vault.commit(lambda _: Write(added, None, (), published, received, self._vault.clock()))
        for entry, content in made:
            self._vault.shelf.put(entry.path, content)
        return 0


class EagerPublisher(Publisher):
    """Drops segments before the manifest says that their records are in files."""

    def _publish(self) -> None:
        self.log.drop(self._last)
        super()._publish()


class Believing(Manifest):
    """Believes what it reads, durable or not."""

    def settle(self) -> None:
        self.snapshot()


def remove_first(vault: Vault, inputs: Sequence[Entry], outputs: Sequence[Entry]) -> int:
    """Delete what was merged before what came of it counts."""
    for entry in inputs:
        vault.shelf.delete(entry.path)
    return replace_as_it_is(vault, inputs, outputs)


def made_of(frames: Mapping[str, pl.DataFrame]) -> list[tuple[Entry, bytes]]:
    return [file for kind, rows in frames.items() if rows.height for file in publication._recent(kind, rows, None)]
