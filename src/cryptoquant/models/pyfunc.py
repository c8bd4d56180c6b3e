"""A bundle as MLflow's generic model, for batches and audits: frames in, values out, and nothing pickled."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import BundleError
from cryptoquant.models.bundle import CONTENT, STRATEGIES, Bundle

SERVING = ("cryptoquant", "numpy", "numba", "polars", "safetensors")


class BundleModel:
    """Predicts from a pandas frame with a column for each feature; rows of a sequence model follow each other.

    As live, a row with a value that is not finite has no prediction (NaN), and is no part of a window.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def predict(self, frame: Any, params: Any = None) -> NDArray[np.float64]:
        """Return one value for each row, NaN for a row with holes and before the first complete window.

        Raises
        ------
        BundleError
            A column is missing.
        """
        names = self.bundle.features.names
        missing = [name for name in names if name not in frame.columns]
        if missing:
            raise BundleError(f"{self.bundle.name}: no column {', '.join(missing)}")
        rows = np.ascontiguousarray(frame[list(names)].to_numpy(dtype=np.float64))
        out = np.full(len(rows), np.nan)
        window = self.bundle.predictor.window
        whole = np.flatnonzero(np.isfinite(rows).all(axis=1))
        if len(whole) >= window:
            out[whole[window - 1 :]] = self.bundle.predictor.predict(rows[whole])
        return out


def formats_of(folder: Path) -> set[str]:
    """Return the formats of the model in a bundle's folder, and of those that it is made of."""
    found: set[str] = set()
    waiting = [json.loads((folder / CONTENT).read_text(encoding="utf-8"))["model"]]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            found |= {one["format"]} if isinstance(one.get("format"), str) else set()
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return found


def _load_pyfunc(path: str) -> BundleModel:
    """Return the model in a folder; MLflow calls this by name. The strategy may be one that only its author knows."""
    name = json.loads((Path(path) / CONTENT).read_text(encoding="utf-8"))["strategy"]["name"]
    return BundleModel(Bundle.load(Path(path), {name: _Unknown, **STRATEGIES}))


class _Unknown:
    """Stands for a strategy that is not needed to predict."""

    def __init__(self, **parameters: Any) -> None:
        self.parameters = parameters


def pack(bundle: Bundle, source: Path, target: Path) -> None:
    """Write a bundle as an MLflow model: its signature, its requirements, and a loader that is called by name."""
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, DataType, Schema

    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.double, name) for name in bundle.features.names]),
        outputs=Schema([ColSpec(DataType.double, bundle.predictor.kind)]),
    )
    serving = [*SERVING, "onnxruntime"] if "onnx" in formats_of(source) else SERVING
    versions = {name: version(name) for name in serving}
    save_model(
        str(target),
        loader_module="cryptoquant.models.pyfunc",
        data_path=str(source),
        signature=signature,
        pip_requirements=[f"{name}=={found}" for name, found in versions.items()],
    )
