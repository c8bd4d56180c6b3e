"""Verbs for research: backtest, sweep, walk-forward, placebo, register."""

import ast
import functools
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from cryptoquant.backtest.experiment import Experiment, costs_of, execution_of, made
from cryptoquant.backtest.placebo import POWER_RUNS, RUNS, Placebo, cheap_plan, default_markets, power
from cryptoquant.backtest.placebo import placebo as run_placebo
from cryptoquant.backtest.robustness import robustness
from cryptoquant.backtest.simulator import simulate
from cryptoquant.backtest.study import Study
from cryptoquant.backtest.sweep import sweep as sweep_grid
from cryptoquant.cli.data import Json, StoreOption, opened
from cryptoquant.cli.terminal import answer, progress, say, table
from cryptoquant.data.store import Store
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.market.time import span
from cryptoquant.models.bundle import STRATEGIES
from cryptoquant.models.registry import Registry
from cryptoquant.performance.evidence import Gate
from cryptoquant.trading.venue import Costs

Parameters = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE of the strategy.")]
CostsOption = Annotated[
    list[str] | None,
    typer.Option("--costs", help="NAME=VALUE as in an experiment: schedule=binance, maker_bps=10, spread_bps=2."),
]
ExecutionOption = Annotated[
    list[str] | None,
    typer.Option("--execution", help="NAME=VALUE as in an experiment: stop_loss=0.02, limit_bps=5, life=30m."),
]
PLACEBO_FILE = Path("placebo.jsonl")
Tier = Annotated[int | None, typer.Option(help="Alpaca's fee tier; 1 where no other fees are given.")]
Slippage = Annotated[float | None, typer.Option(help="How much worse than the open a market order fills.")]
Pairs = Annotated[list[str], typer.Argument(help="Pairs such as BTC/USD.")]


def backtest(
    symbols: Pairs,
    strategy: Annotated[str, typer.Option(help=f"One of {', '.join(STRATEGIES)}.")] = "MovingAverageCross",
    parameters: Parameters = None,
    timeframe: str = "1h",
    start: str | None = None,
    end: str | None = None,
    tier: Tier = None,
    slippage_bps: Slippage = None,
    costs: CostsOption = None,
    execution: ExecutionOption = None,
    html: Annotated[Path | None, typer.Option(help="Write the report's page here.")] = None,
    store: StoreOption = None,
    json: Json = False,
) -> None:
    """Simulate a rule on stored bars."""
    bars = opened(store).bars(symbols, timeframe, start=start, end=end)
    rule = made("strategy", strategy, _settings(parameters), STRATEGIES)
    report = simulate(rule, bars, _costs(costs, tier, slippage_bps), execution=execution_of(_settings(execution)))
    if html is not None:
        say(f"report: {report.to_html(html)}")
    if json:
        answer(report.statistics.to_dict())
    else:
        report.show()


def sweep(
    symbols: Pairs,
    grid: Annotated[list[str], typer.Option("--grid", help="NAME=FIRST:LAST:STEP or NAME=A,B,C.")],
    strategy: Annotated[str, typer.Option(help="A rule.")] = "MovingAverageCross",
    timeframe: str = "1h",
    start: str | None = None,
    end: str | None = None,
    tier: Tier = None,
    slippage_bps: Slippage = None,
    costs: CostsOption = None,
    execution: ExecutionOption = None,
    metric: str = "sharpe",
    count: Annotated[int, typer.Option(help="Rows to show.")] = 10,
    store: StoreOption = None,
    json: Json = False,
) -> None:
    """Simulate many parameter sets of a rule and show the best."""
    bars = opened(store).bars(symbols, timeframe, start=start, end=end)
    rule = functools.partial(_made_with, strategy)
    terms = _costs(costs, tier, slippage_bps)
    how = execution_of(_settings(execution))
    done = sweep_grid(rule, dict(_values(text) for text in grid), bars, terms, execution=how)
    best = done.best(metric, count)
    if json:
        answer(best.to_dicts())
        return
    shown = dict.fromkeys([*done.parameters, metric, "total_return", "sharpe", "max_drawdown", "trades", "fees"])
    table(
        best.select(list(shown)), f"best {count} of {done.frame.height} by {metric}: a best of many is biased upwards"
    )


def walk_forward(
    experiment: Annotated[Path, typer.Argument(help="The experiment's TOML file.")],
    html: Annotated[Path, typer.Option(help="Where to write the report's page.")] = Path("report.html"),
    register: Annotated[str | None, typer.Option(help="Register the study's bundle under this name.")] = None,
    store: Annotated[str | None, typer.Option(help="Folder of the store; by default the experiment's.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Folder of finished folds: a killed study goes on there.")] = None,
    save: Annotated[Path | None, typer.Option(help="Keep the report here, to be read by `report`.")] = None,
    stress: Annotated[bool, typer.Option(help="Trade the study again under other assumptions.")] = True,
    refit: Annotated[bool, typer.Option(help="Learn neighbours and later starts anew; several times as long.")] = False,
    json: Json = False,
) -> None:
    """Run a walk-forward study and say what speaks for it."""
    study = _study(experiment, store, resume)
    if stress:
        with progress("robustness") as advance:
            study = study.with_papers(robustness=robustness(study, refit=refit, progress=advance))
    if save is not None:
        study.report.save(save)
    page, stresses = study.report.to_html(html), study.report.dossier.robustness
    version = None if register is None else Registry().register(register, study)
    if json:
        numbers = {"statistics": study.report.statistics.to_dict(), "evidence": study.evidence.to_dict()}
        numbers["robustness"] = [] if stresses is None else stresses.frame.to_dicts()
        answer({**numbers, "refused_by_gate": list(Gate().check(study.evidence)), "report": str(page)})
        return
    study.report.show()
    reasons = Gate().check(study.evidence)
    say("the gate says yes" if not reasons else f"the gate says no: {'; '.join(reasons)}")
    say(f"report: {page}")
    if version is not None:
        say(f"registered: {version}")


