"""Work B: a hundred pairs of averages over half a million bars."""

import itertools
from typing import Any

import cryptoquant as cq
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.strategy import MovingAverageCross
from works.cross import SHARE
from works.data import CASH, COSTS, market
from works.measure import Outcome, Way, Work

FASTS = tuple(range(30, 481, 50))
SLOWS = tuple(range(720, 2881, 240))
KEEP = Execution(reserve=0.0, band=1.0)  # trades turns only, though a weight is wanted at every bar
SAMPLE = 20  # of the pairs, vectorbt's loop does every so many


def crosses(fast: int, slow: int) -> MovingAverageCross:
    """Return the strategy of a pair."""
    return MovingAverageCross(fast, slow, SHARE)


def swept(panel: cq.Panel, jobs: int, every: int = 1) -> Outcome:
    """Return the means over the pairs."""
    grid: dict[str, Any] = {"fast": FASTS, "slow": SLOWS}
    frame = cq.sweep(crosses, grid, panel, COSTS, cash=CASH, execution=KEEP, jobs=jobs).frame[::every]
    names = ("total_return", "sharpe", "max_drawdown", "fills")
    return Outcome(*(float(frame[name].mean()) for name in names))


def work(*, quick: bool, with_peers: bool) -> Work:
    """Return work B; vectorbt does a twentieth of it, unless all is asked for."""
    panel = market(50_000 if quick else 500_000)
    pairs = list(itertools.product(FASTS, SLOWS))
    ways = [
        Way("sweep, one core", lambda: swept(panel, 1), target=40, megabytes=300),
        Way("sweep, two cores", lambda: swept(panel, 2), target=68, megabytes=300, cores=2),
    ]
    if with_peers:
        from works import peers

        prices = peers.Prices.of(panel)

        def one(fast: int, slow: int) -> Outcome:
            return peers.judged(peers.traded(prices, *peers.crosses(prices, fast, slow)))

        for engine in peers.engines():
            sample = [lambda pair=pair: one(*pair) for pair in pairs[::SAMPLE]]
            loop = peers.by(engine, lambda sample=sample: peers.looped(sample))
            ways.append(Way(f"vectorbt {engine} loop", loop, is_peer=True, share=1 / SAMPLE))
    return Work("B", "100 pairs of averages", len(panel) * len(pairs), ways)
