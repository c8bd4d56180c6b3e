"""The watch over a deployed model: what comes in is compared, and what chance would seldom show becomes a trigger."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import DataError
from cryptoquant.market.time import span_ns
from cryptoquant.models.monitoring.finding import Finding
from cryptoquant.models.monitoring.skill import log_losses, positions
from cryptoquant.performance.trials import strict_json

Floats = NDArray[np.float64]
TriggerKind = Literal["schedule", "drift", "decay"]
CHECKED_PER_WINDOW = 4
DAY_NS = 86_400_000_000_000


@dataclass(frozen=True, slots=True)
class Trigger:
    """A reason to train again.

    Attributes
    ----------
    kind
        ``schedule`` (it is time), ``drift`` (the market is not the one that was learned) or ``decay`` (the skill is not
        the one that was found).
    name
        Of the watch that found it.
    at
        Nanoseconds UTC.
    value, threshold
        What was found and its bound, NaN where a watch has none; of a schedule the days since the training and those
        that were planned.
    """

    kind: TriggerKind
    name: str
    at: int
    value: float
    threshold: float
    detail: str = ""

    def to_line(self) -> str:
        """Return the trigger as one line of strict JSON."""
        return json.dumps(strict_json(asdict(self)), allow_nan=False)

    @classmethod
    def from_line(cls, line: str | bytes) -> "Trigger":
        """Return the trigger of ``to_line``.

        Raises
        ------
        DataError
            The line holds no trigger.
        """
        try:
            read = cls(**json.loads(line))
            if read.kind not in ("schedule", "drift", "decay"):
                raise ValueError(read.kind)
        except (ValueError, TypeError) as error:
            raise DataError(f"no trigger: {line[:60]!r}") from error
        empty: dict[str, Any] = {name: math.nan for name in ("value", "threshold") if getattr(read, name) is None}
        return replace(read, **empty)


def write_triggers(triggers: Iterable[Trigger], path: Path) -> None:
    """Append triggers to a file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{one.to_line()}\n" for one in triggers)


def read_triggers(path: Path) -> list[Trigger]:
    """Return the triggers of a file, in its order; raises DataError for a line that is none."""
    return [Trigger.from_line(line) for line in path.read_bytes().splitlines()]


class WindowCheck(Protocol):
    """Judges the last rows of a stream at once.

    The contract: ``judge`` is pure and wants at least ``window`` rows, oldest first.
    """

    @property
    def window(self) -> int:
        """How many rows are judged."""
        ...

    def judge(self, rows: Floats) -> Finding:
        """Return what the last ``window`` rows show."""
        ...


@runtime_checkable
class StreamCheck(Protocol):
    """Judges a stream value by value.

    The contract: ``look`` tells an alarm once, and None while there is too little to say; ``reset`` forgets all.
    """

    def update(self, rows: Floats) -> None:
        """Take the next values, oldest first."""
        ...

    def look(self) -> Finding | None:
        """Return what was found since the last look."""
        ...

    def reset(self) -> None:
        """Forget all values."""
        ...


