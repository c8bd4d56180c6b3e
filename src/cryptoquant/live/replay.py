"""A journal through the same engines again: the same books, and the first order that would differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cryptoquant.errors import JournalError
from cryptoquant.live.damage import reading
from cryptoquant.live.journal import Entry, read_journal
from cryptoquant.live.start import Start, limits_from_dict, slice_from_list
from cryptoquant.market.price import Price
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import FIELDS, Slice
from cryptoquant.models.bundle import STRATEGIES, strategy_from_dict
from cryptoquant.performance.report import Report, build_report, fills_frame, rejections_frame
from cryptoquant.trading.engine import Command, Engine, Event
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.order import Adjustment, Cancel, Cancellation, Fill, Order, Rejection
from cryptoquant.trading.risk import RiskLimits

ITSELF = "itself-"
"""How the id of a command begins that the trader gave itself, because of a silence or of its end."""
EVENTS = ("slice", "fill", "rejection", "cancellation", "adjustment", "command", "price", "timer")
WISHES = ("order", "cancel")
OF_A_PROFILE = ("order", "cancel", "fill", "rejection", "cancellation", "adjustment", "signals")
OF_A_SYMBOL = (Order, Cancel, Fill, Rejection, Cancellation, Adjustment)
Wish = Order | Cancel


@dataclass(slots=True)
class Replay:
    """What a journal says of a profile when it is read through the engine again.

    Attributes
    ----------
    start
        The setup with which the profile began; what was changed since is in the engine.
    engine
        With the books at the journal's end.
    ordered, journalled
        Orders and cancels that the engine gave now, and those that the journal holds, in order.
    curve
        Rows of time, equity, cash, exposure; one for each slice.
    seen
        Close of the last slice that the engine has taken, decided on or not (nanoseconds UTC).
    paused_by
        Id of the command that paused it; one of the trader itself does not take the place of the operator's.
    is_removed
        Whether the profile was taken from the account.
    given
        The limits that it was last started with; those in force are in the engine.
    """

    start: Start
    engine: Engine
    ordered: list[Wish] = field(default_factory=list)
    journalled: list[Wish] = field(default_factory=list)
    refused: list[Rejection] = field(default_factory=list)
    booked: list[Fill | Adjustment] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    curve: list[tuple[int, float, float, float]] = field(default_factory=list)
    seen: int = 0
    model: str = ""
    reference: str = ""
    version: str = ""
    paused_by: str = ""
    is_removed: bool = False
    given: RiskLimits | None = None
    _own: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, start: Start) -> "Replay":
        """Return the replay of a profile that has just been set up."""
        made = cls(start, start.engine())
        made.model, made.reference, made.version = start.model, start.reference, start.version
        made.given = start.limits
        return made

    @property
    def fills(self) -> list[Fill]:
        """The fills that were booked, in order; ``booked`` holds adjustments too."""
        return [fact for fact in self.booked if isinstance(fact, Fill)]

    @property
    def orders(self) -> list[Order]:
        """The orders that the journal holds, without the cancels."""
        return [wish for wish in self.journalled if isinstance(wish, Order)]

    @property
    def difference(self) -> str:
        """The first order or cancel that differs, in words; empty when all are equal."""
        for number, (now, then) in enumerate(zip_longest(self.ordered, self.journalled)):
            if now != then:
                given = "gives none" if now is None else f"gives {now}"
                return f"order {number}: the engine {given}, the journal " + (
                    "ends" if then is None else f"holds {then}"
                )
        return ""

    @property
    def is_equal(self) -> bool:
        """Whether every order and cancel of the journal is given again, and no other."""
        return not self.difference

    def take(self, entry: Entry) -> None:
        """Take a row that concerns this profile.

        Raises
        ------
        JournalError
            The row is damaged.
        """
        with reading(entry):
            found = self._read(entry)
        if entry.kind in WISHES:
            self.journalled.append(found)
        elif entry.kind == "signals":
            for signal in found:
                self.signals.append(signal)
                self.engine.on(signal)
        elif entry.kind == "warm":
            self.engine.warm(found)
            self.seen = max(self.seen, found[-1].time)
        elif entry.kind == "halted":
            self.engine.risk.halted = found
        elif entry.kind in EVENTS:
            self._step(found)

    def _read(self, entry: Entry) -> Any:
        """Return what a row holds, as the engine takes it; errors of Python where it does not fit the profile."""
        if entry.kind == "signals":
            return entry.signals()
        if entry.kind == "halted":
            return str(entry.content()["reason"])
        if entry.kind == "warm":
            passed = [slice_from_list(row, self.start.symbols) for row in entry.content()["slices"]]
            if not passed:
                raise ValueError("no slices")
            return [self._fitting(market) for market in passed]
        if entry.kind not in WISHES and entry.kind not in EVENTS:
            return None
        fact = entry.fact()
        if isinstance(fact, Slice):
            return self._fitting(fact)
        own = ("", *self.start.symbols) if isinstance(fact, Adjustment) else self.start.symbols
        if isinstance(fact, OF_A_SYMBOL) and fact.symbol not in own:
            raise ValueError(f"{fact.symbol} is not of {', '.join(self.start.symbols)}")
        return fact

    def _fitting(self, market: Slice) -> Slice:
        shape = len(self.start.symbols), len(FIELDS)
        if market.symbols != self.start.symbols or market.values.shape != shape or not isinstance(market.time, int):
            raise ValueError(f"a slice of {market.values.shape} values at {market.time!r}, not of {shape} at a time")
        return market

    def change(self, content: Mapping[str, Any], strategies: Mapping[str, type[Any]]) -> None:
        """Take a change of the setup, or a removal."""
        self.is_removed |= content["action"] == "remove"
        self.model = content.get("model", self.model)
        self.reference = content.get("reference", self.reference)
        self.version = content.get("version", self.version)
        new: dict[str, Any] = {}
        if "strategy" in content:
            new["strategy"] = strategy_from_dict(content["strategy"], strategies)
        if "execution" in content:
            new["execution"] = Execution.from_dict(content["execution"])
        if "limits" in content:
            new["limits"] = limits_from_dict(content["limits"])
        if content.get("given"):
            self.given = new["limits"]
        if new:
            self.engine.change(**new)

    def _step(self, event: Any) -> None:
        if isinstance(event, Rejection) and event.order_id in self._own:
            return
        if isinstance(event, Price) and event.symbol not in self.start.symbols:
            return
        fact: Event = event
        was_paused = bool(self.engine.risk.paused)
        said = self.engine.on(fact)
        if isinstance(event, Fill | Adjustment):
            self.booked.append(event)
        elif isinstance(event, Command) and event.action in ("pause", "close"):
            if not (was_paused and event.id.startswith(ITSELF)):
                self.paused_by = event.id
        elif isinstance(event, Rejection):
            self.refused.append(event)
        elif isinstance(event, Slice):
            self._mark(event)
        for outcome in said:
            if isinstance(outcome, Rejection):
                self.refused.append(outcome)
                self._own.add(outcome.order_id)
            else:
                self.ordered.append(outcome)

    def _mark(self, market: Slice) -> None:
        self.slices.append(market)
        self.seen = max(self.seen, market.time)
        book = self.engine.portfolio
        equity = book.equity
        self.curve.append((market.time, equity, book.cash_value, 1.0 - book.cash_value / equity))

    def report(self) -> Report:
        """Return the report of the traded time."""
        if not self.curve:
            raise JournalError("the journal holds no slice yet: nothing to report")
        columns = list(zip(*self.curve, strict=True))
        closes = np.array([market.field("close") for market in self.slices])
        held = pl.DataFrame(closes).fill_nan(None).fill_null(strategy="forward").fill_null(strategy="backward")
        filled = held.with_columns(pl.all() / pl.all().first()).fill_null(1.0).to_numpy()
        stamps = pl.Series("time", columns[0], dtype=pl.Int64)
        equity = pl.DataFrame(
            {
                "time": stamps,
                "equity": columns[1],
                "cash": columns[2],
                "exposure": columns[3],
                "benchmark": self.start.cash * filled.mean(axis=1),
            }
        ).with_columns(pl.from_epoch("time", "ns").dt.replace_time_zone("UTC"))
        names = dict(zip(self.start.symbols, closes.T, strict=True))
        prices = pl.DataFrame({"time": equity["time"], **names}).unpivot(
            index="time", variable_name="symbol", value_name="close"
        )
        venue = self.start.venue
        return build_report(
            f"{self.start.reference} on paper",
            equity,
            (fills_frame(self.fills, venue), rejections_frame(self.refused, venue)),
            self.start.cash,
            venue.costs,
            prices=prices.drop_nans("close"),
        )


def replay_all(
    journal: str | Path | Sequence[Entry], strategies: Mapping[str, type[Any]] = STRATEGIES
) -> dict[str, Replay]:
    """Read a journal through the engines that wrote it; return what it says by profile, in the order of their start.

    Parameters
    ----------
    strategies
        The classes by name; add your own when the journal is of one.

    Raises
    ------
    JournalError
        The journal is absent or damaged, or holds no profile.
    """
    entries = read_journal(journal) if isinstance(journal, str | Path) else list(journal)
    found: dict[str, Replay] = {}
    for entry in entries:
        read_on(found, entry, strategies)
    if not found:
        raise JournalError("the journal holds no profile of a trader")
    return found


def read_on(found: dict[str, Replay], entry: Entry, strategies: Mapping[str, type[Any]] = STRATEGIES) -> None:
    """Take the next row of a journal into what was found so far, by profile.

    Raises
    ------
    JournalError
        The row is damaged.
    """
    if entry.kind == "profile":
        with reading(entry):
            content = entry.content()
            if content["action"] == "add":
                found[entry.scope] = Replay.of(Start.from_dict(content, strategies))
            else:
                found[entry.scope].change(content, strategies)
        return
    if entry.kind in OF_A_PROFILE and entry.scope not in found:
        told = ", ".join(found) or "none"
        raise entry.damaged(f"profile {entry.scope!r}", f"one that was set up before, which are {told}")
    for name, one in found.items():
        if not one.is_removed and entry.scope in ("", name, one.start.universe):
            one.take(entry)


def replay(
    journal: str | Path | Sequence[Entry],
    strategies: Mapping[str, type[Any]] = STRATEGIES,
    *,
    profile: str | None = None,
) -> Replay:
    """Read a journal through the engine that wrote it, of the profile that is named or the only one there is.

    Raises
    ------
    JournalError
        As ``replay_all``; or there is no such profile, or several and none was named.
    """
    found = replay_all(journal, strategies)
    if profile is None and len(found) == 1:
        return next(iter(found.values()))
    if profile not in found:
        said = "no name" if profile is None else repr(profile)
        raise JournalError(f"the journal holds the profiles {', '.join(found)}; found {said}, wanted one of them")
    return found[profile]
