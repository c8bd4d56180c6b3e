"""What the trader does about everything that the sandbox can do to it, and about what no venue does."""

import dataclasses
import json
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from cryptoquant import features as f
from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.backtest.sandbox.fault import FAULT_KINDS, Fault
from cryptoquant.data.store import Store
from cryptoquant.errors import DataError, HaltedError, StoreError, UnknownSymbolError
from cryptoquant.live import shift
from cryptoquant.live.journal import read_journal
from cryptoquant.live.options import TraderOptions
from cryptoquant.live.replay import replay
from cryptoquant.live.trader import Trader
from cryptoquant.live.watch import Patience

HOURS = 14
UNCHANGED, BALANCED, HALTED = "trades as if nothing had happened", "books equal to the venue's", "halted"
OUTCOMES: dict[str, tuple[str, str]] = {
    "data.drop": (BALANCED, "connects again, fetches the gap; a slice that comes too late is passed over"),
    "data.mute": (BALANCED, "fetches the gap; pauses after a while without data, and goes on"),
    "data.half_open": (BALANCED, "fetches the gap; pauses after a while without data, and goes on"),
    "data.slow_client": (BALANCED, "connects again and fetches the gap"),
    "data.limit": (UNCHANGED, "asks to be let in again"),
    "data.refuse": (UNCHANGED, "asks to be let in again"),
    "data.duplicate": (UNCHANGED, "takes the first"),
    "data.reorder": (UNCHANGED, "fetches what is missing, and takes what comes later for known"),
    "data.late": (UNCHANGED, "fetches what is missing"),
    "data.corrupt": (BALANCED, "fetches the gap"),
    "data.no_reset": (UNCHANGED, "trades on bars"),
    "data.correction": (UNCHANGED, "trades on bars"),
    "data.wrong_bar": (UNCHANGED, "takes the first bar of a minute, as the history keeps it"),
    "trading.drop": (BALANCED, "connects again and looks the orders up"),
    "trading.mute": (BALANCED, "looks the orders up"),
    "trading.half_open": (BALANCED, "looks the orders up"),
    "trading.refuse": (UNCHANGED, "asks to be let in again"),
    "trading.duplicate": (UNCHANGED, "books a fill once"),
    "trading.reorder": (UNCHANGED, "books what is told, in the order of cumulative quantity"),
    "trading.late": (BALANCED, "looks the orders up"),
    "trading.lose": (BALANCED, "looks the orders up"),
    "http.rate_limit": (UNCHANGED, "waits as long as it is told, and asks again"),
    "http.error": (UNCHANGED, "looks up by its id, and sends an order that the venue does not know once more"),
    "http.accepted": (UNCHANGED, "looks up by its id, and finds it"),
    "http.reset": (UNCHANGED, "looks up, and sends once more"),
    "http.reset_after": (UNCHANGED, "looks up, and finds it"),
    "http.hang": (UNCHANGED, "looks up, and sends once more"),
    "http.garbage": (UNCHANGED, "looks up, and finds it"),
    "http.revoked": (HALTED, "refused the keys"),
    "http.latency": (UNCHANGED, "waits"),
    "order.late": (BALANCED, "leaves the symbol alone until the order has ended"),
    "order.reject": (BALANCED, "books the refusal; decides anew at the next slice"),
    "order.partial": (BALANCED, "books the part and the end"),
    "order.restate": (BALANCED, "books the correction"),
    "venue.restart": (BALANCED, "connects both streams again, fetches the gap, looks the orders up"),
    "venue.clock": (BALANCED, "trades by the market's own stamps"),
}
AT_START = ("data.limit", "data.refuse", "trading.refuse")
NEVER_SENT = ("data.no_reset", "data.correction")  # of channels that a trader on bars does not take
WIDE = {"data.mute": 90, "data.half_open": 90, "trading.mute": 120, "trading.half_open": 120, "venue.clock": 600}


def disturbed(kind: str) -> Fault:
    """Return a fault that strikes a trader of a few hours where it hurts."""
    more: dict[str, object] = {}
    if kind.startswith("http."):
        more = {"method": "POST", "path": "/v2/orders", "seconds": 0.05 if kind != "http.rate_limit" else 0.0}
    elif kind in ("trading.lose", "trading.late"):
        more = {"event": "fill"}
    elif kind == "venue.restart":
        more = {"seconds": 0.3}
    elif kind == "order.restate":
        more = {"factor": 1.01}
    if kind in WIDE:
        more["lasts"] = timedelta(minutes=WIDE[kind])
    return Fault(kind, **more)  # type: ignore[arg-type]


