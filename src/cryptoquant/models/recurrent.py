"""A fitted LSTM as it is served: compiled, without torch, the same bits for a window alone and among others."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import bounded, divided, fused, kernel, lanes_at, put_lanes, spread, times
from cryptoquant.errors import BundleError
from cryptoquant.market.signal import SignalKind
from cryptoquant.models.network import Weights, aligned, read_network, write_network
from cryptoquant.models.standard import Floats, Singles, Standard, standardise

EACH, GATES = 16, 4
BLOCK = EACH * GATES
ZERO, HALF, NINE = (np.float32(value) for value in (0.0, 0.5, 9.0))
A1, A3, A5 = (np.float32(value) for value in (4.89352455891786e-03, 6.37261928875436e-04, 1.48572235717979e-05))
A7, A9, A11 = (np.float32(value) for value in (5.12229709037114e-08, -8.60467152213735e-11, 2.00018790482477e-13))
A13 = np.float32(-2.76076847742355e-16)
B0, B2 = (np.float32(value) for value in (4.89352518554385e-03, 2.26843463243900e-03))
B4, B6 = (np.float32(value) for value in (1.18534705686654e-04, 1.19825839466702e-06))


@kernel
def tangent(x: Any) -> Any:
    """Return the hyperbolic tangent of lanes, to a few units in the last place.

    Source: the 13/6 degree rational interpolant of Eigen (``generic_fast_tanh_float``) and ONNX Runtime (``MlasTanh``).
    """
    x = bounded(x, spread(-NINE), spread(NINE))
    square = times(x, x)
    over = fused(square, spread(A13), spread(A11))
    over = fused(square, over, spread(A9))
    over = fused(square, over, spread(A7))
    over = fused(square, over, spread(A5))
    over = fused(square, over, spread(A3))
    over = fused(square, over, spread(A1))
    under = fused(square, spread(B6), spread(B4))
    under = fused(square, under, spread(B2))
    under = fused(square, under, spread(B0))
    return divided(times(x, over), under)


@kernel
def opened(half: Any) -> Any:
    """Return the logistic function of lanes that hold half of its argument."""
    return fused(spread(HALF), tangent(half), spread(HALF))


@kernel
def project(
    x: Singles, start: int, stride: int, rows: int, inputs: int, table: Singles, bias: Singles, out: Singles
) -> None:
    """Write what the inputs of each row add to the gates, block by block of 16 units, two rows at a time."""
    for block in range(len(bias) // BLOCK):
        for pair in range(0, rows, 2):
            one, two = start + pair * stride, start + min(pair + 1, rows - 1) * stride
            at = BLOCK * block
            a, b, c, d = lanes_at(bias, at), lanes_at(bias, at + 16), lanes_at(bias, at + 32), lanes_at(bias, at + 48)
            e, f, g, h = a, b, c, d
            place = at * inputs
            for j in range(inputs):
                u, v = spread(x[one + j]), spread(x[two + j])
                weight = lanes_at(table, place)
                a, e = fused(u, weight, a), fused(v, weight, e)
                weight = lanes_at(table, place + 16)
                b, f = fused(u, weight, b), fused(v, weight, f)
                weight = lanes_at(table, place + 32)
                c, g = fused(u, weight, c), fused(v, weight, g)
                weight = lanes_at(table, place + 48)
                d, h = fused(u, weight, d), fused(v, weight, h)
                place += BLOCK
            at = (block * rows + pair) * BLOCK
            put_lanes(out, at, a)
            put_lanes(out, at + 16, b)
            put_lanes(out, at + 32, c)
            put_lanes(out, at + 48, d)
            if pair + 1 < rows:
                put_lanes(out, at + 64, e)
                put_lanes(out, at + 80, f)
                put_lanes(out, at + 96, g)
                put_lanes(out, at + 112, h)


@kernel
def recur(
    gates: Singles, rows: int, first: int, window: int, units: int, table: Singles, cell: Singles, states: Singles
) -> None:
    """Run one layer over a window from zero state; ``states`` is a ring of hidden states, whose place 0 is the first.

    Every other step walks through the units backwards, so that the weights used last, still in the nearest cache, are
    used first.
    """
    padded = len(cell)
    ring = len(states) // padded
    states[:padded] = ZERO
    cell[:] = ZERO
    for step in range(window):
        old, new = (step % ring) * padded, ((step + 1) % ring) * padded
        for turn in range(padded // EACH):
            block = turn if step % 2 else padded // EACH - 1 - turn
            at = (block * rows + first + step) * BLOCK
            a, b = lanes_at(gates, at), lanes_at(gates, at + 16)
            c, d = lanes_at(gates, at + 32), lanes_at(gates, at + 48)
            place = block * BLOCK * units
            for j in range(units if step else 0):
                x = spread(states[old + j])
                a = fused(x, lanes_at(table, place), a)
                b = fused(x, lanes_at(table, place + 16), b)
                c = fused(x, lanes_at(table, place + 32), c)
                d = fused(x, lanes_at(table, place + 48), d)
                place += BLOCK
            kept = fused(opened(b), lanes_at(cell, EACH * block), times(opened(a), tangent(c)))
            put_lanes(cell, EACH * block, kept)
            put_lanes(states, new + EACH * block, times(opened(d), tangent(kept)))


@kernel
def lstm_rows(
    rows: Floats, mean: Floats, inverse: Floats, tables: Singles, head: Floats, layers: int, window: int, out: Floats
) -> None:
    """Write the probability of a rise for each window of rows.

    ``tables`` holds, layer by layer, the packed weights of inputs, of the hidden state, and the bias; ``head`` the
    weights of the last hidden state and, at its end, the bias.
    """
    count, width = rows.shape
    units = len(head) - 1
    padded = (units + EACH - 1) // EACH * EACH
    ring = window + 1 if layers > 1 else 2
    x = np.empty(count * width, np.float32)
    gates = np.empty(GATES * padded * count, np.float32)
    inner = np.empty(GATES * padded * window if layers > 1 else 0, np.float32)
    states = np.empty(ring * padded, np.float32)
    cell = np.empty(padded, np.float32)
    standardise(rows, mean, inverse, x)
    begin, middle, end = 0, GATES * padded * width, GATES * padded * (width + units)
    project(x, 0, width, count, width, tables[begin:middle], tables[end : end + GATES * padded], gates)
    for first in range(count - window + 1):
        recur(gates, count, first, window, units, tables[middle:end], cell, states)
        for layer in range(1, layers):
            start = GATES * padded * ((width + units + 1) + (layer - 1) * (2 * units + 1))
            half, stop = start + GATES * padded * units, start + 2 * GATES * padded * units
            bias = tables[stop : stop + GATES * padded]
            project(states, padded, padded, window, units, tables[start:half], bias, inner)
            recur(inner, window, 0, window, units, tables[half:stop], cell, states)
        level = head[units]
        last = (window % ring) * padded
        for unit in range(units):
            level += head[unit] * np.float64(states[last + unit])
        out[first] = 1.0 / (1.0 + np.exp(-level))


def packed(table: NDArray[np.float32], units: int) -> NDArray[np.float32]:
    """Return weights of torch's order (4 units, inputs) as the kernels read them: (blocks, inputs, gates, 16).

    Units are filled up with zeros to a multiple of 16. The gates that open (input, forget, output) are halved, since
    the logistic function is computed from the tangent of half its argument; halving is exact.
    """
    inputs, blocks = table.shape[1], -(-units // EACH)
    whole = np.zeros((GATES, blocks * EACH, inputs), dtype=np.float32)
    whole[:, :units] = table.reshape(GATES, units, inputs)
    whole[[0, 1, 3]] *= HALF
    return np.ascontiguousarray(whole.reshape(GATES, blocks, EACH, inputs).transpose(1, 3, 0, 2)).ravel()


@dataclass(frozen=True, eq=False)
class Recurrent:
    """A fitted LSTM; values are probabilities of a rise.

    Attributes
    ----------
    weights
        By torch's names: ``lstm.weight_ih_l0`` and so on, ``head.weight``, ``head.bias``; float32.
    standard
        The scale of the rows that it learned from.
    window
        How many rows a value is computed from.
    """

    weights: Weights
    standard: Standard
    window: int
    kind: SignalKind = "probability"

    @property
    def units(self) -> int:
        """Size of the hidden state."""
        return int(self.weights["head.weight"].shape[1])

    @property
    def layers(self) -> int:
        """How many LSTMs stand one upon the other."""
        return sum(name.startswith("lstm.weight_hh") for name in self.weights)

    @cached_property
    def shape(self) -> dict[str, int]:
        """What another LSTM must have in common to go on from here."""
        return {"window": self.window, "units": self.units, "layers": self.layers}

    @cached_property
    def _tables(self) -> Singles:
        parts = []
        for layer in range(self.layers):
            told = {part: self.weights[f"lstm.{part}_l{layer}"] for part in ("weight_ih", "weight_hh")}
            bias = self.weights[f"lstm.bias_ih_l{layer}"] + self.weights[f"lstm.bias_hh_l{layer}"]
            parts += [packed(table, self.units) for table in (*told.values(), bias[:, None])]
        return aligned(np.concatenate(parts))

    @cached_property
    def _head(self) -> Floats:
        return np.concatenate([self.weights["head.weight"][0], self.weights["head.bias"]]).astype(np.float64)

    def predict(self, rows: Floats) -> Floats:
        """Return the probability of a rise for each window; raises ModelError for another number of features."""
        table = self.standard.checked(rows)
        out = np.empty(max(0, len(table) - self.window + 1))
        if len(out):
            scale = self.standard
            lstm_rows(table, scale.mean, scale.inverse, self._tables, self._head, self.layers, self.window, out)
        return out

    def save(self, folder: Path, name: str = "model") -> dict[str, Any]:
        """Write ``<name>.safetensors``: the weights by torch's names, ``mean`` and ``deviation``."""
        file = write_network(folder / f"{name}.safetensors", self.weights, self.standard)
        return {"format": "lstm", "file": file, "features": len(self.standard.mean), **self.shape}

    @classmethod
    def read(cls, folder: Path, description: Mapping[str, Any], read: object) -> "Recurrent":
        """Return what ``save`` wrote; raises BundleError where the arrays are not those of the description."""
        units, inputs = description["units"], description["features"]
        if min(description["window"], description["layers"], units, inputs) < 1:
            raise BundleError(f"{description['file']}: sizes from 1 wanted, found {dict(description)}")
        shapes: dict[str, tuple[int, ...]] = {"head.weight": (1, units), "head.bias": (1,)}
        for layer in range(description["layers"]):
            shapes[f"lstm.weight_ih_l{layer}"] = (GATES * units, units if layer else inputs)
            shapes[f"lstm.weight_hh_l{layer}"] = (GATES * units, units)
            shapes |= {f"lstm.bias_{part}_l{layer}": (GATES * units,) for part in ("ih", "hh")}
        weights, standard = read_network(folder / description["file"], shapes, inputs)
        return cls(weights, standard, description["window"])
