"""How often a gate would have said yes where there is nothing to find, and how often where there is."""

import hashlib
import json
import math
import time as clock
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import polars as pl

from cryptoquant.backtest.parallel import side_by_side
from cryptoquant.backtest.placebo_markets import PlaceboMarket, Planted, RandomWalk, Shuffled
from cryptoquant.backtest.placebo_runs import KeptRuns, PlaceboRun, run_once
from cryptoquant.backtest.plan import Plan
from cryptoquant.backtest.study import Study
from cryptoquant.backtest.walk_forward import Progress
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import DataError
from cryptoquant.features import (
    FeatureSet,
    ema,
    forward_return,
    log_return,
    realized_volatility,
    rsi,
    zscore,
)
from cryptoquant.market.time import to_datetime
from cryptoquant.models import Ridge
from cryptoquant.models.bundle import code_fingerprint
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.objectives import squared_error
from cryptoquant.models.splits import WalkForward
from cryptoquant.models.tune import MEMORY, Tune
from cryptoquant.performance.evidence import Gate
from cryptoquant.performance.figures import print_frame
from cryptoquant.performance.progress import bar
from cryptoquant.performance.proportion import share_interval
from cryptoquant.performance.trials import strict_json
from cryptoquant.trading.strategy import LongFlat
from cryptoquant.trading.venue import Costs

NANOSECONDS_A_DAY = 86_400_000_000_000
SHARPES = (0.0, 1.0, 2.0, 3.0, 4.0)
RUNS, POWER_RUNS = 200, 100
# Edges of the synthetic market at which the pipeline is tried before the power curve, and how often each.
EDGES = (0.0, 0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.21, 0.25)
CALIBRATION_RUNS = 8
CALIBRATION_SEED = 1_000_000
RATES: dict[str, type[pl.DataType]] = {
    "market": pl.String,
    "target": pl.Float64,
    "trials": pl.Int64,
    "runs": pl.Int64,
    "passed": pl.Int64,
    "share": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "sharpe": pl.Float64,
    "sharpe_error": pl.Float64,
}


@dataclass(frozen=True)
class Placebo:
    """Studies of one pipeline on markets whose edge is known.

    Attributes
    ----------
    gate
        Which is judged.
    runs
        One for each market and seed.
    targets
        By market name with a planted edge: the Sharpe ratio that it was meant to give.
    """

    gate: Gate
    runs: tuple[PlaceboRun, ...]
    targets: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def frame(self) -> pl.DataFrame:
        """One row for each run: market, seed, sharpe (after costs), passed, reasons, seconds."""
        rows = []
        for run in self.runs:
            reasons = self.gate.check(run.evidence)
            told = (run.market, run.seed, run.evidence.sharpe, not reasons, "; ".join(reasons), run.seconds)
            rows.append(told)
        kinds = (pl.String, pl.Int64, pl.Float64, pl.Boolean, pl.String, pl.Float64)
        names = ("market", "seed", "sharpe", "passed", "reasons", "seconds")
        return pl.DataFrame(rows, schema=dict(zip(names, kinds, strict=True)), orient="row")

    @cached_property
    def rates(self) -> pl.DataFrame:
        """One row for each market: runs, passed, share with its 95 % interval (Clopper and Pearson 1934), mean sharpe.

        ``target`` is the Sharpe ratio that a planted edge was meant to give, null without one. ``trials`` is the count
        of study trials that the runs were deflated by: at 1 the gate's demands on DSR and PBO were waived, so that the
        share says nothing of them. A run that never traded has a ratio of 0 in the mean.
        """
        rows = []
        trials = pl.Series("trials", [run.evidence.study_trials for run in self.runs], pl.Int64)
        earned = self.frame.with_columns(trials, pl.col("sharpe").fill_nan(0.0))
        for (market,), part in earned.group_by("market", maintain_order=True):
            passed, runs = int(part["passed"].sum()), part.height
            spread = part["sharpe"].std() if runs > 1 else None
            error = None if spread is None else float(spread) / math.sqrt(runs)  # type: ignore[arg-type]
            target, counted = self.targets.get(str(market)), part["trials"].max()
            interval = share_interval(passed, runs)
            rows.append((market, target, counted, runs, passed, passed / runs, *interval, part["sharpe"].mean(), error))
        return pl.DataFrame(rows, schema=RATES, orient="row")

    def judged_by(self, gate: Gate) -> "Placebo":
        """Return the same runs judged by another gate; nothing is run again."""
        return replace(self, gate=gate)

    def show(self) -> None:
        """Print the rates without their counts of trials and passes, so that a terminal has room for the names."""
        print_frame(self.rates.drop("trials", "passed").rename({"sharpe_error": "±"}))

    def to_json(self) -> str:
        """Return rates and gate as JSON."""
        return json.dumps(strict_json({"rates": self.rates.to_dicts(), "gate": self.gate.to_dict()}), indent=1)


