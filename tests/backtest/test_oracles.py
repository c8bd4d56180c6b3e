"""Numbers that others computed: vectors by hand, vectorbt and backtesting.py, on markets whose opens gap.

A market whose open is the last close cannot tell a fill at the close from one at the next open, so every market here
gaps. The settings under which another simulator means the same as ours stand in each test, and what differs by choice.
"""

import numpy as np
import polars as pl
import pytest

from cryptoquant.backtest.simulator import simulate
from cryptoquant.market.slice import FIELDS, Panel
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.order import Order, Protection
from cryptoquant.trading.venue import Costs, Venue
from tests.market_makers import HOUR, START, gapping_panel

EXACT = Execution(reserve=0.0, band=0.0)
MARKET = gapping_panel(20_000, seed=11, sigma=0.004)
WITHOUT = "this oracle needs it: pip install 'cryptoquant[dev]'"


@pytest.fixture(scope="module")
def vectorbt():
    return pytest.importorskip("vectorbt", reason=WITHOUT)


def research(fee_bps: float = 25.0, slippage_bps: float = 0.0) -> Venue:
    """A continuous market on which makers pay as takers do, in quote currency: the others know nothing else."""
    return Venue.research(Costs(fee_bps, fee_bps, slippage_bps, "quote"))


def stamps(panel: Panel) -> pl.Series:
    return pl.from_epoch(pl.Series("time", panel.times), "ns").dt.replace_time_zone("UTC")


def sinking(panel: Panel, by: float = 3e-4) -> Panel:
    """The same market with its prices falling by a fraction a bar."""
    factor = np.exp(-by * np.arange(len(panel)))[:, None]
    columns = {n: c if n in ("volume", "trade_count") else c * factor for n, c in panel.columns.items()}
    return Panel(panel.times, panel.known, panel.symbols, columns, panel.width)


def as_pandas(panel: Panel):
    import pandas as pd

    index = pd.date_range("2024-01-01", periods=len(panel), freq="1h")
    columns = {name.capitalize(): panel.field(name)[:, 0] for name in ("open", "high", "low", "close", "volume")}
    return pd.DataFrame(columns, index=index)


def ten_bars(open_: list[float]) -> Panel:
    close = np.array([101, 103, 102, 99, 98, 101, 104, 103, 105, 104], dtype=float)
    values = np.zeros((10, 1, len(FIELDS)))
    values[:, 0, 0] = open_
    values[:, 0, 1] = np.maximum(open_, close) + 0.5
    values[:, 0, 2] = np.minimum(open_, close) - 0.5
    values[:, 0, 3] = close
    values[:, 0, 4] = 1.0
    times = START + 24 * HOUR * np.arange(1, 11, dtype=np.int64)
    return Panel.from_values(times, times, ("BTC/USD",), values, 24 * HOUR)


class SevenUnits:
    """Buys seven units at bars 1 and 6 and closes at bars 4 and 8, whatever the price."""

    lookback = 1

    def decide(self, view):
        row = (view.time - START) // (24 * HOUR) - 1
        price = float(view.slice.field("close")[0])
        if row in (1, 6):
            return {"BTC/USD": 7 * price / view.equity}
        return {"BTC/USD": 0.0} if row in (4, 8) else {}


def seven_units(panel: Panel) -> pl.DataFrame:
    """The same as orders."""
    rows = [1, 4, 6, 8]
    return pl.DataFrame(
        {"time": stamps(panel)[rows], "symbol": "BTC/USD", "side": ["buy", "sell"] * 2, "quantity": [7.0] * 4}
    )


@pytest.mark.parametrize("written", ["strategy", "orders"])
@pytest.mark.parametrize(
    ("open_", "equity", "sharpe", "drawdown"),
    [
        (
            [100, 101, 103, 102, 99, 98, 101, 104, 103, 105],
            [10000, 10000, 9991.1975, 9970.1975, 9963.1975, 9961.4825, 9961.4825, 9952.6625, 9966.6625, 9964.825],
            -7.4796268126,
            -0.00473375,
        ),
        (
            [100, 101.5, 102.5, 102.25, 99.5, 97.5, 101.25, 104.5, 102.75, 104.25],
            [10000, 10000, 9994.70625, 9973.70625, 9966.70625, 9961.5, 9961.5, 9949.17125, 9963.17125, 9956.096875],
            -9.1713470241,
            -0.005082875,
        ),
    ],
)
def test_ten_bars_computed_by_hand_give_this_equity(written, open_, equity, sharpe, drawdown):
    panel = ten_bars(open_)
    what, plan = (SevenUnits(), EXACT) if written == "strategy" else (seven_units(panel), None)
    report = simulate(what, panel, venue=research(), cash=10_000, execution=plan)
    assert report.equity["equity"].to_list() == pytest.approx(equity, abs=1e-9)
    assert report.statistics.sharpe == pytest.approx(sharpe, rel=1e-9)
    assert report.statistics.max_drawdown == pytest.approx(drawdown, rel=1e-9)


