"""What a model learns from: features, labels and the time at which each label is known, row by row."""

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import ModelError, SchemaError
from cryptoquant.features.feature_set import FeatureSet
from cryptoquant.features.labels import Label, ScaledReturn, Sign
from cryptoquant.features.ticks import Ticks
from cryptoquant.features.trends import TrendScanning
from cryptoquant.market.schema import INSTANT, check_bars, to_polars, validate
from cryptoquant.market.slice import FIELDS
from cryptoquant.market.time import span, timeframe_name, to_ns
from cryptoquant.models.examples import UNKNOWN, Examples

Floats = NDArray[np.float64]
WEIGHTS = ("symbol", "time", "weight")


@dataclass(frozen=True, repr=False, eq=False)
class Dataset:
    """Features and labels of a market; both are computed when they are first asked for, and once.

    Attributes
    ----------
    bars
        The bars that the features are computed from (schema ``bars``).
    feature_set, label
        How the columns are made.
    ticks
        What features of trades, quotes and books read.
    weights
        How much rows count, columns symbol, time, weight; 1 where nothing is said.
    chosen
        The symbols whose rows are kept; None keeps all.
    start, end
        Rows lie in ``[start, end)``, nanoseconds UTC.
    """

    bars: pl.DataFrame
    feature_set: FeatureSet
    label: Label
    ticks: Ticks | None = None
    weights: pl.DataFrame | None = None
    chosen: tuple[str, ...] | None = None
    start: int = 0
    end: int = UNKNOWN

    @classmethod
    def build(
        cls, bars: Any, features: FeatureSet, label: Label, ticks: Ticks | None = None, weights: Any = None
    ) -> "Dataset":
        """Return the dataset of a frame of bars (polars or pandas) of one timeframe; nothing is computed yet.

        Parameters
        ----------
        ticks
            Trades, quotes and books, for the features that read them.
        weights
            A frame with columns symbol, time (the close of a bar) and weight (from 0).

        Raises
        ------
        SchemaError
            Impossible bars, bars of several timeframes, or weights that are negative, not finite or said twice.
        """
        table = check_bars(validate(bars, "bars"))
        spans = (table["time"] - table["open_time"]).unique().sort()
        if len(spans) > 1:
            raise SchemaError(f"bars: mixed timeframes {', '.join(str(s) for s in spans)}; wanted one")
        if not table.height:
            raise ModelError("no bars: nothing to learn from")
        return cls(table, features, label, ticks, None if weights is None else _weights(weights))

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The rows by time, then symbol: symbol, time, known, a column for each feature, ordinal, label and weight.

        Rows whose features are not complete are left out; rows whose outcome is not known yet keep a null label
        (``label``, ``label_return``, ``label_known``): they can be predicted but not learned from. ``ordinal`` counts
        the complete rows of a symbol from 0.

        Raises
        ------
        ModelError
            No row has all its features: the history is shorter than the lookback; or none is left of those chosen.
        """
        columns = self.feature_set.compute(self.bars, self.ticks)
        outcomes = self.label.build(self.bars).select("symbol", "time", "label", "label_return", "label_known")
        complete = pl.all_horizontal(pl.col(name).is_finite() for name in self.names)
        frame = columns.filter(complete).join(outcomes, on=["symbol", "time"], how="left").sort("time", "symbol")
        if not frame.height:
            span = self.bars["time"].item(0) - self.bars["open_time"].item(0)
            raise ModelError(
                f"no row has all {len(self.names)} features: {self.bars.height} bars, lookback "
                f"{self.feature_set.needed(span)[0]}"
            )
        frame = frame.with_columns(ordinal=pl.int_range(pl.len(), dtype=pl.Int64).over("symbol"))
        if self.weights is None:
            frame = frame.with_columns(weight=pl.lit(1.0))
        else:
            frame = frame.join(self.weights, on=["symbol", "time"], how="left", maintain_order="left")
            frame = frame.with_columns(pl.col("weight").fill_null(1.0))
        return self._cut(frame)

    def _cut(self, frame: pl.DataFrame) -> pl.DataFrame:
        kept = frame.filter(pl.col("time").dt.epoch("ns").is_between(self.start, self.end, closed="left"))
        if self.chosen is not None:
            kept = kept.filter(pl.col("symbol").is_in(self.chosen))
        if not kept.height:
            raise ModelError(f"none of the {frame.height} rows is left of {self.chosen or 'all symbols'} in this span")
        return kept

    def of(self, *symbols: str) -> "Dataset":
        """Return the rows of some symbols; features of the whole universe stay what they are.

        Raises
        ------
        ModelError
            There are no rows of a symbol, or they were cut away before.
        """
        there = self.chosen or self.symbols
        strange = sorted(set(symbols) - set(there))
        if strange or not symbols:
            raise ModelError(f"no rows of {', '.join(strange) or 'no symbol'}; there are {', '.join(there)}")
        return self._with(chosen=symbols)

    def between(self, start: datetime | str | int | None = None, end: datetime | str | int | None = None) -> "Dataset":
        """Return the rows whose bars closed in ``[start, end)``; None leaves that side open."""
        first = self.start if start is None else max(self.start, to_ns(start))
        last = self.end if end is None else min(self.end, to_ns(end))
        return self._with(start=first, end=last)

    def _with(self, **changed: Any) -> "Dataset":
        """Return a part of this dataset, cut from its rows if they are computed already."""
        part = replace(self, **changed)
        if "frame" in self.__dict__:
            part.__dict__["frame"] = part._cut(self.frame)
        return part

    def __repr__(self) -> str:
        size = f"{len(self):,} rows" if "frame" in self.__dict__ else f"{self.bars.height:,} bars, not computed yet"
        return f"Dataset({size}, {', '.join(self.chosen or self.symbols)}, {len(self.names)} features)"

    def __len__(self) -> int:
        return self.frame.height

    @property
    def names(self) -> tuple[str, ...]:
        """The feature columns, in order."""
        return self.feature_set.names

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols of the bars, sorted: the universe of panel features, strategies and bundles."""
        return tuple(sorted(self.bars["symbol"].unique()))

    @property
    def features(self) -> Floats:
        """The feature matrix, shape (rows, features), C order."""
        return np.ascontiguousarray(self.frame.select(self.names).to_numpy())

    @property
    def examples(self) -> Examples:
        """All rows as arrays."""
        codes = {symbol: number for number, symbol in enumerate(self.symbols)}
        return Examples(
            self.features,
            self.rises,
            self.returns,
            self.targets,
            self.times,
            self.label_known,
            self.frame["symbol"].replace_strict(codes, return_dtype=pl.Int64).to_numpy(),
            self.frame["ordinal"].to_numpy(),
            self.frame["weight"].to_numpy(),
        )

    @property
    def returns(self) -> Floats:
        """The return of each label, shape (rows,), NaN where it is not known."""
        return self.frame["label_return"].fill_null(np.nan).to_numpy()

    @property
    def rises(self) -> Floats:
        """The class to learn: 1 where the label is up, 0 where it is down, NaN where it is not known.

        A label of 0 (the horizon ended before a barrier) counts by the sign of its return; in the dead zone of ``Sign``
        it is neither up nor down: NaN.
        """
        label = self.frame["label"].fill_null(np.nan).to_numpy()
        up = np.where(label == 0.0, self.returns > 0, label > 0).astype(np.float64)
        return np.where(np.isnan(label) | self._is_dead, np.nan, up)

    @property
    def targets(self) -> Floats:
        """What a regression learns, shape (rows,): the number that ``ScaledReturn`` is, else the label's return."""
        if not isinstance(self.label, ScaledReturn):
            return self.returns
        return self.frame["label"].fill_null(np.nan).to_numpy()

    @property
    def _is_dead(self) -> NDArray[np.bool_]:
        """Whether the return of each row lies in a dead zone."""
        if not isinstance(self.label, Sign) or self.label.dead_zone == 0.0:
            return np.zeros(len(self), dtype=np.bool_)
        return (self.frame["label"] == 0.0).fill_null(value=False).to_numpy()

    @property
    def times(self) -> NDArray[np.int64]:
        """The close of each row's bar, nanoseconds UTC, shape (rows,)."""
        return self.frame["time"].dt.epoch("ns").to_numpy()

    @property
    def horizon(self) -> timedelta:
        """How long a label looks ahead."""
        if isinstance(self.label, TrendScanning):
            return (self.label.most - 1) * span(self.timeframe)
        return self.label.horizon

    @property
    def label_known(self) -> NDArray[np.int64]:
        """When each row's label is known, nanoseconds UTC; the largest int where it is not known yet.

        The same where it lies in a dead zone: splits leave such rows out of what is learned and judged, for they have
        no class, as they leave out what has no outcome yet. They are predicted all the same.
        """
        known = self.frame["label_known"].dt.epoch("ns").fill_null(UNKNOWN).to_numpy()
        return np.where(self._is_dead, UNKNOWN, known)

    @property
    def width(self) -> int:
        """Length of a bar in nanoseconds."""
        return int((self.bars["time"] - self.bars["open_time"]).dt.total_nanoseconds().item(0))

    @property
    def timeframe(self) -> str:
        """Name of the length of a bar, for example ``5m``."""
        return timeframe_name(timedelta(microseconds=self.width // 1_000))

    @property
    def fingerprint(self) -> str:
        """Digest of bars, features (parameters and code), label, weights and cut; the same on every machine."""
        digest = hashlib.sha256()
        table = self.bars.sort("symbol", "time")
        digest.update(json.dumps(table["symbol"].rle().struct.unnest().rows()).encode())
        for stamp in ("time", "known", "open_time"):
            digest.update(table[stamp].dt.epoch("ns").to_numpy().astype("<i8").tobytes())
        for field in FIELDS:
            digest.update(table[field].cast(pl.Float64).fill_null(np.nan).to_numpy().astype("<f8").tobytes())
        if self.feature_set.reads_ticks:
            digest.update(self.features.astype("<f8").tobytes())
        digest.update(self.feature_set.fingerprint.encode())
        digest.update(json.dumps(self.label.to_dict(), sort_keys=True).encode())
        if self.weights is not None:
            rows = self.weights.sort("symbol", "time")
            said = [rows["symbol"].to_list(), rows["time"].dt.epoch("ns").to_list(), rows["weight"].to_list()]
            digest.update(json.dumps(said).encode())
        if (self.chosen, self.start, self.end) != (None, 0, UNKNOWN):
            digest.update(json.dumps([sorted(self.chosen or ()), self.start, self.end]).encode())
        return digest.hexdigest()


def _weights(weights: Any) -> pl.DataFrame:
    table = to_polars(weights)
    missing = [name for name in WEIGHTS if name not in table.columns]
    if missing:
        raise SchemaError(f"weights: no column {', '.join(missing)}; wanted {', '.join(WEIGHTS)}")
    table = table.select(pl.col("symbol").cast(pl.String), pl.col("time").cast(INSTANT), pl.col("weight").cast(float))
    wrong = table.filter(~(pl.col("weight").is_finite() & (pl.col("weight") >= 0.0)).fill_null(value=False))
    if wrong.height:
        raise SchemaError(f"weights: {wrong['weight'].item(0)} of {wrong['symbol'].item(0)}, wanted a number from 0")
    if table.select("symbol", "time").is_duplicated().any():
        raise SchemaError("weights: said twice for one symbol and time")
    return table
