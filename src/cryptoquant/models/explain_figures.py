"""Explanations in pictures, by plotly: importance, contributions and dependence."""

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from cryptoquant.models.explain import Importance, PartialDependence, ShapValues

INK, BAND, TEXT = "#0072B2", "rgba(0,114,178,0.18)", "#2B3138"
SCALE = ((0.0, "#0072B2"), (0.5, "#C9CED4"), (1.0, "#D55E00"))
ROW_PIXELS, EDGE_PIXELS = 26, 130
MOST_POINTS = 1_000
JITTER = 0.35


def importance_figure(importance: "Importance") -> Any:
    """Return a bar with its 95 % interval for each feature, the most important above."""
    from plotly.graph_objects import Bar, Figure

    frame = importance.frame.reverse()
    reach = (frame["high"] - frame["importance"]).to_numpy()
    figure = Figure(
        Bar(
            x=frame["importance"].to_numpy(),
            y=frame["feature"].to_list(),
            orientation="h",
            marker={"color": INK},
            error_x={"array": reach, "color": TEXT, "thickness": 1.2, "width": 3},
        )
    )
    figure.update_xaxes(title_text=f"rise of the loss when shuffled (loss {importance.loss:.4f}), 95 % interval")
    return _dressed(figure, "Permutation importance on purged test folds", frame.height)


def shap_figure(found: "ShapValues") -> Any:
    """Return the contributions of (at most a thousand) rows by feature, coloured by the rank of the feature's value."""
    from plotly.graph_objects import Figure, Scattergl

    order = found.frame["feature"].to_list()[::-1]
    step = max(1, len(found.values) // MOST_POINTS)
    figure = Figure()
    rng = np.random.default_rng(0)
    for place, name in enumerate(order):
        column = found.names.index(name)
        values = found.values[::step, column]
        ranks = found.rows[::step, column].argsort().argsort() / max(1, len(values) - 1)
        figure.add_trace(
            Scattergl(
                x=values,
                y=place + rng.uniform(-JITTER, JITTER, len(values)),
                mode="markers",
                marker={"size": 4, "color": ranks, "colorscale": SCALE, "opacity": 0.7},
                hovertemplate=f"{name}: %{{x:.4f}}<extra></extra>",
                showlegend=False,
            )
        )
    figure.update_yaxes(tickvals=list(range(len(order))), ticktext=order)
    figure.update_xaxes(title_text="contribution in log-odds; blue: low values of the feature, orange: high")
    return _dressed(figure, "SHAP values", len(order))


def dependence_figure(found: "PartialDependence") -> Any:
    """Return the mean prediction as a line, within the band from the first to the last tenth of rows."""
    from plotly.graph_objects import Figure, Scatter

    frame = found.frame
    across = frame["value"].to_numpy()
    edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    figure = Figure(Scatter(x=across, y=frame["high"].to_numpy(), showlegend=False, **edge))
    band = {"fill": "tonexty", "fillcolor": BAND, "name": "8 of 10 rows"}
    figure.add_trace(Scatter(x=across, y=frame["low"].to_numpy(), **band, **edge))
    figure.add_trace(
        Scatter(x=across, y=frame["prediction"].to_numpy(), mode="lines", line={"color": INK}, name="mean")
    )
    figure.update_xaxes(title_text=found.feature)
    figure.update_yaxes(title_text="prediction")
    return _dressed(figure, f"Partial dependence on {found.feature}", 10)


def show(frame: pl.DataFrame, figure: Any) -> None:
    """Print a table, and draw a figure where the session is a notebook."""
    from cryptoquant.performance.figures import notebook_display, print_frame

    print_frame(frame)
    display = notebook_display()
    if display is not None:
        display(figure)


def _dressed(figure: Any, title: str, rows: int) -> Any:
    figure.update_layout(
        title=title,
        template="plotly_white",
        height=EDGE_PIXELS + ROW_PIXELS * max(rows, 4),
        font={"color": TEXT, "size": 12},
        margin={"l": 160, "r": 30, "t": 50, "b": 50},
    )
    return figure
