"""A universe at work: minute bars become slices, and slices the feature rows that its profiles share."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryptoquant.features import FeatureSet
from cryptoquant.features.online import OnlineFeatures
from cryptoquant.live.assembly import SliceBuilder
from cryptoquant.market.slice import FIELDS, Panel, Slice
from cryptoquant.market.time import Timeframe, span_ns

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Past:
    """What a universe starts from: history up to the present, and which of its slices were decided or passed over.

    Attributes
    ----------
    panel
        Slices from the store and the venue's history.
    known
        Slices that a journal holds, oldest first: what was traded on, which the history may have revised since.
    seen
        The last close that was decided on or passed over (nanoseconds UTC); 0 for a universe that is new.
    """

    panel: Panel
    known: tuple[Slice, ...] = ()
    seen: int = 0


class Universe:
    """One list of symbols in one timeframe.

    Parameters
    ----------
    name
        As of ``Profile.universe``.
    deadline_ns
        How long after a close absent symbols are awaited.

    Attributes
    ----------
    unsaved
        Slices since the features' memory was last kept.
    """

    def __init__(self, name: str, symbols: tuple[str, ...], timeframe: Timeframe, after: int, deadline_ns: int) -> None:
        self.name, self.symbols, self.timeframe = name, symbols, timeframe
        self.width = span_ns(timeframe)
        self.builder = SliceBuilder(symbols, timeframe, after, deadline_ns)
        self.seen = after
        self.unsaved = 0
        self._features: dict[str, OnlineFeatures] = {}

    def add(self, features: FeatureSet, past: Past, checkpoint: bytes | None = None) -> None:
        """Bring a feature set up to the present; one that another profile has brought already is shared."""
        if features.fingerprint in self._features:
            return
        online = self._features[features.fingerprint] = warmed(features, self.symbols, past, checkpoint)
        after = max(self.seen, online.time or 0) + self.width
        nothing = np.full((len(self.symbols), len(FIELDS)), np.nan)
        online.peek(Slice(after, after, self.symbols, nothing))  # what is compiled at its first step is there then

    def rows(self, market: Slice) -> dict[str, Floats]:
        """Take the next slice and return the rows, shape (symbols, columns), by the feature set's fingerprint."""
        self.seen = max(self.seen, market.time)
        self.unsaved += 1
        return {name: online.update(market) for name, online in self._features.items()}

    def states(self) -> dict[str, bytes]:
        """Return what each feature set remembers, by its fingerprint."""
        return {name: online.state() for name, online in self._features.items()}


def warmed(
    features: FeatureSet, symbols: tuple[str, ...], past: Past, checkpoint: bytes | None = None
) -> OnlineFeatures:
    """Return features that know the past; from a checkpoint on where there is one, else from the history alone.

    A slice of the journal goes before the history's: it is what was traded on. A checkpoint that knows more than the
    past does is left alone: it was kept after a slice that the journal did not take.
    """
    online, panel = features.online(symbols), laid_over(past.panel, past.known)
    if checkpoint is not None:
        online.restore(checkpoint)
        if (online.time or 0) > int(panel.times[-1]):
            online = features.online(symbols)
    after = online.time or 0
    online.warm(panel.between(after, int(panel.times[-1]) if len(panel) else after))
    return online


def laid_over(panel: Panel, known: Sequence[Slice]) -> Panel:
    """Return a panel in which some slices stand in the place of those of the same close."""
    if not known:
        return panel
    own = np.array([market.time for market in known], dtype=np.int64)
    kept = ~np.isin(panel.times, own)
    times = np.concatenate([panel.times[kept], own])
    order = np.argsort(times)
    moments = np.concatenate([panel.known[kept], np.array([market.known for market in known], dtype=np.int64)])
    values = np.concatenate([panel.values[kept], np.array([market.values for market in known])])
    return Panel.from_values(times[order], moments[order], panel.symbols, values[order], panel.width)


class Checkpoints:
    """The memory of features on disk, beside the journal: one file for each universe and feature set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, universe: Universe) -> None:
        """Keep what each feature set remembers; a crash or a power cut in between leaves the older one."""
        universe.unsaved = 0
        for name, state in universe.states().items():
            self.folder.mkdir(parents=True, exist_ok=True)
            place = self._place(universe.name, name)
            fresh = place.with_suffix(".new")
            with fresh.open("wb") as file:
                file.write(state)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(place)

    def load(self, universe: str, fingerprint: str) -> bytes | None:
        """Return what was kept last, None when there is nothing."""
        place = self._place(universe, fingerprint)
        return place.read_bytes() if place.is_file() else None

    def _place(self, universe: str, fingerprint: str) -> Path:
        digest = hashlib.sha256(f"{universe} {fingerprint}".encode()).hexdigest()[:16]
        return self.folder / f"{digest}.features"
