"""Models that read a window of past rows: a recurrent network and a temporal convolution, learned with torch."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import MissingExtraError, ModelError
from cryptoquant.models.convolution import Convolutional
from cryptoquant.models.examples import Examples
from cryptoquant.models.model import Parameters, Predictor
from cryptoquant.models.recurrent import Recurrent
from cryptoquant.models.splits import hold_out
from cryptoquant.models.standard import Standard
from cryptoquant.models.tabular import check_classes, moments
from cryptoquant.models.windows import Rows, consecutive

Device = Literal["auto", "cpu", "cuda"]
Weights = dict[str, NDArray[np.float32]]
Dropped = Callable[[Any], Any]
STEEPEST = 1.0
JUDGED_AT_ONCE = 1_024


@dataclass(frozen=True, slots=True)
class LSTM(Parameters):
    """A recurrent network for the probability of a rise (Hochreiter & Schmidhuber 1997); served without torch.

    Rows are put on the scale of those that it learns from. The latest part of the training rows, purged, is held out:
    learning ends when the loss there has not improved for a while, and the best state is kept. It learns with one
    thread and with generators of its own, so that a seed gives the same weights on a processor whatever runs beside it;
    on a GPU they agree to rounding.

    Parameters
    ----------
    window
        How many consecutive rows of one symbol a value is computed from.
    units, layers
        Size of the hidden state, and how many networks stand one upon the other.
    epochs, patience
        At most so many passes over the rows, and passes without improvement before it stops.
    batch, learning_rate, weight_decay
        Rows of a step, and of AdamW (Loshchilov & Hutter 2019); gradients are cut to a norm of 1.
    dropout
        Share of the last hidden state that is left out while it learns.
    validation, embargo
        Share of the times that is held out, and the time kept free before it.
    class_weight
        ``"balanced"`` gives both classes the same weight in sum.
    device
        Where it learns; ``"auto"`` is a GPU where there is one.
    seed
        Of the first weights, the order of rows and what is left out.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    """

    window: int = 64
    units: int = 64
    layers: int = 1
    epochs: int = 30
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    dropout: float = 0.1
    patience: int = 5
    validation: float = 0.2
    embargo: timedelta = timedelta(0)
    class_weight: Literal["balanced"] | None = None
    device: Device = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self, "units", "layers")

    def fit(self, examples: Examples) -> Predictor:
        """Return the network learned from the classes of the examples.

        Raises
        ------
        ModelError
            Too few rows for a window, one class only, a value that is not finite, or no GPU where one was asked for.
        MissingExtraError
            torch is not installed.
        """
        return _learn(self, examples)

    def resume(self, start: Predictor, examples: Examples) -> Predictor:
        """Return the network that went on learning from the weights and on the scale of ``start``.

        Where no pass improves on the start, the start is returned.

        Raises
        ------
        ModelError
            The start is no LSTM, or has another window, size or number of features; and as ``fit``.
        """
        if not isinstance(start, Recurrent):
            raise ModelError(f"an LSTM goes on from an LSTM, found {type(start).__name__}")
        _check_start(start, {name: getattr(self, name) for name in start.shape}, examples)
        return _learn(self, examples, start)

    def _built(self, torch: Any, inputs: int) -> Any:
        recurrent = torch.nn.LSTM(inputs, self.units, self.layers, device="meta", dtype=torch.float32)
        head = torch.nn.Linear(self.units, 1, device="meta", dtype=torch.float32)
        return torch.nn.ModuleDict({"lstm": recurrent, "head": head})

    def _odds(self, torch: Any, network: Any, rows: Any, dropped: Dropped) -> Any:
        """Return the log odds of a rise, shape (batch,), of rows of shape (window, batch, features)."""
        return network["head"](dropped(network["lstm"](rows)[0][-1]))[:, 0]

    def _kept(self, weights: Weights, standard: Standard) -> Predictor:
        return Recurrent(weights, standard, self.window)


@dataclass(frozen=True, slots=True)
class TCN(Parameters):
    """A temporal convolution for the probability of a rise (Bai, Kolter & Koltun 2018); served without torch.

    Each level holds two causal convolutions, whose taps lie twice as far apart as those of the level before, and a way
    past them; at the first level that is a convolution of one tap. It learns as ``LSTM`` does.

    Parameters
    ----------
    window
        How many consecutive rows of one symbol a value is computed from; what lies before counts as zeros. Rows more
        than ``2 (kernel - 1) (2 ** levels - 1)`` back have no influence.
    channels, levels, kernel
        Numbers that each row becomes, how many levels there are, and the taps of a convolution.
    dropout
        Share of the channels that is left out after each convolution while it learns.
    epochs, batch, learning_rate, weight_decay, patience, validation, embargo, class_weight, device, seed
        See ``LSTM``.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    """

    window: int = 64
    channels: int = 32
    levels: int = 4
    kernel: int = 3
    epochs: int = 30
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    dropout: float = 0.1
    patience: int = 5
    validation: float = 0.2
    embargo: timedelta = timedelta(0)
    class_weight: Literal["balanced"] | None = None
    device: Device = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self, "channels", "levels", "kernel")

    def fit(self, examples: Examples) -> Predictor:
        """Return the network learned from the classes of the examples; raises what ``LSTM.fit`` raises."""
        return _learn(self, examples)

    def resume(self, start: Predictor, examples: Examples) -> Predictor:
        """Return the network that went on learning from ``start``; see ``LSTM.resume``."""
        if not isinstance(start, Convolutional):
            raise ModelError(f"a temporal convolution goes on from one of its kind, found {type(start).__name__}")
        _check_start(start, {name: getattr(self, name) for name in start.shape}, examples)
        return _learn(self, examples, start)

    def _built(self, torch: Any, inputs: int) -> Any:
        def convolution(width: int, size: int, dilation: int = 1) -> Any:
            return torch.nn.Conv1d(width, self.channels, size, dilation=dilation, device="meta", dtype=torch.float32)

        blocks = []
        for level in range(self.levels):
            parts = {
                "first": convolution(self.channels if level else inputs, self.kernel, 2**level),
                "second": convolution(self.channels, self.kernel, 2**level),
            }
            blocks.append(torch.nn.ModuleDict(parts if level else {**parts, "shortcut": convolution(inputs, 1)}))
        head = torch.nn.Linear(self.channels, 1, device="meta", dtype=torch.float32)
        return torch.nn.ModuleDict({"blocks": torch.nn.ModuleList(blocks), "head": head})

    def _odds(self, torch: Any, network: Any, rows: Any, dropped: Dropped) -> Any:
        """Return the log odds of a rise, shape (batch,), of rows of shape (window, batch, features)."""
        stream = rows.permute(1, 2, 0)
        for level, block in enumerate(network["blocks"]):
            inner, before = stream, (self.kernel - 1) * 2**level
            for name in ("first", "second"):
                padded = torch.nn.functional.pad(inner, (before, 0))
                inner = dropped(torch.relu(block[name](padded)))
            stream = torch.relu(inner + (stream if level else block["shortcut"](stream)))
        return network["head"](stream[:, :, -1])[:, 0]

    def _kept(self, weights: Weights, standard: Standard) -> Predictor:
        return Convolutional(weights, standard, self.window)


Model = LSTM | TCN


def _check(model: Model, *sizes: str) -> None:
    for name in ("window", *sizes, "epochs", "batch", "patience", "seed"):
        value, least = getattr(model, name), int(name != "seed")
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be a whole number from {least}, found {value!r}")
    for name, low, high, words in (
        ("learning_rate", math.ulp(0.0), 1e3, "above 0 and below 1000"),
        ("weight_decay", 0.0, math.inf, "not negative"),
        ("dropout", 0.0, 1.0, "from 0 and below 1"),
        ("validation", math.ulp(0.0), 1.0, "between 0 and 1"),
    ):
        value = getattr(model, name)
        if not isinstance(value, int | float) or not low <= value < high:
            raise ValueError(f"{name} must be {words}, found {value!r}")
    if not isinstance(model.embargo, timedelta) or model.embargo < timedelta(0):
        raise ValueError(f"embargo must be a timedelta from zero, found {model.embargo!r}")
    if model.class_weight not in (None, "balanced"):
        raise ValueError(f"class_weight must be None or 'balanced', found {model.class_weight!r}")
    if model.device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', found {model.device!r}")


def _check_start(start: Recurrent | Convolutional, wanted: dict[str, int], examples: Examples) -> None:
    differs = [
        f"{name} {start.shape[name]}, wanted {size}" for name, size in wanted.items() if start.shape[name] != size
    ]
    inputs, width = len(start.standard.mean), examples.features.shape[1]
    if inputs != width:
        differs.append(f"{inputs} features, wanted {width}")
    if differs:
        raise ModelError(f"the start has another shape: {'; '.join(differs)}")


def _learn(model: Model, examples: Examples, start: Recurrent | Convolutional | None = None) -> Predictor:
    """Return what was learned from the examples, from new weights or from where ``start`` stands."""
    torch = _torch()
    check_classes(examples)
    device = _device(torch, model.device)
    learned, judged = hold_out(examples, model.validation, model.embargo)
    order, ends = _ends(examples, model.window)
    parts = [rows[ends[rows] >= 0] for rows in (learned, judged)]
    for name, rows in zip(("learn from", "validate on"), parts, strict=True):
        if not len(rows):
            raise ModelError(f"{len(examples)} rows hold no complete window of {model.window} to {name}")
    if not examples.weights[parts[1]].any():
        raise ModelError(f"none of the {len(parts[1])} rows to validate on has a weight above zero")
    check_classes(examples.take(parts[0]))
    standard = start.standard if start else Standard(*moments(examples.features[learned]))
    weights = _weights(examples, parts[0], model.class_weight)
    with _alone(torch), torch.inference_mode(mode=False):
        network = _network(torch, model, examples.features.shape[1], start).to(device)
        table = torch.from_numpy(standard.apply(examples.features[order])).to(device)
        batches = [
            _Windows(torch, table, model.window, ends[rows], examples.rises[rows], weights[rows]) for rows in parts
        ]
        best = _descend(torch, model, network, batches)
    return model._kept({name: tensor.numpy() for name, tensor in best.items()}, standard)


def _ends(examples: Examples, window: int) -> tuple[Rows, Rows]:
    """Return the rows run by run, and each row's place among them, -1 where no window of its own symbol ends."""
    runs = consecutive(examples)
    order = np.concatenate(runs)
    within = np.concatenate([np.arange(len(run)) for run in runs])
    ends = np.full(len(examples), -1)
    ends[order] = np.where(within >= window - 1, np.arange(len(order)), -1)
    return order, ends


