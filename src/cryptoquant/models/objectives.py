"""What a search minimises: losses of predictions on validation rows."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cryptoquant.errors import ModelError
from cryptoquant.market.signal import SignalKind
from cryptoquant.models.examples import Examples
from cryptoquant.trading.venue import Costs

Floats = NDArray[np.float64]
DAY = 86_400_000_000_000
DAYS_PER_YEAR = 365


class Objective(Protocol):
    """A loss, the lower the better.

    The contract: pure; shape (rows,) of predictions, NaN where the model gave no signal; NaN as a loss fails the trial.
    """

    def __call__(self, judged: Examples, predicted: Floats) -> float:
        """Return the loss of predictions for examples whose labels are known."""
        ...


def log_loss(judged: Examples, predicted: Floats) -> float:
    """Return the weighted mean negative log-likelihood of the classes; a row without a signal counts as 0.5."""
    bounded = np.clip(np.where(np.isnan(predicted), 0.5, predicted), 1e-9, 1 - 1e-9)
    losses = -(judged.rises * np.log(bounded) + (1 - judged.rises) * np.log(1 - bounded))
    return weighted_mean(losses, judged.weights)


def brier(judged: Examples, predicted: Floats) -> float:
    """Return the weighted mean squared distance to the classes (Brier 1950); no signal counts as 0.5."""
    values = np.where(np.isnan(predicted), 0.5, predicted)
    return weighted_mean((values - judged.rises) ** 2, judged.weights)


def squared_error(judged: Examples, predicted: Floats) -> float:
    """Return the weighted mean squared distance to what a regression learns; no signal counts as 0."""
    return weighted_mean((np.nan_to_num(predicted) - judged.targets) ** 2, judged.weights)


def weighted_mean(losses: Floats, weights: Floats) -> float:
    """Return the weighted mean; NaN where no row has a weight."""
    return float(np.average(losses, weights=weights)) if weights.any() else np.nan


def check_kind(objective: Objective, kind: SignalKind) -> None:
    """Raise ModelError where a loss of probabilities would judge something else."""
    if objective in (log_loss, brier) and kind != "probability":
        name = "log_loss" if objective is log_loss else "brier"
        raise ModelError(
            f"{name} judges probabilities, and this model predicts the {kind.replace('_', ' ')}: choose squared_error, "
            "SharpeAfterCosts or a loss of your own"
        )


@dataclass(frozen=True, slots=True)
class SharpeAfterCosts:
    """Minus the annual Sharpe ratio of taking every signal above a threshold, and paying for it.

    Each such row earns its label's return less a round trip at taker fees and slippage; the rows of a UTC day are
    averaged over all of its rows, and days without a signal earn nothing. Labels that overlap in time share their
    returns, so that this ranks configurations; what they would have earned is the simulator's to say.

    Parameters
    ----------
    threshold
        Of the signal: a probability, or an expected return.
    costs
        By default Alpaca's first tier.
    """

    threshold: float = 0.5
    costs: Costs = field(default_factory=Costs.alpaca)

    def __call__(self, judged: Examples, predicted: Floats) -> float:
        """Return the loss; 0 where no signal was taken."""
        fraction = 2.0 * (self.costs.taker_bps + self.costs.slippage_bps + self.costs.spread_bps / 2.0) / 10_000.0
        taken = np.nan_to_num(predicted, nan=-np.inf) > self.threshold
        earned = np.where(taken, np.expm1(judged.returns) - fraction, 0.0)
        days, places = np.unique((judged.times - 1) // DAY, return_inverse=True)
        daily = np.zeros(days[-1] - days[0] + 1)
        daily[days - days[0]] = np.bincount(places, earned) / np.bincount(places)
        deviation = daily.std(ddof=1) if len(daily) > 1 else 0.0
        return float(-daily.mean() / deviation * np.sqrt(DAYS_PER_YEAR)) if deviation > 0.0 else 0.0
