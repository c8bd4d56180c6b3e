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
    cheap_plan,
    default_markets,
    placebo,
    power,
)
from cryptoquant.backtest.placebo_markets import Planted, RandomWalk, Shuffled
from cryptoquant.backtest.placebo_runs import PlaceboRun, run_once, trials_without_skill
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import DataError
from cryptoquant.market.schema import check_bars, validate
from cryptoquant.models.splits import WalkForward
from cryptoquant.performance.evidence import Criterion, Gate
from cryptoquant.performance.proportion import share_interval
from cryptoquant.performance.trials import StudyTrial
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
    assert check_bars(validate(bars, "bars")).height == bars.height == holes.height
    for one in (RandomWalk(LIKE), Planted(LIKE, 0.1)):
        assert one.bars(5).equals(one.bars(5))
        assert not one.bars(5).equals(one.bars(6))


def test_every_bar_of_a_symbol_that_was_listed_late_is_drawn_once():
    half = BARS["time"].min() + 30 * DAY
    source = BARS.filter((pl.col("symbol") == "BTC/USD") | (pl.col("time") > half))
    for seed in range(3):
        bars = Shuffled(source).bars(seed)
        assert check_bars(validate(bars, "bars")).equals(bars)
        assert bars["time"].unique().sort().equals(source["time"].unique().sort())
        for symbol in LIKE.symbols:
            own, given = (one.filter(pl.col("symbol") == symbol) for one in (bars, source))
            assert own.height == given.height
            assert sorted(own["volume"]) == sorted(given["volume"])
            assert ((own["time"] - own["open_time"]) == timedelta(hours=1)).all()


def test_a_market_is_told_apart_by_all_that_its_bars_depend_on():
    longer, later = replace(LIKE, days=61), replace(LIKE, start="2024-01-02")
    slower, quicker = replace(LIKE, regime=5 * DAY), replace(LIKE, timeframe="30m")
    fewer = replace(LIKE, symbols=("BTC/USD",))
    likes = [LIKE, longer, later, slower, quicker, fewer]
    markets = [RandomWalk(like) for like in likes] + [Planted(like, 0.1) for like in likes]
    markets += [Planted(LIKE, 0.10001), Planted(LIKE, 0.10004), Shuffled(BARS), Shuffled(BARS, block=2 * DAY)]
    markets += [Shuffled(BARS.head(-1)), Shuffled(BARS.with_columns(pl.col("volume") + 1.0))]
    assert len({market.key for market in markets}) == len(markets)
    assert {market.name for market in markets} == {"random walk", "shuffled", "planted 0.1000"}
    drawn = replace(LIKE, seed=99, edge=0.7, timeframe=timedelta(hours=1))
    drawn.bars()
    assert RandomWalk(drawn).key == RandomWalk(LIKE).key
    assert Planted(drawn, 0.1).key == Planted(LIKE, 0.1).key
    assert Shuffled(BARS.clone()).key == Shuffled(BARS).key


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
    assert found.rates["trials"].to_list() == [7, 7]
    none = found.judged_by(Gate((Criterion("psr", ">=", 1.1, "m"),)))
    assert none.rates["passed"].to_list() == [0, 0]
    assert json.loads(found.to_json())["rates"][0]["passed"] == 3


