"""Summarises the runs of difference target propagation: dtp.json, dtp.md and a plot for each experiment.

Called by `benchmarks/difference_target_propagation.py --report`. Means over seeds with 95 % intervals (Student's t);
"best" is the epoch of highest validation accuracy (lowest validation loss), chosen without the test set.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import in_turns
import matplotlib
from difference_target_propagation_search import best_trial
from recipe_runs import mean_and_interval

from trainers.recipes import RECIPES

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PREFIX = "difference-target-propagation-"
Line = dict[str, Any]


def write_report(runs: Path, folder: Path) -> None:
    """Everything that the finished runs say, and the recorded search and speed where there are."""
    every = [json.loads(line) for line in runs.read_text().splitlines()] if runs.exists() else []
    lines = [line for line in every if "failed" not in line["result"]]
    failed = [line for line in every if "failed" in line["result"]]
    groups: dict[tuple[str, str, int], list[Line]] = defaultdict(list)
    for line in lines:
        groups[line["experiment"], line["arm"], line["spec"]["training"]["epochs"]].append(line)
    summaries = [summary(*key, group) for key, group in sorted(groups.items())]
    speed_file, search_file = folder / "dtp.speed.json", folder / "dtp.search.jsonl"
    speed = json.loads(speed_file.read_text()) if speed_file.exists() else None
    trials = [json.loads(line) for line in search_file.read_text().splitlines()] if search_file.exists() else []
    chosen = [chosen_settings(trials, *key) for key in sorted({(t["experiment"], t["arm"]) for t in trials})]
    classifier_file = folder / "dtp.classifier.jsonl"
    classifiers = (
        [json.loads(line) for line in classifier_file.read_text().splitlines()] if classifier_file.exists() else []
    )
    (folder / "dtp.json").write_text(
        json.dumps(
            {"runs": summaries, "search": chosen, "speed": speed, "classifiers": classifiers}, indent=1, sort_keys=True
        )
        + "\n"
    )
    told = [f"- {f['experiment']}, {f['arm']}, seed {f['seed']}: {f['result']['sentence']}\n" for f in failed]
    page = markdown(summaries, chosen, speed, classifiers)
    (folder / "dtp.md").write_text(page + "".join(["\n## Failed runs\n\n", *told] if told else []))
    for experiment in sorted({line["experiment"] for line in lines}):
        plot(experiment, [line for line in lines if line["experiment"] == experiment], folder)
    print((folder / "dtp.md").read_text())


def summary(experiment: str, arm: str, epochs: int, group: Sequence[Line]) -> dict[str, Any]:
    """One row: an arm of an experiment over its seeds."""
    scored = "accuracy" if "test_accuracy" in group[0]["curve"][-1] else "loss"
    finals = [figure(line["curve"][-1], scored) for line in group]
    best = [figure(best_epoch(line["curve"], scored), scored) for line in group]
    first = [training_error_zero(line["curve"]) for line in group]
    last = [line["result"].get("diagnostics") or {} for line in group]
    return {
        "experiment": experiment,
        "arm": arm,
        "epochs": epochs,
        "seeds": sorted(line["seed"] for line in group),
        "measure": "test error, %" if scored == "accuracy" else "test loss",
        "final": interval(finals),
        "at_best_validation": interval(best),
        "each_final": finals,
        "each_at_best_validation": best,
        "first_epoch_with_training_error_below_0.01_percent": first,
        "samples_per_second": [line["result"]["samples_per_second"] for line in group],
        "seconds": [sum(line["result"]["seconds"].values()) for line in group],
        "cosine_to_backprop": [
            [row["angle_cosine"] for row in each["last"]["layers"]] for each in last if each.get("last")
        ],
        "findings": sorted({sentence for line in group for sentence in line["findings"]}),
        "hyperparameters": group[0]["spec"]["hyperparameters"],
        "dataset": group[0]["result"]["dataset"],
        "machine": group[0]["result"]["machine"],
    }


def figure(epoch: dict[str, Any], scored: str) -> float:
    return 100 * (1 - epoch["test_accuracy"]) if scored == "accuracy" else epoch["test_loss"]


def best_epoch(curve: Sequence[dict[str, Any]], scored: str) -> dict[str, Any]:
    if scored == "accuracy":
        return max(curve, key=lambda epoch: epoch["validation_accuracy"])
    return min(curve, key=lambda epoch: epoch["validation_loss"])


def training_accuracy(epoch: dict[str, Any]) -> float | None:
    return epoch.get("weights_accuracy", epoch.get("train_accuracy"))


def training_error_zero(curve: Sequence[dict[str, Any]]) -> int | None:
    return next((epoch["epoch"] for epoch in curve if (training_accuracy(epoch) or 0) > 0.9999), None)


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, and half the width of its 95 % interval where there is more than one value."""
    mean, half = mean_and_interval(values)
    return {"mean": mean, "half_width": half}


def chosen_settings(trials: Sequence[dict[str, Any]], experiment: str, arm: str) -> dict[str, Any]:
    own = [trial for trial in trials if (trial["experiment"], trial["arm"]) == (experiment, arm)]
    return {"trials": len(own), **(best_trial(trials, experiment, arm) or {})}


def shown(value: dict[str, float | None], digits: int = 2) -> str:
    half = value["half_width"]
    return f"{value['mean']:.{digits}f}" + (f" ± {half:.{digits}f}" if half is not None else "")


