"""The prediction journal: what a deployed model said, kept before it is acted on and joined to what came of it."""

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import DataError
from cryptoquant.features.labels import Label
from cryptoquant.market.schema import INSTANT, check_bars, validate
from cryptoquant.market.signal import Signal
from cryptoquant.models.bundle import CONTENT, Bundle, digest
from cryptoquant.models.dataset import Dataset
from cryptoquant.performance.trials import complete_length, strict_json

Floats = NDArray[np.float64]
PREDICTIONS: dict[str, Any] = {
    "reference": pl.String,
    "version": pl.String,
    "bundle": pl.String,
    "features": pl.String,
    "row": pl.String,
    "symbol": pl.String,
    "time": INSTANT,
    "known": INSTANT,
    "kind": pl.String,
    "value": pl.Float64,
    "horizon": pl.Duration("ns"),
}
IDENTITY = ("bundle", "version", "symbol", "time")


@dataclass(frozen=True, slots=True)
class Prediction:
    """One prediction as it was made.

    Attributes
    ----------
    reference, version
        Where the bundle came from, for example ``btc-eth-1h@champion`` and ``btc-eth-1h@3``.
    bundle, features
        Digest of the bundle's content and fingerprint of its features.
    row
        Digest of the feature row that it was computed from; see ``row_digest``.
    time, known, horizon
        Nanoseconds UTC, as of its signal.
    """

    reference: str
    version: str
    bundle: str
    features: str
    row: str
    symbol: str
    time: int
    known: int
    kind: str
    value: float
    horizon: int


class PredictionJournal:
    """An append-only file of JSON lines, safe for several processes; a line torn by a crash was never made.

    Parameters
    ----------
    path
        The file; its folder is made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._bundles: dict[int, tuple[Bundle, str]] = {}

    def record(
        self,
        bundle: Bundle,
        signals: Sequence[Signal],
        rows: Floats,
        reference: str = "",
        version: str = "",
    ) -> None:
        """Keep the signals that a bundle has just given.

        Parameters
        ----------
        rows
            The feature rows of all symbols of the bundle, shape (symbols, features).
        reference, version
            By default the bundle's name, and the reference.
        """
        places = {symbol: place for place, symbol in enumerate(bundle.symbols)}
        said = reference or bundle.name
        self.append(
            [
                Prediction(
                    said,
                    version or said,
                    self._digest(bundle),
                    bundle.features.fingerprint,
                    row_digest(rows[places[signal.symbol]]),
                    signal.symbol,
                    signal.time,
                    signal.known,
                    signal.kind,
                    float(signal.value),
                    signal.horizon,
                )
                for signal in signals
            ]
        )

    def append(self, predictions: Sequence[Prediction]) -> None:
        """Keep predictions, in one write that has reached the disk when this returns.

        Raises
        ------
        DataError
            The file cannot be written.
        """
        if not predictions:
            return
        text = "".join(json.dumps(strict_json(asdict(one)), allow_nan=False) + "\n" for one in predictions)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.truncate(complete_length(file))
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DataError(f"{self.path}: predictions cannot be kept: {error.strerror}") from error

    def predictions(self) -> pl.DataFrame:
        """Return all predictions by time, columns as of ``Prediction``; one that was kept twice is one, the first.

        Raises
        ------
        DataError
            A line within the file is damaged.
        """
        rows: list[dict[str, Any]] = []
        lines = self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(asdict(Prediction(**json.loads(line))))
            except (ValueError, TypeError) as error:
                raise DataError(f"{self.path}: line {number} is not readable: {line[:40]!r}") from error
        plain = {name: pl.Int64 if name in ("time", "known", "horizon") else kind for name, kind in PREDICTIONS.items()}
        frame = pl.DataFrame(rows, schema=plain).with_columns(
            *(pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in ("time", "known")),
            pl.col("horizon").cast(pl.Duration("ns")),
        )
        unique = frame.unique(list(IDENTITY), keep="first", maintain_order=True)
        return unique.sort("time", "symbol", maintain_order=True)

    def joined(self, bars: Any, label: Label, now: int) -> pl.DataFrame:
        """Return the predictions known by ``now`` with what came of them; see ``join``.

        Only bars that were known by then are read, so that no outcome is told before it could have been known.

        Parameters
        ----------
        bars
            A frame (schema ``bars``).
        now
            Nanoseconds UTC.
        """
        table = check_bars(validate(bars, "bars"))
        seen = table.filter(pl.col("known").dt.epoch("ns") <= now)
        return join(self.predictions(), label.build(seen), now)

    def joined_to(self, dataset: Dataset, now: int) -> pl.DataFrame:
        """Return the predictions known by ``now`` with the labels of a dataset, and whether its feature rows are equal.

        The further column ``same_row`` is true where the dataset computes the very row that the prediction was made
        from, to the bit; null where it has none.
        """
        table = dataset.bars.filter(pl.col("known").dt.epoch("ns") <= now)
        found = join(self.predictions(), dataset.label.build(table), now)
        rows = dataset.frame.select(
            "symbol", "time", recomputed=pl.Series([row_digest(row) for row in dataset.features], dtype=pl.String)
        )
        both = found.join(rows, on=["symbol", "time"], how="left", maintain_order="left")
        return both.with_columns(same_row=pl.col("row") == pl.col("recomputed")).drop("recomputed")

    def _digest(self, bundle: Bundle) -> str:
        kept = self._bundles.get(id(bundle))
        if kept is None or kept[0] is not bundle:
            kept = self._bundles[id(bundle)] = (bundle, bundle_digest(bundle))
        return kept[1]


def join(predictions: pl.DataFrame, labels: pl.DataFrame, now: int) -> pl.DataFrame:
    """Return predictions with their outcomes: ``rise`` (1 up, 0 down), ``label_return``, ``label_known``.

    All three are null while the label is not known by ``now``; predictions that were not known by then are left out. A
    label of 0 (the horizon ended before a barrier) counts by the sign of its return, as in ``Dataset.rises``.
    """
    outcome = labels.select("symbol", "time", "label", "label_return", "label_known").filter(
        pl.col("label").is_not_null() & (pl.col("label_known").dt.epoch("ns") <= now)
    )
    up = pl.when(pl.col("label") == 0.0).then(pl.col("label_return") > 0).otherwise(pl.col("label") > 0)
    outcome = outcome.with_columns(rise=up.cast(pl.Float64)).drop("label")
    made = predictions.filter(pl.col("known").dt.epoch("ns") <= now)
    return made.join(outcome, on=["symbol", "time"], how="left", maintain_order="left")


def row_digest(row: Floats) -> str:
    """Return the sha256 of a feature row's bytes, the first 16 hexadecimal digits."""
    return hashlib.sha256(np.ascontiguousarray(row, dtype="<f8").tobytes()).hexdigest()[:16]


def bundle_digest(bundle: Bundle) -> str:
    """Return the sha256 of a bundle's content: that which the registry pins when it registers the bundle."""
    with tempfile.TemporaryDirectory() as place:
        return digest(bundle.save(Path(place) / "bundle") / CONTENT)