def _weights(examples: Examples, learned: Rows, class_weight: str | None) -> NDArray[np.float64]:
    """Return how much each row counts: 1 on average over the rows learned, both classes alike if asked for."""
    weights = examples.weights.copy()
    for rise in (0.0, 1.0) if class_weight else ():
        weight = weights[learned][examples.rises[learned] == rise].sum()
        weights[examples.rises == rise] /= weight if weight > 0.0 else 1.0
    mean = float(weights[learned].mean())
    if not mean > 0.0:
        raise ModelError(f"the weights of all {len(learned)} rows to learn from are zero")
    return weights / mean


class _Windows:
    """Windows of a table by the places where they end; copied out batch by batch, never all at once."""

    def __init__(self, torch: Any, table: Any, window: int, ends: Rows, rises: Any, weights: Any) -> None:
        self.table = table
        self.offsets = torch.arange(1 - window, 1, device=table.device)[:, None]
        self.ends = torch.from_numpy(ends).to(table.device)
        self.rises = torch.from_numpy(rises).to(table.device, torch.float32)
        self.weights = torch.from_numpy(weights).to(table.device, torch.float32)

    def __len__(self) -> int:
        return len(self.ends)

    def of(self, rows: Any) -> tuple[Any, Any, Any]:
        """Return windows of shape (window, batch, features), classes and weights."""
        return self.table[self.offsets + self.ends[rows]], self.rises[rows], self.weights[rows]


