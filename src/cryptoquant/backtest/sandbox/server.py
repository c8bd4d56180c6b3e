"""A web server on loopback in a thread of its own, with its own event loop and no signal handlers."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import uvicorn
from starlette.types import ASGIApp

from cryptoquant.backtest.sandbox.line import HttpLine, StreamLine
from cryptoquant.errors import ConfigurationError, VenueUnreachableError

HOST = "127.0.0.1"
STOP_SECONDS = 5.0
START_SECONDS = 30.0
POLL_SECONDS = 0.005
T = TypeVar("T")


class LoopbackServer:
    """Serves one application over HTTP and websockets on 127.0.0.1.

    Parameters
    ----------
    app
        What is served.
    companion
        A coroutine that runs beside it from start to stop, or ends by itself.
    port
        0 for any free one.
    """

    def __init__(self, app: ASGIApp, companion: Callable[[], Awaitable[None]], port: int = 0) -> None:
        self._companion = companion
        self._wanted_port = port
        self._socket: socket.socket | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=HttpLine,
                ws=StreamLine,
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=1,
                ws_ping_interval=None,
            )
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._calls: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on; raises VenueUnreachableError before the start."""
        if self._socket is None:
            raise VenueUnreachableError("the sandbox is not running: call start() first")
        return self._port

    @property
    def is_running(self) -> bool:
        """Whether it answers."""
        return self._thread.is_alive() and self._ready.is_set()

    def start(self) -> None:
        """Start the thread; return when connections are accepted. A running server is left alone.

        Raises
        ------
        ConfigurationError
            The port is taken.
        VenueUnreachableError
            The server did not come up, or was stopped before.
        """
        if self.is_running:
            return
        if self._socket is not None:
            raise VenueUnreachableError("a stopped sandbox does not start again: make a new one")
        try:
            self._socket = socket.create_server((HOST, self._wanted_port))
            # asyncio does this only for sockets made with a protocol number; without it an answer may wait 40 ms.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise ConfigurationError(f"the sandbox cannot listen on port {self._wanted_port}: {error}") from error
        # Accepted sockets inherit it: without it an answer of two packets waits for the client's acknowledgement.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port: int = self._socket.getsockname()[1]
        self._thread.start()
        if not self._ready.wait(START_SECONDS) or self._failure is not None:
            raise VenueUnreachableError(f"the sandbox did not start on port {self.port}: {self._failure}")

    def stop(self) -> None:
        """Close the sockets and join the thread; a server that is not running is left alone."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        if self._socket is not None:
            self._socket.close()

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the server's loop and return its result.

        The coroutine is made in the loop's thread, so that an interrupt of the caller leaves none behind unawaited.
        """
        loop, done = self._loop, Future[T]()
        if loop is None or not self.is_running:
            raise VenueUnreachableError("the sandbox is not running: call start() first")

        def begin() -> None:
            task = loop.create_task(work())
            self._calls.add(task)
            task.add_done_callback(finish)

        def finish(task: "asyncio.Task[T]") -> None:
            self._calls.discard(task)
            error = VenueUnreachableError("the sandbox was stopped") if task.cancelled() else task.exception()
            if error is None:
                done.set_result(task.result())
            else:
                done.set_exception(error)

        loop.call_soon_threadsafe(begin)
        return done.result()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except (OSError, SystemExit) as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        listening = [] if self._socket is None else [self._socket]
        serving = asyncio.create_task(self._server.serve(sockets=listening))
        while not self._server.started and not serving.done():
            await asyncio.sleep(POLL_SECONDS)
        self._ready.set()
        beside = asyncio.ensure_future(self._companion())
        try:
            await serving
        finally:
            beside.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beside
