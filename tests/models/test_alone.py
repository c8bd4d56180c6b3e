"""Fits that compute alone: the same bytes on any machine, and pools that are theirs again afterwards."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression
from threadpoolctl import threadpool_info, threadpool_limits

from cryptoquant.models import Calibrated, Estimator, HistGradientBoosting, Logistic, Ridge
from cryptoquant.models.alone import alone
from cryptoquant.models.model import Model
from tests.models.datasets import planted

PATIENCE = 60.0


def threads(kind: str) -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == kind]


def pools() -> dict[str, int]:
    return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}


class Party:
    """Four fits that are inside at once, and come and go one after the other."""

    def __init__(self) -> None:
        self.entered = [threading.Event() for _ in range(4)]
        self.left = [threading.Event() for _ in range(4)]
        self.together = threading.Barrier(4, timeout=PATIENCE)
        self.seen: list[int] = []

    def __deepcopy__(self, memo: dict) -> "Party":
        return self


class Guest(RegressorMixin, BaseEstimator):
    def __init__(self, party: Party, number: int) -> None:
        self.party = party
        self.number = number

    def fit(self, rows: np.ndarray, targets: np.ndarray) -> "Guest":
        self.party.entered[self.number].set()
        self.party.together.wait()
        self.party.seen += threads("blas") + threads("openmp")
        self.party.together.wait()
        if self.number:
            assert self.party.left[self.number - 1].wait(PATIENCE)
        if self.number == 2:
            raise ArithmeticError("spilled")
        return self

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return np.zeros(len(rows))


def visit(party: Party, number: int) -> tuple[dict[str, int], dict[str, int], str]:
    """Fit in a thread of its own; return what each pool had there before and after, and what was raised."""
    before, raised = pools(), ""
    if number:
        assert party.entered[number - 1].wait(PATIENCE)
    try:
        Estimator(Guest(party, number)).fit(planted(50))
    except ArithmeticError as error:
        raised = str(error)
    party.left[number].set()
    return before, pools(), raised


def test_pools_are_what_they_were_after_fits_that_overlapped_and_one_that_failed():
    Logistic().fit(planted(50))
    with threadpool_limits(2):
        before = pools()
        assert 2 in threads("blas")
        openmp = [pool["filepath"] for pool in threadpool_info() if pool["user_api"] == "openmp"]
        party = Party()
        with ThreadPoolExecutor(4) as pool:
            visits = list(pool.map(visit, [party] * 4, range(4)))
        assert set(party.seen) == {1}
        assert pools().items() >= before.items()
    assert [raised for _, _, raised in visits] == ["", "", "spilled", ""]
    for first, last, _ in visits:
        for place in openmp:
            assert last[place] == first[place]


def test_a_fit_within_a_fit_gives_back_once():
    with threadpool_limits(2):
        before = pools()
        with alone():
            with alone():
                assert set(threads("blas") + threads("openmp")) == {1}
            assert set(threads("blas") + threads("openmp")) == {1}
        assert pools().items() >= before.items()


@pytest.mark.parametrize(
    "model",
    [
        Logistic(),
        Ridge(),
        Calibrated(Ridge()),
        Calibrated(Logistic()),
        HistGradientBoosting(max_iter=3),
        Estimator(LinearRegression()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_the_bytes_of_a_fit_do_not_know_how_many_threads_there_are(model: Model, tmp_path: Path):
    train, files = planted(20_000, 60), []
    for count in (1, 2):
        (tmp_path / str(count)).mkdir()
        with threadpool_limits(count):
            told = model.fit(train).save(tmp_path / str(count))
        files.append((told, [path.read_bytes() for path in sorted((tmp_path / str(count)).iterdir())]))
    assert files[0] == files[1]
    assert files[0][1]
