"""Learning curves with bands, against epochs, passes, steps, seconds and FLOPs; and accuracy against depth."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray
from scipy import stats

from service.comparison.gradient_health import Sweep, sweeps
from service.comparison.measures import final_score
from service.comparison.plots.style import (
    ArmStyle,
    Plot,
    arm_styles,
    grid_size,
    label,
    legend,
    mark_level,
    panels,
    percent,
    render,
    shown_workloads,
)
from service.comparison.protocol import CONFIDENCE
from service.comparison.runs import AXES, Experiment, Run, RunState, Workload
from service.comparison.statistics import mean_interval
from service.comparison.time_to_target import target_of

GRID_POINTS = 120


@dataclass(frozen=True, eq=False)
class Band:
    """Mean over seeds with its Student-t interval at each place; NaN ends where one seed has no interval."""

    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    runs: int


def band(runs: tuple[Run, ...], axis: str) -> Band | None:
    """Over the stretch that every run covers. A run that went wrong is at chance from its end to the others' (rule
    8).
    """
    lines = [line for run in runs if (line := _line(run, axis)) is not None]
    sound = [line for line, went_wrong in lines if not went_wrong]
    if not lines:
        return None
    end = min(line[0][-1] for line in sound) if sound else max(line[0][-1] for line, _ in lines)
    start = max(line[0][0] for line in sound) if sound else min(line[0][0] for line, _ in lines)
    places = np.unique(np.concatenate([line[0] for line, _ in lines]))
    places = places[(places >= start) & (places <= end)]
    # Seconds differ from run to run: a common grid, since every run's own places would be hundreds.
    if len(places) > GRID_POINTS or len(places) < 2:
        places = np.linspace(start, end, GRID_POINTS) if end > start else np.array([end])
    columns = []
    for (x, y), went_wrong in lines:
        chance = runs[0].workload.chance
        outside = chance if went_wrong else None
        columns.append(np.interp(places, x, y, left=outside, right=outside))
    table = np.stack(columns)
    mean = table.mean(axis=0)
    if len(table) < 2:
        blank = np.full(mean.shape, np.nan)
        return Band(places, mean, blank, blank, len(table))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(table) - 1) * stats.sem(table, axis=0)
    return Band(places, mean, mean - half, mean + half, len(table))


def _line(run: Run, axis: str) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], bool] | None:
    """(x, accuracy) of one run without blanks, and whether it went wrong; None where nothing was measured."""
    if run.state is RunState.LOST or run.curve is None:
        return None
    column = run.curve.axis(axis)
    if column is None:
        return None
    known = np.isfinite(column) & np.isfinite(run.curve.validation_accuracy)
    if not known.any():
        return None
    order = np.argsort(column[known], kind="stable")
    return (column[known][order], run.curve.validation_accuracy[known][order]), run.went_wrong


def has_curves(experiment: Experiment, axis: str) -> bool:
    return any(_line(run, axis) is not None for run in experiment.runs)


def learning_curves(experiment: Experiment, axis: str) -> Plot:
    """One panel a workload; the dotted line is the target that backprop set."""
    styles = arm_styles(experiment)
    shown = [
        w for w in shown_workloads(experiment) if any(band(experiment.runs_of(a, w), axis) for a in experiment.arms)
    ]

    def draw(figure: Figure) -> str:
        said = []
        for axes, workload in zip(panels(figure, len(shown)), shown, strict=True):
            said.append(_curves_panel(axes, experiment, workload, axis, styles))
        legend(figure, styles, [a for a in experiment.arms if any(band(experiment.runs_of(a, w), axis) for w in shown)])
        return (
            f"Line charts of validation accuracy against {AXES[axis]}, mean over seeds with a 95 % band. "
            + " ".join(said)
        )

    title = f"Validation accuracy against {AXES[axis]}"
    return render(f"learning-curves-{axis}", title, draw, grid_size(len(shown)))


def _curves_panel(
    axes: Axes, experiment: Experiment, workload: Workload, axis: str, styles: dict[str, ArmStyle]
) -> str:
    ends = []
    for arm in experiment.arms:
        found = band(experiment.runs_of(arm, workload), axis)
        if found is None:
            continue
        style = styles[arm]
        axes.plot(
            found.x,
            100 * found.mean,
            color=style.colour,
            linestyle=style.line,
            marker=style.marker,
            linewidth=style.width,
            # Even along the line and staggered, so that markers of arms that run together stay visible.
            markevery=(0.015 * (experiment.arms.index(arm) % 8), 0.12),
        )
        axes.fill_between(found.x, 100 * found.low, 100 * found.high, color=style.colour, alpha=0.16, linewidth=0)
        ends.append(f"{label(arm)} {percent(float(found.mean[-1]))}")
    target = target_of(experiment, workload)
    if target is not None:
        mark_level(axes, 100 * target, "target")
    axes.set_title(label(workload.key, 46))
    if axis == "flops":
        axes.xaxis.set_major_formatter(EngFormatter(sep="\u2009"))
    axes.set_xlabel(AXES[axis])
    axes.set_ylabel("validation accuracy (%)")
    return f"{label(workload.key, 60)}, at the end: {', '.join(ends)}."


def has_depth_sweep(experiment: Experiment) -> bool:
    return bool(sweeps(experiment))


def depth_sweep(experiment: Experiment) -> Plot:
    """Final accuracy against depth, one panel a data set, with the line above which a network counts as trained."""
    styles, shown = arm_styles(experiment), sweeps(experiment)

    def draw(figure: Figure) -> str:
        said = []
        for axes, sweep in zip(panels(figure, len(shown)), shown, strict=True):
            said.append(_sweep_panel(axes, experiment, sweep, styles))
        legend(figure, styles, list(experiment.arms))
        return "Line charts of final accuracy against the number of hidden layers. " + " ".join(said)

    return render("depth-sweep", "Final accuracy against depth", draw, grid_size(len(shown)))


def _sweep_panel(axes: Axes, experiment: Experiment, sweep: Sweep, styles: dict[str, ArmStyle]) -> str:
    said = []
    for arm in experiment.arms:
        points = []
        for workload in sweep.workloads:
            scores = [s for run in experiment.runs_of(arm, workload) if (s := final_score(run)) is not None]
            if scores:
                points.append((workload.depth or 0, mean_interval(scores)))
        if not points:
            continue
        depths = np.array([depth for depth, _ in points])
        means = np.array([100 * e.value for _, e in points])
        spread = np.array([[0.0 if e.low is None or e.high is None else 50 * (e.high - e.low) for _, e in points]] * 2)
        style = styles[arm]
        axes.errorbar(
            depths,
            means,
            yerr=spread,
            color=style.colour,
            linestyle=style.line,
            linewidth=style.width,
            marker=style.marker,
            capsize=2,
        )
        said.append(f"{label(arm)} {means[0]:.1f} % at {depths[0]} and {means[-1]:.1f} % at {depths[-1]} layers")
    mark_level(axes, 100 * sweep.threshold, "trains")
    axes.set_xticks(sweep.depths)
    axes.set_title(label(sweep.workloads[0].dataset, 46))
    axes.set_xlabel("hidden layers")
    axes.set_ylabel("final accuracy (%)")
    return f"{label(sweep.title, 60)}: {', '.join(said)}."
