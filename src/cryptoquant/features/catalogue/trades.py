"""What trades say: who was in a hurry, how much it cost them, and how far they moved the price."""

import math
from collections.abc import Callable, Mapping

from cryptoquant.compiled import borrowing
from cryptoquant.features.feature import Parameter, positive, whole
from cryptoquant.features.folds.spans import piece_at, piece_back, pieces_left, span_size, span_sum
from cryptoquant.features.tick_feature import TickFeature, span_name, tick_feature_of
from cryptoquant.features.ticks import ASK, BID, KIND, KNOWN, PRICE, QUOTE, SIDE, SIZE, TRADE
from cryptoquant.market.slice import Floats
from cryptoquant.market.time import Timeframe

__all__ = ["effective_spread", "kyle_lambda", "realized_spread", "roll_spread", "trade_flow", "vpin"]

WAITING = 4_096
HAS_QUOTE, MID, HAS_TRADE, LAST, DIRECTION, SIDED = range(6)


@borrowing
def side_of(state: Floats, price: float, given: float) -> float:
    """Return 1 for a buyer in a hurry, -1 for a seller, 0 when it cannot be said; the trade is remembered.

    What the venue says counts; else the side of the last quote before (Lee, Ready 1991), at its mid or without one the
    direction of the last change of the price. State: ``SIDED`` floats.
    """
    if state[HAS_TRADE] > 0.0 and price != state[LAST]:
        state[DIRECTION] = 1.0 if price > state[LAST] else -1.0
    state[HAS_TRADE], state[LAST] = 1.0, price
    if given != 0.0:
        return given
    if state[HAS_QUOTE] > 0.0 and price != state[MID]:
        return 1.0 if price > state[MID] else -1.0
    return float(state[DIRECTION])


@borrowing
def see_quote(state: Floats, events: Floats, place: int) -> None:
    """Remember the mid of a quote."""
    state[HAS_QUOTE], state[MID] = 1.0, (events[BID, place] + events[ASK, place]) / 2.0


@borrowing
def trade_flow_step(
    state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats
) -> None:
    """Write signed volume, its share of all volume, trades per second and the mean size of a trade."""
    first, last = span
    for place in range(first, last):
        if events[KIND, place] == QUOTE:
            see_quote(state, events, place)
            continue
        size = events[SIZE, place]
        side = side_of(state, events[PRICE, place], events[SIDE, place])
        sums = piece_at(state, SIDED, 3, settings[0], events[KNOWN, place])
        state[sums] += side * size
        state[sums + 1] += size
        state[sums + 2] += 1.0
    volume, count = span_sum(state, SIDED, 3, 1, settings[0], now), span_sum(state, SIDED, 3, 2, settings[0], now)
    out[0] = span_sum(state, SIDED, 3, 0, settings[0], now)
    out[1] = out[0] / volume if volume > 0.0 else 0.0
    out[2] = count / settings[0]
    out[3] = volume / count if count > 0.0 else 0.0


@borrowing
def effective_spread_step(
    state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats
) -> None:
    """Write twice the signed distance of the price from the mid before, over the mid, weighed by size."""
    first, last = span
    for place in range(first, last):
        if events[KIND, place] == QUOTE:
            see_quote(state, events, place)
            continue
        side = side_of(state, events[PRICE, place], events[SIDE, place])
        if state[HAS_QUOTE] > 0.0 and side != 0.0:
            sums = piece_at(state, SIDED, 2, settings[0], events[KNOWN, place])
            cost = 2.0 * side * (events[PRICE, place] - state[MID]) / state[MID]
            state[sums] += cost * events[SIZE, place]
            state[sums + 1] += events[SIZE, place]
    volume = span_sum(state, SIDED, 2, 1, settings[0], now)
    if volume > 0.0:
        out[0] = span_sum(state, SIDED, 2, 0, settings[0], now) / volume


