"""How fast the simulator is: the works of the field notes by ours and by vectorbt (and backtesting.py), in one run.

Run with ``python benchmarks/simulator.py [A A+ B C D event concurrent] [--quick] [--memory]``; without names all.
``--quick`` takes a tenth of the bars, ``--memory`` asks every way for its peak memory, peers included.

Each way runs on one core unless it says otherwise, warm, in turn with the others; seconds are medians. Compare the
ratios, in brackets those of the processor's own seconds: they depend less on what else the machine does. "Same" counts
the other ways of the same rules, and the field notes, that come to the same to 1e-6. A peak is that of a fresh process
that builds the data and does the work once. vectorbt's Rust engine takes part where it is installed
(``vectorbt-rust``); a way is compared with the fastest that an engine has. A plus behind a target: it is met.
"""

import argparse
import importlib.util
import json
import math
from collections.abc import Mapping, Sequence

from works import bracket, cross, events, grid, many, universe
from works.measure import (
    Outcome,
    Timing,
    Way,
    Work,
    agrees,
    in_a_process,
    once,
    peak,
    peak_of_children,
    pinned,
    timings,
)

WORKS = {
    "A": cross.targets,
    "A+": cross.signals,
    "B": grid.work,
    "C": universe.work,
    "D": bracket.work,
    "event": events.work,
}
PEERS = ("numba", "rust", "backtesting")
HEADS = ("work", "way", "seconds", "CPU", "runs", "ns/bar", "times as fast as", "wanted", "peak MB", "same")
WIDTHS = (10, 34, 9, 9, 4, 9, 38, 17, 8, 0)


def line(*cells: str) -> str:
    return " ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def ratios(timing: Timing, all_timings: Sequence[Timing]) -> dict[str, tuple[float, float]]:
    """Return how many times as fast a way is as the fastest way of each peer: by the clock, by the processor's time."""
    found = {}
    for engine in PEERS:
        peers = [other for other in all_timings if other.way.is_peer and engine in other.way.name]
        if peers:
            clock, busy = min(other.median for other in peers), min(other.busy for other in peers)
            found[engine] = clock / timing.median, busy / timing.busy
    return found


def said(times: Mapping[str, tuple[float, float]]) -> str:
    """Return ratios as text, those by the processor's time in brackets."""
    texts = []
    for engine, (clock, busy) in times.items():
        texts.append(f"{engine} {clock:.1f}" + ("" if math.isnan(busy) else f" ({busy:.1f})"))
    return ", ".join(texts)


def wanted(way: Way, seconds: float, times: Mapping[str, tuple[float, float]], megabytes: float) -> str:
    """Return the targets of a way, and whether they are met."""
    checks = []
    if not math.isnan(way.target):
        checks.append((f"{way.target:.0f}x", times.get("numba", (math.nan,))[0] >= way.target))
    if way.limit < math.inf:
        checks.append((f"{way.limit:.3g}s", seconds <= way.limit))
    if way.megabytes < math.inf:
        checks.append((f"{way.megabytes:.0f}MB", megabytes <= way.megabytes))
    return " ".join(f"{text}{'+' if is_met else '-'}" for text, is_met in checks)


def same(timing: Timing, all_timings: Sequence[Timing], reference: Mapping[str, Outcome]) -> str:
    """Return whether a way agrees with all others that follow the same rules; if not, with which it does not."""
    rules = timing.way.rules
    others = [other for other in all_timings if rules and other.way.rules == rules and other is not timing]
    known = {other.way.name: other.outcome for other in others}
    if rules in reference:
        known["the field notes"] = reference[rules]
    apart = [name for name, outcome in known.items() if not agrees(timing.outcome, outcome)]
    if apart:
        return f"NO: {', '.join(apart)}"
    return f"yes, {len(known)}" if known else ""


def outcomes(all_timings: Sequence[Timing]) -> list[str]:
    """Return what each way came to."""
    return [
        f"  {t.way.name:32} return {t.outcome.total_return:+.6f}  Sharpe {t.outcome.sharpe:+.6f}  "
        f"drawdown {t.outcome.max_drawdown:+.6f}  fills {t.outcome.orders:,.0f}"
        for t in all_timings
    ]


