"""Frames of the venue's stream for tests: packed as the venue packs them, and a venue on loopback that sends them."""

import asyncio
import contextlib
import gzip
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import msgpack
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.segment import Record, RecordKind
from cryptoquant.market.time import from_iso

START = 1_700_000_000 * 10**9
MINUTE = 60_000_000_000


@contextmanager
def history(answer: Callable[[str, dict[str, str]], tuple[int, object]]) -> Iterator[Alpaca]:
    """The venue's history on loopback: ``answer(path, query)`` gives status and body; the source has no stream."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            status, body = answer(asked.path, dict(parse_qsl(asked.query)))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Alpaca("KEY", "S", data_url=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def stamp(ns: int) -> msgpack.Timestamp:
    return msgpack.Timestamp.from_unix_nano(ns)


def trade(number: int, symbol: str = "BTC/USD", **other: object) -> dict[str, object]:
    told = {"p": 100.0 + number % 7, "s": 1.0, "t": stamp(START + number), "i": 2**60 + number, "tks": "BS"[number % 2]}
    return {"T": "t", "S": symbol, **told, **other}


def quote(number: int, symbol: str = "BTC/USD", **other: object) -> dict[str, object]:
    told = {"bp": 99.0, "bs": 1.5, "ap": 100.0, "as": 2, "t": stamp(START + number)}
    return {"T": "q", "S": symbol, **told, **other}


def bar(minute: int, symbol: str = "BTC/USD", **other: object) -> dict[str, object]:
    told = {
        "o": 1.0,
        "h": 2.0,
        "l": 0.5,
        "c": 1.5,
        "v": 3,
        "n": 4,
        "vw": 1.2,
        "t": stamp(START + 40 * 10**9 + minute * MINUTE),
    }
    return {"T": "b", "S": symbol, **told, **other}


def book(number: int, symbol: str = "BTC/USD", **other: object) -> dict[str, object]:
    told = {"b": [{"p": 99.0, "s": 1.0}], "a": [{"p": 101.0, "s": 0}], "r": True, "t": stamp(START + number)}
    return {"T": "o", "S": symbol, **told, **other}


def frame(*messages: object) -> bytes:
    return msgpack.packb(list(messages))


def record(sequence: int, *messages: object, received: int = START + MINUTE, connection: int = 1) -> Record:
    return Record(sequence, received, connection, RecordKind.FRAME, frame(*messages))


def records(frames: Iterable[Sequence[object]], received: int = START + MINUTE) -> list[Record]:
    return [record(index + 1, *messages, received=received + index) for index, messages in enumerate(frames)]


def real_frames(market: Path) -> list[tuple[int, bytes]]:
    """Return receive time and content of 20 minutes of a real market's frames, packed as the venue packs them."""
    found = []
    with gzip.open(market / "alpaca_shaped/crypto_stream_btc_eth_usdt_20240808.jsonl.gz", "rt") as file:
        for line in map(json.loads, file):
            messages = [{**said, "t": stamp(from_iso(said["t"]))} if "t" in said else said for said in line["frame"]]
            found.append((line["recv_ns"], msgpack.packb(messages)))
    return found


class Text(str):
    """What is sent as a frame of text."""

    __slots__ = ()


class Venue:
    """A data socket on loopback that admits anyone and sends what it is given.

    ``script`` is called with each connection's number, from 1, and yields the frames to send to it; a number is a pause
    in seconds, and the connection is closed without a word at the end unless the script says ``"hold"``. ``"echo"``
    confirms the subscription, ``"deaf"`` reads nothing any more, not even pings. A list of bytes is one frame in
    fragments, a `Text` a frame of text.
    """

    def __init__(self, script) -> None:
        self.script, self.connections, self.subscribed = script, 0, []
        self.port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def alpaca(self) -> Alpaca:
        url = f"ws://127.0.0.1:{self.port}/v1beta3/crypto/us"
        return Alpaca(f"KEY{self.port}", "S", data_stream_url=url, data_url=f"http://127.0.0.1:{self.port}")

    async def _run(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        # Without pings of its own: what of them a slow machine answers late would end the connection from this side.
        quiet = {"compression": None, "max_size": None, "ping_interval": None}
        async with serve(self._serve, "127.0.0.1", 0, **quiet) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._end.wait()

    async def _serve(self, socket: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self._speak(socket)

    async def _speak(self, socket: ServerConnection) -> None:
        self.connections += 1
        number = self.connections
        await socket.send(frame({"T": "success", "msg": "connected"}))
        await socket.recv()
        await socket.send(frame({"T": "success", "msg": "authenticated"}))
        asked = msgpack.unpackb(await socket.recv())
        self.subscribed.append(asked)
        for item in self.script(number, asked):
            if item == "hold":
                await self._end.wait()
            elif item == "echo":
                await socket.send(frame({"T": "subscription", **{k: v for k, v in asked.items() if k != "action"}}))
            elif item == "deaf":
                socket.transport.pause_reading()
            elif isinstance(item, bytes | list | Text):
                await socket.send(item)
            else:
                await asyncio.sleep(item)
        socket.transport.abort()


@contextmanager
def venue(script) -> Iterator[Venue]:
    server = Venue(script)
    server._thread.start()
    assert server._ready.wait(10)
    try:
        yield server
    finally:
        with contextlib.suppress(RuntimeError):
            server._loop.call_soon_threadsafe(server._end.set)
        server._thread.join(10)