@borrowing
def settle(state: Floats, settings: Floats, until: float, queue: int) -> None:
    """Bring the trades that have waited long enough by a time together with the mid that stands now."""
    base = queue + 2 + 4 * WAITING
    while state[queue + 1] > 0.0:
        row = queue + 2 + 4 * int(state[queue])
        due = state[row] + settings[1]
        if due > until:
            break
        sums = piece_at(state, base, 3, settings[0], due)
        price, signed, before = state[row + 1], state[row + 2], state[row + 3]
        state[sums] += 2.0 * signed * (price - state[MID]) / before
        state[sums + 1] += 2.0 * signed * (state[MID] - before) / before
        state[sums + 2] += abs(signed)
        state[queue] = float((int(state[queue]) + 1) % WAITING)
        state[queue + 1] -= 1.0


@borrowing
def realized_spread_step(
    state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats
) -> None:
    """Write what the maker kept and how far the price went; state: sides, a queue of trades that wait, the pieces."""
    first, last = span
    queue = SIDED
    for place in range(first, last):
        time = events[KNOWN, place]
        # A quote that is known at the very moment counts: it stood then.
        if events[KIND, place] == QUOTE:
            settle(state, settings, math.nextafter(time, 0.0), queue)
            see_quote(state, events, place)
            continue
        settle(state, settings, math.nextafter(time, 0.0), queue)
        side = side_of(state, events[PRICE, place], events[SIDE, place])
        if state[HAS_QUOTE] > 0.0 and side != 0.0:
            if state[queue + 1] == WAITING:
                state[queue] = float((int(state[queue]) + 1) % WAITING)
                state[queue + 1] -= 1.0
            row = queue + 2 + 4 * ((int(state[queue]) + int(state[queue + 1])) % WAITING)
            state[row], state[row + 1] = time, events[PRICE, place]
            state[row + 2], state[row + 3] = side * events[SIZE, place], state[MID]
            state[queue + 1] += 1.0
    settle(state, settings, now, queue)
    base = queue + 2 + 4 * WAITING
    volume = span_sum(state, base, 3, 2, settings[0], now)
    if volume > 0.0:
        out[0] = span_sum(state, base, 3, 0, settings[0], now) / volume
        out[1] = span_sum(state, base, 3, 1, settings[0], now) / volume


@borrowing
def roll_spread_step(
    state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats
) -> None:
    """Write Roll's spread over the last price; state: trades so far, last price, last change, the pieces."""
    first, last = span
    for place in range(first, last):
        if events[KIND, place] != TRADE:
            continue
        price = events[PRICE, place]
        change = math.log(price / state[1]) if state[0] > 0.0 else 0.0
        if state[0] > 1.0:
            sums = piece_at(state, 3, 4, settings[0], events[KNOWN, place])
            state[sums] += change * state[2]
            state[sums + 1] += change
            state[sums + 2] += state[2]
            state[sums + 3] += 1.0
        state[0], state[1], state[2] = state[0] + 1.0, price, change
    count = span_sum(state, 3, 4, 3, settings[0], now)
    if count > 1.0:
        means = (
            span_sum(state, 3, 4, 1, settings[0], now) / count * (span_sum(state, 3, 4, 2, settings[0], now) / count)
        )
        covariance = span_sum(state, 3, 4, 0, settings[0], now) / count - means
        out[0] = 2.0 * math.sqrt(-covariance) if covariance < 0.0 else 0.0