@pytest.fixture
def polls(monkeypatch):
    """In lock-step the wall's clock stands for nothing: poll at each step."""
    monkeypatch.setattr(shift, "POLL_EVERY_SECONDS", 0.0)


@pytest.fixture(scope="module")
def undisturbed():
    return {}


def orders_of(venue: Sandbox) -> list[tuple[object, ...]]:
    tickets = venue._exchange.tickets.values()
    return [(t.request.client_order_id, t.order.lots, t.order.side, t.submitted) for t in tickets]


def is_balanced(trader: Trader, venue: Sandbox) -> None:
    """Hold our books, and what the journal says of them, to the venue's."""
    again, books = replay(trader.journal_path), venue.account()
    assert again.is_equal, again.difference
    ids = [order[0] for order in orders_of(venue)]
    assert len(ids) == len(set(ids))
    assert set(ids) <= {order.id for order in again.orders}
    assert again.engine.portfolio.lots.tolist() == books.lots.tolist()
    assert abs(again.engine.portfolio.cash - books.cash) <= 2


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_every_fault_has_an_outcome_and_that_is_it(kind, bundle, tmp_path, undisturbed, polls):
    outcome, words = OUTCOMES[kind]
    for name in ("quiet", "loud") if not undisturbed else ("loud",):
        faults = [disturbed(kind)] if name == "loud" and kind in AT_START else []
        with Sandbox(11, bundle.symbols, days=15, history=timedelta(days=10), lockstep=True, faults=faults) as venue:
            trader = Trader(bundle, venue.alpaca(), Store(tmp_path / name), journal=tmp_path / f"{name}.sqlite").open()
            trader.run(until=timedelta(hours=1))
            trader = Trader(bundle, venue.alpaca(), Store(tmp_path / name), journal=tmp_path / f"{name}.sqlite").open()
            if name == "loud" and kind not in AT_START:
                venue.inject(disturbed(kind))
            if name == "loud" and outcome == HALTED:
                with pytest.raises(HaltedError, match=words):
                    trader.run(until=timedelta(hours=HOURS))
            else:
                trader.run(until=timedelta(hours=HOURS))
            if name == "quiet":
                undisturbed["orders"], undisturbed["cash"] = orders_of(venue), venue.account().cash
                continue
            struck = sum(fault["fired"] for fault in venue.faults())
            assert struck >= 1 or kind in NEVER_SENT
            is_balanced(trader, venue)
            if outcome == UNCHANGED:
                assert orders_of(venue) == undisturbed["orders"]
                assert venue.account().cash == undisturbed["cash"]
            assert orders_of(venue)


def test_the_table_names_every_kind_and_no_other():
    assert set(OUTCOMES) == set(FAULT_KINDS)
    assert all(words for _, words in OUTCOMES.values())


def free(bundle) -> Sandbox:
    return Sandbox(11, bundle.symbols, days=15, history=timedelta(days=10), speed=1_800)


