"""What chance alone would show: windows of a reference drawn in blocks, so that its memory stays in them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import ModelError

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

FEWEST_WINDOWS = 4
MEMORIES_PER_BLOCK = 8.0
QUIET_LAGS = 10
MOST_MISSING = 0.75


@dataclass(frozen=True, slots=True)
class Blocks:
    """How windows that a stationary market would bring are drawn from a reference: joined from circular blocks.

    Source: Politis, Romano (1992), "A circular block-resampling procedure for stationary data".

    Attributes
    ----------
    length, window, block
        Rows of the reference, of a window and of a block, in time order.
    """

    length: int
    window: int
    block: int

    @classmethod
    def of(cls, length: int, window: int, memory: float) -> "Blocks":
        """Return blocks of eight times the memory of the rows, from a sixteenth to a half of the window.

        Raises
        ------
        ModelError
            The reference holds fewer than four windows, or the window fewer than 8 rows.
        """
        if window < 8:
            raise ModelError(f"a window of {window} rows, wanted at least 8")
        if length < FEWEST_WINDOWS * window:
            raise ModelError(f"a reference of {length} rows, wanted at least {FEWEST_WINDOWS} windows of {window}")
        wanted = math.ceil(MEMORIES_PER_BLOCK * memory)
        return cls(length, window, min(max(wanted, window // 16, 2), window // 2))

    def draw(self, draws: int, seed: int) -> Iterator[Rows]:
        """Yield the row numbers of one window after the other, shape (window,)."""
        rng = np.random.default_rng(seed)
        count = -(-self.window // self.block)
        for _ in range(draws):
            starts = rng.integers(0, self.length, count)
            yield (starts[:, None] + np.arange(self.block)).ravel()[: self.window] % self.length

    def widening(self, memory: Floats, false_alarm: float) -> Floats:
        """Return by which factor a true window's distance from the reference varies more than a drawn one's.

        With n rows in a window, N in the reference and b in a block the variance is ``V (1/n)(1 - memory/n) + V/N``,
        since the reference errs, too; among drawn windows it is ``(V/n)(1 - memory/b - min(b, n)/N)``. The missing part
        is taken as three quarters at most. V is known from N/b blocks only, wherefore Student's quantile takes the
        place of the normal one. Shape as ``memory``.

        Source: Kuensch (1989), "The jackknife and the bootstrap for general stationary observations", theorem 3.3.
        """
        from scipy.special import ndtri, stdtrit

        true = 1.0 - np.minimum(memory / self.window, MOST_MISSING) + self.window / self.length
        drawn = 1.0 - np.minimum(memory / self.block + min(self.block, self.window) / self.length, MOST_MISSING)
        tail = 1.0 - false_alarm / 2.0
        student = float(stdtrit(self.length / self.block - 1.0, tail) / ndtri(tail))
        ratio: Floats = student**2 * np.maximum(true / drawn, 1.0)
        return ratio


def stationary_windows(length: int, window: int, block: float, draws: int, seed: int) -> Rows:
    """Return the row numbers of windows in circular blocks of geometric length with mean ``block``.

    Shape (draws, window).

    Source: Politis, Romano (1994), "The stationary bootstrap", JASA 89.
    """
    rng = np.random.default_rng(seed)
    is_first = rng.random((draws, window)) < 1.0 / block
    is_first[:, 0] = True
    steps = np.arange(window)
    begun = np.maximum.accumulate(np.where(is_first, steps, 0), axis=1)
    starts = np.take_along_axis(rng.integers(0, length, (draws, window)), begun, axis=1)
    rows: Rows = (starts + steps - begun) % length
    return rows


def memory_of(table: Floats) -> Floats:
    """Return how far each column remembers, in rows: ``sum |k| c(k) / sum c(k)`` over all lags k, shape (columns,).

    The larger one of the values' and of their distances' from the median counts, as volatility remembers longer than
    returns do. Autocorrelations c are summed up to the first lag that ten small ones follow, at most a quarter of the
    rows.

    Source: Politis, White (2004), "Automatic block-length selection for the dependent bootstrap", section 3.2.

    Parameters
    ----------
    table
        Shape (rows, columns), in time order.
    """
    far = np.abs(table - np.median(table, axis=0))
    return np.maximum(linear_memory(table), linear_memory(far))


def linear_memory(table: Floats) -> Floats:
    """Return ``memory_of`` of the values alone, not of their distances from the median."""
    rows, columns = table.shape
    centred = table - table.mean(axis=0)
    most = max(1, rows // 4)
    power = np.abs(np.fft.rfft(centred, 2 * rows, axis=0)) ** 2
    covariance = np.fft.irfft(power, axis=0)[: most + QUIET_LAGS + 1]
    found = np.zeros(columns)
    small = 2.0 * np.sqrt(np.log10(rows) / rows)
    for column in range(columns):
        if covariance[0, column] <= 1e-12 * (1.0 + np.square(table[:, column]).sum()):
            continue
        lags = covariance[:, column] / covariance[0, column]
        quiet = np.convolve(np.abs(lags[1:]) < small, np.ones(QUIET_LAGS), "valid") == QUIET_LAGS
        end = min(most, int(np.argmax(quiet)) if quiet.any() else most)
        kept, places = lags[1 : end + 1], np.arange(1, end + 1)
        total = 1.0 + 2.0 * kept.sum()
        if total > 0.0:
            found[column] = max(0.0, 2.0 * float(places @ kept) / total)
    return found
