"""The connection: keys stay secret, trading stays on paper, and the venue's answers become our errors."""

import asyncio
import socket
import threading

import polars as pl
import pytest

from cryptoquant.data import alpaca as connection
from cryptoquant.data.alpaca import Alpaca, ender, fetch
from cryptoquant.data.alpaca_history import alpaca_timeframe
from cryptoquant.data.rate import TokenBucket
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import (
    AuthenticationError,
    ConfigurationError,
    RequestRefusedError,
    UnknownSymbolError,
    VenueError,
    VenueUnreachableError,
)
from cryptoquant.market.time import to_ns
from tests.data.history import history

BARS = SyntheticMarket(days=2, timeframe="5m").bars()
START, END = to_ns("2024-01-01"), to_ns("2024-01-03")


def fetched(server, symbols=("BTC/USD", "ETH/USD"), start=START, end=END) -> pl.DataFrame:
    return pl.concat(server.alpaca().fetch_bars(symbols, "5m", start, end))


def test_neither_secret_nor_key_is_printed():
    text = repr(Alpaca("PKABCDEFGH", "very-secret"))
    assert "very-secret" not in text
    assert "PKABCD" not in text
    assert "EFGH" in text


@pytest.mark.parametrize("name", ["trading_url", "trading_stream_url"])
def test_live_trading_addresses_are_refused(name):
    for url in (
        "https://api.alpaca.markets",
        "https://paper-api.alpaca.markets.evil.com",
        "wss://api.alpaca.markets/stream",
    ):
        with pytest.raises(ConfigurationError, match="paper only"):
            Alpaca("K", "S", **{name: url})
    Alpaca("K", "S", **{name: "https://paper-api.alpaca.markets"})
    Alpaca("K", "S", **{name: "http://127.0.0.1:8000"})


def test_keys_do_not_travel_in_clear_text():
    with pytest.raises(ConfigurationError, match="encrypted"):
        Alpaca("K", "S", data_url="http://example.org")


def test_without_keys_history_is_open_and_trading_is_not():
    source = Alpaca("", "")
    source.historical()
    with pytest.raises(ConfigurationError, match="APCA_API_KEY_ID"):
        source.trading()


def test_clients_have_a_timeout_and_never_send_an_order_twice():
    source = Alpaca("K", "S", trading_url="http://127.0.0.1:9")
    for client in (source.trading(), source.historical()):
        assert client._session.request.keywords == {"timeout": connection.TIMEOUT_S}
        assert client._retry == 0
    assert source.trading()._base_url == "http://127.0.0.1:9"
    assert Alpaca("K", "S").trading()._base_url == "https://paper-api.alpaca.markets"


def test_streams_are_raw_and_point_where_they_should():
    source = Alpaca("K", "S", data_stream_url="ws://127.0.0.1:9/v1beta3/crypto/us")
    stream = source.data_stream()
    assert (stream._endpoint, stream._raw_data) == ("ws://127.0.0.1:9/v1beta3/crypto/us", True)
    assert stream._websocket_params == connection.WEBSOCKET
    assert source.trading_stream()._endpoint == connection.TRADING_STREAM_URL
    assert Alpaca("K", "S").data_stream()._endpoint == connection.DATA_STREAM_URL


def test_pages_together_are_the_bars_of_the_venue():
    with history(BARS, page=100) as server:
        pages = list(server.alpaca().fetch_bars(["BTC/USD", "ETH/USD"], "5m", START, END))
        assert len(pages) == 12
        assert pl.concat(pages).equals(BARS)
        assert len(server.requests) == 12


