"""What a trader does about a fault, as a question to the witness of its run. None holds of an undisturbed run."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import polars as pl

from tests.live.fault_witness import BARS, BY_ID, ORDERS, Witness

Proof = Callable[[Witness], bool]


def connects_again(*streams: str) -> Proof:
    """Each of the streams was closed, and a subscription was confirmed after that."""

    def proof(run: Witness) -> bool:
        own = {name: [event for stream, event in run.heard if stream == name] for name in streams}
        return all("closed" in said and "subscribed" in said[said.index("closed") :] for said in own.values())

    return proof


def let_in_again(stream: str) -> Proof:
    """The stream was refused, and a subscription was confirmed after that."""

    def proof(run: Witness) -> bool:
        said = [event for name, event in run.heard if name == stream]
        refused = [place for place, event in enumerate(said) if event in ("failed", "error")]
        return bool(refused) and "subscribed" in said[refused[0] :]

    return proof


def fetches(run: Witness) -> bool:
    """The trader itself, not the recorder beside it, asked the history for minutes."""
    return any(one.path == BARS and one.said == "200" and one.thread == "MainThread" for one in run.asked)


def passes_over(run: Witness) -> bool:
    """A slice that came too late was not decided on, and its successors were."""
    return bool(run.passed) and max(run.decided, default=0) > max(run.passed)


def hears_twice(run: Witness) -> bool:
    """The same minute of a symbol came twice."""
    return max(Counter(run.bars).values()) > 1


def hears_late(run: Witness) -> bool:
    """A minute came after one that follows it."""
    return any(later < sooner for sooner, later in pairwise(time for symbol, time in run.bars if symbol == "BTC/USD"))


def leaves_alone(run: Witness) -> bool:
    """Bars of a wrong stamp were told of and not taken, and slices were decided on after the last of them."""
    told = [note for note in run.notes if note.what == "trouble" and note.facts["task"] == "bar"]
    return bool(told) and max(run.decided) > max(note.time for note in told)


def looks_up(run: Witness) -> bool:
    """The books hold a part of an order that the stream did not tell while it mattered: the venue was asked by id."""
    filled = Counter(fill.order_id for fill in run.of("fill"))
    filled.subtract(one.order for one in run.updates if one.event in ("fill", "partial_fill") and one.was_open)
    asked = {one.order for one in run.asked if (one.path, one.said) == (BY_ID, "200")}
    return any(count > 0 and order in asked for order, count in filled.items())


def told_after(*events: str) -> Proof:
    """An order was told of in these events in turn, the last of them when it had ended in the books already."""

    def proof(run: Witness) -> bool:
        for order in {update.order for update in run.updates}:
            said = [update for update in run.updates if update.order == order][-len(events) :]
            if tuple(update.event for update in said) == events and not said[-1].was_open:
                return True
        return False

    return proof


def comes_to(*steps: str) -> Proof:
    """What was asked about some order began with these steps, and no other request sent it."""

    def proof(run: Witness) -> bool:
        for order in {one.order for one in run.asked if one.order}:
            calls = run.calls(order)
            sent = sum(call.startswith("POST") for call in calls)
            if tuple(calls[: len(steps)]) == steps and sent == sum(step.startswith("POST") for step in steps):
                return True
        return False

    return proof


def waits(seconds: float) -> Proof:
    """An order was sent again no sooner than it was told to, or its one answer was waited for that long."""

    def proof(run: Witness) -> bool:
        sent = [one for one in run.asked if one.path == ORDERS and one.method == "POST"]
        again = [later.began - sooner.ended for sooner, later in pairwise(sent) if sooner.order == later.order]
        return any(wait >= seconds for wait in again or [one.ended - one.began for one in sent])

    return proof


def sends_nothing_more(run: Witness) -> bool:
    """After the keys were refused no order was sent, and the halt is in the journal."""
    refused = [place for place, one in enumerate(run.asked) if one.said == "401"]
    is_halted = any(command.action == "halt" for command in run.of("command"))
    return bool(refused) and is_halted and not any(one.method == "POST" and one.order for one in
                                                   run.asked[refused[0] + 1 :])  # fmt: skip


def waits_for_the_end(run: Witness) -> bool:
    """A slice was decided on while an order was open, and none while it was gave another order of that symbol."""
    slices = [entry.seq for entry in run.entries if entry.kind == "slice"]
    ends = {entry.fact().order_id: entry.seq for entry in run.entries if entry.kind == "fill"}
    began = dict.fromkeys(ends, 0)
    orders = [(entry.seq, entry.fact()) for entry in run.entries if entry.kind == "order"]
    began |= {order.id: seq for seq, order in orders if order.id in ends}
    symbols = {fill.order_id: fill.symbol for fill in run.of("fill")}
    spans = [(symbols[order], began[order], ends[order]) for order in ends]
    lasted = [span for span in spans if any(span[1] < seq < span[2] for seq in slices)]
    meant = [order for symbol, begin, end in lasted for seq, order in orders
             if order.symbol == symbol and begin < seq < end]  # fmt: skip
    return bool(lasted) and not meant


def decides_anew(run: Witness) -> bool:
    """The venue's refusal of an order is in the books, and a later slice gave another order of its symbol."""
    refused = {entry.fact().symbol: entry for entry in run.entries if entry.kind == "rejection"}
    orders = [entry for entry in run.entries if entry.kind == "order"]
    return any(
        entry.seq > refused[symbol].seq and entry.fact().symbol == symbol and entry.fact().id != refused[symbol].id
        for symbol in refused
        for entry in orders
    )


def books_part_and_end(run: Witness) -> bool:
    """An order of which a part was filled has ended."""
    filled = Counter[str]()
    for fill in run.of("fill"):
        filled[fill.order_id] += fill.lots
    return any(filled[end.order_id] for end in run.of("cancellation"))


def books_the_correction(run: Witness) -> bool:
    """The books follow a price that the venue corrected, once."""
    found = run.of("adjustment")
    return len(found) == 1 and found[0].id.startswith("correction:") and found[0].cash_change != 0.0


def keeps_first_prices(run: Witness) -> bool:
    """The store has trades, and none at the half of a price by which one was corrected."""
    if not run.store.symbols("trades"):
        return False
    prices = run.store.scan("trades").group_by("symbol").agg(pl.col("price").min() / pl.col("price").max())["price"]
    return bool(prices.min() > 0.6)


def keeps_the_book(run: Witness) -> bool:
    """The first book of one symbol is kept as one that does not say that it is whole, and later ones do."""
    if not run.store.symbols("books"):
        return False
    rows = run.store.scan("books").sort("position", maintain_order=True)
    firsts = rows.group_by("symbol").agg(pl.col("reset").first())
    return bool(
        sorted(firsts["reset"]) == [False, True] and rows.group_by("symbol").agg(pl.col("reset").any())["reset"].all()
    )


def is_whole(run: Witness, quiet: Witness, now: int) -> bool:
    """Every slice of the undisturbed run up to now was decided on or passed over, once and with the same values.

    The last one may still be waited for.
    """
    known, wanted = run.decided | run.passed, {time: row for time, row in quiet.decided.items() if time <= now}
    return (
        not set(run.decided) & set(run.passed)
        and set(wanted) - set(known) <= {max(wanted)}
        and all(np.allclose(known[time], wanted[time], rtol=1e-12, equal_nan=True) for time in set(known) & set(wanted))
    )