def test_a_terminal_of_eighty_columns_shows_which_market_it_was(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    runs = tuple(PlaceboRun("planted 0.1234", seed, replace(GOOD, sharpe=-2.123 - seed), 1.0) for seed in range(100))
    Placebo(Gate(), runs, {"planted 0.1234": 2.0}).show()
    assert "planted 0.1234" in capsys.readouterr().out


def test_a_run_that_never_traded_earned_nothing_and_no_run_at_all_has_no_rates():
    idle = replace(GOOD, sharpe=math.nan, psr=math.nan)
    runs = tuple(PlaceboRun("a", seed, one, 1.0) for seed, one in enumerate((GOOD, idle)))
    found = Placebo(Gate(), runs, {"a": 1.0})
    assert found.rates["sharpe"].to_list() == [GOOD.sharpe / 2]
    assert found.rates["sharpe_error"].item() == pytest.approx(GOOD.sharpe / 2)
    nothing = Placebo(Gate(), ()).rates
    assert nothing.height == 0
    assert pl.concat([nothing, found.rates]).equals(found.rates)


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
    richer, market = replace(plan, cash=1e5 + 1), default_markets(plan)[:1]
    other, fresh = (placebo(richer, market, runs=1, storage=kept, jobs=1) for kept in (place, None))
    assert said(other.runs) == said(fresh.runs)
    assert len(place.read_text().splitlines()) == 5
    place.write_text("no run\n")
    with pytest.raises(DataError, match="line 1 is no run"):
        placebo(plan, runs=1, storage=place, jobs=1)


def said(runs):
    """What runs say but for the clock."""
    return repr([(run.market, run.seed, run.evidence) for run in runs])


def test_a_file_answers_for_the_same_market_only(plan, tmp_path):
    place = tmp_path / "placebo.jsonl"
    other = SyntheticMarket(seed=2, symbols=["BTC/USD"], days=70, timeframe="1h").bars()
    market, longer = Shuffled(plan.bars), replace(LIKE, symbols=("BTC/USD",), days=80)
    placebo(plan, [market, RandomWalk(replace(longer, days=70))], runs=1, storage=place, jobs=1)
    for asked, markets in (
        (plan, [Shuffled(other)]),
        (plan, [Shuffled(plan.bars, block=2 * DAY)]),
        (plan, [RandomWalk(longer)]),
        (plan.on(other), [Shuffled(other)]),
    ):
        kept, fresh = (placebo(asked, markets, runs=1, storage=file, jobs=1) for file in (place, None))
        assert said(kept.runs) == said(fresh.runs)


def test_markets_that_share_a_name_are_counted_apart_and_the_same_market_once(plan, tmp_path):
    alike = [Shuffled(plan.bars), Shuffled(plan.bars, block=2 * DAY), Shuffled(plan.bars.clone())]
    for _ in range(2):
        found = placebo(plan, alike, runs=1, storage=tmp_path / "kept.jsonl", jobs=1)
        assert found.rates["market"].to_list() == ["shuffled", "shuffled (2)"]
    assert len({run.evidence.sharpe for run in found.runs}) == 2


def test_no_study_is_begun_after_the_budget(plan):
    assert placebo(plan, runs=3, budget=timedelta(0), jobs=1).runs == ()


def test_a_budget_that_ends_before_the_edges_are_known_gives_no_power_curve(plan, tmp_path):
    place = tmp_path / "kept.jsonl"
    assert len(power(plan, (0.0,), runs=1, calibration=1, storage=place, jobs=1).runs) == 1
    lines = place.read_bytes().splitlines(keepends=True)
    assert len(lines) == len(EDGES) + 1
    place.write_bytes(b"".join(lines[:5]))
    found = power(plan, (3.0,), runs=1, calibration=1, storage=place, budget=timedelta(0), jobs=1)
    assert (found.runs, found.targets) == ((), {})


def test_more_trials_deflate_and_change_nothing_else(plan):
    longer = replace(plan, splits=WalkForward(10 * DAY, 15 * DAY, DAY))
    market = default_markets(plan)[0]
    alone, among, again = (
        placebo(longer, [market], runs=1, trials=trials, jobs=1).runs[0].evidence for trials in (1, 6, 6)
    )
    assert (alone.study_trials, among.study_trials) == (1, 6)
    assert math.isnan(alone.dsr)
    assert among.dsr < among.psr
    assert among.pbo_low <= among.pbo <= among.pbo_high
    assert among.effective_trials == pytest.approx(6, abs=1)
    assert repr(among) == repr(again)
    assert [getattr(among, name) for name in ("sharpe", "psr", "days")] == [alone.sharpe, alone.psr, alone.days]
    with pytest.raises(ValueError, match="trials must be at least 1, found 0"):
        placebo(longer, [market], runs=1, trials=0, jobs=1)


def test_trials_without_skill_are_as_wild_as_the_study_and_follow_nothing():
    days = np.arange(4_000) * 86_400_000_000_000
    own = StudyTrial("s", "k", days, np.random.default_rng(1).normal(0.01, 0.03, 4_000), {})
    drawn = trials_without_skill(own, 5, seed=3)
    assert len({trial.key for trial in drawn} | {own.key}) == 6
    assert all(trial.study == "s" and np.array_equal(trial.times, days) for trial in drawn)
    returns = np.array([own.returns, *(trial.returns for trial in drawn)])
    assert returns.std(axis=1) == pytest.approx([0.03] * 6, rel=0.05)
    assert np.abs(returns[1:].mean(axis=1)).max() < 4 * 0.03 / math.sqrt(4_000)
    assert np.abs(np.corrcoef(returns) - np.eye(6)).max() < 4 / math.sqrt(4_000)
    assert not np.array_equal(drawn[0].returns, trials_without_skill(own, 5, seed=4)[0].returns)


def test_runs_among_more_trials_are_kept_apart(plan, tmp_path):
    place, market = tmp_path / "kept.jsonl", default_markets(plan)[:1]
    found = [placebo(plan, market, runs=1, trials=trials, storage=place, jobs=1) for trials in (1, 3, 1)]
    assert [one.rates["trials"].item() for one in found] == [1, 3, 1]
    assert len(place.read_text().splitlines()) == 2


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
