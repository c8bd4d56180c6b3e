"""A small history server on loopback: Alpaca's bars, trades and quotes over seeded rows, with faults on demand."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import polars as pl

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.market.time import from_iso, iso

SHORT = {
    "bars": {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume", "n": "trade_count", "vw": "vwap"},
    "trades": {"i": "id", "p": "price", "s": "size", "tks": "taker_side"},
    "quotes": {"bp": "bid_price", "bs": "bid_size", "ap": "ask_price", "as": "ask_size"},
}


class HistoryServer(ThreadingHTTPServer):
    """Serves rows page by page; ``faults`` are (status, headers, body) given before the next true answers.

    A fault whose headers name a longer ``Content-Length`` is an answer that is cut off.

    ``refuse_after`` requests all are refused; ``at_request`` is called with the number of each before it is answered.
    """

    daemon_threads = True

    def __init__(self, bars: pl.DataFrame, page: int = 500, **ticks: pl.DataFrame) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.kinds, self.page = {"bars": bars, **ticks}, page
        self.at_request: Callable[[int], object] = lambda number: None
        self.faults: list[tuple[int, dict[str, str], str]] = []
        self.requests: list[dict[str, str]] = []
        self.refuse_after: int | None = None

    def alpaca(self) -> Alpaca:
        return Alpaca("KEY1234", "secret", data_url=f"http://127.0.0.1:{self.server_port}")


class Handler(BaseHTTPRequestHandler):
    server: HistoryServer

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, headers: dict[str, str], body: str) -> None:
        content = body.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        server, kind = self.server, url.path.rsplit("/", 1)[1]
        server.requests.append(query)
        server.at_request(len(server.requests))
        if server.faults:
            self.answer(*server.faults.pop(0))
            return
        if server.refuse_after is not None and len(server.requests) > server.refuse_after:
            self.answer(403, {}, '{"message":"forbidden"}')
            return
        stamp = pl.col("open_time" if kind == "bars" else "time").dt.epoch("ns")
        inside = (stamp >= from_iso(query["start"])) & (stamp <= from_iso(query["end"]))
        rows = server.kinds[kind].filter(pl.col("symbol").is_in(query["symbols"].split(",")) & inside)
        first = int(query.get("page_token", "0"))
        listed: dict[str, list[dict[str, object]]] = {}
        for row in rows.slice(first, server.page).with_columns(stamp).iter_rows(named=True):
            values = {name: row[column] for name, column in SHORT[kind].items()}
            moment = row["open_time" if kind == "bars" else "time"]
            listed.setdefault(row["symbol"], []).append({"t": iso(moment), **values})
        token = str(first + server.page) if first + server.page < rows.height else None
        self.answer(200, {}, json.dumps({kind: listed, "next_page_token": token}))


@contextmanager
def history(bars: pl.DataFrame, page: int = 500, **ticks: pl.DataFrame) -> Iterator[HistoryServer]:
    """Run a history server for the length of a with-block."""
    server = HistoryServer(bars, page, **ticks)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
