"""The watch over a deployed model as one page: whether to worry, what was found, and when; no script, no network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
import polars as pl

from cryptoquant.market.time import iso
from cryptoquant.models.monitoring.duel import Difference, Duel
from cryptoquant.models.monitoring.monitor import Looked
from cryptoquant.models.monitoring.pictures import (
    calibration_picture,
    drift_picture,
    profit_picture,
    rolling_pictures,
    trigger_picture,
)
from cryptoquant.models.monitoring.skill import Skill
from cryptoquant.models.monitoring.trigger import Trigger
from cryptoquant.performance.page import POLICY
from cryptoquant.performance.page_style import STYLE
from cryptoquant.performance.page_tables import table
from cryptoquant.performance.words import moment, number, percent, probability

KINDS = {"drift": "the market has changed", "decay": "the skill has changed", "schedule": "it is time to train again"}
MORE = """
.plot .v1{stroke:#0072b2}.plot .v2{stroke:#c2500a}.plot .v3{stroke:#00795b}.plot .v4{stroke:#8f4a9e}
.plot .v5{stroke:#8d959e}.plot .bound{stroke:var(--bad);stroke-dasharray:5 4}.plot .span{stroke-width:2.4}
.v1.dot{fill:#0072b2}.v2.dot{fill:#c2500a}.v3.dot{fill:#00795b}.v4.dot{fill:#8f4a9e}.v5.dot{fill:#8d959e}
.swatch.v1{background:#0072b2}.swatch.v2{background:#c2500a}.swatch.v3{background:#00795b}.swatch.v4{background:#8f4a9e}
.swatch.bound{background:var(--bad)}.drift{fill:#c2500a}.decay{fill:#8f4a9e}.schedule{fill:#8d959e}
.square{max-width:520px}
"""
SIGNS = (
    '<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>'
    + "".join(f'<circle id="{kind}" r="5"/>' for kind in ("drift", "decay", "schedule"))
    + "</defs></svg>"
)


@dataclass(frozen=True, slots=True)
class Watched:
    """What the page of a deployed model tells.

    Attributes
    ----------
    name, now
        Of the model, and when this was known, nanoseconds UTC.
    skill
        Of its versions; None before the first prediction.
    aliases
        Who holds which alias, as ``Registry.aliases`` says.
    looked, triggers
        Of the monitor.
    duel
        Champion against challenger, if both predicted.
    trained
        When the model was trained: a watch that tells an alarm but once counts as alarmed from then on.
    """

    name: str
    now: int
    skill: Skill | None = None
    aliases: Mapping[str, int] = field(default_factory=dict)
    looked: tuple[Looked, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    duel: Duel | None = None
    trained: int = 0

    def to_html(self, path: str | Path) -> Path:
        """Write one self-contained page and return its path."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page_text(self), encoding="utf-8", newline="\n")
        return target


def page_text(watched: Watched) -> str:
    """Return the page as text; the same for the same facts."""
    sections = [
        _versions(watched),
        rolling_pictures(watched.skill),
        calibration_picture(watched.skill),
        profit_picture(watched.skill),
        drift_picture(watched.looked),
        _watches(watched),
        trigger_picture(watched.triggers, watched.looked, watched.now),
        _triggers(watched),
        _duel(watched.duel),
    ]
    body = "\n".join(f"<section>{section}</section>" for section in sections if section)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(watched.name)}: watch</title><style>{STYLE}{MORE}</style></head>\n<body>{SIGNS}<main>"
        f"{_head(watched)}\n{body}\n{_foot()}</main></body></html>\n"
    )


def verdict(watched: Watched) -> tuple[str, str, list[str]]:
    """Return the tone, the headline and the reasons: what the last look of each watch says."""
    last = _last(watched.looked)
    told = [one for one in watched.looked if one.at >= watched.trained and not one.finding.parts]
    alarms = _last(tuple(one for one in (*last, *told) if one.finding.is_alarm))
    due = [one for one in watched.triggers[-1:] if one.kind == "schedule"]
    reasons = [f"{one.name}: {KINDS[one.kind]} ({one.finding.detail})" for one in alarms]
    if alarms:
        return "failed", "Do not trust this model without a look: its watches alarm.", reasons
    if not last:
        return "", "Nothing can be said yet: no watch has seen enough.", _pending(watched)
    headline = "Nothing that chance would not show."
    if due:
        return "", f"{headline} The model is due for training.", [due[0].detail]
    return "passed", headline, [f"{len(last)} watches looked, the last at {moment(iso(max(x.at for x in last)))}"]


def _pending(watched: Watched) -> list[str]:
    if watched.skill is None:
        return ["no prediction has been journalled"]
    return [f"{int(watched.skill.table['pending'].sum())} predictions wait for their outcome"]


def _last(looked: tuple[Looked, ...]) -> list[Looked]:
    return list({one.name: one for one in sorted(looked, key=lambda one: one.at)}.values())


def _head(watched: Watched) -> str:
    tone, headline, reasons = verdict(watched)
    listed = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    return (
        f"<header><h1>{escape(watched.name)}</h1><p>As of {escape(moment(iso(watched.now)))} UTC</p>"
        f'<div class="verdict {tone}"><strong>{escape(headline)}</strong><ul>{listed}</ul></div></header>'
    )


def _versions(watched: Watched) -> str:
    held: dict[str, list[str]] = {}
    for alias, version in watched.aliases.items():
        held.setdefault(f"{watched.name}@{version}", []).append(alias)
    rows = []
    known = [] if watched.skill is None else list(watched.skill.table.iter_rows(named=True))
    for row in known:
        name = str(row[watched.skill.by]) if watched.skill is not None else ""
        rows.append(
            (
                name,
                ", ".join(held.pop(name, [])),
                f"{row['predictions']:,}",
                f"{row['pending']:,}",
                number(row["auc"], 3),
                number(row["log_loss"], 4),
                number(row["brier"], 4),
                percent(row["hit_rate"], 1),
                percent(row["pnl"], 2, signed=True),
            )
        )
    rows += [(name, ", ".join(aliases), "0", "0", "", "", "", "", "") for name, aliases in held.items()]
    heads = ("Version", "Holds", "Predictions", "Pending", "AUC", "Log loss", "Brier", "Right", "P&L before costs")
    return "<h2>Versions</h2>" + table(heads, rows, text=2) if rows else ""


def _watches(watched: Watched) -> str:
    rows = [
        (
            one.name,
            one.kind,
            moment(iso(one.at)),
            "alarm" if one.finding.is_alarm else "quiet",
            one.finding.detail,
            number(one.finding.value, 3),
            number(one.finding.threshold, 3),
        )
        for one in _last(watched.looked)
    ]
    heads = ("Watch", "Of", "Last look", "Says", "In words", "Value", "Threshold")
    return "<h2>Watches</h2>" + table(heads, rows, text=5) if rows else ""


def _triggers(watched: Watched) -> str:
    rows = [(moment(iso(one.at)), one.kind, one.name, one.detail, *_bounds(one)) for one in reversed(watched.triggers)]
    return table(("When", "Kind", "Watch", "In words", "Value", "Threshold"), rows, text=4) if rows else ""


def _bounds(one: Trigger) -> tuple[str, str]:
    return ("", "") if one.kind == "schedule" else (number(one.value, 3), number(one.threshold, 3))


def _duel(found: Duel | None) -> str:
    if found is None:
        return ""
    rows = [
        _difference("P&L at a moment, bps", found.pnl, 1e4, 1),
        _difference("Log loss", found.log_loss, 1.0, 4),
    ]
    words = (
        f"{found.challenger} less {found.champion} over {found.periods:,} common moments from "
        f"{moment(iso(found.start))} to {moment(iso(found.end))}. {_outcome(found)}"
    )
    heads = ("Difference", "Mean", "95 % interval", "p")
    return f"<h2>Champion against challenger</h2><p>{escape(words)}</p>" + table(heads, rows)


def _difference(name: str, one: Difference, scale: float, digits: int) -> tuple[str, str, str, str]:
    if np.isnan(one.p_value):
        return name, number(scale * one.mean, digits), "too few periods", ""
    ends = f"{number(scale * one.low, digits)} to {number(scale * one.high, digits)}"
    return name, number(scale * one.mean, digits), ends, probability(one.p_value)


def _outcome(found: Duel) -> str:
    if np.isnan(found.pnl.p_value):
        return "Too few to tell them apart."
    if found.pnl.low > 0.0:
        return "The challenger earned more than chance would explain."
    if found.pnl.high < 0.0:
        return "The champion earned more than chance would explain."
    return "Their earnings cannot be told apart."


def _foot() -> str:
    words = (
        "Thresholds come from the model's own reference: a check of a market that has not changed alarms with the "
        "stated rate, each time it looks. Profit is before costs, of one position up, down or none at each prediction. "
        "Times are UTC."
    )
    return f"<footer>{escape(words)}</footer>"


def frame_of(looked: tuple[Looked, ...]) -> pl.DataFrame:
    """Return all numbers that watches found, columns at, watch, part, value, threshold, is_alarm."""
    rows = [
        (one.at, one.name, part.name, part.value, part.threshold, one.finding.is_alarm)
        for one in looked
        for part in one.finding.parts
    ]
    names = {"at": pl.Int64, "watch": pl.String, "part": pl.String, "value": pl.Float64, "threshold": pl.Float64}
    return pl.DataFrame(rows, schema={**names, "is_alarm": pl.Boolean}, orient="row")
