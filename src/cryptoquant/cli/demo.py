"""The demo: the whole river in one command, on a sandbox venue, without keys and without a network."""

import shutil
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from cryptoquant import features as f
from cryptoquant.backtest.sandbox import Sandbox
from cryptoquant.backtest.walk_forward import Study, walk_forward
from cryptoquant.cli.parity import parity
from cryptoquant.cli.terminal import progress, say
from cryptoquant.data.download import download
from cryptoquant.data.recorder import Recorder
from cryptoquant.data.store import Store
from cryptoquant.errors import GateRefusedError, TradingError
from cryptoquant.live.replay import replay
from cryptoquant.live.trader import Trader
from cryptoquant.market.slice import Panel
from cryptoquant.market.time import to_datetime, to_ns
from cryptoquant.models import XGBoost
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.registry import Registry, Version
from cryptoquant.models.splits import WalkForward
from cryptoquant.models.tune import Tune
from cryptoquant.performance.trials import TrialLedger
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import LongFlat
from cryptoquant.trading.venue import Costs

PAIRS = ("BTC/USD", "ETH/USD")
START, HISTORY_DAYS, FUTURE_DAYS = "2024-01-01", 540, 7
EDGE = 0.18
RECORD_MINUTES = 180
TRADE_HOURS = 72
MODEL = "btc-eth-1h"


@dataclass(slots=True)
class Demo:
    """Where the demo keeps things, and which market it trades."""

    folder: Path
    edge: float
    sandbox: Sandbox
    started: float = field(default_factory=time.monotonic)

    @property
    def store(self) -> Store:
        """Market data, one folder for each market."""
        return Store(self.folder / f"store-{self.market}")

    @property
    def market(self) -> str:
        """The market's name."""
        return "edge" if self.edge else "noise"

    @property
    def truth(self) -> str:
        """What is known of the market, because it was made."""
        if not self.edge:
            return "A synthetic market without any edge: prices are a fair game, so an honest gate has to say no."
        return (
            f"A synthetic market with a planted edge: a hidden state moves prices by {self.edge} hourly volatilities "
            "an hour, up or down for three days on average, and volume betrays it. No real market is like this."
        )

    def step(self, number: int, text: str) -> None:
        """Announce a step, with the seconds since the start."""
        say(f"\n[{number}/6] {text}  ({time.monotonic() - self.started:.0f} s)")


def demo(
    noise: Annotated[bool, typer.Option("--noise", help="A market without any edge: see the gate refuse.")] = False,
    folder: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("demo"),
) -> None:
    """Run the whole river: venue, history, live stream, model, evidence, registry, paper trading."""
    edge = 0.0 if noise else EDGE
    folder.mkdir(parents=True, exist_ok=True)
    past = timedelta(days=HISTORY_DAYS)
    sandbox = Sandbox(7, PAIRS, edge=edge, start=START, days=HISTORY_DAYS + FUTURE_DAYS, history=past, lockstep=True)
    with sandbox:
        run = Demo(folder, edge, sandbox)
        say(run.truth)
        run.step(1, f"a venue that speaks Alpaca's protocol serves at {sandbox.url}, market time {_now(sandbox)}")
        _download(run)
        _record(run)
        study = _research(run)
        version = _register(run, study)
        if version is not None:
            _trade(run, version)
    _close(run, traded=version is not None)


def _download(run: Demo) -> None:
    run.step(2, f"history of {', '.join(PAIRS)} through alpaca-py, 5-minute bars since {START}")
    with progress("download") as advance:
        got = download(run.store, PAIRS, "5m", START, source=run.sandbox.alpaca(), progress=advance)
    say(f"      {got.rows:,} bars into {run.store.root}; {got.skipped} months already stored")
    report = run.store.check("bars", PAIRS)
    say(f"      the stored bars are {'clean: no gap, no duplicate' if report.is_clean else 'not clean'}")


def _record(run: Demo) -> None:
    run.step(3, f"the live stream through alpaca-py's websocket, {RECORD_MINUTES} minutes of market time")
    recorder = Recorder(run.store, PAIRS, run.sandbox.alpaca(), clock=lambda: run.sandbox.market.now).start()
    try:
        _wait_for_connection(recorder)
        for _ in range(RECORD_MINUTES):
            run.sandbox.advance(timedelta(minutes=1))
        _wait_for_quiet(recorder)
    finally:
        done = recorder.stop()
    written = ", ".join(f"{rows:,} {kind}" for kind, rows in sorted(done.written.items()))
    say(f"      received {done.received:,} messages, wrote {written}; {done.rejected} rejected")


def _wait_for_connection(recorder: Recorder) -> None:
    deadline = time.monotonic() + 15
    while not recorder.status().is_subscribed and time.monotonic() < deadline:
        time.sleep(0.02)


def _wait_for_quiet(recorder: Recorder) -> None:
    before, deadline = -1, time.monotonic() + 10
    while recorder.status().frames != before and time.monotonic() < deadline:
        before = recorder.status().frames
        time.sleep(0.2)


