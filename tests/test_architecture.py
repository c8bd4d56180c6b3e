"""The house: who may import whom, who owns which heavy library, how long a file may be, and how light the face is."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cryptoquant

SOURCE = Path(cryptoquant.__file__).parent
FOUNDATION = {"errors", "settings", "compiled"}
ROOMS = {
    "market": FOUNDATION,
    "features": FOUNDATION | {"market"},
    "data": FOUNDATION | {"market"},
    "trading": FOUNDATION | {"market"},
    "performance": FOUNDATION | {"market", "features", "data", "trading"},
    "models": FOUNDATION | {"market", "features", "data", "trading", "performance"},
    "backtest": FOUNDATION | {"market", "features", "data", "trading", "performance", "models"},
    "live": FOUNDATION | {"market", "features", "data", "trading", "performance", "models"},
    "cli": FOUNDATION | {"market", "features", "data", "trading", "performance", "models", "backtest", "live"},
    "errors": set(),
    "settings": {"errors"},
    "compiled": set(),
}
OWNERS = {
    "mlflow": {"models/registry.py", "models/pyfunc.py"},
    "optuna": {"models/tune.py"},
    "xgboost": {"models/boosting.py", "models/trees.py"},
    "sklearn": {"models/tabular.py", "models/forests.py", "models/estimator.py"},
    "threadpoolctl": {"models/alone.py"},
    "scipy": {
        "features/",
        "trading/",
        "performance/",
        "models/calibration.py",
        "models/explain.py",
        "models/monitoring/",
    },
    "skl2onnx": {"models/onnx.py"},
    "onnxruntime": {"models/onnx.py"},
    "safetensors": {"models/tensors.py"},
    "torch": {"models/sequence.py"},
    "river": {"models/monitoring/drift.py"},
    "cmaes": {"models/tune.py"},
    "numba": {"compiled.py"},
    "llvmlite": {"compiled.py"},
    "alpaca": {"data/alpaca.py", "live/broker.py"},
    "websockets": {"data/alpaca.py"},
    "vectorbt": {"backtest/vectorized.py", "performance/vectorbt_portfolio.py"},
    "arch": set(),
    "fsspec": {"data/object_store.py"},
    "s3fs": {"data/object_store.py"},
    "cryptography": {"data/encryption.py"},
    "nats": {"live/bus.py"},
    "fastapi": {"live/api.py"},
    "stable_baselines3": {"backtest/environment.py"},
    "starlette": {"backtest/sandbox/"},
    "uvicorn": {"backtest/sandbox/"},
    "msgpack": {"backtest/sandbox/"},
    "plotly": {
        "performance/plots.py",
        "backtest/sweep.py",
        "features/quality_figures.py",
        "models/explain_figures.py",
    },
    "joblib": {"backtest/parallel.py", "models/tune.py"},
    "typer": {"cli/"},
    "sqlite3": {"live/journal.py", "live/inbox.py"},
    "requests": {"data/alpaca.py", "live/broker.py", "data/clock.py", "live/notify.py"},
}
HEAVY = (
    "pandas", "sklearn", "scipy", "xgboost", "torch", "mlflow", "optuna", "alpaca", "vectorbt", "plotly", "numba",
    "joblib", "starlette", "uvicorn", "pydantic", "typer", "rich",
)  # fmt: skip
LOADED_INSIDE = {
    "onnxruntime",
    "skl2onnx",
    "river",
    "pandas",
    "sklearn",
    "xgboost",
    "torch",
    "mlflow",
    "optuna",
    "alpaca",
    "vectorbt",
    "plotly",
    "numba",
}
OUTSIDE = {
    "asyncio", "concurrent", "fcntl", "http", "httpx", "io", "logging", "multiprocessing", "os", "pathlib", "random",
    "requests", "secrets", "shutil", "signal", "socket", "sqlite3", "subprocess", "tempfile", "threading", "time",
    "urllib", "uuid",
}  # fmt: skip
BUILTINS_OUTSIDE = {"open", "input", "print", "exec", "eval", "__import__"}
CLOCK_CALLS = {"now", "utcnow", "today"}
LONGEST_FILE = 450
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "core", "misc", "types", "manager"}


def sources() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, ast.AST]]:
    """Every module that a file imports, with its node; a type-checking block of the face counts as none."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively"
            assert node.module is not None
            assert all(alias.name != "*" for alias in node.names), f"{path.name}:{node.lineno} imports a star"
            if node.module == "cryptoquant":
                found += [(f"cryptoquant.{alias.name}", node) for alias in node.names]
            else:
                found.append((node.module, node))
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_room_imports_downwards_only(path):
    room = room_of(path)
    if room == "__init__":
        return
    for module, node in imports(path):
        if module == "cryptoquant":
            pytest.fail(f"{path.name}:{node.lineno} imports the package's own face")
        if module.startswith("cryptoquant."):
            target = module.split(".")[1]
            assert target in ROOMS[room] | {room}, f"{room} may not import {target} ({path.name}:{node.lineno})"


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_heavy_library_is_imported_by_its_owner_only_and_inside_a_function(path):
    place = path.relative_to(SOURCE).as_posix()
    top_level = set(ast.parse(path.read_text(encoding="utf-8")).body)
    for module, node in imports(path):
        library = module.split(".")[0]
        owners = OWNERS.get(library)
        if owners is not None:
            assert any(place == owner or (owner.endswith("/") and place.startswith(owner)) for owner in owners), (
                f"{library} belongs to {', '.join(owners)}, not to {place}:{node.lineno}"
            )
        if library in LOADED_INSIDE:
            assert node not in top_level, f"{place}:{node.lineno} imports {library} at its head"


