"""The faults that wait for no frame: connections that are lost, and a venue that is started again."""

import asyncio
import math

from cryptoquant.backtest.sandbox.faults import Faults
from cryptoquant.backtest.sandbox.line import Parting
from cryptoquant.backtest.sandbox.stream import DataStream
from cryptoquant.backtest.sandbox.updates import TradeUpdates

PARTINGS: tuple[Parting, ...] = ("drop", "half_open")


class StreamFaults:
    """Loses the connections of both streams, those of all accounts, when the schedule says so."""

    def __init__(self, faults: Faults, data: DataStream, updates: TradeUpdates) -> None:
        self.faults, self.data, self.updates = faults, data, updates
        self._down_until = -math.inf

    def is_down(self) -> bool:
        """Whether the venue is being started again, by the wall's clock."""
        return asyncio.get_running_loop().time() < self._down_until

    async def strike(self, now: int) -> None:
        """Do what is due at ``now`` (ns UTC) to the clients that listen then."""
        for how in PARTINGS:
            if self.data.listening and self.faults.take({f"data.{how}"}, now):
                await self.data.lose(how)
            if self.updates.listening and self.faults.take({f"trading.{how}"}, now):
                await self.updates.lose(how)
        if self.data.listening and self.faults.take({"data.slow_client"}, now):
            await self.data.lose("slow_client")
        restart = self.faults.take({"venue.restart"}, now)
        if restart is not None:
            self._down_until = asyncio.get_running_loop().time() + restart.seconds
            await self.data.lose("restart")
            await self.updates.lose("restart")

    def heal(self) -> None:
        """End all faults; what was lost stays lost."""
        self.faults.heal()
        self._down_until = -math.inf
