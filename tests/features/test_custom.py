"""Features of one's own: compiled, plain Python or an expression; online like the others, and under the same gate."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from cryptoquant import features as f
from cryptoquant.errors import LeakageError
from cryptoquant.features.catalogue import CONSTRUCTORS
from cryptoquant.features.custom import Custom
from tests.market_makers import frame_of, gapping_panel

Floats = NDArray[np.float64]
PANEL = gapping_panel(1_300, ("A/USD", "B/USD"), seed=8, absent=0.02)
BARS = frame_of(gapping_panel(150, ("A/USD", "B/USD"), seed=8, absent=0.05))
CLOSE = pl.col("close")
CLOSES: list[float] = []


def change(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    """Write close / close of so many bars ago - 1, and how many bars were seen."""
    window, count = int(settings[0]), int(state[0])
    place = 1 + count % window
    if count >= window:
        out[0] = bar[0] / state[place] - 1.0
    out[1] = count
    state[place] = bar[0]
    state[0] = count + 1


def decorated(function: Callable[..., None], *, compiled: bool) -> Custom:
    return f.custom(
        inputs=["close"],
        outputs=["change", "seen"],
        parameters={"window": 5},
        lookback=lambda window: window,
        state_size=lambda window: window + 1,
        memory="cumulative",
        compiled=compiled,
    )(function)


@f.custom(inputs=["high", "low", "close"])
def close_location(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    out[0] = (bar[2] - bar[1]) / (bar[0] - bar[1]) if bar[0] > bar[1] else 0.5


@f.custom(inputs=["log_return"], compiled=False)
def plain_return(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
    out[0] = bar[0]


change_compiled = decorated(change, compiled=True)


def own_set() -> f.FeatureSet:
    return f.FeatureSet([close_location(), f.rsi(5), change_compiled(window=3), plain_return()])


@pytest.mark.parametrize("compiled", [True, False])
def test_a_step_of_ones_own_gives_the_numbers_of_the_library(compiled: bool) -> None:
    def step(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
        window, count = int(settings[0]), int(state[0])
        place = 1 + count % window
        if count >= window:
            out[0] = bar[0] / state[place] - 1.0
        out[1] = count
        state[place] = bar[0]
        state[0] = count + 1

    own = decorated(step, compiled=compiled)(window=4)
    assert own.outputs == ("change_4", "seen_4")
    found = f.FeatureSet([f.roc(4), own]).compute_panel(PANEL)
    np.testing.assert_array_equal(found[..., 0], found[..., 1])
    assert np.nanmax(found[..., 2]) == np.isfinite(PANEL.field("close")).sum(axis=0).max() - 1


def test_steps_of_ones_own_pass_the_gate_and_go_online_to_the_bit() -> None:
    features = own_set()
    features.check_causal(BARS)
    history = features.compute_panel(PANEL)
    online = features.online(PANEL.symbols)
    for row, slice in enumerate(PANEL):
        np.testing.assert_array_equal(online.update(slice), history[row])


def test_a_set_of_ones_own_is_saved_read_and_pickled() -> None:
    features = own_set()
    own = {"close_location": close_location, "change": change_compiled, "plain_return": plain_return}
    assert f.FeatureSet.from_dict(features.to_dict(), {**CONSTRUCTORS, **own}) == features
    with pytest.raises(ValueError, match="unknown feature 'close_location'"):
        f.FeatureSet.from_dict(features.to_dict())
    kept = f.FeatureSet([close_location(), plain_return()])
    again = pickle.loads(pickle.dumps(kept))
    assert again == kept
    assert again.fingerprint == kept.fingerprint


def test_a_step_that_remembers_outside_its_state_is_caught() -> None:
    @f.custom(inputs=["close"], compiled=False)
    def leaking(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
        CLOSES.append(bar[0])
        out[0] = max(CLOSES)

    CLOSES.clear()
    with pytest.raises(LeakageError, match="leaking"):
        f.FeatureSet([leaking()]).check_causal(BARS)


def test_a_step_that_forgets_its_start_too_late_is_caught() -> None:
    @f.custom(inputs=["close"], state_size=1)
    def total(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
        state[0] += bar[0]
        out[0] = state[0]

    with pytest.raises(LeakageError, match="declared warm-up of 1 bars"):
        f.FeatureSet([total()]).check_causal(BARS)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_step_that_raises_is_named() -> None:
    @f.custom(inputs=["close"], compiled=False)
    def broken(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
        raise KeyError("close")

    with pytest.raises(RuntimeError, match="broken: its step raised"):
        f.FeatureSet([broken()]).compute_panel(PANEL)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_step_that_leaves_its_arrays_is_stopped_before_it_touches_another_one() -> None:
    @f.custom(inputs=["close"])
    def forgetful(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
        state[0] += bar[0]

    @f.custom(inputs=["close"])
    def generous(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
        out[1] = bar[0]

    for feature in (forgetful(), generous()):
        with pytest.raises(RuntimeError, match="its step raised"):
            f.FeatureSet([feature, f.rsi(5)]).compute_panel(PANEL)


def test_two_customs_of_one_function_stay_apart() -> None:
    one, two = decorated(change, compiled=False), decorated(change, compiled=True)
    assert change.__qualname__ == "change"
    found = f.FeatureSet([one(window=2), two(window=3)]).compute_panel(PANEL)
    assert found.shape[2] == 4


def test_a_step_cannot_begin_before_what_it_reads() -> None:
    assert plain_return().lookback == 1


@pytest.mark.parametrize("name", ["time", "known", "symbol", "close", "label"])
def test_columns_with_the_names_of_others_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is the name of something else"):
        f.FeatureSet([f.expression(name, CLOSE * 2, lookback=0)])


def test_a_step_that_cannot_be_compiled_is_named() -> None:
    @f.custom(inputs=["close"])
    def strange(state: Floats, settings: Floats, bar: Floats, out: Floats) -> None:
        out[0] = bar.nonsense  # type: ignore[attr-defined]

    with pytest.raises(TypeError, match=r"strange.* cannot be compiled"):
        f.FeatureSet([strange()]).compute_panel(PANEL)


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(TypeError, match=r"change: unknown parameter length; wanted some of window"):
        change_compiled(length=3)
    for value in (2.5, "many", None, float("inf"), True):
        with pytest.raises(ValueError, match="window must be a number like 5"):
            change_compiled(window=value)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"wanted a list of inputs of .* found \['colour'\]"):
        f.custom(inputs=["colour"])
    with pytest.raises(ValueError, match="at most 64 outputs"):
        f.custom(inputs=["close"], outputs="abc")
    with pytest.raises(ValueError, match="memory must be"):
        f.custom(inputs=["close"], memory="foo")(change)()  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="wanted a polars expression"):
        f.expression("x", None, lookback=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wanted a list of inputs"):
        f.custom(inputs=[])
    with pytest.raises(ValueError, match="lookback must be a whole number"):
        f.custom(inputs=["close"], lookback=-1)(change)()


def above_mean(window: int) -> f.Feature:
    return f.expression("above_mean", CLOSE / CLOSE.rolling_mean(window) - 1, lookback=window - 1)


def test_an_expression_gives_its_numbers_online_and_in_history() -> None:
    features = f.FeatureSet([above_mean(20), f.sma(20, relative=True)])
    history = features.compute_panel(PANEL)
    np.testing.assert_allclose(history[..., 0], history[..., 1], rtol=0, atol=1e-12)
    online = features.online(PANEL.symbols)
    for row, slice in enumerate(PANEL):
        if row > 300:
            break
        np.testing.assert_allclose(online.update(slice), history[row], rtol=0, atol=1e-10)
    features.check_causal(BARS)


def test_an_expression_may_read_the_clock_and_several_fields() -> None:
    hour = pl.col("time").dt.hour().cast(pl.Float64)
    features = f.FeatureSet([f.expression("noon", hour - 12 + 0 * pl.col("volume"), lookback=0)])
    panel = gapping_panel(30)
    found = features.compute_panel(panel)[:, 0, 0]
    np.testing.assert_array_equal(found, (np.arange(1, 31) % 24) - 12.0)


@pytest.mark.parametrize(
    ("leak", "lookback"),
    [
        (CLOSE.shift(-1), 0),
        (CLOSE / CLOSE.mean(), 5),
        (CLOSE.rolling_mean(9), 4),
        (CLOSE.cum_sum(), 3),
        (CLOSE.rolling_mean(5, center=True), 4),
        (CLOSE.shift(1).fill_null(strategy="backward") + CLOSE.len(), 2),
        (CLOSE.reverse(), 0),
        (CLOSE.rank() / CLOSE.len(), 10),
        ((CLOSE.shift(-1) > CLOSE).cast(pl.Float64).fill_null(0.0) * 1e-11, 0),
    ],
)
def test_an_expression_that_looks_ahead_or_further_back_than_it_says_is_caught(leak: pl.Expr, lookback: int) -> None:
    with pytest.raises(LeakageError, match="leak"):
        f.FeatureSet([f.expression("leak", leak, lookback=lookback)]).check_causal(BARS)


def test_an_expression_is_saved_and_read() -> None:
    features = f.FeatureSet([above_mean(5)])
    assert f.FeatureSet.from_dict(features.to_dict()) == features
    assert f.FeatureSet.from_dict(features.to_dict()).fingerprint == features.fingerprint
    assert f.FeatureSet([above_mean(6)]).fingerprint != features.fingerprint
    assert pickle.loads(pickle.dumps(features)) == features


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (pl.col("price") + 1, "unknown column price"),
        (pl.lit(1.0), "unknown column none"),
        (pl.col("log_return"), "unknown column log_return"),
        (CLOSE.map_batches(lambda series: series), "with AnonymousFunction cannot be kept safely"),
        (CLOSE.rolling_map(lambda series: 1.0, 3), "with Map cannot be kept safely"),
        (pl.fold(0.0, lambda one, two: one + two, [CLOSE]), "with FoldHorizontal cannot"),
        (pl.reduce(lambda one, two: one + two, [CLOSE, CLOSE]), "with ReduceHorizontal cannot"),
        (pl.cum_fold(0.0, lambda one, two: one + two, [CLOSE]), "with CumFoldHorizontal cannot"),
        (pl.struct("close").name.map_fields(str.upper), "cannot be kept safely"),
        (CLOSE.is_in([1.0, 2.0]), "cannot be kept safely"),
        (CLOSE + pl.selectors.float().sum(), "with Selector cannot"),
        (
            '{"Function":{"input":[{"Column":"close"}],"function":{"FfiPlugin":{"lib":"x.so"}}}}',
            "with FfiPlugin cannot",
        ),
        ('{"Alias":[{"Literal":{"Scalar":{"List":[1,11,7,128,5,149]}}},"x"]}', "cannot be kept safely"),
        ("[" * 5_000 + "]" * 5_000, "unreadable"),
        ("{nonsense", "unreadable"),
    ],
)
def test_expressions_that_cannot_be_kept_are_refused(wrong: pl.Expr | str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        f.expression("wrong", wrong, lookback=0)


def test_a_step_that_was_typed_and_is_kept_nowhere_has_a_fingerprint_too() -> None:
    typed: dict[str, Any] = {"__name__": "typed"}
    for name, factor in (("one", 1.0), ("two", 2.0), ("again", 1.0)):
        exec(f"def twofold(state, settings, bar, out):\n    out[0] = bar[0] * {factor}", typed)
        typed[name] = typed["twofold"]
    sets = {name: f.FeatureSet([f.custom(inputs=["close"])(typed[name])()]) for name in ("one", "two", "again")}
    assert sets["one"].fingerprint == sets["again"].fingerprint != sets["two"].fingerprint
    np.testing.assert_array_equal(sets["two"].compute_panel(PANEL)[..., 0], 2.0 * PANEL.field("close"))
