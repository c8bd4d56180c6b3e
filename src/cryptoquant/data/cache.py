"""Decoded files kept in memory for the next question, up to a number of bytes."""

import threading
from collections import OrderedDict
from typing import NamedTuple

import polars as pl

Key = tuple[str, tuple[str, ...]]


class CacheStatus(NamedTuple):
    """How often a decoded file was there, how often not, and what is kept."""

    hits: int
    misses: int
    files: int
    bytes: int


class Cache:
    """Frames by file and columns; the one used longest ago goes first. Files never change, so nothing gets stale."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._frames: OrderedDict[Key, tuple[pl.DataFrame, int]] = OrderedDict()
        self._changing = threading.Lock()
        self._bytes = self._hits = self._misses = 0

    def get(self, key: Key) -> pl.DataFrame | None:
        """Return a frame, or None when it is not kept."""
        with self._changing:
            found = self._frames.get(key)
            self._hits += found is not None
            self._misses += found is None
            if found is None:
                return None
            self._frames.move_to_end(key)
            return found[0]

    def put(self, key: Key, frame: pl.DataFrame) -> None:
        """Keep a frame, unless it alone is larger than the limit."""
        size = int(frame.estimated_size())
        if size > self.limit_bytes:
            return
        with self._changing:
            if key in self._frames:
                return
            self._frames[key] = (frame, size)
            self._bytes += size
            while self._bytes > self.limit_bytes:
                self._bytes -= self._frames.popitem(last=False)[1][1]

    def status(self) -> CacheStatus:
        """Return the counters."""
        with self._changing:
            return CacheStatus(self._hits, self._misses, len(self._frames), self._bytes)
