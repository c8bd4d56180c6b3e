"""What the best bid and ask say: how wide they stand, where they lean, and who gives way."""

import math
from collections.abc import Callable

from cryptoquant.compiled import borrowing
from cryptoquant.features.folds.spans import PIECES, piece_at, span_size, span_sum
from cryptoquant.features.tick_feature import TickFeature, span_name, tick_feature_of
from cryptoquant.features.ticks import ASK, ASK_SIZE, BID, BID_SIZE, KIND, KNOWN, QUOTE
from cryptoquant.market.slice import Floats
from cryptoquant.market.time import Timeframe

__all__ = ["average_spread", "microprice", "mid_price", "order_flow_imbalance", "quote_imbalance", "quoted_spread"]


@borrowing
def last_quote(state: Floats, base: int, events: Floats, span: tuple[int, int]) -> bool:
    """Keep bid, bid size, ask and ask size of the last quote; return whether there was one yet."""
    first, last = span
    for place in range(last - 1, first - 1, -1):
        if events[KIND, place] == QUOTE:
            state[base] = 1.0
            for number in range(4):
                state[base + 1 + number] = events[BID + number, place]
            break
    return bool(state[base] > 0.0)


@borrowing
def mid_price_step(
    state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats
) -> None:
    """Write (bid + ask) / 2."""
    if last_quote(state, 0, events, span):
        out[0] = (state[1] + state[3]) / 2.0


@borrowing
def quoted_spread_step(
    state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats
) -> None:
    """Write (ask - bid) / mid."""
    if last_quote(state, 0, events, span):
        out[0] = (state[3] - state[1]) / ((state[1] + state[3]) / 2.0)


@borrowing
def microprice_step(
    state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats
) -> None:
    """Write the microprice over the mid, less one."""
    if last_quote(state, 0, events, span):
        sizes, mid = state[2] + state[4], (state[1] + state[3]) / 2.0
        fair = (state[1] * state[4] + state[3] * state[2]) / sizes if sizes > 0.0 else mid
        out[0] = fair / mid - 1.0


@borrowing
def quote_imbalance_step(
    state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats
) -> None:
    """Write (bid size - ask size) / (bid size + ask size)."""
    if last_quote(state, 0, events, span):
        sizes = state[2] + state[4]
        out[0] = (state[2] - state[4]) / sizes if sizes > 0.0 else 0.0


@borrowing
def stand(state: Floats, seconds: float, until: float) -> None:
    """Add how long the standing quote stood up to a time, piece by piece; older than the span it does not count."""
    step = seconds / PIECES
    begin = max(state[0], until - 2.0 * seconds)
    while begin < until:
        end = min(until, (math.floor(begin / step) + 1.0) * step)
        end = end if end > begin else until
        place = piece_at(state, 2, 2, seconds, end)
        state[place] += state[1] * (end - begin)
        state[place + 1] += end - begin
        begin = end


@borrowing
def average_spread_step(
    state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats
) -> None:
    """Write the spread over the mid, each quote weighed by how long it stood; state: since when, spread, pieces."""
    first, last = span
    seconds = settings[0]
    for place in range(first, last):
        if events[KIND, place] == QUOTE:
            time, mid = events[KNOWN, place], (events[BID, place] + events[ASK, place]) / 2.0
            if state[0] > 0.0:
                stand(state, seconds, time)
            state[0], state[1] = max(state[0], time), (events[ASK, place] - events[BID, place]) / mid
    if state[0] > 0.0:
        begin = (math.floor(now / (seconds / PIECES)) - PIECES) * (seconds / PIECES)
        rest = max(now - max(state[0], begin), 0.0)
        weight = span_sum(state, 2, 2, 1, settings[0], now) + rest
        out[0] = (span_sum(state, 2, 2, 0, settings[0], now) + state[1] * rest) / weight if weight > 0.0 else state[1]


