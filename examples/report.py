"""A sample of a study's report with all its parts, docs/sample_report.html, from a market that never existed."""

import sys
from datetime import timedelta
from pathlib import Path

import cryptoquant as cq
from cryptoquant import features as f
from cryptoquant import models as m

PAGE = Path(__file__).parents[1] / "docs" / "sample_report.html"
DAY = timedelta(days=1)


def main(page: Path = PAGE) -> None:
    bars = cq.SyntheticMarket(symbols=["BTC/USD", "ETH/USD"], days=540, timeframe="1h", edge=0.13, seed=7).bars()
    window = (f.log_return(24), f.rsi(14), f.realized_volatility(48), f.sma(48, relative=True), f.volume_ratio(168))
    features = cq.FeatureSet([*window, f.zscore("volume", 336), f.hour_of_day()])
    dataset = cq.Dataset.build(bars, features, f.triple_barrier(take=2.0, stop=2.0, horizon=DAY))
    ledger = cq.TrialLedger()
    for threshold in (0.60, 0.64, 0.68):
        study = cq.walk_forward(
            dataset,
            m.XGBoost(n_estimators=60, max_depth=3, learning_rate=0.05, seed=7),
            cq.strategy.LongFlat(threshold, max_weight=0.4),
            cq.WalkForward(train=180 * DAY, test=60 * DAY, embargo=DAY),
            cq.Costs.alpaca(tier=1, slippage_bps=2.0),
            name="Sample study",
            execution=cq.Execution(stop_loss=0.08, take_profit=0.2),
            ledger=ledger,
            notes=("A seeded synthetic market with a planted edge that volume betrays. No real market is like this.",),
        )
    paths = cq.combinatorial(study, cq.CombinatorialPurged(folds=6, test_folds=2, embargo=DAY))
    study = study.with_papers(robustness=cq.robustness(study, refit=False), paths=paths.frame)
    study.report.show()
    print(f"report: {study.report.to_html(page)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE)
