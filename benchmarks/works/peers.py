"""The other simulators' calls, set to our rules: decide at a close, fill at the next open, pay fees from the cash."""

import importlib.util
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import vectorbt as vbt

from cryptoquant.market.slice import Panel
from works.data import CASH, FEE, SLIPPAGE, UNITS, Floats
from works.measure import Outcome

TERMS = {"fees": FEE, "slippage": SLIPPAGE, "init_cash": CASH, "freq": "1min"}


SETTINGS = {"numba": "numba", "rust": "auto"}  # the Rust engine where it can do the call: "rust" refuses the others


def engines() -> tuple[str, ...]:
    """Return the engines of vectorbt that are installed."""
    return ("numba", "rust") if importlib.util.find_spec("vectorbt_rust") else ("numba",)


def by(engine: str, work: Callable[[], Outcome]) -> Callable[[], Outcome]:
    """Return a work that one of vectorbt's engines does."""

    def done() -> Outcome:
        vbt.settings["engine"] = SETTINGS[engine]
        return work()

    return done


def late(decided: Floats) -> Any:
    """Return weights that are decided at closes at the bars that fill them."""
    moved = np.concatenate([np.full_like(decided[:1], math.nan), decided[:-1]])
    return pd.Series(moved) if moved.ndim == 1 else pd.DataFrame(moved)


def flags(rows: Any, bars: int) -> Any:
    """Return signals that are decided in these rows at the bars that fill them."""
    found = np.zeros(bars + 1, dtype=bool)
    found[rows + 1] = True
    return pd.Series(found[:bars])


class Prices(NamedTuple):
    """Opens and closes as vectorbt takes them, with a range as index: one of times it walks through, slowly."""

    opened: Any
    close: Any

    @classmethod
    def of(cls, panel: Panel) -> "Prices":
        """Return the prices of a panel: series of one symbol, tables of several."""
        table = pd.DataFrame if len(panel.symbols) > 1 else lambda values: pd.Series(values[:, 0])
        return cls(table(panel.field("open").copy()), table(panel.field("close").copy()))


def series(panel: Panel, field: str) -> Any:
    """Return a field of the only symbol."""
    return pd.Series(panel.field(field)[:, 0].copy())


def judged(portfolio: Any) -> Outcome:
    """Return what a portfolio came to."""
    return Outcome(
        float(portfolio.total_return()),
        float(portfolio.sharpe_ratio()),
        float(portfolio.max_drawdown()),
        int(portfolio.orders.count()),
    )


def traded(prices: Prices, entries: Any, exits: Any, **more: Any) -> Any:
    """Return the portfolio of signals that are given at the bars that fill them."""
    terms = {"price": prices.opened, "size": UNITS, **TERMS, **more}
    return vbt.Portfolio.from_signals(prices.close, entries, exits, **terms)


def crosses(prices: Prices, fast: int, slow: int) -> tuple[Any, Any]:
    """Return the bars after the crosses of two moving averages, by vectorbt's indicators."""
    short, long = vbt.MA.run(prices.close, fast), vbt.MA.run(prices.close, slow)
    above, below = short.ma_crossed_above(long), short.ma_crossed_below(long)
    return above.vbt.signals.fshift(1), below.vbt.signals.fshift(1)


def shares(prices: Prices, fast: int, slow: int, share: float) -> Any:
    """Return the target weights of the same cross at the bars after its turns, by vectorbt's averages."""
    short, long = (vbt.MA.run(prices.close, window).ma.to_numpy() for window in (fast, slow))
    level = np.where(np.isnan(long), math.nan, np.where(short > long, share, 0.0))
    return late(np.where(np.diff(level, prepend=math.nan) != 0.0, level, math.nan))


def weighed(prices: Prices, weights: Any) -> Any:
    """Return the portfolio of target weights of one symbol, given at the bars that fill them; NaN holds."""
    terms = {"size_type": "targetpercent", "price": prices.opened, "val_price": prices.opened, **TERMS}
    return vbt.Portfolio.from_orders(prices.close, weights, **terms)


def shared(prices: Prices, weights: Any) -> Any:
    """Return the portfolio of a universe with one purse; weights are given at the bars that fill them."""
    return vbt.Portfolio.from_orders(
        prices.close,
        weights,
        size_type="targetpercent",
        price=prices.opened,
        val_price=prices.opened,
        group_by=True,
        cash_sharing=True,
        call_seq="auto",
        **TERMS,
    )


def mean_of(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the means over many runs."""
    return Outcome(*(float(np.mean(numbers)) for numbers in zip(*outcomes, strict=True)))
