"""Work side by side: on the cores of this machine, or wherever a joblib configuration sends it."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Literal, TypeVar

from cryptoquant.settings import settings

R = TypeVar("R")


def side_by_side(
    work: Callable[..., R],
    tasks: Iterable[tuple[Any, ...]],
    jobs: int | None = None,
    *,
    prefer: Literal["threads", "processes"] = "threads",
) -> Iterator[R]:
    """Yield ``work(*task)`` for each task, in their order, as soon as they are there.

    Parameters
    ----------
    tasks
        Arguments; they are taken when a worker is about to become free, not all at once.
    jobs
        Workers; -1 uses every core, None what a ``joblib.parallel_config`` around the call says, or the settings
        (``CQ_JOBS``).
    prefer
        Where the work runs unless a ``joblib.parallel_config`` around the call names a backend. One that cannot hand
        over results one by one, such as Ray's, gets the tasks in rounds of one for each worker.
    """
    from joblib import Parallel, delayed, effective_n_jobs, parallel
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend(prefer=prefer)
    workers = jobs
    if workers is None:
        configured = getattr(getattr(parallel, "_backend", None), "config", {}).get("n_jobs")
        workers = configured if type(configured) is int else settings().jobs
    if workers == 1 or backend.supports_return_generator:
        yield from Parallel(n_jobs=workers, prefer=prefer, return_as="generator")(
            delayed(work)(*task) for task in tasks
        )
        return
    waiting, round_of = iter(tasks), effective_n_jobs(workers)
    while batch := list(islice(waiting, round_of)):
        yield from Parallel(n_jobs=workers, prefer=prefer)(delayed(work)(*task) for task in batch)