@borrowing
def order_flow_imbalance_step(
    state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats
) -> None:
    """Write what was added at the bid less what was added at the ask, plain and as a share of all that moved."""
    first, last = span
    for place in range(first, last):
        if events[KIND, place] != QUOTE:
            continue
        bid, bid_size = events[BID, place], events[BID_SIZE, place]
        ask, ask_size = events[ASK, place], events[ASK_SIZE, place]
        if state[0] > 0.0:
            flow = 0.0
            flow += bid_size if bid >= state[1] else 0.0
            flow -= state[2] if bid <= state[1] else 0.0
            flow -= ask_size if ask <= state[3] else 0.0
            flow += state[4] if ask >= state[3] else 0.0
            sums = piece_at(state, 5, 2, settings[0], events[KNOWN, place])
            state[sums] += flow
            state[sums + 1] += abs(flow)
        state[0], state[1], state[2], state[3], state[4] = 1.0, bid, bid_size, ask, ask_size
    if state[0] > 0.0:
        moved = span_sum(state, 5, 2, 1, settings[0], now)
        out[0] = span_sum(state, 5, 2, 0, settings[0], now)
        out[1] = out[0] / moved if moved > 0.0 else 0.0


def mid_price() -> TickFeature:
    """Return the middle between the best bid and the best ask, in units of the price.

    Formula: (bid + ask) / 2 of the last quote known. Reads: quotes. Output: ``mid_price``. NaN before the first quote.
    """
    return tick_feature_of(mid_price_step, ("quotes",), state_size=5)


def quoted_spread() -> TickFeature:
    """Return the distance between the best bid and the best ask as a fraction of the mid.

    Formula: (ask - bid) / mid of the last quote known; below zero when the quote is crossed. Source: Huang, Stoll
    (1996), Journal of Financial Economics 41. Reads: quotes. Output: ``quoted_spread``. NaN before the first quote.
    """
    return tick_feature_of(quoted_spread_step, ("quotes",), state_size=5)


def average_spread(window: Timeframe) -> TickFeature:
    """Return the quoted spread of the last span of time, each quote weighed by how long it stood.

    Formula: sum ((ask - bid) / mid x seconds) / sum seconds. The span begins at a 64th of itself on the clock. Reads:
    quotes. Output: ``average_spread_{window}``, a fraction. NaN before the first quote.

    Raises
    ------
    ValueError
        The window is no span of whole seconds.
    """
    return _over(average_spread_step, window, 2, 2)


def microprice() -> TickFeature:
    """Return how far the microprice stands above the mid, as a fraction of the mid.

    Formula: (bid x ask size + ask x bid size) / (bid size + ask size) / mid - 1 of the last quote known; 0 when both
    sizes are 0. Source: Stoikov (2018), Quantitative Finance 18, the weighted mid of its section 2. Reads: quotes.
    Output: ``microprice``. NaN before the first quote.
    """
    return tick_feature_of(microprice_step, ("quotes",), state_size=5)


def quote_imbalance() -> TickFeature:
    """Return how much more stands at the best bid than at the best ask, from -1 to 1.

    Formula: (bid size - ask size) / (bid size + ask size) of the last quote known; 0 when both are 0. Source: Gould,
    Bonart (2016), Market Microstructure and Liquidity 2. Reads: quotes. Output: ``quote_imbalance``. NaN before the
    first quote.
    """
    return tick_feature_of(quote_imbalance_step, ("quotes",), state_size=5)


def order_flow_imbalance(window: Timeframe) -> TickFeature:
    """Return what was added to the best bid less what was added to the best ask over a span of time.

    Formula: sum over quotes of [bid >= before] size - [bid <= before] size before at the bid, less the same at the ask
    with the signs of the price turned. Source: Cont, Kukanov, Stoikov (2014), Journal of Financial Econometrics 12,
    equation 10. The span begins at a 64th of itself on the clock. Reads: quotes. Outputs:
    ``order_flow_imbalance_{window}`` in coins, ``order_flow_share_{window}`` as a share of the sum of all absolute
    flows, from -1 to 1 (0 when nothing moved). NaN before the first quote.

    Raises
    ------
    ValueError
        The window is no span of whole seconds.
    """
    outputs = ("order_flow_imbalance", "order_flow_share")
    return _over(order_flow_imbalance_step, window, 5, 2, outputs)


def _over(
    step: Callable[..., None], window: Timeframe, kept: int, columns: int, outputs: tuple[str, ...] = ()
) -> TickFeature:
    name = step.__name__.removesuffix("_step")
    return tick_feature_of(
        step,
        ("quotes",),
        outputs=outputs,
        parameters={"window": span_name(name, window)},
        state_size=kept + span_size(columns),
    )
