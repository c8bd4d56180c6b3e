"""The prediction journal: what a deployed model said, kept before it is acted on and joined to what came of it."""

import fcntl
import hashlib
import json
import math
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
from cryptoquant.market.time import iso
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
PINNED = r"@\d+$"


@dataclass(frozen=True, slots=True)
class Prediction:
    """One prediction as it was made.

    Attributes
    ----------
    reference, version
        Where the bundle came from, for example ``btc-eth-1h@champion`` and ``btc-eth-1h@3``.
    bundle, features
        Digest of the bundle's content, of the file it was loaded from if it was loaded, and fingerprint of its
        features.
    row
        Digest of the feature row that it was computed from; see ``row_digest``.
    time, known, horizon
        Nanoseconds UTC, as of its signal.
    value
        A finite number.
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

    @classmethod
    def from_line(cls, line: str | bytes) -> "Prediction":
        """Return the prediction of one line of JSON; raises ValueError or TypeError for a line that holds none."""
        read = cls(**json.loads(line))
        for name, kind in cls.__annotations__.items():
            found = getattr(read, name)
            if type(found) is not kind and not (kind is float and type(found) is int):
                raise TypeError(f"{name} is {found!r}")
        if not math.isfinite(read.value):
            raise ValueError(f"value is {read.value!r}")
        return read


class PredictionJournal:
    """An append-only file of JSON lines, safe for several processes; a line torn by a crash was never made.

    Version, symbol and time tell predictions apart; where the version is no ``name@number``, the bundle's digest, too.

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
        *,
        durable: bool = True,
    ) -> None:
        """Keep the signals that a bundle has just given.

        Parameters
        ----------
        rows
            The feature rows of all symbols of the bundle, shape (symbols, features).
        reference, version
            By default the bundle's name, and the reference.
        durable
            As of ``append``.

        Raises
        ------
        DataError
            As of ``append``.
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
            ],
            durable=durable,
        )

    def append(self, predictions: Sequence[Prediction], *, durable: bool = True) -> None:
        """Keep predictions, in one write.

        Parameters
        ----------
        durable
            Wait until the disk has it; without it a crash of the process loses nothing, a power cut may lose the last.

        Raises
        ------
        DataError
            The file cannot be written, or a value is not finite, which no Forecaster gives; then none is kept.
        """
        wrong = next((one for one in predictions if not math.isfinite(one.value)), None)
        if wrong is not None:
            found = f"a prediction of {wrong.symbol} at {iso(wrong.time)} is {wrong.value}"
            raise DataError(f"{self.path}: {found}, wanted a finite number")
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
                if durable:
                    os.fsync(file.fileno())
        except OSError as error:
            raise DataError(f"{self.path}: predictions cannot be kept: {error.strerror}") from error

    def predictions(self) -> pl.DataFrame:
        """Return all predictions by time, columns as of ``Prediction``; one that was kept twice is one, the first.

        Raises
        ------
        DataError
            The file cannot be read, or a line within it is damaged.
        """
        rows: list[dict[str, Any]] = []
        for number, line in enumerate(self._lines(), start=1):
            try:
                rows.append(asdict(Prediction.from_line(line)))
            except (ValueError, TypeError) as error:
                raise DataError(f"{self.path}: line {number} is not readable: {line[:40]!r} ({error})") from error
        plain = {name: pl.Int64 if name in ("time", "known", "horizon") else kind for name, kind in PREDICTIONS.items()}
        frame = pl.DataFrame(rows, schema=plain).with_columns(
            *(pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in ("time", "known")),
            pl.col("horizon").cast(pl.Duration("ns")),
        )
        unpinned = pl.when(~pl.col("version").str.contains(PINNED)).then("bundle").otherwise(pl.lit(""))
        is_first = pl.struct("version", "symbol", "time", unpinned.alias("unpinned")).is_first_distinct()
        return frame.filter(is_first).sort("time", "symbol", maintain_order=True)

    def _lines(self) -> list[bytes]:
        try:
            return self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []
        except OSError as error:
            raise DataError(f"{self.path}: predictions cannot be read: {error.strerror}") from error

    def joined(self, bars: Any, label: Label, now: int) -> pl.DataFrame:
        """Return the predictions known by ``now`` with what came of them; see ``join``.

        No outcome is told before it could have been known: it is held back while any bar of its symbol up to the end of
        its path is not known, though the bars that are might tell another one.

        Parameters
        ----------
        bars
            A frame (schema ``bars``).
        now
            Nanoseconds UTC.
        """
        table = check_bars(validate(bars, "bars"))
        return join(self.predictions(), _told(label, table, now), now)

    def joined_to(self, dataset: Dataset, now: int) -> pl.DataFrame:
        """Return the predictions known by ``now`` with the labels of a dataset, and whether its feature rows are equal.

        The further column ``same_row`` is true where the dataset computes the very row that the prediction was made
        from, to the bit; null where it has none.
        """
        found = join(self.predictions(), _told(dataset.label, dataset.bars, now), now)
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
    label of 0 counts by the sign of its return, in a dead zone too: a prediction is held against what came, also where
    no model would have learned from it.
    """
    outcome = labels.select("symbol", "time", "label", "label_return", "label_known").filter(
        pl.col("label").is_not_null() & (pl.col("label_known").dt.epoch("ns") <= now)
    )
    up = pl.when(pl.col("label") == 0.0).then(pl.col("label_return") > 0).otherwise(pl.col("label") > 0)
    outcome = outcome.with_columns(rise=up.cast(pl.Float64)).drop("label")
    made = predictions.filter(pl.col("known").dt.epoch("ns") <= now)
    return made.join(outcome, on=["symbol", "time"], how="left", maintain_order="left")


def _told(label: Label, bars: pl.DataFrame, now: int) -> pl.DataFrame:
    """Return the labels whose path, and the past that scales them, was known by ``now``.

    Labels are built on all bars, for a label says when the last bar of its path was known.
    """
    late = bars.filter(pl.col("known").dt.epoch("ns") > now).group_by("symbol").agg(first_late=pl.col("time").min())
    labels = label.build(bars).join(late, on="symbol", how="left", maintain_order="left")
    known = pl.col("label_known").dt.epoch("ns") <= now
    return labels.filter(known & (pl.col("first_late").is_null() | (pl.col("time") < pl.col("first_late"))))


def row_digest(row: Floats) -> str:
    """Return the sha256 of a feature row's bytes, the first 16 hexadecimal digits."""
    return hashlib.sha256(np.ascontiguousarray(row, dtype="<f8").tobytes()).hexdigest()[:16]


def bundle_digest(bundle: Bundle) -> str:
    """Return the sha256 of a bundle's content: of the file it was loaded from, which the registry pins, else as saved.

    What is saved holds the versions of the libraries of this machine.
    """
    loaded: str = getattr(bundle, "digest", "")
    if loaded:
        return loaded
    with tempfile.TemporaryDirectory() as place:
        return digest(bundle.save(Path(place) / "bundle") / CONTENT)
