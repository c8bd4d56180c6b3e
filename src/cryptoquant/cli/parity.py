"""Live against backtest: the same minutes through the same engine on our own matcher, order by order."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import polars as pl

from cryptoquant.backtest.rehearsal import rehearse
from cryptoquant.live.replay import Replay
from cryptoquant.live.universe import laid_over
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import Panel, Slice
from cryptoquant.market.time import NANOSECONDS_PER_SECOND, iso, span_ns
from cryptoquant.models.bundle import Bundle
from cryptoquant.trading.order import Fill, Order
from cryptoquant.trading.venue import Venue

MINUTE_NS = 60 * NANOSECONDS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Parity:
    """Orders and fills of a paper run beside those of the backtest on the same market.

    ``unseen`` are the closes (nanoseconds UTC) of slices whose minutes were not recorded, as those before the trader's
    start: the backtest could not decide on them.
    """

    live_orders: tuple[Order, ...]
    backtest_orders: tuple[Order, ...]
    live_fills: tuple[Fill, ...]
    backtest_fills: tuple[Fill, ...]
    venue: Venue
    unseen: tuple[int, ...] = ()

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
        pairs: Iterable[tuple[Order | Fill, Order | Fill]] = zip(self.live_orders, self.backtest_orders, strict=False)
        booked = zip(self.live_fills, self.backtest_fills, strict=False)
        different = [(a, b) for a, b in pairs if a != b] or [(a, b) for a, b in booked if _booked(a) != _booked(b)]
        first = "their number differs"
        if different:
            first = " and in the backtest ".join(self._words(one) for one in different[0])
        lacks = ""
        if self.unseen:
            lacks = f"; {len(self.unseen)} slices have no recorded minutes, the first {iso(self.unseen[0])}"
        return (
            f"live and backtest differ: {len(self.live_orders)} and {len(self.backtest_orders)} orders, "
            f"{len(self.live_fills)} and {len(self.backtest_fills)} fills; first: {first}{lacks}"
        )

    def _words(self, one: Order | Fill) -> str:
        """Return an order or a fill in one line."""
        quantity = self.venue.instrument(one.symbol).quantity(one.lots)
        if isinstance(one, Fill):
            return f"{one.order_id} {one.side} {quantity} filled at {one.price:.10g}, fee {one.fee:.10g}"
        price = "" if one.limit_price is None else f" at {one.limit_price:.10g}"
        return f"{one.id} {one.side} {quantity} {one.type}{price}"

    def table(self) -> pl.DataFrame:
        """Return what trading was like beside what the backtest says of it, one row a figure: ``live``, ``backtest``.

        ``slippage_bps`` is the mean of how much worse orders were filled than the backtest filled the same ones,
        weighted by value; ``fee_bps`` the fees over the traded value; ``fill_rate`` the share of the ordered lots that
        was filled; ``latency_s`` the median time from the decision to an order's first fill, in seconds.
        """
        sides = (self.live_orders, self.live_fills), (self.backtest_orders, self.backtest_fills)
        known = {order.id for order in self.live_orders} & {order.id for order in self.backtest_orders}
        rows: dict[str, list[float]] = {
            "orders": [float(len(orders)) for orders, _ in sides],
            "orders_in_both": [float(len(known))] * 2,
            "fills": [float(len(fills)) for _, fills in sides],
            "fill_rate": [_fill_rate(orders, fills) for orders, fills in sides],
            "fee_bps": [_fee_bps(fills, self.venue) for _, fills in sides],
            "slippage_bps": [self._slippage(), 0.0],
            "latency_s": [_latency(orders, fills) for orders, fills in sides],
        }
        live, backtest = zip(*rows.values(), strict=True)
        return pl.DataFrame({"figure": list(rows), "live": live, "backtest": backtest})

    def _slippage(self) -> float:
        ours, theirs = _means(self.live_fills), _means(self.backtest_fills)
        sides = {fill.order_id: 1.0 if fill.side == "buy" else -1.0 for fill in self.live_fills}
        worse = [
            (sides[name] * (price - theirs[name][1]) / theirs[name][1], lots * price)
            for name, (lots, price) in ours.items()
            if name in theirs
        ]
        value = math.fsum(weight for _, weight in worse)
        return 1e4 * math.fsum(share * weight for share, weight in worse) / value if value else math.nan


def parity(live: Replay, bundle: Bundle, history: Panel, minutes: Panel) -> Parity:
    """Rehearse what a journal traded on, with features computed in batch over ``history`` and the journal's slices.

    What passed while the trader stood still is read from ``history`` where that reaches so far, as a trader that starts
    again reads it. A strategy that looks back over such a gap sees the journalled slices only.

    Parameters
    ----------
    live
        The journal, read again.
    history
        The slices that warmed the live features up, and those between stop and restart; journalled ones go before.
    minutes
        The market's minutes, as recorded; those outside the traded time are left out.
    """
    last = live.slices[-1].time
    whole = laid_over(history.between(-1, last), live.slices)
    signals = signals_of(bundle, whole, {market.time: market for market in live.slices})
    traded = minutes.between(live.start.time, max([last, *(fill.time + MINUTE_NS for fill in live.fills)]))
    run = rehearse(live.start.engine(), traded, bundle.timeframe, signals)
    width, closes = span_ns(bundle.timeframe), traded.times
    unseen = [
        market.time
        for market in live.slices
        if closes.searchsorted(market.time, "right") == closes.searchsorted(market.time - width, "right")
    ]
    sides = tuple(live.orders), tuple(run.orders), tuple(live.fills), tuple(run.fills)
    return Parity(*sides, live.start.venue, tuple(unseen))


def signals_of(bundle: Bundle, panel: Panel, decided: Mapping[int, Slice]) -> dict[int, list[Signal]]:
    """Return a bundle's signals at the slices that were decided on, by their close; the others only warm it up."""
    forecaster, signals = bundle.forecaster(), dict[int, list[Signal]]()
    for time, row in zip(panel.times.tolist(), bundle.features.compute_panel(panel), strict=True):
        if time in decided:
            signals[time] = forecaster.update(decided[time], row)
        else:
            forecaster.warm(row[None])
    return signals


def _booked(fill: Fill) -> tuple[str, float, float, float, float]:
    return fill.order_id, fill.lots, fill.price, fill.lots_change, fill.cash_change


def _means(fills: Sequence[Fill]) -> dict[str, tuple[float, float]]:
    """Return lots and mean price by order."""
    found: dict[str, tuple[float, float]] = {}
    for fill in fills:
        lots, price = found.get(fill.order_id, (0.0, 0.0))
        found[fill.order_id] = lots + fill.lots, (lots * price + fill.lots * fill.price) / (lots + fill.lots)
    return found


def _fill_rate(orders: Sequence[Order], fills: Sequence[Fill]) -> float:
    asked = math.fsum(order.lots for order in orders)
    return math.fsum(fill.lots for fill in fills) / asked if asked else math.nan


def _fee_bps(fills: Sequence[Fill], venue: Venue) -> float:
    traded = math.fsum(fill.lots * venue.instrument(fill.symbol).lot * fill.price for fill in fills)
    return 1e4 * math.fsum(fill.fee for fill in fills) / traded if traded else math.nan


def _latency(orders: Sequence[Order], fills: Sequence[Fill]) -> float:
    decided, first = {order.id: order.time for order in orders}, dict[str, int]()
    for fill in fills:
        first.setdefault(fill.order_id, fill.time)
    waits = [(time - decided[name]) / NANOSECONDS_PER_SECOND for name, time in first.items() if name in decided]
    return median(waits) if waits else math.nan
