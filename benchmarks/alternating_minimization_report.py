"""Summarises the finished runs of `alternating_minimization.py`: am.json, am.md, and the plots beside them.

Arms are paired by seed: the same initial weights and the same order of batches. A difference comes with Student's 95 %
interval over the seeds; "level" means that the interval holds 0, whatever its width.
"""

import itertools
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt
from recipe_runs import mean_and_interval

from trainers.algorithms.alternating_minimization import AlternatingMinimization
from trainers.algorithms.base import Batch, Moment
from trainers.datasets.declaration import Task
from trainers.networks.mlp import MLP, MLPOptions
from trainers.objective import Objective
from trainers.streams import StreamBook

mpl.use("Agg")
BATCHES = (20, 100, 200)
Line = dict[str, Any]


def write_report(runs: Path, folder: Path) -> None:
    """All files, from the lines of `runs`."""
    lines = [json.loads(line) for line in runs.read_text().splitlines() if line]
    by_experiment: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        by_experiment[line["experiment"]].append(line)
    report = {name: summary(each) for name, each in sorted(by_experiment.items())}
    monotone = monotone_objective(folder / "am.monotone.svg")
    (folder / "am.json").write_text(json.dumps({"experiments": report, "monotone": monotone}, indent=1) + "\n")
    (folder / "am.md").write_text(markdown(report, monotone))
    for name, each in by_experiment.items():
        if not name.startswith("search") and any(len(line["curve"]) > 1 for line in each):
            plot_curves(name, each, folder / f"am.{name}.svg")


def summary(lines: list[Line]) -> dict[str, Any]:
    """Each arm of one experiment, and its differences from the other arms."""
    arms: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        arms[line["arm"]].append(line)
    found: dict[str, Any] = {"arms": {name: arm_summary(each) for name, each in arms.items()}, "differences": {}}
    if lines[0]["experiment"].startswith("search"):
        return found
    names = list(arms)
    for place, first in enumerate(names):
        for other in names[place + 1 :]:
            found["differences"][f"{first} − {other}"] = {
                measure: compared(paired(arms[first], arms[other], measure)) for measure in measures_of(arms[first])
            }
    return found


def measures_of(lines: list[Line]) -> list[str]:
    steps = {point["step"] for line in lines for point in line["curve"]}
    within = [f"test_accuracy_after_{batches}_batches" for batches in BATCHES if batches in steps]
    return [*within, "test_accuracy"]


def value_of(line: Line, measure: str) -> float | None:
    """A measure of one run, None where it has none (it diverged, or was not looked at then)."""
    if measure.startswith("test_accuracy_after_"):
        step = int(measure.split("_")[3])
        return next((point["test_accuracy"] for point in line["curve"] if point["step"] == step), None)
    return None if line["result"] is None else line["result"].get(measure)


def arm_summary(lines: list[Line]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "seeds": sorted(line["seed"] for line in lines),
        "epochs": lines[0]["asked"]["training"]["epochs"],
        "diverged": sum(line["result"] is None for line in lines),
    }
    for measure in [*measures_of(lines), "validation_accuracy", "samples_per_second"]:
        values = [value for line in lines if (value := value_of(line, measure)) is not None]
        if values:
            found[measure] = {"mean": statistics.fmean(values), "deviation": deviation(values), "values": values}
    curves = [[point["validation_accuracy"] for point in line["curve"]] for line in lines if line["result"]]
    if curves and lines[0]["curve"] and all(curves):
        found["mean_validation_accuracy_over_the_run"] = statistics.fmean(statistics.fmean(each) for each in curves)
    found["layers"] = layers_of(lines)
    return found