def markdown(
    summaries: Sequence[dict[str, Any]],
    chosen: Sequence[dict[str, Any]],
    speed: dict[str, Any] | None,
    classifiers: Sequence[dict[str, Any]],
) -> str:
    parts = [
        "# Difference target propagation: measured\n\n",
        "`python benchmarks/difference_target_propagation.py` runs the recipes, `--report` writes this page. ",
        "± is a 95 % interval over seeds; one seed has none. Figures marked unconfirmed are quoted from memory of ",
        "the papers.\n",
    ]
    for name in RECIPES:
        experiment = name.removeprefix(PREFIX).replace("-", "_")
        rows = [each for each in summaries if each["experiment"] == experiment and name.startswith(PREFIX)]
        if not rows:
            continue
        recipe = RECIPES[name]
        parts.append(f"\n## {recipe.title}\n\n{recipe.summary}\n\n")
        for each in recipe.figures:
            note = f" ({each.note})" if each.note else ""
            parts.append(f"- Reported: {each.measure.replace('_', ' ')} {each.value}{note}; {each.mark}.\n")
        sentence = rows[0]["dataset"].get("sentence")
        parts.append(f"- {sentence}\n" if sentence else "")
        parts.append(
            f"\n| arm | epochs | seeds | {rows[0]['measure']}, last epoch | at best validation | "
            "cosine to backprop, by layer |\n"
        )
        parts.append("|---|---|---|---|---|---|\n")
        digits = 2 if "error" in rows[0]["measure"] else 4
        for row in rows:
            parts.append(
                f"| {row['arm']} | {row['epochs']} | {len(row['seeds'])} | {shown(row['final'], digits)} | "
                f"{shown(row['at_best_validation'], digits)} | {cosines(row['cosine_to_backprop'])} |\n"
            )
        told = [f"- {row['arm']}, {row['epochs']} epochs: {each}\n" for row in rows for each in row["findings"]]
        parts.extend(["\n", *told] if told else [])
        parts.append(f"\n![curves](dtp.{experiment}.svg)\n")
    if classifiers:
        parts.append(
            "\n## Classifiers from the auto-encoder's filters\n\nA 784-1000-10 network; test error in % at the epoch "
            "of best validation accuracy. Reported: 1.35 (unconfirmed).\n\n"
            "| filters from | trained | settings | epochs | seeds | test error, % |\n|---|---|---|---|---|---|\n"
        )
        for key in sorted({classifier_key(each) for each in classifiers}):
            own = [each for each in classifiers if classifier_key(each) == key]
            errors = shown(interval([each["test_error"] for each in own]))
            parts.append(f"| {' | '.join(str(each) for each in key)} | {len(own)} | {errors} |\n")
    if chosen:
        parts.append(
            "\n## Search\n\n| experiment | arm | trials | validation accuracy | settings |\n|---|---|---|---|---|\n"
        )
        for trial in chosen:
            settings = ", ".join(f"{name} {value}" for name, value in trial["settings"].items())
            parts.append(
                f"| {trial['experiment']} | {trial['arm']} | {trial['trials']} | {trial['validation_accuracy']:.4f} | "
                f"{settings} |\n"
            )
    if speed:
        parts.append(
            f"\n## Speed\n\n`{speed['command']}`: an epoch's both passes cost "
            f"{in_turns.shown(speed['price_against_backprop'])} times backprop's one; the FLOPs predict "
            f"{speed['flop_ratio']:.2f}, so {speed['times_what_flops_predict']:.2f} times what they predict. "
            f"Against a naive script in the same run: {in_turns.shown(speed['speedup_over_naive'])} times as fast. "
            "Medians and quartiles of rounds.\n"
        )
    return "".join(parts)


def classifier_key(line: dict[str, Any]) -> tuple[str, str, str, int]:
    """What a row of the table is about: filters, what is trained, settings, epochs."""
    return line["filters"], line["trained"], "searched" if line["settings"] else "the recipe's", line["epochs"]


def cosines(of_runs: Sequence[Sequence[float | None]]) -> str:
    """Means over seeds, bottom to top, at the last diagnosed step; blank where there is none."""
    columns = [[value for value in column if value is not None] for column in zip(*of_runs, strict=True)]
    if not any(columns):
        return ""
    return " ".join(f"{sum(column) / len(column):.2f}" if column else "–" for column in columns)


def plot(experiment: str, lines: Sequence[Line], folder: Path) -> None:
    """Test error (solid) and training error (dotted) of every run, a colour an arm; or test loss."""
    figure_, axes = plt.subplots(figsize=(7, 4.5))
    arms = sorted({line["arm"] for line in lines})
    scored = "accuracy" if "test_accuracy" in lines[0]["curve"][-1] else "loss"
    for line in lines:
        colour = f"C{arms.index(line['arm'])}"
        epochs = [each["epoch"] for each in line["curve"]]
        first = line["seed"] == min(other["seed"] for other in lines if other["arm"] == line["arm"])
        label = line["arm"] if first else None
        axes.plot(epochs, [figure(each, scored) for each in line["curve"]], color=colour, label=label, lw=1)
        training = [training_accuracy(each) for each in line["curve"]]
        if all(value is not None for value in training):
            axes.plot(epochs, [100 * (1 - (value or 0)) for value in training], color=colour, ls=":", lw=0.8)
    axes.set_yscale("symlog", linthresh=0.1) if scored == "accuracy" else axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("error, % (solid: test, dotted: training)" if scored == "accuracy" else "test loss")
    axes.set_title(RECIPES[PREFIX + experiment.replace("_", "-")].title, fontsize=10)
    axes.legend()
    figure_.tight_layout()
    figure_.savefig(folder / f"dtp.{experiment}.svg", metadata={"Date": None})
    plt.close(figure_)
