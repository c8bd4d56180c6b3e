"""Work side by side comes back in order, one by one, whatever the backend can do."""

import joblib
import pytest

from cryptoquant.backtest.parallel import side_by_side


def squared(number: int) -> int:
    return number * number


class Whole(joblib.parallel.ThreadingBackend):
    """A backend that hands over results all at once, as Ray's does."""

    supports_return_generator = False
    rounds: list[int] = []  # noqa: RUF012

    def effective_n_jobs(self, n_jobs):
        return 2


@pytest.fixture
def whole():
    joblib.register_parallel_backend("whole", Whole)
    yield
    joblib.parallel.BACKENDS.pop("whole")


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_tasks(jobs):
    assert list(side_by_side(squared, ((number,) for number in range(9)), jobs)) == [n * n for n in range(9)]


def test_a_backend_without_generators_gets_rounds(whole):
    taken = []

    def tasks():
        for number in range(5):
            taken.append(number)
            yield (number,)

    with joblib.parallel_config(backend="whole"):
        results = side_by_side(squared, tasks(), 2)
        assert next(results) == 0
        assert taken == [0, 1]
        assert list(results) == [1, 4, 9, 16]


def test_tasks_are_taken_when_a_worker_is_free():
    taken = []

    def tasks():
        for number in range(100):
            taken.append(number)
            yield (number,)

    results = side_by_side(squared, tasks(), 1)
    assert next(results) == 0
    assert len(taken) < 10
    results.close()


def test_a_joblib_configuration_says_how_many_unless_the_call_does(monkeypatch):
    seen = []
    original = joblib.Parallel.__init__

    def noted(self, n_jobs=None, **options):
        seen.append(n_jobs)
        original(self, n_jobs=n_jobs, **options)

    monkeypatch.setattr(joblib.Parallel, "__init__", noted)
    with joblib.parallel_config(backend="threading", n_jobs=1):
        assert list(side_by_side(squared, [(2,)])) == [4]
        assert list(side_by_side(squared, [(2,)], 2)) == [4]
    list(side_by_side(squared, [(2,)]))
    assert seen == [1, 2, -1]
