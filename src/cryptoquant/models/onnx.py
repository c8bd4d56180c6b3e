"""Models in the ONNX format: converted from scikit-learn, compared with what they come from, and run row by row."""

import warnings
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import BundleError, MissingExtraError, ModelError
from cryptoquant.market.signal import SignalKind

Floats = NDArray[np.float64]
TOLERANCE = 1e-6
# A converter meets what it does not know in many ways.
FAILURES = (
    ArithmeticError, AssertionError, AttributeError, LookupError, NameError, NotImplementedError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip


class OnnxPredictor:
    """A model of ONNX, run row by row in one thread.

    Parameters
    ----------
    content
        The model.
    output, column
        Which output holds the values, and in which column.
    """

    window = 1

    def __init__(self, content: bytes, kind: SignalKind, features: int, output: int, column: int) -> None:
        self.content = content
        self.kind = kind
        self.features = int(features)
        self.output, self.column = int(output), int(column)
        self._session = _session(content)
        told = self._session.get_inputs()
        if len(told) != 1 or told[0].type not in ("tensor(double)", "tensor(float)"):
            raise ValueError(f"inputs {[one.type for one in told]}, wanted one of floats")
        names = [one.name for one in self._session.get_outputs()]
        if not 0 <= self.output < len(names):
            raise ValueError(f"there is no output {self.output} among {', '.join(names)}")
        self._names = told[0].name, [names[self.output]]
        self._type = np.float64 if told[0].type == "tensor(double)" else np.float32

    def __getstate__(self) -> dict[str, Any]:
        names = ("content", "kind", "features", "output", "column")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def predict(self, rows: Floats) -> Floats:
        """Return the value of each row.

        Raises
        ------
        ModelError
            A row has another number of features.
        """
        with np.errstate(over="ignore"):
            table = np.ascontiguousarray(rows, dtype=self._type)
        if table.shape[1] != self.features:
            raise ModelError(f"rows of {table.shape[1]} features, the model was fitted on {self.features}")
        (given, wanted), run = self._names, self._session.run
        out = np.empty(len(table))
        for row in range(len(table)):
            out[row] = run(wanted, {given: table[row : row + 1]})[0].item(self.column)
        return out

    def save(self, folder: Path, name: str = "model") -> dict[str, Any]:
        """Write ``<name>.onnx``."""
        (folder / f"{name}.onnx").write_bytes(self.content)
        return {
            "format": "onnx",
            "file": f"{name}.onnx",
            "kind": self.kind,
            "features": self.features,
            "output": self.output,
            "column": self.column,
        }

    @classmethod
    def read(cls, folder: Path, description: Mapping[str, Any], read: object) -> "OnnxPredictor":
        """Return what ``save`` wrote."""
        inner = {name: description[name] for name in ("kind", "features", "output", "column")}
        content = (folder / description["file"]).read_bytes()
        try:
            return cls(content, **inner)
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise BundleError(f"{description['file']}: not a readable ONNX model: {reason}") from error


def converted(fitted: Any, kind: SignalKind, rows: Floats, wanted: Floats) -> OnnxPredictor:
    """Return an estimator of scikit-learn as a model that gives the values wanted for these rows, to 1e-6.

    Raises
    ------
    ModelError
        It cannot be converted, or gives other values; the message says why.
    """
    reason = ""
    failures: tuple[type[Exception], ...] = (*FAILURES, *_failures())
    form = kind if hasattr(fitted, "classes_") else "expected_return"
    output = 0 if form == "expected_return" else 1
    for is_double, options, column in product((True, False), _options(form), _columns(form)):
        try:
            content = _convert(fitted, rows.shape[1], options, is_double=is_double)
            predictor = OnnxPredictor(content, kind, rows.shape[1], output, column)
            gap = float(np.abs(predictor.predict(rows) - wanted).max())
        except failures as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            continue
        if gap <= TOLERANCE:
            return predictor
        reason = f"the values of the ONNX model differ by {gap:.1e}"
    raise ModelError(f"it cannot be converted: {reason}")


def _columns(kind: SignalKind) -> tuple[int, ...]:
    """Return where the values may stand in the output; the score of a rise stands alone or after that of a fall."""
    return {"probability": (1,), "score": (0, 1), "expected_return": (0,)}[kind]


def _options(kind: SignalKind) -> Iterable[dict[str, bool]]:
    """Return what to ask of the converter, the best first; it refuses what it does not know of an estimator."""
    if kind == "probability":
        return {"zipmap": False}, {}
    if kind == "score":
        return {"zipmap": False, "raw_scores": True}, {"raw_scores": True}, {"zipmap": False}, {}
    return ({},)


def _convert(fitted: Any, features: int, options: dict[str, bool], *, is_double: bool) -> bytes:
    try:
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    except ImportError as error:
        raise ModelError(str(MissingExtraError("onnx", "skl2onnx"))) from error

    numbers = DoubleTensorType if is_double else FloatTensorType
    rows = [("rows", numbers([None, features]))]
    chosen = {id(fitted): options} if options else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = convert_sklearn(fitted, name="model", initial_types=rows, options=chosen)
    known = {one.name: one.name for one in [*model.graph.input, *model.graph.output]}
    _rename(model.graph, known)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Give the values of a graph numbers in their order: the converter counts on from one model to the next."""

    def numbered(name: str) -> str:
        return names.setdefault(name, f"v{len(names)}") if name else ""

    graph.name = "model"
    del graph.value_info[:]
    for one in [*graph.initializer, *graph.input, *graph.output]:
        one.name = numbered(one.name)
    for node in graph.node:
        node.name = ""
        for inner in node.attribute:
            if inner.HasField("g"):
                _rename(inner.g, names)
        node.input[:] = [numbered(name) for name in node.input]
        node.output[:] = [numbered(name) for name in node.output]


def _session(content: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(str(MissingExtraError("onnx", "onnxruntime"))) from error

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _failures() as error:
        raise ValueError(str(error).strip().splitlines()[0]) from error


def _failures() -> tuple[type[Exception], ...]:
    """Return the errors of onnxruntime, which share no class of their own."""
    try:
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as error:
        raise ModelError(str(MissingExtraError("onnx", "onnxruntime"))) from error

    found = [one for one in vars(state).values() if isinstance(one, type) and issubclass(one, Exception)]
    return (*found, RuntimeError)