def test_market_orders_of_a_table_give_the_equity_of_vectorbt(vectorbt):
    frame, rng = as_pandas(MARKET), np.random.default_rng(4)
    decided = np.sort(rng.choice(len(MARKET) - 1, 800, replace=False))
    change = rng.choice([-1.0, 1.0], 800) * rng.uniform(0.1, 3.0, 800)
    orders = pl.DataFrame(
        {
            "time": stamps(MARKET)[decided],
            "symbol": "BTC/USD",
            "side": np.where(change > 0, "buy", "sell"),
            "quantity": np.abs(change),
        }
    )
    size = np.full(len(MARKET), np.nan)
    size[decided + 1] = change
    oracle = vectorbt.Portfolio.from_orders(
        frame["Close"], size, price=frame["Open"], fees=0.0025, slippage=0.0005, init_cash=1e6, freq="1h"
    )
    report = simulate(orders, MARKET, venue=research(25.0, 5.0), cash=1e6)
    assert report.fills.height == 800 == len(oracle.orders.values)
    assert report.equity["equity"].to_numpy() == pytest.approx(oracle.value().to_numpy(), rel=1e-12)
    assert report.statistics.sharpe == pytest.approx(float(oracle.sharpe_ratio()), rel=1e-9)


@pytest.mark.parametrize("valued", ["close", "open"])
def test_target_weights_on_shared_cash_give_the_equity_of_vectorbt(vectorbt, valued):
    """Ours values at the close that decides; valued at the open of the fill, vectorbt is another, later, decision."""
    import pandas as pd

    names = tuple(f"S{place}/USD" for place in range(5))
    panel, rng = gapping_panel(2_000, names, seed=3), np.random.default_rng(5)
    weights = np.full((2_000, 5), np.nan)
    weights[::20] = 0.16 * (1 + 0.1 * rng.standard_normal((100, 5)))
    index = pd.date_range("2024-01-01", periods=2_000, freq="1h")

    def table(values):
        return pd.DataFrame(values, columns=list(names), index=index)

    close, opened = panel.field("close"), panel.field("open")
    oracle = vectorbt.Portfolio.from_orders(
        table(close),
        table(np.vstack([np.full((1, 5), np.nan), weights[:-1]])),
        size_type="targetpercent",
        price=table(opened),
        val_price=table(np.vstack([close[:1], close[:-1]]) if valued == "close" else opened),
        fees=0.0025,
        slippage=0.0005,
        init_cash=1e6,
        freq="1h",
        group_by=True,
        cash_sharing=True,
        call_seq="auto",
    )
    report = simulate(weights, panel, venue=research(25.0, 5.0), cash=1e6, execution=EXACT)
    assert report.fills.height == 500 == len(oracle.orders.values)
    ours, theirs = report.equity["equity"].to_numpy(), oracle.value().to_numpy()
    if valued == "close":
        assert ours == pytest.approx(theirs, rel=1e-12)
        assert report.statistics.sharpe == pytest.approx(float(oracle.sharpe_ratio(freq="1h")), rel=1e-9)
        assert report.statistics.max_drawdown == pytest.approx(float(oracle.max_drawdown()), rel=1e-9)
    else:
        assert 1e-6 < np.abs(ours / theirs - 1).max() < 0.01


def crosses(panel: Panel) -> np.ndarray:
    """Where a fast mean of the closes passes above a slow one, shape (slices,)."""
    close = panel.field("close")[:, 0]
    sums = np.concatenate([[0.0], np.cumsum(close)])
    fast, slow = (np.concatenate([np.full(n - 1, np.nan), (sums[n:] - sums[:-n]) / n]) for n in (5, 20))
    above = fast > slow
    return above & ~np.concatenate([[False], above[:-1]]) & ~np.isnan(slow)


