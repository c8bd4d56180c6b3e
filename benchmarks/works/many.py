"""A hundred backtests at once: their time, and what their number adds to the memory."""

import json
import time
from typing import Any

import cryptoquant as cq
from cryptoquant.trading.strategy import MovingAverageCross
from works.cross import KEEP, SHARE
from works.data import CASH, COSTS, market
from works.events import Climber
from works.measure import peak, peak_of_children

FEW, ALL = 20, 100
LIMITS = {"compiled": 1.0, "event driver": 30.0}


def compiled(fast: int) -> MovingAverageCross:
    """Return a strategy that is computed for all bars at once."""
    return MovingAverageCross(fast, 2880, SHARE)


def plain(lookback: int) -> Climber:
    """Return a strategy that is asked at every bar."""
    return Climber(lookback)


def run(kind: str, bars: int, jobs: int) -> str:
    """Return seconds of a hundred runs, and the peaks in MB (own, largest worker) after some and after all of them."""
    panel = market(bars)
    make, name = (compiled, "fast") if kind == "compiled" else (plain, "lookback")
    found: dict[str, Any] = {"kind": kind, "bars": bars, "peaks": {}}
    for count in (FEW, ALL):
        started = time.perf_counter()
        values = [300 + 10 * number for number in range(count)]
        cq.sweep(make, {name: values}, panel, COSTS, cash=CASH, execution=KEEP, jobs=jobs)
        found["seconds"] = time.perf_counter() - started
        found["peaks"][count] = [peak(), peak_of_children()]
    return json.dumps(found)
