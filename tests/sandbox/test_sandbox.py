import asyncio
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
import requests

from cryptoquant.backtest.sandbox import Sandbox, StreamLimits
from cryptoquant.errors import ConfigurationError, VenueUnreachableError
from cryptoquant.trading.venue import Costs
from tests.sandbox.clients import Wire, until

MINUTE = timedelta(minutes=1)
KINDS = {"trades": ["*"], "quotes": ["*"], "orderbooks": ["BTC/USD"], "bars": ["*"], "dailyBars": ["ETH/USD"]}


def order(sandbox: Sandbox, **changes: str) -> dict:
    body = {"symbol": "BTC/USD", "qty": "0.1", "side": "buy", "type": "market", "time_in_force": "gtc"} | changes
    headers = {"APCA-API-KEY-ID": sandbox.api_key, "APCA-API-SECRET-KEY": sandbox.api_secret}
    return requests.post(f"{sandbox.url}/v2/orders", json=body, headers=headers, timeout=10).json()


def test_two_runs_in_lockstep_are_identical_to_the_byte(
    open_sandbox: Callable[..., Sandbox], wire: Callable[..., Wire]
) -> None:
    runs = []
    for _ in range(2):
        sandbox = open_sandbox()
        client = wire(sandbox)
        client.sign_in(**KINDS)
        frames, orders = [], []
        for minute in range(5):
            orders.append(order(sandbox, side="sell" if minute == 3 else "buy", qty="0.0500"))
            sandbox.advance(MINUTE)
            frames += [client.bytes(), client.bytes()]
        runs.append((frames, orders, sandbox._exchange.updates, sandbox.account().cash))
        client.close()
        sandbox.stop()
    assert runs[0] == runs[1]
    assert len(set(runs[0][0])) == 10


def test_the_status_counts_every_data_point_that_the_client_receives(
    sandbox: Sandbox, wire: Callable[..., Wire]
) -> None:
    client = wire(sandbox)
    assert sandbox.status()["listening"] == {"data": 0, "trading": 0}
    client.sign_in(**KINDS)
    assert sandbox.status()["listening"] == {"data": 1, "trading": 0}
    status = sandbox.advance(3 * MINUTE)
    points = sum(len(client.hear()) for _ in range(6))
    assert status["sent"] == {"data": points, "trading": 0}
    with pytest.raises(TimeoutError):
        client.socket.recv(timeout=0.05)


def test_orders_are_matched_before_the_bar_is_told(sandbox: Sandbox, wire: Callable[..., Wire]) -> None:
    client = wire(sandbox)
    client.sign_in(bars=["BTC/USD"])
    order(sandbox)
    thread = threading.Thread(target=sandbox.advance, args=(MINUTE,))
    thread.start()
    client.hear()
    assert sandbox.account().quantity("BTC/USD") == pytest.approx(0.09975)
    thread.join()


def test_time_may_also_be_moved_over_http(sandbox: Sandbox) -> None:
    answer = requests.post(f"{sandbox.url}/sandbox/advance", json={"seconds": 90}, timeout=10).json()
    assert answer["now"] == "2024-01-02T12:01:30Z"
    assert answer["sent"] == {"data": 0, "trading": 0}
    assert requests.get(f"{sandbox.url}/sandbox/status", timeout=10).json() == answer
    for wrong in ({"seconds": -1}, {"minutes": 1}, [], {"to": "noon"}, {"seconds": 1, "to": "2024-01-02T13:00:00Z"}):
        assert requests.post(f"{sandbox.url}/sandbox/advance", json=wrong, timeout=10).status_code == 400


def test_moved_to_a_moment_twice_it_moves_once(sandbox: Sandbox) -> None:
    for moment in ("2024-01-02T12:15:00Z", "2024-01-02T12:15:00Z", "2024-01-02T12:01:00Z"):
        answer = requests.post(f"{sandbox.url}/sandbox/advance", json={"to": moment}, timeout=10).json()
        assert answer["now"] == "2024-01-02T12:15:00Z"


def test_nobody_sees_a_moment_between_two(sandbox: Sandbox) -> None:
    thread = threading.Thread(target=sandbox.advance, args=(timedelta(hours=24),))
    thread.start()
    seen = []
    while thread.is_alive():
        seen.append(requests.get(f"{sandbox.url}/sandbox/status", timeout=10).json()["now"])
    thread.join()
    assert set(seen) <= {"2024-01-02T12:00:00Z", "2024-01-03T12:00:00Z"}


def test_time_stops_at_the_end_of_the_market(sandbox: Sandbox) -> None:
    status = sandbox.advance(timedelta(days=9))
    assert (status["now"], status["ended"]) == ("2024-01-04T00:00:00Z", True)
    assert sandbox.advance(MINUTE)["now"] == "2024-01-04T00:00:00Z"
    assert requests.get(f"{sandbox.url}/sandbox/status", timeout=10).json()["ended"]


