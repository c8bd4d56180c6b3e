"""The exchange behind the sandbox: one account, its orders and its books. Pure state, no clock and no sockets."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryptoquant.backtest.sandbox.refusal import (
    FORBIDDEN,
    INSUFFICIENT_BALANCE,
    Refusal,
    absent,
    insufficient_balance,
    invalid_order,
    invalid_request,
    plain,
)
from cryptoquant.backtest.sandbox.request import OrderRequest, read_order
from cryptoquant.market.instrument import Instrument
from cryptoquant.market.slice import Slice
from cryptoquant.trading.matcher import Matcher
from cryptoquant.trading.matching import (
    ABOVE_MAXIMUM,
    BELOW_MINIMUM,
    BELOW_QUANTITY,
    SHORT,
    bounds_of,
    refusal,
)
from cryptoquant.trading.order import Cancellation, Fill, Order, Rejection
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.venue import Venue

NAMESPACE = uuid.UUID("7a1cfa31-8b0e-5f0a-9d5e-2f6c1f1f0b57")
DAY = 86_400_000_000_000

Event = Literal["new", "fill", "partial_fill", "canceled", "rejected", "restated"]
Status = Literal["new", "filled", "canceled", "rejected"]


class Ticket(msgspec.Struct, frozen=True, gc=False):
    """An order as the venue keeps it; times in nanoseconds UTC, 0 for not yet.

    ``order`` carries the quantity in lots: a notional order becomes the quantity that the notional buys at its limit or
    at the last price. ``reserve`` is the cash a resting buy holds back, in quote currency.
    """

    id: str
    request: OrderRequest
    order: Order
    submitted: int
    updated: int
    reserve: Decimal = Decimal(0)
    status: Status = "new"
    fill: Fill | None = None
    closed: int = 0


class Update(msgspec.Struct, frozen=True, gc=False):
    """A change of an order; ``position`` is the coins held after a fill."""

    event: Event
    ticket: Ticket
    time: int
    position: Decimal


class Position(msgspec.Struct, frozen=True, gc=False):
    """Lots held, net of fees, and the mean price of the buys that brought them, in quote currency."""

    lots: float = 0.0
    price: float = 0.0


class Exchange:
    """One account at a venue.

    Fills come from ``trading.matching`` only. An order takes part in the bars that open at or after its arrival.

    Parameters
    ----------
    venue
        Rules and costs; lists every symbol's instrument.
    marks
        The last prices by symbol in the order of ``venue.instruments``, NaN where unknown.
    cash
        In quote currency.
    seed
        Distinguishes the ids of two exchanges.

    Attributes
    ----------
    tickets
        Every accepted order by id, in order of arrival.
    updates, fills
        What happened, in order.
    submitted, refused
        Counts of orders asked for and refused; the difference was accepted.
    """

    def __init__(self, venue: Venue, marks: NDArray[np.float64], cash: float, seed: int = 7) -> None:
        self.venue = venue
        self.instruments: Mapping[str, Instrument] = venue.instruments
        self.symbols = tuple(venue.instruments)
        self.portfolio = Portfolio(self.symbols, venue, cash)
        self.portfolio.mark(marks)
        self.matcher = Matcher(venue, self.portfolio)
        self.tickets: dict[str, Ticket] = {}
        self.positions: dict[str, Position] = {}
        self.updates: list[Update] = []
        self.fills: list[Fill] = []
        self.submitted = self.refused = 0
        self.last_equity, self.last_marks = self.portfolio.equity, self.portfolio.marks.copy()
        self._day = 0
        self._namespace = uuid.uuid5(NAMESPACE, str(seed))
        self._by_client_id: dict[str, str] = {}

    def identity(self, *parts: object) -> str:
        """Return the id of something, derived from the seed and its content."""
        return str(uuid.uuid5(self._namespace, "|".join(map(str, parts))))

    def submit(self, body: Mapping[str, Any], now: int) -> Ticket | Refusal:
        """Take an order at the moment ``now`` (ns): the open ticket, or the refusal."""
        self.submitted += 1
        request = read_order(body, self.instruments)
        outcome = request if isinstance(request, Refusal) else self._accept(request, now)
        if isinstance(outcome, Refusal):
            self.refused += 1
            return outcome
        self.tickets[outcome.id] = outcome
        self._by_client_id[outcome.request.client_order_id] = outcome.id
        self.tell("new", outcome, now)
        return outcome

    def cancel(self, order_id: str, now: int) -> Ticket | Refusal:
        """Cancel an open order; refused when it is unknown (404) or no longer open (422)."""
        ticket = self.tickets.get(order_id)
        if ticket is None:
            return absent(f"order not found for {order_id}")
        cancelled = self.matcher.cancel(order_id, now)
        if cancelled is None:
            return invalid_order(f'order is already in "{ticket.status}" state')
        return self.close(cancelled)

    def close_position(self, symbol: str, now: int, quantity: Decimal | None = None) -> Ticket | Refusal:
        """Sell a position at the market: ``quantity`` coins, by default all that no order holds back."""
        if not self.position(symbol).lots:
            return absent("position does not exist")
        wanted = self.available(symbol) if quantity is None else quantity
        body = {"symbol": symbol, "qty": plain(wanted), "side": "sell", "type": "market", "time_in_force": "gtc"}
        if wanted <= 0:
            held = self.coins(symbol, self.position(symbol).lots)
            return insufficient_balance(self.instruments[symbol].base, held, wanted, held)
        return self.submit(body, now)

    def match(self, market: Slice, opened: int) -> None:
        """Fill the open orders against the bars that opened at ``opened`` (ns), then take their closes as marks."""
        if opened // DAY != self._day:
            self._day = opened // DAY
            self.last_equity, self.last_marks = self.portfolio.equity, self.portfolio.marks.copy()
        for outcome in self.matcher.match(market, opened):
            self._book(outcome) if isinstance(outcome, Fill) else self.close(outcome)
        self.portfolio.mark(market.field("close"))

    def find(self, client_order_id: str) -> Ticket | None:
        """Return the order with a client's id."""
        order_id = self._by_client_id.get(client_order_id)
        return None if order_id is None else self.tickets[order_id]

    def position(self, symbol: str) -> Position:
        """Return what is held of a symbol."""
        return self.positions.get(symbol, Position())

    def coins(self, symbol: str, lots: float) -> Decimal:
        """Return the exact coins in a number of lots."""
        return self.instruments[symbol].quantity(lots)

    def available(self, symbol: str) -> Decimal:
        """Return the coins that no open sell order holds back."""
        return self.coins(symbol, self.position(symbol).lots - self.matcher.reserved(symbol))

    def mark(self, symbol: str) -> float:
        """Return the last price of a symbol, NaN before the first."""
        return float(self.portfolio.marks[self.symbols.index(symbol)])

    @property
    def cash(self) -> Decimal:
        """Cash in quote currency, exact to the venue's cash unit."""
        return Decimal(int(self.portfolio.cash)) * Decimal(repr(self.venue.unit))

    @property
    def buying_power(self) -> Decimal:
        """Cash that no open buy order holds back."""
        return self.cash - sum((self.tickets[key].reserve for key in self.matcher.open), Decimal(0))

    def _accept(self, request: OrderRequest, now: int) -> Ticket | Refusal:
        client_id = request.client_order_id or self.identity("client", self.submitted)
        if client_id in self._by_client_id:
            return invalid_request("client_order_id must be unique")
        request = replace(request, client_order_id=client_id)
        price = request.limit_price or Decimal(repr(self.mark(request.symbol)))
        if price.is_nan():
            return invalid_order(f"no price for {request.symbol} yet")
        instrument, quantity = self.instruments[request.symbol], request.quantity
        if quantity is None:
            quantity = ((request.notional or Decimal(0)) / price).quantize(
                instrument.quantity_increment, rounding=ROUND_DOWN
            )
        collar = Decimal(repr(self.venue.collar)) if request.type == "market" else Decimal(0)
        reserve = quantity * price * (1 + collar) if request.side == "buy" else Decimal(0)
        problem = self._unaffordable(request, quantity, price, reserve)
        if problem is not None:
            return problem
        order_id, limit = self.identity("order", client_id), request.limit_price
        order = Order(
            order_id,
            self.portfolio.profile,
            request.symbol,
            request.side,
            instrument.lots(quantity),
            now,
            request.type,
            request.time_in_force,
            None if limit is None else float(limit),
        )
        rejection = self.matcher.submit(order, float(price))
        if rejection is not None:
            return invalid_order(rejection.reason)
        return Ticket(order_id, request, order, now, now, reserve)

    def _unaffordable(
        self, request: OrderRequest, quantity: Decimal, price: Decimal, reserve: Decimal
    ) -> Refusal | None:
        """Return why the order's size is refused, by the kernel that every driver uses, then by the buying power."""
        symbol, instrument = request.symbol, self.instruments[request.symbol]
        bounds, free = bounds_of(self.venue, symbol), self.available(symbol)
        sign = 1.0 if request.side == "buy" else -1.0
        code = refusal(sign, instrument.lots(quantity), float(price), instrument.lots(free), instrument.lot, bounds)
        if code == SHORT:
            return insufficient_balance(instrument.base, quantity, free, self.coins(symbol, self.position(symbol).lots))
        if code == BELOW_MINIMUM:
            least = plain(Decimal(repr(bounds[0])))
            return Refusal(FORBIDDEN, INSUFFICIENT_BALANCE, f"cost basis must be >= minimal amount of order {least}")
        if code == ABOVE_MAXIMUM:
            return invalid_order(f"order value must be <= maximal amount of order {plain(Decimal(repr(bounds[1])))}")
        if code == BELOW_QUANTITY:
            return invalid_order(f"qty must be >= minimal qty of order {plain(instrument.minimum_quantity)}")
        if reserve > self.buying_power:
            return insufficient_balance(instrument.quote, reserve, self.buying_power, self.cash)
        return None

    def _book(self, fill: Fill) -> None:
        before = self.position(fill.symbol)
        lots = before.lots + fill.lots_change
        price = before.price
        if fill.side == "buy":
            price = (before.lots * before.price + fill.lots_change * fill.price) / lots
        self.positions[fill.symbol] = Position(lots, price) if lots else Position()
        self.fills.append(fill)
        ticket = msgspec.structs.replace(self.tickets[fill.order_id], fill=fill, updated=fill.time)
        is_whole = fill.lots >= ticket.order.lots
        if is_whole:
            ticket = msgspec.structs.replace(ticket, status="filled", closed=fill.time)
        self.tickets[fill.order_id] = ticket
        self.tell("fill" if is_whole else "partial_fill", ticket, fill.time)

    def close(self, outcome: Rejection | Cancellation) -> Ticket:
        """Take an order's end from the matcher, or from a fault of the venue."""
        status: Literal["rejected", "canceled"] = "rejected" if isinstance(outcome, Rejection) else "canceled"
        ticket = msgspec.structs.replace(
            self.tickets[outcome.order_id], status=status, updated=outcome.time, closed=outcome.time
        )
        self.tickets[ticket.id] = ticket
        self.tell(status, ticket, outcome.time)
        return ticket

    def tell(self, event: Event, ticket: Ticket, time: int) -> None:
        """Add an update of an order."""
        symbol = ticket.request.symbol
        self.updates.append(Update(event, ticket, time, self.coins(symbol, self.position(symbol).lots)))


def select(
    tickets: Sequence[Ticket], *, status: str, sides: Sequence[str], symbols: Sequence[str], between: tuple[int, int]
) -> list[Ticket]:
    """Return the tickets of a status (``open``, ``closed``, ``all``) submitted strictly between two instants (ns)."""
    wanted = {"open": ("new",), "closed": ("filled", "canceled", "rejected")}.get(status)
    after, until = between
    return [
        ticket
        for ticket in tickets
        if (wanted is None or ticket.status in wanted)
        and ticket.request.side in sides
        and (not symbols or ticket.request.symbol in symbols)
        and after < ticket.submitted < until
    ]
