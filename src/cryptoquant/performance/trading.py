"""How a run traded: its closed trades, what they cost, and how large an account could have traded them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.performance.metrics import periods_per_year

Floats = NDArray[np.float64]
CAPACITY_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Trading:
    """Closed trades, after costs, by average cost; money in quote currency, NaN where there is nothing to divide by.

    Attributes
    ----------
    long_trades, short_trades, long_profit, short_profit
        The same trades by the side of the position that they closed.
    payoff_ratio
        Mean gain of the trades with a profit over the mean loss of those with a loss.
    profit_factor
        Sum of the gains over the sum of the losses.
    expectancy
        Mean profit of a trade.
    average_return, best_return, worst_return
        Profit over cost of a trade.
    fee_share, slippage_share, impact_share
        What was paid on all fills as a share of the gross profit, the sum of the gains.
    capacity
        Account at which a trade would take 1 % of the traded bar's value; see ``capacity_of``. NaN without volumes.
    """

    trades: int
    long_trades: int
    short_trades: int
    long_profit: float
    short_profit: float
    hit_rate: float
    payoff_ratio: float
    profit_factor: float
    expectancy: float
    average_return: float
    best_return: float
    worst_return: float
    average_holding_days: float
    longest_holding_days: float
    trades_per_year: float
    fee_share: float
    slippage_share: float
    impact_share: float
    capacity: float


def trading_of(trades: pl.DataFrame, fills: pl.DataFrame, equity: pl.DataFrame) -> Trading:
    """Return how a run traded.

    Parameters
    ----------
    trades
        Of ``round_trips``.
    fills
        Columns value, fee, slippage, impact and, where volumes are known, participation.
    equity
        Columns time and equity.
    """
    profits = trades["profit"].to_numpy()
    gains, losses = profits[profits > 0], -profits[profits < 0]
    gross, years = float(gains.sum()), len(equity) / periods_per_year(_epochs(equity["time"]))
    paid = {name: float(fills[name].sum()) for name in ("fee", "slippage", "impact")}
    taken = fills["participation"].to_numpy() if "participation" in fills.columns else np.empty(0)
    return Trading(
        trades=len(profits),
        **_by_side(trades),
        **_of_returns(trades),
        hit_rate=len(gains) / len(profits) if len(profits) else math.nan,
        payoff_ratio=_over(_mean(gains), _mean(losses)),
        profit_factor=_over(gross, float(losses.sum())),
        expectancy=_mean(profits),
        trades_per_year=_over(len(profits), years),
        fee_share=_over(paid["fee"], gross),
        slippage_share=_over(paid["slippage"], gross),
        impact_share=_over(paid["impact"], gross),
        capacity=capacity_of(fills["value"].to_numpy(), taken, _mean(equity["equity"].to_numpy())),
    )


def capacity_of(value: Floats, participation: Floats, account: float, share: float = CAPACITY_SHARE) -> float:
    """Return the account at which the traded value would reach a share of the traded bars' value.

    ``account * share / p``, where p is the mean participation weighted by traded value: sizes grow with the account,
    volumes do not. NaN when no participation is known.

    Parameters
    ----------
    value, participation
        Of each fill: its value, and that value over the value of all trades in the bar; NaN where it is not known.
    account
        Mean equity of the run, quote currency.

    Examples
    --------
    >>> capacity_of(np.array([100.0, 300.0]), np.array([0.001, 0.003]), 10_000.0)
    40000.0
    """
    if len(participation) != len(value):
        return math.nan
    known = np.isfinite(participation) & (value > 0)
    if not known.any():
        return math.nan
    mean = float(np.average(participation[known], weights=value[known]))
    return account * share / mean if mean > 0 else math.nan


def _by_side(trades: pl.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for side in ("long", "short"):
        part = trades.filter(pl.col("side") == side)
        found[f"{side}_trades"], found[f"{side}_profit"] = part.height, float(part["profit"].sum())
    return found


def _of_returns(trades: pl.DataFrame) -> dict[str, Any]:
    returns = trades["return"].drop_nans().to_numpy()
    days = (trades["closed"] - trades["opened"]).dt.total_nanoseconds().to_numpy() / 86_400e9
    return {
        "average_return": _mean(returns),
        "best_return": float(returns.max()) if len(returns) else math.nan,
        "worst_return": float(returns.min()) if len(returns) else math.nan,
        "average_holding_days": _mean(days),
        "longest_holding_days": float(days.max()) if len(days) else math.nan,
    }


def _epochs(times: pl.Series) -> NDArray[np.int64]:
    found: NDArray[np.int64] = times.dt.epoch("ns").to_numpy(writable=True)
    return found


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan


def _over(part: float, whole: float) -> float:
    return part / whole if whole != 0 else math.nan
