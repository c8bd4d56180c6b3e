"""Record a stream, take part in it while it is recorded, survive an outage, and read it all back.

Needs no keys: the sandbox venue on this machine plays Alpaca. Run it: python examples/recording.py
"""

import tempfile
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl

import cryptoquant as cq
from cryptoquant import features as f
from cryptoquant.data.subscription import Subscription
from cryptoquant.market.bar_ladder import BarLadder
from cryptoquant.market.schema import Bar, Trade, bars_frame
from cryptoquant.market.slice import slice_of

PAIRS = ["BTC/USD", "ETH/USD"]


def derive(stream: Subscription, store: cq.Store) -> None:
    """Turn trades into bars of two timeframes and the bars into features, beside the recorder, and store both."""
    ladder = BarLadder(["1m", "5m"])
    features = f.FeatureSet([f.log_return(1), f.roc(3)])
    online = features.online(["BTC/USD"])
    bars: dict[str, list[Bar]] = {"1m": [], "5m": []}
    rows = []
    for trade in stream:
        assert isinstance(trade, Trade)
        for timeframe, bar in ladder.update(trade):
            bars[timeframe].append(bar)
            if (timeframe, bar.symbol) == ("1m", "BTC/USD"):
                values = online.update(slice_of([bar], ["BTC/USD"]))[0].tolist()

                rows.append({"symbol": bar.symbol, "time": bar.time, **dict(zip(features.names, values, strict=True))})
    made_from = {"inputs": ["trades"], "code": "examples/recording.py"}
    for timeframe, made in bars.items():
        store.write(f"bars_of_trades_{timeframe}", bars_frame(made), lineage=made_from)
    instant = pl.from_epoch("time", "ns").dt.replace_time_zone("UTC")
    parameters = {**made_from, "features": list(features.names)}
    store.write("features_1m", pl.DataFrame(rows).with_columns(instant), lineage=parameters)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so, at most half a minute."""
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the recorder did not come so far")
        time.sleep(0.02)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, cq.Sandbox(seed=7, symbols=PAIRS, days=3, lockstep=True) as sandbox:
        store = cq.Store(Path(folder) / "store")

        recorder = cq.Recorder(store, PAIRS, sandbox.alpaca()).start()
        wait_for(lambda: recorder.status().is_subscribed)
        stream = recorder.subscribe({"trades"})
        worker = threading.Thread(target=derive, args=(stream, store), daemon=True)
        worker.start()
        follower = store.follow(["bars"], ["BTC/USD"])  # any other process on this machine can do the same

        sandbox.advance(timedelta(minutes=30))
        wait_for(lambda: store.symbols("trades") == PAIRS and store.trades("BTC/USD").height == 90)
        print(f"part of a read a moment later: {store.trades().height} trades; published so far: {store.published}")
        print(f"followed: {len(follower.next())} events")
        print(recorder.stop().line)
        worker.join()

        sandbox.advance(timedelta(minutes=20))  # nobody listens
        again = cq.Recorder(store, PAIRS, sandbox.alpaca()).start()
        wait_for(lambda: again.status().is_subscribed and again.status().open_gaps == 0)
        sandbox.advance(timedelta(minutes=10))
        wait_for(lambda: store.bars("BTC/USD", "1m").height == 60)
        again.stop()

        print(store.gaps().group_by("kind", "state", maintain_order=True).agg(pl.col("rows").sum()))
        print(f"trades of an hour: {store.trades('BTC/USD').height}, each once")
        print(
            f"own tables: {store.read('features_1m').height} rows made from {store.lineage('features_1m')[0]['inputs']}"
        )
        print(f"files before compaction: {store.compact()}; replayed: {sum(1 for _ in store.replay())} events")
        store.check("bars").show()


if __name__ == "__main__":
    main()
