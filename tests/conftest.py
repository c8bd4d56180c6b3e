"""Shared places and profiles of the tests."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("default")

# Searches keep their journals; those of the tests do not belong into the current folder.
if "CQ_TUNING" not in os.environ:  # set by the process that started this one, which removes the folder
    os.environ["CQ_TUNING"] = tempfile.mkdtemp(prefix="cryptoquant-tuning-")
    atexit.register(shutil.rmtree, os.environ["CQ_TUNING"], ignore_errors=True)

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "market"


@pytest.fixture(scope="session")
def real_market() -> Path:
    """The folder of real market data; tests that need it are skipped where it is absent."""
    if not REAL.is_dir():
        pytest.skip("real market data not found at ../shared/data/market")
    return REAL
