"""The exchange behind the sandbox: one account, its orders and its books. Pure state, no clock and no sockets."""

import uuid
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryptoquant.backtest.sandbox.portion import Portion
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
from cryptoquant.backtest.sandbox.request import OrderRequest, read_order, read_replacement
from cryptoquant.backtest.sandbox.ticket import Event, Position, Status, Ticket, Update
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
from cryptoquant.trading.order import Cancel, Cancellation, Fill, Order, Rejection, Side
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.resting import Resting
from cryptoquant.trading.venue import Venue

NAMESPACE = uuid.UUID("7a1cfa31-8b0e-5f0a-9d5e-2f6c1f1f0b57")
DAY = 86_400_000_000_000

Verb = Literal["submit", "cancel", "replace", "delay", "reject", "cut", "end", "restate"]


class Call(msgspec.Struct, frozen=True, gc=False):
    """What changed the account from outside; replaying all of them rebuilds it.

    A client submits, cancels and replaces; the rest is what faults of the venue did to orders (``order_faults``).
    """

    verb: Verb
    time: int
    order_id: str = ""
    body: dict[str, Any] = {}


class Exchange:
    """One account at a venue.

    Fills come from ``trading.matching`` only. An order takes part in the bars that open at or after its arrival, which
    is the moment it was sent plus the venue's latency; a cancel and a replacement need the same time.

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
    name
        Distinguishes the ids of two accounts at one exchange; empty for the first.
    portion
        Which orders fill in two parts, none by default.
    opened
        When the account was opened, ns UTC.

    Attributes
    ----------
    tickets
        Every accepted order by id, in order of arrival.
    updates, fills, calls
        What happened, and what was asked for, in order.
    told
        How many of the updates were told to those who listen.
    times, equities
        The closes it has seen (ns) and the account's value at each, in quote currency.
    submitted, refused
        Counts of orders asked for and refused; the difference was accepted.
    """

    def __init__(
        self,
        venue: Venue,
        marks: NDArray[np.float64],
        cash: float,
        seed: int = 7,
        *,
        name: str = "",
        portion: Portion | None = None,
        opened: int = 0,
    ) -> None:
        self.venue = venue
        self.instruments: Mapping[str, Instrument] = venue.instruments
        self.symbols = tuple(venue.instruments)
        self.portfolio = Portfolio(self.symbols, venue, cash)
        self.portfolio.mark(marks)
        self.matcher = Matcher(venue, self.portfolio)
        self.portion, self.opened = portion or Portion(seed), opened
        self.tickets: dict[str, Ticket] = {}
        self.positions: dict[str, Position] = {}
        self.updates: list[Update] = []
        self.fills: list[Fill] = []
        self.calls: list[Call] = []
        self.times, self.equities = array("q"), array("d")
        self.submitted = self.refused = self.told = 0
        self.first_equity = self.last_equity = self.portfolio.equity
        self.last_marks = self.portfolio.marks.copy()
        self._day = 0
        self._namespace = uuid.uuid5(NAMESPACE, f"{seed}|{name}" if name else str(seed))
        self._by_client_id: dict[str, str] = {}
        shared = uuid.uuid5(NAMESPACE, str(seed))
        self.asset_ids = {symbol: str(uuid.uuid5(shared, f"asset|{symbol}")) for symbol in self.symbols}

    def identity(self, *parts: object) -> str:
        """Return the id of something, derived from the seed, the account and its content."""
        return str(uuid.uuid5(self._namespace, "|".join(map(str, parts))))

    def submit(self, body: Mapping[str, Any], now: int) -> Ticket | Refusal:
        """Take an order at the moment ``now`` (ns): the open ticket, or the refusal."""
        self.calls.append(Call("submit", now, body=dict(body)))
        self.submitted += 1
        request = read_order(body, self.instruments)
        outcome = request if isinstance(request, Refusal) else self._accept(request, now)
        if isinstance(outcome, Refusal):
            self.refused += 1
            return outcome
        self._take(outcome, now)
        return outcome

    def cancel(self, order_id: str, now: int) -> Ticket | Refusal:
        """Cancel an open order; refused when it is unknown (404) or cannot be canceled any more (422).

        Without latency it is canceled at once; otherwise it is ``pending_cancel`` until the venue has heard of it, and
        a fill may be faster.
        """
        ticket = self._open_ticket(order_id)
        if isinstance(ticket, Refusal):
            return ticket
        self.calls.append(Call("cancel", now, order_id))
        if self.venue.latency_ns:
            self.matcher.ask(Cancel(order_id, self.portfolio.profile, ticket.request.symbol, now))
            return self._change(ticket, "pending_cancel", now)
        return self._withdraw(ticket, now)

    def replace(self, order_id: str, body: Mapping[str, Any], now: int) -> Ticket | Refusal:
        """Put an order with the changes of ``body`` in the place of an open one; return the new ticket.

        What the body leaves out stays as it was; the quantity, when it is left out, is what was not filled yet. With
        latency a fill may be faster: then the new order is rejected. The rules are those of Alpaca's page "Replace
        Order by ID".
        """
        ticket = self._open_ticket(order_id)
        if isinstance(ticket, Refusal):
            return ticket
        if ticket.replaces and self.tickets[ticket.replaces].status != "replaced":
            return invalid_order(f"order has not replaced {ticket.replaces} yet")
        self.calls.append(Call("replace", now, order_id, dict(body)))
        self.submitted += 1
        left = self.coins(ticket.request.symbol, ticket.left)
        request = read_replacement(body, ticket.request, left, self.instruments)
        outcome = request if isinstance(request, Refusal) else self._accept(request, now, ticket)
        if isinstance(outcome, Refusal):
            self.refused += 1
            return outcome
        before = msgspec.structs.replace(self.tickets[order_id], replaced_by=outcome.id)
        if before.is_open:
            self._change(before, "pending_replace", now)
        else:
            self.end(before, "replaced", now)
        self._take(outcome, now)
        return outcome

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
        kept = self._keep_second_parts()
        for outcome in self.matcher.match(market, opened):
            self._book(outcome) if isinstance(outcome, Fill) else self._close(outcome)
        self._give_second_parts(kept)
        self.portfolio.mark(market.field("close"))
        self.times.append(market.time)
        self.equities.append(self.portfolio.equity)

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
        return self.coins(symbol, self.position(symbol).lots) - self._held("sell", (symbol,))

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
        return self.cash - self._held("buy", self.symbols)

    def _held(self, side: Side, symbols: Sequence[str]) -> Decimal:
        """Return what open orders hold back: of an order and the one that shall replace it, the larger amount.

        A replacement that came too late holds nothing back: it is rejected when it arrives.
        """
        total = Decimal(0)
        for key in self.matcher.open:
            ticket = self.tickets[key]
            if ticket.request.side != side or ticket.request.symbol not in symbols:
                continue
            before = self.tickets.get(ticket.replaces)
            if before is None or before.status == "replaced":
                total += ticket.held
            elif before.is_open:
                total += max(Decimal(0), ticket.held - before.held)
        return total

    def _open_ticket(self, order_id: str) -> Ticket | Refusal:
        ticket = self.tickets.get(order_id)
        if ticket is None:
            return absent(f"order not found for {order_id}")
        if ticket.status not in ("new", "partially_filled"):
            return invalid_order(f'order is already in "{ticket.status}" state')
        return ticket

    def _accept(self, request: OrderRequest, now: int, before: Ticket | None = None) -> Ticket | Refusal:
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
        per_coin = price * (1 + collar) if request.side == "buy" else Decimal(1)
        problem = self._unaffordable(request, quantity, price, per_coin, before)
        if problem is not None:
            return problem
        order = self._order(request, client_id, instrument.lots(quantity), now)
        if before is not None and self.venue.latency_ns:
            order = msgspec.structs.replace(order, replaces=before.id)
        elif before is not None:
            self.matcher.cancel(before.id, now)
            self.tickets[before.id] = msgspec.structs.replace(before, status="replaced")
        rejection = self.matcher.submit(order, float(price))
        if rejection is not None:
            return invalid_order(rejection.reason)
        first = self.portion.first(client_id, order.lots) if self._is_marketable(request) else 0.0
        replaces = "" if before is None else before.id
        return Ticket(order.id, request, order, now, now, per_coin, quantity * per_coin, first, replaces=replaces)

    def _order(self, request: OrderRequest, client_id: str, lots: float, now: int) -> Order:
        limit, stop = request.limit_price, request.stop_price
        return Order(
            self.identity("order", client_id),
            self.portfolio.profile,
            request.symbol,
            request.side,
            lots,
            now,
            request.type,
            request.time_in_force,
            None if limit is None else float(limit),
            None if stop is None else float(stop),
        )

    def _is_marketable(self, request: OrderRequest) -> bool:
        """Return whether an order would trade at the last price."""
        if request.type != "limit" or request.limit_price is None:
            return request.type == "market"
        mark, limit = self.mark(request.symbol), float(request.limit_price)
        return limit >= mark if request.side == "buy" else limit <= mark

    def _unaffordable(
        self, request: OrderRequest, quantity: Decimal, price: Decimal, held_per_coin: Decimal, before: Ticket | None
    ) -> Refusal | None:
        """Return why the order's size is refused, by the kernel that every driver uses, then by the buying power.

        What the order that it replaces holds back counts as free.
        """
        symbol, instrument = request.symbol, self.instruments[request.symbol]
        bounds, is_buy = bounds_of(self.venue, symbol), request.side == "buy"
        freed = Decimal(0) if before is None else before.held
        sign, free = (1.0, Decimal(0)) if is_buy else (-1.0, self.available(symbol) + freed)
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
        power = self.buying_power + freed if is_buy else Decimal(0)
        if is_buy and quantity * held_per_coin > power:
            return insufficient_balance(instrument.quote, quantity * held_per_coin, power, self.cash)
        return None

    def _take(self, ticket: Ticket, now: int) -> None:
        self.tickets[ticket.id] = ticket
        self._by_client_id[ticket.request.client_order_id] = ticket.id
        self.tell("new", ticket, now)

    def _keep_second_parts(self) -> list[tuple[Resting, float]]:
        """Hide the second parts of orders that fill in two from the matcher; return what was hidden, in lots."""
        if not self.portion.share:
            return []
        kept = []
        for order_id, resting in self.matcher.open.items():
            first = self.tickets[order_id].first_part
            if first and not resting.fills:
                kept.append((resting, resting.left - first))
                resting.left = first
        return kept

    def _give_second_parts(self, kept: list[tuple[Resting, float]]) -> None:
        """Let the hidden parts wait for the next bar; those of an ``ioc`` order are canceled."""
        for resting, lots in kept:
            if resting.ended:
                continue
            resting.left += lots
            if resting.order.id in self.matcher.open:
                continue
            if resting.order.time_in_force == "ioc":
                self._withdraw(self.tickets[resting.order.id], self.tickets[resting.order.id].updated)
            else:
                self.matcher.open[resting.order.id] = resting

    def _book(self, fill: Fill) -> None:
        self.positions[fill.symbol] = self.position(fill.symbol).after(fill)
        self.fills.append(fill)
        ticket = self.tickets[fill.order_id]
        wish, filled = ticket.status, msgspec.structs.replace(ticket, fills=(*ticket.fills, fill), updated=fill.time)
        held = self.coins(fill.symbol, filled.left) * ticket.held_per_coin
        filled = msgspec.structs.replace(filled, held=held)
        if filled.left > 0:
            status: Status = wish if wish in ("pending_cancel", "pending_replace") else "partially_filled"
            self._keep(msgspec.structs.replace(filled, status=status), "partial_fill", fill)
            return
        done = msgspec.structs.replace(filled, status="filled", closed=fill.time)
        self._keep(done, "fill", fill)
        if wish == "pending_cancel":
            self.tell("order_cancel_rejected", done, fill.time)
        elif wish == "pending_replace":
            self.tell("order_replace_rejected", done, fill.time)

    def _close(self, outcome: Rejection | Cancellation) -> None:
        ticket = self.tickets[outcome.order_id]
        if isinstance(outcome, Rejection):
            self.end(ticket, "rejected", outcome.time)
        else:
            self.end(ticket, "replaced" if ticket.status == "pending_replace" else "canceled", outcome.time)

    def _withdraw(self, ticket: Ticket, now: int) -> Ticket:
        self.matcher.cancel(ticket.id, now)
        return self.end(ticket, "canceled", now)

    def end(self, ticket: Ticket, status: Literal["rejected", "canceled", "replaced"], time: int) -> Ticket:
        """End an order that the matcher does not hold any more, and tell it; return its ticket."""
        return self._change(msgspec.structs.replace(ticket, closed=time), status, time)

    def _change(
        self,
        ticket: Ticket,
        status: Literal["rejected", "canceled", "replaced", "pending_cancel", "pending_replace"],
        time: int,
    ) -> Ticket:
        changed = msgspec.structs.replace(ticket, status=status, updated=time)
        self.tickets[ticket.id] = changed
        self.tell(status, changed, time)
        return changed

    def _keep(self, ticket: Ticket, event: Event, fill: Fill) -> None:
        self.tickets[ticket.id] = ticket
        self.tell(event, ticket, fill.time, fill)

    def tell(self, event: Event, ticket: Ticket, time: int, fill: Fill | None = None) -> None:
        """Add an update of an order."""
        symbol = ticket.request.symbol
        held = self.coins(symbol, self.position(symbol).lots)
        self.updates.append(Update(event, ticket, time, held, fill))
