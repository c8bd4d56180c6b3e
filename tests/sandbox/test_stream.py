import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgpack
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from cryptoquant.backtest.sandbox import Sandbox, StreamLimits
from cryptoquant.data.synthetic import ticks
from cryptoquant.market.schema import BookUpdate, Quote, Trade
from tests.sandbox.clients import Tape, Wire

MINUTE = timedelta(minutes=1)
NOTHING = {"trades": [], "quotes": [], "orderbooks": [], "bars": [], "updatedBars": [], "dailyBars": []}


def test_the_sdk_receives_what_it_subscribed_to_and_nothing_else(sandbox: Sandbox, tape: Callable[..., Tape]) -> None:
    data = tape("data")
    data.stream.subscribe_trades(data.keep, "BTC/USD")
    data.stream.subscribe_quotes(data.keep, "ETH/USD")
    data.stream.subscribe_orderbooks(data.keep, "ETH/USD")
    data.stream.subscribe_bars(data.keep, "BTC/USD", "ETH/USD")
    data.stream.subscribe_daily_bars(data.keep, "BTC/USD")
    data.play()
    opened = sandbox.market.now
    count = sandbox.advance(MINUTE)["sent"]["data"]
    names = [(type(message).__name__, message.symbol) for message in data.wait(count)]
    assert {(name, symbol): names.count((name, symbol)) for name, symbol in names} == {
        ("Trade", "BTC/USD"): 3,
        ("Bar", "BTC/USD"): 2,
        ("Quote", "ETH/USD"): 3,
        ("Orderbook", "ETH/USD"): 2,
        ("Bar", "ETH/USD"): 1,
    }
    bar = next(message for message in data.received if type(message).__name__ == "Bar")
    truth = sandbox.market.last("BTC/USD")
    assert truth is not None
    assert bar.timestamp == datetime(2024, 1, 2, 12, tzinfo=UTC)
    assert (truth.open_time, bar.open, bar.close, bar.volume) == (opened, truth.open, truth.close, truth.volume)


def test_raw_points_carry_nanoseconds_taker_side_and_whole_ids(sandbox: Sandbox, tape: Callable[..., Tape]) -> None:
    data = tape("data", raw_data=True)
    for subscribe in (data.stream.subscribe_trades, data.stream.subscribe_quotes, data.stream.subscribe_orderbooks):
        subscribe(data.keep, "BTC/USD")
    data.play()
    received = data.wait(sandbox.advance(MINUTE)["sent"]["data"])
    bar = sandbox.market.last("BTC/USD")
    assert bar is not None
    for message, tick in zip(received, ticks(bar, seed=sandbox.seed), strict=True):
        assert isinstance(message["t"], msgpack.Timestamp)
        assert message["t"].to_unix_nano() == tick.time
        if isinstance(tick, Trade):
            assert (message["T"], message["i"], message["tks"]) == ("t", tick.id, tick.taker_side)
        elif isinstance(tick, Quote):
            assert (message["T"], message["bp"], message["as"]) == ("q", tick.bid_price, tick.ask_size)
        else:
            assert isinstance(tick, BookUpdate)
            assert (message["T"], message.get("r", False)) == ("o", tick.reset)
    assert received[0]["r"] is True


def test_the_star_stands_for_every_symbol(sandbox: Sandbox, wire: Callable[..., Wire]) -> None:
    client = wire(sandbox)
    assert client.sign_in(bars=["*"]) == [{"T": "subscription", **NOTHING, "bars": ["*"]}]
    sandbox.advance(MINUTE)
    assert [client.hear()[0]["S"] for _ in range(2)] == ["BTC/USD", "ETH/USD"]


def test_subscribing_adds_and_unsubscribing_takes_away(sandbox: Sandbox, wire: Callable[..., Wire]) -> None:
    client = wire(sandbox)
    client.sign_in(bars=["BTC/USD"])
    client.say(action="subscribe", quotes=["ETH/USD"], bars=["ETH/USD"])
    assert client.hear() == [{"T": "subscription", **NOTHING, "quotes": ["ETH/USD"], "bars": ["BTC/USD", "ETH/USD"]}]
    client.say(action="unsubscribe", bars=["BTC/USD"], quotes=["ETH/USD"])
    assert client.hear() == [{"T": "subscription", **NOTHING, "bars": ["ETH/USD"]}]


def test_a_subscription_in_many_fragments_is_put_together(sandbox: Sandbox, tape: Callable[..., Tape]) -> None:
    data = tape("data")
    names = [f"{'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[n % 26] * (n // 26 + 1)}/USD" for n in range(1_500)]
    data.stream.subscribe_bars(data.keep, *names, "BTC/USD")
    data.play()
    assert sum(map(len, names)) > 32_768
    data.wait(sandbox.advance(MINUTE)["sent"]["data"])


