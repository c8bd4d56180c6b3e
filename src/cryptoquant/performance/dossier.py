"""What a study knows of its run beside the run itself: the case for it, what was learned, and where it came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from cryptoquant.performance.evidence import Evidence
from cryptoquant.performance.metrics import Statistics
from cryptoquant.performance.robustness import Robustness


@dataclass(frozen=True, slots=True)
class Dossier:
    """The papers that come with a report; whatever a run does not have is empty.

    Attributes
    ----------
    evidence
        How sure one can be.
    before_costs
        Statistics of the same decisions traded free.
    robustness
        The same study under other assumptions.
    importance
        Columns feature and importance (share, summing to 1), largest first.
    quality
        Of the bars that were traded: columns symbol, bars, missing, longest_gap_bars, without_volume.
    paths
        One row for each path of a combinatorial cross-validation: path, sharpe, total_return, max_drawdown.
    fingerprints
        Digests by what they are of: data, configuration, code.
    barriers
        What ends each position or label, where it is known: symbol, opened, closed, take, stop (prices, NaN for none).
    """

    evidence: Evidence | None = None
    before_costs: Statistics | None = None
    robustness: Robustness | None = None
    importance: pl.DataFrame = field(default_factory=pl.DataFrame)
    quality: pl.DataFrame = field(default_factory=pl.DataFrame)
    paths: pl.DataFrame = field(default_factory=pl.DataFrame)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    barriers: pl.DataFrame = field(default_factory=pl.DataFrame)
