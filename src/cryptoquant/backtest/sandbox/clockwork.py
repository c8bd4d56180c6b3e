"""What makes the sandbox tick: for each bar first the orders are matched, then the market's news goes out."""

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cryptoquant.backtest.sandbox.accounts import Accounts
from cryptoquant.backtest.sandbox.market import Market
from cryptoquant.backtest.sandbox.stream import DataStream
from cryptoquant.backtest.sandbox.trading import answer
from cryptoquant.backtest.sandbox.updates import TradeUpdates
from cryptoquant.market.time import NANOSECONDS_PER_SECOND, iso

BEAT_SECONDS = 0.02
STEPS_BETWEEN_BREATHS = 64


class Clockwork:
    """Moves market time.

    Parameters
    ----------
    speed
        Market seconds in a wall second, None for a clock that moves only when it is told to.
    """

    def __init__(
        self, market: Market, accounts: Accounts, data: DataStream, updates: TradeUpdates, speed: float | None
    ) -> None:
        self.market, self.accounts, self.data, self.updates, self.speed = market, accounts, data, updates, speed
        self._turn = asyncio.Lock()

    async def advance_to(self, target: int) -> dict[str, Any]:
        """Move to ``target`` (ns), or to the market's end when that comes first; return the status there.

        When it returns, everything up to that moment was matched and put on the sockets.
        """
        async with self._turn:
            for count, time in enumerate(self.market.due(target)):
                await self._step(time)
                if count % STEPS_BETWEEN_BREATHS == STEPS_BETWEEN_BREATHS - 1:
                    await asyncio.sleep(0)
            self.market.now = max(self.market.now, min(target, self.market.end))
            return self.status()

    async def _step(self, time: int) -> None:
        bars = self.market.closing(time)
        self.accounts.match(self.market.slice(bars), bars[0].open_time)
        self.market.now = time
        await self.updates.flush()
        for bar in bars:
            await self.data.publish(bar)

    def status(self) -> dict[str, Any]:
        """Return the moment, whether the market has ended, who listens, and how much was put on the sockets."""
        return {
            "now": iso(self.market.now),
            "sent": {"data": self.data.sent, "trading": self.updates.sent},
            "listening": {"data": self.data.listening, "trading": self.updates.listening},
            "ended": self.market.has_ended,
            "lockstep": self.speed is None,
            "speed": self.speed,
            "start": iso(self.market.begin),
            "end": iso(self.market.end),
        }

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
        """Return the control routes: ``GET /sandbox/status`` and ``POST /sandbox/advance``."""
        return [
            Route("/sandbox/status", self._get_status, methods=["GET"]),
            Route("/sandbox/advance", self._post_advance, methods=["POST"]),
        ]

    async def _get_status(self, request: Request) -> Response:
        return answer(self.status())

    async def _post_advance(self, request: Request) -> Response:
        if self.speed is not None:
            return answer({"message": "this sandbox's clock runs by itself; start it with lockstep=True"}, 409)
        try:
            body = msgspec.json.decode(await request.body(), type=dict[str, float])
        except msgspec.DecodeError:
            body = {}
        seconds = body.get("seconds", -1.0)
        if seconds < 0:
            return answer({"message": 'wanted {"seconds": a number, 0 or more}'}, 400)
        return answer(await self.advance_to(self.market.now + round(seconds * NANOSECONDS_PER_SECOND)))
