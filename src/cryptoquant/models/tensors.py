"""Arrays of fitted models as safetensors files: names, shapes and numbers, and nothing that could run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cryptoquant.errors import BundleError


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> str:
    """Write arrays by name; return the file's name."""
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)
    return path.name


def read_tensors(path: Path, *wanted: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file by name.

    Raises
    ------
    BundleError
        The file cannot be read, or an array that is wanted is not in it.
    """
    try:
        tensors: dict[str, NDArray[Any]] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path.name} is no readable safetensors file: {error}") from error
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise BundleError(f"{path.name}: no array {', '.join(missing)}")
    return tensors