def megabytes_of(name: str, way: Way, *, quick: bool, asks_all: bool) -> float:
    """Return the peak of a fresh process that does a work once; NaN where nobody asks for it."""
    if not asks_all and way.megabytes == math.inf:
        return math.nan
    return float(in_a_process(__file__, "--alone", way.name, name, *(["--quick"] if quick else [])))


def alone(name: str, way_name: str, *, quick: bool) -> float:
    """Do a work once and return the peak memory of this process or of its largest worker, in MB."""
    needs_peers = any(engine in way_name for engine in PEERS)
    work = WORKS[name](quick=quick, with_peers=needs_peers)
    once(next(way for way in work.ways if way.name == way_name))
    return max(peak(), peak_of_children())


def rows(work: Work, *, quick: bool, memory: bool) -> list[str]:
    """Time a work and return its lines of the table."""
    found = timings(work.ways)
    print(f"{work.name}: {work.title}, {work.bars:,} bars", *outcomes(found), sep="\n", flush=True)
    lines = []
    for timing in found:
        way = timing.way
        megabytes = megabytes_of(work.name, way, quick=quick, asks_all=memory)
        times = {} if way.is_peer else ratios(timing, found)
        lines.append(
            line(
                work.name,
                way.name,
                f"{timing.median:.4f}",
                "" if math.isnan(timing.busy) else f"{timing.busy:.4f}",
                str(timing.runs),
                f"{1e9 * timing.median / work.bars:.1f}",
                said(times),
                wanted(way, timing.median, times, megabytes),
                "" if math.isnan(megabytes) else f"{megabytes:.0f}",
                same(timing, found, work.reference),
            )
        )
    return lines


def crowd(*, quick: bool) -> list[str]:
    """Return the lines of a hundred backtests at once, each kind in a fresh process."""
    lines = []
    for kind, limit in many.LIMITS.items():
        found = json.loads(in_a_process(__file__, "--kind", kind, *(["--quick"] if quick else [])))
        seconds, bars = found["seconds"], found["bars"] * many.ALL
        for count, (own, worker) in found["peaks"].items():
            print(f"concurrent: {kind}, {count} runs: peak {own:.0f} MB, largest worker {worker:.0f} MB", flush=True)
        verdict = "" if math.isinf(limit) else f"{limit:.3g}s{'+' if seconds <= limit else '-'}"
        own, worker = found["peaks"][str(many.ALL)]
        cells = (f"{seconds:.4f}", "", "1", f"{1e9 * seconds / bars:.1f}", "", verdict, f"{max(own, worker):.0f}", "")
        lines.append(line("concurrent", f"{kind}, two cores", *cells))
    return lines


def main(names: Sequence[str], *, quick: bool, memory: bool) -> None:
    """Run works and print one table."""
    with_peers = importlib.util.find_spec("vectorbt") is not None
    if not with_peers:
        print('vectorbt is not installed: pip install "cryptoquant[vectorbt]"')
    table = []
    for name in names:
        if name == "concurrent":
            table += crowd(quick=quick)
            continue
        with pinned():  # from the first on, for threads that are started here stay where they are
            table += rows(WORKS[name](quick=quick, with_peers=with_peers), quick=quick, memory=memory)
    print("", line(*HEADS), *table, sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("works", nargs="*", metavar="work", help=f"of {', '.join(WORKS)}, concurrent; all by default")
    parser.add_argument("--quick", action="store_true", help="a tenth of the bars")
    parser.add_argument("--memory", action="store_true", help="peak memory of every way")
    parser.add_argument("--alone", metavar="WAY", help="do one way of one work, and print its peak memory")
    parser.add_argument("--kind", metavar="KIND", help="do a hundred backtests of one kind, and print their figures")
    given = parser.parse_args()
    strange = set(given.works) - {*WORKS, "concurrent"}
    if strange:
        parser.error(f"no work {', '.join(sorted(strange))}; there are {', '.join(WORKS)}, concurrent")
    if given.alone:
        print(alone(given.works[0], given.alone, quick=given.quick))
    elif given.kind:
        print(many.run(given.kind, 10_000 if given.quick else 100_000, 2))
    else:
        main(given.works or [*WORKS, "concurrent"], quick=given.quick, memory=given.memory)
