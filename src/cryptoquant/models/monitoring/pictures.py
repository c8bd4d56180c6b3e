"""The pictures of a watch's page: rolling skill, calibration, profit, drift by feature and the line of triggers."""

import math
from collections.abc import Callable, Sequence
from html import escape

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.market.time import iso
from cryptoquant.models.monitoring.monitor import Looked
from cryptoquant.models.monitoring.skill import Skill
from cryptoquant.models.monitoring.trigger import Trigger
from cryptoquant.performance.axes import Scale, Tick, number_ticks, scale_over
from cryptoquant.performance.page_pictures import legend
from cryptoquant.performance.svg import Axes, Mark, picture
from cryptoquant.performance.words import moment, percent

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Drawn = tuple[str, Times, Floats]
COLOURS = ("v1", "v2", "v3", "v4", "v5")
MOST_FEATURES = 5
DAY = 86_400_000_000_000
ROLLED = (("auc", "AUC, a half is no skill", 0.5), ("log_loss", "Log loss, 0.693 is no skill", float(np.log(2.0))))


def rolling_pictures(skill: Skill | None) -> str:
    """Draw AUC and log loss over the last settled predictions, by version."""
    if skill is None or not skill.rolling.height:
        return ""
    drawn = []
    for column, words, level in ROLLED:
        curves = _curves(skill, skill.rolling, "time", column)
        if curves:
            axes = _axes(curves, [level], lambda value: f"{value:.3g}")
            base = axes.level(axes.across.low, axes.across.high, level, "base")
            shapes = [axes.curve(times, values, colour) for colour, times, values in curves]
            plot = picture(axes, [base, *shapes], label=f"Rolling {column} by version", height=190)
            drawn.append(f"<figure><figcaption>{escape(words)}</figcaption>{plot}</figure>")
    keys = _keys(skill)
    return f"<h2>Skill of the last {skill.window:,} settled predictions</h2>{keys}{''.join(drawn)}"


def calibration_picture(skill: Skill | None) -> str:
    """Draw the share of rises against the predicted probability, with Wilson's intervals, by version."""
    if skill is None or not skill.calibration.height:
        return ""
    ticks: tuple[Tick, ...] = tuple((value, f"{value:g}") for value in number_ticks(Scale(0.0, 1.0), 5))
    axes = Axes(Scale(0.0, 1.0), Scale(0.0, 1.0), lambda value: percent(value, 0), ticks)
    ends = np.array([0, 1], dtype=np.int64)
    shapes = [axes.curve(ends, ends.astype(np.float64), "base")]
    for row in skill.calibration.iter_rows(named=True):
        place = _colours(skill)[row[skill.by]]
        across = row["predicted"]
        low, high = ((round(float(across) * 3_000), round((1.0 - row[end]) * 1_000)) for end in _ENDS)
        shapes.append(f'<path class="{place} span" d="M{low[0]} {low[1]}V{high[1]}"/>')
        shapes.append(axes.level(max(across - 0.012, 0.0), min(across + 0.012, 1.0), row["found"], f"{place} span"))
    drawn = picture(axes, shapes, label="Share of rises by predicted probability", height=320)
    words = "Predicted probability across, share of rises upwards, with 95 % intervals; the dashed line is calibrated."
    return f'<h2>Calibration</h2>{_keys(skill)}<p>{escape(words)}</p><div class="square">{drawn}</div>'


_ENDS = ("found_low", "found_high")


def profit_picture(skill: Skill | None) -> str:
    """Draw the cumulative profit of the stated position, by version."""
    if skill is None:
        return ""
    curves = _curves(skill, skill.profit, "known", "cumulative")
    if not curves:
        return ""
    axes = _axes(curves, [0.0], lambda value: percent(value, 1))
    base = axes.level(axes.across.low, axes.across.high, 0.0, "base")
    shapes = [axes.curve(times, values, colour) for colour, times, values in curves]
    drawn = picture(axes, [base, *shapes], label="Cumulative profit by version", height=220)
    return f"<h2>Profit and loss by version, before costs</h2>{_keys(skill)}{drawn}"


