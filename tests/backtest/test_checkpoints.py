"""A study that was killed goes on where it was, and what comes out is what would have come out at once."""

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from cryptoquant import features as f
from cryptoquant.backtest.learning import Retraining
from cryptoquant.backtest.strategy_search import TuneStrategy
from cryptoquant.backtest.walk_forward import Study, walk_forward
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import ConfigurationError, ModelError
from cryptoquant.features import FeatureSet
from cryptoquant.models import Logistic
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.splits import WalkForward
from cryptoquant.performance.page import page_text
from cryptoquant.performance.trials import TrialLedger
from cryptoquant.trading.strategy import LongFlat
from cryptoquant.trading.venue import Costs

DATASET = Dataset.build(
    SyntheticMarket(seed=3, symbols=["BTC/USD"], days=100, timeframe="1h", edge=0.5).bars(),
    FeatureSet([f.log_return(1), f.zscore("volume", 96)]),
    f.forward_return(timedelta(hours=12)),
)
SPLITS = WalkForward(timedelta(days=40), timedelta(days=10), timedelta(hours=12))
SEARCH = TuneStrategy(trials=3, space={"threshold": (0.5, 0.6)})


@dataclass(frozen=True)
class Mortal(Logistic):
    """A model whose process dies after so many fits: what is counted outlives it."""

    lives: tuple[int, ...] = (1_000,)

    def fit(self, examples):
        if FITS[0] >= self.lives[0]:
            raise ModelError("killed")
        FITS[0] += 1
        return Logistic(self.strength).fit(examples)

    def get_params(self):
        return Logistic(self.strength).get_params()

    def with_params(self, **params):
        return replace(self, **params)


FITS = [0]


def study_of(resume: Path | None, lives: int = 1_000, **changed) -> Study:
    FITS[0] = 0
    model = Mortal(lives=(lives,))
    terms = {"strategy": LongFlat(0.52), "tune_strategy": SEARCH, **changed}
    return walk_forward(
        DATASET, model, splits=SPLITS, costs=Costs.alpaca(), ledger=TrialLedger(), jobs=1, resume=resume, **terms
    )


def test_a_killed_study_goes_on_and_comes_to_the_same_report(tmp_path):
    whole = study_of(None)
    fits = FITS[0]
    with pytest.raises(ModelError, match="killed"):
        study_of(tmp_path, lives=5)
    kept = sorted(path.name for path in tmp_path.rglob("*.npz"))
    assert kept == ["fold-0000.npz", "fold-0001.npz"]
    again = study_of(tmp_path)
    assert FITS[0] == fits - 4
    assert page_text(again.report) == page_text(whole.report)
    assert repr(again.evidence) == repr(whole.evidence)
    assert [r.strategy for r in again.folds] == [r.strategy for r in whole.folds]
    finished = study_of(tmp_path)
    assert FITS[0] == 1
    assert finished.signals.equals(whole.signals)


def test_what_a_fold_read_back_predicts_with_is_fitted_again(tmp_path):
    study_of(tmp_path)
    again = study_of(tmp_path)
    assert all(result.predictor is None for result in again.folds)
    assert again.on(DATASET.bars).signals.equals(again.signals)


def test_another_configuration_takes_nothing(tmp_path):
    study_of(tmp_path)
    study_of(tmp_path, strategy=LongFlat(0.53))
    assert FITS[0] > 10
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "gone"])
def test_a_damaged_file_is_learned_again(tmp_path, damage):
    whole = study_of(tmp_path)
    place = next(tmp_path.rglob("fold-0002.npz"))
    bytes_before = place.read_bytes()
    if damage == "gone":
        place.unlink()
    else:
        place.write_bytes({"cut": bytes_before[:100], "empty": b"", "noise": bytes(range(256))}[damage])
    again = study_of(tmp_path)
    assert FITS[0] == 3
    assert again.signals.equals(whole.signals)
    assert np.load(place)["predicted"].shape == whole.folds[2].predicted.shape


def test_an_era_is_kept_whole(tmp_path):
    with pytest.raises(ModelError, match="killed"):
        study_of(tmp_path, lives=4, retraining=Retraining(fit=1, tune=2))
    assert len(list(tmp_path.rglob("*.npz"))) == 2
    whole, again = study_of(None, retraining=Retraining(1, 2)), study_of(tmp_path, retraining=Retraining(1, 2))
    assert again.signals.equals(whole.signals)


def test_a_place_that_is_no_folder_is_named_before_anything_is_learned(tmp_path):
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(ConfigurationError, match=r"resume .*file: wanted a folder"):
        study_of(place)
    assert FITS[0] == 0
