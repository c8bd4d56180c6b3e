"""The watch over a deployed model: what comes in is compared, and what chance would seldom show becomes a trigger."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import ModelError
from cryptoquant.market.time import span_ns
from cryptoquant.models.monitoring.finding import Finding
from cryptoquant.models.monitoring.skill import log_losses, positions
from cryptoquant.models.monitoring.trigger import Trigger, TriggerKind

Floats = NDArray[np.float64]
CHECKED_PER_WINDOW = 4
DAY_NS = 86_400_000_000_000


class WindowCheck(Protocol):
    """Judges the last rows of a stream at once.

    The contract: ``judge`` is pure and wants at least ``window`` rows, oldest first. A check that also says how many
    ``columns`` it reads gets rows of shape (rows, columns), others the rows as they were given.
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
    triggers
        Those of an earlier monitor of the model (``read_triggers``), so that none is given again within ``apart``.

    Attributes
    ----------
    looked
        Everything that the watches found.
    triggers
        All that was triggered, oldest first.
    left_out
        How many rows of each stream were not finite and were not taken.
    """

    def __init__(
        self,
        watches: Mapping[str, Watch],
        *,
        every: timedelta | None = None,
        trained: int = 0,
        apart: timedelta = timedelta(days=1),
        triggers: Iterable[Trigger] = (),
    ) -> None:
        if apart < timedelta(0) or (every is not None and every <= timedelta(0)):
            raise ValueError(f"every must be longer than zero and apart not negative, found {every} and {apart}")
        self.watches = dict(watches)
        self.every_ns = None if every is None else span_ns(every)
        self.apart_ns = span_ns(apart) if apart else 0
        self.trained = trained
        self.looked: list[Looked] = []
        self.triggers = sorted(triggers, key=lambda one: one.at)
        self.left_out: Counter[str] = Counter()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._checks: dict[str, StreamCheck] = {
            name: one.check if isinstance(one.check, StreamCheck) else Rolling(one.check)
            for name, one in self.watches.items()
        }
        self._settled = 0
        self._taken = 0

    def update(self, **streams: Any) -> None:
        """Take the next rows of streams by name, oldest first: all of them, or none when one cannot be read.

        A stream has shape (rows,) or (rows, columns). One number is a row, and so is a list of as many numbers as a
        watch of several columns reads. Rows that are not finite are left out and counted (``left_out``).

        Raises
        ------
        ValueError
            No watch reads a stream of this name.
        ModelError
            A stream holds no numbers, or as many columns as its watch does not read.
        """
        read = {one.reads for one in self.watches.values()}
        strange = sorted(set(streams) - read)
        if strange:
            raise ValueError(f"no watch reads {', '.join(strange)}; read are {', '.join(sorted(read)) or 'none'}")
        tables = {name: _numbers(name, rows) for name, rows in streams.items()}
        shaped = {
            name: _shaped(one.reads, tables[one.reads], getattr(one.check, "columns", None))
            for name, one in self.watches.items()
            if one.reads in streams
        }
        self._keep_shapes(shaped)
        left_out: dict[str, int] = {}
        for name, rows in shaped.items():
            places = _finite(rows)
            left_out[self.watches[name].reads] = int((~places).sum())
            if places.any():
                self._checks[name].update(rows[places])
        self.left_out.update({name: count for name, count in left_out.items() if count})

    def _keep_shapes(self, shaped: Mapping[str, Floats]) -> None:
        """Keep how many columns each watch reads; raise ModelError where that is not what it read before."""
        fresh = {name: rows.shape[1:] for name, rows in shaped.items() if rows.size}
        for name, shape in fresh.items():
            if self._shapes.get(name, shape) != shape:
                wanted = ", ".join(["rows", *map(str, self._shapes[name])])
                found = f"{self.watches[name].reads}: rows of shape {shaped[name].shape}"
                raise ModelError(f"{found}, wanted ({wanted}) as before")
        self._shapes.update(fresh)

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
        fresh = joined.drop_nulls("rise").join(moments.select("time"), on="time", how="semi")
        streams, taken = outcome_streams(fresh, self._taken)
        read = {one.reads for one in self.watches.values()}
        self.update(**{name: rows for name, rows in streams.items() if name in read and len(rows)})
        self._settled, self._taken = int(moments["time"].dt.epoch("ns").item(-1)), taken

    def check(self, now: int) -> list[Trigger]:
        """Look at every watch and the schedule; return the new triggers.

        Of several alarms of one kind the strongest gives the trigger, the others stand in its words.

        Raises
        ------
        ModelError
            A watch cannot judge its rows. All others were looked at first: what they found is in ``looked`` and
            ``triggers``, and the message names the triggers that this call made.
        """
        alarms: dict[str, list[Looked]] = {"drift": [], "decay": []}
        failed: list[str] = []
        for name, check in self._checks.items():
            try:
                finding = check.look()
            except (ModelError, ValueError, ArithmeticError) as error:
                failed.append(f"{name}: {error}")
                continue
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
        if failed:
            names = ", ".join(f"{one.kind} by {one.name}" for one in fresh) or "none"
            raise ModelError(f"{'; '.join(failed)} (triggers made all the same: {names})")
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
        self._shapes.clear()

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


def _numbers(name: str, rows: Any) -> Floats:
    try:
        table = np.atleast_1d(np.asarray(rows, dtype=np.float64))
    except (ValueError, TypeError) as error:
        raise ModelError(f"{name}: rows that are no numbers of shape (rows,) or (rows, columns): {error}") from error
    if table.ndim > 2:
        raise ModelError(f"{name}: rows of shape {table.shape}, wanted (rows,) or (rows, columns)")
    return table


def _shaped(name: str, table: Floats, columns: int | None) -> Floats:
    """Return rows in the shape that a check reads, where it says one."""
    if columns is None:
        return table
    if not table.size:
        return np.empty((0, columns))
    if table.ndim == 1 and (columns == 1 or len(table) == columns):
        return table.reshape(-1, columns)
    if table.shape[1:] != (columns,):
        raise ModelError(f"{name}: rows of shape {table.shape}, wanted (rows, {columns})")
    return table


def _finite(rows: Floats) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(rows).all(axis=tuple(range(1, rows.ndim))))


def _strongest(found: list[Looked], now: int) -> Trigger:
    def strength(one: Looked) -> float:
        value, bound = abs(one.finding.value), one.finding.threshold
        return max(value / bound, bound / value) if value > 0.0 and bound > 0.0 else 0.0

    ordered = sorted(found, key=strength, reverse=True)
    first, others = ordered[0], ordered[1:]
    words = "; ".join(part for part in (first.finding.detail, *(f"also {one.name}" for one in others)) if part)
    return Trigger(first.kind, first.name, now, first.finding.value, first.finding.threshold, words)