def test_a_silence_of_the_market_pauses_and_its_end_lets_trading_go_on(bundle, tmp_path):
    patience = Patience(data=timedelta(seconds=0.7))
    with free(bundle) as venue:
        options = TraderOptions(patience=patience)
        trader = Trader(bundle, venue.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j", options=options).open()
        venue.inject(Fault("data.mute", lasts=timedelta(minutes=50)))
        assert trader.run(until=timedelta(hours=3)).state == "stopped"
    done = [entry.fact().action for entry in read_journal(tmp_path / "j") if entry.kind == "command"]
    assert done[:2] == ["pause", "unpause"]
    assert not trader.status().reason


def test_keys_that_are_revoked_while_it_waits_halt_it_and_the_halt_survives(hire, sandbox, polls):
    trader = hire().open()
    sandbox.inject(Fault("http.revoked", lasts=timedelta(days=1)))
    with pytest.raises(HaltedError, match="refused the keys"):
        trader.run(until=timedelta(hours=5))
    sandbox.heal()
    assert "refused the keys" in replay(trader.journal_path).engine.risk.halted
    assert "refused the keys" in hire().open().stop().reason


def test_a_symbol_that_the_venue_does_not_trade_is_named_at_the_start(bundle, sandbox, tmp_path):
    other = replace(bundle, symbols=("BTC/USD", "XYZ/USD"))
    with pytest.raises(UnknownSymbolError, match="XYZ/USD"):
        Trader(other, sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j").open()


def test_a_second_trader_on_the_account_is_refused_on_this_machine(bundle, hire, sandbox, tmp_path):
    first = hire().open()
    try:
        with pytest.raises(StoreError):
            Trader(bundle, sandbox.alpaca(), Store(tmp_path / "other"), journal=tmp_path / "other.sqlite").open()
    finally:
        first.stop()


def test_a_second_trader_on_another_machine_is_noticed_by_its_fills(hire, sandbox, polls):
    trader = hire().open()
    body = {"symbol": "ETH/USD", "notional": "700", "side": "buy", "type": "market", "time_in_force": "gtc"}
    sandbox.alpaca().trading().post("/orders", {**body, "client_order_id": "cq-main-ETHUSD-1-0"})
    with pytest.raises(HaltedError, match="our books hold"):
        trader.run(until=timedelta(hours=14))
    assert "our books hold" in replay(trader.journal_path).engine.risk.halted


def test_a_clock_of_this_machine_that_jumps_halts_it(bundle, tmp_path, monkeypatch):
    with free(bundle) as venue:
        trader = Trader(bundle, venue.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j").open()
        begun = time.monotonic()

        def wall() -> float:
            return time.time() + (30.0 if time.monotonic() > begun + 1.0 else 0.0)

        monkeypatch.setattr(shift, "time", SimpleNamespace(time=wall, monotonic=time.monotonic))
        with pytest.raises(HaltedError, match=r"jumped by 30\.0 s"):
            trader.run(until=timedelta(hours=24))


def test_a_model_whose_features_the_history_cannot_feed_is_refused_at_the_start(bundle, sandbox, tmp_path):
    deep = replace(bundle, features=f.FeatureSet([f.log_return(3), f.zscore("volume", 24 * 30)]))
    with pytest.raises(DataError, match="trading now needs"):
        Trader(deep, sandbox.alpaca(), Store(tmp_path / "s"), journal=tmp_path / "j").open()
    assert not [entry for entry in read_journal(tmp_path / "j") if entry.kind in ("profile", "order")]


FULL_DISK = """
import json, os, resource, sqlite3, sys
from datetime import timedelta
from pathlib import Path
from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.store import Store
from cryptoquant.errors import HaltedError
from cryptoquant.live.trader import Trader
from tests.live.kill_harness import bundle_of
from cryptoquant.trading.execution import Execution

folder = Path(sys.argv[1])
trader = Trader(
    bundle_of("hourly", "1h", Execution(), 120.0), Alpaca(**json.loads(sys.argv[2])), Store(folder / "s"),
    journal=folder / "j",
).open()
reader = sqlite3.connect(folder / "j")
reader.execute("BEGIN")
reader.execute("SELECT count(*) FROM facts").fetchone()  # as long as it reads, the log beside the journal grows
trader.journal.note("filler", "filler", 1, {"text": "x" * 3_000_000}, "nobody")
room = int(sys.argv[3]) + os.stat(folder / "j-wal").st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
try:
    trader.run(until=timedelta(hours=40))
except HaltedError as error:
    print("halted", error, trader.state)
"""


@pytest.mark.parametrize("room", [9_000, 40_000])
def test_a_disk_that_is_full_halts_it_and_nothing_is_sent_that_is_not_in_the_journal(sandbox, tmp_path, room):
    root = Path(__file__).resolve().parents[2]
    connection = json.dumps(dataclasses.asdict(sandbox.alpaca()))
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), connection, str(room)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, timeout=120)
    assert done.stdout.startswith("halted"), done.stderr
    assert "cannot write" in done.stdout
    assert done.stdout.rstrip().endswith("halted")
    known = {entry.id.removeprefix("order:") for entry in read_journal(tmp_path / "j") if entry.kind == "order"}
    assert {order[0] for order in orders_of(sandbox)} <= known
    assert replay(tmp_path / "j").is_equal
