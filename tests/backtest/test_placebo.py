"""Placebo markets hold no edge, planted ones do, and the count of what a gate lets through is exact and resumable."""

import json
import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from cryptoquant.backtest.placebo import (
    EDGES,
    Placebo,
    PlaceboRun,
    cheap_plan,
    default_markets,
    placebo,
    power,
    run_once,
)
from cryptoquant.backtest.placebo_markets import Planted, RandomWalk, Shuffled
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import DataError
from cryptoquant.market.schema import check_bars, validate
from cryptoquant.models.splits import WalkForward
from cryptoquant.performance.evidence import Criterion, Gate
from cryptoquant.performance.proportion import share_interval
from tests.performance.reports import GOOD

LIKE = SyntheticMarket(seed=1, symbols=["BTC/USD", "ETH/USD"], days=60, timeframe="1h")
BARS = LIKE.bars()
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def plan():
    bars = SyntheticMarket(seed=1, symbols=["BTC/USD"], days=70, timeframe="1h").bars()
    return replace(cheap_plan(bars), tune=None, splits=WalkForward(30 * DAY, 15 * DAY, DAY))


def test_shuffled_bars_are_possible_bars_at_the_same_times_with_the_same_volumes():
    bars = Shuffled(BARS).bars(3)
    assert check_bars(validate(bars, "bars")).equals(bars)
    assert bars.select("symbol", "time", "known", "open_time").equals(
        BARS.select("symbol", "time", "known", "open_time")
    )
    for symbol in LIKE.symbols:
        own, source = (one.filter(pl.col("symbol") == symbol) for one in (bars, BARS))
        assert sorted(own["volume"]) == sorted(source["volume"])
        assert not own["volume"].equals(source["volume"])


def test_a_shuffled_bar_keeps_the_size_of_its_moves_and_the_symbols_move_together():
    source, bars = moves(BARS), moves(Shuffled(BARS).bars(3))
    for symbol in LIKE.symbols:
        sizes = [np.sort(np.abs(one[symbol])) for one in (bars, source)]
        assert np.allclose(sizes[0], sizes[1], atol=1e-12)
    order = np.argsort(np.abs(source["BTC/USD"])), np.argsort(np.abs(bars["BTC/USD"]))
    pairs = [np.abs(one["ETH/USD"])[rows] for one, rows in zip((source, bars), order, strict=True)]
    assert np.allclose(*pairs, atol=1e-12)
    turned = np.sign(bars["BTC/USD"][order[1]] * source["BTC/USD"][order[0]])
    others = np.sign(bars["ETH/USD"][order[1]] * source["ETH/USD"][order[0]])
    moved = (np.abs(source["BTC/USD"][order[0]]) > 1e-9) & (np.abs(source["ETH/USD"][order[0]]) > 1e-9)
    assert np.array_equal(turned[moved], others[moved])
    assert moved.mean() > 0.98
    assert 0.4 < (turned < 0).mean() < 0.6


def moves(bars):
    """Close on close, by symbol; the first from the open of the source."""
    found = {}
    for (symbol,), part in bars.group_by("symbol"):
        first = BARS.filter(pl.col("symbol") == symbol)["open"][0]
        before = np.concatenate([[first], part["close"].to_numpy()[:-1]])
        found[symbol] = part["close"].to_numpy() / before - 1.0
    return found


def test_drift_and_memory_are_gone():
    rising = BARS.with_columns(
        pl.col(name) * (1.002 ** pl.int_range(pl.len())).over("symbol")
        for name in ("open", "high", "low", "close", "vwap")
    )
    drifts = [moves(Shuffled(rising).bars(seed))["BTC/USD"].mean() for seed in range(40)]
    assert moves(rising)["BTC/USD"].mean() > 0.0019
    assert abs(np.mean(drifts)) < 3 * np.std(drifts, ddof=1) / math.sqrt(40)


def test_a_seed_is_a_market_and_bars_that_are_missing_stay_missing():
    holes = BARS.filter(pl.int_range(pl.len()) % 7 != 3)
    market = Shuffled(holes, block=timedelta(hours=6))
    assert market.bars(1).equals(market.bars(1))
    assert not market.bars(1).equals(market.bars(2))
    bars = market.bars(1)
    assert check_bars(validate(bars, "bars")).height == bars.height
    assert 0 < bars.height <= holes.height
    for one in (RandomWalk(LIKE), Planted(LIKE, 0.1)):
        assert one.bars(5).equals(one.bars(5))
        assert not one.bars(5).equals(one.bars(6))


def test_a_random_walk_has_no_edge_and_a_planted_one_has():
    drift = {}
    for market in (RandomWalk(LIKE), Planted(LIKE, 0.3)):
        like = replace(LIKE, seed=2, edge=getattr(market, "edge", 0.0), _drawn={})
        state = like.state("BTC/USD").astype(float)
        drift[market.name] = float((moves(market.bars(2))["BTC/USD"] * state).mean())
    assert abs(drift["random walk"]) < 0.0006
    assert drift["planted 0.3000"] == pytest.approx(0.3 * 0.006, rel=0.4)


def test_a_stronger_edge_gives_a_better_study(plan):
    weak, strong = (run_once(plan, Planted(replace(LIKE, symbols=("BTC/USD",)), edge), 2) for edge in (0.0, 0.5))
    assert strong.evidence.sharpe > 8 > 4 > weak.evidence.sharpe
    assert strong.evidence.study_trials == 1
    assert strong.seconds > 0


