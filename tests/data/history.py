"""A small history server on loopback: Alpaca's bars endpoint over a seeded market, with faults on demand."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import polars as pl

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.market.time import from_iso, iso


class HistoryServer(ThreadingHTTPServer):
    """Serves bars page by page; ``faults`` are (status, headers, body) given before the next true answers."""

    daemon_threads = True

    def __init__(self, bars: pl.DataFrame, page: int = 500) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bars, self.page = bars, page
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
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        server = self.server
        server.requests.append(query)
        if server.faults:
            self.answer(*server.faults.pop(0))
            return
        if server.refuse_after is not None and len(server.requests) > server.refuse_after:
            self.answer(403, {}, '{"message":"forbidden"}')
            return
        opened = pl.col("open_time").dt.epoch("ns")
        inside = (opened >= from_iso(query["start"])) & (opened <= from_iso(query["end"]))
        rows = server.bars.filter(pl.col("symbol").is_in(query["symbols"].split(",")) & inside)
        first = int(query.get("page_token", "0"))
        page = rows.slice(first, server.page).with_columns(opened)
        listed: dict[str, list[dict[str, object]]] = {}
        for row in page.iter_rows(named=True):
            short = {
                "o": "open",
                "h": "high",
                "l": "low",
                "c": "close",
                "v": "volume",
                "n": "trade_count",
                "vw": "vwap",
            }
            values = {name: row[column] for name, column in short.items()}
            listed.setdefault(row["symbol"], []).append({"t": iso(row["open_time"]), **values})
        token = str(first + server.page) if first + server.page < rows.height else None
        self.answer(200, {}, json.dumps({"bars": listed, "next_page_token": token}))


@contextmanager
def history(bars: pl.DataFrame, page: int = 500) -> Iterator[HistoryServer]:
    """Run a history server for the length of a with-block."""
    server = HistoryServer(bars, page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
