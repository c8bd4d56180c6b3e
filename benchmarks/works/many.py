"""A hundred backtests at once: their time, and what their number adds to the memory."""

import json
import math
import time
from collections.abc import Callable
from typing import Any

import cryptoquant as cq
from cryptoquant.market.slice import Panel
from cryptoquant.trading.strategy import MovingAverageCross, Strategy
from works.cross import KEEP, SHARE, at_turns
from works.data import CASH, COSTS, market
from works.events import Climber, Planned, plan_of
from works.measure import peak, peak_of_children

FEW, ALL = 20, 100
LIMITS = {"compiled": 1.0, "event driver": 30.0, "event driver, reads hours at every bar": math.inf}


def compiled(fast: int) -> MovingAverageCross:
    """Return a strategy that is computed for all bars at once."""
    return MovingAverageCross(fast, 2880, SHARE)


def reading(lookback: int) -> Climber:
    """Return a plain strategy that reads the past at every bar, and trades often."""
    return Climber(lookback)


def turning(panel: Panel) -> Callable[[int], Planned]:
    """Return what makes a plain strategy that is asked at every bar and trades at the turns of a cross."""

    def make(fast: int) -> Planned:
        return Planned(plan_of(at_turns(compiled(fast).weights(panel)[:, 0] / SHARE), panel))

    return make


def run(kind: str, bars: int, jobs: int) -> str:
    """Return seconds of a hundred runs, and the peaks in MB (own, largest worker) after some and after all of them."""
    panel = market(bars)
    make: Callable[[int], Strategy]
    make, name = (reading, "lookback") if "reads" in kind else (turning(panel), "fast")
    if kind == "compiled":
        make = compiled
    found: dict[str, Any] = {"kind": kind, "bars": bars, "peaks": {}}
    for count in (FEW, ALL):
        started = time.perf_counter()
        values = [300 + 10 * number for number in range(count)]
        cq.sweep(make, {name: values}, panel, COSTS, cash=CASH, execution=KEEP, jobs=jobs)
        found["seconds"] = time.perf_counter() - started
        found["peaks"][count] = [peak(), peak_of_children()]
    return json.dumps(found)
