"""A study under other assumptions: each row is what a run of its own would say, and planted faults are found."""

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant import features as f
from cryptoquant.backtest.disturbance import blurred, thinned
from cryptoquant.backtest.neighbourhood import model_neighbours, refitted, stepped, strategy_neighbours
from cryptoquant.backtest.robustness import begun_later, robustness
from cryptoquant.backtest.simulator import simulate
from cryptoquant.backtest.strategy_search import TuneStrategy
from cryptoquant.backtest.study import Study
from cryptoquant.backtest.walk_forward import walk_forward
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.features import FeatureSet
from cryptoquant.market.schema import check_bars
from cryptoquant.market.slice import Panel
from cryptoquant.models import Logistic
from cryptoquant.models.dataset import Dataset
from cryptoquant.models.splits import WalkForward
from cryptoquant.models.tune import Tune
from cryptoquant.performance.alarms import alarms
from cryptoquant.performance.robustness import Robustness, Stress
from cryptoquant.performance.trials import TrialLedger
from cryptoquant.trading.strategy import BuyAndHold, LongFlat, MovingAverageCross
from cryptoquant.trading.venue import Costs, Venue
from tests.market_makers import HOUR, START, frame_of, gapping_panel

COSTS = Costs.alpaca(8, 1.0)
SPLITS = WalkForward(timedelta(days=40), timedelta(days=15), timedelta(hours=12))
FEATURES = FeatureSet([f.log_return(1), f.zscore("volume", 48), f.ema(24, relative=True)])
LABEL = f.triple_barrier(take=2.0, stop=2.0, horizon=timedelta(hours=12), volatility_window=24)
MODEL, STRATEGY = Logistic(), LongFlat(threshold=0.52)


def daily_sharpe(report) -> float:
    days = report.daily_returns()["return"].to_numpy()
    return float(days.mean() / days.std(ddof=1) * math.sqrt(365))


def row(table: Robustness, name: str) -> Stress:
    (found,) = [stress for stress in table.stresses if stress.name == name]
    return found


def family(table: Robustness, name: str) -> list[Stress]:
    return [stress for stress in table.stresses if stress.family == name]


@pytest.fixture(scope="module")
def study() -> Study:
    bars = SyntheticMarket(seed=3, days=85, timeframe="1h", edge=0.1).bars("1h")
    dataset = Dataset.build(bars, FEATURES, LABEL)
    return walk_forward(dataset, MODEL, STRATEGY, SPLITS, COSTS, ledger=TrialLedger(), jobs=1)


@pytest.fixture(scope="module")
def table(study) -> Robustness:
    return robustness(study, seed=4)


def traded(study: Study, costs: Costs = COSTS, *, venue: Venue | None = None, bars=None, signals=None):
    """Trade the stitched signals by the front door."""
    stamps = pl.col("time").dt.epoch("ns")
    bars = study.plan.bars if bars is None else bars
    inside = bars.filter((stamps > study.scenario.start) & (stamps <= study.scenario.end))
    signals = study.signals if signals is None else signals
    rules = {"venue": venue} if venue is not None else {"costs": costs}
    return simulate(STRATEGY, inside, signals=signals, **rules)


@given(level=st.floats(0.0, 3.0), seed=st.integers(0, 99), symbols=st.sampled_from([("A/USD",), ("A/USD", "B/USD")]))
def test_blurred_bars_stay_possible_and_differ_by_no_more_than_the_blur(level, seed, symbols):
    bars = frame_of(gapping_panel(80, symbols, seed=seed, absent=0.1))
    moved = check_bars(blurred(bars, level, seed))
    assert moved.columns == bars.columns
    assert moved.select("symbol", "time", "volume").equals(bars.select("symbol", "time", "volume"))
    if level == 0.0:
        assert np.allclose(moved["close"], bars["close"], rtol=1e-12)
    off = np.abs(np.log(moved["close"].to_numpy() / bars["close"].to_numpy()))
    returns = np.concatenate([np.diff(np.log(one["close"])) for one in bars.partition_by("symbol")])
    assert (off <= 3.0 * level * (np.ptp(returns) + 1e-12)).all()


