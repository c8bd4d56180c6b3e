"""A study asked again under other assumptions: dearer, later, with holes and noise, from elsewhere, without a part."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from statistics import median

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.backtest.disturbance import blurred, thinned, without_symbol
from cryptoquant.backtest.neighbourhood import Neighbour, model_neighbours, strategy_neighbours
from cryptoquant.backtest.plan import Plan
from cryptoquant.backtest.scenario import Scenario
from cryptoquant.backtest.simulator import buy_and_hold, stamps
from cryptoquant.backtest.study import Study
from cryptoquant.backtest.walk_forward import Progress, run_plan
from cryptoquant.errors import ModelError
from cryptoquant.market.slice import Panel
from cryptoquant.market.time import NANOSECONDS_PER_YEAR, span_ns
from cryptoquant.performance.luck import by_luck
from cryptoquant.performance.metrics import daily_returns, drawdowns, sharpe_ratio
from cryptoquant.performance.progress import bar
from cryptoquant.performance.regimes import DAYS_PER_YEAR, by_regime, without_calendar
from cryptoquant.performance.robustness import PARAMETERS, Robustness, Stress
from cryptoquant.performance.trials import TrialLedger

# Demanded where the world merely turns worse: an edge may shrink, but a study that then loses was never one.
STILL_EARNS = 0.0
# Demanded where the change is an accident that should hardly matter: half of the study's own ratio, for that is about
# what two runs of the same edge differ by over a year or two (the error of an annual Sharpe ratio of 2 over two years
# is 0.9), so that less than half says that the accident made the result.
HALF = 0.5
# A kind of market may be flat, but it must not lose at half the rate at which the whole earns. Its days are a third of
# all, so that a demand of zero would fail good studies by chance.
REGIME_SHARE = -0.5
NANOSECONDS_PER_DAY = NANOSECONDS_PER_YEAR // DAYS_PER_YEAR
COST_FACTORS = (2.0, 3.0)
# One bar in fifty is missing on a bad feed, one in ten on a broken one.
BAD_FEED, BROKEN_FEED = 0.02, 0.1
# A print that is off by a tenth of a bar's move is everyday between venues; by a quarter it is a bad feed.
NOISE_LEVELS = (0.1, 0.25)
# One draw of what is missing or off says as much about the draw as about the study: the middle of three is shown.
DRAWS = 3
# Parts of a test window by which a study begins later: folds fall elsewhere each time.
SHIFTS = (1 / 3, 2 / 3)
# Not more than a tenth of the days are lost to a later start: the row is about the book at the start, not the calendar.
LATER_STARTS = (0.05, 0.1)


@dataclass(frozen=True, slots=True)
class Change:
    """One row before it is traded.

    Attributes
    ----------
    makes
        Each gives a scenario, or None where the change makes no sense; of several the middle Sharpe ratio is shown.
    """

    family: str
    name: str
    limit: float
    makes: tuple[Callable[[], Scenario | None], ...]


def robustness(
    study: Study, *, seed: int = 0, refit: bool = True, progress: Progress | bool | None = None, jobs: int | None = 1
) -> Robustness:
    """Return what becomes of a study when one thing at a time is changed, with what is demanded of it.

    A row's Sharpe ratio must exceed its limit: 0 at twice the costs, one bar later, without any one symbol, year (or
    quarter), with a tenth of the bars missing or much noise, and at the fifth percentile of its trades drawn anew; half
    of the study's own (0 where that is negative) with a few bars missing or a little noise, begun later, and in the
    middle of the parameters nearby; minus half of it in each kind of market. No demand is made of three times the costs
    (costs take in a line: it would repeat the one of twice), of a single neighbour, and of another order of the trades,
    which moves the drawdown alone. Of missing bars and of noise with features made anew the middle of three draws is
    shown; bars that are missing together with their signals are one draw. A neighbour that never trades counts as 0.
    Trades are drawn anew from ten positions on. Rows that make no sense for a study are left out.

    No trial is counted: nobody chooses among these runs.

    Parameters
    ----------
    seed
        Of bars that go missing, noise and trades drawn anew; the same seed gives the same table.
    refit
        Whether the model's neighbours and later starts are learned anew, which costs a study or a fit of each fold
        for each of them. Without it a row takes one simulation, some 20 microseconds for each slice and symbol.
    progress
        Called with rows done and rows in total; or True for a bar with the time that is left.
    jobs
        Folds that are fitted side by side.
    """
    own = sharpe_ratio(study.report.daily_returns()["return"].to_numpy(), DAYS_PER_YEAR)
    half = max(0.0, HALF * own)
    changes = [*_trading(study.scenario, half), *_markets(study, half, seed), *_starts(study, half, refit, jobs)]
    near = [*strategy_neighbours(study), *(model_neighbours(study, jobs) if refit else ())]
    total = len(changes) + len(near)
    with ExitStack() as stack:
        tell = stack.enter_context(bar("robustness")) if progress is True else progress or _silent
        found: list[Stress] = []
        for done, change in enumerate(changes, start=1):
            found += _row(change)
            tell(done, total)
        close = _neighbourhood(study, near, half, lambda done: tell(len(changes) + done, total))
    kinds = [*found, *close, *_days(study, own), *_luck(study, seed)]
    order = ("costs", "delay", "bars", "prices", PARAMETERS, "start", "universe", "calendar", "regime", "luck")
    return Robustness(tuple(sorted(kinds, key=lambda stress: order.index(stress.family))))


def _silent(done: int, total: int) -> None:
    return


def _trading(scenario: Scenario, half: float) -> list[Change]:
    """Return the changes of costs, delay and universe, and later starts of what is learned already."""
    dear, dearest = COST_FACTORS
    span = scenario.end - scenario.start
    symbols = scenario.market.symbols if len(scenario.market.symbols) > 1 else ()
    return [
        Change("costs", f"costs x {dear:g}", STILL_EARNS, (partial(scenario.at_costs, dear),)),
        Change("costs", f"costs x {dearest:g}", np.nan, (partial(scenario.at_costs, dearest),)),
        Change("delay", "orders arrive one bar later", STILL_EARNS, (partial(scenario.delayed, 1),)),
        *(
            Change("universe", f"without {name}", STILL_EARNS, (partial(without_symbol, scenario, name),))
            for name in symbols
        ),
        *(
            Change(
                "start",
                f"traded from {share:.0%} of the span on",
                half,
                (partial(replace, scenario, start=scenario.start + int(share * span)),),
            )
            for share in LATER_STARTS
        ),
    ]


def _markets(study: Study, half: float, seed: int) -> list[Change]:
    """Return the changes of bars and prices; features and signals are made anew, but for the feed that loses both."""
    draws = range(seed, seed + DRAWS)
    anew = "" if study.scenario.signals is None else ", features made anew"
    both = Change(
        "bars",
        f"{BAD_FEED:.0%} of bars and their signals missing",
        half,
        (partial(study.scenario.without_bars, BAD_FEED, seed),),
    )
    return [
        *((both,) if anew else ()),
        *(
            Change(
                "bars",
                f"{share:.0%} of bars missing{anew}",
                limit,
                tuple(partial(_thinned, study, share, draw) for draw in draws),
            )
            for share, limit in ((BAD_FEED, half), (BROKEN_FEED, STILL_EARNS))
        ),
        *(
            Change(
                "prices",
                f"prices off by {level:.0%} of a bar's volatility",
                limit,
                tuple(partial(_blurred, study, level, draw) for draw in draws),
            )
            for level, limit in zip(NOISE_LEVELS, (half, STILL_EARNS), strict=True)
        ),
    ]


def _thinned(study: Study, share: float, seed: int) -> Scenario:
    return _on(study, thinned(study.plan.bars, share, seed))


def _blurred(study: Study, level: float, seed: int) -> Scenario:
    return _on(study, blurred(study.plan.bars, level, seed))


def _on(study: Study, bars: pl.DataFrame) -> Scenario:
    """Return the study on other bars; without a signal where no row has all its features any more."""
    try:
        return study.on(bars)
    except ModelError:
        signals = None if study.scenario.signals is None else study.scenario.signals.clear()
        return replace(study.scenario, market=Panel.from_frame(bars, study.plan.panel.symbols), signals=signals)


def _starts(study: Study, half: float, refit: bool, jobs: int | None) -> list[Change]:
    """Return the same plan begun later by parts of a test window, learned anew."""
    if not refit:
        return []
    test = study.plan.splits.test
    width = study.plan.panel.width
    length = span_ns(test) if isinstance(test, timedelta) else int(test) * width
    return [
        Change(
            "start",
            f"learned from {share * length / NANOSECONDS_PER_DAY:.3g} days later on",
            half,
            (partial(_later, study.plan, int(share * length), jobs),),
        )
        for share in SHIFTS
    ]


def _later(plan: Plan, by: int, jobs: int | None) -> Scenario | None:
    """Return what the plan trades when its history begins later; None where too little is left of it."""
    try:
        return run_plan(begun_later(plan, by), ledger=TrialLedger(), jobs=jobs).scenario
    except ModelError:
        return None


def begun_later(plan: Plan, by: int) -> Plan:
    """Return the plan without its first rows, or the first slices of a rule: ``by`` nanoseconds of them."""
    if plan.dataset is not None:
        return replace(plan, dataset=plan.dataset.between(int(plan.dataset.times[0]) + by))
    first = int(plan.panel.times[0]) + by
    return replace(plan, bars=plan.bars.filter(pl.col("time").dt.epoch("ns") >= first))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scenario came to: by daily returns, and the curve that tells two runs apart."""

    sharpe: float
    total_return: float
    max_drawdown: float
    curve: NDArray[np.float64]


