"""The sandbox venue: a market on this machine that speaks Alpaca's protocol, so that its clients work unmodified."""

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from cryptoquant.backtest.sandbox.account_api import AccountApi
from cryptoquant.backtest.sandbox.accounts import Account, Accounts
from cryptoquant.backtest.sandbox.clockwork import Clockwork
from cryptoquant.backtest.sandbox.fault import Fault
from cryptoquant.backtest.sandbox.faults import Faults
from cryptoquant.backtest.sandbox.faults_api import FaultsApi
from cryptoquant.backtest.sandbox.gate import Gate
from cryptoquant.backtest.sandbox.history import PREFIX, History
from cryptoquant.backtest.sandbox.late import LateTrades
from cryptoquant.backtest.sandbox.market import Market
from cryptoquant.backtest.sandbox.meter import Meter
from cryptoquant.backtest.sandbox.orders_api import OrdersApi
from cryptoquant.backtest.sandbox.portion import Portion
from cryptoquant.backtest.sandbox.positions_api import PositionsApi
from cryptoquant.backtest.sandbox.reference_api import ReferenceApi
from cryptoquant.backtest.sandbox.refusal import absent
from cryptoquant.backtest.sandbox.server import HOST, LoopbackServer
from cryptoquant.backtest.sandbox.state import load, replay, save
from cryptoquant.backtest.sandbox.stream import DataStream, StreamLimits
from cryptoquant.backtest.sandbox.stream_faults import StreamFaults
from cryptoquant.backtest.sandbox.trading import TradingApi, answer, refuse
from cryptoquant.backtest.sandbox.updates import PATH, TradeUpdates
from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.synthetic import SyntheticMarket, decimals
from cryptoquant.errors import ConfigurationError
from cryptoquant.market.instrument import Instrument
from cryptoquant.market.time import Instant, span_ns, to_ns
from cryptoquant.trading.portfolio import Portfolio
from cryptoquant.trading.venue import Costs, Venue, increments

QUANTITY_INCREMENT = "0.000000001"


