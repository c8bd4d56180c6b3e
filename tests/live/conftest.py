"""A small venue, a hand-made bundle and a trader for the tests of the live room."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from cryptoquant import features as f
from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.data.store import Store
from cryptoquant.features import FeatureSet
from cryptoquant.live.trader import Trader
from cryptoquant.models.bundle import Bundle
from cryptoquant.models.tabular import Line
from cryptoquant.performance.evidence import Evidence
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import LongFlat
from cryptoquant.trading.venue import Costs

PAIRS = ("BTC/USD", "ETH/USD")


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """A line that turns every few hours: no skill, many orders."""
    evidence = Evidence(100, 1.0, 1.1, 0.9, 0.1, 2.0, 0.99, float("nan"), 50.0, -0.1, -0.2, 40, 1, 0)
    return Bundle(
        name="turning",
        symbols=PAIRS,
        timeframe="1h",
        predictor=Line(np.array([120.0, 0.0]), 0.0),
        features=FeatureSet([f.log_return(3), f.zscore("volume", 24)]),
        strategy=LongFlat(threshold=0.6, max_weight=0.4),
        execution=Execution(),
        costs=Costs.alpaca(tier=1, slippage_bps=2.0),
        horizon=timedelta(hours=3),
        evidence=evidence,
        fingerprints={},
    )


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A venue in lock-step with ten days of past and five of future."""
    with Sandbox(11, PAIRS, days=15, history=timedelta(days=10), lockstep=True) as venue:
        yield venue


@pytest.fixture
def hire(bundle: Bundle, sandbox: Sandbox, tmp_path: Path) -> Callable[..., Trader]:
    """Return a maker of traders on the sandbox, all with the same journal unless told otherwise."""

    def make(**changes: object) -> Trader:
        settings: dict[str, object] = {
            "limits": RiskLimits(max_weight=0.6),
            "journal": tmp_path / "journal.sqlite",
            **changes,
        }
        connection = settings.pop("connection", None) or sandbox.alpaca()
        return Trader(bundle, connection, Store(tmp_path / "store"), **settings)

    return make
