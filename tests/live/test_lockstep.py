"""One engine, three drivers: in lock-step the rehearsal, paper trading and the replay agree, order by order."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.cli.parity import parity
from cryptoquant.data.store import Store
from cryptoquant.live.replay import replay, replay_all
from cryptoquant.live.trader import Trader
from cryptoquant.market.slice import Panel
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.venue import Costs

MINUTE = timedelta(minutes=1)
EXECUTIONS = {
    "market orders": Execution(),
    "limits that live an hour": Execution(limit_bps=5.0, life=timedelta(hours=1)),
    "a stop and a target": Execution(stop_loss=0.004, take_profit=0.006),
    "a trailing stop": Execution(trailing=0.005),
    "four parts, ten minutes apart": Execution(parts=4, pause=timedelta(minutes=10)),
    "limits that follow the price": Execution(limit_bps=3.0, reprice=timedelta(minutes=5)),
    "all of it": Execution(
        limit_bps=2.0, reprice=timedelta(minutes=7), stop_loss=0.006, take_profit=0.01, parts=2, pause=3 * MINUTE
    ),
}


def minutes_of(trader: Trader) -> Panel:
    symbols = trader.profiles[0].bundle.symbols
    start = next(iter(replay_all(trader.journal_path).values())).start.time
    pages = list(trader.connection.fetch_bars(symbols, "1m", start, trader.clock.now()))
    return Panel.from_frame(pl.concat(pages).sort("symbol", "time"), symbols)


def history_of(trader: Trader) -> Panel:
    bundle = trader.profiles[0].bundle
    return Panel.from_frame(trader.store.bars(list(bundle.symbols), bundle.timeframe), bundle.symbols)


@pytest.mark.parametrize("execution", EXECUTIONS.values(), ids=EXECUTIONS)
def test_rehearsal_paper_and_replay_agree(bundle, tmp_path, execution):
    chosen = replace(bundle, execution=execution)
    with Sandbox(11, bundle.symbols, days=15, history=timedelta(days=10), lockstep=True) as venue:
        trader = Trader(chosen, venue.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite")
        done = trader.run(until=timedelta(hours=16))
        again = replay(trader.journal_path)
        compared = parity(again, chosen, history_of(trader), minutes_of(trader))
        assert done.fills > 5
        assert again.is_equal, again.difference
        assert compared.is_equal, str(compared)
        assert venue.account().cash == trader.desk.engine.portfolio.cash


SLOW = {
    "fills after the next slice": {"latency": timedelta(minutes=7)},
    "thin bars, filled in parts": {"participation": 0.02},
    "both": {"latency": timedelta(minutes=3), "participation": 0.05},
}


@pytest.mark.parametrize("execution", [Execution(), EXECUTIONS["all of it"]], ids=["market orders", "all of it"])
@pytest.mark.parametrize("rules", SLOW.values(), ids=SLOW)
def test_they_agree_when_bars_are_faster_than_fills(bundle, tmp_path, rules, execution):
    """The venue's latency and depth are known to the rehearsal, as they are to the simulator.

    Slippage fills limit orders that take at their limit, and the venue does not tell that they took: the position that
    it tells after a buy does. Of a sell nothing tells it but the cash, so that is left out.
    """
    costs = Costs.alpaca(1, slippage_bps=2.0 if execution.limit_bps is None else 0.0)
    chosen = replace(bundle, timeframe="5m", execution=execution, horizon=timedelta(minutes=15), costs=costs)
    market = {"days": 6, "history": timedelta(days=3), "lockstep": True, "costs": costs}
    with Sandbox(11, bundle.symbols, **market, **rules) as venue:
        trader = Trader(chosen, venue.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite")
        done = trader.run(until=timedelta(hours=6 if execution.limit_bps is None else 4))
        again = replay(trader.journal_path)
        known = replace(again, start=replace(again.start, venue=replace(again.start.venue, **rules)))
        compared = parity(known, chosen, history_of(trader), minutes_of(trader))
        assert done.fills > 5
        assert again.is_equal, again.difference
        assert compared.is_equal, str(compared)
        assert venue.account().cash == trader.desk.engine.portfolio.cash


def test_a_limit_that_took_is_known_by_the_position_that_the_venue_tells(bundle, tmp_path):
    chosen = replace(bundle, timeframe="5m", execution=EXECUTIONS["all of it"], horizon=timedelta(minutes=15))
    market = {"days": 6, "history": timedelta(days=3), "lockstep": True, **SLOW["both"]}
    with Sandbox(11, bundle.symbols, **market) as venue:
        trader = Trader(chosen, venue.alpaca(), Store(tmp_path / "store"), journal=tmp_path / "j.sqlite")
        trader.run(until=timedelta(hours=4))
        fills = replay(trader.journal_path).fills
        took = [f for f in fills if f.side == "buy" and f.liquidity == "taker"]
        at_limit = {o.id: o.limit_price for o in replay(trader.journal_path).orders}
        assert any(fill.price == at_limit[fill.order_id] for fill in took)
        assert (venue.account().lots == trader.desk.engine.portfolio.lots).all()
