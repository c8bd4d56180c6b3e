"""How fast the simulator is: the works of the field notes by ours and by vectorbt (and backtesting.py), in one run.

Run with ``python benchmarks/simulator.py [A] [A+] [B] [C] [D] [event] [many] [--quick] [--memory]``; without names all.
``--quick`` takes a tenth of the bars, ``--memory`` also asks every way for its peak memory, peers included.

Each way runs on one core unless it says otherwise, warm, in turn with the others; seconds are medians. Compare the
ratios: the seconds depend on the machine and on what else it does. A peak is that of a fresh process that builds the
data and does the work once. vectorbt's Rust engine takes part where it is installed (``vectorbt-rust``).
"""

import argparse
import importlib.util
import json
import math
from collections.abc import Mapping, Sequence

from works import bracket, cross, events, grid, many, universe
from works.measure import Outcome, Timing, Way, Work, agrees, in_a_process, once, peak, peak_of_children, timings

WORKS = {
    "A": cross.targets,
    "A+": cross.signals,
    "B": grid.work,
    "C": universe.work,
    "D": bracket.work,
    "event": events.work,
}
PEERS = ("numba", "rust", "backtesting")
HEADS = ("work", "way", "seconds", "best", "runs", "ns/bar", "times as fast as", "wanted", "peak MB", "same as")
WIDTHS = (6, 32, 9, 9, 4, 9, 34, 17, 8, 0)


def line(*cells: str) -> str:
    return " ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def ratios(timing: Timing, all_timings: Sequence[Timing]) -> dict[str, float]:
    """Return how many times faster a way is than the fastest way of each peer."""
    found: dict[str, float] = {}
    for engine in PEERS:
        seconds = [other.median for other in all_timings if other.way.is_peer and engine in other.way.name]
        if seconds:
            found[engine] = min(seconds) / timing.median
    return found


def wanted(way: Way, seconds: float, times: dict[str, float], megabytes: float) -> str:
    """Return the targets of a way, and whether they are met."""
    checks = []
    if not math.isnan(way.target):
        checks.append((f"{way.target:.0f}x", times.get("numba", math.nan) >= way.target))
    if way.limit < math.inf:
        checks.append((f"{way.limit:.3g}s", seconds <= way.limit))
    if way.megabytes < math.inf:
        checks.append((f"{way.megabytes:.0f}MB", megabytes <= way.megabytes))
    return " ".join(f"{text}{'+' if is_met else '-'}" for text, is_met in checks)


def same(timing: Timing, all_timings: Sequence[Timing], reference: Mapping[str, Outcome]) -> str:
    """Return with whom a way agrees, of those that follow the same rules."""
    rules = timing.way.rules
    others = {other.way.name: other.outcome for other in all_timings if other.way.rules == rules and rules}
    others.pop(timing.way.name, None)
    if rules in reference:
        others["reference"] = reference[rules]
    said = [f"{'' if agrees(timing.outcome, found) else 'NOT '}{name}" for name, found in others.items()]
    return ", ".join(said)


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
                f"{timing.best:.4f}",
                str(timing.runs),
                f"{1e9 * timing.median / work.bars:.1f}",
                ", ".join(f"{engine} {ratio:.2f}" for engine, ratio in times.items()),
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
        found = json.loads(in_a_process(__file__, "--many", kind, *(["--quick"] if quick else [])))
        seconds, bars = found["seconds"], found["bars"] * many.ALL
        for count, (own, worker) in found["peaks"].items():
            print(f"many: {kind}, {count} runs: peak {own:.0f} MB, largest worker {worker:.0f} MB", flush=True)
        verdict = f"{limit:.3g}s{'+' if seconds <= limit else '-'}"
        own, worker = found["peaks"][str(many.ALL)]
        cells = (f"{seconds:.4f}", "", "1", f"{1e9 * seconds / bars:.1f}", "", verdict, f"{max(own, worker):.0f}", "")
        lines.append(line("many", f"{kind}, two cores", *cells))
    return lines


def main(names: Sequence[str], *, quick: bool, memory: bool) -> None:
    """Run works and print one table."""
    with_peers = importlib.util.find_spec("vectorbt") is not None
    if not with_peers:
        print('vectorbt is not installed: pip install "cryptoquant[vectorbt]"')
    table = []
    for name in names:
        if name == "many":
            table += crowd(quick=quick)
        else:
            table += rows(WORKS[name](quick=quick, with_peers=with_peers), quick=quick, memory=memory)
    print("", line(*HEADS), *table, sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("works", nargs="*", metavar="work", help=f"of {', '.join(WORKS)}, many; all by default")
    parser.add_argument("--quick", action="store_true", help="a tenth of the bars")
    parser.add_argument("--memory", action="store_true", help="peak memory of every way")
    parser.add_argument("--alone", metavar="WAY", help="do one way of one work, and print its peak memory")
    parser.add_argument("--many", metavar="KIND", help="do a hundred backtests of one kind, and print their figures")
    given = parser.parse_args()
    strange = set(given.works) - {*WORKS, "many"}
    if strange:
        parser.error(f"no work {', '.join(sorted(strange))}; there are {', '.join(WORKS)}, many")
    if given.alone:
        print(alone(given.works[0], given.alone, quick=given.quick))
    elif given.many:
        print(many.run(given.many, 10_000 if given.quick else 100_000, 2))
    else:
        main(given.works or [*WORKS, "many"], quick=given.quick, memory=given.memory)
