"""Qlib's Alpha158: 158 columns of one bar and its past, the set on which many published models are compared."""

from cryptoquant.features.catalogue.alpha_prices import (
    alpha_candle,
    alpha_extremes,
    alpha_moves,
    alpha_quantiles,
    alpha_roc,
    alpha_trend,
)
from cryptoquant.features.catalogue.alpha_volumes import (
    alpha_change_correlation,
    alpha_correlation,
    alpha_turbulence,
    alpha_volume,
    alpha_volume_moves,
    alpha_vwap,
)
from cryptoquant.features.feature import Feature

WINDOWS = (5, 10, 20, 30, 60)
BAR = "KMID KLEN KMID2 KUP KUP2 KLOW KLOW2 KSFT KSFT2 OPEN0 HIGH0 LOW0 VWAP0"
ROLLING = """
ROC MA STD BETA RSQR RESI MAX MIN QTLU QTLD RANK RSV IMAX IMIN IMXD CORR CORD CNTP CNTN CNTD SUMP SUMN SUMD VMA VSTD
WVMA VSUMP VSUMN VSUMD
"""
ALPHA158 = (*BAR.split(), *(f"{name}{window}" for name in ROLLING.split() for window in WINDOWS))
"""The names of the columns in the order in which Qlib lists them."""


def alpha158() -> list[Feature]:
    """Return the features whose columns are Qlib's Alpha158.

    Columns that share their work come from one feature, so a set lists them by window; ``ALPHA158`` has their names in
    Qlib's order. What is Qlib's and what is not is said in ``alpha_prices``; its label is not among them.

    Examples
    --------
    >>> from cryptoquant import features as f
    >>> columns = f.FeatureSet(f.alpha158())
    >>> len(columns.names), set(columns.names) == set(f.ALPHA158), columns.lookback
    (158, True, 60)
    """
    by_window = (
        *(alpha_roc, alpha_trend, alpha_extremes, alpha_quantiles, alpha_correlation, alpha_change_correlation),
        *(alpha_moves, alpha_volume, alpha_turbulence, alpha_volume_moves),
    )
    return [alpha_candle(), alpha_vwap(), *(made(window) for made in by_window for window in WINDOWS)]
