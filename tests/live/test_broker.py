"""The broker against a venue that answers badly: no order twice, none lost, exact numbers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
import requests

from cryptoquant.errors import ConfigurationError, OrderRefusedError, UnknownSymbolError, VenueUnreachableError
from cryptoquant.live.broker import AlpacaBroker, WireOrder, check_tradable
from cryptoquant.market.instrument import Instrument
from cryptoquant.trading.order import Order, Protection, Rejection
from cryptoquant.trading.venue import Costs, Venue


def order(lots=1e7, identity="cq-main-BTCUSD-1-0", symbol="BTC/USD", side="buy") -> Order:
    return Order(identity, "main", symbol, side, lots, 1)


@pytest.fixture
def broker(sandbox) -> AlpacaBroker:
    return AlpacaBroker(sandbox.alpaca(), Venue.alpaca(Costs.alpaca(1, 2.0)))


@contextmanager
def proxied(sandbox, answers: list[tuple[int, bool]]) -> Iterator[AlpacaBroker]:
    """A venue whose next POSTs are answered with a status, after or without passing them on."""

    class Proxy(BaseHTTPRequestHandler):
        def _pass_on(self) -> requests.Response:
            length = int(self.headers.get("Content-Length", 0))
            with requests.Session() as client:
                client.trust_env = False
                headers = {name: self.headers[name] for name in self.headers if name.lower().startswith("apca")}
                url = sandbox.url + self.path
                return client.request(self.command, url, data=self.rfile.read(length), headers=headers, timeout=5)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            real = self._pass_on()
            self._answer(real.status_code, real.content)

        def do_POST(self) -> None:
            status, passes = answers.pop(0) if answers else (0, True)
            real = self._pass_on() if passes else None
            if status:
                self._answer(status, b"upstream failed, and this is no JSON")
            elif real is not None:
                self._answer(real.status_code, real.content)

        def log_message(self, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        connection = replace(sandbox.alpaca(), trading_url=f"http://127.0.0.1:{server.server_port}")
        yield AlpacaBroker(connection, Venue.alpaca(Costs.alpaca(1, 2.0)))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def orders_of(sandbox) -> list[str]:
    found = sandbox.alpaca().trading().get("/orders", {"status": "all"})
    return [row["client_order_id"] for row in found]


@pytest.mark.parametrize("passes", [True, False], ids=["accepted before", "never arrived"])
@pytest.mark.parametrize("status", [500, 504, 502])
def test_an_answer_that_says_nothing_leads_to_exactly_one_order(sandbox, status, passes):
    with proxied(sandbox, [(status, passes)]) as broker:
        assert broker.submit(order()) is None
    assert orders_of(sandbox) == ["cq-main-BTCUSD-1-0"]


def test_an_order_that_never_arrives_stays_unknown_and_says_so(sandbox):
    with (
        proxied(sandbox, [(504, False), (504, False)]) as broker,
        pytest.raises(VenueUnreachableError, match="neither confirms nor denies"),
    ):
        broker.submit(order())
    assert orders_of(sandbox) == []


def test_sending_an_order_again_is_no_second_order(broker, sandbox):
    assert broker.submit(order()) is None
    assert broker.submit(order()) is None
    assert orders_of(sandbox) == ["cq-main-BTCUSD-1-0"]


def test_a_refusal_of_the_venue_comes_back_with_its_words(broker):
    refused = broker.submit(order(lots=1.0))
    assert refused is not None
    assert refused.reason.startswith("venue: ")
    too_much = broker.submit(order(lots=1e12, identity="b"))
    assert too_much is not None
    sold = broker.submit(order(lots=1e9, identity="c", side="sell"))
    assert sold is not None
    assert "insufficient balance for BTC" in sold.reason


def test_positions_cash_and_increments_are_read_exactly(broker, sandbox):
    sent = order(lots=123_456_789.0)
    broker.submit(sent)
    sandbox.advance(timedelta(minutes=1))
    held = broker.standing().positions["BTC/USD"]
    assert held == sandbox.venue.instrument("BTC/USD").quantity(sandbox.account().held("BTC/USD"))
    assert broker.standing().cash == Decimal(str(sandbox.account().cash_value)).quantize(Decimal("0.000001"))
    assert broker.instruments(("BTC/USD",))["BTC/USD"] == sandbox.venue.instrument("BTC/USD")
    with pytest.raises(UnknownSymbolError, match="does not trade DOGE/USD"):
        broker.instruments(("BTC/USD", "DOGE/USD"))


def test_numbers_travel_as_decimal_strings_without_exponent():
    fields = WireOrder(replace_limit(order(lots=10.0)), Instrument("BTC/USD")).to_request_fields()
    assert fields["qty"] == "0.00000001"
    assert fields["limit_price"] == "0.00000123"


def replace_limit(sent: Order) -> Order:
    return Order(sent.id, sent.profile, sent.symbol, sent.side, sent.lots, sent.time, "limit", "gtc", 1.23e-06)


def test_an_unknown_order_is_none_and_not_an_error(broker):
    assert broker.status("cq-never-sent") is None


def test_a_wrong_request_is_a_refusal_with_status_and_code(broker):
    with pytest.raises(OrderRefusedError) as caught:
        broker._call(lambda: broker._client.get("/positions/NOPE"))
    assert caught.value.status == 404


BEYOND_PLAIN = {
    "type stop": {"type": "stop", "stop_price": 90.0},
    "type stop_limit": {"type": "stop_limit", "stop_price": 90.0, "limit_price": 89.0},
    "type trailing_stop": {"type": "trailing_stop", "trail": 0.02},
    "time_in_force fok": {"time_in_force": "fok"},
    "stop_price": {"stop_price": 90.0},
    "trail": {"trail": 0.02},
    "replaces": {"replaces": "another"},
}


def test_an_order_that_says_more_than_a_market_order_is_refused_and_not_sent_without_it(broker, sandbox):
    for named, asked in BEYOND_PLAIN.items():
        refused = broker.submit(msgspec.structs.replace(order(), **asked))
        assert isinstance(refused, Rejection)
        assert refused.reason == f"not sent: paper trading sends market and plain limit orders, found {named}"
    assert orders_of(sandbox) == []


def test_every_field_of_an_order_is_either_sent_or_refused():
    sent = {"id", "symbol", "side", "lots", "type", "time_in_force", "limit_price"}
    ours = {"profile", "time", "expires", "group", "reduces", "protection"}
    refused = {"stop_price", "trail", "replaces"}
    assert set(Order.__struct_fields__) == sent | ours | refused


def test_what_the_client_holds_for_an_order_is_not_sent(broker, sandbox):
    held = {"time_in_force": "gtt", "expires": 2, "group": "pair", "protection": Protection(stop_loss=0.02)}
    assert broker.submit(msgspec.structs.replace(order(), **held)) is None
    (found,) = sandbox.alpaca().trading().get("/orders", {"status": "all"})
    assert (found["time_in_force"], found["type"], found["stop_price"]) == ("gtc", "market", None)


def test_a_cancel_ends_an_open_order_and_one_that_comes_too_late_says_how_it_ended(broker, sandbox):
    resting = msgspec.structs.replace(order(identity="b"), type="limit", limit_price=10_000.0, lots=1e8)
    broker.submit(resting)
    assert broker.cancel(resting)["status"] == "canceled"
    assert broker.cancel(resting)["status"] == "canceled"
    filled = order()
    broker.submit(filled)
    sandbox.advance(timedelta(minutes=1))
    assert broker.cancel(filled)["status"] == "filled"
    assert broker.cancel(order(identity="never-sent")) is None


def test_a_venue_without_time_is_asked_again_and_the_order_is_one(sandbox):
    with proxied(sandbox, [(429, False), (429, False)]) as broker:
        assert broker.submit(order()) is None
    assert orders_of(sandbox) == ["cq-main-BTCUSD-1-0"]


def test_market_and_plain_limit_orders_are_sent(broker, sandbox):
    assert broker.submit(order()) is None
    resting = msgspec.structs.replace(order(identity="b"), type="limit", limit_price=10_000.0, lots=1e8)
    assert broker.submit(resting) is None
    assert sorted(orders_of(sandbox)) == ["b", "cq-main-BTCUSD-1-0"]


def test_fees_that_are_not_those_of_the_venue_are_refused_and_assumptions_about_prices_are_not():
    with pytest.raises(ConfigurationError, match=r"costs\.schedule is given.*Costs\.alpaca"):
        check_tradable(Costs.of("alpaca"))
    with pytest.raises(ConfigurationError, match=r"costs\.fee_asset is 'quote'.*wanted 'received'"):
        check_tradable(replace(Costs.alpaca(), fee_asset="quote"))
    assumed = replace(
        Costs.alpaca(2, 1.0), spread_bps=2.0, volatility_share=0.1, impact_linear_bps=5.0, impact_sqrt=0.5
    )
    check_tradable(assumed)


def test_a_limit_is_sent_on_the_price_increment_and_never_worse_than_asked():
    pair = Instrument("BTC/USD", Decimal("0.000000001"), Decimal("0.01"), Decimal("0.00001"))
    asked = {("sell", 41420.5312): "41420.54", ("buy", 41420.5388): "41420.53", ("sell", 2282.6000000000004): "2282.6"}
    for (side, price), sent in asked.items():
        limited = msgspec.structs.replace(order(side=side), type="limit", limit_price=price)
        assert WireOrder(limited, pair).fields["limit_price"] == sent


def test_an_id_that_is_taken_by_an_order_that_cannot_be_found_yet_is_no_refusal(broker, monkeypatch):
    assert broker.submit(order()) is None
    seen = iter([None, broker.status(order().id)])
    monkeypatch.setattr(broker, "status", lambda order_id: next(seen))
    with pytest.raises(VenueUnreachableError, match="neither confirms nor denies"):
        broker.submit(order())
