"""Compile what tests of histories, labels and models need: while lines are counted that takes far longer.

Run it: python -m tests.models.kernels
"""

import tempfile
from datetime import timedelta
from itertools import islice
from pathlib import Path

import polars as pl

import cryptoquant as cq
from cryptoquant import features as f
from tests.features.examples import every_comparison, every_feature
from tests.market_makers import frame_of, gapping_panel
from tests.models.datasets import small_dataset
from tests.models.test_bundle import small_bundle
from tests.models.test_sequence import SMALL_LSTM, SMALL_TCN

DAY = timedelta(days=1)
LINE = cq.models.Logistic()
MODELS = (
    cq.models.XGBoost(n_estimators=2),
    cq.models.Calibrated(LINE),
    cq.models.Calibrated(LINE, method="isotonic"),
    cq.models.Scaled(LINE, f.Scaler("rank")),
    SMALL_LSTM,
    SMALL_TCN,
)


def compute_features(bars: pl.DataFrame) -> None:
    longer = f.timeframe("4h", [f.rsi(3), f.cross_sectional_rank(2)])
    f.FeatureSet([*every_feature().features, *every_comparison("BTC/USD").features, longer]).compute(bars)


def weigh_labels(bars: pl.DataFrame) -> None:
    for label in (f.triple_barrier(2.0, 2.0, horizon=DAY), f.trend_scanning(5, 10)):
        labels = label.build(bars)
        f.uniqueness(labels)
        f.return_attribution(labels, bars)
        f.sequential_bootstrap(labels, 3, 1)


def forecast() -> None:
    panel = cq.Panel.from_frame(small_dataset(days=15).bars)
    for model in MODELS:
        bundle = small_bundle(model)
        forecaster, rows = bundle.forecaster(), bundle.features.compute_panel(panel)
        for number, market in islice(enumerate(panel), 60):
            forecaster.update(market, rows[number])


def study() -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger, splits = cq.TrialLedger(Path(folder) / "trials.jsonl"), cq.WalkForward(20 * DAY, 10 * DAY)
        cq.walk_forward(small_dataset(), LINE, cq.strategy.LongFlat(0.5), splits, ledger=ledger)


if __name__ == "__main__":
    market = frame_of(gapping_panel(300, ("BTC/USD", "ETH/USD"), absent=0.1))
    compute_features(market)
    weigh_labels(market)
    forecast()
    study()
