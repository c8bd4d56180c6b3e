"""The one decorator that turns a kernel into machine code, with a cache that never serves stale code.

numba keys its on-disk cache by the text of the kernel's own file. A kernel that calls a kernel of another file keeps
the old machine code of the callee when only that other file changes. Here the cache folder is salted with the source
of every module that holds kernels, so that any edit of any kernel starts a fresh cache.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

PACKAGE = Path(__file__).resolve().parent
MARK = f"from {__name__} import"


def kernel_sources(package: Path = PACKAGE) -> list[Path]:
    """Return the files that hold compiled kernels, sorted by path."""
    return sorted(path for path in package.rglob("*.py") if MARK in path.read_text(encoding="utf-8"))


def salt(package: Path = PACKAGE) -> str:
    """Return a digest of the names and texts of all kernel sources."""
    digest = hashlib.sha256()
    for path in kernel_sources(package):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@lru_cache(maxsize=1)
def cache_folder() -> Path:
    """Return the folder of this build's machine code: ``CQ_CACHE`` or the user's cache folder, salted."""
    chosen = os.environ.get("CQ_CACHE")
    root = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cryptoquant"
    folder = root / "kernels" / salt()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="cryptoquant-kernels-"))
    return folder


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` with numba: no Python objects, no global lock, no reordering of floats, cached on disk.

    IEEE order is kept (no fast math), so that a batch loop and an online update give the same bits.
    """
    import numba

    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(cache_folder())
    try:
        compiled: Callable[P, R] = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    finally:
        numba.config.CACHE_DIR = before
    return compiled


def plain(compiled: Callable[P, R]) -> Callable[P, R]:
    """Return the Python function of a kernel: the same arithmetic, faster than machine code for a handful of numbers.

    Entering machine code costs a fraction of a microsecond for each array. Both give the same bits.
    """
    function: Callable[P, R] = compiled.py_func  # type: ignore[attr-defined]
    return function
