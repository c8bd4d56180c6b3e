"""What goes wrong on the two websockets: what an unmodified client sees of each fault, and what stays true."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
import requests

from cryptoquant.backtest.sandbox import Fault, Sandbox
from tests.sandbox.clients import CryptoDataStream, Tape, until

MINUTE = timedelta(minutes=1)
PINGS = {"ping_interval": 0.1, "ping_timeout": 0.1, "close_timeout": 0.1, "max_queue": 1024}


@pytest.fixture
def play(tape: Callable[..., Tape]) -> Callable[..., Tape]:
    """An SDK stream that listens: to bars, trades and books of BTC/USD, or to the account's updates."""

    def start(kind: str = "data", *, updates: bool = False, **options: object) -> Tape:
        one = tape(kind, raw_data=True, **options)
        one.stream._reconnect_min_backoff = 0.01
        if kind == "data":
            one.stream.subscribe_bars(one.keep, "BTC/USD")
            one.stream.subscribe_trades(one.keep, "BTC/USD")
            one.stream.subscribe_orderbooks(one.keep, "BTC/USD")
            if updates:
                one.stream.subscribe_updated_bars(one.keep, "BTC/USD")
        else:
            one.stream.subscribe_trade_updates(one.keep)
        return one.play()

    return start


def order(sandbox: Sandbox, **changes: str) -> dict:
    body = {"symbol": "BTC/USD", "qty": "0.1", "side": "buy", "type": "market", "time_in_force": "gtc"} | changes
    headers = {"APCA-API-KEY-ID": sandbox.api_key, "APCA-API-SECRET-KEY": sandbox.api_secret}
    return requests.post(f"{sandbox.url}/v2/orders", json=body, headers=headers, timeout=10).json()


def bars(tape: Tape, letter: str = "b") -> list[tuple[int, float]]:
    return [(one["t"].to_unix_nano(), one["c"]) for one in tape.received if one["T"] == letter]


def told(sandbox: Sandbox) -> list[tuple[int, float]]:
    """The closed minutes since the start, as the history tells them."""
    found = sandbox.market.series("BTC/USD", "1Min")
    since = [found.bar(index) for index in range(len(found.opens))]
    return [
        (b.open_time, b.close) for b in since if b.open_time >= sandbox.market.start and b.time <= sandbox.market.now
    ]


def events(tape: Tape) -> list[str]:
    return [one["data"]["event"] for one in tape.received]


def listens(sandbox: Sandbox, kind: str) -> bool:
    return sandbox.status()["listening"][kind] == 1


def fired(sandbox: Sandbox) -> list[int]:
    return [fault["fired"] for fault in sandbox.faults()]


def hear(sandbox: Sandbox, tape: Tape, minutes: int) -> None:
    """Advance minute by minute; the client waits for as much as was put on its socket."""
    before = len(tape.received) - sandbox.status()["sent"]["data"]
    for _ in range(minutes):
        tape.wait(before + sandbox.advance(MINUTE)["sent"]["data"])


def test_a_dropped_data_stream_is_taken_up_again_and_what_was_missed_is_in_the_history(
    sandbox: Sandbox, play: Callable[..., Tape]
) -> None:
    data = play()
    sandbox.inject(Fault("data.drop", at=sandbox.market.now + 2 * 60 * 10**9))
    hear(sandbox, data, 1)
    assert sandbox.advance(MINUTE)["sent"] == {"data": 0, "trading": 0}
    until(lambda: listens(sandbox, "data"))
    count = len(data.received)
    data.wait(count + sandbox.advance(MINUTE)["sent"]["data"])
    assert bars(data) == [told(sandbox)[0], told(sandbox)[2]]
    assert fired(sandbox) == [1]


