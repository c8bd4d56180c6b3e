"""Work D: entries by limit orders that live for half an hour, each with a stop and a target.

vectorbt knows no limit orders: its nearest are entries at the market with the same exits, which we do as well. Only
without slippage do the two follow the same rules (there, targets pay it too), so that it is left out.
"""

from datetime import timedelta

import numpy as np
import polars as pl

import cryptoquant as cq
from cryptoquant.market.slice import Panel
from cryptoquant.trading.venue import Costs, Venue
from works.cross import by_rule, judged
from works.data import CASH, SYMBOL, UNITS, Floats, market, stamps, turns
from works.measure import Outcome, Way, Work

BELOW, STOP, TARGET, LIFE = 0.001, 0.01, 0.02, timedelta(minutes=30)
LONGEST = 20_000  # bars that an exit is looked for
RULES = Venue.research(Costs(25.0, 25.0, 0.0, "quote"))


def apart(rows: Floats, panel: Panel) -> Floats:
    """Return the rows whose entry finds no position, where each is held until the stop or the target is touched."""
    opens, highs, lows = (panel.field(name)[:, 0] for name in ("open", "high", "low"))
    kept, free = [], 0
    for row in rows.tolist():
        if row < free:
            continue
        kept.append(row)
        price, later = opens[row + 1], slice(row + 2, row + LONGEST)
        ends = np.flatnonzero((lows[later] <= price * (1.0 - STOP)) | (highs[later] >= price * (1.0 + TARGET)))
        free = row + 3 + int(ends[0]) if len(ends) else len(opens)
    return np.array(kept)


def entries(rows: Floats, panel: Panel) -> pl.DataFrame:
    """Return buys at the market with exits."""
    frame = pl.DataFrame({"time": stamps(panel.times[rows])})
    exits = {"stop_loss": pl.lit(STOP), "take_profit": pl.lit(TARGET)}
    return frame.with_columns(symbol=pl.lit(SYMBOL), side=pl.lit("buy"), quantity=pl.lit(UNITS), **exits)


def limits(rows: Floats, panel: Panel) -> pl.DataFrame:
    """Return the same buys by limit orders below the close."""
    asked = pl.Series(panel.field("close")[rows, 0] * (1.0 - BELOW))
    kind = {"type": pl.lit("limit"), "time_in_force": pl.lit("gtt"), "expires": pl.col("time") + LIFE}
    return entries(rows, panel).with_columns(limit=asked, **kind)


def traded(orders: pl.DataFrame, panel: Panel) -> Outcome:
    """Return what comes of orders."""
    return judged(cq.simulate(orders, panel, venue=RULES, cash=CASH))


def work(*, quick: bool, with_peers: bool) -> Work:
    """Return work D; the entries are the upward turns of work A that find no position."""
    panel = market(100_000 if quick else 1_000_000)
    up = apart(turns(by_rule(panel))[0], panel)
    resting, at_once = limits(up, panel), entries(up, panel)
    ways = [
        Way("limit, stop, target", lambda: traded(resting, panel), target=40),
        Way("market, stop, target", lambda: traded(at_once, panel), "exits", target=40),
    ]
    if with_peers:
        from works import peers

        prices, buys = peers.Prices.of(panel), peers.flags(up, len(panel))
        nothing = peers.flags(np.array([], dtype=np.int64), len(panel))
        exits = {"sl_stop": STOP, "tp_stop": TARGET, "stop_entry_price": "fillprice", "stop_exit_price": "stopmarket"}
        ranges = {name: peers.series(panel, name) for name in ("open", "high", "low")}
        terms = {"slippage": 0.0, **exits, **ranges}
        for engine in peers.engines():
            run = peers.by(engine, lambda: peers.judged(peers.traded(prices, buys, nothing, **terms)))
            ways.append(Way(f"vectorbt {engine} market, stops", run, "exits", is_peer=True))
    return Work("D", "entries with stop and target", len(panel), ways)
