"""The faults by request: what is pending, what is active, how often each has struck; add one, or heal all."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cryptoquant.backtest.sandbox.clockwork import Clockwork
from cryptoquant.backtest.sandbox.fault import Fault
from cryptoquant.backtest.sandbox.trading import answer

PATH = "/sandbox/faults"


class FaultsApi:
    """Changes the faults of a running sandbox."""

    def __init__(self, clockwork: Clockwork) -> None:
        self.clockwork, self.market = clockwork, clockwork.market
        self.stream_faults, self.faults = clockwork.stream_faults, clockwork.stream_faults.faults

    async def inject(self, fault: Fault) -> None:
        """Add a fault; one that waits for no occasion strikes at once."""
        self.faults.add(fault, self.market.now)
        await self.clockwork.strike()

    async def heal(self) -> None:
        """End all faults, also those to come."""
        self.stream_faults.heal()

    async def state(self) -> list[dict[str, Any]]:
        """Return each fault with its phase (pending, active, over) and how often it has struck."""
        return self.faults.state(self.market.now)

    def routes(self) -> list[Route]:
        """Return the control routes: ``GET``, ``POST`` and ``DELETE /sandbox/faults``."""
        return [
            Route(PATH, self._get, methods=["GET"]),
            Route(PATH, self._post, methods=["POST"]),
            Route(PATH, self._delete, methods=["DELETE"]),
        ]

    async def _get(self, request: Request) -> Response:
        return answer(await self.state())

    async def _post(self, request: Request) -> Response:
        """Take a fault or a list of faults; none of them when one makes no sense."""
        try:
            body = msgspec.json.decode(await request.body())
            faults = [Fault.read(one) for one in (body if isinstance(body, list) else [body])]
        except (msgspec.DecodeError, ValueError) as error:
            return answer({"message": str(error)}, 400)
        for fault in faults:
            await self.inject(fault)
        return answer(await self.state())

    async def _delete(self, request: Request) -> Response:
        await self.heal()
        return answer(await self.state())
