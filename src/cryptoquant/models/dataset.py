"""What a model learns from: features, labels and the time at which each label is known, row by row."""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import ModelError, SchemaError
from cryptoquant.features.feature_set import FeatureSet
from cryptoquant.features.labels import Label
from cryptoquant.features.ticks import Ticks
from cryptoquant.features.trends import TrendScanning
from cryptoquant.market.schema import check_bars, validate
from cryptoquant.market.slice import FIELDS
from cryptoquant.market.time import span, timeframe_name

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Examples:
    """A dataset as arrays, row by row: what a fold needs, and all that is sent to where it is fitted.

    Attributes
    ----------
    features
        Shape (rows, features), C order.
    rises, returns
        Shape (rows,): class (1 up, 0 down) and return of the label, NaN where it is not known.
    times, label_known
        Shape (rows,), nanoseconds UTC.
    """

    features: Floats
    rises: Floats
    returns: Floats
    times: NDArray[np.int64]
    label_known: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> "Examples":
        """Return some rows, in the order given."""
        return Examples(
            self.features[rows], self.rises[rows], self.returns[rows], self.times[rows], self.label_known[rows]
        )


@dataclass(frozen=True, slots=True, repr=False)
class Dataset:
    """Features and labels of a market, ordered by time, then symbol.

    Attributes
    ----------
    frame
        Columns symbol, time, known, one for each feature, then label, label_return and label_known. Rows whose features
        are not complete are left out; rows whose outcome is not known yet keep a null label: they can be predicted but
        not learned from.
    bars
        The bars that the features were computed from (schema ``bars``).
    feature_set, label
        How the columns were made.
    """

    frame: pl.DataFrame
    bars: pl.DataFrame
    feature_set: FeatureSet
    label: Label

    @classmethod
    def build(cls, bars: Any, features: FeatureSet, label: Label, ticks: Ticks | None = None) -> "Dataset":
        """Compute features and labels from a frame of bars (polars or pandas) of one timeframe.

        Parameters
        ----------
        ticks
            Trades, quotes and books, for the features that read them.

        Raises
        ------
        SchemaError
            Impossible bars, or bars of several timeframes.
        ModelError
            No row has all its features: the history is shorter than the lookback.
        """
        table = check_bars(validate(bars, "bars"))
        spans = (table["time"] - table["open_time"]).unique().sort()
        if len(spans) > 1:
            raise SchemaError(f"bars: mixed timeframes {', '.join(str(s) for s in spans)}; wanted one")
        columns = features.compute(table, ticks)
        outcomes = label.build(table).select("symbol", "time", "label", "label_return", "label_known")
        complete = pl.all_horizontal(pl.col(name).is_finite() for name in features.names)
        frame = columns.filter(complete).join(outcomes, on=["symbol", "time"], how="left").sort("time", "symbol")
        if not frame.height:
            raise ModelError(
                f"no row has all {len(features.names)} features: {table.height} bars, lookback "
                f"{features.needed(spans.item(0))[0]}"
            )
        return cls(frame, table, features, label)

    def __repr__(self) -> str:
        return f"Dataset({len(self):,} rows, {', '.join(self.symbols)}, {len(self.names)} features)"

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
        return Examples(self.features, self.rises, self.returns, self.times, self.label_known)

    @property
    def returns(self) -> Floats:
        """The return of each label, shape (rows,), NaN where it is not known."""
        return self.frame["label_return"].fill_null(np.nan).to_numpy()

    @property
    def rises(self) -> Floats:
        """The class to learn: 1 where the label is up, 0 where it is down, NaN where it is not known.

        A label of 0 (the horizon ended before a barrier) counts by the sign of its return.
        """
        label = self.frame["label"].fill_null(np.nan).to_numpy()
        up = np.where(label == 0.0, self.returns > 0, label > 0).astype(np.float64)
        return np.where(np.isnan(label), np.nan, up)

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
        """When each row's label is known, nanoseconds UTC; the largest int where it is not known yet."""
        return self.frame["label_known"].dt.epoch("ns").fill_null(np.iinfo(np.int64).max).to_numpy()

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
        """Digest of the bars, the features (parameters and code) and the label; the same on every machine."""
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
        return digest.hexdigest()
