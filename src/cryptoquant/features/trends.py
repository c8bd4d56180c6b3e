"""The trend that begins at a bar: the straight line ahead that stands out most from what lies around it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cryptoquant.compiled import kernel
from cryptoquant.features.feature import whole
from cryptoquant.features.kernel import Integers
from cryptoquant.features.paths import labelled, latest, stamps
from cryptoquant.market.slice import Floats

ROUNDING = 2.0**-52


@kernel
def scan(close: Floats, least: int, most: int, out: Floats) -> None:
    """Write sign, log return, t-value and bars of the best window to ``out`` (4, rows) where all windows have closed.

    Sums are taken of deviations from the close of the decision, and grow with the window.
    """
    for row in range(len(close) - most + 1):
        total, tilt, square = 0.0, 0.0, 0.0
        best, best_square, bars = 0.0, 0.0, least
        for place in range(1, most):
            deviation = close[row + place] - close[row]
            total += deviation
            tilt += place * deviation
            square += deviation * deviation
            count = place + 1.0
            if count < least:
                continue
            spread = count * (count * count - 1.0) / 12.0
            common = tilt - 0.5 * place * total
            wide = square - total * total / count
            if not wide > 0.0:
                continue
            rest = wide - common * common / spread
            rest = rest if rest > ROUNDING * wide else ROUNDING * wide
            found = common * common * (count - 2.0) / (spread * rest)
            if found > best_square:
                best_square = found
                best = np.sqrt(found) if common > 0.0 else -np.sqrt(found)
                bars = place + 1
        out[0, row] = np.sign(best)
        out[1, row] = np.log(close[row + most - 1] / close[row])
        out[2, row] = best
        out[3, row] = bars


@dataclass(frozen=True, slots=True)
class TrendScanning:
    """Which way the clearest trend from here goes: +1 up, -1 down, 0 where the price stands still.

    For each window of ``least`` to ``most`` closes, the first of them that of the decision, the slope of the
    least-squares line over the number of the bar has a t-value; the window with the t furthest from zero is the trend,
    the shortest of equals, and the label is its sign. Residuals below the rounding of the closes count as rounding, so
    that t stays finite on a straight line. Lopez de Prado (2020), Machine Learning for Asset Managers, section 5.4 and
    snippets 5.1, 5.2.

    The choice compares all windows: it is known when the longest has closed, whichever is chosen.

    Raises
    ------
    ValueError
        ``least`` is smaller than 3, or ``most`` smaller than ``least``.
    """

    least: int
    most: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "least", whole("trend_scanning", "least", self.least, 3))
        object.__setattr__(self, "most", whole("trend_scanning", "most", self.most, self.least))

    def to_dict(self) -> dict[str, Any]:
        """Return the label as plain JSON values."""
        return {"name": "trend_scanning", "least": self.least, "most": self.most}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "TrendScanning":
        """Return the label that ``to_dict`` described."""
        return cls(**{name: value for name, value in saved.items() if name != "name"})

    def build(self, bars: Any) -> pl.DataFrame:
        """Return the labels of a frame of bars.

        Columns and errors are those of ``TripleBarrier.build``, with ``t_value`` and ``trend_bars`` (closes in the
        chosen window); ``label_return`` is the log return to the last close of the longest window, which a trader who
        does not know the choice could have earned.
        """

        def path(rows: pl.DataFrame, out: Floats, when: Integers) -> None:
            ends = np.arange(rows.height) + self.most - 1
            latest(stamps(rows, "known"), np.where(ends < rows.height, ends, -1), when)
            scan(rows["close"].to_numpy(), self.least, self.most, out)

        return labelled(bars, ("label", "label_return", "t_value", "trend_bars"), path)


def trend_scanning(least: int, most: int) -> TrendScanning:
    """Return the label of the clearest trend in windows of ``least`` to ``most`` closes; see ``TrendScanning``."""
    return TrendScanning(least, most)
