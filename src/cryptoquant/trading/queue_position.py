"""Where a resting order stands in the queue of its price, as far as recorded trades and sizes tell."""

import math
from dataclasses import dataclass, replace
from typing import Literal

QueueModel = Literal["conservative", "proportional"]


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the queue of one price, all in coins.

    Parameters
    ----------
    ahead
        What must trade at the price before the order does; infinite while it is not known.
    shown
        What the market showed at the price when it was last seen, NaN while it is not.
    traded
        What has traded at the price since then.
    """

    ahead: float = math.inf
    shown: float = math.nan
    traded: float = 0.0


def after_trade(place: Place, size: float) -> Place:
    """Return the place after a trade of ``size`` coins at its price, which serves the queue from its front."""
    return replace(place, ahead=max(place.ahead - size, 0.0), traded=place.traded + size)


def after_display(place: Place, shown: float, model: QueueModel) -> Place:
    """Return the place after the market showed ``shown`` coins at its price (NaN: the price is not visible).

    The first size that is seen is all ahead of us. After that the conservative model moves only by trades. The
    proportional model takes a decrease that trades do not explain for cancellations, spread evenly over the queue, so
    that the share ``shown / before`` of what was ahead stays (the model that hftbacktest and others call
    probabilistic, with equal chances before and behind).
    """
    if math.isnan(shown):
        return Place(place.ahead)
    if math.isinf(place.ahead):
        return Place(shown, shown)
    ahead = place.ahead
    if model == "proportional":
        before = place.shown - place.traded
        if math.isnan(before):
            ahead = min(ahead, shown)
        elif shown < before:
            ahead *= shown / before
    return Place(ahead, shown)


def reach(place: Place, size: float) -> float:
    """Return how many coins of a trade at the price are left when the queue ahead is served."""
    return max(size - place.ahead, 0.0)