@borrowing
def kyle_lambda_step(
    state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats
) -> None:
    """Write the slope of log returns on signed volume over the pieces of the span."""
    first, last = span
    for place in range(first, last):
        if events[KIND, place] == QUOTE:
            see_quote(state, events, place)
            continue
        price, before, had = events[PRICE, place], state[LAST], state[HAS_TRADE]
        side = side_of(state, price, events[SIDE, place])
        sums = piece_at(state, SIDED, 3, settings[0], events[KNOWN, place])
        state[sums] += math.log(price / before) if had > 0.0 else 0.0
        state[sums + 1] += side * events[SIZE, place]
        state[sums + 2] += 1.0
    count, returns, flows = 0.0, 0.0, 0.0
    pieces = pieces_left(state, SIDED, settings[0], now)
    for step in range(pieces):
        place = piece_back(state, SIDED, 3, step)
        if state[place + 2] > 0.0:
            count += 1.0
            returns += state[place]
            flows += state[place + 1]
    if count < 3.0:
        return
    covariance, variance = 0.0, 0.0
    for step in range(pieces):
        place = piece_back(state, SIDED, 3, step)
        if state[place + 2] > 0.0:
            deviation = state[place + 1] - flows / count
            covariance += deviation * (state[place] - returns / count)
            variance += deviation * deviation
    out[0] = covariance / variance if variance > 0.0 else 0.0


@borrowing
def vpin_step(state: Floats, settings: Floats, events: Floats, span: tuple[int, int], now: float, out: Floats) -> None:
    """Write the mean imbalance of the last full buckets of volume; state: sides, bought, sold, full ones, ring."""
    first, last = span
    size, buckets = settings[0], int(settings[1])
    ring = SIDED + 3
    for place in range(first, last):
        if events[KIND, place] == QUOTE:
            see_quote(state, events, place)
            continue
        side = side_of(state, events[PRICE, place], events[SIDE, place])
        rest = events[SIZE, place]
        while rest > 0.0:
            room = size - state[SIDED] - state[SIDED + 1]
            part = rest if rest < room else room
            state[SIDED] += part * (1.0 + side) / 2.0
            state[SIDED + 1] += part * (1.0 - side) / 2.0
            rest -= part
            if part < room:
                break
            full = int(state[SIDED + 2])
            state[ring + full % buckets] = abs(state[SIDED] - state[SIDED + 1]) / size
            state[SIDED], state[SIDED + 1], state[SIDED + 2] = 0.0, 0.0, full + 1.0
            if rest > 2.0 * size * buckets:
                # One enormous trade: all buckets but the last few are full of it.
                rest -= math.floor((rest - size * buckets) / size) * size
    full = int(state[SIDED + 2])
    if full >= buckets:
        total = 0.0
        for bucket in range(buckets):
            total += state[ring + (full + bucket) % buckets]
        out[0] = total / buckets


def trade_flow(window: Timeframe) -> TickFeature:
    """Return who was in a hurry over a span of time: signed volume, its share, how often and how much was traded.

    Formula: sum side x size; the same over sum size (0 without trades); trades / seconds; sum size / trades. The side
    is the venue's, else by Lee, Ready (1991), Journal of Finance 46: above or below the mid of the last quote before,
    at the mid the direction of the last change. The span begins at a 64th of itself on the clock. Reads: trades, and
    quotes where given. Outputs: ``signed_volume_{window}`` in coins, ``signed_share_{window}`` from -1 to 1,
    ``trade_intensity_{window}`` per second, ``trade_size_{window}`` in coins.

    Raises
    ------
    ValueError
        The window is no span of whole seconds.
    """
    outputs = ("signed_volume", "signed_share", "trade_intensity", "trade_size")
    return _over(trade_flow_step, {"window": window}, SIDED + span_size(3), ("trades",), outputs)


def effective_spread(window: Timeframe) -> TickFeature:
    """Return what takers paid over a span of time, as a fraction of the mid, weighed by size.

    Formula: sum (2 side (price - mid) / mid x size) / sum size over the trades with a side, the mid that of the last
    quote before the trade.
    Source: Huang, Stoll (1996), Journal of Financial Economics 41. Reads: trades, quotes. Output:
    ``effective_spread_{window}``; NaN without trades. The span begins at a 64th of itself on the clock.

    Raises
    ------
    ValueError
        The window is no span of whole seconds.
    """
    return _over(effective_spread_step, {"window": window}, SIDED + span_size(2), ("trades", "quotes"))