def test_a_mute_data_stream_counts_nothing_and_stays_connected(sandbox: Sandbox, play: Callable[..., Tape]) -> None:
    data = play()
    hear(sandbox, data, 1)
    sandbox.inject(Fault("data.mute", lasts=2 * MINUTE))
    hear(sandbox, data, 4)
    # It ends before the second close from now.
    assert bars(data) == [told(sandbox)[0], *told(sandbox)[2:]]
    assert fired(sandbox) == [1]
    assert listens(sandbox, "data")


@pytest.mark.parametrize("kind", ["data", "trading"])
def test_a_half_open_stream_answers_no_ping_and_stays_open(
    sandbox: Sandbox, play: Callable[..., Tape], caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    client = play(kind, websocket_params=PINGS)
    first = client.stream._ws
    sandbox.inject(Fault(f"{kind}.half_open"))
    assert first.open
    assert sandbox.status()["listening"][kind] == 0
    until(lambda: listens(sandbox, kind))
    assert client.stream._ws is not first
    assert "keepalive ping timeout; no close frame received" in caplog.text


def test_a_half_open_stream_is_not_noticed_without_pings(sandbox: Sandbox, play: Callable[..., Tape]) -> None:
    data = play(websocket_params={**PINGS, "ping_interval": None})
    sandbox.inject(Fault("data.half_open"))
    assert sandbox.advance(MINUTE)["sent"]["data"] == 0
    connection = data.stream._ws
    pong = asyncio.run_coroutine_threadsafe(connection.ping(), data.stream._loop).result(5)
    time.sleep(0.2)
    assert (connection.open, pong.done(), data.received) == (True, False, [])
    data.stream._loop.call_soon_threadsafe(connection.transport.abort)
    until(lambda: listens(sandbox, "data"))


def test_a_slow_client_is_told_407_and_let_in_again(
    sandbox: Sandbox, play: Callable[..., Tape], caplog: pytest.LogCaptureFixture
) -> None:
    play()
    sandbox.inject(Fault("data.slow_client"))
    until(lambda: listens(sandbox, "data"))
    assert "slow client (407)" in caplog.text


def test_the_connection_limit_is_refused_as_often_as_said(
    sandbox: Sandbox, play: Callable[..., Tape], caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.inject(Fault("data.limit", count=3))
    play()
    assert caplog.text.count("connection limit exceeded") >= 3
    assert fired(sandbox) == [3]


@pytest.mark.parametrize("kind", ["data", "trading"])
def test_a_refused_handshake_is_http_429(
    sandbox: Sandbox, play: Callable[..., Tape], caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    sandbox.inject(Fault(f"{kind}.refuse", count=2))
    play(kind)
    assert caplog.text.count("HTTP 429") >= 2
    assert fired(sandbox) == [2]


def test_a_frame_comes_twice_with_the_same_content(sandbox: Sandbox, play: Callable[..., Tape]) -> None:
    data = play()
    sandbox.inject(Fault("data.duplicate", count=2))
    hear(sandbox, data, 3)
    first, second, third = told(sandbox)
    assert bars(data) == [first, first, second, second, third]


def test_a_frame_is_overtaken_by_the_next(sandbox: Sandbox, play: Callable[..., Tape]) -> None:
    data = play()
    sandbox.inject(Fault("data.reorder"))
    hear(sandbox, data, 3)
    first, second, third = told(sandbox)
    assert bars(data) == [second, first, third]


def test_a_late_frame_keeps_its_stamps(sandbox: Sandbox, play: Callable[..., Tape]) -> None:
    data = play()
    sandbox.inject(Fault("data.late", delay=timedelta(seconds=90)))
    hear(sandbox, data, 2)
    first, second = told(sandbox)
    assert bars(data) == [second]
    data.wait(sandbox.advance(timedelta(seconds=30))["sent"]["data"])
    assert bars(data) == [second, first]


def test_a_frame_under_way_is_lost_with_its_connection(sandbox: Sandbox, play: Callable[..., Tape]) -> None:
    data = play()
    sandbox.inject(Fault("data.late", delay=MINUTE))
    assert sandbox.advance(timedelta(seconds=60))["sent"]["data"] == 0
    sandbox.inject(Fault("data.drop"))
    until(lambda: listens(sandbox, "data"))
    hear(sandbox, data, 1)
    assert bars(data) == told(sandbox)[1:]


def test_a_corrupt_frame_is_counted_with_no_points_and_the_next_is_whole(
    sandbox: Sandbox, play: Callable[..., Tape], caplog: pytest.LogCaptureFixture
) -> None:
    data = play()
    sandbox.inject(Fault("data.corrupt"))
    assert sandbox.advance(MINUTE)["sent"]["data"] == 0
    hear(sandbox, data, 1)
    assert bars(data) == told(sandbox)[1:]
    assert "error during websocket communication" in caplog.text


def test_a_book_comes_without_its_reset_once(sandbox: Sandbox, play: Callable[..., Tape]) -> None:
    data = play()
    sandbox.inject(Fault("data.no_reset"))
    hear(sandbox, data, 2)
    books = [one for one in data.received if one["T"] == "o"]
    half = len(books) // 2
    assert ["r" in one for one in books] == [False] * half + [True] + [False] * (half - 1)


def test_a_corrected_trade_has_the_same_id_and_another_price(sandbox: Sandbox, play: Callable[..., Tape]) -> None:
    data = play()
    sandbox.inject(Fault("data.correction", factor=1.01))
    hear(sandbox, data, 1)
    trades = [one for one in data.received if one["T"] == "t"]
    assert data.received[-1] is trades[-1]
    assert trades[-1] == {**trades[-2], "p": trades[-2]["p"] * 1.01}
    hear(sandbox, data, 1)
    numbers = [one["i"] for one in data.received if one["T"] == "t"]
    assert len(numbers) - len(set(numbers)) == 1


@pytest.mark.parametrize(("updates", "letter"), [(True, "u"), (False, "b")])
def test_a_wrong_bar_comes_as_an_updated_bar_where_the_client_hears_of_them(
    sandbox: Sandbox, play: Callable[..., Tape], updates: bool, letter: str
) -> None:
    data = play(updates=updates)
    sandbox.inject(Fault("data.wrong_bar", factor=2.0))
    hear(sandbox, data, 1)
    ((opened, close),) = told(sandbox)
    assert data.received[-1]["T"] == letter
    assert bars(data, letter)[-1] == (opened, 2.0 * close)
    assert data.received[-1]["h"] == 2.0 * close


@pytest.mark.parametrize(
    ("kind", "count", "heard"),
    [
        ("mute", 2, []),
        ("lose", 1, ["fill"]),
        ("duplicate", 1, ["new", "new", "fill"]),
        ("reorder", 1, ["fill", "new"]),
    ],
)
def test_updates_are_kept_back_lost_doubled_or_swapped_and_rest_knows(
    sandbox: Sandbox, play: Callable[..., Tape], kind: str, count: int, heard: list[str]
) -> None:
    updates = play("trading")
    sandbox.inject(Fault(f"trading.{kind}", count=count))
    placed = order(sandbox)
    updates.wait(sandbox.advance(MINUTE)["sent"]["trading"])
    assert events(updates) == heard
    assert fired(sandbox) == [count]
    assert sandbox.alpaca().trading().get_order_by_id(placed["id"]).status == "filled"
    if kind == "duplicate":
        assert updates.received[0] == updates.received[1]


def test_one_event_of_one_symbol_is_late(sandbox: Sandbox, play: Callable[..., Tape]) -> None:
    updates = play("trading")
    sandbox.inject(Fault("trading.late", symbol="ETH/USD", event="fill", delay=2 * MINUTE))
    order(sandbox), order(sandbox, symbol="ETH/USD")
    updates.wait(sandbox.advance(MINUTE)["sent"]["trading"])
    assert events(updates) == ["new", "new", "fill"]
    updates.wait(sandbox.advance(MINUTE)["sent"]["trading"])
    assert len(updates.received) == 3
    updates.wait(sandbox.advance(MINUTE)["sent"]["trading"])
    late = updates.received[-1]["data"]
    assert (late["event"], late["order"]["symbol"]) == ("fill", "ETH/USD")
    assert late["timestamp"] == "2024-01-02T12:00:00Z"


def test_a_fault_at_a_close_meets_the_fills_of_that_close(sandbox: Sandbox, play: Callable[..., Tape]) -> None:
    updates = play("trading")
    sandbox.inject(Fault("trading.lose", at="2024-01-02T12:01:00Z"))
    order(sandbox)
    updates.wait(1)
    assert sandbox.advance(MINUTE)["sent"]["trading"] == 1
    assert fired(sandbox) == [1]


def test_a_fill_while_the_update_stream_was_dropped_is_told_by_rest_only(
    sandbox: Sandbox, play: Callable[..., Tape]
) -> None:
    updates = play("trading")
    placed = order(sandbox)
    updates.wait(1)
    sandbox.inject(Fault("trading.drop"))
    sandbox.advance(MINUTE)
    until(lambda: listens(sandbox, "trading"))
    assert events(updates) == ["new"]
    assert sandbox.alpaca().trading().get_order_by_id(placed["id"]).status == "filled"


@pytest.mark.parametrize("kind", ["data", "trading"])
def test_a_restart_ends_the_sockets_and_keeps_the_state(sandbox: Sandbox, play: Callable[..., Tape], kind: str) -> None:
    play(kind)
    placed, client = order(sandbox), sandbox.alpaca().trading()
    sandbox.inject(Fault("venue.restart", seconds=0.5))
    with pytest.raises(requests.ConnectionError):
        client.get_account()
    assert not listens(sandbox, kind)
    assert requests.get(f"{sandbox.url}/sandbox/status", timeout=10).json()["listening"][kind] == 0
    until(lambda: listens(sandbox, kind))
    assert client.get_order_by_id(placed["id"]).status == "new"


def test_a_clock_that_is_behind_stamps_the_frames_and_heals(sandbox: Sandbox, play: Callable[..., Tape]) -> None:
    data, client = play(), sandbox.alpaca().trading()
    sandbox.inject(Fault("venue.clock", seconds=-30.0))
    assert client.get_clock().timestamp.isoformat() == "2024-01-02T11:59:30+00:00"
    hear(sandbox, data, 1)
    ((opened, close),) = told(sandbox)
    assert bars(data) == [(opened - 30 * 10**9, close)]
    sandbox.heal()
    assert client.get_clock().timestamp.isoformat() == "2024-01-02T12:01:00+00:00"
    hear(sandbox, data, 1)
    assert bars(data)[-1] == told(sandbox)[-1]


def test_a_clock_that_is_ahead_stamps_the_updates_and_not_the_orders(
    sandbox: Sandbox, play: Callable[..., Tape]
) -> None:
    updates = play("trading")
    sandbox.inject(Fault("venue.clock", seconds=90.0))
    placed = order(sandbox)
    updates.wait(1)
    assert updates.received[0]["data"]["timestamp"] == "2024-01-02T12:01:30Z"
    assert placed["submitted_at"] == "2024-01-02T12:00:00Z"


def test_the_sdk_is_not_changed_by_a_schedule_for_another_day(open_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = open_sandbox(faults=[Fault("data.limit", at="2024-01-03")])
    stream = CryptoDataStream(sandbox.api_key, sandbox.api_secret, url_override=sandbox.data_stream_url)
    data = Tape(stream, sandbox)
    stream.subscribe_bars(data.keep, "BTC/USD")
    data.play()
    assert sandbox.faults()[0]["phase"] == "pending"
    data.end()