def test_importing_the_package_is_light():
    code = (
        "import time\n"
        "start = time.perf_counter()\n"
        "import cryptoquant\n"
        "print(time.perf_counter() - start)\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules and name not in before])"
    )
    code = "import sys, polars\nbefore = set(sys.modules)\n" + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, loaded = done.stdout.split("\n")[:2]
    assert loaded == ""
    assert float(seconds) < 0.3


def test_the_face_is_sorted_complete_and_loads_every_name():
    assert cryptoquant.__all__ == sorted(cryptoquant.__all__)
    assert set(cryptoquant.__all__) == set(cryptoquant.NAMES) | set(cryptoquant.ROOMS)
    for name in cryptoquant.__all__:
        assert getattr(cryptoquant, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        cryptoquant.nonsense  # noqa: B018


def test_every_public_name_has_a_docstring():
    for name in cryptoquant.__all__:
        assert (getattr(cryptoquant, name).__doc__ or "").strip(), name


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_file_is_short_and_named_after_what_it_holds(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    assert path.stem not in FORBIDDEN_NAMES


def forbidden_in_trading(tree: ast.AST) -> list[str]:
    """What in a file of the engine reads a clock, draws a number or reaches out of the process, with its line."""
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            names = [node.func.id] if node.func.id in BUILTINS_OUTSIDE else []
        elif isinstance(node, ast.Attribute):
            is_clock = node.attr in CLOCK_CALLS and ast.unparse(node.value).split(".")[-1] in ("datetime", "date")
            is_random = node.attr == "random" and ast.unparse(node.value) in ("np", "numpy")
            names = [ast.unparse(node)] if is_clock or is_random else []
        for name in names:
            is_outside = name.split(".")[0] in OUTSIDE | BUILTINS_OUTSIDE
            if is_outside or name.endswith((".now", ".utcnow", ".today")) or ".random" in name:
                found.append(f"{name} in line {node.lineno}")
    return found


@pytest.mark.parametrize("path", sorted((SOURCE / "trading").rglob("*.py")), ids=lambda path: path.name)
def test_trading_has_no_clock_no_randomness_and_no_io(path):
    assert forbidden_in_trading(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "text",
    [
        "import time",
        "from time import perf_counter",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.datetime.utcnow()",
        "from datetime import date\ndate.today()",
        "import random",
        "import numpy as np\nnp.random.default_rng(1)",
        "from numpy.random import default_rng",
        "from numpy import random",
        "from uuid import uuid4",
        "import secrets",
        "open('x')",
        "print('x')",
        "import socket",
        "import requests",
        "import asyncio",
        "import threading",
        "def inside():\n    import os",
        "import os.path",
        "import sqlite3",
        "import logging",
        "from pathlib import Path",
    ],
)
def test_the_guard_of_trading_sees_every_way_out(text):
    assert forbidden_in_trading(ast.parse(text))
    assert not forbidden_in_trading(ast.parse("from datetime import timedelta\nview.time\nself.random = market.time"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_the_environment_is_read_in_settings_only(path):
    if path.name in ("settings.py", "compiled.py"):
        return
    assert "os.environ" not in path.read_text(encoding="utf-8")
    assert "getenv" not in path.read_text(encoding="utf-8")
