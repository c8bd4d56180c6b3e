"""How fitted models are kept in files: one reader for each format, none of which runs code from a file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptoquant.errors import BundleError, ModelError
from cryptoquant.models.calibration import CalibratedPredictor
from cryptoquant.models.convolution import Convolutional
from cryptoquant.models.ensemble import AveragePredictor, StackedPredictor
from cryptoquant.models.model import Predictor
from cryptoquant.models.no_model import NoModel
from cryptoquant.models.onnx import OnnxPredictor
from cryptoquant.models.recurrent import Recurrent
from cryptoquant.models.scaled import ScaledPredictor
from cryptoquant.models.tabular import Line
from cryptoquant.models.trees import Trees
from cryptoquant.models.veto import VetoedPredictor

Description = Mapping[str, Any]
Read = Callable[[Path, Description], Predictor]
# Sizes that no model of ours has: a file that says more would fill the memory before it is found out.
LARGEST = {"layers": 100, "levels": 30, "window": 100_000}
# A reader gets the folder, its own description, and the function that reads its members.
READERS: dict[str, Callable[[Path, Description, Read], Predictor]] = {
    "average": AveragePredictor.read,
    "calibrated": CalibratedPredictor.read,
    "line": Line.read,
    "lstm": Recurrent.read,
    "none": NoModel.read,
    "onnx": OnnxPredictor.read,
    "scaled": ScaledPredictor.read,
    "stacked": StackedPredictor.read,
    "tcn": Convolutional.read,
    "trees": Trees.read,
    "vetoed": VetoedPredictor.read,
    "xgboost": Trees.read_boosted,
}


def read_predictor(folder: Path, description: Description) -> Predictor:
    """Return the predictor that ``save`` wrote; nothing is unpickled.

    Raises
    ------
    BundleError
        The format is unknown or a file cannot be read.
    """
    reader = READERS.get(description["format"])
    if reader is None:
        raise BundleError(f"model format {description['format']!r} is unknown; known: {', '.join(READERS)}")
    for name, most in LARGEST.items():
        size = description.get(name, 1)
        if type(size) is not int or not 1 <= size <= most:
            raise BundleError(f"{description['format']} model: {name} {size!r}, wanted a whole number from 1 to {most}")
    try:
        return reader(folder, description, read_predictor)
    except BundleError:
        raise
    except (ModelError, ValueError, KeyError, TypeError, IndexError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(f"{folder.name} holds not a readable {description['format']} model: {reason}") from error


def modern(description: Description) -> dict[str, Any]:
    """Return a description of bundle format 1 as it is written today."""
    names = {"xgboost-ubj": "xgboost", "line-json": "line"}
    inner = {"format": names[description["format"]], "file": description["file"]}
    if "scaling" not in description:
        return inner
    return {"format": "scaled", "model": inner, "scaling": description["scaling"]}
