"""What makes the sandbox tick: for each bar first the orders are matched, then the market's news goes out."""

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cryptoquant.backtest.sandbox.accounts import Account, Accounts
from cryptoquant.backtest.sandbox.market import Market
from cryptoquant.backtest.sandbox.order_faults import OrderFaults
from cryptoquant.backtest.sandbox.stream_faults import StreamFaults
from cryptoquant.backtest.sandbox.trading import answer
from cryptoquant.errors import ConfigurationError
from cryptoquant.market.slice import Slice
from cryptoquant.market.time import NANOSECONDS_PER_SECOND, from_iso, iso

BEAT_SECONDS = 0.02
STEPS_BETWEEN_BREATHS = 64


class Move(msgspec.Struct, frozen=True):
    """How far a clock in lock-step is to go: on by ``seconds``, or ``to`` a moment; one of the two."""

    seconds: float = -1.0
    to: str | None = None


class Clockwork:
    """Moves market time.

    Parameters
    ----------
    speed
        Market seconds in a wall second, None for a clock that moves only when it is told to.
    """

    def __init__(self, market: Market, accounts: Accounts, stream_faults: StreamFaults, speed: float | None) -> None:
        self.market, self.accounts, self.stream_faults, self.speed = market, accounts, stream_faults, speed
        self.data, self.updates = stream_faults.data, stream_faults.updates
        self._order_faults: list[OrderFaults] = []
        self._turn = asyncio.Lock()

    async def advance_to(self, target: int, account: Account | None = None) -> dict[str, Any]:
        """Move to ``target`` (ns), or to the market's end when that comes first; return the ``status`` there.

        When it returns, everything up to that moment was matched and put on the sockets.
        """
        async with self._turn:
            for count, time in enumerate(self.market.due(target)):
                await self._step(time)
                if count % STEPS_BETWEEN_BREATHS == STEPS_BETWEEN_BREATHS - 1:
                    await asyncio.sleep(0)
            self.market.now = max(self.market.now, min(target, self.market.end))
            await self._strike()
            return self.status(account)

    async def _step(self, time: int) -> None:
        bars = self.market.closing(time)
        self._match(self.market.slice(bars), bars[0].open_time, time)
        self.market.now = time
        await self._strike()
        await self.updates.flush()
        for bar, trade in zip(self.market.updates(time), self.market.late_trades(time), strict=True):
            await self.data.publish_update(bar, trade)
        for bar in bars:
            await self.data.publish(bar)

    def _match(self, bars: Slice, opened: int, time: int) -> None:
        """Let the orders of every account meet the bars that opened at ``opened`` and close at ``time`` (ns)."""
        for account in list(self.accounts)[len(self._order_faults) :]:
            self._order_faults.append(OrderFaults(self.stream_faults.faults, account.exchange))
        for faults in self._order_faults:
            faults.before(opened, time)
        self.accounts.match(bars, opened)
        for faults in self._order_faults:
            faults.after(time)

    async def _strike(self) -> None:
        await self.stream_faults.strike(self.market.now)
        await self.updates.release()
        await self.data.release()

    async def strike(self) -> None:
        """Let the faults that wait for no more than the moment strike now."""
        async with self._turn:
            await self._strike()

    def status(self, account: Account | None = None) -> dict[str, Any]:
        """Return the moment, whether the market has ended, who listens, and how much was put on the sockets.

        ``sent`` is what an account was told, by default the first; ``accounts`` has that of each by its key, and
        ``listening`` counts the clients of all.
        """
        sent = {one.keys[0]: self._sent(one) for one in self.accounts}
        return {
            "now": iso(self.market.now),
            "sent": sent[(account or self.accounts.first).keys[0]],
            "accounts": sent,
            "listening": {"data": self.data.listening, "trading": self.updates.listening},
            "ended": self.market.has_ended,
            "lockstep": self.speed is None,
            "speed": self.speed,
            "start": iso(self.market.begin),
            "end": iso(self.market.end),
        }

    def _sent(self, account: Account) -> dict[str, int]:
        return {"data": self.data.sent(account), "trading": self.updates.sent(account)}

    async def run(self) -> None:
        """Keep market time at ``speed`` times the wall's until cancelled."""
        if self.speed is None:
            return
        loop = asyncio.get_running_loop()
        began, first = loop.time(), self.market.now
        while not self.market.has_ended:
            await asyncio.sleep(BEAT_SECONDS)
            await self.advance_to(first + int((loop.time() - began) * self.speed * NANOSECONDS_PER_SECOND))

    def routes(self) -> list[Route]:
        """Return the control routes: ``GET /sandbox/status`` and ``POST /sandbox/advance``.

        Both take ``?key=``: whose counts ``sent`` shall be; an unknown key is refused (404). To be moved ``to`` a
        moment twice moves once, so a client that dies while it asks leaves nothing behind that moves its successor.
        """
        return [
            Route("/sandbox/status", self._get_status, methods=["GET"]),
            Route("/sandbox/advance", self._post_advance, methods=["POST"]),
        ]

    async def _get_status(self, request: Request) -> Response:
        try:
            account = self._account(request)
        except ConfigurationError as error:
            return answer({"message": str(error)}, 404)
        if self.speed is not None:
            return answer(self.status(account))
        async with self._turn:  # in lock-step nobody shall see a moment between two
            return answer(self.status(account))

    async def _post_advance(self, request: Request) -> Response:
        if self.speed is not None:
            return answer({"message": "this sandbox's clock runs by itself; start it with lockstep=True"}, 409)
        try:
            move = msgspec.json.decode(await request.body(), type=Move)
            target = None if move.to is None else from_iso(move.to)
        except ValueError:  # also msgspec's own
            move, target = Move(), None
        if (move.seconds >= 0) == (target is not None):
            return answer({"message": 'wanted {"seconds": a number, 0 or more} or {"to": a moment, ISO 8601}'}, 400)
        try:
            account = self._account(request)
        except ConfigurationError as error:
            return answer({"message": str(error)}, 404)
        if target is None:
            target = self.market.now + round(move.seconds * NANOSECONDS_PER_SECOND)
        return answer(await self.advance_to(target, account))

    def _account(self, request: Request) -> Account | None:
        key = request.query_params.get("key")
        return None if key is None else self.accounts.of(key)
