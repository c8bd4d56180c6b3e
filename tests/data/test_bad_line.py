"""Whatever happens to line and recorder, in the end the store holds what the venue's history holds, each row once."""

import random
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

import polars as pl
import pytest

from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.data import alpaca
from cryptoquant.data.download import download
from cryptoquant.data.recorder import Recorder
from cryptoquant.data.recorder_status import RecorderOptions
from cryptoquant.data.store import Store
from cryptoquant.errors import EmptyStoreError
from tests.data.bad_line import bad_line
from tests.data.test_recorder import await_that

PAIRS = ["BTC/USD", "ETH/USD"]
KINDS = ("trades", "quotes", "bars")
TIMEOUTS = ("ping_interval", "ping_timeout", "close_timeout")
ACTS = ("advance", "advance", "cut", "mute", "restart", "compact")
STEPS, SHORT, DEEP = 14, 1, 62


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(alpaca, "WEBSOCKET", {**alpaca.WEBSOCKET, **dict.fromkeys(TIMEOUTS, 0.3)})


def survive(folder, seed: int) -> None:
    """Record a market over a bad line, with restarts and compactions between, and compare with the venue's history."""
    rng, store = random.Random(seed), Store(folder / "store")
    options = RecorderOptions(flush_every=timedelta(milliseconds=50), compact_every=None, segment_bytes=1 << 16)
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox(seed=seed, symbols=PAIRS, days=2, lockstep=True))
        address = urlsplit(sandbox.data_stream_url)
        line = stack.enter_context(bad_line(address.port))
        source = replace(sandbox.alpaca(), data_stream_url=address._replace(netloc=f"127.0.0.1:{line.port}").geturl())
        clock = lambda: sandbox.market.now  # noqa: E731

        def begin() -> Recorder:
            recorder = Recorder(store, PAIRS, source, options=options, clock=clock).start()
            await_that(lambda: recorder.status().is_subscribed)
            return recorder

        def bear(act: str, recorder: Recorder) -> Recorder:
            """Let something happen to a recorder, and return the one that records from then on."""
            if act == "restart":
                recorder.stop()
            elif act in ("cut", "mute"):
                before = recorder.status().reconnects
                line.mute() if act == "mute" else line.cut()
            elif act == "compact":
                store.compact()
                store.vacuum(timedelta(0))
            sandbox.advance(timedelta(minutes=rng.randint(0, 4)))
            if act == "restart":
                return begin()
            if act == "mute":
                await_that(lambda: not recorder.status().is_subscribed)
                line.cut()
            if act in ("cut", "mute"):
                await_that(lambda: recorder.status().reconnects > before and recorder.status().is_subscribed)
            return recorder

        begun, final = sandbox.market.now, begin()
        for _ in range(STEPS):
            final = bear(rng.choice(ACTS), final)
        await_that(lambda: final.status().open_gaps == 0)
        sandbox.advance(timedelta(minutes=1))
        heard = sandbox.market.now
        told = Store(folder / "told")
        for kind in KINDS:
            download(told, PAIRS, "1m" if kind == "bars" else None, begun, heard, kind=kind, source=sandbox.alpaca())
        await_that(
            lambda: all(
                rows(store, kind, begun, heard).height == rows(told, kind, begun, heard).height for kind in KINDS
            )
        )
        final.stop()
    assert set(store.gaps().filter(pl.col("state") == "open")["kind"]) == set()
    assert set(store.gaps().filter(pl.col("state") == "permanent")["kind"]) <= {"books"}
    store.compact()
    for kind in KINDS:
        assert rows(store, kind, begun, heard).equals(rows(told, kind, begun, heard)), (seed, kind)


def rows(store: Store, kind: str, begun: int, heard: int) -> pl.DataFrame:
    """Return what a store holds of a kind, but for when it was known."""
    try:
        found = store.bars(None, "1m", begun, heard) if kind == "bars" else getattr(store, kind)(None, begun + 1, heard)
    except EmptyStoreError:
        return pl.DataFrame()
    return found.drop("known")


@pytest.mark.parametrize("seed", range(SHORT))
def test_over_a_bad_line_the_store_ends_with_what_the_venue_has(tmp_path, seed):
    survive(tmp_path, seed)


@pytest.mark.deep
def test_over_many_bad_lines_the_store_ends_with_what_the_venue_has(tmp_path):
    for seed in range(SHORT, SHORT + DEEP):
        survive(tmp_path / str(seed), seed)
