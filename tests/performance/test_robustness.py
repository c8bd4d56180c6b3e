"""The table of changes, the days taken apart, and the luck of the order: against naive loops and by hand."""

import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.market.schema import INSTANT
from cryptoquant.performance.luck import by_luck, shares_of
from cryptoquant.performance.regimes import by_regime, trend_regime, volatility_regime, without_calendar
from cryptoquant.performance.robustness import Robustness, Stress
from cryptoquant.performance.trials import strict_json

DEAR = Stress("costs", "costs x 2", -0.4, -0.1, -0.2, 0.0)
MIDDLE = Stress("parameters", "middle of 4 neighbours", 1.0, 0.1, -0.2, 0.9)
LONE = Stress("parameters", "window 24 -> 29", math.nan, 0.0, 0.0)


def days_of(returns, start: str = "2023-01-02") -> pl.DataFrame:
    first = pl.Series([start]).str.to_datetime(time_unit="ns", time_zone="UTC").item()
    return pl.DataFrame({"place": range(len(returns)), "return": np.asarray(returns, dtype=float)}).select(
        (pl.lit(first) + pl.duration(days=pl.col("place"))).cast(INSTANT).alias("time"), "return"
    )


def test_the_table_says_what_passed_and_what_the_parameters_stand_on():
    table = Robustness((DEAR, MIDDLE, LONE))
    assert table.frame["passed"].to_list() == [False, True, None]
    assert table.failures == (DEAR,)
    assert table.neighbourhood == "plateau"
    assert table.summary == (
        "1 of 2 demands are kept. The parameters stand on a plateau. "
        "Missed: costs x 2: Sharpe -0.40, wanted above 0.00."
    )
    spiked = Stress(MIDDLE.family, MIDDLE.name, 0.9, 0.0, 0.0, 0.9)
    assert Robustness((spiked,)).neighbourhood == "spike"
    assert Robustness((LONE,)).neighbourhood == "unknown"
    assert Robustness().summary == "Nothing was demanded of any change."


@pytest.mark.parametrize("limit", [0.0, -0.0])
@pytest.mark.parametrize("middle", [-1.0, 0.4])
def test_a_study_that_loses_stands_on_nothing(limit, middle):
    table = Robustness((Stress("parameters", "middle of 4 neighbours", middle, -0.1, -0.2, limit),))
    assert table.neighbourhood == "unknown"
    assert "stand" not in table.summary


def test_a_zero_has_no_sign(capsys):
    table = Robustness((Stress("regime", "wild days", -0.001, -0.1, -0.2, -0.0),))
    table.show()
    assert str(table.failures[0]) == "wild days: Sharpe 0.00, wanted above 0.00"
    assert "-0.00" not in capsys.readouterr().out


def test_the_table_is_printed_as_a_person_reads_it(capsys):
    Robustness((DEAR, MIDDLE, LONE)).show()
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "costs x 2 -0.40 > 0.00 NO -10.0% -20.0%" in lines
    assert "middle of 4 neighbours 1.00 > 0.90 yes +10.0% -20.0%" in lines
    assert "window 24 -> 29 +0.0% 0.0%" in lines


def test_a_table_survives_strict_json():
    table = Robustness((DEAR, MIDDLE, LONE))
    again = Robustness.from_dict(json.loads(json.dumps(strict_json(table.to_dict()), allow_nan=False)))
    assert repr(again) == repr(table)
    assert repr(Robustness.from_dict(table.to_dict())) == repr(table)


