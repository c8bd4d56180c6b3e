"""A fitted temporal convolution as it is served: compiled, without torch, and only what the last row depends on."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import bounded, fused, kernel, lanes_at, put_lanes, spread
from cryptoquant.errors import BundleError
from cryptoquant.market.signal import SignalKind
from cryptoquant.models.network import Weights, aligned, read_network, write_network
from cryptoquant.models.standard import Floats, Singles, Standard, standardise

EACH = 16
ZERO, ONE, ENDLESS = np.float32(0.0), np.float32(1.0), np.float32(np.inf)
PLAIN, RECTIFIED, ADDED = 0, 1, 2


@kernel
def rectified(x: Any) -> Any:
    """Return lanes with what is below zero as zero."""
    return bounded(x, spread(ZERO), spread(ENDLESS))


@kernel
def finished(x: Any, out: Singles, at: int, finish: int) -> Any:
    """Return the value to write: as it is, rectified, or rectified and added to what stands there."""
    if finish == PLAIN:
        return x
    if finish == RECTIFIED:
        return rectified(x)
    return rectified(fused(spread(ONE), rectified(x), lanes_at(out, at)))


@kernel
def convolve(
    x: Singles,
    width: int,
    inputs: int,
    table: Singles,
    bias: Singles,
    size: int,
    dilation: int,
    step: int,
    last: int,
    low: int,
    out: Singles,
    finish: int,
) -> None:
    """Write one causal convolution at the rows ``last, last - step ...`` down to ``low``, four rows at a time.

    ``x`` has ``width`` numbers a row, of which ``inputs`` count, and zeros before its window; ``table`` is packed as
    (blocks of 16 channels, taps, inputs, 16).
    """
    padded = len(bias)
    for block in range(padded // EACH):
        for row in range(last, low - 1, -4 * step):
            # Where fewer than four rows are left, the last of them is computed again.
            two = max(row - step, low + (row - low) % step)
            three = max(row - 2 * step, low + (row - low) % step)
            four = max(row - 3 * step, low + (row - low) % step)
            a = b = c = d = lanes_at(bias, EACH * block)
            place = block * size * inputs * EACH
            for tap in range(size):
                back = (size - 1 - tap) * dilation
                k, m, n, o = (row - back) * width, (two - back) * width, (three - back) * width, (four - back) * width
                for j in range(inputs):
                    weight = lanes_at(table, place)
                    a = fused(spread(x[k + j]), weight, a)
                    b = fused(spread(x[m + j]), weight, b)
                    c = fused(spread(x[n + j]), weight, c)
                    d = fused(spread(x[o + j]), weight, d)
                    place += EACH
            at = EACH * block
            a, b = finished(a, out, row * padded + at, finish), finished(b, out, two * padded + at, finish)
            c, d = finished(c, out, three * padded + at, finish), finished(d, out, four * padded + at, finish)
            put_lanes(out, row * padded + at, a)
            put_lanes(out, two * padded + at, b)
            put_lanes(out, three * padded + at, c)
            put_lanes(out, four * padded + at, d)


@kernel
def tcn_rows(
    rows: Floats,
    mean: Floats,
    inverse: Floats,
    tables: Singles,
    head: Floats,
    levels: int,
    size: int,
    window: int,
    out: Floats,
) -> None:
    """Write the probability of a rise for each window of rows, each from its own rows alone.

    ``tables`` holds the packed shortcut of the first level and its bias, then of each level the two convolutions, each
    with its bias; ``head`` the weights of the last row's channels and, at its end, the bias.
    """
    count, width = rows.shape
    channels = len(head) - 1
    padded = (channels + EACH - 1) // EACH * EACH
    before = (size - 1) << (levels - 1)
    scaled = np.empty(count * width, np.float32)
    standardise(rows, mean, inverse, scaled)
    x = np.zeros((before + window) * width, np.float32)
    stream = np.zeros((before + window) * padded, np.float32)
    inner = np.zeros((before + window) * padded, np.float32)
    last = before + window - 1
    shortcut = padded * width
    for first in range(count - window + 1):
        x[before * width :] = scaled[first * width : (first + window) * width]
        place = shortcut + padded
        reach = 2 * (size - 1) * ((1 << levels) - 1)
        for level in range(levels):
            dilation, inputs = 1 << level, channels if level else width
            length = padded * size * inputs
            middle = place + length + padded
            end = middle + padded * size * channels
            reach -= (size - 1) * dilation
            low = max(before, last - reach)
            weights, bias = tables[place : place + length], tables[place + length : middle]
            source, stride = (stream, padded) if level else (x, width)
            convolve(source, stride, inputs, weights, bias, size, dilation, dilation, last, low, inner, RECTIFIED)
            reach -= (size - 1) * dilation
            low, step = max(before, last - reach), 2 * dilation
            if not level:
                weights, bias = tables[:shortcut], tables[shortcut : shortcut + padded]
                convolve(x, width, width, weights, bias, 1, 1, step, last, low, stream, PLAIN)
            weights, bias = tables[middle:end], tables[end : end + padded]
            convolve(inner, padded, channels, weights, bias, size, dilation, step, last, low, stream, ADDED)
            place = end + padded
        value = head[channels]
        for channel in range(channels):
            value += head[channel] * np.float64(stream[last * padded + channel])
        out[first] = 1.0 / (1.0 + np.exp(-value))


def packed(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return a convolution of torch's order (channels, inputs, taps) as (blocks, taps, inputs, 16), then its bias.

    Channels are filled up with zeros to a multiple of 16.
    """
    channels, inputs, taps = weight.shape
    blocks = -(-channels // EACH)
    whole = np.zeros((blocks * EACH, inputs, taps), dtype=np.float32)
    whole[:channels] = weight
    table = np.ascontiguousarray(whole.reshape(blocks, EACH, inputs, taps).transpose(0, 3, 2, 1)).ravel()
    return [table, np.concatenate([bias, np.zeros(blocks * EACH - channels, dtype=np.float32)])]


@dataclass(frozen=True, eq=False)
class Convolutional:
    """A fitted temporal convolution; values are probabilities of a rise.

    Attributes
    ----------
    weights
        By torch's names: ``blocks.0.first.weight`` and so on, ``head.weight``, ``head.bias``; float32.
    standard
        The scale of the rows that it learned from.
    window
        How many rows a value is computed from.
    """

    weights: Weights
    standard: Standard
    window: int
    kind: SignalKind = "probability"

    @cached_property
    def shape(self) -> dict[str, int]:
        """What another temporal convolution must have in common to go on from here."""
        channels, _, taps = self.weights["blocks.0.second.weight"].shape
        levels = sum(name.endswith(".second.weight") for name in self.weights)
        return {"window": self.window, "channels": channels, "levels": levels, "kernel": taps}

    @cached_property
    def _tables(self) -> Singles:
        names = ["blocks.0.shortcut"]
        for level in range(self.shape["levels"]):
            names += [f"blocks.{level}.first", f"blocks.{level}.second"]
        parts = [packed(self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]) for name in names]
        return aligned(np.concatenate([table for part in parts for table in part]))

    @cached_property
    def _head(self) -> Floats:
        return np.concatenate([self.weights["head.weight"][0], self.weights["head.bias"]]).astype(np.float64)

    def predict(self, rows: Floats) -> Floats:
        """Return the probability of a rise for each window; raises ModelError for another number of features."""
        table = self.standard.checked(rows)
        out = np.empty(max(0, len(table) - self.window + 1))
        if len(out):
            scale, levels, size = self.standard, self.shape["levels"], self.shape["kernel"]
            tcn_rows(table, scale.mean, scale.inverse, self._tables, self._head, levels, size, self.window, out)
        return out

    def save(self, folder: Path, name: str = "model") -> dict[str, Any]:
        """Write ``<name>.safetensors``: the weights by torch's names, ``mean`` and ``deviation``."""
        file = write_network(folder / f"{name}.safetensors", self.weights, self.standard)
        return {"format": "tcn", "file": file, "features": len(self.standard.mean), **self.shape}

    @classmethod
    def read(cls, folder: Path, description: Mapping[str, Any], read: object) -> "Convolutional":
        """Return what ``save`` wrote; raises BundleError where the arrays are not those of the description."""
        channels, taps, inputs = description["channels"], description["kernel"], description["features"]
        if min(description["window"], description["levels"], channels, taps, inputs) < 1:
            raise BundleError(f"{description['file']}: sizes from 1 wanted, found {dict(description)}")
        shapes: dict[str, tuple[int, ...]] = {"head.weight": (1, channels), "head.bias": (1,)}
        shapes |= {"blocks.0.shortcut.weight": (channels, inputs, 1), "blocks.0.shortcut.bias": (channels,)}
        for level in range(description["levels"]):
            shapes[f"blocks.{level}.first.weight"] = (channels, channels if level else inputs, taps)
            shapes[f"blocks.{level}.second.weight"] = (channels, channels, taps)
            shapes |= {f"blocks.{level}.{part}.bias": (channels,) for part in ("first", "second")}
        weights, standard = read_network(folder / description["file"], shapes, inputs)
        return cls(weights, standard, description["window"])
