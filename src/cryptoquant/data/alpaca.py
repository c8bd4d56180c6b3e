"""The connection to Alpaca: its history, its live stream and its paper account, or a sandbox that speaks the same."""

import asyncio
import contextlib
import logging
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import polars as pl

from cryptoquant.data.alpaca_history import Page, Span, bodies, pages
from cryptoquant.data.rate import TokenBucket
from cryptoquant.errors import (
    AuthenticationError,
    ConfigurationError,
    RequestRefusedError,
    UnknownSymbolError,
    VenueError,
    VenueUnreachableError,
)
from cryptoquant.market.time import Timeframe, from_iso
from cryptoquant.settings import settings

if TYPE_CHECKING:
    from alpaca.data.historical import CryptoHistoricalDataClient
    from alpaca.data.live import CryptoDataStream
    from alpaca.trading.client import TradingClient
    from alpaca.trading.stream import TradingStream

DATA_URL = "https://data.alpaca.markets"
TRADING_URL = "https://paper-api.alpaca.markets"
DATA_STREAM_URL = "wss://stream.data.alpaca.markets/v1beta3/crypto/us"
TRADING_STREAM_URL = "wss://paper-api.alpaca.markets/stream"
PAPER_HOST = "paper-api.alpaca.markets"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
TIMEOUT_S = (3.05, 15.0)
ATTEMPTS = 5
LONGEST_PAUSE_S = 30.0
LONGEST_ASKED_S = 120.0
LOOPBACK_BACKOFF_S = 0.05
END_AGAIN_SECONDS = 1.0
WEBSOCKET = {"ping_interval": 10, "ping_timeout": 10, "max_queue": 1024, "max_size": 2**23, "open_timeout": 10}

StreamEvent = Callable[[str, str], None]


class FrameTap(Protocol):
    """Takes what comes over the data socket, in the stream's loop; it must not wait."""

    def opened(self, abort: Callable[[], None]) -> None:
        """Note that a new socket is open; ``abort`` ends it at once, without a handshake, from the stream's loop."""

    def take(self, frame: bytes) -> bool:
        """Take one frame; return whether the SDK shall see it, as it must see control messages."""