def layers_of(lines: list[Line]) -> dict[str, dict[str, float]]:
    """Layer → code change, cosine to backprop and update ratio at the last diagnosed step, means over the seeds."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        diagnostics = (line["result"] or {}).get("diagnostics")
        for row in diagnostics["last"]["layers"] if diagnostics else []:
            seen = {"angle_cosine": row["angle_cosine"], "update_ratio": row["update_ratio"], **row["details"]}
            for name, value in seen.items():
                if value is not None:
                    values[row["layer"]][name].append(value)
    return {layer: {name: statistics.fmean(each) for name, each in its.items()} for layer, its in values.items()}


def paired(first: list[Line], other: list[Line], measure: str) -> list[float]:
    theirs = {line["seed"]: value_of(line, measure) for line in other}
    pairs = [(value_of(line, measure), theirs.get(line["seed"])) for line in first]
    return [one - two for one, two in pairs if one is not None and two is not None]


def compared(differences: Sequence[float]) -> dict[str, Any]:
    """Mean of the paired differences, its 95 % interval, and what that says."""
    count = len(differences)
    mean, half = mean_and_interval(differences) if count else (None, None)
    if mean is None or half is None:
        return {"pairs": count, "mean": mean, "says": "too few seeds"}
    says = "ahead" if mean - half > 0 else "behind" if mean + half < 0 else "level"
    return {"pairs": count, "mean": mean, "low": mean - half, "high": mean + half, "says": says}


def deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def markdown(report: dict[str, Any], monotone: dict[str, Any]) -> str:
    text = ["# Alternating minimization: measured", ""]
    text += ["Accuracies in percent, mean ± standard deviation over seeds; differences with 95 % intervals.", ""]
    for name, found in report.items():
        text += [f"## {name}", "", *arm_table(name, found["arms"]), ""]
        for pair, measures in found["differences"].items():
            for measure, each in measures.items():
                if "low" in each:
                    shown = (100 * each[part] for part in ("mean", "low", "high"))
                    text.append(
                        "- {}, {}: {:+.2f} ({:+.2f} to {:+.2f}), {} pairs: {}".format(
                            pair, measure.replace("_", " "), *shown, each["pairs"], each["says"]
                        )
                    )
        text.append("")
    text += [
        "## The objective falls monotonically",
        "",
        "Full-batch AM on a problem that is convex in each block, {passes} passes: from {first:.4f} to {last:.4f}; the "
        "largest change from one pass to the next is {largest_rise:.1e}. See am.monotone.svg.".format(**monotone),
    ]
    return "\n".join(text) + "\n"


def arm_table(name: str, arms: dict[str, Any]) -> list[str]:
    search = name.startswith("search")
    main = ["validation_accuracy", "test_accuracy"] if search else ["test_accuracy"]
    measures = [
        f"test_accuracy_after_{batches}_batches"
        for batches in BATCHES
        if not search and any(f"test_accuracy_after_{batches}_batches" in arm for arm in arms.values())
    ] + main
    head = ["arm", "epochs", "seeds", *(measure.replace("_", " ") for measure in measures)]
    head += ["code change", "cosine to backprop", "samples/s"]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for arm, found in arms.items():
        seeds = f"{len(found['seeds'])}" + (f", {found['diverged']} diverged" if found["diverged"] else "")
        cells = [arm, str(found["epochs"]), seeds]
        cells += [percent(found.get(measure)) for measure in measures]
        for key, digits in (("code_change", 4), ("angle_cosine", 3)):
            values = [its[key] for its in found["layers"].values() if key in its]
            cells.append(" / ".join(f"{value:.{digits}f}" for value in values))
        rate = found.get("samples_per_second")
        cells.append(f"{rate['mean']:,.0f}" if rate else "")
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def percent(value: dict[str, Any] | None) -> str:
    if value is None:
        return ""
    spread = "" if value["deviation"] is None else f" ± {100 * value['deviation']:.2f}"
    return f"{100 * value['mean']:.2f}{spread}"


def plot_curves(name: str, lines: list[Line], path: Path) -> None:
    """Test error over steps, the mean over seeds and its range, an arm a line."""
    figure, axes = plt.subplots(figsize=(6, 4))
    arms: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if line["result"] is not None:
            arms[line["arm"]].append(line)
    for arm, each in arms.items():
        steps = [point["step"] for point in each[0]["curve"]]
        errors = [
            [100 * (1 - point["test_accuracy"]) for point in line["curve"]]
            for line in each
            if len(line["curve"]) == len(steps)
        ]
        columns = list(zip(*errors, strict=True))
        axes.plot(steps, [statistics.fmean(column) for column in columns], label=f"{arm} ({len(errors)} seeds)")
        axes.fill_between(steps, [min(column) for column in columns], [max(column) for column in columns], alpha=0.2)
    axes.set(xlabel="mini-batches", ylabel="test error, %", yscale="log", title=name)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def monotone_objective(path: Path) -> dict[str, Any]:
    """Full-batch AM on linear units and squared errors, convex in each block: eq. 1 after every pass, plotted."""
    curves = {f"{depth} hidden layers": objective_values([6] * depth, passes=200) for depth in (1, 2, 3)}
    figure, axes = plt.subplots(figsize=(6, 4))
    for label, values in curves.items():
        axes.plot(range(1, len(values) + 1), values, label=label)
    axes.set(xlabel="pass over codes and weights", ylabel="objective of eq. 1", yscale="log")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    rises = [after - before for values in curves.values() for before, after in itertools.pairwise(values)]
    deepest = curves["3 hidden layers"]
    return {
        "passes": len(deepest),
        "first": deepest[0],
        "last": deepest[-1],
        "largest_rise": max(rises),
        "curves": curves,
    }


def objective_values(hidden: list[int], *, passes: int) -> list[float]:
    streams = StreamBook(1)
    generator = streams.once("problem")
    x = torch.randn(64, 8, generator=generator, dtype=torch.float64)
    y = torch.tanh(x @ torch.randn(8, 2, generator=generator, dtype=torch.float64))
    options = MLPOptions(hidden=hidden, activation="identity", initialization="uniform")
    network = MLP.build(options, Task("regression", (8,), 2), streams).double()
    chosen = AlternatingMinimization.Hyperparameters(
        mode="offline",
        weight_update="memory",
        mu=0.1,
        code_learning_rate=0.5,
        code_momentum=0.0,
        code_nesterov=False,
    )
    learner = AlternatingMinimization()
    learner.setup(network, Objective("squared_error", 2), chosen, streams)
    batch, values = Batch(x, y, torch.arange(len(x))), []
    for epoch in range(passes):
        for phase in learner.phases(epoch, passes):
            report = learner.step(batch, Moment(epoch, phase, 0, 1, epoch / passes))
            if phase == "weights":
                total, count = report.measures["objective"]
                values.append(float(total) / count)
    return values