def register(
    experiment: Annotated[Path, typer.Argument(help="The experiment's TOML file.")],
    name: Annotated[str, typer.Argument(help="Name in the registry.")],
    store: Annotated[str | None, typer.Option(help="Folder of the store; by default the experiment's.")] = None,
) -> None:
    """Run an experiment's study and register its bundle with its evidence."""
    version = Registry().register(name, _study(experiment, store))
    say(f"registered: {version}")


def placebo(
    experiment: Annotated[
        Path | None, typer.Argument(help="The experiment's TOML file; by default a ridge regression on hourly BTC/USD.")
    ] = None,
    runs: Annotated[int, typer.Option(min=0, help="Studies on each market without an edge.")] = RUNS,
    power_runs: Annotated[
        int, typer.Option(min=0, help="Studies for each planted Sharpe ratio; 0 for none.")
    ] = POWER_RUNS,
    trials: Annotated[
        int,
        typer.Option(
            min=1, help="Study trials that deflate each run; at 1 the gate waives its demands on DSR and PBO."
        ),
    ] = 1,
    days: Annotated[int, typer.Option(min=1, help="Length of the markets, where no experiment says it.")] = 730,
    gate: Annotated[Path | None, typer.Option(help="TOML file of the gate; by default the default gate.")] = None,
    storage: Annotated[Path, typer.Option(help="Where runs are kept: a stopped call goes on there.")] = PLACEBO_FILE,
    budget: Annotated[str | None, typer.Option(help="Begin no study after this time, for example 60m.")] = None,
    store: Annotated[str | None, typer.Option(help="Folder of the store; by default the experiment's.")] = None,
    json: Json = False,
) -> None:
    """Count how often the gate lets a pipeline through on markets without an edge, and with a planted one."""
    if experiment is None:
        plan = cheap_plan(SyntheticMarket(symbols=["BTC/USD"], days=days, timeframe="1h").bars())
        markets = [default_markets(plan)[0]]
    else:
        plan = Experiment.read(experiment).plan(None if store is None else Store(store))
        markets = list(default_markets(plan))
    judge = Gate() if gate is None else Gate.from_toml(gate)
    ends = None if budget is None else time.monotonic() + span(budget).total_seconds()
    ways: dict[str, Any] = {"trials": trials, "gate": judge, "storage": storage}
    with progress("placebo") as advance:
        none = run_placebo(plan, markets, runs=runs, budget=_left(ends), progress=advance, **ways)
    found, ended = [none], []
    if len(none.runs) < runs * len(markets):
        ended.append(f"the budget ended after {len(none.runs)} of {runs * len(markets)} placebo studies")
    try:
        if power_runs:
            with progress("power") as advance:
                some = power(plan, runs=power_runs, budget=_left(ends), progress=advance, **ways)
            found.append(some)
            ended += _short_of(some, power_runs)
    finally:
        _show_placebo(found, ended, as_json=json)


def _short_of(some: Placebo, runs: int) -> list[str]:
    """Return what a budget took from a power curve, in words."""
    wanted = runs * len(some.targets)
    if not some.targets:
        return ["the budget ended before the edges of the power curve were found"]
    done = len(some.runs)
    return [f"the budget ended after {done} of {wanted} studies of the power curve"] if done < wanted else []


def _show_placebo(found: list[Placebo], ended: list[str], *, as_json: bool) -> None:
    rates = pl.concat([one.rates for one in found])
    if as_json:
        answer({"rates": rates.to_dicts(), "gate": found[0].gate.to_dict(), "ended": ended})
        return
    counted = max(rates["trials"].to_list(), default=1)
    words = "its demands on DSR and PBO waived" if counted == 1 else f"deflated by {counted} study trials"
    table(rates.drop("trials"), f"how often the gate said yes, with 95 % intervals, {words}")
    for text in ended:
        say(text)


def _left(ends: float | None) -> timedelta | None:
    return None if ends is None else timedelta(seconds=max(0.0, ends - time.monotonic()))


def _study(experiment: Path, store: str | None, resume: Path | None = None) -> Study:
    plan = Experiment.read(experiment)
    with progress("folds") as advance:
        return plan.run(None if store is None else Store(store), progress=advance, resume=resume)


def _made_with(name: str, **parameters: Any) -> Any:
    return made("strategy", name, parameters, STRATEGIES)


def _settings(texts: list[str] | None) -> dict[str, Any]:
    return dict(_setting(text) for text in texts or [])


def _costs(texts: list[str] | None, tier: int | None, slippage_bps: float | None) -> Costs:
    """Return the costs of the options; a fee tier of its own option counts as one among them."""
    shortcuts = {"tier": tier, "slippage_bps": slippage_bps}
    return costs_of({**{key: value for key, value in shortcuts.items() if value is not None}, **_settings(texts)})


def _setting(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise typer.BadParameter(f"wanted NAME=VALUE, found {text!r}")
    return name, _number(value)


def _values(text: str) -> tuple[str, list[Any]]:
    name, value = _setting(text)
    if isinstance(value, str) and ":" in value:
        first, last, step = (int(part) for part in value.split(":"))
        return name, list(range(first, last, step))
    return name, list(value) if isinstance(value, tuple) else [value]


def _number(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
