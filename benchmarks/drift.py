"""How often the watches over a deployed model alarm for nothing, how soon they see a shift, and what a look costs.

Run with ``python benchmarks/drift.py [repeats]``. Streams are stationary autoregressions with memory; a shift adds 0.5,
1 or 2 deviations to one of ten features. Rates come with Wilson's 95 % interval; ADWIN is river's, on independent
values. Delays are medians in rows, of the shifts that were found.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from scipy.signal import lfilter

from cryptoquant.models.monitoring.calibration_decay import CalibrationDecay
from cryptoquant.models.monitoring.divergence import Divergence
from cryptoquant.models.monitoring.drift import Adwin, FeatureDrift
from cryptoquant.models.monitoring.monitor import Rolling
from cryptoquant.models.monitoring.skill import wilson

COLUMNS, WINDOW, REFERENCE = 10, 240, 4_800
LOOKS = 10


def stream(seed: int, rows: int, rho: float, columns: int = COLUMNS) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((rows + 400, columns)) * np.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], noise, axis=0)[400:]


def rate(name: str, alarms: int, checks: int) -> None:
    low, high = wilson(alarms, checks)
    print(f"{name:<44} {alarms:>4} of {checks:<5} {alarms / checks:7.2%}   [{low:6.2%}, {high:6.2%}]")


def cost(name: str, work: Callable[[], object], rounds: int = 200) -> None:
    spent = []
    for _ in range(rounds):
        started = time.thread_time_ns()
        work()
        spent.append(time.thread_time_ns() - started)
    print(f"{name:<44} {statistics.median(spent) / 1_000:10.1f} us")


def features(repeats: int) -> None:
    for rho in (0.0, 0.8, 0.95):
        alarms = 0
        delays: dict[float, list[int]] = {0.5: [], 1.0: [], 2.0: []}
        for seed in range(repeats):
            rows = stream(seed, REFERENCE + WINDOW * (1 + 2 * LOOKS), rho)
            fitted = FeatureDrift.fit(rows[:REFERENCE], window=WINDOW, seed=seed)
            for look in range(LOOKS):
                start = REFERENCE + WINDOW * (1 + 2 * look)
                alarms += fitted.judge(rows[start : start + WINDOW]).is_alarm
            for shift, found in delays.items():
                delay = delay_of(Rolling(fitted), rows[REFERENCE : REFERENCE + 5 * WINDOW], shift)
                if delay is not None:
                    found.append(delay)
        rate(f"features, memory rho {rho}", alarms, repeats * LOOKS)
        for shift, found in delays.items():
            middle = f"{statistics.median(found):.0f} rows" if found else "-"
            print(f"  shift of {shift} deviations: {len(found)} of {repeats} found, delay {middle}")


def delay_of(check: Rolling | Adwin, rows: np.ndarray, shift: float) -> int | None:
    """Return after how many rows of a shift, which begins behind one window, a check alarms; None within the rows."""
    moved = rows.copy()
    if moved.ndim == 1:
        moved[WINDOW:] += shift
    else:
        moved[WINDOW:, 3] += shift
    for place in range(0, len(rows), 10):
        check.update(moved[place : place + 10])
        found = check.look()
        if found is not None and found.is_alarm:
            return place + 10 - WINDOW if place >= WINDOW else None
    return None


def adwin(repeats: int) -> None:
    alarms = 0
    delays: dict[float, list[int]] = {0.5: [], 1.0: [], 2.0: []}
    for seed in range(repeats):
        values = stream(seed, 2_000, 0.0, 1)[:, 0]
        watch = Adwin(-4.0, 4.0)
        watch.update(values)
        found = watch.look()
        alarms += found is not None and found.is_alarm
        for shift, made in delays.items():
            delay = delay_of(Adwin(-4.0, 4.0), values[: 5 * WINDOW], shift)
            if delay is not None:
                made.append(delay)
    rate("ADWIN, one stream of 2,000 values", alarms, repeats)
    for shift, made in delays.items():
        middle = f"{statistics.median(made):.0f} values" if made else "-"
        print(f"  shift of {shift} deviations: {len(made)} of {repeats} found, delay {middle}")


def outcomes(repeats: int) -> None:
    from scipy.special import ndtr

    for overlap in (1, 12):
        alarms = {"as it was": 0, "skill lost": 0}
        for seed in range(repeats):
            rng = np.random.default_rng(seed)
            count = REFERENCE + WINDOW * LOOKS * 2
            latent = 0.6 * rng.standard_normal(count)
            noise = np.convolve(rng.standard_normal(count + overlap - 1), np.ones(overlap) / overlap**0.5, "valid")
            chances = ndtr(latent)
            fitted = CalibrationDecay.fit(
                chances[:REFERENCE], (latent + noise > 0)[:REFERENCE].astype(float), window=WINDOW, seed=seed
            )
            for name, slope in (("as it was", 1.0), ("skill lost", 0.0)):
                rows = np.column_stack([chances, slope * latent + noise > 0])[REFERENCE:]
                for look in range(LOOKS):
                    start = 2 * look * WINDOW + WINDOW
                    alarms[name] += fitted.judge(rows[start : start + WINDOW]).is_alarm
        for name, found in alarms.items():
            rate(f"calibration {name}, labels over {overlap} rows", found, repeats * LOOKS)


def returns(repeats: int) -> None:
    for name, mean, spread in (
        ("as they were", 0.1, 1.0),
        ("mean -0.5 deviations", -0.4, 1.0),
        ("spread x2", 0.1, 2.0),
    ):
        alarms = 0
        for seed in range(5 * repeats):
            rng = np.random.default_rng(seed)
            backtest = 0.1 + rng.standard_normal(365)
            alarms += Divergence(backtest, 30).judge(mean + spread * rng.standard_normal(30)).is_alarm
        rate(f"30 days of returns, {name}", alarms, 5 * repeats)


def costs() -> None:
    rows = stream(1, REFERENCE, 0.8, 40)
    started = time.thread_time()
    fitted = FeatureDrift.fit(rows, window=WINDOW)
    print(f"{'fit, 40 features, 4,800 rows':<44} {time.thread_time() - started:10.2f} s")
    cost("check of 40 features, 240 rows", lambda: fitted.judge(rows[-WINDOW:]))
    rolling, one, watch = Rolling(fitted), rows[:1], Adwin(-4.0, 4.0)
    cost("update of the window by one row", lambda: rolling.update(one))
    cost("ADWIN, update by one value", lambda: watch.update(one[:, 0]), 2_000)


def main(repeats: int = 40) -> None:
    print("False alarms, stated 1 % a check (ADWIN: delta 0.002)")
    features(repeats)
    adwin(5 * repeats)
    outcomes(repeats)
    returns(repeats)
    print("Costs, processor time")
    costs()


if __name__ == "__main__":
    main(*(int(number) for number in sys.argv[1:]))
