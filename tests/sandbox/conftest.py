import functools
from collections.abc import Callable, Iterator
from datetime import timedelta

import polars as pl
import pytest

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.data.synthetic import SyntheticMarket
from tests.sandbox.clients import CryptoDataStream, Tape, TradingStream, Wire

SYMBOLS = ("BTC/USD", "ETH/USD")


@functools.lru_cache
def synthetic_bars(days: int) -> pl.DataFrame:
    return SyntheticMarket(seed=7, symbols=SYMBOLS, days=days).bars()


@pytest.fixture
def bars() -> pl.DataFrame:
    return synthetic_bars(3)


@pytest.fixture(autouse=True)
def _loopback_without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def open_sandbox() -> Iterator[Callable[..., Sandbox]]:
    opened: list[Sandbox] = []

    def build(days: int = 3, **options: object) -> Sandbox:
        defaults = {"bars": synthetic_bars(days), "lockstep": True, "history": timedelta(days=days) / 2}
        opened.append(Sandbox(**(defaults | options)).start())
        return opened[-1]

    yield build
    for sandbox in opened:
        sandbox.stop()


@pytest.fixture
def sandbox(open_sandbox: Callable[..., Sandbox]) -> Sandbox:
    return open_sandbox()


@pytest.fixture
def tape(sandbox: Sandbox) -> Iterator[Callable[..., Tape]]:
    tapes: list[Tape] = []

    def build(kind: str, on: Sandbox = sandbox, **options: object) -> Tape:
        client, url = {
            "data": (CryptoDataStream, on.data_stream_url),
            "trading": (TradingStream, on.trading_stream_url),
        }[kind]
        tapes.append(Tape(client(on.api_key, on.api_secret, url_override=url, **options), on))
        return tapes[-1]

    yield build
    for one in tapes:
        one.end()


@pytest.fixture
def wire() -> Iterator[Callable[..., Wire]]:
    wires: list[Wire] = []

    def build(sandbox: Sandbox, headers: dict[str, str] | None = None, **options: object) -> Wire:
        wires.append(Wire(sandbox, headers, **options))
        return wires[-1]

    yield build
    for one in wires:
        one.close()
