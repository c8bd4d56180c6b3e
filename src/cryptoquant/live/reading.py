"""A journal as it grows: what its profiles hold, with only the new rows read each time; nothing is ever written."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryptoquant.live.journal import Entry, read_journal, writer_of
from cryptoquant.live.replay import Replay, read_on
from cryptoquant.market.time import iso
from cryptoquant.models.bundle import STRATEGIES
from cryptoquant.trading.order import Fill, Order

TOLD = ("command", "halted", "rejection")
KEPT = 20


@dataclass(frozen=True, slots=True)
class Standing:
    """What a profile holds and has done, by its journal; money in quote currency, ``positions`` in coins.

    Attributes
    ----------
    slippage
        What its fills cost more than the prices when their orders were given, as a venue does not tell it.
    seen
        The close of the last slice that it decided on or passed over (nanoseconds UTC), 0 before the first.
    halted, paused
        Why it opens nothing, '' when it may.
    """

    profile: str
    reference: str
    version: str
    is_shadow: bool
    equity: float
    profit: float
    cash: float
    positions: dict[str, float]
    fees: float
    slippage: float
    slices: int
    orders: int
    fills: int
    refused: int
    in_flight: int
    halted: str
    paused: str
    seen: int

    @classmethod
    def of(cls, name: str, known: Replay, slippage: float) -> "Standing":
        """Return the standing of a profile."""
        book, engine = known.engine.portfolio, known.engine
        equity = book.cash_value if np.isnan(book.marks).any() else book.equity
        return cls(
            profile=name,
            reference=known.reference,
            version=known.version,
            is_shadow=known.start.is_shadow,
            equity=equity,
            profit=equity - known.start.cash,
            cash=book.cash_value,
            positions={symbol: book.quantity(symbol) for symbol in book.symbols},
            fees=book.fees,
            slippage=slippage,
            slices=len(known.slices),
            orders=len(known.orders),
            fills=len(known.fills),
            refused=len(known.refused),
            in_flight=len(engine.in_flight),
            halted=engine.risk.halted,
            paused=engine.risk.paused,
            seen=known.seen,
        )


class Reading:
    """Reads a journal while its trader writes it, and after.

    Parameters
    ----------
    path
        The journal.
    strategies
        The classes by name; add your own when the journal is of one.

    Attributes
    ----------
    seq
        The last row that was read.
    trades, notes
        The last fills, and the last commands, halts, refusals and changes of profiles, oldest first.
    """

    def __init__(self, path: str | Path, strategies: Mapping[str, type[Any]] = STRATEGIES) -> None:
        self.path, self.seq = Path(path), 0
        self.profiles: dict[str, Replay] = {}
        self.trades: deque[Fill] = deque(maxlen=KEPT)
        self.notes: deque[dict[str, str]] = deque(maxlen=KEPT)
        self._strategies = strategies
        self._reference: dict[str, float] = {}
        self._slippage: dict[str, float] = {}

    def update(self) -> int:
        """Read what is new; return the number of rows.

        Raises
        ------
        JournalError
            The journal is absent or damaged.
        """
        entries = read_journal(self.path, self.seq)
        for entry in entries:
            read_on(self.profiles, entry, self._strategies)
            fact = entry.fact() if entry.kind in ("order", "fill") else None
            if isinstance(fact, Fill) and fact.order_id not in self._reference:
                raise entry.damaged(
                    f"a fill of order {fact.order_id!r}", "one of an order that was journalled before it"
                )
            if isinstance(fact, Order):
                book = self.profiles[fact.profile].engine.portfolio
                self._reference.setdefault(fact.id, float(book.marks[book.index(fact.symbol)]))
            elif isinstance(fact, Fill):
                self.trades.append(fact)
                self._compare(fact)
            elif entry.kind in TOLD or entry.kind == "profile":
                self.notes.append(_note_of(entry))
            self.seq = entry.seq
        return len(entries)

    def _compare(self, fill: Fill) -> None:
        """Take what a fill cost more than the price when its order was given."""
        instrument = self.profiles[fill.profile].engine.venue.instrument(fill.symbol)
        worse = (fill.price - self._reference[fill.order_id]) * (1.0 if fill.side == "buy" else -1.0)
        cost = worse * float(instrument.quantity(fill.lots))
        self._slippage[fill.profile] = self._slippage.get(fill.profile, 0.0) + (cost if cost == cost else 0.0)

    @property
    def writer(self) -> int | None:
        """The process that writes the journal, None when there is none."""
        return writer_of(self.path)

    def standings(self, profile: str | None = None) -> list[Standing]:
        """Return what the profiles that were not removed hold, or one of them.

        Raises
        ------
        ValueError
            There is no such profile.
        """
        found = [
            Standing.of(name, one, self._slippage.get(name, 0.0))
            for name, one in self.profiles.items()
            if not one.is_removed
        ]
        if profile is None:
            return found
        if chosen := [one for one in found if one.profile == profile]:
            return chosen
        raise ValueError(f"no profile {profile!r} in {self.path}; there are {', '.join(one.profile for one in found)}")


def _note_of(entry: Entry) -> dict[str, str]:
    content = entry.content()
    what = "swap" if entry.kind == "profile" and content.get("action") == "model" else content.get("action", entry.kind)
    reason = content.get("reason") or content.get("version") or content.get("reference") or ""
    return {
        "time": iso(entry.time),
        "profile": content.get("profile") or entry.scope,
        "what": what,
        "text": str(reason),
    }
