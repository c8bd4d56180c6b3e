"""What a recorder takes: frames over a loopback websocket until they are durable and stored, none lost or doubled.

    python benchmarks/recorder.py [--seconds 60] [socket] [one] [decode] [recovery]

``socket`` sends mixed messages of 120 symbols in frames of 16, at 10,000 and at 100,000 messages a second; ``one``
sends one message a frame; ``decode`` sets bytes to Parquet beside alpaca-py's own parsed path; ``recovery`` opens
a store whose recorder died with a full segment of the log.
"""

import argparse
import asyncio
import multiprocessing
import os
import platform
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgpack
import numpy as np
import polars as pl

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.decode import decode
from cryptoquant.data.disk import LocalDisk
from cryptoquant.data.log import Log
from cryptoquant.data.recorder import Recorder
from cryptoquant.data.recorder_status import RecorderOptions
from cryptoquant.data.segment import Record, RecordKind
from cryptoquant.data.store import Store

SYMBOLS = [f"C{number:03d}/USD" for number in range(120)]
START = 1_790_000_000 * 10**9


def message(number: int, rng: np.random.Generator) -> dict[str, object]:
    """Return message ``number``: of twenty seven trades, eight quotes and five books of three levels."""
    symbol, when = SYMBOLS[int(rng.integers(120))], msgpack.Timestamp.from_unix_nano(START + number * 1_000)
    price, size = round(float(rng.normal(100, 5)), 2), round(float(rng.exponential()), 4)
    shape = number % 20
    if shape < 7:
        return {"T": "t", "S": symbol, "p": price, "s": size, "t": when, "i": 2**60 + number, "tks": "BS"[number & 1]}
    if shape < 15:
        return {"T": "q", "S": symbol, "bp": price, "bs": size, "ap": price + 0.01, "as": number / 7, "t": when}
    levels = [{"p": price - 0.01 * k, "s": size} for k in range(2)]
    return {"T": "o", "S": symbol, "t": when, "b": levels, "a": [{"p": price + 0.01, "s": number / 3}]}


def frames(messages: int, width: int) -> list[bytes]:
    """Return packed frames with ``width`` messages each."""
    rng = np.random.default_rng(7)
    return [msgpack.packb([message(first + k, rng) for k in range(width)]) for first in range(0, messages, width)]


def serve(ready: multiprocessing.Queue, rate: float, seconds: float, width: int) -> None:
    """Send ``rate`` messages a second for so long; each trade's id is its number, so that the reader can count."""
    from websockets.asyncio.server import serve as listen

    block = [bytearray(packed) for packed in frames(int(min(rate, 100_000)), width)]
    places = [[spot.end() for spot in re.finditer(rb"\xa1i\xcf", packed)] for packed in block]

    def numbered(index: int) -> bytes:
        """Return a frame of the block with ids that no earlier round of the block has had."""
        packed, round_ = block[index % len(block)], index // len(block)
        for place in places[index % len(block)]:
            packed[place + 1] = round_
        return bytes(packed)

    async def talk(socket) -> None:
        await socket.send(msgpack.packb([{"T": "success", "msg": "connected"}]))
        await socket.recv()
        await socket.send(msgpack.packb([{"T": "success", "msg": "authenticated"}]))
        asked = msgpack.unpackb(await socket.recv())
        echo = {"T": "subscription", **{name: listed for name, listed in asked.items() if name != "action"}}
        await socket.send(msgpack.packb([echo]))
        begin, sent, total = time.perf_counter(), 0, int(rate * seconds / width)
        while sent < total:
            due = min(total, int((time.perf_counter() - begin) * rate / width) + 1)
            while sent < due:
                await socket.send(numbered(sent))
                sent += 1
            await asyncio.sleep(0.0005)
        ready.put(("sent", sent * width, time.perf_counter() - begin))
        await asyncio.sleep(3600)

    async def run() -> None:
        async with listen(talk, "127.0.0.1", 0, compression=None, max_size=None) as server:
            ready.put(("port", server.sockets[0].getsockname()[1], 0.0))
            await asyncio.sleep(3600)

    asyncio.run(run())


