"""What stands in the order book behind the best prices: how much, on which side, and how steeply."""

import math
from collections.abc import Callable

import numpy as np

from cryptoquant.compiled import borrowing
from cryptoquant.features.feature import Parameter, positive, whole
from cryptoquant.features.tick_feature import TickFeature, tick_feature_of
from cryptoquant.features.ticks import ASK_SIZES, ASKS, BID_SIZES, BIDS, LEVELS
from cryptoquant.market.slice import Floats

__all__ = ["book_depth", "book_imbalance", "book_slope", "depth_within"]


@borrowing
def side_sums(events: Floats, place: int, prices: int, sizes: int, levels: int) -> float:
    """Return how many coins stand on the first levels of one side."""
    total = 0.0
    for level in range(levels):
        total += events[sizes + level, place] if math.isfinite(events[prices + level, place]) else 0.0
    return total


@borrowing
def mid_of(events: Floats, place: int) -> float:
    """Return the middle of the best prices, NaN while a side is empty."""
    return float((events[BIDS, place] + events[ASKS, place]) / 2.0)


@borrowing
def kept(state: Floats, out: Floats) -> None:
    """Write the numbers of the last book: state holds whether there was one, and then they."""
    if state[0] > 0.0:
        for column in range(len(out)):
            out[column] = state[1 + column]


@borrowing
def book_depth_step(
    state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats
) -> None:
    """Write the coins on the first levels of either side."""
    first, last = span
    if last > first:
        levels = int(settings[0])
        state[0] = 1.0
        state[1] = side_sums(events, last - 1, BIDS, BID_SIZES, levels)
        state[2] = side_sums(events, last - 1, ASKS, ASK_SIZES, levels)
    kept(state, out)


@borrowing
def book_imbalance_step(
    state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats
) -> None:
    """Write (bids - asks) / (bids + asks) over the first levels."""
    first, last = span
    if last > first:
        levels = int(settings[0])
        bids = side_sums(events, last - 1, BIDS, BID_SIZES, levels)
        asks = side_sums(events, last - 1, ASKS, ASK_SIZES, levels)
        state[0], state[1] = 1.0, (bids - asks) / (bids + asks) if bids + asks > 0.0 else 0.0
    kept(state, out)


@borrowing
def within(events: Floats, place: int, prices: int, sizes: int, reach: float) -> float:
    """Return how many coins stand no further from the mid than a fraction of it."""
    mid, total = mid_of(events, place), 0.0
    for level in range(LEVELS):
        distance = abs(events[prices + level, place] / mid - 1.0)
        total += events[sizes + level, place] if distance <= reach else 0.0
    return total


@borrowing
def depth_within_step(
    state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats
) -> None:
    """Write the coins near the mid on either side."""
    first, last = span
    if last > first:
        reach = settings[0] / 10_000.0
        state[0] = 1.0
        state[1] = within(events, last - 1, BIDS, BID_SIZES, reach)
        state[2] = within(events, last - 1, ASKS, ASK_SIZES, reach)
    kept(state, out)


@borrowing
def slope_of(events: Floats, place: int, prices: int, sizes: int, levels: int) -> float:
    """Return the slope of the coins so far on the distance from the mid, by a line through the origin."""
    mid, total, products, squares = mid_of(events, place), 0.0, 0.0, 0.0
    for level in range(levels):
        distance = abs(events[prices + level, place] / mid - 1.0)
        if math.isfinite(distance):
            total += events[sizes + level, place]
            products += total * distance
            squares += distance * distance
    return products / squares if squares > 0.0 else np.nan


@borrowing
def book_slope_step(
    state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats
) -> None:
    """Write the slopes of either side."""
    first, last = span
    if last > first:
        levels = int(settings[0])
        state[0] = 1.0
        state[1] = slope_of(events, last - 1, BIDS, BID_SIZES, levels)
        state[2] = slope_of(events, last - 1, ASKS, ASK_SIZES, levels)
    kept(state, out)


def book_depth(levels: int = 5) -> TickFeature:
    """Return how many coins stand on the first levels of either side of the last book known.

    Formula: sum of sizes. Reads: books. Outputs: ``bid_depth_{levels}``, ``ask_depth_{levels}`` in coins. NaN before
    the first reset of the book.

    Raises
    ------
    ValueError
        The levels are not from 1 to 10.
    """
    return _of_levels(book_depth_step, levels, ("bid_depth", "ask_depth"))


def book_imbalance(levels: int = 5) -> TickFeature:
    """Return how much more stands on the first levels of the bids than of the asks, from -1 to 1.

    Formula: (bids - asks) / (bids + asks), sums of sizes; 0 when nothing stands there. Source: Cao, Hansch, Wang
    (2009), Journal of Futures Markets 29. Reads: books. Output: ``book_imbalance_{levels}``. NaN before the first reset
    of the book.

    Raises
    ------
    ValueError
        The levels are not from 1 to 10.
    """
    return _of_levels(book_imbalance_step, levels, ("book_imbalance",))


def depth_within(distance_bps: float) -> TickFeature:
    """Return how many coins stand near the mid on either side, among the first ten levels of the last book known.

    Formula: sum of sizes with |price / mid - 1| <= distance. Reads: books. Outputs: ``bid_depth_within_{distance}``,
    ``ask_depth_within_{distance}`` in coins. NaN before the first reset of the book; 0 while a side is empty.

    Parameters
    ----------
    distance_bps
        In basis points of the mid.

    Raises
    ------
    ValueError
        The distance is not above 0.
    """
    parameters: dict[str, Parameter] = {"distance_bps": positive("depth_within", "distance_bps", distance_bps)}
    outputs = ("bid_depth_within", "ask_depth_within")
    return tick_feature_of(depth_within_step, ("books",), outputs=outputs, parameters=parameters, state_size=3)


def book_slope(levels: int = 5) -> TickFeature:
    """Return how steeply the book fills up with the distance from the mid, on either side.

    Formula: the slope of a least-squares line through the origin of the coins so far on |price / mid - 1|, over the
    first levels: coins per 100 %. Source: after Naes, Skjeltorp (2006), Journal of Financial Markets 9. Reads: books.
    Outputs: ``bid_slope_{levels}``, ``ask_slope_{levels}``. NaN before the first reset of the book and while a side is
    empty.

    Raises
    ------
    ValueError
        The levels are not from 1 to 10.
    """
    return _of_levels(book_slope_step, levels, ("bid_slope", "ask_slope"))


def _of_levels(step: Callable[..., None], levels: int, outputs: tuple[str, ...]) -> TickFeature:
    name = step.__name__.removesuffix("_step")
    chosen = whole(name, "levels", levels)
    if chosen > LEVELS:
        raise ValueError(f"{name}: levels must be from 1 to {LEVELS}, found {levels}")
    return tick_feature_of(step, ("books",), outputs=outputs, parameters={"levels": chosen}, state_size=3)