def test_start_and_end_hold_whole_bars():
    with history(BARS) as server:
        bars = fetched(server, "BTC/USD", START + 1, START + 1_000_000_000_000)
        assert [time.minute for time in bars["time"]] == [10, 15]
        assert list(server.alpaca().fetch_bars("BTC/USD", "1h", START, START + 1)) == []


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        ((401, {}, '{"message":"unauthorized."}'), AuthenticationError, "keys refused"),
        ((403, {}, "forbidden"), AuthenticationError, "HTTP 403"),
        ((400, {}, '{"message":"invalid symbol: BTCUSD"}'), UnknownSymbolError, "invalid symbol"),
        ((400, {}, '{"message":"invalid timeframe"}'), RequestRefusedError, "HTTP 400"),
        ((404, {}, '{"message":"not found"}'), RequestRefusedError, "HTTP 404"),
        ((422, {}, '{"message":"unprocessable"}'), RequestRefusedError, "HTTP 422"),
        ((200, {}, "<html>"), VenueError, "cannot be read"),
    ],
)
def test_a_refusal_is_named_at_once(fault, error, text):
    with history(BARS) as server:
        server.faults = [fault]
        with pytest.raises(error, match=text):
            fetched(server)
        assert len(server.requests) == 1


def test_overload_is_answered_with_patience_and_a_limit(monkeypatch):
    pauses = []
    monkeypatch.setattr(connection.time, "sleep", pauses.append)
    with history(BARS) as server:
        server.faults = [(429, {"Retry-After": "7"}, "slow down"), (503, {}, "busy")]
        assert fetched(server).height == BARS.height
        assert pauses[0] == 7
        assert 0 < pauses[1] < 1
        server.faults = [(500, {}, "broken")] * 10
        with pytest.raises(VenueError, match="HTTP 500: broken"):
            fetched(server)
        assert len(server.faults) == 10 - connection.ATTEMPTS


@pytest.mark.parametrize(
    ("fault", "text"),
    [((503, {}, "busy"), "HTTP 503: busy"), ((429, {"Retry-After": "100"}, "slow"), "HTTP 429: slow")],
)
def test_a_pause_that_is_ended_is_followed_by_no_other_attempt(fault, text):
    bucket = TokenBucket(sleep=lambda seconds: True)
    with history(BARS) as server:
        server.faults = [fault] * 5
        with pytest.raises(VenueError, match=text):
            fetch(server.alpaca().historical(), "/crypto/us/bars", {}, bucket)
        assert len(server.requests) == 1
        bucket.pause(100.0)
        with pytest.raises(VenueError, match="no attempt"):
            fetch(server.alpaca().historical(), "/crypto/us/bars", {}, bucket)
        assert len(server.requests) == 1


def test_an_answer_that_is_cut_off_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(connection.time, "sleep", lambda _: None)
    cut = (200, {"Content-Length": "5000"}, '{"bars":{')
    with history(BARS) as server:
        server.faults = [cut]
        assert fetched(server).equals(BARS)
        server.faults = [cut] * 5
        with pytest.raises(VenueUnreachableError, match="cut off"):
            fetched(server)
        assert not server.faults


def test_nobody_at_the_address_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(connection.time, "sleep", lambda _: None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    source = Alpaca("K", "S", data_url=f"http://127.0.0.1:{port}")
    with pytest.raises(VenueUnreachableError, match=rf"127\.0\.0\.1:{port}: no connection") as caught:
        list(source.fetch_bars("BTC/USD", "5m", START, END))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("ours", "theirs"), [("1m", "1Min"), ("59m", "59Min"), ("60m", "1Hour"), ("24h", "1Day")])
def test_timeframes_have_the_names_of_the_venue(ours, theirs):
    assert alpaca_timeframe(ours) == theirs


def test_a_timeframe_that_the_venue_lacks_is_refused():
    with pytest.raises(ValueError, match="Alpaca has no bars of 90m"):
        alpaca_timeframe("90m")


def test_a_task_that_loses_a_cancellation_with_an_arriving_frame_is_ended_all_the_same(monkeypatch):
    monkeypatch.setattr(connection, "END_AGAIN_SECONDS", 0.01)
    ends, cancelled = [], []

    async def stream() -> None:
        ends.append(ender())
        ready.set()
        while True:
            try:
                await asyncio.sleep(5.0)
            except asyncio.CancelledError:
                cancelled.append(True)
                if len(cancelled) > 2:
                    raise

    def run() -> None:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(stream())

    ready = threading.Event()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(5.0)
    ends[0]()
    thread.join(5.0)
    assert not thread.is_alive()
    assert len(cancelled) == 3
    ends[0]()
