"""What one prediction of one row costs, beside what the libraries themselves take for the same model.

Run with ``python benchmarks/serving.py [rows]``. 40 features, one thread, batch size one. Figures are thread CPU time
in microseconds; what other threads of a library do is not in them.
"""

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cryptoquant.models import Estimator, HistGradientBoosting, Logistic, RandomForest, XGBoost
from cryptoquant.models.examples import Examples
from cryptoquant.models.formats import read_predictor

FEATURES = 40
WARM = 50


def measure(name: str, predict: Callable[[np.ndarray], object], rows: list[np.ndarray]) -> None:
    for row in rows[:WARM]:
        predict(row)
    taken = []
    for row in rows:
        started = time.thread_time_ns()
        predict(row)
        taken.append((time.thread_time_ns() - started) / 1e3)
    p50, p99 = np.percentile(taken, [50, 99])
    print(f"{name:44s} {p50:10.1f} {p99:10.1f}")


def learned(count: int = 5_000) -> Examples:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((count, FEATURES))
    rises = (rng.random(count) < 1 / (1 + np.exp(-features[:, 0] - features[:, 1] * features[:, 2]))).astype(float)
    return Examples.of(features, rises)


def ours(examples: Examples, rows: list[np.ndarray]) -> dict[str, object]:
    """Measure each model as a bundle serves it: read from its file."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    forest = RandomForestClassifier(100, max_depth=8, min_samples_leaf=20)
    models = {
        "XGBoost 100 x 4": XGBoost(n_estimators=100, max_depth=4),
        "random forest 100 x 8": RandomForest(n_estimators=100, max_depth=8),
        "histogram boosting 100 x 4": HistGradientBoosting(max_iter=100, max_depth=4),
        "logistic": Logistic(),
        "Estimator (ONNX), logistic": Estimator(LogisticRegression()),
        "Estimator (ONNX), random forest 100 x 8": Estimator(forest),
    }
    found: dict[str, object] = {}
    for name, model in models.items():
        with tempfile.TemporaryDirectory() as folder:
            predictor = model.fit(examples)
            found[name] = predictor
            served = read_predictor(Path(folder), predictor.save(Path(folder)))
        measure(f"cryptoquant  {name}", served.predict, rows)
    return found


def theirs(examples: Examples, fitted: dict[str, object], rows: list[np.ndarray]) -> None:
    import onnxruntime
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    booster = fitted["XGBoost 100 x 4"].booster()
    measure("xgboost      inplace_predict, 100 x 4", booster.inplace_predict, rows)
    peers = {
        "random forest 100 x 8": RandomForestClassifier(100, max_depth=8, min_samples_leaf=20, n_jobs=1),
        "histogram boosting 100 x 4": HistGradientBoostingClassifier(max_iter=100, max_depth=4, early_stopping=False),
        "logistic": LogisticRegression(),
    }
    for name, peer in peers.items():
        measure(f"scikit-learn {name}", peer.fit(examples.features, examples.rises).predict_proba, rows[:500])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = fitted["Estimator (ONNX), random forest 100 x 8"].content
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    kind = np.float64 if session.get_inputs()[0].type == "tensor(double)" else np.float32
    name = session.get_inputs()[0].name
    measure(
        "onnxruntime  random forest 100 x 8",
        lambda row: session.run(None, {name: row}),
        [row.astype(kind) for row in rows],
    )
    pyfunc(booster, examples, rows[:300])


def pyfunc(booster: object, examples: Examples, rows: list[np.ndarray]) -> None:
    """Measure the same booster behind MLflow's pyfunc, with a signature of named floats."""
    import mlflow
    import pandas as pd
    from mlflow.models import infer_signature

    names = [f"feature_{number}" for number in range(FEATURES)]
    frames = [pd.DataFrame(row, columns=names) for row in rows]
    booster.feature_names = names
    with tempfile.TemporaryDirectory() as folder:
        signature = infer_signature(frames[0], np.zeros(1, dtype=np.float32))
        path = str(Path(folder) / "model")
        mlflow.xgboost.save_model(booster, path, signature=signature, pip_requirements=["xgboost"])
        measure("mlflow       pyfunc of xgboost, signature", mlflow.pyfunc.load_model(path).predict, frames)
    booster.feature_names = None


def sequence(rows: list[np.ndarray]) -> None:
    """Measure an LSTM of 64 units over 64 rows, where it can be imported."""
    try:
        from cryptoquant.models import LSTM
    except ImportError:
        return
    window = 64
    model = LSTM(window=window, units=64, epochs=1)
    predictor = model.fit(learned(2_000))
    windows = [np.vstack(rows[start : start + window]) for start in range(300)]
    measure("cryptoquant  LSTM 64 x 64", predictor.predict, windows)


def main(count: int = 3_000) -> None:
    warnings.simplefilter("ignore")
    examples = learned()
    table = np.random.default_rng(1).standard_normal((count, FEATURES))
    rows = [table[row : row + 1] for row in range(count)]
    print(f"{FEATURES} features, one row, {count:,} predictions; thread CPU time, us")
    print(f"{'':44s} {'p50':>10s} {'p99':>10s}")
    fitted = ours(examples, rows)
    theirs(examples, fitted, rows)
    sequence(rows)


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:]))
