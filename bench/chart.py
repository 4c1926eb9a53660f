"""Plots for the documentation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

_OURS, _OTHERS, _TEXT, _GRID = "#0f766e", "#94a3b8", "#1e293b", "#e2e8f0"

mpl.rcParams.update(
    {
        "axes.edgecolor": _GRID,
        "axes.labelcolor": _TEXT,
        "axes.titlecolor": _TEXT,
        "font.size": 10,
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "turnout",  # the same figures make the same file
        "text.color": _TEXT,
        "xtick.color": _TEXT,
        "ytick.color": _TEXT,
    }
)


def bars(
    path: Path, names: Sequence[str], panels: Mapping[str, Sequence[float]], *, highlighted: str
) -> None:
    """Draw one panel of bars beside the other.

    Args:
        path: of the SVG file.
        names: of the bars, from top to bottom.
        panels: the title of each panel, and its figures in the order of the names.
        highlighted: bars whose names start so have a colour of their own.
    """
    figure = _figure(0.8 + 0.38 * len(names))
    colours = [_OURS if name.startswith(highlighted) else _OTHERS for name in names]
    all_axes = figure.subplots(1, len(panels), sharey=True)
    for axes, (title, values) in zip(all_axes, panels.items(), strict=True):
        drawn = axes.barh(names, values, color=colours, height=0.7)
        axes.bar_label(drawn, labels=[f"{value:,.0f}" for value in values], padding=4)
        axes.set_title(title, loc="left", fontsize=10)
        axes.margins(x=0.18)
        axes.set_xticks([])
        _clear(axes)
    all_axes[0].invert_yaxis()
    _save(figure, path)


def line(path: Path, x: Sequence[float], y: Sequence[float], *, x_label: str, title: str) -> None:
    """Draw one line, its y axis from zero."""
    figure = _figure(2.8)
    axes = figure.subplots()
    axes.plot(x, y, color=_OURS)
    axes.set_ylim(0, 1.3 * max(y))
    axes.set_xlim(0, max(x))
    axes.set_xlabel(x_label)
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(axis="y", color=_GRID)
    _clear(axes)
    _save(figure, path)


def _figure(height: float) -> Figure:
    # Room at the edges: whoever shows the file may have a wider font.
    return Figure(figsize=(10, height), layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.08))


def _clear(axes: Axes) -> None:
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(length=0)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})