def test_keys_may_come_in_the_handshake(sandbox: Sandbox, wire: Callable[..., Wire]) -> None:
    keys = {"APCA-API-KEY-ID": sandbox.api_key, "APCA-API-SECRET-KEY": sandbox.api_secret}
    client = wire(sandbox, keys)
    assert [client.hear()[0]["msg"] for _ in range(2)] == ["connected", "authenticated"]
    client.say(action="auth", **client.keys)
    assert client.hear() == [{"T": "error", "code": 403, "msg": "already authenticated"}]


def test_a_client_that_does_not_ask_for_msgpack_is_answered_in_json(sandbox: Sandbox) -> None:
    with connect(sandbox.data_stream_url, proxy=None) as plain:
        assert plain.recv(timeout=5) == '[{"T":"success","msg":"connected"}]'
        plain.send(json.dumps({"action": "auth", "key": sandbox.api_key, "secret": sandbox.api_secret}))
        plain.recv(timeout=5)
        plain.send(json.dumps({"action": "subscribe", "bars": ["BTC/USD"]}))
        plain.recv(timeout=5)
        sandbox.advance(MINUTE)
        (bar,) = json.loads(plain.recv(timeout=5))
        assert (bar["T"], bar["S"], bar["t"]) == ("b", "BTC/USD", "2024-01-02T12:00:00Z")


def test_wrong_keys_are_refused_with_402(sandbox: Sandbox, wire: Callable[..., Wire]) -> None:
    client = wire(sandbox)
    client.hear()
    client.say(action="auth", key=sandbox.api_key, secret="wrong")
    assert client.hear() == [{"T": "error", "code": 402, "msg": "auth failed"}]
    with pytest.raises(ConnectionClosed):
        client.bytes()


def test_a_second_connection_is_refused_with_406_until_the_first_is_gone(
    sandbox: Sandbox, wire: Callable[..., Wire]
) -> None:
    first, second = wire(sandbox), wire(sandbox)
    first.sign_in(bars=["BTC/USD"])
    second.hear()
    second.say(action="auth", **second.keys)
    assert second.hear() == [{"T": "error", "code": 406, "msg": "connection limit exceeded"}]
    sandbox.advance(MINUTE)
    assert first.hear()[0]["T"] == "b"
    first.close()
    wire(sandbox).sign_in(bars=["BTC/USD"])


def test_silence_instead_of_keys_ends_with_404(open_sandbox: Callable[..., Sandbox], wire: Callable[..., Wire]) -> None:
    client = wire(open_sandbox(limits=StreamLimits(authentication=timedelta(milliseconds=50))))
    client.hear()
    assert client.hear() == [{"T": "error", "code": 404, "msg": "auth timeout"}]


def test_too_many_subscriptions_are_refused_with_405_and_change_nothing(
    open_sandbox: Callable[..., Sandbox], wire: Callable[..., Wire]
) -> None:
    client = wire(open_sandbox(limits=StreamLimits(subscriptions=2)))
    client.sign_in(bars=["BTC/USD"])
    client.say(action="subscribe", trades=["BTC/USD", "ETH/USD"])
    assert client.hear() == [{"T": "error", "code": 405, "msg": "symbol limit exceeded"}]
    client.say(action="subscribe", trades=["BTC/USD"])
    assert client.hear() == [{"T": "subscription", **NOTHING, "trades": ["BTC/USD"], "bars": ["BTC/USD"]}]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"action": "dance"}, 400),
        ({"action": "subscribe", "bars": ["btcusd"]}, 400),
        ({"action": "subscribe", "bars": "BTC/USD"}, 400),
        ({"action": "subscribe", "news": ["*"]}, 410),
    ],
)
def test_a_message_that_makes_no_sense_is_named(
    sandbox: Sandbox, wire: Callable[..., Wire], message: dict, code: int
) -> None:
    client = wire(sandbox)
    client.sign_in(bars=["BTC/USD"])
    client.say(**message)
    assert client.hear()[0]["code"] == code


def test_subscribing_before_the_keys_is_refused_with_401(sandbox: Sandbox, wire: Callable[..., Wire]) -> None:
    client = wire(sandbox)
    client.hear()
    client.say(action="subscribe", bars=["*"])
    assert client.hear() == [{"T": "error", "code": 401, "msg": "not authenticated"}]
    client.socket.send(b"\xc1")
    assert client.hear() == [{"T": "error", "code": 400, "msg": "invalid syntax"}]
    client.say(action="auth", **client.keys)
    assert client.hear() == [{"T": "success", "msg": "authenticated"}]