def test_shares_count_what_the_gate_says_and_come_with_exact_intervals():
    bad = replace(GOOD, psr=0.5, sharpe=-1.0)
    runs = [PlaceboRun("a", seed, GOOD if seed < 3 else bad, 1.0) for seed in range(10)]
    runs += [PlaceboRun("b", 0, bad, 1.0)]
    found = Placebo(Gate((Criterion("psr", ">=", 0.95, "m"),)), tuple(runs), {"a": 3.0})
    rates = {row["market"]: row for row in found.rates.iter_rows(named=True)}
    assert (rates["a"]["passed"], rates["a"]["runs"], rates["a"]["share"], rates["a"]["target"]) == (3, 10, 0.3, 3.0)
    assert (rates["a"]["low"], rates["a"]["high"]) == share_interval(3, 10)
    assert rates["a"]["sharpe"] == pytest.approx((3 * GOOD.sharpe - 7) / 10)
    assert (rates["b"]["passed"], rates["b"]["target"], rates["b"]["sharpe_error"]) == (0, None, None)
    assert found.frame["reasons"].to_list()[:4] == ["", "", "", "m: 0.5, wanted >= 0.95"]
    none = found.judged_by(Gate((Criterion("psr", ">=", 1.1, "m"),)))
    assert none.rates["passed"].to_list() == [0, 0]
    assert json.loads(found.to_json())["rates"][0]["passed"] == 3


def test_the_interval_is_that_of_clopper_and_pearson():
    # Newcombe (1998), Statistics in Medicine 17, table I, method 5: 81 of 263 and 15 of 148.
    assert share_interval(81, 263) == pytest.approx((0.2527, 0.3676), abs=5e-5)
    assert share_interval(15, 148) == pytest.approx((0.0578, 0.1617), abs=5e-5)
    assert share_interval(20, 20)[1] == 1.0
    with pytest.raises(ValueError, match="found 3 of 2"):
        share_interval(3, 2)


def test_runs_are_kept_and_not_run_again_whoever_shares_the_file(plan, tmp_path):
    place = tmp_path / "placebo.jsonl"
    first = placebo(plan, runs=1, storage=place, jobs=1)
    assert [run.market for run in first.runs] == ["random walk", "shuffled"]
    with place.open("ab") as file:
        file.write(b'{"torn')
    seen = []
    more = placebo(plan, runs=2, storage=place, jobs=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 4), (4, 4)]
    assert [(run.market, run.seed) for run in more.runs] == [
        (name, seed) for seed in (0, 1) for name in ("random walk", "shuffled")
    ]
    assert repr(more.runs[:2]) == repr(first.runs)
    assert len(place.read_text().splitlines()) == 4
    other = placebo(replace(plan, cash=1e5 + 1), [RandomWalk(LIKE)], runs=0, storage=place, jobs=1)
    assert other.runs == ()
    place.write_text("no run\n")
    with pytest.raises(DataError, match="line 1 is no run"):
        placebo(plan, runs=1, storage=place, jobs=1)


def test_no_study_is_begun_after_the_budget(plan):
    assert placebo(plan, runs=3, budget=timedelta(0), jobs=1).runs == ()


def test_jobs_change_nothing(plan):
    markets = default_markets(plan)[:1]
    one, two = (placebo(plan, markets, runs=2, jobs=jobs) for jobs in (1, 2))
    assert repr([run.evidence for run in one.runs]) == repr([run.evidence for run in two.runs])


def test_the_power_curve_finds_its_edges_in_what_was_measured(plan, tmp_path):
    place = tmp_path / "kept.jsonl"
    strong = replace(plan, splits=WalkForward(30 * DAY, 40 * DAY, DAY))
    found = power(strong, (0.0, 4.0), runs=2, calibration=1, storage=place, jobs=1)
    targets = found.rates["target"].to_list()
    assert targets == [0.0, 4.0]
    none, some = found.rates["sharpe"]
    assert some > none
    edge = float(found.rates["market"][1].split()[1])
    assert EDGES[0] < edge < EDGES[-1]
    kept = [json.loads(line) for line in place.read_text().splitlines()]
    means = {
        float(one["market"].split()[1]): np.mean(
            [float(k["evidence"]["sharpe"]) for k in kept if k["market"] == one["market"] and k["seed"] >= 1_000_000]
        )
        for one in kept
        if one["seed"] >= 1_000_000
    }
    low, high = max(e for e in means if e <= edge), min(e for e in means if e >= edge)
    assert means[low] <= 4.0 <= means[high] or math.isclose(means[low], 4.0)
    with pytest.raises(DataError, match="no planted edge gives this pipeline a Sharpe ratio of 1000"):
        power(strong, (1000.0,), runs=1, calibration=1, storage=place, jobs=1)


def test_the_users_ledger_and_journals_are_left_alone(plan, tmp_path, monkeypatch):
    tuned = replace(plan, tune=cheap_plan(plan.bars).tune)
    monkeypatch.chdir(tmp_path)
    placebo(tuned, [RandomWalk(LIKE)], runs=1, jobs=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.deep
def test_the_default_gate_lets_little_through_and_finds_a_sharpe_ratio_of_three(tmp_path):
    plan = cheap_plan(SyntheticMarket(symbols=["BTC/USD"], days=730, timeframe="1h").bars())
    place = tmp_path / "runs.jsonl"
    none = placebo(plan, default_markets(plan), runs=200, storage=place)
    assert none.rates["runs"].to_list() == [200, 200]
    assert max(none.rates["share"]) <= 0.05
    some = power(plan, (3.0,), runs=100, storage=place)
    assert some.rates["share"].item() >= 0.8
    assert some.rates["sharpe"].item() == pytest.approx(3.0, abs=0.5)