def outcome_of(scenario: Scenario) -> Outcome:
    """Trade a scenario; annual Sharpe ratio of daily returns, total return and deepest drawdown as fractions."""
    run, cash = scenario.run(), scenario.cash
    curve = run.equity
    days = daily_returns(pl.DataFrame({"time": stamps(run.panel), "equity": curve}), cash)["return"].to_numpy()
    deepest = float(drawdowns(curve, cash).min(initial=0.0))
    return Outcome(sharpe_ratio(days, DAYS_PER_YEAR), float(curve[-1]) / cash - 1.0, deepest, curve)


def _row(change: Change) -> list[Stress]:
    """Trade a change; of several runs the one with the middle Sharpe ratio speaks, one that is not defined lowest."""
    made = [scenario for scenario in (make() for make in change.makes) if scenario is not None]
    found = [_tried(scenario, change.family) for scenario in made]
    known = sorted((one for one in found if one is not None), key=lambda one: np.nan_to_num(one.sharpe, nan=-np.inf))
    if not known:
        return []
    one = known[(len(known) - 1) // 2]
    return [Stress(change.family, change.name, one.sharpe, one.total_return, one.max_drawdown, change.limit)]


def _tried(scenario: Scenario, family: str) -> Outcome | None:
    """Trade a scenario; None for a strategy that asks for the symbol that was left out."""
    try:
        return outcome_of(scenario)
    except ValueError:
        if family == "universe":
            return None
        raise


def _neighbourhood(study: Study, near: Sequence[Neighbour], half: float, tell: Callable[[int], None]) -> list[Stress]:
    """Return a row for each neighbour, and one for their middle: of those that trade otherwise than the study."""
    own = study.report.equity["equity"].to_numpy()
    rows, others = [], []
    for done, neighbour in enumerate(near, start=1):
        scenario = neighbour.trade()
        tell(done)
        if scenario is None:
            continue
        one = outcome_of(scenario)
        rows.append(Stress(PARAMETERS, neighbour.name, one.sharpe, one.total_return, one.max_drawdown))
        if not np.array_equal(one.curve, own):
            others.append(rows[-1])
    if not others:
        return rows
    middle = Stress(
        PARAMETERS,
        f"middle of {len(others)} neighbours",
        median(float(np.nan_to_num(one.sharpe)) for one in others),
        median(one.total_return for one in others),
        median(one.max_drawdown for one in others),
        half,
    )
    return [middle, *rows]


def _days(study: Study, own: float) -> list[Stress]:
    """Return the rows that need no trading: by calendar and by kind of market."""
    days, panel = study.report.daily_returns(), study.scenario.market
    benchmark = pl.DataFrame({"time": stamps(panel), "equity": buy_and_hold(panel, 1.0)})
    limit = REGIME_SHARE * max(0.0, own)
    return [*without_calendar(days, STILL_EARNS), *by_regime(days, daily_returns(benchmark, 1.0), limit)]


def _luck(study: Study, seed: int) -> list[Stress]:
    years = (study.scenario.end - study.scenario.start) / NANOSECONDS_PER_YEAR
    return by_luck(study.report.trades, study.report.initial, years, seed, STILL_EARNS)
