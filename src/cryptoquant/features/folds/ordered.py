"""The numbers of a window in rising order, and what is read off them: quantiles and how many lie below.

The order is a function of the numbers alone, so the bits do not depend on how it came about.
"""

from cryptoquant.compiled import borrowing
from cryptoquant.market.slice import Floats

FEW = 64
NARROW = 64


@borrowing
def count_below(values: Floats, value: float) -> int:
    """Return how many of the values lie below a number."""
    below = 0
    for place in range(len(values)):
        below += 1 if values[place] < value else 0
    return below


@borrowing
def mean_rank(values: Floats, value: float) -> float:
    """Return the rank that a number has among values of which it is one, from 1; equals share their mean rank."""
    count = len(values)
    below = 0
    above = 0
    for place in range(count):
        below += 1 if values[place] < value else 0
        above += 1 if values[place] > value else 0
    return 0.5 * (count + 1 + below - above)


@borrowing
def place_of(ordered: Floats, count: int, value: float) -> int:
    """Return how many of the first ``count`` ordered numbers lie below ``value``.

    Which half to go on with cannot be foretold, and a wrong guess costs more than counting through the last few.
    """
    first, length = 0, count
    while length > FEW:
        half = length // 2
        first += half if ordered[first + half - 1] < value else 0
        length -= half
    return first + count_below(ordered[first : first + length], value)


@borrowing
def insert(ordered: Floats, count: int, value: float) -> None:
    """Put one number among the first ``count``."""
    place = place_of(ordered, count, value)
    above = ordered[place : count + 1]
    for index in range(count - place, 0, -1):
        above[index] = above[index - 1]
    above[0] = value


@borrowing
def replace(ordered: Floats, count: int, leaving: float, value: float) -> None:
    """Take one of the first ``count`` numbers away and put another one among them.

    A narrow window is written anew in one pass without a branch: with c what is left without the number that leaves,
    the new one is min(c[k], max(value, c[k - 1])).
    """
    if count <= NARROW:
        before, here = value, ordered[0]
        for place in range(count - 1):
            after = ordered[place + 1]
            left = here if here < leaving else after
            ordered[place] = left if left < before else before
            before = left if left > value else value
            here = after
        ordered[count - 1] = before
        return
    gap = place_of(ordered, count, leaving)
    place = place_of(ordered, count, value)
    if place > gap:
        between = ordered[gap:place]
        for index in range(place - gap - 1):
            between[index] = between[index + 1]
        between[place - gap - 1] = value
    else:
        between = ordered[place : gap + 1]
        for index in range(gap - place, 0, -1):
            between[index] = between[index - 1]
        between[0] = value


@borrowing
def quantile_of(ordered: Floats, count: int, level: float) -> float:
    """Return the quantile by linear interpolation: definition 7 of Hyndman, Fan (1996), American Statistician 50."""
    reach = level * (count - 1)
    place = int(reach)
    low: float = ordered[place]
    high: float = ordered[min(place + 1, count - 1)]
    return low + (reach - place) * (high - low)
