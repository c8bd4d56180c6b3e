from collections.abc import Callable
from datetime import timedelta

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.data.historical.crypto import CryptoHistoricalDataClient
from alpaca.data.requests import CryptoLatestBarRequest
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import MarketOrderRequest

from cryptoquant.backtest.sandbox import Fault, Sandbox
from cryptoquant.data.clock import clock_of
from cryptoquant.errors import ConfigurationError, VenueError
from tests.sandbox.clients import Tape, TradingStream, Wire, end_all, until

MINUTE = timedelta(minutes=1)


def clients(sandbox: Sandbox) -> list[TradingClient]:
    return [TradingClient(key, secret, url_override=sandbox.url) for key, secret in sandbox.keys]


def buy(client: TradingClient, qty: float, **changes: object) -> object:
    asked = {"symbol": "BTC/USD", "qty": qty, "side": OrderSide.BUY, "time_in_force": TimeInForce.GTC}
    return client.submit_order(MarketOrderRequest(**(asked | changes)))


def test_accounts_share_the_market_and_nothing_else(open_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = open_sandbox(accounts=2, cash=50_000.0)
    one, two = clients(sandbox)
    orders = [buy(client, qty, client_order_id="same") for client, qty in ((one, 0.1), (two, 0.2))]
    sandbox.advance(MINUTE)
    assert orders[0].id != orders[1].id
    assert [client.get_open_position("BTCUSD").qty for client in (one, two)] == ["0.09975", "0.1995"]
    prices = {client.get_order_by_client_id("same").filled_avg_price for client in (one, two)}
    assert len(prices) == 1
    assert one.get_account().id != two.get_account().id
    assert one.get_asset("BTC/USD") == two.get_asset("BTC/USD")
    with pytest.raises(APIError, match="order not found"):
        two.get_order_by_id(orders[0].id)
    assert sandbox.account(sandbox.keys[1][0]).quantity("BTC/USD") == pytest.approx(0.1995)
    assert sandbox.account().quantity("BTC/USD") == pytest.approx(0.09975)


def test_an_account_is_opened_while_the_market_runs(sandbox: Sandbox) -> None:
    sandbox.advance(5 * MINUTE)
    alpaca = sandbox.open_account(cash=123.0)
    later, first = alpaca.trading().get_account(), sandbox.alpaca().trading().get_account()
    assert later.cash == "123"
    assert later.created_at - first.created_at == 5 * MINUTE
    assert len(sandbox.keys) == 2
    assert sandbox.alpaca(alpaca.api_key).api_secret == alpaca.api_secret != sandbox.api_secret
    with pytest.raises(ConfigurationError, match="no account has the key NOBODY"):
        sandbox.account("NOBODY")
    with pytest.raises(ValueError, match="at least 1"):
        Sandbox(days=2, accounts=0)


def test_keys_do_not_mix(open_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = open_sandbox(accounts=2)
    (first, _), (_, secret) = sandbox.keys
    with pytest.raises(APIError, match="unauthorized"):
        TradingClient(first, secret, url_override=sandbox.url).get_account()
    asked = CryptoLatestBarRequest(symbol_or_symbols="BTC/USD")
    for key, of_key in sandbox.keys:
        assert CryptoHistoricalDataClient(key, of_key, url_override=sandbox.url).get_crypto_latest_bar(asked)
    with pytest.raises(APIError, match="unauthorized"):
        CryptoHistoricalDataClient(first, secret, url_override=sandbox.url).get_crypto_latest_bar(asked)


def test_each_account_hears_of_its_own_orders_only(open_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = open_sandbox(accounts=2)
    tapes = []
    for count, keys in enumerate(sandbox.keys, start=1):
        tape = Tape(TradingStream(*keys, url_override=sandbox.trading_stream_url), sandbox)
        tape.stream.subscribe_trade_updates(tape.keep)
        tapes.append(tape.play())
        until(lambda count=count: sandbox.status()["listening"]["trading"] == count)
    orders = [buy(client, 0.1) for client in clients(sandbox)]
    sandbox.advance(MINUTE)
    for tape, order in zip(tapes, orders, strict=True):
        assert [(update.event, update.order.id) for update in tape.wait(2)] == [("new", order.id), ("fill", order.id)]
    end_all(tapes)


def test_keys_and_ids_are_the_same_at_every_sandbox_of_a_seed(open_sandbox: Callable[..., Sandbox]) -> None:
    first, second, other = open_sandbox(accounts=2), open_sandbox(accounts=2), open_sandbox(accounts=2, seed=8)
    assert first.keys == second.keys
    assert len({*first.keys, *other.keys}) == 4
    ids = [[buy(client, 0.1).id for client in clients(sandbox)] for sandbox in (first, second)]
    assert ids[0] == ids[1]


def test_each_account_has_one_data_connection_and_what_it_asked_for(
    open_sandbox: Callable[..., Sandbox], wire: Callable[..., Wire]
) -> None:
    sandbox = open_sandbox(accounts=2)
    clients_ = [wire(sandbox, account=place) for place in (0, 1)]
    clients_[0].sign_in(bars=["BTC/USD"])
    clients_[1].sign_in(bars=["*"], trades=["ETH/USD"])
    third = wire(sandbox, account=1)
    assert third.hear() == [{"T": "success", "msg": "connected"}]
    third.say(action="auth", **third.keys)
    assert third.hear() == [{"T": "error", "code": 406, "msg": "connection limit exceeded"}]
    status = sandbox.advance(MINUTE)
    assert status["listening"]["data"] == 2
    heard = [[(p["T"], p["S"]) for p in clients_[0].hear()]]
    heard.append([(p["T"], p["S"]) for _ in range(2) for p in clients_[1].hear()])
    assert heard[0] == [("b", "BTC/USD")]
    assert heard[1] == [("b", "BTC/USD"), *[("t", "ETH/USD")] * (len(heard[1]) - 2), ("b", "ETH/USD")]
    counts = [status["accounts"][key]["data"] for key, _ in sandbox.keys]
    assert counts == [len(points) for points in heard]
    assert status["sent"] == {"data": 1, "trading": 0}
    clients_[1].close()
    until(lambda: sandbox.status()["listening"]["data"] == 1)
    wire(sandbox, account=1).sign_in(bars=["BTC/USD"])
    sandbox.advance(MINUTE)
    assert clients_[0].hear()[0]["T"] == "b"


def test_a_lockstep_client_of_any_account_gets_its_own_counts(
    open_sandbox: Callable[..., Sandbox], wire: Callable[..., Wire]
) -> None:
    sandbox = open_sandbox(accounts=2)
    wire(sandbox, account=0).sign_in(bars=["BTC/USD"])
    wire(sandbox, account=1).sign_in(bars=["BTC/USD", "ETH/USD"])
    clocks = [clock_of(sandbox.alpaca(key)) for key, _ in sandbox.keys]
    assert [clock.advance(MINUTE).data for clock in clocks] == [1, 2]  # the second to the same moment: it moves once
    assert clocks[1].advance(MINUTE).data == 4
    assert [clock.status().data for clock in clocks] == [2, 4]
    refused = requests.post(f"{sandbox.url}/sandbox/advance?key=NOBODY", json={"seconds": 60}, timeout=10)
    assert (refused.status_code, sandbox.status()["accounts"][sandbox.keys[1][0]]["data"]) == (404, 4)
    clocks[0].key = "NOBODY"
    with pytest.raises(VenueError, match="no account has the key NOBODY"):
        clocks[0].status()


def test_faults_strike_orders_and_updates_of_every_account_also_of_one_opened_later(
    open_sandbox: Callable[..., Sandbox],
) -> None:
    sandbox = open_sandbox(accounts=2, faults=[Fault("order.reject", count=3)])
    sandbox.advance(MINUTE)
    sandbox.open_account()
    orders = [(client, buy(client, 0.1)) for client in clients(sandbox)]
    sandbox.advance(MINUTE)
    assert [client.get_order_by_id(order.id).status for client, order in orders] == ["rejected"] * 3
    assert sandbox.faults()[0]["phase"] == "over"


def test_a_fault_that_strikes_one_frame_leaves_that_of_the_next_account_alone(
    open_sandbox: Callable[..., Sandbox], wire: Callable[..., Wire]
) -> None:
    sandbox = open_sandbox(accounts=2)
    clients_ = [wire(sandbox, account=place) for place in (1, 0)]
    for client in clients_:
        client.sign_in(bars=["BTC/USD"])
    sandbox.inject(Fault("data.late", delay=MINUTE))
    for counts in ([0, 1], [2, 2]):
        status = sandbox.advance(MINUTE)
        assert [status["accounts"][key]["data"] for key, _ in sandbox.keys] == counts
    stamps = [[client.hear()[0]["t"].to_unix_nano() for _ in range(2)] for client in clients_]
    assert stamps[0] == stamps[1]
