"""The quality of features in pictures: rank IC, returns by fifth, months, correlations and decay, by plotly."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cryptoquant.features.quality_pairs import QUANTILES
from cryptoquant.features.quality_tables import bps, by_strength
from cryptoquant.market.slice import Floats

if TYPE_CHECKING:
    from cryptoquant.features.quality import FeatureQuality

INKS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
GREY, FAINT, TEXT = "#8D959E", "#D9DDE2", "#2B3138"
DIVERGING = ((0.0, "#0072B2"), (0.25, "#7FB8D8"), (0.5, "#FFFFFF"), (0.75, "#EAAE7F"), (1.0, "#D55E00"))
MARKS = ("circle", "diamond", "square", "triangle-up", "x", "cross")
MOST_CURVES = 8
ROW_PIXELS, LEAST_PIXELS, EDGE_PIXELS, GAP_PIXELS = 24, 220, 240, 150
WIDEST_NAME = 24
MOST_WRITTEN = 4
BLOCK_GAP = 0.4


def figure_of(quality: "FeatureQuality") -> Any:
    """Return the figure: five panels, the features in the first three by strength from above."""
    from plotly.subplots import make_subplots

    names = by_strength(quality.frame)["feature"].unique(maintain_order=True).to_list()
    heights = _heights(len(names))
    total = sum(heights) + 2 * GAP_PIXELS + EDGE_PIXELS
    figure = make_subplots(
        rows=3,
        cols=2,
        specs=[[{}, {}], [{"colspan": 2}, None], [{}, {}]],
        row_heights=heights,
        column_widths=[0.48, 0.52],
        vertical_spacing=GAP_PIXELS / (total - EDGE_PIXELS),
        horizontal_spacing=0.07,
        subplot_titles=(
            "Rank IC with 95 % interval, by horizon in bars",
            "Mean log return by fifth of the feature, bps",
            "Rank IC by month, at each feature's strongest horizon",
            "Spearman correlation between features, clusters framed",
            "Decay: rank IC by horizon in bars",
        ),
    )
    _draw_ics(figure, quality.frame, names)
    _draw_fifths(figure, quality.frame, names)
    _draw_months(figure, quality, names)
    _draw_correlations(figure, quality)
    _draw_decay(figure, quality.decay, names)
    return _dressed(figure, quality, total)


def _heights(count: int) -> list[float]:
    rows = max(LEAST_PIXELS, ROW_PIXELS * count)
    return [float(rows), float(rows), float(max(380, min(rows, 900)))]


def _short(name: str) -> str:
    return name if len(name) <= WIDEST_NAME else f"{name[: WIDEST_NAME - 1]}…"


def _draw_ics(figure: Any, frame: pl.DataFrame, names: list[str]) -> None:
    """Draw a mark with its interval for each pair; hollow where it is not significant."""
    horizons = frame["horizon"].unique().sort().to_list()
    for place, horizon in enumerate(horizons):
        rows = {row["feature"]: row for row in frame.filter(pl.col("horizon") == horizon).iter_rows(named=True)}
        ordered = [rows[name] for name in names]
        shift = 0.6 * ((place + 0.5) / len(horizons) - 0.5)
        ics = np.array([row["rank_ic"] for row in ordered])
        ink = INKS[place % len(INKS)]
        signs = ["" if row["significant"] else "-open" for row in ordered]
        figure.add_scatter(
            x=ics,
            y=np.arange(len(names)) + shift,
            error_x={
                "type": "data",
                "symmetric": False,
                "array": np.array([row["rank_ic_high"] for row in ordered]) - ics,
                "arrayminus": ics - np.array([row["rank_ic_low"] for row in ordered]),
                "thickness": 1.3,
                "width": 0,
            },
            mode="markers",
            name=f"{horizon} bar{'s' * (horizon != 1)}",
            marker={"color": ink, "size": 7, "symbol": [MARKS[place % len(MARKS)] + sign for sign in signs]},
            text=[f"{row['feature']}, q {row['q_value']:.3g}" for row in ordered],
            hovertemplate="%{text}<br>rank IC %{x:.3f}<extra>%{fullData.name}</extra>",
            row=1,
            col=1,
        )
    figure.add_vline(x=0.0, line={"color": TEXT, "width": 1}, row=1, col=1)
    figure.update_xaxes(tickformat="+.2f", title_text="rank IC (filled: significant among all pairs)", row=1, col=1)
    _name_rows(figure, [_short(name) for name in names], 1, 1)


def _name_rows(figure: Any, labels: list[str], row: int, col: int) -> None:
    """Write a label at each whole number, the first on top."""
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(labels))),
        ticktext=labels,
        range=[len(labels) - 0.5, -0.5],
        ticklabelstandoff=4,
        showgrid=False,
        zeroline=False,
        row=row,
        col=col,
    )


def _draw_fifths(figure: Any, frame: pl.DataFrame, names: list[str]) -> None:
    """Draw the mean returns as a map, a block of fifths for each horizon, coloured by what is usual at the horizon."""
    horizons = frame["horizon"].unique().sort().to_list()
    fifths = [f"quantile_{place}" for place in range(1, QUANTILES + 1)]
    texts: list[list[str]] = [[] for _ in names]
    colours, edges = [], [0.0]
    for horizon in horizons:
        rows = {row["feature"]: row for row in frame.filter(pl.col("horizon") == horizon).iter_rows(named=True)}
        block = np.array([[rows[name][fifth] for fifth in fifths] for name in names])
        gap = np.full((len(names), 1), np.nan)
        colours += [block / (_largest(block) or 1.0), gap]
        for own, row in zip(texts, block.tolist(), strict=True):
            own += [*(bps(value) for value in row), ""]
        edges += [edges[-1] + step for step in (1.0, 2.0, 3.0, 4.0, 5.0, 5.0 + BLOCK_GAP)]
    _add_map(figure, np.hstack(colours), edges, list(range(len(names))), (1, 2))
    figure.update_traces(
        selector={"name": _map_name(1, 2)},
        text=texts,
        texttemplate="%{text}" if len(horizons) <= MOST_WRITTEN else "",
        textfont={"size": 10},
        hovertemplate="%{text} bps<extra></extra>",
    )
    width = QUANTILES + BLOCK_GAP
    figure.update_xaxes(
        tickvals=[place * width + QUANTILES / 2 for place in range(len(horizons))],
        ticktext=[f"Q1 to Q5<br>{horizon} bar{'s' * (horizon != 1)}" for horizon in horizons],
        range=[0.0, len(horizons) * width - BLOCK_GAP],
        showgrid=False,
        zeroline=False,
        row=1,
        col=2,
    )
    _name_rows(figure, [""] * len(names), 1, 2)


def _largest(values: Floats) -> float:
    found = np.abs(values[np.isfinite(values)])
    return float(found.max()) if len(found) else 0.0


def _map_name(row: int, col: int) -> str:
    return f"map {row} {col}"


def _add_map(figure: Any, values: Floats, across: Any, down: Any, at: tuple[int, int], most: float = 1.0) -> None:
    figure.add_heatmap(
        z=[[None if math.isnan(value) else value for value in row] for row in values.tolist()],
        x=across,
        y=down,
        zmin=-most,
        zmax=most,
        colorscale=DIVERGING,
        showscale=False,
        xgap=1,
        ygap=1,
        name=_map_name(*at),
        row=at[0],
        col=at[1],
    )


def _draw_months(figure: Any, quality: "FeatureQuality", names: list[str]) -> None:
    """Draw the rank IC of each month for the horizon at which each feature is the strongest."""
    best = dict(quality.clusters.select("feature", "horizon").iter_rows())
    ics = {(name, horizon, month): ic for name, horizon, month, ic, _ in quality.months.iter_rows()}
    months = quality.months["month"].unique().sort().to_list()
    values = np.array([[ics.get((name, best[name], month), math.nan) for month in months] for name in names])
    values = values.reshape(len(names), len(months))
    most = float(np.quantile(np.abs(values[np.isfinite(values)]), 0.98)) if np.isfinite(values).any() else 1.0
    _add_map(figure, values, months, list(range(len(names))), (2, 1), most or 1.0)
    figure.update_traces(
        selector={"name": _map_name(2, 1)},
        showscale=True,
        colorbar={
            "len": 0.2,
            "thickness": 12,
            "title": {"text": "rank IC"},
            "tickformat": "+.2f",
            "x": 1.01,
            "y": _middle(figure, "yaxis3"),
        },
        hovertemplate="%{x}: rank IC %{z:.3f}<extra></extra>",
    )
    figure.update_xaxes(type="category", nticks=24, showgrid=False, tickangle=-45, row=2, col=1)
    _name_rows(figure, [f"{_short(name)} · {best[name]}" for name in names], 2, 1)


def _middle(figure: Any, axis: str) -> float:
    low, high = figure.layout[axis].domain
    return float(low + high) / 2


def _draw_correlations(figure: Any, quality: "FeatureQuality") -> None:
    names = quality.correlations["feature"].to_list()
    values = quality.correlations.select(names).to_numpy()
    spots = list(range(len(names)))
    _add_map(figure, values, spots, spots, (3, 1))
    figure.update_traces(
        selector={"name": _map_name(3, 1)},
        text=[[f"{one}, {other}" for other in names] for one in names],
        texttemplate="",
        hovertemplate="%{text}: %{z:.2f}<extra></extra>",
    )
    for _, members in quality.clusters.with_row_index().group_by("cluster", maintain_order=True):
        low, high = members["index"].min() - 0.5, members["index"].max() + 0.5  # type: ignore[operator]
        if members.height > 1:
            line = {"color": TEXT, "width": 2}
            figure.add_shape(type="rect", x0=low, x1=high, y0=low, y1=high, line=line, row=3, col=1)
    _name_rows(figure, [_short(name) for name in names], 3, 1)
    figure.update_xaxes(
        tickvals=spots, ticktext=[_short(name) for name in names], tickangle=-60, showgrid=False, row=3, col=1
    )


def _draw_decay(figure: Any, decay: pl.DataFrame, names: list[str]) -> None:
    """Draw the strongest features in colours with their names at the end, the others in grey behind."""
    for place in reversed(range(len(names))):
        rows = decay.filter(pl.col("feature") == names[place]).sort("horizon")
        is_strong = place < MOST_CURVES
        figure.add_scatter(
            x=rows["horizon"].to_list(),
            y=rows["rank_ic"].to_list(),
            mode="lines+markers" if is_strong else "lines",
            name=names[place],
            legend="legend2",
            legendrank=place,
            showlegend=is_strong,
            line={"color": INKS[place] if is_strong else FAINT, "width": 2 if is_strong else 1},
            marker={"size": 6, "symbol": MARKS[place % len(MARKS)]},
            hovertemplate="%{x} bars: rank IC %{y:.3f}<extra>%{fullData.name}</extra>",
            row=3,
            col=2,
        )
    horizons = decay["horizon"].unique().sort().to_list()
    figure.add_hline(y=0.0, line={"color": TEXT, "width": 1}, row=3, col=2)
    figure.update_xaxes(
        type="log", tickvals=horizons, ticktext=[str(horizon) for horizon in horizons], title_text="bars ahead (log)",
        row=3, col=2,
    )  # fmt: skip
    figure.update_yaxes(tickformat="+.2f", title_text="rank IC", zeroline=False, row=3, col=2)


def _dressed(figure: Any, quality: "FeatureQuality", height: float) -> Any:
    """Set titles over the left ends of the panels, with a line for a legend between, and the rest of the layout."""
    panels = ("", "2", "3", "4", "5")
    for title, panel in zip(list(figure.layout.annotations), panels, strict=True):
        left, top = figure.layout[f"xaxis{panel}"].domain[0], figure.layout[f"yaxis{panel}"].domain[1]
        title.update(x=left, xanchor="left", y=top, yshift=22, font={"size": 15, "color": TEXT})
    side_by_side = {"orientation": "h", "xanchor": "left", "yanchor": "bottom", "font": {"size": 12}}
    figure.update_layout(
        title={"text": f"Feature quality<br><sup>{quality.sample}. {quality.verdict}</sup>", "x": 0.01},
        template="plotly_white",
        height=height,
        font={"color": TEXT, "size": 12},
        margin={"l": 190, "r": 190, "t": 120, "b": 120},
        legend={**side_by_side, "x": -0.005, "y": 1.0},
        legend2={
            "x": 1.01,
            "y": figure.layout.yaxis5.domain[1],
            "yanchor": "top",
            "title": {"text": "strongest first"},
        },
        hovermode="closest",
    )
    return figure
