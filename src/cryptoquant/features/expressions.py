"""Polars expressions as features, kept as text; what is read back can compute, and do nothing else."""

import json
from typing import Any

import polars as pl

from cryptoquant.features.entries import ExpressionStep, expression_of
from cryptoquant.features.feature import DERIVED, INPUTS, Feature, whole

LONGEST_LIST = 4
# What polars writes of arithmetic, comparisons, windows, ranks, averages, clocks and choices. Everything else is
# refused: polars runs Python code, and loads libraries, that a text of its may carry.
# fmt: off
KEPT = frozenset("""
    Abs Agg Alias AllHorizontal And AnyHorizontal ArcCos ArcSin ArcTan ArgMax ArgMin Atan2 Average Backward
    BinaryExpr Boolean Both Cast Cbrt Ceil Clip Coalesce Column CorrCov Correlation Cos Cosh Count Covariance
    CumCount CumMax CumMin CumProd CumSum Date Day Diff Dyn Entropy Eq EwmMean EwmStd EwmVar Exp FillNull
    FillNullWithStrategy First Float Float32 Float64 Floor FloorDivide Forward Function Generic GroupsToRows Gt GtEq
    HalfToEven Hour Ignore Int Int32 Int64 Int8 IntRange Interpolate IsBetween IsFinite IsInfinite IsLeapYear IsNan
    IsNotNan IsNotNull IsNull Kurtosis Last Len Linear Literal Log Log1p Lt LtEq Max MaxHorizontal Mean
    MeanHorizontal Median Milliseconds Min MinHorizontal Minus Minute Modulus Month Multiply NUnique Nearest Negate
    Not NotEq Null Or OrdinalDay Over PctChange PeakMax Pearson Plus Pow Quantile Quarter Range Rank Reverse
    RollingExpr Round Scalar Second Shift ShiftAndFill Sign Sin Sinh Skew Sqrt Std Strict String Sum SumHorizontal
    Tan Tanh TemporalExpr Ternary TimeStamp Trigonometry TrueDivide Truncate Var Week WeekDay Xor Year adjust alpha
    base bias center closed corr_cov_options ddof decimals descending dtype expr falsy fisher fn_params function
    has_max has_min ignore_nulls include_nulls input is_corr left mapping method min_periods mode normalize
    nulls_equal op options order_by partition_by predicate prob propagate_nans reverse right seed step truthy
    weights window_size
""".split())  # noqa: SIM905
# fmt: on


def expression(name: str, expression: pl.Expr | str, lookback: int) -> Feature:
    """Return a polars expression over the bars of one symbol as a feature.

    Its history is computed in pieces and its present from the last ``lookback + 1`` bars, so that both are equal to
    1e-10, not to the bit; one update takes a fraction of a millisecond. Inputs: the columns that it names, of the
    fields of a bar and ``time``. Output: ``name``. Lookback: as given. Memory: finite. Warm-up: lookback + 1 bars.

    Parameters
    ----------
    name
        Of the column.
    expression
        One value for each bar; or what ``to_dict`` kept of one.
    lookback
        How many bars before the present one it needs. ``check_causal`` finds out when that is too few.

    Raises
    ------
    ValueError
        It names no column or an unknown one, or holds what cannot be kept safely, such as a Python function.
    TypeError
        It is no expression.

    Examples
    --------
    >>> import polars as pl
    >>> close = pl.col("close")
    >>> expression("above_mean", close / close.rolling_mean(20) - 1, lookback=19).lookback
    19
    """
    lookback = whole("expression", "lookback", lookback, 0)
    if not isinstance(name, str) or not name:
        raise ValueError(f"expression: the name of its column must be a text, found {name!r}")
    if not isinstance(expression, str | pl.Expr):
        raise TypeError(f"{name}: wanted a polars expression, found {type(expression).__name__}")
    text = expression if isinstance(expression, str) else expression.meta.serialize(format="json")
    names = _columns(name, text)
    strange = sorted(names - (set(INPUTS) - DERIVED.keys()))
    if strange or not names:
        wanted = ", ".join(column for column in INPUTS if column not in DERIVED)
        raise ValueError(f"{name}: unknown column {', '.join(strange) or 'none'}; wanted some of {wanted}")
    inputs = tuple(column for column in INPUTS if column in names)
    return Feature(
        name="expression",
        step=ExpressionStep(text, inputs, lookback),
        parameters=(("name", name), ("expression", text), ("lookback", lookback)),
        settings=(),
        inputs=inputs,
        outputs=(name,),
        lookback=lookback,
        memory="finite",
        warm_up=lookback + 1,
        history=lookback,
        form="expression",
    )


def _columns(name: str, text: str) -> set[str]:
    """Return the columns that an expression names; raise ValueError unless it is made of what can be kept."""
    try:
        strange = _strange(json.loads(text), "")
        columns = set() if strange else set(expression_of(text).meta.root_names())
    except (ValueError, TypeError, RecursionError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"{name}: unreadable expression: {error}") from error
    if strange:
        raise ValueError(f"{name}: an expression with {strange} cannot be kept safely; use the decorator custom")
    return columns


def _strange(tree: Any, under: str) -> str:
    """Return the first thing in an expression that may be more than arithmetic, empty if there is none."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            found = key if key not in KEPT else _strange(value, key)
            if found:
                return str(found)
    elif isinstance(tree, list):
        if sum(isinstance(value, int) for value in tree) > LONGEST_LIST:
            return "a list of bytes"
        is_alias = under == "Alias"
        for value in tree[:1] if is_alias else tree:
            found = _strange(value, under)
            if found:
                return found
    elif isinstance(tree, str) and under not in ("Column", "String") and tree not in KEPT:
        return tree
    return ""