@dataclass(frozen=True, repr=False)
class Alpaca:
    """Keys and addresses of Alpaca; trading is paper only.

    Parameters
    ----------
    api_key, api_secret
        By default those of the environment (``APCA_API_KEY_ID``, ``APCA_API_SECRET_KEY``). History needs none.
    data_url, trading_url, data_stream_url, trading_stream_url
        By default Alpaca's own; a sandbox on loopback gives others.
    control_url
        Where a sandbox is controlled; Alpaca itself has none.

    Raises
    ------
    ConfigurationError
        A trading address is neither Alpaca's paper venue nor loopback, or keys would travel unencrypted.

    Examples
    --------
    >>> Alpaca("PKTEST1234", "secret")
    Alpaca(key=...1234, trading=https://paper-api.alpaca.markets)
    """

    api_key: str | None = None
    api_secret: str | None = None
    _: KW_ONLY
    data_url: str | None = None
    trading_url: str | None = None
    data_stream_url: str | None = None
    trading_stream_url: str | None = None
    control_url: str | None = None

    def __post_init__(self) -> None:
        known = settings()
        if self.api_key is None and known.api_key is not None:
            object.__setattr__(self, "api_key", known.api_key.get_secret_value())
        if self.api_secret is None and known.api_secret is not None:
            object.__setattr__(self, "api_secret", known.api_secret.get_secret_value())
        for name in ("trading_url", "trading_stream_url"):
            url = getattr(self, name)
            if url is not None and not _is_loopback(url) and urlsplit(url).hostname != PAPER_HOST:
                raise ConfigurationError(f"{name}: found {url}; paper only: wanted {PAPER_HOST} or a loopback address")
        for name in ("data_url", "trading_url", "data_stream_url", "trading_stream_url", "control_url"):
            url = getattr(self, name)
            if url is not None and not _is_loopback(url) and urlsplit(url).scheme not in ("https", "wss"):
                raise ConfigurationError(f"{name}: found {url}; keys travel encrypted only: wanted https or wss")

    def __repr__(self) -> str:
        key = f"...{self.api_key[-4:]}" if self.api_key else "none"
        return f"Alpaca(key={key}, trading={self.trading_url or TRADING_URL})"

    @classmethod
    def sandbox(cls, url: str) -> "Alpaca":
        """Return the connection to a sandbox that runs in another process, by its URL.

        Raises
        ------
        VenueUnreachableError
            No sandbox answers there.
        """
        import requests

        try:
            with requests.Session() as http:
                http.trust_env = False
                told: dict[str, Any] = http.get(f"{url.rstrip('/')}/sandbox/connection", timeout=5).json()
            return cls(**told)
        except (requests.exceptions.RequestException, ValueError, TypeError) as error:
            raise VenueUnreachableError(f"no sandbox answers at {url}: start one with `cryptoquant sandbox`") from error

    @property
    def has_keys(self) -> bool:
        """Whether both key and secret are there."""
        return bool(self.api_key and self.api_secret)

    def historical(self) -> "CryptoHistoricalDataClient":
        """Return the SDK's client of history, with a timeout on each request and without retries of its own."""
        _load_sdk()
        from alpaca.data.historical import CryptoHistoricalDataClient

        key, secret = self._keys() if self.has_keys else (None, None)
        client = CryptoHistoricalDataClient(key, secret, url_override=self.data_url)
        _bound(client, self.data_url)
        return client

    def trading(self) -> "TradingClient":
        """Return the SDK's paper trading client; a timed-out order is never sent twice.

        Raises
        ------
        ConfigurationError
            Key or secret is missing.
        """
        _load_sdk()
        from alpaca.trading.client import TradingClient

        client = TradingClient(*self._keys(), paper=True, url_override=self.trading_url)
        _bound(client, self.trading_url)
        return client

    def data_stream(self, on_event: StreamEvent | None = None, *, tap: "FrameTap | None" = None) -> "CryptoDataStream":
        """Return the SDK's stream of market data, which makes the connection, authenticates and subscribes.

        Parameters
        ----------
        on_event
            Called in the stream's loop with ``connected``, ``closed``, ``failed`` (reason), ``subscribed`` (channels)
            or ``error`` (code and text); the SDK itself only logs these.
        tap
            Gets each frame as it came, before the SDK decodes it.
        """
        _load_sdk()
        from alpaca.data.live import CryptoDataStream

        url = self.data_stream_url or DATA_STREAM_URL

        def heard() -> None:
            stream._data_received = True  # else the SDK takes each connection for one that failed, and waits longer

        stream = CryptoDataStream(
            *self._keys(),
            raw_data=True,
            url_override=url,
            websocket_params=WEBSOCKET if tap is None else {**WEBSOCKET, "create_protocol": _tapped(tap, heard)},
        )
        if _is_loopback(url):
            stream._reconnect_min_backoff = LOOPBACK_BACKOFF_S
        if on_event is not None:
            _watch(stream, on_event)
        return stream

    def trading_stream(self, on_event: StreamEvent | None = None) -> "TradingStream":
        """Return the SDK's stream of raw order updates of the paper account; ``on_event`` as for ``data_stream``."""
        _load_sdk()
        from alpaca.trading.stream import TradingStream

        url = self.trading_stream_url or TRADING_STREAM_URL
        stream = TradingStream(
            *self._keys(), paper=True, raw_data=True, url_override=url, websocket_params=dict(WEBSOCKET)
        )
        if _is_loopback(url):
            stream._reconnect_min_backoff = LOOPBACK_BACKOFF_S
        if on_event is not None:
            _watch(stream, on_event)
        return stream

    def now(self) -> int:
        """Return the venue's time in nanoseconds UTC: a sandbox has its own, Alpaca has that of this machine."""
        if self.trading_url is None or not _is_loopback(self.trading_url) or not self.has_keys:
            return time.time_ns()
        clock: dict[str, Any] = fetch(self.trading(), "/clock", {})
        return from_iso(clock["timestamp"])

    def fetch_bars(
        self, symbols: str | Sequence[str], timeframe: Timeframe, start: int, end: int
    ) -> Iterator[pl.DataFrame]:
        """Yield bars page by page with ``start <= open_time`` and ``time <= end`` (ns UTC).

        Alpaca stamps the open; ``time`` is the open plus the timeframe, and ``known`` of history is ``time``.

        Raises
        ------
        AuthenticationError, UnknownSymbolError, VenueUnreachableError, VenueError
            What the venue answered, or that it did not.
        """
        return self._rows(Span("bars", _listed(symbols), start, end, timeframe))

    def fetch_trades(self, symbols: str | Sequence[str], start: int, end: int) -> Iterator[pl.DataFrame]:
        """Yield trades page by page with ``start <= time <= end`` (ns UTC); errors as `fetch_bars`."""
        return self._rows(Span("trades", _listed(symbols), start, end))

    def fetch_quotes(self, symbols: str | Sequence[str], start: int, end: int) -> Iterator[pl.DataFrame]:
        """Yield quotes page by page with ``start <= time <= end`` (ns UTC); errors as `fetch_bars`."""
        return self._rows(Span("quotes", _listed(symbols), start, end))

    def fetch_pages(self, span: Span, *, token: str | None = None, bucket: TokenBucket | None = None) -> Iterator[Page]:
        """Yield the pages of a span with their tokens, also empty ones, within the allowance of a bucket.

        Errors as `fetch_bars`.
        """
        client = self.historical()
        return pages(lambda path, query: fetch(client, path, query, bucket), span, token=token)

    def _rows(self, span: Span) -> Iterator[pl.DataFrame]:
        return (page.rows for page in self.fetch_pages(span) if page.rows.height)

    def fetch_bodies(self, span: Span, *, bucket: TokenBucket | None = None) -> Iterator[dict[str, Any]]:
        """Yield the pages of a span as the venue sent them, within the allowance of a bucket. Errors as `fetch`."""
        client = self.historical()
        return bodies(lambda path, query: fetch(client, path, query, bucket), span)

    def latest_times(self, kind: str, symbols: Sequence[str], *, bucket: TokenBucket | None = None) -> dict[str, int]:
        """Return the venue's newest stamp (ns UTC; of bars the open) of each symbol that has any. Errors as `fetch`."""
        found = fetch(self.historical(), f"/crypto/us/latest/{kind}", {"symbols": ",".join(symbols)}, bucket)
        return {symbol: from_iso(row["t"]) for symbol, row in found[kind].items()}

    def _keys(self) -> tuple[str, str]:
        if not self.api_key or not self.api_secret:
            raise ConfigurationError(
                "Alpaca: found no key or no secret; wanted APCA_API_KEY_ID and APCA_API_SECRET_KEY in the environment"
            )
        return self.api_key, self.api_secret


