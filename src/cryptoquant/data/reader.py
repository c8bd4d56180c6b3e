"""Whoever reads looks at one moment of the store, and looks again when its files have gone meanwhile."""

from collections.abc import Callable
from copy import copy
from typing import Any, TypeVar

import polars as pl

from cryptoquant.data.cache import Cache
from cryptoquant.data.entry import Entry
from cryptoquant.data.reading import Tail, View
from cryptoquant.data.vault import Vault
from cryptoquant.errors import EmptyStoreError, StoreError

T = TypeVar("T")
ATTEMPTS = 20


class Reader:
    """Gives views of a vault: its files and, at the present, the tail of the log behind them.

    Attributes
    ----------
    tail
        What there is beyond the files; by default the log in the store's folder.
    """

    def __init__(self, vault: Vault, cache: Cache | None) -> None:
        self.cache = cache
        self.tail: Tail | None = vault.tail()
        self._vault = vault
        self._is_steady = False
        self._moment: View | None = None

    def steady(self) -> "Reader":
        """Return a reader that looks once, and again only when a file of what it saw has been deleted."""
        other = copy(self)
        other._is_steady, other._moment = True, None
        return other

    def seen(self, read: Callable[[View], T]) -> T:
        """Return what a function reads from one view.

        A file that a compaction has replaced and a vacuum deleted since, or a part of the log that has been published
        since, is no error: the function is called again with a new view.

        Raises
        ------
        StoreError
            A file is missing that the newest manifest names.
        """
        seen: list[int] = []
        gone = FileNotFoundError()
        for _ in range(ATTEMPTS):
            snapshot = self._vault.snapshot()
            if seen.count(snapshot.version) > 1:
                break
            tail = self.tail if self._vault.version is None else None
            view = self._moment or View(snapshot, self._vault.opener, tail, self.cache)
            self._moment = view if self._is_steady else None
            try:
                return read(view)
            except FileNotFoundError as error:
                seen.append(view.snapshot.version)
                self._moment, gone = None, error
        what = next((entry.path for entry in snapshot.entries() if not self._is_there(entry)), str(gone))
        raise StoreError(f"store {self._vault.root}: {what} is missing") from gone

    def _is_there(self, entry: Entry) -> bool:
        return self._vault.shelf_of(entry.place).exists(entry.path)


def found(where: str, kind: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows; raise EmptyStoreError when there are none."""
    if not frame.height:
        raise EmptyStoreError(f"{where}: no {kind} in the range asked; see store.summary() for what is there")
    return frame


def given(frame: pl.DataFrame, as_: str) -> Any:
    """Return rows in the library asked for."""
    if as_ == "pandas":
        return frame.to_pandas()
    if as_ == "arrow":
        return frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    if as_ != "polars":
        raise ValueError(f"as_ is {as_!r}, wanted 'polars', 'pandas' or 'arrow'")
    return frame
