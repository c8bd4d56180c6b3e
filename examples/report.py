"""A committed sample of a study's report, docs/sample_report.html, from a market that never existed."""

import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import cryptoquant as cq
from cryptoquant import features as f
from cryptoquant import models as m
from cryptoquant import strategy as s

PAGE = Path(__file__).parents[1] / "docs" / "sample_report.html"


def main(page: Path = PAGE) -> None:
    bars = cq.SyntheticMarket(symbols=["BTC/USD", "ETH/USD"], days=540, timeframe="1h", edge=0.18, seed=7).bars()
    window = (f.log_return(24), f.rsi(14), f.realized_volatility(48), f.sma(48, relative=True), f.volume_ratio(168))
    label = f.triple_barrier(take=2.0, stop=2.0, horizon=timedelta(hours=24))
    with tempfile.TemporaryDirectory() as folder:
        study = cq.walk_forward(
            cq.Dataset.build(bars, f.FeatureSet([*window, f.zscore("volume", 336), f.hour_of_day()]), label),
            m.XGBoost(n_estimators=60, max_depth=3, learning_rate=0.05, seed=7),
            s.LongFlat(threshold=0.68, max_weight=0.4),
            cq.WalkForward(train=timedelta(days=180), test=timedelta(days=60), embargo=timedelta(hours=24)),
            cq.Costs.alpaca(tier=1, slippage_bps=2.0),
            name="Sample study",
            execution=cq.Execution(stop_loss=0.08, take_profit=0.2),
            ledger=cq.TrialLedger(Path(folder) / "trials.jsonl"),
            notes=("A seeded synthetic market with a planted edge that volume betrays. No real market is like this.",),
        )
    study.report.show()
    print(f"report: {study.report.to_html(page)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE)