def fetch(client: Any, path: str, query: Mapping[str, Any], bucket: TokenBucket | None = None) -> dict[str, Any]:
    """Return the answer to one GET request of an SDK client, asking five times in all.

    It asks again on 429, on 5xx, and when no answer came or one that was cut off.

    Parameters
    ----------
    bucket
        The allowance that each attempt takes from; a pause that the venue asks for is a pause for all who share it.
        Where its wait is ended, no more attempts are made; a request under way is not cut short, it ends by its own
        timeout (`TIMEOUT_S`: seconds to connect, and seconds without a byte).

    Raises
    ------
    AuthenticationError, UnknownSymbolError, RequestRefusedError, VenueUnreachableError, VenueError
        What the venue answered last, or that it did not.
    """
    import requests
    from alpaca.common.exceptions import APIError

    where = urlsplit(str(getattr(client._base_url, "value", client._base_url))).netloc
    failure: VenueError | UnknownSymbolError = VenueError(f"{where}: no attempt was made")
    for attempt in range(ATTEMPTS):
        if bucket is not None and bucket.take() is None:
            break
        status, asked_pause = 0, 0.0
        try:
            answer: dict[str, Any] = client.get(path, dict(query))
        except APIError as error:
            status, asked_pause = _refusal(error)
            failure = _refused(where, status, str(error), str(query.get("symbols", "")))
            if status != 429 and status < 500:
                raise failure from error
        except (requests.ConnectionError, requests.Timeout) as error:
            reason = "no answer in time" if isinstance(error, requests.Timeout) else "no connection"
            failure = VenueUnreachableError(f"{where}: {reason}; is the address right and the network up?")
        except requests.exceptions.ChunkedEncodingError:
            failure = VenueUnreachableError(f"{where}: the answer was cut off; is the network up?")
        except requests.RequestException as error:
            raise VenueError(f"{where}: the answer cannot be read: {error}") from error
        else:
            return answer
        if attempt + 1 < ATTEMPTS:
            pause = max(min(asked_pause, LONGEST_ASKED_S), min(LONGEST_PAUSE_S, random.uniform(0.05, 0.1) * 4**attempt))
            if bucket is not None and status == 429:
                bucket.pause(pause)
            elif (time.sleep if bucket is None else bucket.sleep)(pause):
                break
    raise failure


def _refusal(error: Any) -> tuple[int, float]:
    response = getattr(error, "response", None)
    pause = response.headers.get("Retry-After", "0") if response is not None else "0"
    return int(error.status_code or 0), float(pause) if pause.replace(".", "", 1).isdigit() else 0.0


