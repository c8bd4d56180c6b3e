"""What is on its way to the clients of a stream: frames leave as they come, unless a fault keeps or doubles them."""

from collections.abc import Mapping
from typing import NamedTuple

from cryptoquant.backtest.sandbox.faults import Faults
from cryptoquant.market.time import span_ns


class Packet(NamedTuple):
    """A frame as it is written, and how many data points or updates it tells."""

    content: bytes
    points: int


class Outbox:
    """Decides for each frame of a stream to one account whether, when and how often it is put on the sockets.

    Parameters
    ----------
    where
        ``data`` or ``trading``.
    """

    def __init__(self, faults: Faults, where: str) -> None:
        self.faults = faults
        self._kinds = {f"{where}.{name}" for name in ("mute", "lose", "duplicate", "reorder", "late")}
        self._overtaken: list[Packet] = []
        self._late: list[tuple[int, Packet]] = []

    def put(self, packet: Packet, now: int, occasion: Mapping[str, str]) -> list[Packet]:
        """Take a frame; return what is to be put on the sockets now."""
        fault = self.faults.take(self._kinds, now, **occasion)
        name = "" if fault is None else fault.kind.partition(".")[2]
        if name in ("mute", "lose"):
            return []
        if name == "reorder":
            self._overtaken.append(packet)
            return []
        if name == "late" and fault is not None:
            self._late.append((now + span_ns(fault.delay), packet))
            return []
        leaving = [packet, packet] if name == "duplicate" else [packet]
        leaving, self._overtaken = leaving + self._overtaken, []
        return leaving

    def due(self, now: int) -> list[Packet]:
        """Return the late frames whose time has come, by their time."""
        self._late.sort(key=lambda late: late[0])
        ready = [packet for time, packet in self._late if time <= now]
        self._late = [late for late in self._late if late[0] > now]
        return ready
