"""Trade six hours with a registered bundle on Alpaca's paper account: ``python paper_trade.py btc-eth-1h@champion``.

Keys come from APCA_API_KEY_ID and APCA_API_SECRET_KEY. With CQ_SANDBOX set to the address that ``cryptoquant sandbox``
prints, the same script trades there and needs no keys. The interrupt key cancels, sells and ends; after the six hours
positions stay, and the next start goes on with them.
"""

import os
import sys
from datetime import timedelta

import cryptoquant as cq

if __name__ == "__main__":
    sandbox = os.environ.get("CQ_SANDBOX")
    broker = cq.Alpaca.sandbox(sandbox) if sandbox else cq.Alpaca()
    limits = cq.RiskLimits(max_weight=0.5, max_drawdown=0.10, max_daily_loss=0.05)
    trader = cq.Trader.paper(sys.argv[1], broker=broker, limits=limits, on_stop="close")
    print(trader.run(until=timedelta(hours=6)))
    print(trader.summary())
    trader.report().show()
