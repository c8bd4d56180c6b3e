"""The sandbox venue over loopback: orders and reads a second through the unmodified SDK, beside a bare echo route.

    python benchmarks/sandbox.py [--requests 200] [--turns 5]

Venue and peer run in processes of their own. The peer is uvicorn with a Starlette route that answers each request with
a body that was recorded from the venue before: what the SDK, HTTP and loopback cost with no venue behind. It has the
venue's TCP_NODELAY; without it each answer waits 40 ms for an acknowledgement.
Turns alternate; the market moves by a minute between them, so that orders are filled and do not pile up.
"""

import argparse
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection

import requests
import uvicorn
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import MarketOrderRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cryptoquant.backtest.sandbox import FAULT_KINDS, Fault, Sandbox
from cryptoquant.backtest.sandbox.server import HOST

MINUTE = timedelta(minutes=1)
ORDER = MarketOrderRequest(symbol="BTC/USD", qty=0.001, side=OrderSide.BUY, time_in_force=TimeInForce.GTC)


def venue(pipe: Connection, options: dict[str, object]) -> None:
    """Serve a sandbox; move it by a minute for each word that comes."""
    with Sandbox(days=3, lockstep=True, cash=1e9, **options) as sandbox:
        pipe.send((sandbox.url, sandbox.api_key, sandbox.api_secret))
        while pipe.recv():
            sandbox.advance(MINUTE)
            pipe.send(True)


def echo(pipe: Connection) -> None:
    """Serve recorded bodies by method and path."""
    bodies: dict[tuple[str, str], bytes] = pipe.recv()

    async def answer(request: Request) -> Response:
        await request.body()
        return Response(bodies[request.method, request.url.path], media_type="application/json")

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    server = uvicorn.Server(uvicorn.Config(app, host=HOST, port=0, log_config=None, access_log=False))
    listening = server.config.bind_socket()
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pipe.send(f"http://{HOST}:{listening.getsockname()[1]}")
    server.run(sockets=[listening])


class Served:
    """A server in a process of its own, and a client of the SDK for it."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        self.pipe, other = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=target, args=(other, *arguments), daemon=True)
        self.process.start()

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.join()


def recorded(url: str, keys: tuple[str, str]) -> dict[tuple[str, str], bytes]:
    """Return what the venue answers to what is measured, by method and path."""
    headers = {"APCA-API-KEY-ID": keys[0], "APCA-API-SECRET-KEY": keys[1]}
    body = {"symbol": "BTC/USD", "qty": "0.001", "side": "buy", "type": "market", "time_in_force": "gtc"}
    placed = requests.post(f"{url}/v2/orders", json=body, headers=headers, timeout=10)
    paths = (f"/v2/orders/{placed.json()['id']}", "/v2/account")
    found = {("GET", path): requests.get(url + path, headers=headers, timeout=10).content for path in paths}
    return found | {("POST", "/v2/orders"): placed.content}


def rate(work: Callable[[], object], count: int) -> float:
    """Return how often a second some work is done."""
    start = time.perf_counter()
    for _ in range(count):
        work()
    return count / (time.perf_counter() - start)


def measure(name: str, options: dict[str, object], count: int, turns: int) -> None:
    """Print orders and reads a second of a venue and of the peer, and the ratio of each pair of turns."""
    ours, peer = Served(venue, options), Served(echo)
    try:
        url, *keys = ours.pipe.recv()
        bodies = recorded(url, (keys[0], keys[1]))
        peer.pipe.send(bodies)
        order_id = next(path for method, path in bodies if path.startswith("/v2/orders/")).rpartition("/")[2]
        clients = [TradingClient(*keys, url_override=base) for base in (url, peer.pipe.recv())]
        for client in clients:
            rate(client.get_account, 20)
        works = {
            "POST order": lambda client: client.submit_order(ORDER),
            "GET order": lambda client: client.get_order_by_id(order_id),
            "GET account": lambda client: client.get_account(),
        }
        for what, work in works.items():
            pairs = []
            for _ in range(turns):
                pairs.append([rate(partial(work, client), count) for client in clients])
                ours.pipe.send(True)
                ours.pipe.recv()
            mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratios = sorted(one / two for one, two in pairs)
            print(
                f"{name:<24}{what:<12} {mine:>6,.0f} a second; bare echo {theirs:>6,.0f}; "
                f"{statistics.median(ratios):.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            )
    finally:
        ours.stop()
        peer.stop()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Orders and reads a second at the sandbox, beside a bare echo route")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    os.environ["NO_PROXY"] = HOST
    print(f"{os.cpu_count()} cores, one client, {given.requests} requests a turn, median of {given.turns} turns")
    asleep = [Fault(kind, at="2030-01-01") for kind in FAULT_KINDS]
    for name, options in (
        ("one account", {}),
        ("ten accounts", {"accounts": 10}),
        ("every fault pending", {"faults": asleep}),
        ("all rules", {"latency": MINUTE, "participation": 0.1, "partial_fills": 0.1, "late_trades": 0.1}),
    ):
        measure(name, options, given.requests, given.turns)


if __name__ == "__main__":
    main()
