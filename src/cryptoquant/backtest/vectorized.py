"""Target weights through vectorbt, to hold a second simulator against ours."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.backtest.drive import columns_of
from cryptoquant.backtest.run import Facts, Run
from cryptoquant.backtest.simulator import report_of, weights_of
from cryptoquant.backtest.tape import Tape
from cryptoquant.errors import MissingExtraError
from cryptoquant.market.slice import Panel
from cryptoquant.performance.report import Report
from cryptoquant.trading.order import Fill, client_order_id
from cryptoquant.trading.venue import BASIS_POINT, Costs, Venue

Floats = NDArray[np.float64]


def simulate_vectorbt(weights: Any, market: Any, costs: Costs | None = None, *, cash: float = 100_000.0) -> Report:
    """Trade target weights with ``vectorbt.Portfolio.from_orders`` and report it as ``simulate`` does.

    The settings are those that share one purse and never look ahead: a weight decided at a close is filled at the next
    bar's open, its size comes from the equity and the price at that close, sells go first. The market is continuous and
    without smallest orders.

    Parameters
    ----------
    weights, market, cash
        As in ``simulate``; every symbol needs a bar in every slice.
    costs
        Taker fee and slippage; the fee is taken from the cash (``fee_asset="quote"``), as vectorbt knows no other. By
        default Alpaca's tier 1.

    Notes
    -----
    With ample cash the equity is that of ``simulate`` on ``Venue.research`` without reserve and band. One rule differs:
    an order that the cash cannot pay is cut down silently here, while ours is refused and counted.

    Raises
    ------
    MissingExtraError
        vectorbt is not installed.
    ValueError
        The fee is taken in coins, or a bar is absent.
    """
    try:
        import vectorbt
    except ImportError as error:
        raise MissingExtraError("vectorbt", "vectorbt") from error
    import pandas as pd

    panel = market if isinstance(market, Panel) else Panel.from_frame(market)
    terms = costs if costs is not None else Costs(15.0, 25.0, fee_asset="quote")
    if terms.fee_asset != "quote":
        raise ValueError("vectorbt takes fees from the cash: give costs with fee_asset='quote'")
    if np.isnan(panel.field("close")).any():
        raise ValueError("vectorbt needs a bar of every symbol in every slice")
    index = pd.to_datetime(panel.times, unit="ns", utc=True)

    def table(values: Floats) -> pd.DataFrame:
        return pd.DataFrame(values, index=index, columns=list(panel.symbols))

    close, wanted = panel.field("close"), weights_of(weights, panel)
    portfolio = vectorbt.Portfolio.from_orders(
        table(close),
        table(np.vstack([np.full_like(wanted[:1], np.nan), wanted[:-1]])),
        size_type="targetpercent",
        price=table(panel.field("open")),
        val_price=table(np.vstack([close[:1], close[:-1]])),
        fees=terms.taker_bps * BASIS_POINT,
        slippage=terms.slippage_bps * BASIS_POINT,
        init_cash=cash,
        group_by=True,
        cash_sharing=True,
        call_seq="auto",
        freq=pd.Timedelta(panel.width, unit="ns"),
    )
    equity, purse = portfolio.value().to_numpy(), portfolio.cash().to_numpy()
    fills, venue = _fills(portfolio, panel, terms), Venue.research(terms)
    facts, unchanged = Facts([], fills, [], [], []), np.empty((0, 2))
    tape = Tape(unchanged.astype(np.int64), unchanged, cash, np.zeros(len(panel.symbols)))
    columns = columns_of(fills, panel, venue)
    run = Run(panel, venue, tape, lambda: facts, lambda: columns, lambda: 0, (equity, purse))
    return report_of("vectorbt", run, panel, venue, cash)


def _fills(portfolio: Any, panel: Panel, costs: Costs) -> list[Fill]:
    """Return vectorbt's order records as fills, in time order."""
    values = portfolio.orders.values
    records = pl.DataFrame({name: values[name] for name in values.dtype.names}).sort("idx", "id")
    fills = []
    for column, row, size, price, fee, side in records.select(
        "col", "idx", "size", "price", "fees", "side"
    ).iter_rows():
        symbol, sign = panel.symbols[column], 1.0 if side == 0 else -1.0
        order_id = client_order_id("vectorbt", symbol, int(panel.times[row - 1]))
        reference = price / (1.0 + sign * costs.slippage_bps * BASIS_POINT)
        fills.append(
            Fill(
                order_id=order_id,
                execution_id=f"{order_id}-x",
                profile="vectorbt",
                symbol=symbol,
                side="buy" if side == 0 else "sell",
                lots=size,
                price=price,
                time=int(panel.times[row]) - panel.width,
                lots_change=sign * size,
                cash_change=-sign * size * price - fee,
                fee=fee,
                slippage=abs(price - reference) * size,
            )
        )
    return fills
