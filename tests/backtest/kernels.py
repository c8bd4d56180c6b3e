"""Compile what tests of rules, market orders and recorded streams need: while lines are counted that takes far longer.

Run it: python -m tests.backtest.kernels
"""

import cryptoquant as cq
from cryptoquant import strategy as s
from cryptoquant.data.decode import decode
from tests.data.stream import bar, book, quote, records, trade
from tests.market_makers import frame_of, gapping_panel

RULES = (s.MovingAverageCross(5, 20), s.Momentum(20), s.Breakout(20), s.MeanReversion(20))

if __name__ == "__main__":
    decode([])  # an array of its own kind
    decode(records([[kind(number)] for number, kind in enumerate((bar, book, quote, trade))]))
    market = frame_of(gapping_panel(300, ("BTC/USD", "ETH/USD"), absent=0.1))
    for venue in (cq.Venue.alpaca(), cq.Venue.research()):
        for rule in RULES:
            cq.simulate(rule, market, venue=venue)
            cq.simulate(rule, market, venue=venue, execution=cq.Execution(stop_loss=0.01))
