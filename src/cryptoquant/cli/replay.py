"""The verb replay: a journal through its engines again and beside the backtest, or a range of the store."""

from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from cryptoquant.backtest.rehearsal import rehearse
from cryptoquant.backtest.run import Run
from cryptoquant.cli.data import Json, StoreOption, opened
from cryptoquant.cli.parity import Parity, parity, signals_of
from cryptoquant.cli.registry import RegistryOption
from cryptoquant.cli.terminal import answer, facts, say, table
from cryptoquant.data.store import Store
from cryptoquant.errors import DataError, JournalError, ModelError
from cryptoquant.live.replay import Replay, replay_all
from cryptoquant.market.slice import Panel
from cryptoquant.market.time import to_datetime
from cryptoquant.models.bundle import Bundle
from cryptoquant.models.registry import Registry
from cryptoquant.settings import settings
from cryptoquant.trading.engine import Engine
from cryptoquant.trading.venue import Venue


def replay(
    journal: Annotated[
        Path | None, typer.Option("--journal", help="The trader's journal; by default CQ_JOURNAL, or journal.sqlite.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Only this profile of the journal.")] = None,
    bundle: Annotated[
        str | None, typer.Option(help="Instead of a journal: trade this name@alias on the store.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="Of the range of the store, for example 2024-05-01.")] = None,
    end: Annotated[str | None, typer.Option(help="Of the range; by default all that is stored.")] = None,
    cash: Annotated[float, typer.Option(help="Quote currency to begin the range with.")] = 100_000.0,
    registry: RegistryOption = None,
    store: StoreOption = None,
    json: Json = False,
) -> None:
    """Read a journal through its engines again, beside the backtest; or trade a range of the store by the same engine.

    A journal is read twice: with the fills that the venue told, which must give the same orders, and against our own
    matcher on the recorded minutes, which shows what paper trading cost beyond the backtest.
    """
    shelf, home = Registry(registry), opened(store)
    if bundle is not None:
        _range(shelf.load(shelf.resolve(bundle)), home, (start, end), cash, json=json)
        return
    if start is not None or end is not None:
        raise ValueError("--start and --end are of a range of the store: give --bundle, too")
    known = replay_all(journal or Path(settings().journal))
    if profile is not None and profile not in known:
        raise JournalError(f"the journal holds the profiles {', '.join(known)}; found {profile!r}")
    chosen = {name: one for name, one in known.items() if profile in (None, name)}
    compared = {name: beside_backtest(one, shelf, home) for name, one in chosen.items()}
    if json:
        answer({name: _told(one, compared[name]) for name, one in chosen.items()})
    else:
        for name, one in chosen.items():
            _say(name, one, compared[name])
    different = [f"{name}: {one.difference}" for name, one in chosen.items() if not one.is_equal]
    if different:
        raise JournalError(f"the replay differs: {different[0]}")


def beside_backtest(known: Replay, registry: Registry, store: Store) -> Parity | str:
    """Return a journal's profile beside its backtest on the recorded minutes, or why that cannot be made."""
    if not known.slices:
        return "nothing was decided yet"
    try:
        bundle = registry.load(known.version or known.reference)
        symbols = list(bundle.symbols)
        minutes = Panel.from_frame(store.bars(symbols, "1m", start=to_datetime(known.start.time)), bundle.symbols)
        history = Panel.from_frame(store.bars(symbols, bundle.timeframe), bundle.symbols)
    except (DataError, ModelError) as error:
        return str(error)
    return parity(known, bundle, history, minutes)


def trade_range(bundle: Bundle, store: Store, bounds: tuple[str | None, str | None], cash: float) -> Run:
    """Trade a range of the store's minutes by the engine of paper trading, on our own matcher.

    Features are warmed up by all that the store holds before the range.

    Raises
    ------
    DataError
        The store holds no minutes of the range, or no slices of the bundle's timeframe.
    """
    symbols = list(bundle.symbols)
    minutes = Panel.from_frame(store.bars(symbols, "1m", *bounds), bundle.symbols)
    panel = Panel.from_frame(store.bars(symbols, bundle.timeframe, None, bounds[1]), bundle.symbols)
    first = int(minutes.times[0]) - minutes.width
    engine = Engine(
        bundle.strategy, Venue.alpaca(bundle.costs), bundle.symbols, cash, execution=bundle.execution, holds=True
    )
    length = bundle.strategy.lookback
    engine.warm(list(panel.between(0, first))[-length:] if length > 1 else ())
    decided = {market.time: market for market in panel.between(first, int(minutes.times[-1]))}
    return rehearse(engine, minutes, bundle.timeframe, signals_of(bundle, panel, decided))


def _range(bundle: Bundle, store: Store, bounds: tuple[str | None, str | None], cash: float, *, json: bool) -> None:
    run = trade_range(bundle, store, bounds, cash)
    found = run.statistics(cash).to_dict()
    if json:
        answer({"orders": len(run.orders), "fills": len(run.fills), "statistics": found})
        return
    say(f"{bundle.name}: {len(run.orders)} orders, {len(run.fills)} fills, {len(run.rejections)} refused")
    facts(found)


def _told(known: Replay, compared: Parity | str) -> dict[str, object]:
    """Return what is said of a profile as JSON-ready values."""
    found: dict[str, object] = {"equal": known.is_equal, "difference": known.difference, "orders": len(known.orders)}
    if isinstance(compared, Parity):
        return found | {"backtest_equal": compared.is_equal, "table": compared.table().to_dicts()}
    return found | {"backtest_equal": None, "table": [], "reason": compared}


def _say(name: str, known: Replay, compared: Parity | str) -> None:
    same = f"all {len(known.orders)} orders are given again" if known.is_equal else known.difference
    say(f"{name}: {len(known.slices)} slices, {len(known.fills)} fills: {same}")
    if isinstance(compared, str):
        say(f"  not compared with a backtest: {compared}")
        return
    say(f"  {compared}")
    table(compared.table().with_columns(pl.col("live", "backtest").round(4)), f"{name}: live against backtest")
