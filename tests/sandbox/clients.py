"""Clients that talk to a sandbox over its sockets: the unmodified SDK streams in a thread, and a bare msgpack one."""

import threading
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack

import msgpack
from websockets.sync.client import ClientConnection, connect

from cryptoquant.backtest.sandbox import Sandbox

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "websockets.legacy is deprecated", DeprecationWarning)
    from alpaca.data.live.crypto import CryptoDataStream
    from alpaca.trading.stream import TradingStream

PATIENCE = 10.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.002)


class Tape:
    """An unmodified stream client in a thread, and what its handlers received."""

    def __init__(self, stream: CryptoDataStream | TradingStream, sandbox: Sandbox) -> None:
        self.stream, self.sandbox, self.received = stream, sandbox, []
        self._thread = threading.Thread(target=stream.run, daemon=True)

    async def keep(self, message: object) -> None:
        self.received.append(message)

    def play(self) -> "Tape":
        self._thread.start()
        kind = "data" if isinstance(self.stream, CryptoDataStream) else "trading"
        until(lambda: self.sandbox.status()["listening"][kind] > 0)
        return self

    def wait(self, count: int) -> list:
        until(lambda: len(self.received) >= count)
        assert len(self.received) == count
        return self.received

    def end(self) -> None:
        end_all([self])


def end_all(tapes: list[Tape]) -> None:
    for tape in tapes:
        until(lambda tape=tape: tape.stream._running)
        tape.stream.stop()
    for tape in tapes:
        tape.sandbox.stop()
        tape._thread.join(PATIENCE)
        assert not tape._thread.is_alive()


class Wire:
    """A bare msgpack websocket client."""

    def __init__(
        self, sandbox: Sandbox, headers: dict[str, str] | None = None, *, account: int = 0, **options: object
    ) -> None:
        chosen = {"Content-Type": "application/msgpack", **(headers or {})}
        self.keys = dict(zip(("key", "secret"), sandbox.keys[account], strict=True))
        self._open = ExitStack()
        door = connect(sandbox.data_stream_url, additional_headers=chosen, proxy=None, **options)
        self.socket: ClientConnection = self._open.enter_context(door)

    def close(self) -> None:
        self._open.close()

    def say(self, **message: object) -> None:
        self.socket.send(msgpack.packb(message))

    def bytes(self) -> bytes:
        frame = self.socket.recv(timeout=PATIENCE)
        assert isinstance(frame, bytes)
        return frame

    def hear(self) -> list[dict]:
        return msgpack.unpackb(self.bytes())

    def sign_in(self, **channels: list[str]) -> list[dict]:
        assert self.hear() == [{"T": "success", "msg": "connected"}]
        self.say(action="auth", **self.keys)
        assert self.hear() == [{"T": "success", "msg": "authenticated"}]
        self.say(action="subscribe", **channels)
        return self.hear()
