"""Quotes, trades and books for tests, and orders that meet them."""

from decimal import Decimal

from hypothesis import strategies as st

from cryptoquant.market.instrument import Instrument
from cryptoquant.market.schema import BookUpdate, Quote, Trade
from cryptoquant.trading.order import Cancel, Fill, Order
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.ticks import TickMatcher
from cryptoquant.trading.venue import Costs, Venue

BTC = "BTC/USD"
S = 10**9
LOT = 0.001
SPOT = Venue(Costs(10.0, 25.0), {BTC: Instrument(BTC, Decimal("0.001"))}, minimum_notional=1.0)


def quote(time, bid, bid_size, ask, ask_size, known=0):
    return Quote(BTC, time * S, (known or time) * S, float(bid), float(bid_size), float(ask), float(ask_size))


def trade(time, price, size, side=""):
    return Trade(BTC, time * S, time * S, 0, float(price), float(size), side)


def book(time, bids=(), asks=(), *, reset=False):
    return BookUpdate(BTC, time * S, time * S, tuple(bids), tuple(asks), reset)


def order(name="a", side="buy", coins=1.0, time=0, **terms):
    terms = {"type": "limit" if "limit_price" in terms else "market", **terms}
    return Order(name, "main", BTC, side, float(round(coins / LOT)), time * S, **terms)


def matcher(cash=10_000.0, coins=0.0, latency=0, venue=SPOT, **terms):
    portfolio = Portfolio((BTC,), venue, cash)
    portfolio.lots[0] = round(coins / LOT)
    return TickMatcher(venue, portfolio, latency, **terms)


def run(machine, *items):
    """Feed orders, cancels and events as they come; return all outcomes."""
    outcomes = []
    for item in items:
        if isinstance(item, Order):
            refused = machine.submit(item)
            outcomes += [] if refused is None else [refused]
        elif isinstance(item, Cancel):
            machine.cancel(item)
        else:
            outcomes += machine.on(item)
    return outcomes


def fills(outcomes):
    """Coins, price, seconds and liquidity of the fills."""
    return [
        (round(fill.lots * LOT, 9), fill.price, fill.time // S, fill.liquidity)
        for fill in outcomes
        if isinstance(fill, Fill)
    ]


prices = st.integers(95, 105).map(float)
sizes = st.integers(1, 30).map(lambda tenths: tenths / 10)


@st.composite
def quotes_and_trades(draw, kinds=("quote", "trade")):
    events, time = [], 1
    for _ in range(draw(st.integers(1, 25))):
        time += draw(st.integers(0, 3))
        if draw(st.sampled_from(kinds)) == "quote":
            bid = draw(prices)
            events.append(quote(time, bid, draw(sizes), bid + draw(st.integers(1, 3)), draw(sizes)))
        else:
            events.append(trade(time, draw(prices), draw(sizes), draw(st.sampled_from(["", "B", "S"]))))
    return events


@st.composite
def books_and_trades(draw):
    levels = st.lists(st.tuples(prices, st.integers(0, 30).map(lambda tenths: tenths / 10)), max_size=4).map(tuple)
    events, time = [book(1, draw(levels), draw(levels), reset=True)], 1
    for _ in range(draw(st.integers(1, 20))):
        time += draw(st.integers(0, 3))
        if draw(st.booleans()):
            events.append(book(time, draw(levels), draw(levels), reset=draw(st.sampled_from([False] * 5 + [True]))))
        else:
            events.append(trade(time, draw(prices), draw(sizes), draw(st.sampled_from(["", "B", "S"]))))
    return events


@st.composite
def wishes(draw):
    made = []
    for number in range(draw(st.integers(1, 7))):
        kind = draw(st.sampled_from(["market", "limit", "stop", "stop_limit", "trailing_stop"]))
        terms: dict = {"type": kind, "time_in_force": draw(st.sampled_from(["gtc", "gtc", "ioc", "fok", "gtt"]))}
        if kind in ("limit", "stop_limit"):
            terms["limit_price"] = draw(prices)
        if kind in ("stop", "stop_limit"):
            terms["stop_price"] = draw(prices)
        if kind == "trailing_stop":
            terms["trail"] = draw(st.sampled_from([0.01, 0.02, 0.05]))
        terms["group"] = draw(st.sampled_from(["", "", "g"]))
        time = draw(st.integers(0, 30)) if not terms["group"] else 3  # a group is sent together
        if terms["time_in_force"] == "gtt":
            terms["expires"] = (time + draw(st.integers(1, 15))) * S
        terms["reduces"] = draw(st.sampled_from([False, False, True]))
        if made and draw(st.integers(0, 4)) == 0:
            terms["replaces"] = made[0].id
        side, coins = draw(st.sampled_from(["buy", "sell"])), draw(st.integers(1, 40)) / 10
        made.append(order(f"o{number}", side, coins, time, **terms))
    cancels = [Cancel(o.id, "main", BTC, o.time + draw(st.integers(0, 9)) * S) for o in made if draw(st.booleans())]
    return made, cancels[:2]


def fold(events, orders, cancels, machine):
    """Drive everything by time and return (event, outcomes) pairs and what was refused at once."""
    rows, refused = [], []
    wanted = sorted([*orders, *cancels], key=lambda wish: wish.time)
    for event in events:
        while wanted and wanted[0].time <= event.time:
            refused += run(machine, wanted.pop(0))
        rows.append((event, machine.on(event)))
    for wish in wanted:
        refused += run(machine, wish)
    return rows, refused
