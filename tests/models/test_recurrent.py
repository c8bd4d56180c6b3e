"""Serving of networks: torch's values without torch, and the same bits for a window alone and among others."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_for_torch

from cryptoquant.compiled import kernel, lanes_at, put_lanes
from cryptoquant.errors import BundleError, ModelError
from cryptoquant.models import LSTM, TCN
from cryptoquant.models.formats import read_predictor
from cryptoquant.models.model import Predictor
from cryptoquant.models.recurrent import tangent
from cryptoquant.models.standard import Standard


def served(model, inputs: int, seed: int = 0, gain: float = 1.0):
    """Return what is served and torch's own layers, with random weights and a random scale."""
    rng = np.random.default_rng(seed)
    network = model._built(torch, inputs).to_empty(device="cpu")
    weights = {
        name: (gain * rng.standard_normal(tuple(old.shape)) / max(1.0, np.prod(old.shape[1:])) ** 0.5).astype("f4")
        for name, old in network.state_dict().items()
    }
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    standard = Standard(rng.standard_normal(inputs), rng.uniform(0.5, 2.0, inputs))
    return model._kept(weights, standard), network


def by_torch(model, network, standard: Standard, rows: np.ndarray) -> np.ndarray:
    """Return torch's probabilities in double precision, window by window."""
    scaled = (rows - standard.mean) / standard.deviation
    x = torch.from_numpy(scaled).unfold(0, model.window, 1).permute(2, 0, 1)
    with torch.inference_mode():
        return torch.sigmoid(model._odds(torch, network.double(), x, lambda values: values)).numpy()


SIZES = [
    (LSTM(window=64, units=64), 40),
    (LSTM(window=64, units=33, layers=2), 7),
    (LSTM(window=1, units=1, layers=3), 1),
    (LSTM(window=5, units=17, layers=2), 3),
    (TCN(window=64, channels=32, levels=4, kernel=3), 40),
    (TCN(window=64, channels=32, levels=5, kernel=3), 7),
    (TCN(window=100, channels=5, levels=3, kernel=4), 3),
    (TCN(window=1, channels=17, levels=1, kernel=1), 1),
    (TCN(window=6, channels=16, levels=3, kernel=2), 2),
]
EACH = pytest.mark.parametrize(("model", "inputs"), SIZES, ids=lambda value: getattr(type(value), "__name__", ""))
BOTH = pytest.mark.parametrize(
    "model", [LSTM(window=6, units=5, layers=2), TCN(window=6, channels=5, levels=2, kernel=2)], ids=["LSTM", "TCN"]
)


@EACH
@pytest.mark.parametrize("strong", [False, True])
def test_values_are_torchs(model, inputs, strong):
    # Gates saturate, where convolutions grow: log odds of hundreds have no sixth decimal in single precision.
    gain = (2.0 if isinstance(model, LSTM) else 1.0) if strong else 0.5
    rows = 2.0 * np.random.default_rng(1).standard_normal((model.window + 30, inputs))
    predictor, network = served(model, inputs, gain=gain)
    found = predictor.predict(rows)
    assert found.shape == (31,)
    assert np.abs(found - by_torch(model, network, predictor.standard, rows)).max() <= 1e-6
    assert len(set(found)) > 10


@given(
    window=st.integers(1, 9),
    size=st.integers(1, 20),
    depth=st.integers(1, 3),
    inputs=st.integers(1, 5),
    more=st.integers(0, 6),
    kind=st.sampled_from([LSTM, TCN]),
    seed=st.integers(0, 1_000),
)
@settings(max_examples=40, deadline=None)
def test_a_window_gives_the_same_bits_alone_and_among_others(window, size, depth, inputs, more, kind, seed):
    sizes = {"units": size, "layers": depth} if kind is LSTM else {"channels": size, "levels": depth, "kernel": 2}
    model = kind(window=window, **sizes)
    predictor, network = served(model, inputs, seed)
    rows = np.random.default_rng(seed).standard_normal((window + more, inputs))
    found = predictor.predict(rows)
    alone = np.array([predictor.predict(rows[i : i + window])[0] for i in range(more + 1)])
    assert np.array_equal(found, alone)
    assert np.array_equal(found, predictor.predict(np.asfortranarray(rows)))
    assert np.abs(found - by_torch(model, network, predictor.standard, rows)).max() <= 1e-6


@BOTH
def test_a_predictor_keeps_its_contract(model):
    predictor, _ = served(model, 3)
    assert isinstance(predictor, Predictor)
    assert (predictor.kind, predictor.window) == ("probability", 6)
    assert predictor.predict(np.zeros((5, 3))).shape == (0,)
    assert predictor.predict(np.zeros((0, 3))).shape == (0,)
    with pytest.raises(ModelError, match=r"feature rows of shape \(9, 2\), wanted \(rows, 3\)"):
        predictor.predict(np.zeros((9, 2)))


