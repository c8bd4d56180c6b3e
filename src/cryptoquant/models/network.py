"""The files of a fitted network: its weights by torch's names, and the scale of the rows that it learned from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import BundleError
from cryptoquant.models.standard import Singles, Standard
from cryptoquant.models.tensors import read_tensors, write_tensors

Weights = Mapping[str, NDArray[np.float32]]
LINE = 64


def write_network(path: Path, weights: Weights, standard: Standard) -> str:
    """Write the weights, ``mean`` and ``deviation``; return the file's name."""
    tensors: dict[str, NDArray[Any]] = {**weights, "mean": standard.mean, "deviation": standard.deviation}
    return write_tensors(path, tensors)


def read_network(path: Path, shapes: Mapping[str, tuple[int, ...]], inputs: int) -> tuple[Weights, Standard]:
    """Return the weights and the scale of a network's file.

    Raises
    ------
    BundleError
        An array is missing or has another shape or type.
    """
    kinds: dict[str, tuple[tuple[int, ...], Any]] = {name: (shape, np.float32) for name, shape in shapes.items()}
    kinds |= dict.fromkeys(("mean", "deviation"), ((inputs,), np.float64))
    tensors = read_tensors(path, *kinds)
    for name, (shape, number) in kinds.items():
        if tensors[name].shape != shape or tensors[name].dtype != number:
            found = f"{tensors[name].dtype} of shape {tensors[name].shape}"
            raise BundleError(f"{path.name}: {name} is {found}, wanted {np.dtype(number)} of shape {shape}")
    return {name: tensors[name] for name in shapes}, Standard(tensors["mean"], tensors["deviation"])


def aligned(numbers: NDArray[np.float32]) -> Singles:
    """Return numbers in C order, flat, from where a line of the processor's cache begins: a third faster to read."""
    raw = np.empty(4 * numbers.size + LINE, dtype=np.uint8)
    start = -raw.ctypes.data % LINE
    out = raw[start : start + 4 * numbers.size].view(np.float32)
    out[:] = numbers.ravel()
    return out