def through_socket(rate: float, seconds: float, width: int = 16) -> None:
    """Record for so long, and compare what is in the store with what was sent."""
    context = multiprocessing.get_context("spawn")
    ready = context.Queue()
    sender = context.Process(target=serve, args=(ready, rate, seconds, width), daemon=True)
    sender.start()
    folder = Path(tempfile.mkdtemp(prefix="recorder-"))
    try:
        port = ready.get(timeout=60)[1]
        source = Alpaca(f"BENCH{port}", "S", data_stream_url=f"ws://127.0.0.1:{port}/v1beta3/crypto/us")
        options = RecorderOptions(flush_every=timedelta(seconds=5), compact_every=None, backfill=False)
        store = Store(folder / "store")
        recorder = Recorder(store, SYMBOLS, source, channels=("trades", "quotes", "orderbooks"), options=options)
        waiting: list[tuple[int, int]] = []
        delays: list[float] = []
        recorder.open()
        keep = recorder._receiver.keep

        def stamped(now: int, kind: RecordKind, payload: bytes) -> None:
            waiting.append((recorder._receiver.log.sequence + 1, time.perf_counter_ns()))
            keep(now, kind, payload)

        def durable(sequence: int) -> None:
            now, done = time.perf_counter_ns(), 0
            for due, arrived in waiting:
                if due > sequence:
                    break
                delays.append((now - arrived) / 1e6)
                done += 1
            del waiting[:done]

        recorder._receiver.keep = stamped
        recorder._receiver.log.on_durable(durable)
        begin_cpu = time.process_time()
        recorder.start()
        _, sent, took = ready.get(timeout=seconds * 3 + 60)
        deadline = time.monotonic() + 120
        while recorder.status().received < sent and time.monotonic() < deadline:
            time.sleep(0.05)
        behind = time.monotonic() - (deadline - 120)
        status = recorder.stop()
        cpu = time.process_time() - begin_cpu
        trades = store.trades()
        files = [str(path) for path in (folder / "store").glob("_recent/kind=*/*.parquet")]
        rows = pl.concat(pl.read_parquet(path, columns=["position"]) for path in files)
        messages, parts = rows["position"].n_unique(), sent * 7 // 20
        lost = parts - trades["id"].n_unique()
        middle, late = np.percentile(delays, [50, 99])
        print(
            f"{width:3} a frame, {rate:,.0f}/s wanted for {seconds:.0f} s: sent {sent:,} in {took:.1f} s = "
            f"{sent / took:,.0f}/s; in files {messages:,}, lost {sent - messages:,}; trades by id: lost {lost:,} of "
            f"{parts:,}, doubled {status.written['trades'] - trades['id'].n_unique():,}; "
            f"receive -> durable p50 {middle:.2f} ms, p99 {late:.2f} ms; decoded {behind:.1f} s after the last; "
            f"{cpu / took:.0%} of a core; reconnects {status.reconnects}"
        )
    finally:
        sender.kill()
        sender.join()
        shutil.rmtree(folder)


def turns(work: Callable[[], float], times: int = 5) -> list[float]:
    """Return what each of some turns gave."""
    return [work() for _ in range(times)]


def decoding() -> None:
    """Bytes to Parquet on one core, beside alpaca-py's parsed messages."""
    from alpaca.data.live import CryptoDataStream

    packed = frames(200_000, 16)
    records = [Record(k + 1, START + 10**9 * 3600, 1, RecordKind.FRAME, frame) for k, frame in enumerate(packed)]
    ours, theirs, columns = [], [], []
    stream = CryptoDataStream("K", "S")

    async def nothing(parsed: object) -> None:
        pass

    for subscribe in (stream.subscribe_trades, stream.subscribe_quotes, stream.subscribe_orderbooks):
        subscribe(nothing, "*")

    async def dispatch(some: list[bytes]) -> None:
        for frame in some:
            for told in msgpack.unpackb(frame):
                await stream._dispatch(told)

    decode(records[:10])
    for _ in range(5):
        folder = Path(tempfile.mkdtemp(prefix="decode-"))
        store = Store(folder)
        store.create()
        start = time.process_time()
        parts = [decode(records[k : k + 1500]) for k in range(0, len(records), 1500)]
        columns.append(200_000 / (time.process_time() - start))
        kinds = {kind for part in parts for kind in part.frames}
        rows = {kind: pl.concat(part.frames[kind] for part in parts if kind in part.frames) for kind in kinds}
        store.publish_recent(rows, len(records), START)
        ours.append(200_000 / (time.process_time() - start))
        shutil.rmtree(folder)
        start = time.process_time()
        asyncio.run(dispatch(packed[:1250]))
        theirs.append(20_000 / (time.process_time() - start))
    mine, peer = statistics.median(ours), statistics.median(theirs)
    print(
        f"bytes -> Parquet, a CPU second: {mine:,.0f} messages ({statistics.median(columns):,.0f} to columns); "
        f"alpaca-py to its own models: {peer:,.0f}; {mine / peer:.1f} x"
    )


def recovery() -> None:
    """Open a store whose log holds a full segment that was never published."""
    found = []
    packed = frames(100_000, 16)
    for _ in range(3):
        folder = Path(tempfile.mkdtemp(prefix="recovery-"))
        store = Store(folder / "store")
        store.create()
        log = Log(LocalDisk(folder / "store"), epoch=1)
        size = 0
        while size < 63 << 20:
            for frame in packed:
                log.append(START + 10**12, 1, RecordKind.FRAME, frame)
                size += len(frame) + 24
                if size >= 63 << 20:
                    break
            log.wait(log.sequence)
        log.close()
        (folder / "store/log/recorder.lease").write_bytes(b"epoch %020d pid %010d\n" % (1, 1))
        start = time.perf_counter()
        recorder = Recorder(store, "C000/USD", Alpaca("K", "S"))
        recorder.open()
        found.append(time.perf_counter() - start)
        messages = recorder.status().received
        recorder.stop()
        shutil.rmtree(folder)
    print(f"recovery of a full segment ({size >> 20} MB, {messages:,} messages): {statistics.median(found):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["socket", "one", "decode", "recovery"])
    parser.add_argument("--seconds", type=float, default=60.0)
    told = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
          f"{time.strftime('%Y-%m-%d')}")  # fmt: skip
    os.environ.setdefault("CQ_STATE", tempfile.mkdtemp(prefix="state-"))
    if "decode" in told.parts:
        decoding()
    if "recovery" in told.parts:
        recovery()
    if "socket" in told.parts:
        for rate in (10_000, 100_000):
            through_socket(rate, told.seconds)
    if "one" in told.parts:
        for rate in (10_000, 20_000, 40_000):
            through_socket(rate, min(10.0, told.seconds), width=1)


if __name__ == "__main__":
    main()