def drift_picture(looked: Sequence[Looked]) -> str:
    """Draw each feature's distance in units of its threshold over time; the five farthest are named."""
    watches = dict.fromkeys(one.name for one in looked if one.kind == "drift" and _has_distances(one))
    drawn = "".join(
        _drift(name, [one for one in looked if one.name == name and _has_distances(one)]) for name in watches
    )
    words = "Distance from the reference, in units of the threshold: above 1 is more than chance shows."
    return f"<h2>Drift</h2><p>{escape(words)}</p>{drawn}" if drawn else ""


def _has_distances(one: Looked) -> bool:
    return any(math.isfinite(part.ratio) for part in one.finding.parts)


def _drift(name: str, looked: Sequence[Looked]) -> str:
    times = np.array([one.at for one in looked], dtype=np.int64)
    ratios = [{part.name: part.ratio for part in one.finding.parts} for one in looked]
    parts = list(dict.fromkeys(part for found in ratios for part, ratio in found.items() if math.isfinite(ratio)))
    values = np.array([[found.get(part, math.nan) for part in parts] for found in ratios])
    order = np.argsort(-np.nanmax(values, axis=0), kind="stable")[:MOST_FEATURES]
    across = _span(times)
    axes = Axes(across, Scale(0.0, max(1.3, float(np.nanmax(values)) * 1.08)), lambda value: f"{value:.3g}")
    bound = axes.level(across.low, across.high, 1.0, "bound")
    shapes = [
        axes.curve(times, values[:, column], colour) for column, colour in zip(order.tolist(), COLOURS, strict=False)
    ]
    keys = [(colour, parts[column]) for column, colour in zip(order.tolist(), COLOURS, strict=False)]
    plot = picture(axes, [*reversed(shapes), bound], label=f"Drift of {name}", height=220)
    more = f", the farthest {len(keys)} of {len(parts)}" if len(parts) > len(keys) else ""
    caption = f"<figcaption>{escape(name)}<small>{escape(more)}</small></figcaption>"
    return f"<figure>{caption}{legend([*keys, ('bound', 'threshold')])}{plot}</figure>"


def trigger_picture(triggers: Sequence[Trigger], looked: Sequence[Looked], now: int) -> str:
    """Draw when which kind of trigger was given."""
    if not triggers:
        return ""
    times = np.array([*(one.at for one in triggers), *(one.at for one in looked), now], dtype=np.int64)
    kinds = [kind for kind in ("drift", "decay", "schedule") if any(one.kind == kind for one in triggers)]
    names = dict(enumerate(reversed(kinds)))
    places = {kind: float(place) for place, kind in names.items()}
    up = Scale(-0.7, len(kinds) - 0.3)
    axes = Axes(_span(times), up, lambda value: names.get(round(value), "") if value == round(value) else "")
    lines = [axes.level(axes.across.low, axes.across.high, place, "base") for place in places.values()]
    signs = [
        axes.sign(Mark(one.at, places[one.kind], one.kind, f"{moment(iso(one.at))} {one.name}: {one.detail}"))
        for one in triggers
    ]
    drawn = picture(axes, lines, signs, label="Triggers over time", height=60 + 40 * len(kinds))
    return f"<h2>Triggers</h2>{drawn}"


def _curves(skill: Skill, frame: pl.DataFrame, when: str, column: str) -> list[Drawn]:
    found = []
    for name, colour in _colours(skill).items():
        rows = frame.filter(pl.col(skill.by) == name).drop_nulls([when, column]).filter(pl.col(column).is_finite())
        if rows.height:
            found.append((colour, rows[when].dt.epoch("ns").to_numpy(), rows[column].to_numpy()))
    return found


def _axes(curves: list[Drawn], levels: list[float], write: Callable[[float], str]) -> Axes:
    values = np.concatenate([*(curve[2] for curve in curves), np.array(levels)])
    times = np.concatenate([curve[1] for curve in curves])
    return Axes(_span(times), scale_over(float(values.min()), float(values.max())), write)


def _span(times: Times) -> Scale:
    first, last = float(times.min()), float(times.max())
    return Scale(first, last) if last > first else Scale(first - DAY, first + DAY)


def _colours(skill: Skill) -> dict[str, str]:
    names = skill.table[skill.by].to_list()
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}


def _keys(skill: Skill) -> str:
    return legend([(colour, name) for name, colour in _colours(skill).items()])
