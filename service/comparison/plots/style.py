"""How every figure looks, and how it becomes SVG and PNG bytes.

Colours are Okabe and Ito's, told apart with any colour vision; each arm has a marker and a line style of its own too,
so that grey print keeps them apart. No pyplot, hence no global figure list; matplotlib's settings are global, so one
lock guards them. The same data give the same bytes.
"""

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from service.comparison.runs import Experiment, Role, Workload

BLACK = "#000000"
CANDIDATE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
CONTROL_COLOURS = ("#666666", "#999999", "#444444")
MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">", "h", "p", "*")
Line = Any  # matplotlib's line styles: a name, or (offset, (on, off, ...))
DASHES: tuple[Line, ...] = ("--", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))

LONGEST_LABEL = 32
DPI = 160

SETTINGS: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.0,
    "figure.facecolor": "white",
    "axes.unicode_minus": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "altprop",
    # Names come from users: "$" in one is a dollar, not a formula.
    "text.parse_math": False,
}

_settings_lock = threading.RLock()


@dataclass(frozen=True)
class Plot:
    """A finished figure. `alt` says in words what it shows."""

    name: str
    title: str
    alt: str
    svg: str
    png: bytes


@dataclass(frozen=True)
class ArmStyle:
    """Colour, marker and line of one arm, the same in every figure of an experiment."""

    colour: str
    marker: str
    line: Line
    width: float = 1.6


def arm_styles(experiment: Experiment) -> dict[str, ArmStyle]:
    """Reference black and solid, candidates coloured, controls grey; by order of the experiment's arms."""
    styles: dict[str, ArmStyle] = {}
    counts = {Role.CANDIDATE: 0, Role.CONTROL: 0}
    for arm in experiment.arms:
        role = experiment.role(arm)
        if role is Role.REFERENCE:
            # Broad and drawn first, so that arms which run on top of it do not hide it.
            styles[arm] = ArmStyle(BLACK, "o", "-", width=3.0)
            continue
        n = counts[role]
        counts[role] += 1
        if role is Role.CANDIDATE:
            styles[arm] = ArmStyle(
                CANDIDATE_COLOURS[n % len(CANDIDATE_COLOURS)], MARKERS[n % len(MARKERS)], DASHES[n % len(DASHES)]
            )
        else:
            styles[arm] = ArmStyle(CONTROL_COLOURS[n % len(CONTROL_COLOURS)], ("x", "+", "1")[n % 3], ":")
    return styles


def shown_workloads(experiment: Experiment) -> tuple[Workload, ...]:
    """Panels of the figures that compare accuracies: workloads outside depth sweeps, or all if there are no others."""
    return experiment.compared_workloads or experiment.workloads


def label(text: str, longest: int = LONGEST_LABEL) -> str:
    """A user's name as one short, printable line. A leading underscore would hide it from legends."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "(no name)"
    line = line if len(line) <= longest else f"{line[: longest - 1]}…"
    return f"\u200a{line}" if line.startswith("_") else line


@contextmanager
def _settings() -> Iterator[None]:
    with _settings_lock, mpl.rc_context(SETTINGS), warnings.catch_warnings():
        # A name in a script that the font lacks shows boxes; the figure's alt text and the tables still carry it.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


def render(name: str, title: str, draw: Callable[[Figure], str], size: tuple[float, float]) -> Plot:
    """`draw` fills the figure and returns its alt text; `size` is in inches."""
    with _settings():
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        alt = draw(figure)
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
        figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None, "Title": title})
    return Plot(name, title, alt, svg.getvalue(), png.getvalue())


def grid_size(panels: int, width: float = 3.5, height: float = 2.7, extra: float = 0.8) -> tuple[float, float]:
    """Inches for so many panels, three in a row, with room for a legend."""
    columns = min(panels, 3)
    rows = -(-panels // 3)
    return max(5.2, width * columns), height * rows + extra


def panels(figure: Figure, count: int) -> list[Axes]:
    """So many axes, three in a row; unused places stay empty."""
    columns = min(count, 3)
    rows = -(-count // columns)
    axes = figure.subplots(rows, columns, squeeze=False)
    flat: list[Axes] = list(axes.flat)
    for unused in flat[count:]:
        unused.set_axis_off()
    return flat[:count]


def legend(figure: Figure, styles: dict[str, ArmStyle], arms: list[str], *, lines: bool = True) -> None:
    """One legend below all panels."""
    handles = [
        Line2D(
            [],
            [],
            color=styles[arm].colour,
            marker=styles[arm].marker,
            linestyle=styles[arm].line if lines else "none",
            linewidth=styles[arm].width,
            label=label(arm),
        )
        for arm in arms
    ]
    width = figure.get_size_inches()[0]
    longest = max((len(label(arm)) for arm in arms), default=1)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=max(1, int(width / (0.066 * longest + 0.75))),
        handlelength=3.4,
    )


def mark_level(axes: Axes, value: float, name: str) -> None:
    """A dotted level with its name outside the frame, where no curve runs."""
    axes.axhline(value, color="#444444", linestyle=":", linewidth=1.0)
    axes.annotate(
        name,
        (1.0, value),
        xycoords=("axes fraction", "data"),
        xytext=(3, 0),
        textcoords="offset points",
        ha="left",
        va="center",
        fontsize=7.5,
        color="#444444",
    )


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def finite_range(values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest finite value; (0, 1) where there is none."""
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
