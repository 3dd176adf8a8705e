"""Where the teaching signal dies: heat maps by depth and over time; and its angle to backprop beside a random
signal's.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from service.comparison.gradient_health import LayerHealth, layer_health
from service.comparison.plots.style import (
    ArmStyle,
    Plot,
    arm_styles,
    finite_range,
    grid_size,
    label,
    legend,
    panels,
    render,
)
from service.comparison.runs import Diagnostics, Experiment, Workload

MOST_PANELS = 6
DECADES_SHOWN = 8.0
BAR_LABEL = "log10 (signal / last hidden layer's)\n× no signal, grey: not measured"
COLOURS = "cividis"
"""Even in lightness and the same to any colour vision; blank places are hatched grey."""


def healths(experiment: Experiment, workload: Workload) -> list[LayerHealth]:
    return [h for arm in experiment.arms if (h := layer_health(experiment, arm, workload)) is not None]


def has_signals(experiment: Experiment) -> bool:
    return any(np.isfinite(h.signal_norms).any() for w in experiment.workloads for h in healths(experiment, w))


def has_angles(experiment: Experiment) -> bool:
    return any(np.isfinite(h.angle_cosines).any() for w in experiment.workloads for h in healths(experiment, w))


def relative_decades(norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """log10 of each hidden layer's norm over the last known one's (..., layers); -inf where there is no signal at all.

    Arms differ in the units of their signals, so only the fall compares. The read-out, whose signal is the loss's own,
    is left aside, as in the measure of the fall; a network with one hidden layer would show nothing without it.
    """
    norms = norms[..., :-1] if norms.shape[-1] > 2 else norms
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(norms)
    last = norms.shape[-1] - 1 - np.argmax(np.isfinite(logs)[..., ::-1], axis=-1)
    anchor = np.take_along_axis(logs, last[..., None], axis=-1)
    found: NDArray[np.float64] = logs - np.where(np.isfinite(anchor), anchor, 0.0)
    return found


def signal_by_depth(experiment: Experiment) -> Plot:
    """Rows are arms, columns hidden layers; medians over seeds and time, relative to the last of them."""
    shown = [w for w in experiment.workloads if any(np.isfinite(h.signal_norms).any() for h in healths(experiment, w))]
    shown = sorted(shown, key=lambda w: -(w.depth or 0))[:MOST_PANELS]
    found = {w: [h for h in healths(experiment, w) if np.isfinite(h.signal_norms).any()] for w in shown}
    tables = {w: _by_arm(found[w]) for w in shown}
    limits = _limits(list(tables.values()))
    height = sum(0.27 * len(tables[w]) + 0.95 for w in shown)

    def draw(figure: Figure) -> str:
        said = []
        ratios = [len(tables[w]) + 1.5 for w in shown]
        axes_list = list(figure.subplots(len(shown), 1, squeeze=False, height_ratios=ratios).flat)
        for axes, workload in zip(axes_list, shown, strict=True):
            image = _heat(axes, tables[workload], limits)
            arms = [label(h.arm) for h in found[workload]]
            axes.set_yticks(range(len(arms)), arms)
            axes.set_xlabel("layer, input to output")
            axes.set_title(label(workload.key, 60))
            _layer_ticks(axes, tables[workload].shape[1])
            falls = [f"{arm} {_fall(row)}" for arm, row in zip(arms, tables[workload], strict=True)]
            said.append(
                f"{label(workload.key, 60)}, first layer against last hidden one in powers of ten: {', '.join(falls)}."
            )
        figure.colorbar(image, ax=axes_list, label=BAR_LABEL, extend="both", aspect=30)
        return "Heat maps of the norm of the teaching signal by layer. " + " ".join(said)

    return render("signal-by-depth", "Teaching signal by depth", draw, (7.2, max(2.2, height)))


def _by_arm(rows: list[LayerHealth]) -> NDArray[np.float64]:
    """(arms, layers), blank where an arm has fewer layers."""
    found = [relative_decades(health.signal_norms) for health in rows]
    table = np.full((len(rows), max(len(each) for each in found)), np.nan)
    for row, each in zip(table, found, strict=True):
        row[: len(each)] = each
    return table


def signal_over_time(experiment: Experiment) -> Plot:
    """One panel an arm, on the deepest network that has diagnostics: time to the right, depth upward."""
    having = [w for w in experiment.workloads if any(np.isfinite(h.signal_norms).any() for h in healths(experiment, w))]
    workload = max(having, key=lambda w: (w.depth or 0, max(len(h.layers) for h in healths(experiment, w))))
    arms = [h.arm for h in healths(experiment, workload) if np.isfinite(h.signal_norms).any()]

    tables = {arm: relative_decades(_first_diagnostics(experiment, arm, workload).signal_norms).T for arm in arms}
    limits = _limits(list(tables.values()))

    def draw(figure: Figure) -> str:
        said = []
        axes_list = panels(figure, len(arms))
        for axes, arm in zip(axes_list, arms, strict=True):
            image = _heat(axes, tables[arm], limits)
            axes.invert_yaxis()
            _step_ticks(axes, _first_diagnostics(experiment, arm, workload), layers=len(tables[arm]))
            axes.set_title(label(arm, 30))
            axes.set_xlabel("step")
            axes.set_ylabel("layer")
            said.append(f"{label(arm)}: first layer at the end {_fall(tables[arm][:, -1])}")
        figure.colorbar(image, ax=axes_list, label=BAR_LABEL, extend="both", aspect=30)
        return (
            f"Heat maps of the teaching signal by layer over time on {label(workload.key, 60)}, first seed, "
            f"in powers of ten against the last hidden layer. {'; '.join(said)}."
        )

    return render("signal-over-time", "Teaching signal over time", draw, grid_size(len(arms), 2.8, 2.1, 0.2))


def _first_diagnostics(experiment: Experiment, arm: str, workload: Workload) -> Diagnostics:
    return next(
        run.diagnostics
        for run in experiment.runs_of(arm, workload)
        if run.diagnostics is not None and np.isfinite(run.diagnostics.signal_norms).any()
    )


def _limits(tables: list[NDArray[np.float64]]) -> tuple[float, float]:
    """One scale for a figure: never so fine that rounding looks like structure, nor so wide that one dead layer hides
    the rest."""
    low, high = finite_range(np.concatenate([table.ravel() for table in tables]))
    return max(min(low, -1.0), -DECADES_SHOWN), min(max(high, 0.0), DECADES_SHOWN)


def _heat(axes: Axes, table: NDArray[np.float64], limits: tuple[float, float]) -> AxesImage:
    axes.set_facecolor("#d9d9d9")
    image = axes.imshow(table, aspect="auto", cmap=COLOURS, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    # Some dozen crosses each way are enough to mark an area.
    sparse = tuple(max(1, -(-size // 14)) for size in table.shape)
    rows, columns = (
        places * step
        for places, step in zip(np.nonzero(np.isneginf(table[:: sparse[0], :: sparse[1]])), sparse, strict=True)
    )
    axes.scatter(columns, rows, marker="x", s=14, color="#555555", linewidths=0.9)
    axes.grid(visible=False)
    return image


def _first(row: NDArray[np.float64]) -> float:
    known = row[~np.isnan(row)]
    return float(known[0]) if known.size else float("nan")


def _fall(row: NDArray[np.float64]) -> str:
    first = _first(row)
    if np.isnan(first):
        return "is not measured"
    return "has no signal" if np.isneginf(first) else f"{first:+.1f}"


def _layer_ticks(axes: Axes, layers: int) -> None:
    every = max(1, layers // 10)
    axes.set_xticks(range(0, layers, every), [str(i + 1) for i in range(0, layers, every)])


def _step_ticks(axes: Axes, diagnostics: Diagnostics, *, layers: int) -> None:
    places = np.unique(np.linspace(0, len(diagnostics.steps) - 1, min(4, len(diagnostics.steps))).astype(int))
    axes.set_xticks(places, [f"{diagnostics.steps[i]:.0f}" for i in places])
    every = max(1, layers // 6)
    axes.set_yticks(range(0, layers, every), [str(i + 1) for i in range(0, layers, every)])


def angles(experiment: Experiment) -> Plot:
    """Angle between each arm's update direction and backprop's, by layer; grey is what a random signal would score."""
    styles = arm_styles(experiment)
    shown = [w for w in experiment.workloads if any(np.isfinite(h.angle_cosines).any() for h in healths(experiment, w))]
    shown = shown[:MOST_PANELS]

    def draw(figure: Figure) -> str:
        said = []
        for axes, workload in zip(panels(figure, len(shown)), shown, strict=True):
            said.append(_angle_panel(axes, experiment, workload, styles))
        arms = [
            a
            for a in experiment.arms
            if any(h.arm == a and np.isfinite(h.angle_cosines).any() for w in shown for h in healths(experiment, w))
        ]
        legend(figure, styles, arms)
        return (
            "Line charts of the angle to backprop's direction by layer, in degrees: 0 is the same direction, 90 has "
            "nothing in common; the grey band holds what a random signal would score. " + " ".join(said)
        )

    return render("angle-to-backprop", "Angle to backprop's direction", draw, grid_size(len(shown)))


def _angle_panel(axes: Axes, experiment: Experiment, workload: Workload, styles: dict[str, ArmStyle]) -> str:
    said, nulls = [], []
    for health in healths(experiment, workload):
        degrees = np.degrees(np.arccos(np.clip(health.angle_cosines, -1, 1)))
        if not np.isfinite(degrees).any():
            continue
        style = styles[health.arm]
        layers = np.arange(1, len(degrees) + 1)
        axes.plot(
            layers,
            degrees,
            color=style.colour,
            linestyle=style.line,
            marker=style.marker,
            linewidth=style.width,
            markevery=max(1, len(degrees) // 12),
        )
        nulls.append(health.angle_null)
        said.append(f"{label(health.arm)} {np.nanmin(degrees):.0f} to {np.nanmax(degrees):.0f} degrees")
    longest = max(len(null) for null in nulls)
    layers = np.arange(1, longest + 1)
    null = next((n for n in nulls if len(n) == longest and np.isfinite(n).any()), None)
    if null is not None:
        width = 90 - np.degrees(np.arccos(np.clip(np.abs(null), 0, 1)))
        axes.fill_between(layers, 90 - width, 90 + width, color="#bbbbbb", alpha=0.6, linewidth=0, zorder=0)
    axes.axhline(90, color="#444444", linestyle=":", linewidth=1.0)
    wide = axes.dataLim.y1 > 110
    axes.set_ylim(-5, 185 if wide else 115)
    axes.set_yticks([0, 45, 90, 135, 180] if wide else [0, 30, 60, 90])
    _whole_ticks(axes, longest)
    axes.set_xlabel("layer, input to output")
    axes.set_ylabel("angle (degrees)")
    axes.set_title(label(workload.key, 46))
    return f"{label(workload.key, 60)}: {', '.join(said)}."


def _whole_ticks(axes: Axes, layers: int) -> None:
    every = max(1, layers // 8)
    axes.set_xticks(range(1, layers + 1, every))
