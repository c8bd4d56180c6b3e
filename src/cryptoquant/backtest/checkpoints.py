"""Folds that are done, kept in a folder so that a study which was killed goes on where it was."""

import hashlib
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from cryptoquant.backtest.learning import FoldResult
from cryptoquant.backtest.plan import Plan
from cryptoquant.backtest.strategy_search import with_strategy_params
from cryptoquant.errors import ConfigurationError
from cryptoquant.models.bundle import code_fingerprint, library_versions
from cryptoquant.models.space import restored
from cryptoquant.models.splits import Fold


class Checkpoints:
    """The folds of one study in a folder of their own, one file each, written whole or not at all.

    The folder's name follows from the configuration, the data, the code and the versions of libraries: what another
    configuration or another code has computed is never taken.

    Parameters
    ----------
    folder
        Where studies are kept.
    """

    def __init__(self, folder: str | Path, plan: Plan) -> None:
        said = json.dumps([plan.key, code_fingerprint(), library_versions()], sort_keys=True)
        self.folder = Path(folder) / hashlib.sha256(said.encode()).hexdigest()[:32]
        self._plan = plan
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"resume {folder}: wanted a folder, found {error.strerror}") from error

    def read(self, folds: list[Fold]) -> list[FoldResult] | None:
        """Return the results of some folds, None when one of them is not there or not readable."""
        found = [self._read(fold) for fold in folds]
        results = [result for result in found if result is not None]
        return results if len(results) == len(folds) else None

    def write(self, results: list[FoldResult]) -> None:
        """Keep the results of some folds."""
        for result in results:
            place = self._place(result.fold)
            written = place.with_suffix(f".{os.getpid()}")
            facts = {name: getattr(result, name) for name in FACTS}
            with written.open("wb") as file:
                arrays = {name: getattr(result, name) for name in ARRAYS}
                np.savez(file, **arrays, facts=np.array(json.dumps(facts)))
                file.flush()
                os.fsync(file.fileno())
            written.replace(place)

    def _place(self, fold: Fold) -> Path:
        return self.folder / f"fold-{fold.number:04}.npz"

    def _read(self, fold: Fold) -> FoldResult | None:
        try:
            with self._place(fold).open("rb") as file, np.load(file, allow_pickle=False) as kept:
                facts, arrays = json.loads(str(kept["facts"])), {name: kept[name] for name in ARRAYS}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        plan = self._plan
        if plan.tune is not None:
            facts["params"] = restored(facts["params"], plan.tune.space)
        if plan.tune_strategy is not None:
            facts["strategy_params"] = restored(facts["strategy_params"], plan.tune_strategy.space)
        strategy = with_strategy_params(plan.strategy, facts["strategy_params"])
        return replace(FoldResult(fold=fold, **arrays, **facts), strategy=strategy)


ARRAYS = ("predicted", "reliance", "dissimilarity")
FACTS = ("params", "trials", "hit_rate_train", "hit_rate_test", "seconds", "strategy_params", "strategy_trials")
