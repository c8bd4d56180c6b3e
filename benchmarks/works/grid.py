"""Work B: a hundred pairs of averages over half a million bars."""

import itertools
from typing import Any

import numpy as np

import cryptoquant as cq
from cryptoquant.market.slice import Panel
from cryptoquant.trading.strategy import MovingAverageCross
from works.cross import KEEP, SHARE
from works.data import CASH, COSTS, market
from works.measure import Outcome, Way, Work

FASTS = tuple(range(30, 481, 50))
SLOWS = tuple(range(720, 2881, 240))
SAMPLE = 20  # of the pairs, vectorbt's loop does one in so many


def crosses(fast: int, slow: int) -> MovingAverageCross:
    """Return the strategy of a pair."""
    return MovingAverageCross(fast, slow, SHARE)


def swept(panel: Panel, jobs: int) -> Outcome:
    """Return the means over the pairs that vectorbt does as well."""
    grid: dict[str, Any] = {"fast": FASTS, "slow": SLOWS}
    frame = cq.sweep(crosses, grid, panel, COSTS, cash=CASH, execution=KEEP, jobs=jobs).frame[::SAMPLE]
    names = ("total_return", "sharpe", "max_drawdown", "fills")
    return Outcome(*(float(np.mean(frame[name].to_numpy())) for name in names))


def looped(panel: Panel) -> list[Way]:
    """Return vectorbt's loops over some pairs: with signals as it does it best, and with our shares of the equity."""
    from works import peers

    prices = peers.Prices.of(panel)
    pairs = list(itertools.product(FASTS, SLOWS))[::SAMPLE]

    def by_signals() -> Outcome:
        signals = (peers.crosses(prices, *pair) for pair in pairs)
        return peers.mean_of([peers.judged(peers.traded(prices, *both)) for both in signals])

    def by_shares() -> Outcome:
        weights = (peers.shares(prices, *pair, SHARE) for pair in pairs)
        return peers.mean_of([peers.judged(peers.weighed(prices, each)) for each in weights])

    ways = []
    for engine in peers.engines():
        terms: dict[str, Any] = {"is_peer": True, "share": 1 / SAMPLE}
        ways.append(Way(f"vectorbt {engine} loop of signals", peers.by(engine, by_signals), **terms))
        ways.append(Way(f"vectorbt {engine} loop of orders", peers.by(engine, by_shares), "share", **terms))
    return ways


def work(*, quick: bool, with_peers: bool) -> Work:
    """Return work B; vectorbt does a twentieth of it, for its runs take equally long.

    Its other way, all columns at once, takes 12 GB and twice the time (field notes), and is left out.
    """
    panel = market(50_000 if quick else 500_000)
    ways = [
        Way("sweep, one core", lambda: swept(panel, 1), "share", target=40, megabytes=300),
        Way("sweep, two cores", lambda: swept(panel, 2), "share", target=68, cores=2),
        *(looped(panel) if with_peers else []),
    ]
    return Work("B", "100 pairs of averages", len(panel) * len(FASTS) * len(SLOWS), ways)