def realized_spread(window: Timeframe, delay: Timeframe) -> TickFeature:
    """Return what makers kept of the effective spread after a delay, and how far the price went against them.

    Formula: weighed by size, 2 side (price - mid after the delay) / mid before, and 2 side (mid after - mid before) /
    mid before; their sum is the effective spread. Source: Huang, Stoll (1996), Journal of Financial Economics 41. A
    trade counts when its delay is over, at that time; of trades that wait, the last 4,096 are kept. Reads: trades,
    quotes. Outputs: ``realized_spread_{window}_{delay}``, ``price_impact_{window}_{delay}``, fractions; NaN without
    trades. The span begins at a 64th of itself on the clock.

    Raises
    ------
    ValueError
        The window or the delay is no span of whole seconds.
    """
    size = SIDED + 2 + 4 * WAITING + span_size(3)
    outputs = ("realized_spread", "price_impact")
    chosen = {"window": window, "delay": delay}
    return _over(realized_spread_step, chosen, size, ("trades", "quotes"), outputs)


def roll_spread(window: Timeframe) -> TickFeature:
    """Return the spread that the bouncing of trade prices implies, as a fraction of the price.

    Formula: 2 sqrt(-cov(r[t], r[t-1])), r the log returns from trade to trade, 0 when the covariance is not negative.
    Source: Roll (1984), Journal of Finance 39. Reads: trades. Output: ``roll_spread_{window}``; NaN with fewer than two
    pairs of returns. The span begins at a 64th of itself on the clock.

    Raises
    ------
    ValueError
        The window is no span of whole seconds.
    """
    return _over(roll_spread_step, {"window": window}, 3 + span_size(4), ("trades",))


def kyle_lambda(window: Timeframe) -> TickFeature:
    """Return how far a coin that is bought moves the price: log return per coin of signed volume.

    Formula: the slope of a least-squares line (with intercept) of the log return on the signed volume of each 64th of
    the span in which there was a trade. Source: Kyle (1985), Econometrica 53; as a regression Hasbrouck (2009), Journal
    of Finance 64. Reads: trades, and quotes where given. Output: ``kyle_lambda_{window}``; NaN with fewer than three
    such pieces, 0 when their volume is the same.

    Raises
    ------
    ValueError
        The window is no span of whole seconds.
    """
    return _over(kyle_lambda_step, {"window": window}, SIDED + span_size(3), ("trades",))


def vpin(volume: float, buckets: int = 50) -> TickFeature:
    """Return the probability of informed trading by volume: how one-sided the last buckets of volume were, 0 to 1.

    Formula: mean over the last ``buckets`` full buckets of |bought - sold| / volume; a trade that overflows a bucket is
    split. Source: Easley, Lopez de Prado, O'Hara (2012), Review of Financial Studies 25, equation 8, with the side of
    each trade (see ``trade_flow``) in place of bulk classification; one that cannot be said counts half to each side.
    Reads: trades, and quotes where given. Output: ``vpin_{volume}_{buckets}``; NaN before so many buckets are full.

    Parameters
    ----------
    volume
        Coins in a bucket; a fiftieth of a day's volume in the paper.

    Raises
    ------
    ValueError
        The volume is not above 0, or there is no bucket.
    """
    parameters: dict[str, Parameter] = {
        "volume": positive("vpin", "volume", volume),
        "buckets": whole("vpin", "buckets", buckets),
    }
    size = SIDED + 3 + int(parameters["buckets"])
    return tick_feature_of(vpin_step, ("trades",), parameters=parameters, state_size=size)


def _over(
    step: Callable[..., None],
    spans: Mapping[str, Timeframe],
    state_size: int,
    reads: tuple[str, ...],
    outputs: tuple[str, ...] = (),
) -> TickFeature:
    name = step.__name__.removesuffix("_step")
    parameters: dict[str, Parameter] = {noun: span_name(name, chosen) for noun, chosen in spans.items()}
    return tick_feature_of(step, reads, outputs=outputs, parameters=parameters, state_size=state_size)