@BOTH
def test_a_row_that_is_not_complete_silences_the_windows_that_hold_it_and_no_other(model):
    predictor, _ = served(model, 3)
    rows = np.random.default_rng(2).standard_normal((30, 3))
    whole = predictor.predict(rows)
    rows[12, 1] = np.nan
    found = predictor.predict(rows)
    touched = np.isnan(found)
    assert np.array_equal(np.flatnonzero(touched), np.arange(7, 13))
    assert np.array_equal(found[~touched], whole[~touched])


@BOTH
def test_extreme_rows_give_probabilities(model):
    predictor, _ = served(model, 3, gain=5.0)
    found = predictor.predict(1e6 * np.random.default_rng(3).standard_normal((50, 3)))
    assert ((found >= 0.0) & (found <= 1.0)).all()


@BOTH
def test_files_hold_torchs_names_and_give_the_same_bits(model, tmp_path):
    predictor, network = served(model, 3)
    told = json.loads(json.dumps(predictor.save(tmp_path)))
    rows = np.random.default_rng(4).standard_normal((40, 3))
    assert np.array_equal(read_predictor(tmp_path, told).predict(rows), predictor.predict(rows))
    tensors = load_for_torch(tmp_path / told["file"])
    assert set(tensors) == {*network.state_dict(), "mean", "deviation"}
    fresh = model._built(torch, 3).to_empty(device="cpu")
    fresh.load_state_dict({name: tensor for name, tensor in tensors.items() if name in fresh.state_dict()})
    assert np.array_equal(
        by_torch(model, fresh, predictor.standard, rows), by_torch(model, network, predictor.standard, rows)
    )


@BOTH
def test_files_of_another_shape_are_refused(model, tmp_path):
    predictor, _ = served(model, 3)
    told = predictor.save(tmp_path)
    whole = load_file(tmp_path / told["file"])
    for name, other, text in (
        ("head.weight", np.zeros((1, 4), "f4"), r"head.weight is float32 of shape \(1, 4\), wanted float32 of shape"),
        ("mean", np.zeros(3, "f4"), r"mean is float32 of shape \(3,\), wanted float64"),
    ):
        save_file({**whole, name: other}, tmp_path / told["file"])
        with pytest.raises(BundleError, match=text):
            read_predictor(tmp_path, told)
    save_file({name: array for name, array in whole.items() if name != "head.bias"}, tmp_path / told["file"])
    with pytest.raises(BundleError, match=r"no array head\.bias"):
        read_predictor(tmp_path, told)
    with pytest.raises(BundleError, match=r"sizes from 1 wanted|wanted a whole number from 1"):
        read_predictor(tmp_path, {**told, "window": 0})
    (tmp_path / told["file"]).write_bytes(b"no tensors")
    with pytest.raises(BundleError, match="no readable safetensors"):
        read_predictor(tmp_path, told)


def test_loading_and_predicting_need_no_torch(tmp_path):
    told = []
    for number, model in enumerate((LSTM(window=4, units=3), TCN(window=4, channels=3, levels=1))):
        told.append(served(model, 2)[0].save(tmp_path, f"part{number}"))
    code = (
        "import json, sys, pathlib, numpy\n"
        "sys.modules['torch'] = None\n"
        "from cryptoquant.models.formats import read_predictor\n"
        "for told in json.loads(sys.argv[2]):\n"
        "    print(read_predictor(pathlib.Path(sys.argv[1]), told).predict(numpy.zeros((4, 2)))[0])\n"
        "from cryptoquant.models import LSTM\n"
        "from cryptoquant.models.examples import Examples\n"
        "try:\n"
        "    LSTM(window=2).fit(Examples.of(numpy.zeros((8, 1)), numpy.arange(8) % 2))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), json.dumps(told)], capture_output=True, text=True, check=True
    )
    first, second, error = done.stdout.splitlines()
    for said, one in zip((first, second), told, strict=True):
        assert float(said) == read_predictor(tmp_path, one).predict(np.zeros((4, 2)))[0]
    assert error == 'MissingExtraError torch is not installed: pip install "cryptoquant[torch]"'


@kernel
def tangents(x, out):
    for at in range(0, len(x), 16):
        put_lanes(out, at, tangent(lanes_at(x, at)))


@given(st.lists(st.floats(width=32, allow_nan=True), min_size=16, max_size=16))
def test_the_tangent_is_that_of_the_library(values):
    x, out = np.array(values, dtype=np.float32), np.empty(16, dtype=np.float32)
    tangents(x, out)
    exact = np.tanh(x.astype(np.float64))
    assert np.array_equal(np.isnan(out), np.isnan(exact))
    known = ~np.isnan(exact)
    assert np.abs(out - exact)[known].max(initial=0.0) <= 3e-7
    assert (np.abs(out[known]) <= 1.0).all()