def _network(torch: Any, model: Model, inputs: int, start: Recurrent | Convolutional | None) -> Any:
    """Return the network with the weights of the start, or with torch's usual first weights by the seed."""
    network = model._built(torch, inputs).to_empty(device="cpu")
    if start is not None:
        network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in start.weights.items()})
        return network
    generator = torch.Generator().manual_seed(model.seed)
    with torch.no_grad():
        for part in network.modules():
            own = list(part.parameters(recurse=False))
            entering = part.hidden_size if isinstance(part, torch.nn.LSTM) else own[0][0].numel() if own else 1
            for parameter in own:
                parameter.uniform_(-(entering**-0.5), entering**-0.5, generator=generator)
    return network


def _descend(torch: Any, model: Model, network: Any, batches: list[_Windows]) -> dict[str, Any]:
    """Return the best state by the loss of the validation windows, the first state included."""
    windows, judged = batches
    chance = torch.Generator(windows.table.device).manual_seed(model.seed + 1)
    shuffle = torch.Generator().manual_seed(model.seed + 2)
    steps = torch.optim.AdamW(
        network.parameters(), lr=model.learning_rate, weight_decay=model.weight_decay, foreach=False
    )

    def dropped(values: Any) -> Any:
        if not model.dropout:
            return values
        stays = torch.rand(values.shape, generator=chance, device=values.device) >= model.dropout
        return values * stays / (1.0 - model.dropout)

    lowest, best, waited = _loss(torch, model, network, judged), _state(network), 0
    for epoch in range(model.epochs):
        for rows in torch.randperm(len(windows), generator=shuffle).to(windows.table.device).split(model.batch):
            x, rises, weights = windows.of(rows)
            odds = model._odds(torch, network, x, dropped)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(odds, rises, weights)
            steps.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), STEEPEST, foreach=False)
            steps.step()
        found = _loss(torch, model, network, judged)
        if not math.isfinite(found):
            raise ModelError(f"the loss after epoch {epoch + 1} is {found}: learn more slowly")
        waited += 1
        if found < lowest:
            lowest, best, waited = found, _state(network), 0
        if waited >= model.patience:
            break
    return best


