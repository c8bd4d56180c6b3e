"""What speaks for an edge: numbers that count every trial, and the gate that they must pass, which is data."""

import math
import operator
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

RELATIONS = {">=": operator.ge, ">": operator.gt, "<=": operator.le}
# Two trials amount to 1.1 where their returns have a correlation of 0.96.
ALIKE_TRIALS = 1.1
# Below so many days common to all trials nothing is said of the choice among them.
FEWEST_DAYS = 40
OF_THE_CHOICE = ("pbo", "pbo_low", "pbo_high")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The case for a study's out-of-sample result; Sharpe ratios are annual, probabilities lie in 0 to 1.

    Numbers that a study did not compute, or that are not defined, are NaN.

    Attributes
    ----------
    days
        Daily returns behind every number but ``max_drawdown``, which is by bars.
    sharpe_before_costs, sharpe_double_costs, sharpe_triple_costs
        The same decisions traded free, and at twice and three times the fees and slippage.
    sharpe_delayed
        The same decisions traded one bar later.
    sharpe_missing_bars
        The study's decisions on a market in which some bars are missing.
    sharpe_low, sharpe_high, cagr_low, cagr_high
        Stationary-bootstrap intervals, 95 %.
    sharpe_error, autocorrelation
        Standard error of the annual Sharpe ratio with the autocorrelation of daily returns at lag one (2026 variant).
    psr, psr_2026
        Probability that the true Sharpe ratio is above zero, both published variants.
    dsr, dsr_2026
        The same against the best of all study trials by chance; NaN, "not defined", below two trials or 40 common days.
    minimum_track_record_days, minimum_track_record_days_2026
        Days of such returns that would show a Sharpe ratio above zero with 95 % confidence.
    minimum_backtest_years
        Years below which that many trials are expected to find this Sharpe ratio by luck alone.
    pbo, pbo_low, pbo_high
        Probability of backtest overfitting among the study trials, and its own 95 % sampling interval; not defined
        below 40 common days, and for trials that are all alike.
    reality_check, spa, spa_lower, spa_upper
        p-values that the best of the study trials is no better than holding cash.
    false_discovery
        Probability that the edge is none, given that it was observed and that one in ten such strategies has one; not
        adjusted for trials.
    hit_rate_train, hit_rate_test
        Share of predictions on the right side, on training rows and out of sample.
    best_trade_share, best_month_share
        What the best trade, or a position that is still open, and the best month contributed, as shares of the whole
        profit.
    study_trials, effective_trials, tuning_trials
        Configurations whose out-of-sample returns were ever computed, how many independent ones they amount to, and
        trials inside folds (shown, not deflated by).
    common_days
        Days that all study trials have.
    sharpe_train
        Of the parameters that each fold's search chose, by bars on the window that they were searched in; mean of the
        folds.
    """

    days: int
    sharpe: float
    sharpe_before_costs: float
    sharpe_double_costs: float
    sharpe_low: float
    sharpe_high: float
    psr: float
    dsr: float
    minimum_track_record_days: float
    max_drawdown: float
    max_drawdown_low: float
    round_trips: int
    study_trials: int
    tuning_trials: int
    sharpe_triple_costs: float = math.nan
    sharpe_delayed: float = math.nan
    sharpe_missing_bars: float = math.nan
    sharpe_error: float = math.nan
    autocorrelation: float = math.nan
    cagr: float = math.nan
    cagr_low: float = math.nan
    cagr_high: float = math.nan
    psr_2026: float = math.nan
    dsr_2026: float = math.nan
    minimum_track_record_days_2026: float = math.nan
    minimum_backtest_years: float = math.nan
    pbo: float = math.nan
    pbo_low: float = math.nan
    pbo_high: float = math.nan
    reality_check: float = math.nan
    spa: float = math.nan
    spa_lower: float = math.nan
    spa_upper: float = math.nan
    false_discovery: float = math.nan
    hit_rate_train: float = math.nan
    hit_rate_test: float = math.nan
    best_trade_share: float = math.nan
    best_month_share: float = math.nan
    effective_trials: float = math.nan
    common_days: float = math.nan
    sharpe_train: float = math.nan

    @property
    def are_trials_alike(self) -> bool:
        """Whether two or more study trials, on enough common days, amount to hardly more than one."""
        return self.study_trials >= 2 and self.common_days >= FEWEST_DAYS and self.effective_trials < ALIKE_TRIALS

    def to_dict(self) -> dict[str, float | int]:
        """Return the numbers by name."""
        return asdict(self)

    def to_json(self) -> dict[str, float | int | str]:
        """Return the numbers as strict JSON takes them: one that is not finite is a text, ``nan`` or ``inf``."""
        return {name: value if math.isfinite(value) else str(value) for name, value in self.to_dict().items()}

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> "Evidence":
        """Return the evidence of ``to_dict`` or ``to_json``; numbers that an older version did not know are NaN.

        Raises
        ------
        ValueError
            A name is unknown, a number that every version knew is missing, or a value is no number.
        """
        known = {one.name: one.default is MISSING for one in fields(cls)}
        unknown = sorted(set(numbers) - set(known))
        missing = [name for name, is_wanted in known.items() if is_wanted and name not in numbers]
        if unknown or missing:
            texts = [f"has no number {', '.join(unknown)}"] * bool(unknown) + [f"lacks {', '.join(missing)}"] * bool(
                missing
            )
            raise ValueError(f"Evidence {' and '.join(texts)}")
        read: dict[str, Any] = {}
        for name, value in numbers.items():
            try:
                read[name] = float(value) if isinstance(value, str) else value
                float(read[name])
            except (TypeError, ValueError) as error:
                raise ValueError(f"Evidence: {name} must be a number, found {value!r}") from error
        return cls(**read)

    def show(self) -> None:
        """Print the numbers with a word on each."""
        from cryptoquant.performance.figures import show_evidence

        show_evidence(self)


@dataclass(frozen=True, slots=True)
class Criterion:
    """One demand of a gate: a number of the evidence compared with a bound.

    A number that is not defined fails. A demand with ``required=False`` is waived for a study's first trial, which has
    nothing to be deflated by; from the second trial on it counts, so that no odd trial can switch it off. Such a demand
    of the probability of overfitting is waived, too, while all trials are alike: a choice among equals cannot overfit.
    """

    number: str
    relation: Literal[">=", ">", "<="]
    bound: float
    meaning: str
    required: bool = True

    def failure(self, evidence: Evidence) -> str:
        """Return why the evidence fails, or an empty text."""
        value = float(getattr(evidence, self.number))
        if math.isnan(value):
            nothing_chosen = evidence.are_trials_alike and self.number in OF_THE_CHOICE
            is_waived = not self.required and (evidence.study_trials < 2 or nothing_chosen)
            return "" if is_waived else f"{self.meaning}: not defined"
        passed = RELATIONS[self.relation](value, self.bound)
        return "" if passed else f"{self.meaning}: {value:.3g}, wanted {self.relation} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Gate:
    """What evidence must show before a bundle may be promoted."""

    criteria: tuple[Criterion, ...] = field(
        default_factory=lambda: (
            Criterion("psr", ">=", 0.95, "probability of a Sharpe ratio above zero"),
            Criterion("dsr", ">=", 0.95, "the same, deflated by all study trials", required=False),
            Criterion("pbo_low", "<=", 0.5, "probability of backtest overfitting, lower end", required=False),
            Criterion("sharpe_low", ">", 0.0, "lower end of the bootstrap interval of the Sharpe ratio"),
            Criterion("sharpe_double_costs", ">", 0.0, "Sharpe ratio at twice the costs"),
            Criterion("sharpe_delayed", ">", 0.0, "Sharpe ratio one bar later"),
            Criterion("round_trips", ">=", 30, "closed positions"),
            Criterion("days", ">=", 90, "days out of sample"),
        )
    )

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Return the demands as plain values."""
        return {"criteria": [asdict(criterion) for criterion in self.criteria]}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "Gate":
        """Return the gate of ``to_dict``.

        Raises
        ------
        ValueError
            There is no demand, one is of no number of the evidence, its relation is unknown, or a name is missing or
            surplus.
        """
        try:
            surplus = sorted(set(saved) - {"criteria"})
            if surplus or not isinstance(saved["criteria"], list | tuple):
                raise TypeError(f"found {', '.join(surplus) or type(saved['criteria']).__name__}")
            gate = cls(tuple(Criterion(**one) for one in saved["criteria"]))
        except (KeyError, TypeError) as error:
            names = ", ".join(one.name for one in fields(Criterion))
            raise ValueError(f"gate: {error}; wanted criteria, each with {names}") from error
        if not gate.criteria:
            raise ValueError("gate: found no criteria, wanted at least one: a gate that demands nothing lets all pass")
        known = [one.name for one in fields(Evidence)]
        for criterion in gate.criteria:
            if criterion.number not in known:
                raise ValueError(
                    f"gate: evidence has no number {criterion.number!r}; it has {', '.join(sorted(known))}"
                )
            if criterion.relation not in RELATIONS:
                raise ValueError(
                    f"gate: {criterion.number}: relation must be >=, > or <=, found {criterion.relation!r}"
                )
            if type(criterion.required) is not bool:
                raise ValueError(f"gate: {criterion.number}: required must be true or false")
            if type(criterion.bound) not in (int, float) or math.isnan(criterion.bound):
                raise ValueError(f"gate: {criterion.number}: bound must be a number, found {criterion.bound!r}")
        return gate

    @classmethod
    def from_toml(cls, path: str | Path) -> "Gate":
        """Read a gate from a TOML file with a table ``[[criteria]]`` for each demand; errors as for ``from_dict``."""
        try:
            return cls.from_dict(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error

    def check(self, evidence: Evidence) -> tuple[str, ...]:
        """Return what the evidence fails, empty when it passes."""
        return tuple(text for text in (criterion.failure(evidence) for criterion in self.criteria) if text)
