"""One curve of any jobs in one figure: no means, no bands, no verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from service.comparison.plots.style import (
    BLACK,
    CANDIDATE_COLOURS,
    DASHES,
    LONGEST_LABEL,
    MARKERS,
    ArmStyle,
    Plot,
    label,
    legend,
    render,
)
from service.comparison.runs import AXES

COLOURS = (*CANDIDATE_COLOURS, BLACK)
LINES = ("-", *DASHES)
LEGEND_ROW = 0.19
"""Inches."""


@dataclass(frozen=True, eq=False)
class JobCurve:
    """Of one job; x and y (points,), y NaN where it was no finite number."""

    label: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def job_curves(name: str, axis: str, curves: Sequence[JobCurve]) -> Plot:
    """`name` of each job against `axis`, one of AXES. Losses stand on a logarithmic scale."""
    title = name.replace("_", " ")
    styles: dict[str, ArmStyle] = {}
    for place, curve in enumerate(curves):
        short = _short(curve.label)
        styles[short if short not in styles else f"{place + 1}: {short}"] = ArmStyle(
            COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)], LINES[place // len(COLOURS) % len(LINES)]
        )

    def draw(figure: Figure) -> str:
        axes = figure.subplots()
        for place, (curve, style) in enumerate(zip(curves, styles.values(), strict=True)):
            if not np.isfinite(curve.y).any():
                continue  # the legend names it all the same, and the alt text says so
            axes.plot(
                curve.x,
                curve.y,
                color=style.colour,
                linestyle=style.line,
                marker=style.marker,
                linewidth=style.width,
                markevery=(0.015 * (place % 8), 0.12),
            )
        if name.endswith("loss") and all((curve.y[np.isfinite(curve.y)] > 0).all() for curve in curves):
            _logarithmic(axes)
        if axis == "flops":
            axes.xaxis.set_major_formatter(EngFormatter(sep="\u2009"))
        if axis in ("epoch", "step"):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(AXES[axis])
        axes.set_ylabel(title)
        legend(figure, styles, list(styles))
        ends = "; ".join(f"{label(curve.label)} {_end(curve)}" for curve in curves)
        return f"Line chart of {title} against {AXES[axis]}, one line a job. {ends}."

    height = 3.4 + LEGEND_ROW * -(-len(curves) // 2)
    return render(f"{name}-{axis}", f"{title} against {AXES[axis]}", draw, (7.0, height))


def _logarithmic(axes: Axes) -> None:
    """Plain numbers beside the marks: what stands there usually is a formula, which names of users rule out."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter(plain if high < 12 * low else NullFormatter())


def _short(text: str) -> str:
    """Cut in its middle: jobs' names differ at their ends, by seed most often."""
    half = LONGEST_LABEL // 2
    return text if len(text) <= LONGEST_LABEL else f"{text[: half - 1]}…{text[-half:]}"


def _end(curve: JobCurve) -> str:
    known = np.flatnonzero(np.isfinite(curve.y))
    return f"ends at {curve.y[known[-1]]:.4g}" if known.size else "has no finite value"