def placebo(
    pipeline: Study | Plan,
    markets: Sequence[PlaceboMarket] | None = None,
    *,
    runs: int = RUNS,
    trials: int = 1,
    gate: Gate | None = None,
    storage: str | Path | None = None,
    budget: timedelta | None = None,
    jobs: int | None = None,
    progress: Progress | bool = False,
) -> Placebo:
    """Run a pipeline on markets without an edge and count how often the gate lets it through.

    By default each run is the first trial of its study, for which the gate waives what deflates: DSR and PBO have no
    part in the share. ``trials`` gives them one.

    Parameters
    ----------
    pipeline
        A study, or the plan of one: its features, label, model, strategy, splits, costs and search are used as they
        are, on other bars. No trial is written into a ledger.
    markets
        By default random walks with clustered volatility, and the pipeline's own bars in shuffled blocks with random
        signs, as long as its own.
    runs
        Studies for each market; their seeds are 0, 1, 2 and so on.
    trials
        Study trials by which each run is deflated: its own and ``trials - 1`` without skill, independent noise of the
        run's own volatility on its days. They only stand beside the run: it is judged, not the best of all.
    storage
        A file of JSON lines in which runs are kept: what is there for the same plan, data, market, trials and code is
        not run again.
    budget
        No study is begun after that time; the result holds what there is.
    jobs
        Processes; -1 uses every core. The result does not depend on it.
    """
    plan = _apart(pipeline)
    chosen = markets if markets is not None else default_markets(plan)
    bench = _Bench(plan, storage, budget, jobs, progress)
    return Placebo(gate or Gate(), tuple(bench.run(chosen, range(runs), trials)))


def power(
    pipeline: Study | Plan,
    sharpes: Sequence[float] = SHARPES,
    *,
    runs: int = POWER_RUNS,
    trials: int = 1,
    calibration: int = CALIBRATION_RUNS,
    gate: Gate | None = None,
    storage: str | Path | None = None,
    budget: timedelta | None = None,
    jobs: int | None = None,
    progress: Progress | bool = False,
) -> Placebo:
    """Run a pipeline on markets with a planted edge that it trades at given Sharpe ratios, and count what passes.

    The edges are found first: the pipeline is run on a few markets of each of several edges, and the mean Sharpe ratio
    after costs is interpolated. What the edges gave in the end is the column ``sharpe`` of ``rates``. Nothing is
    returned where the budget ended before the edges were found.

    By default the gate's demands on DSR and PBO are waived, as in ``placebo``: more trials leave less power.

    Parameters
    ----------
    sharpes
        Annual, after costs; 0 stands for no edge at all.
    trials
        As of ``placebo``.
    calibration
        Markets of each edge that is tried first; none of them is among those that are counted.
    """
    plan = _apart(pipeline)
    bench = _Bench(plan, storage, budget, jobs, progress)
    edges = bench.edges_for(sharpes, calibration)
    if edges is None:
        return Placebo(gate or Gate(), ())
    markets = [Planted(_like(plan), edge) for edge in edges]
    names = _names(markets)
    targets = {names[market.key]: sharpe for market, sharpe in zip(markets, sharpes, strict=True)}
    return Placebo(gate or Gate(), tuple(bench.run(markets, range(runs), trials)), targets)


def cheap_plan(bars: pl.DataFrame) -> Plan:
    """Return a small pipeline by which a gate can be measured in an hour: ridge regression, five trials a fold.

    It learns the return of the next 24 hours from eight features of price and volume, four months at a time, moves on
    by a month, and holds a quarter of its equity from an expected rise of 1 % until an expected fall of 1 %, at
    Alpaca's first tier.
    """
    features = [log_return(1), log_return(24), zscore("volume", 24), zscore("volume", 96), ema(24, relative=True)]
    features += [ema(48, relative=True), rsi(14), realized_volatility(48)]
    day = timedelta(days=1)
    return Plan.of(
        Dataset.build(bars, FeatureSet(features), forward_return(day)),
        Ridge(),
        LongFlat(threshold=0.01, exit=-0.01, max_weight=0.25),
        WalkForward(120 * day, 30 * day, day),
        Costs.alpaca(),
        Tune(trials=5, space={"penalty": (1e-3, 1.0, "log")}, objective=squared_error),
        name="placebo",
    )


def default_markets(plan: Plan) -> tuple[PlaceboMarket, ...]:
    """Return random walks like the plan's market, and its own bars shuffled."""
    return RandomWalk(_like(plan)), Shuffled(plan.bars)


