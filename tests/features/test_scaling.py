"""Scales learned from training rows: against scikit-learn and the definition, kept, and deaf to what comes later."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.preprocessing import RobustScaler, StandardScaler

from cryptoquant import features as f
from cryptoquant.errors import DataError
from cryptoquant.features.scaling import KNOTS, NORMAL_QUARTILES, Kind

KINDS: tuple[Kind, ...] = ("standard", "robust", "rank")
RNG = np.random.default_rng(3)
ROWS = RNG.standard_t(3, (500, 4)) * [1.0, 1e-6, 1e6, 5.0] + [0.0, 1.0, -5e6, 1.0]


def test_standard_and_robust_equal_scikit_learn() -> None:
    later = ROWS[::-1] * 1.5
    standard = StandardScaler().fit(ROWS).transform(later)
    np.testing.assert_allclose(f.Scaler().fit(ROWS).transform(later), standard, rtol=1e-9, atol=1e-12)
    robust = RobustScaler().fit(ROWS).transform(later) * NORMAL_QUARTILES
    np.testing.assert_allclose(f.Scaler("robust").fit(ROWS).transform(later), robust, rtol=1e-9, atol=1e-12)


def test_ranks_are_shares_of_the_training_values() -> None:
    found = f.Scaler("rank").fit(ROWS).transform(ROWS)
    wanted = np.argsort(np.argsort(ROWS, axis=0), axis=0) / (len(ROWS) - 1)
    np.testing.assert_allclose(found, wanted, atol=1.0 / KNOTS)
    beyond = f.Scaler("rank").fit(ROWS).transform(np.stack([ROWS.min(axis=0) - 1e7, ROWS.max(axis=0) + 1e7]))
    assert beyond.tolist() == [[0.0] * 4, [1.0] * 4]
    two = f.Scaler("rank").fit(np.array([[0.0]] * 50 + [[1.0]] * 50)).transform(np.array([[0.0], [1.0]]))
    np.testing.assert_allclose(two[:, 0], [0.25, 0.75], atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_never_moves_is_neutral_and_holes_stay_holes(kind: Kind) -> None:
    rows = np.array([[0.1, 1.0], [0.1, np.nan], [0.1, 3.0]])
    found = f.Scaler(kind).fit(rows).transform(rows)
    assert found[:, 0].tolist() == [0.5 if kind == "rank" else 0.0] * 3
    assert np.isnan(found[:, 1]).tolist() == [False, True, False]


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 3_000), st.floats(-1e300, 1e300), st.booleans())
@example(0.3, 3_000, 0.31, False)
@example(0.1, 999_999, 0.2, True)
def test_a_column_that_stands_still_becomes_zero_wherever_it_moves(
    constant: float, rows: int, moved: float, has_hole: bool
) -> None:
    column = np.full((rows + 1, 1), constant)
    column[-1] = np.nan if has_hole else constant
    for kind in KINDS[:2]:
        scaling = f.Scaler(kind).fit(column)
        assert scaling.numbers.tolist() == [[constant, 0.0]]
        assert scaling.transform(np.array([[constant], [moved]])).tolist() == [[0.0], [0.0]]


def test_a_column_that_moves_by_less_than_its_size_tells_still_moves() -> None:
    near = 1e6 + np.array([[0.0], [2.0**-28]])
    assert f.Scaler().fit(near).transform(near).tolist() == [[-1.0], [1.0]]


def test_a_limit_cuts_outliers_off() -> None:
    scaling = f.Scaler("robust", limit=3.0).fit(ROWS)
    found = scaling.transform(ROWS * 1e3)
    assert found.min() == -3.0
    assert found.max() == 3.0


@given(hnp.arrays(np.float64, (6, 3), elements=st.floats(-1e9, 1e9)), st.sampled_from(KINDS))
def test_a_row_is_scaled_alone_as_among_others_and_a_kept_scaling_is_the_same(rows: np.ndarray, kind: Kind) -> None:
    scaling = f.Scaler(kind).fit(ROWS[:, :3])
    again = f.Scaling.from_dict(scaling.to_dict())
    together = scaling.transform(rows)
    np.testing.assert_array_equal(again.transform(rows), together)
    for row in range(len(rows)):
        np.testing.assert_array_equal(scaling.transform(rows[row : row + 1])[0], together[row])


def test_bad_rows_and_descriptions_are_named() -> None:
    with pytest.raises(DataError, match="column 1 holds no finite value among 2"):
        f.Scaler().fit(np.array([[1.0, np.nan], [2.0, np.inf]]))
    with pytest.raises(DataError, match="at least one row"):
        f.Scaler().fit(np.empty((0, 2)))
    with pytest.raises(DataError, match="wanted 4 columns"):
        f.Scaler().fit(ROWS).transform(ROWS[:, :3])
    with pytest.raises(ValueError, match="unknown kind 'minmax'"):
        f.Scaler("minmax")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="limit must be a finite number above 0"):
        f.Scaler(limit=-1.0)
    with pytest.raises(ValueError, match="unreadable"):
        f.Scaling.from_dict({"kind": "rank"})
    with pytest.raises(ValueError, match="do not fit"):
        f.Scaling.from_dict({"kind": "rank", "limit": None, "numbers": [[0.0, 1.0]]})