@pytest.mark.parametrize(("slippage_bps", "target"), [(0.0, 0.015), (5.0, None)])
def test_stops_and_targets_that_begin_a_bar_after_the_entry_give_the_equity_of_vectorbt(vectorbt, slippage_bps, target):
    """The exits are a group that is sent at the close of the entry's bar, as vectorbt does not look at that bar.

    vectorbt's target pays slippage, ours is a limit order and pays none: with slippage there is only a stop.
    """
    market, slip = MARKET if target is not None else sinking(MARKET), slippage_bps * 1e-4
    frame, wanted = as_pandas(market), np.concatenate([[False], crosses(market)[:-1]])
    oracle = vectorbt.Portfolio.from_signals(
        frame["Close"],
        wanted,
        np.zeros(len(market), dtype=bool),
        size=100.0,
        price=frame["Open"],
        open=frame["Open"],
        high=frame["High"],
        low=frame["Low"],
        sl_stop=0.01,
        tp_stop=np.nan if target is None else target,
        stop_entry_price="fillprice",
        stop_exit_price="stopmarket",
        fees=0.0005,
        slippage=slip,
        init_cash=1e7,
        freq="1h",
    )
    records = oracle.orders.values
    entered = records["idx"][records["side"] == 0]
    orders = []
    for number, row in enumerate(entered[entered < len(market) - 1].tolist()):
        time, now, paid = int(market.times[row - 1]), int(market.times[row]), market.field("open")[row, 0] * (1 + slip)
        orders.append(Order(f"e{number}", "main", "BTC/USD", "buy", 100.0, time))
        exit_ = {"group": f"g{number}", "reduces": True}
        stop = Order(f"s{number}", "main", "BTC/USD", "sell", 100.0, now, "stop", stop_price=paid * 0.99, **exit_)
        orders.append(stop)
        if target is not None:
            limit = paid * (1 + target)
            orders.append(
                Order(f"t{number}", "main", "BTC/USD", "sell", 100.0, now, "limit", limit_price=limit, **exit_)
            )
    report = simulate(orders, market, venue=research(5.0, slippage_bps), cash=1e7)
    assert len(records) > 300
    assert report.fills.height == len(records)
    assert report.fills["price"].to_numpy() == pytest.approx(records["price"], rel=1e-14)
    assert report.equity["equity"].to_numpy() == pytest.approx(oracle.value().to_numpy(), rel=1e-12)
    if target is not None:
        assert {"maker", "taker"} == set(report.fills["liquidity"])


@pytest.mark.filterwarnings("ignore:DatetimeIndex.dayofweek")
def test_stops_and_targets_that_live_on_the_bar_of_the_entry_give_the_equity_of_backtesting_py():
    """Exits at prices of the signal's close; the stop comes first, and a gap fills either of them at the open."""
    backtesting = pytest.importorskip("backtesting", reason=WITHOUT)
    wanted = crosses(MARKET)

    class Crossed(backtesting.Strategy):
        def init(self):
            pass

        def next(self):
            close = self.data.Close[-1]
            if not self.position and wanted[len(self.data) - 1]:
                self.buy(size=100, sl=close * 0.99, tp=close * 1.015)

    terms = {"cash": 1e7, "commission": 0.0005, "spread": 0.0, "trade_on_close": False, "finalize_trades": False}
    run = backtesting.Backtest(as_pandas(MARKET), Crossed, **terms).run()
    trades, close = run["_trades"], MARKET.field("close")[:, 0]
    left = run._strategy.trades
    decided = sorted([*(trades["EntryBar"] - 1), *(trade.entry_bar - 1 for trade in left)])
    orders = [
        Order(
            f"e{row}",
            "main",
            "BTC/USD",
            "buy",
            100.0,
            int(MARKET.times[row]),
            protection=Protection(stop_price=close[row] * 0.99, target_price=close[row] * 1.015),
        )
        for row in decided
    ]
    report = simulate(orders, MARKET, venue=research(5.0), cash=1e7)
    assert len(trades) > 150
    assert (trades["EntryBar"] == trades["ExitBar"]).sum() > 3
    assert report.fills.height == 2 * len(trades) + len(left)
    assert report.equity["equity"].to_numpy() == pytest.approx(run["_equity_curve"]["Equity"].to_numpy(), rel=1e-12)