def _like(plan: Plan) -> SyntheticMarket:
    """Return a synthetic market of the same symbols, timeframe and length."""
    panel = plan.panel
    length = int(panel.times[-1]) - int(panel.times[0]) + panel.width
    return SyntheticMarket(
        symbols=panel.symbols,
        start=to_datetime(int(panel.times[0]) - panel.width),
        days=max(1, round(length / NANOSECONDS_A_DAY)),
        timeframe=timedelta(microseconds=panel.width // 1_000),
    )


def _apart(pipeline: Study | Plan) -> Plan:
    """Return the plan with a search that leaves nothing behind."""
    plan = pipeline.plan if isinstance(pipeline, Study) else pipeline
    return plan if plan.tune is None else replace(plan, tune=replace(plan.tune, storage=MEMORY))


class _Bench:
    """Runs studies side by side, keeps what is done, and stops beginning when the time is up."""

    def __init__(
        self,
        plan: Plan,
        storage: str | Path | None,
        budget: timedelta | None,
        jobs: int | None,
        progress: Progress | bool,
    ) -> None:
        self.plan = plan
        self.jobs = jobs
        self.progress = progress
        self.kept = KeptRuns(None if storage is None else Path(storage))
        self.ends = math.inf if budget is None else clock.monotonic() + budget.total_seconds()

    def run(self, markets: Sequence[PlaceboMarket], seeds: Sequence[int], trials: int = 1) -> list[PlaceboRun]:
        """Return the runs that are there at the end, seed by seed; a market that is there twice is run once."""
        if trials < 1:
            raise ValueError(f"trials must be at least 1, found {trials}")
        names = _names(markets)
        digests = {_digest(self.plan, key, trials): key for key in names}
        of = {market.key: market for market in markets}
        wanted = [(digest, seed) for seed in seeds for digest in digests]
        done = self.kept.read(digests)
        waiting = [one for one in wanted if one not in done]
        tasks = ((self.plan, of[digests[digest]], seed, trials) for digest, seed in self._in_time(waiting))
        with ExitStack() as stack:
            tell = stack.enter_context(bar("studies")) if self.progress is True else self.progress or _silent
            ready = len(wanted) - len(waiting)
            # Fewer runs than were waited for where the time was up.
            for run, one in zip(side_by_side(run_once, tasks, self.jobs, prefer="processes"), waiting, strict=False):
                self.kept.write(one[0], run)
                done[one] = run
                ready += 1
                tell(ready, len(wanted))
        return [replace(done[one], market=names[digests[one[0]]]) for one in wanted if one in done]

    def edges_for(self, sharpes: Sequence[float], calibration: int) -> list[float] | None:
        """Return the edges at which the mean Sharpe ratio after costs is what is wanted, by interpolation.

        None where the time was up before all markets were tried.

        Raises
        ------
        DataError
            The pipeline does not reach the largest of them on the strongest market that is tried.
        """
        like = _like(self.plan)
        markets = [Planted(like, edge) for edge in EDGES]
        found = self.run(markets, range(CALIBRATION_SEED, CALIBRATION_SEED + calibration))
        if len(found) < len(markets) * calibration:
            return None
        means = Placebo(Gate(), tuple(found)).rates["sharpe"].to_list()
        return [0.0 if sharpe == 0.0 else _crossing(EDGES, means, sharpe) for sharpe in sharpes]

    def _in_time(self, waiting: Iterable[tuple[str, int]]) -> Iterable[tuple[str, int]]:
        for one in waiting:
            if clock.monotonic() >= self.ends:
                return
            yield one


def _silent(done: int, total: int) -> None:
    return


def _crossing(edges: Sequence[float], means: Sequence[float], wanted: float) -> float:
    """Return the first edge, between two neighbours, at which the mean reaches a value."""
    for place in range(1, len(edges)):
        low, high = means[place - 1], means[place]
        if low <= wanted <= high and high > low:
            return edges[place - 1] + (edges[place] - edges[place - 1]) * (wanted - low) / (high - low)
    reached = ", ".join(f"{edge:g}: {mean:.2f}" for edge, mean in zip(edges, means, strict=True))
    raise DataError(f"no planted edge gives this pipeline a Sharpe ratio of {wanted:g}; edges gave {reached}")


def _names(markets: Sequence[PlaceboMarket]) -> dict[str, str]:
    """Return what each market is shown as, by key: its name, with a number where another one has that name, too."""
    names = {market.key: market.name for market in markets}
    shared: dict[str, list[str]] = {}
    for key, name in names.items():
        shared.setdefault(name, []).append(key)
    places = {key: keys.index(key) for keys in shared.values() for key in keys}
    return {key: f"{name} ({places[key] + 1})" if places[key] else name for key, name in names.items()}


def _digest(plan: Plan, market: str, trials: int) -> str:
    """Return a digest of all that decides a run but the seed: the plan with its data, market, trials and code."""
    said = json.dumps([plan.key, market, trials, code_fingerprint()])
    return hashlib.sha256(said.encode()).hexdigest()