def test_time_does_not_run_backwards(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="does not run backwards"):
        sandbox.advance(-MINUTE)
    with pytest.raises(ValueError, match="does not run backwards"):
        sandbox.advance_to(datetime(2024, 1, 1, tzinfo=UTC))


def test_a_free_clock_runs_by_itself_and_cannot_be_pushed(
    open_sandbox: Callable[..., Sandbox], wire: Callable[..., Wire]
) -> None:
    sandbox = open_sandbox(lockstep=False, speed=6_000.0)
    client = wire(sandbox)
    client.sign_in(bars=["BTC/USD"])
    assert client.hear()[0]["T"] == "b"
    with pytest.raises(ConfigurationError, match="lockstep=True"):
        sandbox.advance(MINUTE)
    assert requests.post(f"{sandbox.url}/sandbox/advance", json={"seconds": 1}, timeout=10).status_code == 409
    order(sandbox)
    until(lambda: sandbox.account().quantity("BTC/USD") > 0)


def test_it_stops_quickly_with_open_sockets_and_frees_its_port(
    open_sandbox: Callable[..., Sandbox], wire: Callable[..., Wire]
) -> None:
    sandbox = open_sandbox()
    wire(sandbox).sign_in(bars=["*"])
    wire(sandbox)
    began = time.monotonic()
    sandbox.stop()
    assert time.monotonic() - began < 2.5
    assert not sandbox.status()["running"]
    assert not [thread for thread in threading.enumerate() if thread.name == "sandbox"]
    with pytest.raises(VenueUnreachableError, match="not running"):
        sandbox.advance(MINUTE)
    sandbox.stop()
    with pytest.raises(VenueUnreachableError, match="make a new one"):
        sandbox.start()


def test_a_taken_port_is_named(sandbox: Sandbox, bars: pl.DataFrame) -> None:
    port = int(sandbox.url.rpartition(":")[2])
    with pytest.raises(ConfigurationError, match=f"port {port}"):
        Sandbox(bars=bars, port=port).start()
    assert sandbox.start() is sandbox


def test_before_the_start_there_is_no_address(bars: pl.DataFrame) -> None:
    waiting = Sandbox(bars=bars, cash=5.0)
    assert (waiting.status()["url"], waiting.account().cash_value) == (None, 5.0)
    with pytest.raises(VenueUnreachableError, match=r"start\(\)"):
        waiting.alpaca()


def test_it_works_inside_a_running_event_loop(bars: pl.DataFrame) -> None:
    async def notebook() -> str:
        with Sandbox(bars=bars, lockstep=True) as sandbox:
            return str(sandbox.advance(MINUTE)["now"])

    assert asyncio.run(notebook()) == "2024-01-02T12:01:00Z"


def test_a_client_that_does_not_read_is_dropped_and_the_market_goes_on(
    open_sandbox: Callable[..., Sandbox], wire: Callable[..., Wire]
) -> None:
    limits = StreamLimits(sending=timedelta(milliseconds=100))
    sandbox = open_sandbox(history=timedelta(hours=1), limits=limits)
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    narrow.connect(("127.0.0.1", int(sandbox.url.rpartition(":")[2])))
    client = wire(sandbox, sock=narrow, compression=None, close_timeout=0.1)
    client.sign_in(**{kind: ["*"] for kind in KINDS})
    status = sandbox.advance(timedelta(hours=71))
    assert (status["now"], status["sent"]["data"]) == ("2024-01-04T00:00:00Z", 0)
    wire(sandbox).sign_in(bars=["*"])


def test_the_synthetic_market_needs_no_arguments_but_a_length() -> None:
    with Sandbox(days=2, symbols=("SOL/USD",), costs=Costs.free(), lockstep=True, cash=500.0) as sandbox:
        assert sandbox.status()["now"] == "2024-01-02T00:00:00Z"
        assert sandbox.venue.instrument("SOL/USD").minimum_quantity > 0
        assert sandbox.account().cash_value == 500.0


def test_own_bars_and_a_planted_edge_exclude_each_other(bars: pl.DataFrame) -> None:
    with pytest.raises(ConfigurationError, match="leave them out"):
        Sandbox(bars=bars, edge=0.1)


def test_the_client_of_the_library_points_at_the_sandbox(sandbox: Sandbox) -> None:
    alpaca = sandbox.alpaca()
    assert alpaca.trading().get_account().cash == "100000"
    assert alpaca.control_url == sandbox.url


def test_a_client_that_dies_while_it_asks_leaves_no_trace(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    host, port = sandbox.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as dying:
        dying.sendall(b"POST /sandbox/advance HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n{")
        requests.get(f"{sandbox.url}/sandbox/status", timeout=10)
    for _ in range(3):
        assert requests.get(f"{sandbox.url}/sandbox/status", timeout=10).json()["now"] == "2024-01-02T12:00:00Z"
    sandbox.stop()
    assert caplog.messages == []
