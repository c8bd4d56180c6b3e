"""The closed trades of a report's page: what they share, how they are spread, the last, the best, the worst."""

import numpy as np
import polars as pl

from cryptoquant.performance.axes import Scale, Tick, scale_over
from cryptoquant.performance.page_pictures import Floats, histogram_picture, written_ticks
from cryptoquant.performance.page_tables import table, trading_tables
from cryptoquant.performance.report import Report
from cryptoquant.performance.words import currency_of, money, number, percent, price

LAST_TRADES = 50
EXTREME_TRADES = 5
WIDE_SPREAD = 50.0
LENGTHS = (*(m / 1_440 for m in (1, 2, 5, 15, 30)), *(h / 24 for h in (1, 2, 4, 12)), 1, 3, 7, 14, 30, 90, 180, 365)
COLUMNS = ("symbol", "side", "opened", "closed", "quantity", "profit", "return")


def trades_part(report: Report) -> str:
    """Return everything on the closed trades, empty without one."""
    trades = report.trades
    if trades.is_empty():
        return ""
    spread = f'<div class="halves">{_returns_picture(trades)}{_holding_picture(trades)}</div>'
    return f"{trading_tables(report)}{spread}{_extremes(report, trades)}{_last(report, trades)}"


def holding_days(trades: pl.DataFrame) -> Floats:
    """Return how long each trade was held, days."""
    days: Floats = (trades["closed"] - trades["opened"]).dt.total_nanoseconds().to_numpy() / 86_400e9
    return days


def length(days: float) -> str:
    """Return a length of time in its natural unit.

    Examples
    --------
    >>> length(0.5), length(2.25), length(1 / 1_440)
    ('12 h', '2.25 d', '1 min')
    """
    if days >= 1.0:
        return f"{days:.3g} d"
    return f"{days * 24:.3g} h" if days >= 1 / 24 else f"{days * 1_440:.3g} min"


def _returns_picture(trades: pl.DataFrame) -> str:
    values = trades["return"].to_numpy()
    finite = values[np.isfinite(values)]
    if not len(finite):
        return ""
    low, high = min(0.0, float(finite.min())), max(0.0, float(finite.max()))
    digits = 2 if high - low < 0.02 else 1 if high - low < 0.2 else 0
    mean, middle = float(finite.mean()), float(np.median(finite))
    words = f"Return of a trade: mean {percent(mean, 2, signed=True)}, median {percent(middle, 2, signed=True)}"
    scale = scale_over(low, high)
    ticks = written_ticks(scale, lambda value: percent(value, digits))
    return f"<figure><figcaption>{words}</figcaption>{histogram_picture(finite, scale, words, ticks, 0.0)}</figure>"


def _holding_picture(trades: pl.DataFrame) -> str:
    days = holding_days(trades)
    days = days[days > 0]
    if not len(days):
        return ""
    low, high = float(days.min()), float(days.max())
    is_wide = high > WIDE_SPREAD * low
    scale = scale_over(low, high, logarithmic=is_wide) if is_wide or low == high else Scale(0.0, high * 1.04)
    axis = ", logarithmic axis" if is_wide else ""
    words = f"Time held: median {length(float(np.median(days)))}, longest {length(high)}{axis}"
    ticks = _length_ticks(scale)
    return f"<figure><figcaption>{words}</figcaption>{histogram_picture(days, scale, words, ticks)}</figure>"


def _length_ticks(scale: Scale) -> tuple[Tick, ...]:
    inside = [days for days in LENGTHS if scale.low <= days <= scale.high]
    if not scale.logarithmic or len(inside) < 2:
        return written_ticks(scale, length)
    return tuple((days, length(days)) for days in inside[:: -(-len(inside) // 7)])


def _extremes(report: Report, trades: pl.DataFrame) -> str:
    if trades.height <= EXTREME_TRADES:
        return ""
    order = trades.sort("profit", descending=True, maintain_order=True)
    count = min(EXTREME_TRADES, trades.height // 2)
    best, worst = order.head(count), order.tail(count).reverse()
    return f"<h3>Best trades</h3>{_table(report, best)}<h3>Worst trades</h3>{_table(report, worst)}"


def _last(report: Report, trades: pl.DataFrame) -> str:
    shown = trades.tail(LAST_TRADES).reverse()
    title = f"Last {shown.height} of {trades.height:,} trades" if trades.height > shown.height else "All trades"
    return f"<h3>{title}, newest first</h3>{_table(report, shown)}"


def _table(report: Report, trades: pl.DataFrame) -> str:
    currency = currency_of(report)
    rows = [
        (
            symbol,
            side,
            f"{opened:%Y-%m-%d %H:%M}",
            f"{closed:%Y-%m-%d %H:%M}",
            number((closed - opened).total_seconds() / 86_400, 1),
            price(quantity),
            money(profit),
            percent(gained, signed=True),
        )
        for symbol, side, opened, closed, quantity, profit, gained in trades.select(COLUMNS).iter_rows()
    ]
    profit = f"Profit, {currency}" if currency else "Profit"
    heads = ["Symbol", "Side", "Opened", "Closed", "Days", "Quantity", profit, "Return"]
    return table(heads, rows, text=4, kind="trades times", label="Trades")
