"""What a study says beside its result: the features it rests on, how whole its bars are, and what ends its trades."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from cryptoquant.backtest.learning import FoldResult
from cryptoquant.backtest.plan import Plan
from cryptoquant.market.slice import Panel
from cryptoquant.performance.report import Report


def importance_of(plan: Plan, results: Sequence[FoldResult]) -> pl.DataFrame:
    """Return how much the out-of-sample predictions of all folds rest on each feature, as shares that sum to 1.

    Columns feature and importance, largest first; empty for a rule. See ``reliance``.
    """
    if plan.dataset is None or plan.model is None:
        return pl.DataFrame()
    moved = np.mean([result.reliance for result in results], axis=0)
    total = float(moved.sum())
    frame = pl.DataFrame({"feature": plan.dataset.names, "importance": moved / total if total > 0.0 else moved})
    return frame.sort("importance", descending=True, maintain_order=True)


def quality_of(panel: Panel) -> pl.DataFrame:
    """Return how whole the traded bars of each symbol are.

    Columns symbol, bars, missing (closes of the span at which it has none, by the width of a bar), longest_gap_bars and
    without_volume.
    """
    rows, width = [], max(panel.width, 1)
    wanted = round(float(panel.times[-1] - panel.times[0]) / width) + 1
    for place, symbol in enumerate(panel.symbols):
        there = ~np.isnan(panel.field("close")[:, place])
        times = panel.times[there]
        ends = np.concatenate([[panel.times[0] - width], times, [panel.times[-1] + width]])
        volume = panel.field("volume")[there, place]
        rows.append(
            {
                "symbol": symbol,
                "bars": int(there.sum()),
                "missing": wanted - int(there.sum()),
                "longest_gap_bars": round(float(np.diff(ends).max()) / width) - 1,
                "without_volume": int((~(volume > 0.0)).sum()),
            }
        )
    return pl.DataFrame(rows)


def barriers_of(plan: Plan, report: Report) -> pl.DataFrame:
    """Return the stop and take prices of each position that execution protects, from its first fill.

    Columns symbol, opened, closed, take, stop; empty without such exits.
    """
    stop, take = plan.execution.stop_loss, plan.execution.take_profit
    if (stop is None and take is None) or report.trades.is_empty():
        return pl.DataFrame()
    spans = report.trades.group_by("symbol", "opened", maintain_order=True).agg(
        pl.col("closed").max(), pl.col("side").first()
    )
    entries = report.fills.group_by("symbol", "time", maintain_order=True).agg(pl.col("price").first())
    found = spans.join(entries, left_on=["symbol", "opened"], right_on=["symbol", "time"], how="inner")
    side = pl.when(pl.col("side").is_in(["sell", "short"])).then(-1.0).otherwise(1.0)
    nothing = pl.lit(None, dtype=pl.Float64)
    return found.with_columns(
        take=nothing if take is None else pl.col("price") * (1.0 + side * take),
        stop=nothing if stop is None else pl.col("price") * (1.0 - side * stop),
    ).select("symbol", "opened", "closed", pl.col("take", "stop").fill_null(np.nan))