GOOD_ROW = {
    "family": "costs", "name": "x", "sharpe": 1.0, "total_return": 0.0, "max_drawdown": 0.0, "limit": 0.0
}  # fmt: skip


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ({}, "found nothing"),
        ([], "found list"),
        ({"stresses": [], "more": 1}, "stresses, more"),
        ({"stresses": "none"}, "wanted stresses"),
        ({"stresses": [GOOD_ROW, 3]}, "row 1 holds int"),
        ({"stresses": [{**GOOD_ROW, "more": 1}]}, "row 0 holds .*more"),
        ({"stresses": [{name: value for name, value in GOOD_ROW.items() if name != "sharpe"}]}, "row 0 holds"),
        ({"stresses": [{**GOOD_ROW, "sharpe": "high"}]}, "row 0: sharpe is 'high', wanted a number"),
        ({"stresses": [{**GOOD_ROW, "sharpe": True}]}, "row 0: sharpe is True, wanted a number"),
        ({"stresses": [{**GOOD_ROW, "name": 7}]}, "row 0: name is 7, wanted a text"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_row(saved, words):
    with pytest.raises(ValueError, match=words):
        Robustness.from_dict(saved)


def naive_sharpe(returns) -> float:
    return float(np.mean(returns) / np.std(returns, ddof=1) * math.sqrt(365))


def test_a_year_is_left_out_of_a_long_run_and_a_quarter_of_a_short_one():
    returns = np.random.default_rng(1).normal(0.001, 0.01, 800)
    days = days_of(returns)
    found = without_calendar(days, 0.0)
    assert [stress.name for stress in found] == ["without 2023", "without 2024", "without 2025"]
    first_year = 365  # the day that ends at midnight of 2024-01-01 is of 2023
    assert days["time"][first_year - 1].year == 2024
    rest = returns[first_year:]
    assert found[0].sharpe == pytest.approx(naive_sharpe(rest))
    assert found[0].total_return == pytest.approx(math.prod(1 + value for value in rest) - 1)
    level, peak, deepest = 1.0, 1.0, 0.0
    for value in rest:
        level *= 1 + value
        peak = max(peak, level)
        deepest = min(deepest, level / peak - 1)
    assert found[0].max_drawdown == pytest.approx(deepest)
    short = without_calendar(days.head(200), 0.0)
    assert [stress.name for stress in short] == ["without 2023 Q1", "without 2023 Q2", "without 2023 Q3"]
    assert short[0].sharpe == pytest.approx(naive_sharpe(returns[90:200]))
    assert without_calendar(days.head(50), 0.0) == []
    assert without_calendar(days.head(0), 0.0) == []


@given(seed=st.integers(0, 999), cut=st.integers(1, 299))
@settings(max_examples=30)
def test_the_kind_of_a_day_does_not_depend_on_that_day_or_on_what_follows(seed, cut):
    rng = np.random.default_rng(seed)
    whole = days_of(rng.normal(0.0, 0.02, 300))
    other = whole.with_columns(
        pl.when(pl.int_range(pl.len()) >= cut)
        .then(pl.Series(rng.normal(0.05, 0.2, 300)))
        .otherwise("return")
        .alias("return")
    )
    for kind in (volatility_regime, trend_regime):
        assert kind(whole).head(cut + 1).to_list() == kind(other).head(cut + 1).to_list()


def test_kinds_of_market_are_told_apart():
    returns = np.concatenate([np.tile([0.01, -0.01], 60), np.tile([0.05, -0.05], 40), np.tile([0.002, -0.002], 40)])
    kinds = volatility_regime(days_of(returns)).to_list()
    assert set(kinds[:80]) == {None}
    assert set(kinds[150:200]) == {"wild"}
    assert set(kinds[230:]) == {"calm"}
    rising = trend_regime(days_of(np.full(120, 0.01))).to_list()
    assert set(rising[:50]) == {None}
    assert set(rising[50:]) == {"rising"}
    assert set(trend_regime(days_of(np.full(120, -0.01))).to_list()[50:]) == {"falling"}


def test_a_regime_is_the_sharpe_ratio_of_its_days():
    rng = np.random.default_rng(3)
    market, own = days_of(rng.normal(0.0, 0.02, 500)), rng.normal(0.001, 0.01, 300)
    days = days_of(own, "2023-07-21")
    assert days["time"][0] == market["time"][200]
    kinds = trend_regime(market).to_list()[200:]
    found = {stress.name: stress for stress in by_regime(days, market, -1.0)}
    assert {"rising days", "falling days", "wild days", "calm days", "usual days"} == set(found)
    for name in ("rising", "falling"):
        within = [value for value, kind in zip(own, kinds, strict=True) if kind == name]
        assert found[f"{name} days"].sharpe == pytest.approx(naive_sharpe(within))
        assert found[f"{name} days"].limit == -1.0
    assert by_regime(days.head(0), market, -1.0) == []


def test_shares_of_trades_compound_to_what_the_trades_made():
    profits = np.array([1_000.0, -500.0, 2_000.0, 300.0])
    shares = shares_of(profits, 10_000.0)
    assert shares.tolist() == pytest.approx([0.1, -500 / 11_000, 2_000 / 10_500, 300 / 12_500])
    assert np.prod(1 + shares) == pytest.approx(12_800 / 10_000)
    assert shares_of(np.array([-10_000.0, 5.0]), 10_000.0).tolist() == [-1.0, -1.0]


def test_reordered_trades_keep_their_sum_and_drawn_ones_do_not():
    profits = np.random.default_rng(5).normal(100.0, 400.0, 60)
    trades = closed_trades(profits)
    drawn, ordered = by_luck(trades, 10_000.0, 2.0, 7, 0.0)
    shares = shares_of(profits, 10_000.0)
    assert ordered.total_return == pytest.approx(profits.sum() / 10_000.0)
    sharpe = shares.mean() / shares.std(ddof=1) * math.sqrt(60 / 2)
    assert ordered.sharpe == pytest.approx(sharpe)
    assert math.isnan(ordered.limit)
    assert drawn.limit == 0.0
    rng = np.random.default_rng(99)
    finals, deepest = [], []
    for _ in range(4_000):
        finals.append(math.prod(1 + rng.choice(shares, 60)) - 1)
        wealth = np.concatenate([[1.0], np.cumprod(1 + rng.permutation(shares))])
        deepest.append((wealth / np.maximum.accumulate(wealth) - 1).min())
    assert drawn.total_return == pytest.approx(np.percentile(finals, 5), abs=0.05)
    assert ordered.max_drawdown == pytest.approx(np.percentile(deepest, 5), abs=0.02)
    assert drawn.sharpe < sharpe
    assert by_luck(trades, 10_000.0, 2.0, 7, 0.0)[0] == drawn
    assert by_luck(trades, 10_000.0, 2.0, 8, 0.0)[0] != drawn


def closed_trades(profits, symbols=None, opened=None):
    count = len(profits)
    return pl.DataFrame(
        {"symbol": symbols or ["A/USD"] * count, "opened": opened or list(range(count)), "profit": profits},
        schema={"symbol": pl.String, "opened": pl.Int64, "profit": pl.Float64},
    )


def test_the_closes_of_one_position_are_one_trade():
    rng = np.random.default_rng(2)
    profits = rng.normal(100.0, 400.0, 30)
    whole = by_luck(closed_trades(profits), 10_000.0, 2.0, 7, 0.0)
    thirds = closed_trades(np.repeat(profits / 3, 3), opened=np.repeat(np.arange(30), 3).tolist())
    for one, other in zip(whole, by_luck(thirds, 10_000.0, 2.0, 7, 0.0), strict=True):
        assert (one.sharpe, one.max_drawdown) == pytest.approx((other.sharpe, other.max_drawdown))
    # A position that is closed in two parts around the close of another counts where its last part closed.
    mixed = closed_trades(
        [50.0, *profits, profits[0] - 50.0], ["B/USD", *["A/USD"] * 30, "B/USD"], [1, *range(1, 31), 1]
    )
    moved = closed_trades([*profits, profits[0]])
    assert by_luck(mixed, 10_000.0, 2.0, 7, 0.0) == by_luck(moved, 10_000.0, 2.0, 7, 0.0)


@pytest.mark.parametrize(("sign", "wanted"), [(1.0, math.inf), (-1.0, -math.inf)])
def test_draws_of_one_size_are_as_certain_as_can_be(sign, wanted):
    equal = closed_trades([sign * 10.0 * (1 + sign * 0.01) ** place for place in range(12)])
    assert by_luck(equal, 1_000.0, 1.0, 0, 0.0)[0].sharpe == wanted
    nothing = by_luck(closed_trades([0.0] * 12), 1_000.0, 1.0, 0, 0.0)[0]
    assert nothing.sharpe == 0.0
    # One trade that won among nothings: one draw in three misses it and earns nothing.
    lucky = by_luck(closed_trades([*[0.0] * 11, 50.0]), 1_000.0, 1.0, 0, 0.0)[0]
    assert lucky.sharpe == 0.0


def test_too_few_trades_or_a_lost_purse_say_nothing():
    assert by_luck(closed_trades([1.0, 2.0, 3.0] * 3), 100.0, 1.0, 0, 0.0) == []
    assert by_luck(closed_trades([1.0] * 30, opened=[place // 5 for place in range(30)]), 100.0, 1.0, 0, 0.0) == []
    assert len(by_luck(closed_trades([*[1.0, 2.0, 3.0] * 3, 4.0]), 100.0, 1.0, 0, 0.0)) == 2
    assert by_luck(closed_trades([]), 100.0, 1.0, 0, 0.0) == []
    assert by_luck(closed_trades([1.0, -200.0, *[5.0] * 10]), 100.0, 1.0, 0, 0.0) == []
