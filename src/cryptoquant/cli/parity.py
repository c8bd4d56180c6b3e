"""Live against backtest: the same bars through the simulator, compared order by order with what was traded."""

from dataclasses import dataclass

import numpy as np

from cryptoquant.backtest.drive import drive
from cryptoquant.live.replay import Replay
from cryptoquant.market.slice import Panel, Slice
from cryptoquant.market.time import span_ns
from cryptoquant.models.bundle import Bundle
from cryptoquant.trading.order import Fill, Order


@dataclass(frozen=True, slots=True)
class Parity:
    """Orders and fills of a paper run beside those of the backtest on the same bars."""

    live_orders: tuple[Order, ...]
    backtest_orders: tuple[Order, ...]
    live_fills: tuple[Fill, ...]
    backtest_fills: tuple[Fill, ...]

    @property
    def orders_equal(self) -> bool:
        """Whether every order is the same: id, symbol, side, quantity and moment."""
        return self.live_orders == self.backtest_orders

    @property
    def fills_equal(self) -> bool:
        """Whether every fill changed the books by the same lots and cash at the same price."""
        return [_booked(fill) for fill in self.live_fills] == [_booked(fill) for fill in self.backtest_fills]

    @property
    def is_equal(self) -> bool:
        """Whether orders and fills are the same."""
        return self.orders_equal and self.fills_equal

    def __str__(self) -> str:
        if self.is_equal:
            count, fills = len(self.live_orders), len(self.live_fills)
            return f"all {count} live orders and {fills} fills equal the backtest's on the same bars"
        pairs = zip(self.live_orders, self.backtest_orders, strict=False)
        first = next((f"live {a}, backtest {b}" for a, b in pairs if a != b), "their number differs")
        return (
            f"live and backtest differ: {len(self.live_orders)} and {len(self.backtest_orders)} orders, "
            f"{len(self.live_fills)} and {len(self.backtest_fills)} fills; first: {first}"
        )


def parity(live: Replay, bundle: Bundle, history: Panel) -> Parity:
    """Simulate the slices of a journal with features computed in batch over ``history`` and those slices.

    What passed while the trader stood still is read from ``history`` where that reaches so far, as a trader that starts
    again reads it. A strategy that looks back over such a gap sees the journalled slices only.

    Parameters
    ----------
    live
        The journal, read again.
    history
        The slices that warmed the live features up, and those between stop and restart; journalled ones go before.
    """
    traded = panel_of(live.slices, bundle)
    whole = laid_over(history, traded)
    rows = bundle.features.compute_panel(whole)
    forecaster = bundle.forecaster()
    journalled = dict(zip(traded.times.tolist(), traded, strict=True))
    signals = {}
    for time, row in zip(whole.times.tolist(), rows, strict=True):
        if time in journalled:
            signals[time] = forecaster.update(journalled[time], row)
        else:
            forecaster.warm(row[None])
    run = drive(live.start.engine(), traded, signals)
    return Parity(tuple(live.orders), tuple(run.orders), tuple(live.fills), tuple(run.fills))


def laid_over(history: Panel, traded: Panel) -> Panel:
    """Return the slices of both up to the last traded one; of a close that both hold, the traded one."""
    past = history.between(-1, int(traded.times[-1]))
    kept = ~np.isin(past.times, traded.times)
    times = np.concatenate([past.times[kept], traded.times])
    order = np.argsort(times)
    known = np.concatenate([past.known[kept], traded.known])
    values = np.concatenate([past.values[kept], traded.values])
    return Panel.from_values(times[order], known[order], traded.symbols, values[order], traded.width)


def panel_of(slices: list[Slice], bundle: Bundle) -> Panel:
    """Return journalled slices as a panel."""
    return Panel.from_values(
        np.array([market.time for market in slices], dtype=np.int64),
        np.array([market.known for market in slices], dtype=np.int64),
        bundle.symbols,
        np.array([market.values for market in slices]),
        span_ns(bundle.timeframe),
    )


def _booked(fill: Fill) -> tuple[str, float, float, float, float]:
    return fill.order_id, fill.lots, fill.price, fill.lots_change, fill.cash_change
