"""A study for each symbol: each is what it would be alone, and all of them count when one is chosen."""

import math
from datetime import timedelta

import pytest

from cryptoquant import features as f
from cryptoquant.backtest.by_symbol import walk_forward_by_symbol
from cryptoquant.backtest.walk_forward import walk_forward
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.features import FeatureSet
from cryptoquant.models import Logistic
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.splits import WalkForward
from cryptoquant.models.tune import Tune
from cryptoquant.performance.trials import TrialLedger
from cryptoquant.trading.strategy import LongFlat, Momentum
from cryptoquant.trading.venue import Costs

BARS = SyntheticMarket(seed=3, symbols=["BTC/USD", "ETH/USD", "SOL/USD"], days=90, timeframe="1h", edge=0.3).bars()
SPLITS = WalkForward(timedelta(days=40), timedelta(days=20), timedelta(hours=12))
DATASET = Dataset.build(
    BARS,
    FeatureSet([f.log_return(1), f.zscore("volume", 96), f.relative_return(24)]),
    f.triple_barrier(2.0, 2.0, timedelta(hours=12)),
)
TUNE = Tune(trials=2, space={"strength": (0.1, 2.0)}, storage="memory")


@pytest.fixture(scope="module")
def found():
    ledger = TrialLedger()
    studies = walk_forward_by_symbol(
        DATASET, Logistic(), LongFlat(0.53), SPLITS, Costs.alpaca(8), TUNE, name="each", ledger=ledger, jobs=2
    )
    return studies, ledger


def test_each_symbol_is_traded_and_learned_alone_with_features_of_the_whole_universe(found):
    studies, _ = found
    assert list(studies) == ["BTC/USD", "ETH/USD", "SOL/USD"]
    for symbol, study in studies.items():
        assert set(study.report.fills["symbol"]) == {symbol}
        alone = DATASET.of(symbol)
        assert (
            study.signals["value"].to_list()
            == walk_forward(
                alone, Logistic(), LongFlat(0.53), SPLITS, Costs.alpaca(8), TUNE, ledger=TrialLedger(), jobs=1
            )
            .signals["value"]
            .to_list()
        )
        assert study.to_bundle("x").chosen == (symbol,)


def test_choosing_among_symbols_is_deflated_by_all_of_them(found):
    studies, ledger = found
    assert len(ledger.study_trials("each")) == 3
    assert ledger.tuning_count("each") == sum(2 * len(study.folds) for study in studies.values())
    for study in studies.values():
        assert study.evidence.study_trials == 3
        assert 0.0 <= study.evidence.dsr <= study.evidence.psr or math.isnan(study.evidence.dsr)
        assert study.report.dossier.evidence == study.evidence
    assert not any(math.isnan(study.evidence.dsr) for study in studies.values())


def test_a_rule_goes_through_one_symbol_at_a_time_and_jobs_change_nothing():
    seen = []
    terms = {"symbols": ("ETH/USD", "BTC/USD"), "ledger": TrialLedger(), "jobs": 1}
    one = walk_forward_by_symbol(
        BARS,
        None,
        Momentum(24),
        SPLITS,
        Costs.alpaca(),
        progress=lambda done, total: seen.append((done, total)),
        **terms,
    )
    assert list(one) == ["ETH/USD", "BTC/USD"]
    assert seen == [(1, 2), (2, 2)]
    two = walk_forward_by_symbol(
        BARS, None, Momentum(24), SPLITS, Costs.alpaca(), **{**terms, "ledger": TrialLedger(), "jobs": 2}
    )
    for symbol, study in one.items():
        assert study.report.equity.equals(two[symbol].report.equity)
        assert repr(study.evidence) == repr(two[symbol].evidence)


def test_a_symbol_that_is_not_there_is_named_and_one_may_be_a_text(tmp_path):
    rule = (BARS, None, Momentum(24), SPLITS, Costs.alpaca())
    with pytest.raises(ValueError, match="no bars of XRP/USD; there are BTC/USD"):
        walk_forward_by_symbol(*rule, symbols=("XRP/USD",), ledger=TrialLedger())
    terms = {"symbols": "BTC/USD", "resume": tmp_path, "notes": ("seen",), "progress": True, "jobs": 1}
    found = walk_forward_by_symbol(*rule, ledger=TrialLedger(), **terms)
    assert list(found) == ["BTC/USD"]
    assert found["BTC/USD"].report.notes == ("seen",)
    assert len(list(tmp_path.rglob("*.npz"))) == len(found["BTC/USD"].folds)