def _loss(torch: Any, model: Model, network: Any, judged: _Windows) -> float:
    """Return the weighted loss of all windows."""
    total, weight = 0.0, 0.0
    with torch.no_grad():
        for rows in torch.arange(len(judged), device=judged.table.device).split(JUDGED_AT_ONCE):
            x, rises, weights = judged.of(rows)
            odds = model._odds(torch, network, x, lambda values: values)
            losses = torch.nn.functional.binary_cross_entropy_with_logits(odds, rises, weights, reduction="sum")
            total, weight = total + float(losses), weight + float(weights.sum())
    return total / weight


def _state(network: Any) -> dict[str, Any]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "torch") from error
    return torch


def _device(torch: Any, device: Device) -> str:
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("device 'cuda': torch finds no GPU here; 'auto' takes the processor then")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


_THREADS = threading.Lock()
_LEARNING = {"fits": 0, "threads": 1}


@contextmanager
def _alone(torch: Any) -> Iterator[None]:
    """Let torch work with one thread, so that sums have one order; folds are what runs in parallel.

    torch keeps this number for each thread, and one for threads to come. Where several folds learn at once, the first
    remembers it and each gives it back, the last one for good.
    """
    with _THREADS:
        if not _LEARNING["fits"]:
            _LEARNING["threads"] = torch.get_num_threads()
        _LEARNING["fits"] += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _THREADS:
            _LEARNING["fits"] -= 1
            torch.set_num_threads(_LEARNING["threads"])
