"""A bundle as MLflow's generic model, for batches and audits: frames in, values out, and nothing pickled."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import BundleError
from cryptoquant.models.bundle import Bundle

SERVING = ("cryptoquant", "numpy", "numba", "polars", "safetensors")


class BundleModel:
    """Predicts from a pandas frame with a column for each feature; rows of a sequence model follow each other."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def predict(self, frame: Any, params: Any = None) -> NDArray[np.float64]:
        """Return one value for each row, NaN before the first complete window.

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
        if len(rows) >= window:
            out[window - 1 :] = self.bundle.predictor.predict(rows)
        return out


def _load_pyfunc(path: str) -> BundleModel:
    """Return the model in a folder; MLflow calls this by name."""
    return BundleModel(Bundle.load(Path(path)))


def pack(bundle: Bundle, source: Path, target: Path) -> None:
    """Write a bundle as an MLflow model: its signature, its requirements, and a loader that is called by name."""
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, DataType, Schema

    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.double, name) for name in bundle.features.names]),
        outputs=Schema([ColSpec(DataType.double, bundle.predictor.kind)]),
    )
    versions = {name: version(name) for name in SERVING}
    save_model(
        str(target),
        loader_module="cryptoquant.models.pyfunc",
        data_path=str(source),
        signature=signature,
        pip_requirements=[f"{name}=={found}" for name, found in versions.items()],
    )
