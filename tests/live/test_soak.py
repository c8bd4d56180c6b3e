"""A week of market time on a venue that goes wrong all day: books as the venue's, no minute lost, nothing double."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.backtest.sandbox.fault import FAULT_KINDS
from cryptoquant.backtest.sandbox.faults import Faults
from cryptoquant.data.download import download
from cryptoquant.data.store import Store
from cryptoquant.live.journal import Entry, read_journal
from cryptoquant.live.profile import Profile
from cryptoquant.live.replay import replay_all
from cryptoquant.live.trader import Trader
from cryptoquant.market.time import iso, span_ns
from cryptoquant.trading.execution import Execution
from tests.live.kill_harness import PAIRS, PAST, bundle_of

SURVIVABLE = tuple(kind for kind in FAULT_KINDS if kind != "http.revoked")
DAYS, PER_DAY, SPEED = 7, 48.0, 3_600.0
MINUTE_NS = 60 * 10**9


def profiles() -> list[Profile]:
    quick = Execution(parts=2, pause=timedelta(minutes=10))
    slow = Execution(stop_loss=0.01, take_profit=0.02)
    return [
        Profile("quick", bundle_of("quick", "5m", quick, 300.0), capital=40_000.0),
        Profile("slow", bundle_of("slow", "1h", slow, 120.0), capital=40_000.0),
    ]


def closes_of(entries: list[Entry], universe: str) -> set[int]:
    """Return the closes of a universe that were decided on, or passed over with a row that says so."""
    decided = {entry.time for entry in entries if entry.kind == "slice" and entry.scope == universe}
    passed = [entry.content()["slices"] for entry in entries if entry.kind == "warm" and entry.scope == universe]
    return decided | {row[0] for rows in passed for row in rows}


def soak(folder: Path, seed: int, days: int, speed: float) -> dict[str, object]:
    """Let a trader live among random faults, and return what can be counted afterwards."""
    faults = Faults.random(seed, per_day=PER_DAY, kinds=SURVIVABLE)
    with Sandbox(seed, PAIRS, days=11 + days, history=PAST, speed=speed, faults=faults) as venue:
        store = Store(folder / "store")
        trader = Trader(profiles(), venue.alpaca(), store, journal=folder / "journal.sqlite").open()
        begun = trader.clock.now()
        trader.run(until=timedelta(days=days))
        venue.heal()
        end = (begun + days * 24 * 60 * MINUTE_NS) // (60 * MINUTE_NS) * 60 * MINUTE_NS
        is_first = True
        while is_first or trader.status().in_flight:  # what a fault kept back is told by REST, and gaps are filled
            is_first = False
            trader = Trader(profiles(), venue.alpaca(), store, journal=folder / "journal.sqlite")
            trader.run(until=timedelta(hours=3))
        tickets = list(venue._exchange.tickets.values())
        fired = sum(fault["fired"] for fault in venue.faults())
        for symbol in PAIRS:
            download(store, symbol, "1m", iso(begun), iso(end), source=venue.alpaca())
        entries, again, books = read_journal(trader.journal_path), replay_all(trader.journal_path), venue.account()
        engines = [one.engine.portfolio for one in again.values()]
        first = -(-begun // (60 * MINUTE_NS)) * 60 * MINUTE_NS
        wanted = {one.start.universe: range(first, end, span_ns(one.start.timeframe)) for one in again.values()}
        there = {name: len(closes_of(entries, name) & set(moments)) for name, moments in wanted.items()}
        times = {
            symbol: store.bars(symbol, "1m")
            .filter(
                pl.col("time").dt.epoch("ns").is_between(first + 1, end), pl.col("time").dt.epoch("ns") % MINUTE_NS == 0
            )["time"]
            .n_unique()
            for symbol in PAIRS
        }
        return {
            "fired": fired,
            "orders": len(tickets),
            "doubled": len(tickets) - len({ticket.request.client_order_id for ticket in tickets}),
            "strange": len(
                {t.request.client_order_id for t in tickets} - {o.id for r in again.values() for o in r.orders}
            ),
            "fills": len(venue._exchange.fills),
            "slices": {name: (there[name], len(moments)) for name, moments in wanted.items()},
            "minutes": {symbol: (count, (end - first) // MINUTE_NS) for symbol, count in times.items()},
            "lots": [
                float(sum(book.lots[place] for book in engines)) - books.lots[place] for place in range(len(PAIRS))
            ],
            "cash": float(sum(book.cash for book in engines)) + 20_000.0 / again["slow"].engine.venue.unit - books.cash,
            "replays": [one.difference for one in again.values()],
            "gaps": dict(Counter(store.gaps()["state"].to_list())),
            "state": (trader.state, trader.reason),
        }


@pytest.mark.deep
@pytest.mark.parametrize("seed", [21])
def test_a_week_of_faults_costs_no_order_no_fill_and_no_minute(tmp_path, seed):
    found = soak(tmp_path, seed, DAYS, SPEED)
    assert found["doubled"] == found["strange"] == 0
    assert found["lots"] == [0.0, 0.0]
    assert found["replays"] == ["", ""]
    assert "open" not in found["gaps"]
    assert abs(found["cash"]) <= found["fills"]
    assert found["fired"] > DAYS * PER_DAY / 4
    for there, wanted in [*found["slices"].values(), *found["minutes"].values()]:
        assert there >= 0.999 * wanted
