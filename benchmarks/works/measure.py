"""How a work is timed: pinned to one core, ours and the peers in turn, medians; peak memory in a process of its own."""

import gc
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

TOLERANCE = 1e-6
ROUNDS, BUDGET = 5, 15.0  # runs that count, and seconds after which a way has had enough of them
EVERY_CORE = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
MEGABYTE = 1024.0  # of the kilobytes that Linux counts in


class Outcome(NamedTuple):
    """What a run came to; ``orders`` is the number of fills."""

    total_return: float
    sharpe: float
    max_drawdown: float
    orders: float


class Way(NamedTuple):
    """One way to do a work.

    Attributes
    ----------
    rules
        Ways of the same rules must agree; an empty text is compared with nothing.
    target
        How many times faster than vectorbt's numba engine it shall be; NaN for a peer.
    limit
        Seconds that it shall not exceed.
    megabytes
        Peak memory that it shall not exceed.
    share
        The part of the work that it does; its seconds are divided by it.
    cores
        How many it may use.
    """

    name: str
    run: Callable[[], Outcome]
    rules: str = ""
    is_peer: bool = False
    target: float = math.nan
    limit: float = math.inf
    megabytes: float = math.inf
    share: float = 1.0
    cores: int = 1


class Work(NamedTuple):
    """A work and the ways to do it.

    Attributes
    ----------
    bars
        Bars of all symbols and parameter sets together.
    reference
        What other simulators came to, by rules, where that is known.
    """

    name: str
    title: str
    bars: int
    ways: Sequence[Way]
    reference: Mapping[str, Outcome] = MappingProxyType({})


class Timing(NamedTuple):
    """Median seconds of one way over some runs, on the clock and of the processor, and what it came to."""

    way: Way
    median: float
    busy: float
    runs: int
    outcome: Outcome


@contextmanager
def pinned(cores: int = 1) -> Iterator[None]:
    """Let this process run on so many cores only, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, EVERY_CORE[-cores:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def once(way: Way) -> tuple[tuple[float, float], Outcome]:
    """Run a way; return its seconds on the clock and of this process, and its outcome.

    The garbage of earlier runs is collected before. Work of other processes than this one is not in its own seconds.
    """
    gc.collect()
    with pinned(way.cores):
        started, busy = time.perf_counter(), time.process_time()
        outcome = way.run()
        taken = time.perf_counter() - started, time.process_time() - busy
    return (taken[0] / way.share, taken[1] / way.share), outcome


def timings(ways: Sequence[Way]) -> list[Timing]:
    """Return the timings of ways that take turns, after a first run of each that does not count."""
    outcomes = [once(way)[1] for way in ways]
    seconds: list[list[tuple[float, float]]] = [[] for _ in ways]
    for _ in range(ROUNDS):
        for taken, way in zip(seconds, ways, strict=True):
            if sum(clock for clock, _ in taken) * way.share < BUDGET:
                taken.append(once(way)[0])
    found = []
    for way, taken, outcome in zip(ways, seconds, outcomes, strict=True):
        clock, busy = (statistics.median(numbers) for numbers in zip(*taken, strict=True))
        found.append(Timing(way, clock, math.nan if way.cores > 1 else busy, len(taken), outcome))
    return found


def agrees(one: Outcome, other: Outcome) -> bool:
    """Return whether return, Sharpe ratio and largest drawdown are the same to 1e-6."""
    return all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE) for a, b in zip(one[:3], other[:3], strict=True)
    )


def peak(process: str = "self") -> float:
    """Return the largest resident memory of a process so far, in MB.

    Linux carries the peak of a parent over to the process that it starts (``getrusage`` shows that one), so that the
    peak of the own address space is read where it can be.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / MEGABYTE
    except (OSError, StopIteration):
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used / (MEGABYTE * MEGABYTE if sys.platform == "darwin" else MEGABYTE)


def peak_of_children() -> float:
    """Return the largest peak among the processes that this one has started and that still run; 0 without any."""
    try:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    except OSError:
        return math.nan
    return max((peak(child) for child in children), default=0.0)


def in_a_process(script: str, *arguments: str) -> str:
    """Return the last line that a script prints in a fresh process."""
    done = subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[-1]
