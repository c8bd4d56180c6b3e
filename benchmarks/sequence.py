"""Sequence models: rows learned a second, what windows cost in memory, and the time of one value beside torch's own.

Run with ``python benchmarks/sequence.py [rows]``. 40 features, windows of 64 rows, an LSTM of 64 units and a temporal
convolution of 32 channels; one thread. A value's time is the thread's processor time, the median of many runs taken in
turns with the peers; compare the ratios. ONNX Runtime's LSTM is built from torch's weights, without the last layer.
"""

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper

from cryptoquant.models import LSTM, TCN
from cryptoquant.models.examples import Examples

FEATURES, WINDOW, UNITS, ROUNDS, RUNS = 40, 64, 64, 15, 60


def examples_of(rows: int) -> Examples:
    rng = np.random.default_rng(0)
    return Examples.of(rng.standard_normal((rows, FEATURES)), rng.integers(0, 2, rows))


def naive(examples: Examples, epochs: int) -> None:
    """Learn as tutorials do: every window copied out before the first step."""
    torch.manual_seed(0)
    table = torch.from_numpy(examples.features.astype(np.float32))
    windows = table.unfold(0, WINDOW, 1).transpose(1, 2).contiguous()
    rises = torch.from_numpy(examples.rises[WINDOW - 1 :].astype(np.float32))
    recurrent, head = torch.nn.LSTM(FEATURES, UNITS, batch_first=True), torch.nn.Linear(UNITS, 1)
    steps = torch.optim.AdamW([*recurrent.parameters(), *head.parameters()])
    learned = round(0.8 * len(windows))
    for _ in range(epochs):
        for rows in torch.randperm(learned).split(256):
            odds = head(recurrent(windows[rows])[0][:, -1])[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(odds, rises[rows])
            steps.zero_grad()
            loss.backward()
            steps.step()
        with torch.no_grad():
            for rows in torch.arange(learned, len(windows)).split(1024):
                head(recurrent(windows[rows])[0][:, -1])


def learn(kind: str, rows: int) -> None:
    """Print seconds of one epoch and the memory that it took, in a process of its own."""
    torch.set_num_threads(1)
    models = {"LSTM": LSTM(epochs=1), "TCN": TCN(epochs=1)}
    work: Callable[[Examples], Any] = models[kind].fit if kind in models else lambda examples: naive(examples, 1)
    work(examples_of(600))
    examples = examples_of(rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.thread_time()
    work(examples)
    seconds = time.thread_time() - started
    print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def by_torch(model: Any, network: Any, x: Any) -> Any:
    return torch.sigmoid(model._odds(torch, network, x, lambda values: values))


def by_onnx(recurrent: Any) -> Callable[[np.ndarray], Any]:
    """Return ONNX Runtime's session of the same LSTM; its gates stand in the order input, output, forget, cell."""

    def ordered(tensor: Any) -> np.ndarray:
        enters, forgets, cell, opens = np.split(tensor.detach().numpy(), 4)
        return np.concatenate([enters, opens, forgets, cell])[None]

    bias = np.concatenate([ordered(recurrent.bias_ih_l0), ordered(recurrent.bias_hh_l0)], axis=1)
    arrays = {"W": ordered(recurrent.weight_ih_l0), "R": ordered(recurrent.weight_hh_l0), "B": bias}
    node = helper.make_node("LSTM", ["x", *arrays], ["", "h"], hidden_size=UNITS)
    number = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "lstm",
        [helper.make_tensor_value_info("x", number, [WINDOW, 1, FEATURES])],
        [helper.make_tensor_value_info("h", number, [1, 1, UNITS])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})


def latencies(works: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Return the sorted microseconds of each, measured in turns."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            for _ in range(10):
                work()
            for _ in range(RUNS):
                started = time.thread_time_ns()
                work()
                found[name].append((time.thread_time_ns() - started) / 1e3)
    return {name: sorted(times) for name, times in found.items()}


def serve() -> None:
    torch.set_num_threads(1)
    examples = examples_of(2_000)
    rows = examples.features[-WINDOW:].copy()
    works: dict[str, Callable[[], Any]] = {}
    for model in (LSTM(epochs=1), TCN(epochs=1)):
        name, predictor = type(model).__name__, model.fit(examples)
        network = model._built(torch, FEATURES).to_empty(device="cpu").requires_grad_(False)
        network.load_state_dict({key: torch.from_numpy(array.copy()) for key, array in predictor.weights.items()})
        x = torch.from_numpy(predictor.standard.apply(rows))[:, None, :].contiguous()
        eager = partial(by_torch, model, network, x)
        with torch.inference_mode():
            print(f"{name}: differs from torch by {abs(float(eager()[0]) - predictor.predict(rows)[0]):.1e}")
        works[f"{name} here"] = partial(predictor.predict, rows)
        works[f"{name} torch eager"] = eager
        if name == "LSTM":
            run, said = by_onnx(network["lstm"]), x.numpy()
            works["LSTM ONNX Runtime"] = partial(run, said)
            traced = torch.jit.trace(lambda x, network=network: network["lstm"](x)[0][-1], x, check_trace=False)
            works["LSTM torch.jit"] = partial(traced, x)
        works[f"{name} here, 100 windows"] = partial(predictor.predict, examples.features[: WINDOW + 99].copy())
    with torch.inference_mode():
        for name, times in latencies(works).items():
            print(f"{name:24}{statistics.median(times):9.1f} us p50 {times[int(0.99 * len(times))]:9.1f} us p99")


def main(rows: int = 20_000) -> None:
    for kind in ("LSTM", "naive", "TCN"):
        command = [sys.executable, __file__, "learn", kind, str(rows)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, megabytes = (float(text) for text in done.stdout.split())
        name = "LSTM, windows copied out" if kind == "naive" else kind
        print(f"{name:24}{rows / seconds:10,.0f} rows learned a second, {megabytes:8,.0f} MiB more")
    serve()


if __name__ == "__main__":
    if sys.argv[1:2] == ["learn"]:
        learn(sys.argv[2], int(sys.argv[3]))
    else:
        main(*(int(text) for text in sys.argv[1:]))