def _refused(where: str, status: int, text: str, symbols: str) -> VenueError | UnknownSymbolError:
    if status in (401, 403):
        return AuthenticationError(f"{where}: keys refused (HTTP {status}): {text}")
    if status in (400, 422) and "symbol" in text.lower():
        return UnknownSymbolError(f"{where}: {symbols}: {text}")
    refusal = RequestRefusedError if 400 <= status < 500 and status != 429 else VenueError
    return refusal(f"{where}: HTTP {status}: {text}")


def _listed(symbols: str | Sequence[str]) -> tuple[str, ...]:
    return (symbols,) if isinstance(symbols, str) else tuple(symbols)


def _is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in LOOPBACK


def _bound(client: Any, url: str | None) -> None:
    """Give an SDK client a timeout, which it lacks, and take away its retries, which would send an order twice."""
    client._session.request = partial(client._session.request, timeout=TIMEOUT_S)
    client._retry = 0
    if url is not None and _is_loopback(url):
        client._session.trust_env = False


def _load_sdk() -> None:
    """Import the SDK without the deprecation notice of the old websocket client that its streams are built on."""
    logging.getLogger("alpaca").addHandler(logging.NullHandler())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"websockets\.legacy is deprecated", category=DeprecationWarning)
        import alpaca.data.live
        import alpaca.trading.stream  # noqa: F401


def _watch(stream: Any, on_event: StreamEvent) -> None:
    """Report what the SDK keeps to its log: connections, refusals, subscriptions, errors."""
    from websockets.exceptions import WebSocketException

    start, dispatch, close = stream._start_ws, stream._dispatch, stream.close

    async def watched_start() -> None:
        try:
            await start()
        except (OSError, TimeoutError, ValueError, WebSocketException) as error:
            on_event("failed", str(error) or type(error).__name__)
            raise
        on_event("connected", "")

    async def watched_dispatch(message: dict[str, Any]) -> None:
        if message.get("T") == "error":
            on_event("error", f"{message.get('code')} {message.get('msg')}")
        elif message.get("T") == "subscription":
            on_event("subscribed", ", ".join(f"{k}: {v}" for k, v in message.items() if k != "T" and v))
        elif message.get("stream") == "listening":
            on_event("subscribed", ", ".join(message["data"]["streams"]))
        await dispatch(message)

    async def watched_close() -> None:
        on_event("closed", "")
        await close()

    stream._start_ws, stream._dispatch, stream.close = watched_start, watched_dispatch, watched_close


def _tapped(tap: FrameTap, heard: Callable[[], None]) -> type:
    """Return the protocol of the SDK's websocket client that hands each frame to ``tap`` first."""
    from websockets.exceptions import ConnectionClosed
    from websockets.legacy.client import WebSocketClientProtocol

    class Tapped(WebSocketClientProtocol):
        taken = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            tap.opened(transport.abort)

        async def recv(self) -> Any:
            while True:
                frame = await super().recv()
                self.taken += 1
                if tap.take(frame if isinstance(frame, bytes) else frame.encode()):
                    return frame
                heard()

        async def keepalive_ping(self) -> None:
            # A pong waits behind frames: on a slow machine it comes late, and to hang up would only lose the frames.
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await asyncio.sleep(self.ping_interval or 0)
                    pong, taken = asyncio.ensure_future(await self.ping()), -1
                    while not pong.done() and taken != self.taken:
                        taken = self.taken
                        await asyncio.wait({pong}, timeout=self.ping_timeout)
                    if not pong.done():
                        return self.fail_connection(1011, "neither a pong nor a frame came in time")
                    await pong

    return Tapped


async def run_stream(stream: Any) -> None:
    """Run an SDK stream in the present loop until it is stopped or cancelled; its socket is closed in any case."""
    try:
        await stream._run_forever()
    finally:
        await stream.close()


def ender() -> Callable[[], None]:
    """Return what ends the present task, called from any thread, however often the task loses the request.

    A cancellation that arrives together with a frame is lost: ``asyncio.wait_for`` of Python 3.11, inside the SDK's
    loop, then returns the frame (CPython issue 86296). So it is asked for again until the task is done.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def insist() -> None:
        if task is not None and not task.done():
            task.cancel()
            loop.call_later(END_AGAIN_SECONDS, insist)

    def end() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the task has ended
            loop.call_soon_threadsafe(insist)

    return end
