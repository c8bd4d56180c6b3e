"""What the account was worth over time, in the windows that Alpaca's portfolio history offers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cryptoquant.backtest.sandbox.activities import instant
from cryptoquant.backtest.sandbox.exchange import DAY, Exchange
from cryptoquant.backtest.sandbox.refusal import Refusal, invalid_request
from cryptoquant.backtest.sandbox.wire import Body
from cryptoquant.market.time import NANOSECONDS_PER_SECOND, to_ns

MINUTE = 60 * NANOSECONDS_PER_SECOND
WINDOWS = {"1Min": MINUTE, "5Min": 5 * MINUTE, "15Min": 15 * MINUTE, "1H": 60 * MINUTE, "1D": DAY}
PERIOD = re.compile(r"^(\d{1,3})([DWMA])$")
DAYS = {"D": 1, "W": 7, "M": 30, "A": 365}
REPORTS = ("market_hours", "extended_hours", "continuous")
RESETS = ("per_day", "no_reset")


@dataclass(frozen=True, slots=True)
class Span:
    """A checked request: from ``start`` to ``end`` (ns) in windows of ``width`` (ns) that are named ``timeframe``."""

    start: int
    end: int
    timeframe: str
    daily_reset: bool

    @property
    def width(self) -> int:
        """Nanoseconds of a window."""
        return WINDOWS[self.timeframe]

    @classmethod
    def read(cls, query: Mapping[str, str], now: int) -> "Span":
        """Return the span of a URL's parameters; by default the month up to ``now`` (ns).

        Raises
        ------
        ValueError
            A parameter cannot be used.
        """
        match = PERIOD.match(query.get("period", "1M"))
        if match is None:
            raise ValueError(f"invalid period: {query['period']}, wanted a number and D, W, M or A")
        _one_of("intraday_reporting", query.get("intraday_reporting", REPORTS[0]), REPORTS)
        reset = query.get("pnl_reset", RESETS[0])
        _one_of("pnl_reset", reset, RESETS)
        length = int(match[1]) * DAYS[match[2]] * DAY
        end = to_ns(query["date_end"]) + DAY if query.get("date_end") else instant(query.get("end"), now)
        start = instant(query.get("start"), end - length)
        if query.get("start") and query.get("period") and not (query.get("end") or query.get("date_end")):
            end = start + length
        days = (end - start) // DAY
        timeframe = query.get("timeframe") or ("1Min" if days < 7 else "15Min" if days < 30 else "1D")
        _one_of("timeframe", timeframe, tuple(WINDOWS))
        if start >= end:
            raise ValueError("end should be after start")
        return cls(start, min(end, now), timeframe, reset == RESETS[0] and timeframe != "1D")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"invalid {name}: {value}, wanted one of {', '.join(known)}")


def portfolio_history(exchange: Exchange, query: Mapping[str, str], now: int) -> Body | Refusal:
    """Return the body of ``GET /v2/account/portfolio/history``.

    Windows are stamped with their begin (s) and hold the account's value at their last close; a window without one
    repeats the value before. Gains are counted from ``base_value``, in windows shorter than a day from the day's first
    value unless ``pnl_reset=no_reset`` ("Portfolio History", Alpaca's documentation). Crypto trades round the clock, so
    that each ``intraday_reporting`` gives the same windows.
    """
    try:
        span = Span.read(query, now)
    except ValueError as error:
        return invalid_request(str(error))
    times = np.array(exchange.times, dtype=np.int64)
    values = np.concatenate([[exchange.first_equity], np.array(exchange.equities)])
    first = int(times[0]) if len(times) else now
    begin = max(span.start, first - 1) // span.width * span.width
    opens = np.arange(begin, span.end, span.width, dtype=np.int64)
    # A value of place k was reached at times[k - 1]; the one of place 0 is what the account was opened with.
    equity = values[np.searchsorted(times, np.minimum(opens + span.width, span.end), side="right")]
    base = float(values[np.searchsorted(times, begin, side="right")])
    origin = np.full(len(opens), base)
    if span.daily_reset:
        days = np.maximum(opens // DAY * DAY, begin)
        origin = values[np.searchsorted(times, days, side="right")]
    gain = equity - origin
    share = np.divide(gain, origin, out=np.zeros(len(gain)), where=origin != 0)
    return {
        "timestamp": (opens // NANOSECONDS_PER_SECOND).tolist(),
        "equity": np.round(equity, 6).tolist(),
        "profit_loss": np.round(gain, 6).tolist(),
        "profit_loss_pct": np.round(share, 9).tolist(),
        "base_value": float(np.round(base, 6)),
        "timeframe": span.timeframe,
        "cashflow": {},
    }
