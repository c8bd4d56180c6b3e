"""A journal through the same engine again: the same books, and the first order that would differ."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cryptoquant.errors import JournalError
from cryptoquant.live.journal import Entry, read_journal
from cryptoquant.market.instrument import Instrument
from cryptoquant.market.signal import Signal
from cryptoquant.market.slice import Slice
from cryptoquant.models.bundle import STRATEGIES, strategy_from_dict, strategy_to_dict
from cryptoquant.performance.report import Report, build_report, fills_frame, rejections_frame
from cryptoquant.trading.engine import Engine, Event
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.order import Fill, Order, Rejection
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import Strategy
from cryptoquant.trading.venue import Costs, Venue, increments

EVENTS = ("slice", "signal", "fill", "rejection", "cancellation", "adjustment", "command")


@dataclass(frozen=True, slots=True)
class Start:
    """How a trader was set up: enough to make its engine again.

    Attributes
    ----------
    cash
        Quote currency of the profile at its start.
    warm
        Slices before the start that the strategy's lookback reaches.
    """

    reference: str
    profile: str
    timeframe: str
    strategy: Strategy
    venue: Venue
    execution: Execution
    limits: RiskLimits
    symbols: tuple[str, ...]
    cash: float
    time: int
    warm: tuple[Slice, ...] = ()

    def engine(self) -> Engine:
        """Return the engine as it was before its first event."""
        engine = Engine(
            self.strategy,
            self.venue,
            self.symbols,
            self.cash,
            profile=self.profile,
            execution=self.execution,
            limits=self.limits,
        )
        engine.warm(self.warm)
        return engine

    def to_dict(self) -> dict[str, Any]:
        """Return the setup as JSON-ready values."""
        return {
            "reference": self.reference,
            "profile": self.profile,
            "timeframe": self.timeframe,
            "strategy": strategy_to_dict(self.strategy),
            "costs": asdict(self.venue.costs),
            "instruments": [
                [i.symbol, str(i.quantity_increment), str(i.price_increment), str(i.minimum_quantity)]
                for i in self.venue.instruments.values()
            ],
            "execution": self.execution.to_dict(),
            "limits": {name: repr(value) for name, value in asdict(self.limits).items()},
            "symbols": list(self.symbols),
            "cash": self.cash,
            "time": self.time,
            "warm": [slice_to_list(market) for market in self.warm],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], strategies: Mapping[str, type[Any]] = STRATEGIES) -> "Start":
        """Return the setup of ``to_dict``; ``strategies`` are the classes by name."""
        listed: list[Instrument] = [increments(*row) for row in content["instruments"]]
        limits = {name: float(value) for name, value in content["limits"].items()}
        limits["max_orders_per_minute"] = int(limits["max_orders_per_minute"])
        symbols = tuple(content["symbols"])
        return cls(
            reference=content["reference"],
            profile=content["profile"],
            timeframe=content["timeframe"],
            strategy=strategy_from_dict(content["strategy"], strategies),
            venue=Venue.alpaca(Costs(**content["costs"]), listed),
            execution=Execution.from_dict(content["execution"]),
            limits=RiskLimits(**limits),  # type: ignore[arg-type]
            symbols=symbols,
            cash=content["cash"],
            time=content["time"],
            warm=tuple(_slice_from_list(row, symbols) for row in content["warm"]),
        )


@dataclass(slots=True)
class Replay:
    """What a journal says when it is read through the engine again.

    Attributes
    ----------
    engine
        With the books at the journal's end.
    ordered, journalled
        Orders that the engine gave now, and those that the journal holds, in order.
    curve
        Rows of time, equity, cash, exposure; one for each slice.
    seen
        Close of the last slice that the engine has taken, decided on or not (nanoseconds UTC).
    """

    start: Start
    engine: Engine
    ordered: list[Order] = field(default_factory=list)
    journalled: list[Order] = field(default_factory=list)
    refused: list[Rejection] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    curve: list[tuple[int, float, float, float]] = field(default_factory=list)
    seen: int = 0

    @property
    def difference(self) -> str:
        """The first order that differs, in words; empty when all are equal."""
        for number, (now, then) in enumerate(zip(self.ordered, self.journalled, strict=False)):
            if now != then:
                return f"order {number}: the engine gives {now}, the journal holds {then}"
        more, less = len(self.ordered), len(self.journalled)
        if more > less:
            return f"order {less}: the engine gives {self.ordered[less]}, the journal ends"
        return f"order {more}: the journal holds {self.journalled[more]}, the engine gives none" if less > more else ""

    @property
    def is_equal(self) -> bool:
        """Whether every order of the journal is given again, and no other."""
        return not self.difference

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


def replay(journal: str | Path | Sequence[Entry], strategies: Mapping[str, type[Any]] = STRATEGIES) -> Replay:
    """Read a journal through the engine that wrote it.

    ``strategies`` are the classes by name; add your own when the journal is of one.

    Raises
    ------
    JournalError
        The journal is absent, damaged, or does not begin with a trader's start.
    """
    entries = read_journal(journal) if isinstance(journal, str | Path) else list(journal)
    begun = next((entry for entry in entries if entry.kind == "start"), None)
    if begun is None:
        raise JournalError("the journal holds no start of a trader")
    start = Start.from_dict(begun.content(), strategies)
    result = Replay(start, start.engine())
    own: set[str] = set()
    for entry in entries:
        if entry.kind == "order":
            result.journalled.append(_order(entry))
        elif entry.kind == "warm":
            passed = [_slice_from_list(row, start.symbols) for row in entry.content()["slices"]]
            result.engine.warm(passed)
            result.seen = max(result.seen, passed[-1].time)
        elif entry.kind in EVENTS:
            _step(result, entry.fact(), own)
    return result


def _order(entry: Entry) -> Order:
    fact = entry.fact()
    if not isinstance(fact, Order):
        raise JournalError(f"row {entry.seq} of kind order holds {type(fact).__name__}")
    return fact


def _step(result: Replay, event: Any, own: set[str]) -> None:
    if isinstance(event, Rejection) and event.order_id in own:
        return
    said = result.engine.on(_as_event(event))
    if isinstance(event, Fill):
        result.fills.append(event)
    elif isinstance(event, Rejection):
        result.refused.append(event)
    elif isinstance(event, Signal):
        result.signals.append(event)
    elif isinstance(event, Slice):
        result.slices.append(event)
        result.seen = max(result.seen, event.time)
        book = result.engine.portfolio
        equity = book.equity
        result.curve.append((event.time, equity, book.cash_value, 1.0 - book.cash_value / equity))
    for outcome in said:
        if isinstance(outcome, Order):
            result.ordered.append(outcome)
        elif isinstance(outcome, Rejection):
            result.refused.append(outcome)
            own.add(outcome.order_id)


def _as_event(fact: Any) -> Event:
    event: Event = fact
    return event


def slice_to_list(market: Slice) -> list[Any]:
    """Return time, known and values of a slice as JSON-ready values; NaN becomes null."""
    rows = [[None if value != value else value for value in row] for row in market.values.tolist()]
    return [market.time, market.known, rows]


def _slice_from_list(row: list[Any], symbols: tuple[str, ...]) -> Slice:
    values = np.array([[np.nan if v is None else v for v in line] for line in row[2]], dtype=np.float64)
    return Slice(row[0], row[1], symbols, values)
