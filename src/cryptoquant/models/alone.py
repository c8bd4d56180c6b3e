"""A fit computes alone: with one thread, so that its sums have one order; folds are what runs in parallel."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_DOOR = threading.Lock()
_LIMITED: dict[str, tuple[Any, int]] = {}
_INSIDE = [0]


@contextmanager
def alone() -> Iterator[None]:
    """Let linear algebra and OpenMP work with one thread, and give them back what they had.

    A pool of linear algebra belongs to the process: the first fit to enter limits it, the last to leave restores it,
    and one that a library has brought since is limited by the next to enter. OpenMP keeps a number for each thread.
    Libraries should be imported before.
    """
    from threadpoolctl import ThreadpoolController

    pools = ThreadpoolController()
    with _DOOR:
        _INSIDE[0] += 1
        for pool in pools.select(user_api="blas").lib_controllers:
            if pool.filepath not in _LIMITED:
                _LIMITED[pool.filepath] = pool, pool.num_threads
                _set(pool, 1)
    try:
        with pools.select(user_api="openmp").limit(limits=1):
            yield
    finally:
        with _DOOR:
            _INSIDE[0] -= 1
            while not _INSIDE[0] and _LIMITED:
                pool, threads = _LIMITED.popitem()[1]
                _set(pool, threads)


def _set(pool: Any, threads: int) -> None:
    """Set a pool from whatever thread: since threadpoolctl 3.8 OpenBLAS listens to the first that did, until freed."""
    free = getattr(pool, "clear_controlling_thread", None)
    if free is not None:
        free(force=True)
    pool.set_num_threads(threads)
    if free is not None:
        free(force=True)