class Rolling:
    """A window check over a stream: judged again whenever a quarter of its window is new."""

    def __init__(self, check: WindowCheck) -> None:
        self.check = check
        self.stride = max(1, check.window // CHECKED_PER_WINDOW)
        self.reset()

    def reset(self) -> None:
        """Forget all rows."""
        self._rows: Floats | None = None
        self._fresh = 0

    def update(self, rows: Floats) -> None:
        """Take the next rows, oldest first."""
        table = np.asarray(rows, dtype=np.float64)
        self._fresh += len(table)
        kept = table if self._rows is None else np.concatenate([self._rows, table])
        self._rows = kept[-self.check.window :]

    def look(self) -> Finding | None:
        """Return what the last window shows, None when too little of it is new."""
        if self._rows is None or len(self._rows) < self.check.window or self._fresh < self.stride:
            return None
        self._fresh = 0
        return self.check.judge(self._rows)


@dataclass(frozen=True, slots=True)
class Watch:
    """One check of one stream.

    Parameters
    ----------
    kind
        Of the triggers that it gives.
    reads
        Name of the stream: ``features``, ``predictions``, ``outcomes``, ``returns``, ``brier``, ``log_loss``, ``pnl``
        or any other that is given to ``Monitor.update``, such as a score of each row.
    """

    kind: Literal["drift", "decay"]
    reads: str
    check: WindowCheck | StreamCheck


@dataclass(frozen=True, slots=True)
class Looked:
    """What a watch found at a time."""

    at: int
    name: str
    kind: TriggerKind
    finding: Finding


class Monitor:
    """Holds the watches over one deployed model, its schedule, and what has been found.

    It reads no clock and no file: the same inputs give the same triggers. Rows of one stream may come in any portions.

    Parameters
    ----------
    watches
        By name.
    every
        How long after training the model is to be trained again; None for no schedule.
    trained
        When the model was trained, nanoseconds UTC.
    apart
        The least time between two triggers of the same kind. Alarms within it are kept in ``looked`` only.

    Attributes
    ----------
    looked
        Everything that the watches found.
    triggers
        All that was triggered, oldest first.
    """

    def __init__(
        self,
        watches: Mapping[str, Watch],
        *,
        every: timedelta | None = None,
        trained: int = 0,
        apart: timedelta = timedelta(days=1),
    ) -> None:
        if apart < timedelta(0) or (every is not None and every <= timedelta(0)):
            raise ValueError(f"every must be longer than zero and apart not negative, found {every} and {apart}")
        self.watches = dict(watches)
        self.every_ns = None if every is None else span_ns(every)
        self.apart_ns = span_ns(apart) if apart else 0
        self.trained = trained
        self.looked: list[Looked] = []
        self.triggers: list[Trigger] = []
        self._checks: dict[str, StreamCheck] = {
            name: one.check if isinstance(one.check, StreamCheck) else Rolling(one.check)
            for name, one in self.watches.items()
        }
        self._settled = 0
        self._taken = 0

    def update(self, **streams: Any) -> None:
        """Take the next rows of streams by name, oldest first.

        Raises
        ------
        ValueError
            No watch reads a stream of this name.
        """
        read = {one.reads for one in self.watches.values()}
        strange = sorted(set(streams) - read)
        if strange:
            raise ValueError(f"no watch reads {', '.join(strange)}; read are {', '.join(sorted(read)) or 'none'}")
        for name, one in self.watches.items():
            if one.reads in streams:
                self._checks[name].update(streams[one.reads])

    def settle(self, joined: pl.DataFrame) -> None:
        """Take the moments of joined predictions of one version that have settled since the last call, in time order.

        A moment has settled when all its symbols have; one whose outcome is still unknown two horizons later is passed
        over. They make the streams ``outcomes`` (probability and rise of each prediction), and ``brier``, ``log_loss``
        and ``pnl`` (the mean over symbols at moments that lie a horizon apart, so that no two labels overlap).
        """
        late = joined["time"].max()
        moments = (
            joined.filter(pl.col("time").dt.epoch("ns") > self._settled)
            .group_by("time")
            .agg(settled=pl.col("rise").is_not_null().all(), span=pl.col("horizon").max())
            .sort("time")
            .with_columns(ready=pl.col("settled") | (pl.col("time") + 2 * pl.col("span") < late))
            .filter(pl.col("ready").cum_prod().cast(pl.Boolean))
        )
        if not moments.height:
            return
        self._settled = int(moments["time"].dt.epoch("ns").item(-1))
        fresh = joined.drop_nulls("rise").join(moments.select("time"), on="time", how="semi")
        streams, self._taken = outcome_streams(fresh, self._taken)
        read = {one.reads for one in self.watches.values()}
        self.update(**{name: rows for name, rows in streams.items() if name in read and len(rows)})

    def check(self, now: int) -> list[Trigger]:
        """Look at every watch and the schedule; return the new triggers.

        Of several alarms of one kind the strongest gives the trigger, the others stand in its words.
        """
        alarms: dict[str, list[Looked]] = {"drift": [], "decay": []}
        for name, check in self._checks.items():
            finding = check.look()
            if finding is None:
                continue
            found = Looked(now, name, self.watches[name].kind, finding)
            self.looked.append(found)
            if finding.is_alarm:
                alarms[found.kind].append(found)
        made = [_strongest(found, now) for found in alarms.values() if found]
        due = None if self.every_ns is None else self.trained + self.every_ns
        if due is not None and now >= due:
            age, every = ((span / DAY_NS) for span in (now - self.trained, due - self.trained))
            made.append(Trigger("schedule", "schedule", now, age, every, f"trained {age:.1f} days ago"))
        fresh = [one for one in made if self._is_apart(one)]
        self.triggers += fresh
        return fresh

    def retrained(self, at: int, checks: Mapping[str, WindowCheck | StreamCheck] | None = None) -> None:
        """Begin anew after a training at ``at``: the schedule starts again, windows are empty.

        Parameters
        ----------
        checks
            Those that the new model brings, by the names of their watches; the others stay.
        """
        self.trained = at
        for name, check in (checks or {}).items():
            self.watches[name] = replace(self.watches[name], check=check)
            self._checks[name] = check if isinstance(check, StreamCheck) else Rolling(check)
        for kept in self._checks.values():
            kept.reset()

    def _is_apart(self, trigger: Trigger) -> bool:
        last = max((one.at for one in self.triggers if one.kind == trigger.kind), default=None)
        return last is None or trigger.at >= last + self.apart_ns


def outcome_streams(settled: pl.DataFrame, after: int = 0) -> tuple[dict[str, Floats], int]:
    """Return the streams of settled predictions, and the moment up to which they are taken.

    Parameters
    ----------
    after
        The earliest moment of the thinned streams, nanoseconds UTC: a horizon behind the last one taken.
    """
    ordered = settled.sort("time", "symbol")
    times = ordered["time"].dt.epoch("ns").to_numpy()
    spans = ordered["horizon"].dt.total_nanoseconds().to_numpy()
    kept: list[int] = []
    for moment, span in sorted(dict(zip(times.tolist(), spans.tolist(), strict=True)).items()):
        if moment >= after:
            kept.append(moment)
            after = moment + span
    values, rises = ordered["value"].to_numpy(), ordered["rise"].to_numpy()
    numbers = {
        "brier": np.square(values - rises),
        "log_loss": log_losses(values, rises),
        "pnl": positions(values, ordered["kind"]) * ordered["label_return"].to_numpy(),
    }
    places = [times == moment for moment in kept]
    streams = {name: np.array([one[place].mean() for place in places]) for name, one in numbers.items()}
    outcomes = ordered.select("value", "rise").to_numpy()
    return {"outcomes": outcomes, **streams}, after


def _strongest(found: list[Looked], now: int) -> Trigger:
    def strength(one: Looked) -> float:
        value, bound = abs(one.finding.value), one.finding.threshold
        return max(value / bound, bound / value) if value > 0.0 and bound > 0.0 else 0.0

    ordered = sorted(found, key=strength, reverse=True)
    first, others = ordered[0], ordered[1:]
    words = "; ".join(part for part in (first.finding.detail, *(f"also {one.name}" for one in others)) if part)
    return Trigger(first.kind, first.name, now, first.finding.value, first.finding.threshold, words)
