"""How a symbol moves with another one, say with bitcoin: correlation and beta of their log returns.

A slice counts for a pair when both have a bar in it. Returns run from one such slice to the next, so that both cover
the same time; at a slice at which either is absent there is no value. For the other symbol itself both are 1.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cryptoquant.compiled import kernel
from cryptoquant.features.feature import Feature, whole
from cryptoquant.features.folds.products import correlation_of, products, products_size
from cryptoquant.market.slice import Floats

__all__ = ["beta", "correlation"]


@kernel
def pair_products(
    state: Floats, window: int, bars: Floats, present: NDArray[np.bool_], other: int
) -> NDArray[np.float64]:
    """Return for each symbol what ``products`` says of the last ``window`` pairs of log returns.

    State of a symbol: how many slices have counted, the two closes of the last of them, the memory of ``products``.
    """
    symbols = bars.shape[0]
    found = np.full((symbols, 4), np.nan)
    if not present[other]:
        return found
    mine, its = np.empty(1), np.empty(1)
    for symbol in range(symbols):
        if not present[symbol]:
            continue
        memory, close, other_close = state[symbol], bars[symbol, 0], bars[other, 0]
        seen = int(memory[0])
        if seen > 0:
            mine[0], its[0] = math.log(close / memory[1]), math.log(other_close / memory[2])
            sums = found[symbol]
            products(memory, 3, window, mine, its, seen - 1, sums[0:1], sums[1:2], sums[2:3], sums[3:4])
        memory[0], memory[1], memory[2] = seen + 1, close, other_close
    return found


@kernel
def correlation_step(state: Floats, settings: Floats, bars: Floats, present: NDArray[np.bool_], out: Floats) -> None:
    """Write the correlation with the other symbol; settings: the window and that symbol's place."""
    sums = pair_products(state, int(settings[0]), bars, present, int(settings[1]))
    for symbol in range(bars.shape[0]):
        out[symbol, 0] = correlation_of(sums[symbol, 0], sums[symbol, 1], sums[symbol, 2])


@kernel
def beta_step(state: Floats, settings: Floats, bars: Floats, present: NDArray[np.bool_], out: Floats) -> None:
    """Write the slope on the other symbol; settings: the window and that symbol's place."""
    sums = pair_products(state, int(settings[0]), bars, present, int(settings[1]))
    for symbol in range(bars.shape[0]):
        variance = sums[symbol, 2]
        out[symbol, 0] = 0.0 if variance == 0.0 else sums[symbol, 0] / variance


def correlation(symbol: str, window: int) -> Feature:
    """Return the correlation of a symbol's log returns with those of another symbol over ``window`` common bars.

    Formula: Pearson's correlation, TA-Lib's CORREL of the two series of returns; 0 when either stands still. Source:
    Markowitz (1952), Portfolio Selection, Journal of Finance 7. Inputs: close of both. Output:
    ``correlation_{symbol}_{window}``, -1 to 1, NaN at slices at which either has no bar. Lookback: window bars of both.
    Memory: finite. Warm-up: window + 1 bars of both.

    Raises
    ------
    ValueError
        The symbol is empty or the window smaller than 2.
    DataError
        When it is computed for a universe without that symbol.
    """
    return _against(correlation_step, symbol, window)


def beta(symbol: str, window: int) -> Feature:
    """Return how much a symbol's log return moves per log return of another symbol over ``window`` common bars.

    Formula: sum (x - mean x) (y - mean y) / sum (y - mean y)^2, x the returns of the symbol, y of the other; 0 when the
    other stands still. Source: Sharpe (1964), Capital asset prices, Journal of Finance 19. Inputs: close of both.
    Output: ``beta_{symbol}_{window}``, a pure number, NaN at slices at which either has no bar. Lookback: window bars
    of both. Memory: finite. Warm-up: window + 1 bars of both.

    Raises
    ------
    ValueError
        The symbol is empty or the window smaller than 2.
    DataError
        When it is computed for a universe without that symbol.
    """
    return _against(beta_step, symbol, window)


def _against(step: Callable[..., None], symbol: str, window: int) -> Feature:
    name = step.__name__.removesuffix("_step")
    if not isinstance(symbol, str) or not symbol:
        raise ValueError(f"{name}: symbol must be a name such as 'BTC/USD', found {symbol!r}")
    window = whole(name, "window", window, 2)
    return Feature(
        name=name,
        step=step,
        parameters=(("symbol", symbol), ("window", window)),
        settings=(float(window),),
        inputs=("close",),
        outputs=(f"{name}_{symbol}_{window}",),
        lookback=window,
        memory="finite",
        warm_up=window + 1,
        state_size=3 + products_size(window),
        across=True,
        against=symbol,
    )
