"""What every test of the data room has for itself."""

import pytest

from cryptoquant.data.store import Store
from cryptoquant.settings import settings


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    """Accounts in use are noted in a folder of the test's own."""
    monkeypatch.setenv("CQ_STATE", str(tmp_path / "state"))
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")