def test_a_blur_is_as_wide_as_it_says():
    bars = frame_of(gapping_panel(20_000, sigma=0.01))
    for name in ("open", "close"):
        errors = np.log(blurred(bars, 0.25, 1)[name].to_numpy() / bars[name].to_numpy())[100:]
        change = float(np.std(np.diff(np.log(bars["close"].to_numpy()))))
        assert errors.std() == pytest.approx(0.25 * change, rel=0.05)
        assert abs(errors.mean()) < 0.25 * change * 4 / math.sqrt(len(errors))
        assert abs(np.corrcoef(errors[1:], errors[:-1])[0, 1]) < 0.05


@given(share=st.floats(0.0, 1.0), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_thinned_bars_are_some_of_the_bars_and_every_symbol_stays(share, seed):
    bars = frame_of(gapping_panel(60, ("A/USD", "B/USD"), seed=1))
    kept = thinned(bars, share, seed)
    assert kept.join(bars, on=["symbol", "time"], how="semi").equals(kept)
    assert kept.group_by("symbol").first().sort("symbol")["time"].to_list() == [bars["time"][0]] * 2
    assert kept.equals(thinned(bars, share, seed))
    if share == 0.0:
        assert kept.equals(bars)


def test_costs_delay_and_universe_are_what_runs_of_their_own_say(study, table):
    assert row(table, "costs x 2").sharpe == pytest.approx(daily_sharpe(traded(study, COSTS.scaled(2))), abs=1e-12)
    assert row(table, "costs x 3").sharpe == pytest.approx(daily_sharpe(traded(study, COSTS.scaled(3))), abs=1e-12)
    late = traded(study, venue=replace(Venue.alpaca(COSTS), latency=timedelta(hours=1)))
    found = row(table, "orders arrive one bar later")
    assert found.sharpe == pytest.approx(daily_sharpe(late), abs=1e-12)
    assert found.total_return == pytest.approx(late.statistics.total_return, abs=1e-12)
    assert found.max_drawdown == pytest.approx(late.statistics.max_drawdown, abs=1e-12)
    alone = pl.col("symbol") == "BTC/USD"
    single = traded(study, bars=study.plan.bars.filter(alone), signals=study.signals.filter(alone))
    assert row(table, "without ETH/USD").sharpe == pytest.approx(daily_sharpe(single), abs=1e-12)
    assert {row(table, name).limit for name in ("costs x 2", "without ETH/USD")} == {0.0}


def test_lost_bars_and_noise_show_the_middle_of_three_draws_with_signals_made_anew(study, table):
    for name, change in (
        ("10% of bars missing, features made anew", lambda draw: thinned(study.plan.bars, 0.1, 4 + draw)),
        ("prices off by 10% of a bar's volatility", lambda draw: blurred(study.plan.bars, 0.1, 4 + draw)),
    ):
        found = []
        for bars in map(change, range(3)):
            dataset = replace(study.dataset, bars=bars)
            parts = []
            for result in study.folds:
                inside = (dataset.times > result.fold.test_start) & (dataset.times <= result.fold.test_end)
                keys = dataset.frame.filter(pl.Series(inside)).select("symbol", "time", "known")
                values = result.predictor.predict(dataset.features[inside])
                parts.append(keys.with_columns(value=pl.Series(values)))
            constants = study.signals.select("name", "kind", "horizon").unique()
            signals = pl.concat(parts).join(constants, how="cross").select(study.signals.columns)
            found.append(daily_sharpe(traded(study, bars=bars, signals=signals)))
        assert row(table, name).sharpe == pytest.approx(sorted(found)[1], abs=1e-9)
    assert row(table, "2% of bars and their signals missing").limit == pytest.approx(
        max(0.0, study.evidence.sharpe / 2)
    )


def test_a_step_of_nothing_fits_the_same_study_and_a_step_of_a_parameter_that_of_its_own_study(study, table):
    assert refitted(study, lambda params: {}).signals.equals(study.signals)
    name = next(stress.name for stress in family(table, "parameters") if stress.name.startswith("strength"))
    value = stepped(MODEL.strength, -0.2)
    other = walk_forward(
        study.dataset, replace(MODEL, strength=value), STRATEGY, SPLITS, COSTS, ledger=TrialLedger(), jobs=1
    )
    assert row(table, name).sharpe == pytest.approx(other.evidence.sharpe, abs=1e-12)
    threshold = traded_with(study, LongFlat(threshold=0.516))
    assert row(table, "threshold 0.52 -> 0.516").sharpe == pytest.approx(daily_sharpe(threshold), abs=1e-12)


def traded_with(study: Study, strategy: LongFlat):
    stamps = pl.col("time").dt.epoch("ns")
    inside = study.plan.bars.filter((stamps > study.scenario.start) & (stamps <= study.scenario.end))
    return simulate(strategy, inside, COSTS, signals=study.signals)


def test_a_later_start_is_the_same_plan_on_what_is_left(study, table):
    later = study.dataset.between(int(study.dataset.times[0]) + 5 * 24 * HOUR)
    other = walk_forward(later, MODEL, STRATEGY, SPLITS, COSTS, ledger=TrialLedger(), jobs=1)
    assert other.folds[0].fold.test_start == study.folds[0].fold.test_start + 5 * 24 * HOUR
    assert row(table, "learned from 5 days later on").sharpe == pytest.approx(other.evidence.sharpe, abs=1e-12)
    start = study.scenario.start + int(0.1 * (study.scenario.end - study.scenario.start))
    stamps = pl.col("time").dt.epoch("ns")
    rest = simulate(STRATEGY, study.plan.bars.filter(stamps.is_between(start + 1, study.scenario.end)), COSTS,
                    signals=study.signals.filter(stamps > start))  # fmt: skip
    assert row(table, "traded from 10% of the span on").sharpe == pytest.approx(daily_sharpe(rest), abs=1e-12)


def test_the_same_seed_gives_the_same_table_and_nothing_is_written(study, table, tmp_path, monkeypatch):
    monkeypatch.setenv("CQ_TRIALS", str(tmp_path / "trials.jsonl"))
    seen = []
    first = robustness(study, seed=4, refit=False, progress=lambda done, total: seen.append((done, total)))
    assert [stress for stress in first.stresses if stress.limit == 0.0] == [
        stress for stress in table.stresses if stress.limit == 0.0
    ]
    assert list(tmp_path.iterdir()) == []
    assert [done for done, _ in seen] == list(range(1, seen[0][1] + 1))
    other = robustness(study, seed=10, refit=False)
    drawn = [name for name in first.frame["name"] if "missing" in name or "off by" in name]
    assert drawn
    assert all(row(first, name).sharpe != row(other, name).sharpe for name in drawn)
    assert not [stress for stress in first.stresses if "learned" in stress.name or "strength" in stress.name]


def test_the_families_come_in_their_order_and_every_number_is_a_fraction_or_a_ratio(table):
    order = list(dict.fromkeys(stress.family for stress in table.stresses))
    wanted = ["costs", "delay", "bars", "prices", "parameters", "start", "universe", "calendar", "regime", "luck"]
    assert [name for name in wanted if name in order] == order
    assert set(wanted) - set(order) <= {"calendar", "regime"}
    assert (table.frame["max_drawdown"] <= 0.0).all()
    assert (table.frame["max_drawdown"] >= -1.0).all()


def test_neighbours_of_what_was_searched_move_each_folds_own_choice_and_come_first():
    bars = SyntheticMarket(seed=3, days=70, timeframe="1h", edge=0.2).bars("1h")
    dataset = Dataset.build(bars, FEATURES, LABEL)
    study = walk_forward(
        dataset, MODEL, STRATEGY, SPLITS, COSTS, Tune(3, {"strength": (0.1, 10.0, "log")}, folds=2),
        tune_strategy=TuneStrategy(3, {"threshold": (0.505, 0.55)}), ledger=TrialLedger(), jobs=1,
    )  # fmt: skip
    up = next(one for one in model_neighbours(study) if one.name.startswith("strength")).trade()
    parts = []
    for result in study.folds:
        model = replace(MODEL, strength=0.8 * result.params["strength"])
        train = dataset.examples.learning(result.fold.train, result.fold.test)
        parts.append(model.fit(train).predict(dataset.features[result.fold.test]))
    assert up.signals["value"].to_list() == pytest.approx(np.concatenate(parts).tolist())
    first, second = (neighbour.trade().strategy.strategies for neighbour in strategy_neighbours(study))
    for result, low, high in zip(study.folds, first, second, strict=True):
        chosen = result.strategy_params["threshold"]
        assert low.threshold == pytest.approx(0.5 + 0.8 * (chosen - 0.5))
        assert high.threshold == pytest.approx(0.5 + 1.2 * (chosen - 0.5))


@dataclass(frozen=True)
class AtHour:
    """Holds the bar after the close of one hour of the day: the parameter that a crafted market rewards or not."""

    hour: int = 10
    weight: float = 0.9
    lookback: ClassVar[int] = 1

    def decide(self, view):
        return {symbol: self._weight(view.time) for symbol in view.symbols}

    def weights(self, panel: Panel):
        column = np.array([self._weight(time) for time in panel.times.tolist()])
        return np.repeat(column[:, None], len(panel.symbols), axis=1)

    def _weight(self, time: int) -> float:
        return self.weight if time // HOUR % 24 == self.hour else 0.0


def market_of(drift: dict[int, float], days: int = 120, noise: float = 0.001, seed: int = 0) -> pl.DataFrame:
    """Return hourly bars whose return in the hour before each hour of the day has a drift of its own, else -0.05 %."""
    rng = np.random.default_rng(seed)
    times = START + HOUR * np.arange(1, 24 * days + 1, dtype=np.int64)
    hours = times // HOUR % 24
    moves = np.array([drift.get(int(hour), -0.0005) for hour in hours]) + noise * rng.standard_normal(len(times))
    close = 1_000.0 * np.exp(np.cumsum(moves))
    opened = np.concatenate([[1_000.0], close[:-1]])
    values = np.zeros((len(times), 1, 7))
    for place, column in enumerate((opened, np.maximum(opened, close), np.minimum(opened, close), close)):
        values[:, 0, place] = column
    values[:, 0, 4:] = [1e6, 10.0, 0.0]
    values[:, 0, 6] = close
    return frame_of(Panel.from_values(times, times.copy(), ("BTC/USD",), values, HOUR))


def rule_study(bars: pl.DataFrame, strategy=AtHour(), costs: Costs = Costs(0, 10, 0.0)) -> Study:  # noqa: B008
    splits = WalkForward(timedelta(days=20), timedelta(days=25))
    return walk_forward(bars, None, strategy, splits, costs, ledger=TrialLedger(), jobs=1)


def names_of(study: Study) -> tuple[Robustness, set[str]]:
    table = robustness(study, refit=False)
    report = replace(study.report, dossier=replace(study.report.dossier, robustness=table))
    return table, {alarm.name for alarm in alarms(report)}


def test_a_parameter_that_fits_one_cell_is_a_spike_and_one_on_broad_ground_a_plateau():
    spike, raised = names_of(rule_study(market_of({11: 0.006})))
    assert spike.neighbourhood == "spike"
    assert "The parameters stand on a spike" in raised
    assert all(stress.sharpe < 0 for stress in family(spike, "parameters")[1:])
    plateau, raised = names_of(rule_study(market_of(dict.fromkeys(range(5, 17), 0.006))))
    assert plateau.neighbourhood == "plateau"
    assert "The parameters stand on a spike" not in raised
    neighbours = family(plateau, "parameters")
    assert [stress.name for stress in neighbours[1:]] == [f"hour 10 -> {hour}" for hour in (6, 8, 12, 14)]
    assert neighbours[0].sharpe == pytest.approx(np.median([stress.sharpe for stress in neighbours[1:]]))
    assert neighbours[0].limit == pytest.approx(0.5 * daily_sharpe(rule_study(market_of(
        dict.fromkeys(range(5, 17), 0.006))).report))  # fmt: skip


@dataclass(frozen=True)
class Padded(AtHour):
    """With a number that changes nothing."""

    padding: int = 50


def test_a_parameter_without_effect_is_shown_but_cannot_make_a_plateau_of_a_spike():
    table = robustness(rule_study(market_of({11: 0.006}), Padded()), refit=False)
    rows = family(table, "parameters")
    idle = [stress for stress in rows if stress.name.startswith("padding")]
    assert len(idle) == 4
    assert all(stress.sharpe > 3 for stress in idle)
    assert rows[0].name == "middle of 4 neighbours"
    assert table.neighbourhood == "spike"


def test_an_edge_of_one_and_a_half_costs_dies_at_twice_the_costs():
    """A round trip costs 20 basis points, the hour brings 30."""
    thin, raised = names_of(rule_study(market_of({11: 0.003})))
    assert row(thin, "costs x 2").passed is False
    assert "The edge dies at twice the costs" in raised
    thick, raised = names_of(rule_study(market_of({11: 0.006})))
    assert row(thick, "costs x 2").passed is True
    assert "The edge dies at twice the costs" not in raised


def test_an_edge_that_lasts_one_bar_dies_with_one_bar_of_delay_and_one_that_lasts_two_does_not():
    quick, raised = names_of(rule_study(market_of({11: 0.006})))
    assert row(quick, "orders arrive one bar later").passed is False
    assert "The edge dies with one bar of delay" in raised
    slow, raised = names_of(rule_study(market_of({11: 0.006, 12: 0.006})))
    assert row(slow, "orders arrive one bar later").passed is True
    assert "The edge dies with one bar of delay" not in raised


def test_a_rule_is_disturbed_on_its_bars_alone_and_a_later_history_moves_its_folds(tmp_path, monkeypatch):
    monkeypatch.setenv("CQ_TRIALS", str(tmp_path / "trials.jsonl"))
    study = rule_study(market_of({11: 0.006}))
    table = robustness(study)
    assert list(tmp_path.iterdir()) == []
    assert {"2% of bars missing", "10% of bars missing"} <= set(table.frame["name"])
    assert not [name for name in table.frame["name"] if "signals" in name or ("anew" in name and "trades" not in name)]
    assert not family(table, "universe")
    plan = begun_later(study.plan, 8 * 24 * HOUR)
    assert plan.folds[0].test_start == study.plan.folds[0].test_start + 8 * 24 * HOUR
    assert row(table, "learned from 8.33 days later on").sharpe == pytest.approx(
        daily_sharpe(rule_study(study.plan.bars.filter(pl.col("time").dt.epoch("ns") >= int(
            study.plan.panel.times[0]) + int(25 * 24 * HOUR / 3))).report), abs=1e-12)  # fmt: skip


def test_a_study_that_never_trades_or_never_sells_has_a_table_too():
    idle = robustness(rule_study(market_of({}), AtHour(hour=99)))
    assert idle.frame["passed"].drop_nulls().not_().all()
    assert math.isnan(row(idle, "costs x 2").sharpe)
    assert not family(idle, "luck")
    held = robustness(rule_study(market_of({}), BuyAndHold()))
    assert not family(held, "parameters")
    assert held.neighbourhood == "unknown"


def test_a_strategy_that_asks_for_the_symbol_that_is_gone_has_no_such_row():
    @dataclass(frozen=True)
    class OnlyBitcoin:
        lookback: ClassVar[int] = 1

        def decide(self, view):
            return {"BTC/USD": 0.5 if view.time // HOUR % 2 else 0.0}

    bars = SyntheticMarket(seed=3, days=40, timeframe="1h").bars("1h")
    splits = WalkForward(timedelta(days=10), timedelta(days=10))
    study = walk_forward(bars, None, OnlyBitcoin(), splits, COSTS, ledger=TrialLedger(), jobs=1)
    assert [stress.name for stress in family(robustness(study, refit=False), "universe")] == ["without ETH/USD"]


def test_a_neighbour_that_the_strategy_refuses_is_left_out():
    study = rule_study(market_of({11: 0.006}), MovingAverageCross(24, 28))
    names = [neighbour.name for neighbour in strategy_neighbours(study) if neighbour.trade() is not None]
    assert names == ["fast 24 -> 14", "fast 24 -> 19", "slow 28 -> 34", "slow 28 -> 39"]
