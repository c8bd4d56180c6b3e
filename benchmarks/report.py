"""How long a report's page takes and how large it is: 100,000 bars of one and of five symbols, beside quantstats.

Run with ``python benchmarks/report.py [--bars 100000]``. Each page is written once to warm up and then three times;
seconds are medians, of a report whose tables are already there. quantstats gets the daily returns of the same run and
writes its own page of them, without prices, fills, folds or trades.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

import cryptoquant as cq

PAIRS = ("BTC/USD", "ETH/USD", "SOL/USD", "LTC/USD", "DOGE/USD")
MOST_SECONDS, MOST_BYTES = 3.0, 3_000_000
ROUNDS = 3


def traded(bars: int, symbols: tuple[str, ...]) -> cq.Report:
    """Return a run that enters and leaves every symbol a few thousand times."""
    market = cq.SyntheticMarket(symbols=symbols, days=bars / 24, timeframe="1h", seed=7).bars()
    panel = cq.Panel.from_frame(market)
    slices, rng = len(panel.times), np.random.default_rng(7)
    held = np.repeat(rng.integers(0, 2, (-(-slices // 20), len(symbols))), 20, axis=0)[:slices]
    report = cq.simulate(held * 0.9 / len(symbols), panel, cq.Costs.alpaca(tier=8, slippage_bps=1.0))
    stamps = report.equity["time"]
    edges = np.linspace(0, slices - 1, 61).astype(int).tolist()
    folds = pl.DataFrame(
        {"fold": range(60), "test_start": stamps.gather(edges[:-1]), "test_end": stamps.gather(edges[1:])}
    )
    return replace(report, folds=folds)


def timed(write: Callable[[], object]) -> float:
    """Return the median seconds of some calls after a first one."""
    write()
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        write()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def peer(report: cq.Report, page: Path) -> float:
    """Return the seconds that quantstats takes for its page of the daily returns."""
    import matplotlib as mpl

    mpl.use("Agg")
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    import quantstats

    returns = report.to_quantstats_returns()

    def write() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantstats.reports.html(returns, periods_per_year=365, output=str(page), title=report.name)

    return timed(write)


def main(bars: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for symbols in (PAIRS[:1], PAIRS):
            report, page, other = traded(bars, symbols), Path(folder) / "ours.html", Path(folder) / "theirs.html"
            seconds, slow = timed(lambda: report.to_html(page)), peer(report, other)  # noqa: B023
            size, theirs = page.stat().st_size, other.stat().st_size
            verdict = "met" if seconds <= MOST_SECONDS and size <= MOST_BYTES else "MISSED"
            print(
                f"{bars:,} bars x {len(symbols)} symbols, {report.fills.height:,} fills: {seconds:.2f} s, "
                f"{size / 1e6:.2f} MB (wanted {MOST_SECONDS:g} s, {MOST_BYTES / 1e6:g} MB: {verdict}); "
                f"quantstats, {report.daily_returns().height:,} days: {slow:.2f} s, {theirs / 1e6:.2f} MB, "
                f"{slow / seconds:.1f} times as long"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=100_000)
    main(parser.parse_args().bars)
