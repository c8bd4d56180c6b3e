"""Work A: the cross of two moving averages over a million bars, long or flat, with a fixed number of coins or a share.

The targets are given as orders or as weights; and the whole way from prices through averages to statistics.
"""

import numpy as np

import cryptoquant as cq
from cryptoquant import features as f
from cryptoquant.market.slice import Panel
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.strategy import MovingAverageCross
from works.data import CASH, FAST, SLOW, VENUE, Floats, market, orders_frame, turns
from works.measure import Outcome, Way, Work

SHARE = 0.1
PLAN = Execution(reserve=0.0, band=0.0)
KEEP = Execution(reserve=0.0, band=1.0)  # trades turns only, though a weight is wanted at every bar
# Of the field notes: what four other simulators came to on these bars.
REFERENCE = {"coins": Outcome(-0.457420, -5.301454, -0.458080, 1_106)}


def judged(report: cq.Report) -> Outcome:
    """Return what a report says."""
    numbers = report.statistics
    return Outcome(numbers.total_return, numbers.sharpe, numbers.max_drawdown, numbers.fills)


def traded(what: object, panel: Panel, execution: Execution | None = None) -> Outcome:
    """Return what comes of orders, weights or a strategy; ``execution`` goes with the latter two."""
    return judged(cq.simulate(what, panel, venue=VENUE, cash=CASH, execution=execution))


def by_features(panel: Panel) -> Floats:
    """Return 1 where the fast average lies above the slow one, from the feature library."""
    features = f.FeatureSet([f.sma(FAST), f.sma(SLOW)])
    averages = features.compute_panel(panel)
    above = (averages[:, 0, 0] > averages[:, 0, 1]).astype(np.float64)
    above[: features.lookback] = np.nan
    return above


def by_rule(panel: Panel) -> Floats:
    """Return the same from the rule."""
    return MovingAverageCross(FAST, SLOW, 1.0).weights(panel)[:, 0]


def at_turns(levels: Floats) -> Floats:
    """Return the weights at the turns of a cross, NaN elsewhere."""
    found = np.full(len(levels), np.nan)
    up, down = turns(levels)
    found[up], found[down] = SHARE, 0.0
    return found


def given(panel: Panel, levels: Floats, *, with_peers: bool) -> list[Way]:
    """Return the ways that trade given targets."""
    orders, weights = orders_frame(levels, panel), at_turns(levels)
    ways = [
        Way("orders", lambda: traded(orders, panel), "coins", target=30, limit=5e-3),
        Way("weights", lambda: traded(weights, panel, PLAN), "share", target=30, limit=5e-3),
    ]
    if not with_peers:
        return ways
    from works import peers

    prices, (up, down) = peers.Prices.of(panel), turns(levels)
    entries, exits, shares = (*(peers.flags(rows, len(panel)) for rows in (up, down)), peers.late(weights))
    for engine in peers.engines():
        signals = peers.by(engine, lambda: peers.judged(peers.traded(prices, entries, exits)))
        weighed = peers.by(engine, lambda: peers.judged(peers.weighed(prices, shares)))
        ways.append(Way(f"vectorbt {engine} from_signals", signals, "coins", is_peer=True))
        ways.append(Way(f"vectorbt {engine} from_orders", weighed, "share", is_peer=True))
    return ways


def targets(*, quick: bool, with_peers: bool) -> Work:
    """Return work A with given targets."""
    panel = market(100_000 if quick else 1_000_000)
    ways = given(panel, by_rule(panel), with_peers=with_peers)
    return Work("A", "cross of averages, targets given", len(panel), ways, {} if quick else REFERENCE)


def signals(*, quick: bool, with_peers: bool) -> Work:
    """Return work A from prices to statistics."""
    panel = market(100_000 if quick else 1_000_000)
    rule = MovingAverageCross(FAST, SLOW, SHARE)
    ways = [
        Way("rule to orders", lambda: traded(orders_frame(by_rule(panel), panel), panel), "coins", target=15),
        Way("rule to weights", lambda: traded(rule.weights(panel), panel, KEEP), target=15, limit=15e-3),
        Way("features to orders", lambda: traded(orders_frame(by_features(panel), panel), panel), "coins"),
    ]
    ways = [way._replace(target=15, limit=15e-3) for way in ways]
    if with_peers:
        from works import peers

        prices = peers.Prices.of(panel)

        def whole() -> Outcome:
            return peers.judged(peers.traded(prices, *peers.crosses(prices, FAST, SLOW)))

        def stats() -> Outcome:
            portfolio = peers.traded(prices, *peers.crosses(prices, FAST, SLOW))
            portfolio.stats()
            return peers.judged(portfolio)

        for engine in peers.engines():
            ways.append(Way(f"vectorbt {engine} MA to numbers", peers.by(engine, whole), "coins", is_peer=True))
            ways.append(Way(f"vectorbt {engine} MA to stats()", peers.by(engine, stats), "coins", is_peer=True))
    return Work("A+", "cross of averages, from prices", len(panel), ways, {} if quick else REFERENCE)