class Sandbox:
    """A venue on loopback for research and paper trading without keys and without a network.

    It serves Alpaca's crypto protocol: market data over HTTP and websocket, the trading API, and trade updates. The
    market is a seeded synthetic one, or bars of your own. Orders are filled by the same matching that the simulator
    uses. The same seed and the same sequence of calls give the same answers.

    Parameters
    ----------
    seed
        Of the synthetic market, of the ticks inside its bars and of all ids.
    symbols
        Pairs of the synthetic market.
    edge
        Planted drift of the synthetic market, see ``SyntheticMarket``.
    bars
        A market of your own: schema ``bars``, one timeframe. It replaces the synthetic one.
    start
        Open of the synthetic market's first bar, ``2024-01-01`` by default.
    days
        Length of the synthetic market.
    history
        How much of the market is past when the sandbox starts; by default a year, or half of a shorter market.
    lockstep
        Time moves only by ``advance``; otherwise it runs at ``speed`` market seconds in a wall second.
    cash
        Of each account, in USD.
    accounts
        How many there are at the start; ``open_account`` opens more.
    costs
        Fees and slippage, by default Alpaca's first tier with 2 bps of slippage.
    participation
        Largest share of a bar's volume that the orders of an account may trade; the rest of an order waits.
    latency
        Time from an order to its arrival: it takes part in bars that open then or later, and so do cancels.
    partial_fills
        Fraction of marketable orders that fill in two parts, the second a bar later; Alpaca's paper simulator does so
        about one time in ten. Above 0 the fills are not the simulator's any more.
    late_trades
        Fraction of bars that a late trade changes half a bar after their close.
    requests_per_minute
        How many requests the trading API takes from an account before it answers 429, by the wall's clock; None for
        any number. Alpaca takes 200.
    port
        On 127.0.0.1; 0 takes a free one.
    limits
        What the streams allow.
    faults
        What goes wrong: a list, or a schedule such as ``Faults.random(seed)``; ``inject`` adds more. In lock-step the
        same faults strike the same frames, orders and requests in each run.

    Examples
    --------
    >>> with Sandbox(seed=7, days=3, lockstep=True) as sandbox:
    ...     sandbox.advance(timedelta(minutes=5))["now"]
    '2024-01-02T12:05:00Z'
    """

    def __init__(
        self,
        seed: int = 7,
        symbols: Sequence[str] = ("BTC/USD", "ETH/USD"),
        *,
        edge: float = 0.0,
        bars: Any = None,
        start: Instant | None = None,
        days: int = 395,
        history: timedelta | None = None,
        lockstep: bool = False,
        speed: float = 60.0,
        cash: float = 100_000.0,
        accounts: int = 1,
        costs: Costs | None = None,
        participation: float = math.inf,
        latency: timedelta = timedelta(0),
        partial_fills: float = 0.0,
        late_trades: float = 0.0,
        requests_per_minute: int | None = None,
        port: int = 0,
        limits: StreamLimits | None = None,
        faults: Faults | Iterable[Fault] = (),
    ) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be positive, found {speed}")
        if accounts < 1:
            raise ValueError(f"accounts must be at least 1, found {accounts}")
        if bars is None:
            first = "2024-01-01" if start is None else start
            bars = SyntheticMarket(seed, symbols, first, days, edge=edge).bars()
        elif start is not None or edge:
            raise ConfigurationError("start and edge shape the synthetic market: leave them out when bars are given")
        self.seed, self.lockstep, self.speed = seed, lockstep, speed
        self.market = Market(bars, history, LateTrades(seed, late_trades))
        self.costs = Costs.alpaca(1, slippage_bps=2.0) if costs is None else costs
        listed = [_instrument(self.market, symbol) for symbol in self.market.symbols]
        venue = replace(Venue.alpaca(self.costs, listed), participation=participation, latency=latency)
        self._cash, self._meter = cash, None if requests_per_minute is None else Meter(requests_per_minute)
        self._port, self._limits = port, limits or StreamLimits()
        opened = Accounts(venue, self.market, seed, Portion(seed, partial_fills))
        for _ in range(accounts):
            opened.open(cash)
        schedule = faults if isinstance(faults, Faults) else Faults(faults)
        self._serve(opened, schedule.running(self.market.start, self.market.end))

    def _serve(self, accounts: Accounts, schedule: Faults) -> None:
        """Take the accounts and the running faults as those of this sandbox, and prepare the server for them."""
        self._accounts, self._exchange, self._schedule = accounts, accounts.first.exchange, schedule
        self.api_key, self.api_secret = accounts.first.keys
        self._clockwork, app = self._assemble()
        self._server = LoopbackServer(app, self._clockwork.run, self._port)

    def _assemble(self) -> tuple[Clockwork, Gate]:
        market, accounts, faults = self.market, self._accounts, self._schedule
        data = DataStream(market, self.seed, accounts, self._limits, faults)
        updates = TradeUpdates(accounts, self._limits, faults)
        stream_faults = StreamFaults(faults, data, updates)
        clockwork = Clockwork(market, accounts, stream_faults, None if self.lockstep else self.speed)
        self._faults = FaultsApi(clockwork)
        orders = OrdersApi(market, updates)
        parts = (AccountApi(market), ReferenceApi(market), orders, PositionsApi(market, orders))
        trading = TradingApi(accounts, parts, self._meter)
        history = History(market, self.seed).routes(accounts.knows)
        connection = Route("/sandbox/connection", self._get_connection, methods=["GET"])
        control = [*clockwork.routes(), *self._faults.routes(), connection]
        routes = [*control, *trading.routes(), *history, data.route(), updates.route()]
        app = Starlette(routes=routes, exception_handlers={404: _not_found, 405: _not_found, ClientDisconnect: _gone})
        return clockwork, Gate(app, faults, market, {PREFIX: "data", PATH: "trading"}, stream_faults.is_down)

    @classmethod
    def restore(cls, path: str | Path, **arguments: Any) -> Self:
        """Return a sandbox that goes on where ``save`` left off, not started yet.

        ``arguments`` are those of the saved sandbox; ``cash``, ``accounts`` and ``faults`` come from the file: what has
        struck is not undone, and what was still to come comes. With the same ``port`` a client that held the old keys
        and addresses finds its orders, positions and history again.

        Raises
        ------
        ConfigurationError
            The file cannot be read, or the arguments describe another market or other rules.
        """
        sandbox, state = cls(**arguments), load(Path(path))
        first = sandbox._accounts
        accounts = Accounts(first.venue, sandbox.market, first.seed, first.portion)
        replay(state, sandbox.market, accounts)
        sandbox._serve(accounts, Faults.resumed(state.faults))
        return sandbox

    def save(self, path: str | Path) -> None:
        """Write accounts, orders, fills, faults and the market's moment to a file, running or not; see ``restore``."""

        async def write() -> None:
            save(Path(path), self.market, self._accounts, self._schedule)

        if self._server.is_running:
            self._server.call(write)
        else:
            save(Path(path), self.market, self._accounts, self._schedule)

    def open_account(self, cash: float | None = None) -> Alpaca:
        """Open one more account at the market's present and return its client; by default with the others' cash.

        It has keys, orders, positions and trade updates of its own, and does not compete with the others for volume.
        """

        async def open_it() -> Account:
            return self._accounts.open(self._cash if cash is None else cash)

        return self.alpaca(self._server.call(open_it).keys[0])

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """Key and secret of every account, in the order of their opening."""
        return tuple(account.keys for account in self._accounts)

    @property
    def url(self) -> str:
        """Base of all HTTP addresses; raises VenueUnreachableError before the start, as the other addresses do."""
        return f"http://{HOST}:{self._server.port}"

    @property
    def data_stream_url(self) -> str:
        """Address of the market-data websocket."""
        return f"ws://{HOST}:{self._server.port}{PREFIX}"

    @property
    def trading_stream_url(self) -> str:
        """Address of the trade_updates websocket."""
        return f"ws://{HOST}:{self._server.port}{PATH}"

    @property
    def venue(self) -> Venue:
        """The rules and increments by which this venue trades."""
        return self._exchange.venue

    def start(self) -> Self:
        """Start serving; works inside a running event loop.

        Raises
        ------
        ConfigurationError
            The port is taken.
        VenueUnreachableError
            The server did not come up, or was stopped before.
        """
        self._server.start()
        return self

    def stop(self) -> None:
        """Close every connection and end the server's thread."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def advance(self, by: timedelta) -> dict[str, Any]:
        """Move a lockstep market forward; return its status when all was matched and put on the sockets.

        ``sent`` counts the data points and trade updates put on the current connections, so that a client can wait
        until it has received as many. It has those of the first account; ``accounts`` has those of each by its key.
        What a fault keeps back, loses or spoils is not counted; what it doubles is counted twice, and what is late when
        it goes. After a lost connection the count begins at 0 with the next one. Whatever does not arrive is told by
        REST.

        Raises
        ------
        ConfigurationError
            The sandbox was not started with ``lockstep=True``.
        """
        if by < timedelta(0):
            raise ValueError(f"time does not run backwards: {by}")
        return self._advance_to(self.market.now + (span_ns(by) if by else 0))

    def advance_to(self, moment: datetime | int) -> dict[str, Any]:
        """Move a lockstep market forward to a moment (a datetime with a zone, or nanoseconds UTC)."""
        target = to_ns(moment)
        if target < self.market.now:
            raise ValueError(f"time does not run backwards: {moment} lies before the market's present")
        return self._advance_to(target)

    def _advance_to(self, target: int) -> dict[str, Any]:
        if not self.lockstep:
            raise ConfigurationError("this sandbox's clock runs by itself: start it with lockstep=True to advance it")
        return self._server.call(lambda: self._clockwork.advance_to(target))

    def status(self) -> dict[str, Any]:
        """Return the market's moment, its end, who listens, and how much was put on the sockets."""
        running = self._server.is_running
        return {**self._clockwork.status(), "url": self.url if running else None, "running": running}

    def inject(self, fault: Fault) -> None:
        """Add a fault to the running sandbox, as ``POST /sandbox/faults`` does.

        Without a time of its own it strikes at the next occasion; one that waits for none (a lost connection, a
        restart) has struck when this returns.
        """
        self._server.call(lambda: self._faults.inject(fault))

    def heal(self) -> None:
        """End all faults, also those to come; what was lost stays lost, and a frozen connection stays frozen."""
        self._server.call(self._faults.heal)

    def faults(self) -> list[dict[str, Any]]:
        """Return each fault as JSON with its ``phase`` (pending, active, over) and how often it has ``fired``."""
        return self._server.call(self._faults.state)

    def account(self, api_key: str | None = None) -> Portfolio:
        """Return a copy of the venue's books of an account, by default of the first; an unknown key is refused."""
        books = self._of(api_key).exchange.portfolio

        async def copied() -> Portfolio:
            return copy.deepcopy(books)

        return self._server.call(copied) if self._server.is_running else copy.deepcopy(books)

    def alpaca(self, api_key: str | None = None) -> Alpaca:
        """Return the client of an account, by default of the first: the same one that takes real keys."""
        return Alpaca(**self._connection(self._of(api_key)))

    def _of(self, api_key: str | None) -> Account:
        return self._accounts.first if api_key is None else self._accounts.of(api_key)

    def _connection(self, account: Account) -> dict[str, Any]:
        return {
            "api_key": account.keys[0],
            "api_secret": account.keys[1],
            "data_url": self.url,
            "trading_url": self.url,
            "data_stream_url": self.data_stream_url,
            "trading_stream_url": self.trading_stream_url,
            "control_url": self.url,
        }

    async def _get_connection(self, request: Request) -> Response:
        """Answer ``GET /sandbox/connection``: what another process needs to connect; the keys open nothing else."""
        return answer(self._connection(self._accounts.first))


def _instrument(market: Market, symbol: str) -> Instrument:
    """Return increments of Alpaca's kind: nine decimals, prices to five digits, a smallest order of about 1 USD."""
    row = market.base(symbol).bars.item(0, "close")
    price_increment = format(Decimal(1).scaleb(-decimals(row)), "f")
    return increments(symbol, QUANTITY_INCREMENT, price_increment, f"{1 / row:.9f}")


async def _not_found(request: Request, error: Exception) -> Response:
    return refuse(absent(f"endpoint not found: {request.method} {request.url.path}"))


async def _gone(request: Request, error: Exception) -> Response:
    """Answer a client that died while it was asking: nobody hears it."""
    return Response(status_code=400)
