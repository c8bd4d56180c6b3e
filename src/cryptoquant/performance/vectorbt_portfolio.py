"""A report as a portfolio of vectorbt, for people who live there: the same fills on the same prices."""

import math
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.errors import MissingExtraError
from cryptoquant.performance.report import Report

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
TOLERANCE = 1e-6


def portfolio_of(report: Report) -> Any:
    """Return ``vectorbt.Portfolio.from_orders`` over the report's closes with its filled sizes, prices and fees.

    Each slice is a row and each symbol a column of one purse. A fill stands in the slice whose cash it changed. Where a
    symbol has several fills in one slice, all but the last stand in rows of their own, some nanoseconds before the
    close, at the close before. A fee that was taken in coins becomes the same value in cash, so that quantities, cash
    and equity agree. Until its first close a symbol is shown at that close.

    Notes
    -----
    Not carried: reasons, maker or taker, slippage and impact apart from the price, refused orders, signals, and what
    moved the cash without a fill (borrowing, funding). vectorbt's own annual numbers count rows.

    Raises
    ------
    MissingExtraError
        vectorbt is not installed.
    ValueError
        The report has no price, or the last value differs from the report's equity by more than 1e-6 of it: the run
        borrowed cash or paid for financing, which vectorbt cannot carry.
    """
    try:
        import vectorbt
    except ImportError as error:
        raise MissingExtraError("vectorbt", "vectorbt") from error
    import pandas as pd

    if report.prices.is_empty():
        raise ValueError(f"{report.name}: no prices in this report: vectorbt needs them")
    symbols = report.prices["symbol"].unique().sort().to_list()
    closes, stamps = _closes(report, symbols)
    row, column, early = _places(report, stamps, symbols)
    rows, at = _rows(row, early, len(stamps))
    times, shown = stamps[rows] - _before(rows), closes[np.where(_before(rows) > 0, rows - 1, rows).clip(0)]
    size, price, fee = (np.full(shown.shape, value) for value in (np.nan, np.nan, 0.0))
    quantity, value = (report.fills[name].to_numpy() for name in ("quantity_change", "value_change"))
    paid = report.fills["price"].to_numpy()
    size[at, column], price[at, column], fee[at, column] = quantity, paid, -(value + quantity * paid)
    index = pd.to_datetime(times, unit="ns", utc=True)
    width = int(np.median(np.diff(stamps))) if len(stamps) > 1 else 1

    def table(values: Floats) -> pd.DataFrame:
        return pd.DataFrame(values, index=index, columns=symbols)

    portfolio = vectorbt.Portfolio.from_orders(
        table(shown),
        table(size),
        price=table(np.where(np.isnan(price), shown, price)),
        fixed_fees=table(fee),
        init_cash=report.initial,
        group_by=True,
        cash_sharing=True,
        call_seq="auto",
        freq=pd.Timedelta(width, unit="ns"),
    )
    _check(report, float(portfolio.value().iloc[-1]))
    return portfolio


def _check(report: Report, value: float) -> None:
    equity = float(report.equity["equity"].item(-1))
    if not math.isclose(value, equity, rel_tol=TOLERANCE, abs_tol=TOLERANCE * report.initial):
        raise ValueError(
            f"{report.name}: vectorbt ends at {value:,.2f}, the report at {equity:,.2f}: "
            "it cannot carry borrowed cash or financing"
        )


def _closes(report: Report, symbols: list[str]) -> tuple[Floats, Integers]:
    """Return the last known close of each slice and symbol, shape (slices, symbols), and the slices' times."""
    wide = report.prices.pivot("symbol", index="time", values="close").select("time", *symbols)
    joined = report.equity.select("time").join(wide, on="time", how="left", maintain_order="left")
    filled = joined.select(symbols).fill_nan(None).fill_null(strategy="forward").fill_null(strategy="backward")
    return filled.to_numpy(), joined["time"].dt.epoch("ns").to_numpy()


def _places(report: Report, stamps: Integers, symbols: list[str]) -> tuple[Integers, Integers, Integers]:
    """Return the slice and the symbol of each fill, and how many fills of the same symbol follow in that slice."""
    row = np.minimum(
        np.searchsorted(_done(report, stamps), np.arange(report.fills.height), side="right"), len(stamps) - 1
    )
    column = report.fills["symbol"].replace_strict(symbols, range(len(symbols)), return_dtype=pl.Int64)
    placed = pl.DataFrame({"row": row.astype(np.int64), "column": column})
    left = placed.select((pl.len() - 1 - pl.int_range(pl.len())).over("row", "column").cast(pl.Int64))
    return placed["row"].to_numpy(), column.to_numpy(), left.to_series().to_numpy()


def _done(report: Report, stamps: Integers) -> Integers:
    """Return how many fills each slice had seen at its close.

    A fill at the instant of a close was made inside the bar that closes or at the next open; the slice's cash tells.
    """
    times = report.fills["time"].dt.epoch("ns").to_numpy()
    done: Integers = np.searchsorted(times, stamps, side="left").astype(np.int64)
    if "cash" not in report.equity.columns:
        return done
    spent = report.initial + np.concatenate([[0.0], np.cumsum(report.fills["value_change"].to_numpy())])
    cash, latest = report.equity["cash"].to_numpy(), np.searchsorted(times, stamps, side="right")
    for place in np.flatnonzero(latest > done):
        among = spent[done[place] : latest[place] + 1]
        done[place] += int(np.argmin(np.abs(among - cash[place])))
    return done


def _rows(row: Integers, early: Integers, slices: int) -> tuple[Integers, Integers]:
    """Return the slice of each row, with as many rows for a slice as its busiest symbol needs, and each fill's row."""
    needed = np.ones(slices, dtype=np.int64)
    np.maximum.at(needed, row, early + 1)
    return np.repeat(np.arange(slices), needed), np.cumsum(needed)[row] - 1 - early


def _before(rows: Integers) -> Integers:
    """Return how many rows of the same slice follow each row: nanoseconds before the close."""
    last = np.flatnonzero(np.append(np.diff(rows) > 0, True))
    return np.asarray(last[np.searchsorted(last, np.arange(len(rows)))] - np.arange(len(rows)), dtype=np.int64)