def _research(run: Demo) -> Study:
    features = f.FeatureSet(
        [
            f.log_return(1),
            f.log_return(24),
            f.rsi(14),
            f.realized_volatility(48),
            f.bollinger(20, 2.0),
            f.sma(48, relative=True),
            f.volume_ratio(168),
            f.zscore("volume", 336),
            f.hour_of_day(),
        ]
    )
    run.step(4, f"{len(features.names)} features, triple-barrier labels, walk-forward of XGBoost with tuning")
    bars = run.store.bars(PAIRS, "1h", start=START)
    features.check_causal(bars.filter(bars["time"].dt.epoch("ns") <= to_ns(START) + 400 * 3_600_000_000_000))
    dataset = Dataset.build(bars, features, f.triple_barrier(take=2.0, stop=2.0, horizon=timedelta(hours=24)))
    space = {"max_depth": (2, 4), "learning_rate": (0.02, 0.2, "log"), "min_child_weight": (20.0, 200.0, "log")}
    with progress("folds") as advance:
        study = walk_forward(
            dataset,
            XGBoost(n_estimators=80, seed=7),
            LongFlat(threshold=0.6, max_weight=0.4),
            WalkForward(train=timedelta(days=180), test=timedelta(days=60), embargo=timedelta(hours=24)),
            Costs.alpaca(tier=1, slippage_bps=2.0),
            Tune(trials=6, space=space, seed=7),  # type: ignore[arg-type]
            name=f"demo-{run.market}",
            ledger=TrialLedger(run.folder / "trials.jsonl"),
            progress=advance,
            notes=(run.truth,),
        )
    study.report.show()
    say(f"      {len(dataset):,} rows, {len(study.folds)} folds, {study.evidence.tuning_trials} tuning trials")
    say(f"      report: {study.report.to_html(run.folder / f'report-{run.market}.html')}")
    return study


def _register(run: Demo, study: Study) -> Version | None:
    run.step(5, "the bundle goes to MLflow on SQLite; the gate looks at its evidence")
    registry = _registry(run)
    version = registry.register(f"{MODEL}-{run.market}", study)
    try:
        registry.promote(version, "champion", ledger=TrialLedger(run.folder / "trials.jsonl"))
    except GateRefusedError as error:
        say(f"      {version} is registered, and refused as champion:")
        for reason in error.reasons:
            say(f"        - {reason}")
        return None
    say(f"      {version} is champion: the planted edge is there, and the evidence shows it")
    return version


def _trade(run: Demo, version: Version) -> None:
    run.step(6, f"the champion trades {TRADE_HOURS} hours on paper through alpaca-py, in lock-step with the venue")
    journal = run.folder / "journal.sqlite"
    for leftover in run.folder.glob("journal.sqlite*"):
        leftover.unlink()
    registry, connection = _registry(run), run.sandbox.alpaca()
    limits = RiskLimits(max_weight=0.6, max_drawdown=0.2)
    reference = f"{version.name}@champion"
    trader = Trader.paper(
        reference, broker=connection, limits=limits, registry=registry, store=run.store, journal=journal
    )
    done = trader.run(until=timedelta(hours=TRADE_HOURS))
    if done.reason:
        raise KeyboardInterrupt
    again = replay(journal)
    bars = run.store.bars(PAIRS, "1h", start=START)
    history = Panel.from_frame(bars, PAIRS).between(0, again.slices[0].time - 1)
    held = ", ".join(f"{quantity:.9f} {symbol}" for symbol, quantity in done.positions.items())
    say(f"      {done.slices} slices, {done.orders} orders, {done.fills} fills, {done.refused} refused")
    say(f"      positions: {held}; our books and the venue's agree")
    say(f"      P&L {done.equity - again.start.cash:+,.2f} USD after {done.fees:,.2f} USD of fees")
    say(f"      replay of the journal: {'the same orders' if again.is_equal else again.difference}")
    minutes = Panel.from_frame(run.store.bars(PAIRS, "1m", start=to_datetime(again.start.time)), PAIRS)
    compared = parity(again, registry.load(reference), history, minutes)
    say(f"      {compared}")
    if not (again.is_equal and compared.is_equal):
        raise TradingError(str(compared))


def _registry(run: Demo) -> Registry:
    return Registry(f"sqlite:///{(run.folder / 'mlflow.db').resolve()}")


def _now(sandbox: Sandbox) -> str:
    return str(sandbox.status()["now"])


def _close(run: Demo, *, traded: bool) -> None:
    page = run.folder / f"report-{run.market}.html"
    say(f"\ndone in {time.monotonic() - run.started:.0f} s. Written below {run.folder}:")
    say(f"  {page.name:24} the report: open it in a browser")
    say(f"  {f'store-{run.market}':24} market data, Parquet by kind, symbol and month")
    say(f"  {'mlflow.db':24} the registry: mlflow ui --backend-store-uri sqlite:///{run.folder / 'mlflow.db'}")
    if traded:
        say(f"  {'journal.sqlite':24} what was traded: cryptoquant report --journal {run.folder / 'journal.sqlite'}")
    say("\nnext:")
    if shutil.which("cryptoquant") is None:
        say("  source .venv/bin/activate                             so that the commands below are found")
    other = "cryptoquant demo" if run.market == "noise" else "cryptoquant demo --noise"
    say(f"  {other:52} the same on a market {'with' if run.market == 'noise' else 'without'} an edge")
    say("  export APCA_API_KEY_ID=... APCA_API_SECRET_KEY=...    keys of an Alpaca paper account")
    say("  cryptoquant download BTC/USD ETH/USD --timeframe 5m   real history into the store")
    say("  cryptoquant walk-forward my.toml --register my-model  your study (see examples/btc_eth_5m.toml)")
    say("  cryptoquant paper my-model@champion                   your champion on Alpaca paper")
