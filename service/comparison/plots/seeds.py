"""Every seed as a dot, and accuracy against time: what a mean alone would hide."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.comparison.measures import cost_of, final_score
from service.comparison.plots.style import (
    ArmStyle,
    Plot,
    arm_styles,
    grid_size,
    label,
    legend,
    panels,
    percent,
    render,
    shown_workloads,
)
from service.comparison.runs import Experiment, Workload
from service.comparison.statistics import Estimate, mean_interval


def seed_strips(experiment: Experiment) -> Plot:
    """One panel a workload, one row an arm, one dot a seed; the bar is the mean with its 95 % interval."""
    styles, shown = arm_styles(experiment), list(shown_workloads(experiment))
    columns = min(len(shown), 3)
    rows = -(-len(shown) // 3)
    size = (max(5.2, 3.2 * columns + 1.4), (0.34 * len(experiment.arms) + 1.1) * rows + 0.3)

    def draw(figure: Figure) -> str:
        said = [
            _strip_panel(axes, experiment, workload, styles, first=i % columns == 0)
            for i, (axes, workload) in enumerate(zip(panels(figure, len(shown)), shown, strict=True))
        ]
        return (
            "Strip charts of final accuracy, one dot a seed, with mean and 95 % interval; crosses are runs that failed "
            "or diverged, drawn at chance level. " + " ".join(said)
        )

    return render("seeds", "Final accuracy of every seed", draw, size)


def _strip_panel(
    axes: Axes, experiment: Experiment, workload: Workload, styles: dict[str, ArmStyle], *, first: bool
) -> str:
    said = []
    for row, arm in enumerate(experiment.arms):
        runs = [(run, 100 * s) for run in experiment.runs_of(arm, workload) if (s := final_score(run)) is not None]
        if not runs:
            continue
        style = styles[arm]
        scores = np.array([s for _, s in runs])
        # Neighbours in rank are moved apart; no random numbers, so that the picture repeats.
        heights = np.empty(len(runs))
        heights[np.argsort(scores, kind="stable")] = np.resize([0.0, 0.16, -0.16], len(runs))
        wrong = np.array([run.went_wrong for run, _ in runs])
        axes.scatter(
            scores[~wrong],
            row + heights[~wrong],
            s=16,
            color=style.colour,
            alpha=0.55,
            linewidths=0.0 if style.marker not in "x+1" else 1.0,
            marker=style.marker,
        )
        axes.scatter(scores[wrong], row + heights[wrong], s=30, color="#D00000", marker="x", linewidths=1.4)
        mean = mean_interval(scores)
        axes.plot([mean.value] * 2, [row - 0.3, row + 0.3], color=style.colour, linewidth=2)
        if mean.low is not None and mean.high is not None:
            axes.plot([mean.low, mean.high], [row, row], color=style.colour, linewidth=2)
        failed = f", {int(wrong.sum())} of {len(runs)} went wrong" if wrong.any() else ""
        said.append(f"{label(arm)} {mean.value:.1f} %{failed}")
    axes.set_yticks(range(len(experiment.arms)), [label(a) for a in experiment.arms] if first else [])
    axes.set_ylim(len(experiment.arms) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("final accuracy (%)")
    axes.set_title(label(workload.key, 46))
    return f"{label(workload.key, 60)}: {', '.join(said)}."


def has_times(experiment: Experiment) -> bool:
    seconds = cost_of("training_seconds")
    return any(seconds(run) is not None for run in experiment.runs)


def pareto(experiment: Experiment) -> Plot:
    """Mean accuracy against mean training time; on the stepped line nobody is both faster and better."""
    styles = arm_styles(experiment)
    points = {w: _points(experiment, w) for w in shown_workloads(experiment)}
    shown = [w for w in shown_workloads(experiment) if points[w]]

    def draw(figure: Figure) -> str:
        said = []
        for axes, workload in zip(panels(figure, len(shown)), shown, strict=True):
            front = pareto_front({arm: (t.value, s.value) for arm, (t, s) in points[workload].items()})
            _pareto_panel(axes, workload, points[workload], front, styles)
            listed = ", ".join(
                f"{label(arm)} {percent(s.value)} in {t.value:.3g} s" for arm, (t, s) in points[workload].items()
            )
            said.append(f"{label(workload.key, 60)}: {listed}; on the front: {', '.join(label(a) for a in front)}.")
        legend(figure, styles, [a for a in experiment.arms if any(a in points[w] for w in shown)], lines=False)
        return "Scatter charts of final accuracy against training seconds, with the Pareto front. " + " ".join(said)

    return render("pareto", "Final accuracy against training time", draw, grid_size(len(shown)))


def _points(experiment: Experiment, workload: Workload) -> dict[str, tuple[Estimate, Estimate]]:
    """(seconds, accuracy) by arm. Failed runs have no time but do count, at chance, in the accuracy."""
    seconds, found = cost_of("training_seconds"), {}
    for arm in experiment.arms:
        runs = experiment.runs_of(arm, workload)
        times = [t for run in runs if (t := seconds(run)) is not None]
        scores = [s for run in runs if (s := final_score(run)) is not None]
        if times and scores:
            found[arm] = (mean_interval(times), mean_interval(scores))
    return found


def pareto_front(points: dict[str, tuple[float, float]]) -> list[str]:
    """Arms, fast first, for which no other is at least as fast and as good and better in one."""
    front = []
    for arm, (time, score) in points.items():
        beaten = any(
            t <= time and s >= score and (t, s) != (time, score) for other, (t, s) in points.items() if other != arm
        )
        if not beaten:
            front.append(arm)
    return sorted(front, key=lambda arm: points[arm])


def _pareto_panel(
    axes: Axes,
    workload: Workload,
    points: dict[str, tuple[Estimate, Estimate]],
    front: list[str],
    styles: dict[str, ArmStyle],
) -> None:
    corner = [(points[arm][0].value, 100 * points[arm][1].value) for arm in front]
    axes.step(*zip(*corner, strict=True), where="post", color="#999999", linewidth=1.0, zorder=1)
    for arm, (time, score) in points.items():
        style = styles[arm]
        axes.errorbar(
            [time.value],
            [100 * score.value],
            xerr=_half(time, 1),
            yerr=_half(score, 100),
            color=style.colour,
            marker=style.marker,
            markersize=7,
            capsize=2,
            linestyle="none",
            zorder=2,
        )
    axes.set_xscale("log")
    low = min(_low(time) for time, _ in points.values())
    high = max(time.value if time.high is None else time.high for time, _ in points.values())
    axes.set_xlim(low / 1.25, high * 1.25)
    # Powers of ten alone would leave a narrow range without a single number.
    ticks = [t for t in (m * 10.0**e for e in range(-6, 9) for m in (1, 2, 5)) if low / 1.25 <= t <= high * 1.25]
    if high / low > 300:
        ticks = [t for t in ticks if np.isclose(np.log10(t) % 1, 0) or np.isclose(np.log10(t) % 1, 1)]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("training seconds (log scale)")
    axes.set_ylabel("final accuracy (%)")
    axes.set_title(label(workload.key, 46))


def _half(estimate: Estimate, factor: float) -> float | None:
    if estimate.low is None or estimate.high is None:
        return None
    return factor * (estimate.high - estimate.low) / 2


def _low(time: Estimate) -> float:
    """The lower end where it can stand on a log scale."""
    return time.low if time.low is not None and time.low > 0.2 * time.value else time.value
