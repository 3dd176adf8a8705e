"""Summarises hsic.runs.jsonl: hsic.json, hsic.md and the plots. Nothing is trained here."""

import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from recipe_runs import mean_and_interval

from trainers.recipes import RECIPES

PREFIX = "hsic-bottleneck-"
Line = dict[str, Any]

FIGURES: list[tuple[str, str, str, str, float | None, float | None]] = [
    # what, experiment, arm, first scored epoch or last, published, asked of us at least
    ("MNIST unformatted, 1 epoch", "unformatted-mnist", "HSIC", "first", 0.967, None),
    ("MNIST unformatted, 5 epochs", "unformatted-mnist", "HSIC", "last", 0.975, 0.975),
    ("cosine schedule, 5 epochs", "unformatted-mnist", "HSIC, cosine schedule", "last", None, 0.975),
    ("its backprop, 1 epoch", "unformatted-mnist", "backprop", "first", 0.972, None),
    ("its backprop, 5 epochs", "unformatted-mnist", "backprop", "last", 0.984, None),
    ("its backprop, cosine schedule", "unformatted-mnist", "backprop, cosine schedule", "last", None, None),
    ("Fashion-MNIST unformatted, 1 epoch", "unformatted-fashion-mnist", "HSIC", "first", 0.844, None),
    ("Fashion-MNIST unformatted, 5 epochs", "unformatted-fashion-mnist", "HSIC", "last", 0.871, 0.871),
    ("cosine schedule, 5 epochs", "unformatted-fashion-mnist", "HSIC, cosine schedule", "last", None, 0.871),
    ("its backprop, 1 epoch", "unformatted-fashion-mnist", "backprop", "first", 0.846, None),
    ("its backprop, 5 epochs", "unformatted-fashion-mnist", "backprop", "last", 0.880, None),
    (
        "its backprop, cosine schedule",
        "unformatted-fashion-mnist",
        "backprop, cosine schedule",
        "last",
        None,
        None,
    ),
    ("CIFAR-10 unformatted, 1 epoch", "unformatted-cifar10", "HSIC", "first", 0.426, None),
    ("CIFAR-10 unformatted, 5 epochs", "unformatted-cifar10", "HSIC", "last", 0.494, 0.49),
    ("cosine schedule, 5 epochs", "unformatted-cifar10", "HSIC, cosine schedule", "last", None, 0.49),
    ("its backprop, 1 epoch", "unformatted-cifar10", "backprop", "first", 0.458, None),
    ("its backprop, 5 epochs", "unformatted-cifar10", "backprop", "last", 0.507, None),
    ("its backprop, cosine schedule", "unformatted-cifar10", "backprop, cosine schedule", "last", None, None),
    ("format-trained, 1 HSIC epoch", "format-trained", "1 HSIC epoch", "last", 0.886, None),
    ("format-trained, 5 HSIC epochs", "format-trained", "5 HSIC epochs", "last", 0.949, None),
    ("format-trained, 10 HSIC epochs", "format-trained", "10 HSIC epochs", "last", 0.961, 0.96),
    ("the same at rate 0.001", "format-trained", "10 HSIC epochs, rate 0.001", "last", None, 0.96),
    ("σ 1", "combined-sigma", "σ 1", "last", 0.703, None),
    ("σ 5", "combined-sigma", "σ 5", "last", 0.942, None),
    ("σ 10", "combined-sigma", "σ 10", "last", 0.938, None),
    ("σ combined", "combined-sigma", "combined", "last", 0.943, None),
    ("width 8", "width", "width 8", "last", 0.878, None),
    ("width 32", "width", "width 32", "last", 0.951, None),
    ("width 64", "width", "width 64", "last", 0.960, None),
    ("ResNet MNIST", "resnet", "mnist HSIC", "last", 0.996, None),
    ("ResNet Fashion-MNIST", "resnet", "fashion_mnist HSIC", "last", 0.897, None),
    ("ResNet CIFAR-10", "resnet", "cifar10 HSIC", "last", 0.615, None),
    ("pHSIC, Gaussian, grouped, 3×1024", "phsic", "gaussian", "last", 0.984, 0.983),
    ("the same, 40 epochs", "phsic", "gaussian, 40 epochs", "last", None, 0.983),
    ("the same, pixels in 0 … 1", "phsic", "gaussian, pixels in 0 … 1", "last", None, 0.983),
    ("pHSIC, cosine, grouped, 3×1024", "phsic", "cosine", "last", 0.958, None),
]
"""What is compared, of the recipes' paper form. Published figures are read off the authors' figures, pHSIC's given."""


def against_published(table: Sequence[Line]) -> list[str]:
    """A table: the published figure, what is asked, ours, and whether ours falls short."""
    ours = {(row["experiment"], row["arm"]): row for row in table if row["form"] == "paper"}
    out = ["| | published | asked | ours | seeds | |", "|---|---|---|---|---|---|"]
    for what, experiment, arm, place, published, asked in FIGURES:
        row = ours.get((experiment, arm))
        found = None if row is None else row[place]
        shown = [f"{100 * value:.1f}" if value is not None else "–" for value in (published, asked)]
        out.append(
            f"| {what} | {shown[0]} | {'≥ ' if asked is not None else ''}{shown[1]} | {percent(found)} | "
            f"{found['n'] if found else 0} | {verdict(found, published, asked)} |"
        )
    return out


def verdict(found: Line | None, published: float | None, asked: float | None) -> str:
    """Reached or not, of the mean over the seeds that were run."""
    bar = asked if asked is not None else published
    if found is None:
        return "not run in this form"
    if bar is None:
        return ""
    short = 100 * (bar - found["mean"])
    word = "what is asked" if asked is not None else "the published figure"
    return f"reaches {word}" if short <= 0 else f"**{short:.2f} points short of {word}**"


def write_report(runs: Path, folder: Path) -> None:
    """hsic.json (every arm's figures), hsic.md (tables), hsic_*.svg."""
    lines = [json.loads(line) for line in runs.read_text().splitlines() if line] if runs.exists() else []
    arms: dict[tuple[str, str, str], list[Line]] = defaultdict(list)
    for line in lines:
        arms[line["experiment"], line.get("form", "paper"), line["arm"]].append(line)
    table = [summary(key, each) for key, each in arms.items()]
    pairs = paired(arms)
    (folder / "hsic.json").write_text(json.dumps({"arms": table, "paired": pairs}, indent=1, sort_keys=True) + "\n")
    plots = draw(arms, folder)
    (folder / "hsic.md").write_text(text(table, pairs, plots))


def summary(key: tuple[str, str, str], lines: Sequence[Line]) -> Line:
    """Mean and 95 % interval over seeds, of the first epoch that was scored and of the last."""
    finished = [line for line in lines if line["result"] is not None]
    scored = [[point for point in line["curve"] if "test_accuracy" in point] for line in finished]
    return {
        "experiment": key[0],
        "form": key[1],
        "arm": key[2],
        "seeds": [line["seed"] for line in lines],
        "diverged": len(lines) - len(finished),
        "read_off_silence": sum(line["result"].get("silent_class") is not None for line in finished),
        "first": interval([curve[0]["test_accuracy"] for curve in scored if curve]),
        "first_pass": scored[0][0]["passes"] if scored and scored[0] else None,
        "last": interval([curve[-1]["test_accuracy"] for curve in scored if curve]),
        "passes": scored[0][-1]["passes"] if scored and scored[0] else None,
        "validation": interval([line["result"]["validation_accuracy"] for line in finished]),
        "samples_per_second": statistics.median([line["result"]["samples_per_second"] for line in finished])
        if finished
        else None,
    }


def interval(values: Sequence[float]) -> Line | None:
    """Mean, half width of the 95 % interval (None with one seed), count."""
    if not values:
        return None
    mean, half = mean_and_interval(values)
    return {"mean": mean, "half": half, "n": len(values), "values": list(values)}


def paired(arms: dict[tuple[str, str, str], list[Line]]) -> list[Line]:
    """HSIC less its rival seed by seed: backprop at the first scored epoch and the last, single σ at the last."""
    found = []
    for (experiment, form, arm), lines in arms.items():
        rivals = []
        if arm.startswith(("HSIC", "both at once", "gaussian", "cosine")) or "HSIC epoch" in arm:
            rivals = [
                other for name, where, other in arms if (name, where) == (experiment, form) and "backprop" in other
            ]
        if arm == "combined":
            rivals = [other for name, where, other in arms if (name, where) == (experiment, form) and other != arm]
        for rival in rivals:
            others = {line["seed"]: line for line in arms.get((experiment, form, rival), []) if line["result"]}
            mine = {line["seed"]: line for line in lines if line["result"]}
            shared = sorted(set(mine) & set(others))
            if not shared:
                continue
            for place, which in ((0, "first scored epoch"), (-1, "last epoch")):
                apart = [scores(mine[seed])[place] - scores(others[seed])[place] for seed in shared]
                found.append(
                    {"experiment": experiment, "form": form, "arm": arm, "less": rival, "at": which}
                    | {"difference": interval(apart)}
                )
    return found


def scores(line: Line) -> list[float]:
    return [point["test_accuracy"] for point in line["curve"] if "test_accuracy" in point]


def percent(value: Line | None) -> str:
    if value is None:
        return "–"
    half = "" if value["half"] is None else f" ± {100 * value['half']:.2f}"
    return f"{100 * value['mean']:.2f}{half}"


def published(value: float | str) -> str:
    return value if isinstance(value, str) else f"{100 * value:.1f}"


def text(table: Sequence[Line], pairs: Sequence[Line], plots: Sequence[str]) -> str:
    out = [
        "Test accuracy in percent, mean over seeds ± half the 95 % interval; passes count every pass over the data,",
        "those of the matching and of HSIC before a read-out included. `python benchmarks/hsic_bottleneck.py`.",
        "One seed has no interval. What was found, and tried where ours falls short, stands on the algorithm's page,",
        "docs/reference/algorithms/hsic_bottleneck.md.",
        "",
        *against_published(table),
        "",
    ]
    for experiment in dict.fromkeys(row["experiment"] for row in table):
        out += [f"## {experiment}", ""]
        name = PREFIX + experiment
        if name in RECIPES:
            recipe = RECIPES[name]
            out += [f"{recipe.title} ({recipe.source}).", ""]
            out += [
                f"- published: {f.measure} {published(f.value)} ({f.mark}{', ' + f.note if f.note else ''})"
                for f in recipe.figures
            ]
            out += [""]
        out += [
            "| arm | form | seeds | first scored (after passes) | last (after passes) | validation | samples/s |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in table:
            if row["experiment"] == experiment:
                speed = "–" if row["samples_per_second"] is None else f"{row['samples_per_second']:,.0f}"
                out.append(
                    f"| {row['arm']} | {row['form']} | {len(row['seeds'])}"
                    + (f" ({row['diverged']} diverged)" if row["diverged"] else "")
                    + (f" ({row['read_off_silence']} with a silent class)" if row["read_off_silence"] else "")
                    + f" | {percent(row['first'])} ({row['first_pass']}) | {percent(row['last'])} ({row['passes']}) | "
                    f"{percent(row['validation'])} | {speed} |"
                )
        told = [pair for pair in pairs if pair["experiment"] == experiment]
        if told:
            out += ["", "Paired by seed, in points:", ""]
            out += [
                f"- {pair['arm']} less {pair['less']}, {pair['at']} ({pair['form']}): "
                f"{percent(pair['difference'])} (n = {pair['difference']['n']})"
                for pair in told
            ]
        out += [""]
    out += [f"![{Path(plot).stem}]({plot})" for plot in plots]
    return "\n".join(out) + "\n"


def draw(arms: dict[tuple[str, str, str], list[Line]], folder: Path) -> list[str]:
    """Accuracy against total passes, and dependence per layer: HSIC's own, and backprop's."""
    drawn = []
    experiments = [name for name in dict.fromkeys(key[0] for key in arms) if not name.startswith("search")]
    for experiment in experiments:
        figure = Figure(figsize=(5.5, 3.8), layout="constrained")
        axis = figure.add_subplot()
        for (name, form, arm), lines in arms.items():
            if name != experiment or form != "paper":
                continue
            curves = [[p for p in line["curve"] if "test_accuracy" in p] for line in lines if line["result"]]
            length = min((len(curve) for curve in curves), default=0)
            if length:
                passes = [curves[0][place]["passes"] for place in range(length)]
                means = [statistics.mean(curve[place]["test_accuracy"] for curve in curves) for place in range(length)]
                axis.plot(passes, [100 * mean for mean in means], marker="o", ms=3, label=f"{arm} (n = {len(curves)})")
        if not axis.lines:
            continue
        axis.set(xlabel="passes over the data, all phases", ylabel="test accuracy, %", title=experiment, xlim=(0, None))
        axis.legend(fontsize=7)
        drawn.append(f"hsic_{experiment}.svg")
        figure.savefig(folder / drawn[-1], metadata={"Date": None})
    drawn += draw_dependences(arms, folder)
    return drawn


def draw_dependences(arms: dict[tuple[str, str, str], list[Line]], folder: Path) -> list[str]:
    """Of HSIC training by epoch (its own measures), and of backprop by step (the diagnostics)."""
    drawn = []
    for (experiment, _, arm), lines in arms.items():
        line = lines[0]
        hsic = [point for point in line["curve"] if any("nhsic_label." in name for name in point)]
        if line.get("dependences"):
            places = [table["step"] for table in line["dependences"]]
            names = [row["layer"] for row in line["dependences"][0]["layers"]]
            series = {
                whom: {
                    name: [table["layers"][i][f"nhsic_{whom}"] for table in line["dependences"]]
                    for i, name in enumerate(names)
                }
                for whom in ("input", "label")
            }
            unit = "step"
        elif hsic and arm in ("HSIC", "10 HSIC epochs"):
            places, unit = [point["epoch"] for point in hsic], "epoch"
            series = {whom: {} for whom in ("input", "label")}
            for whom in series:
                for key in hsic[0]:
                    if f"nhsic_{whom}." in key:
                        series[whom][key.rsplit(".", 1)[-1]] = [point.get(key) for point in hsic]
        else:
            continue
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        for number, (whom, by_layer) in enumerate(series.items(), start=1):
            axis = figure.add_subplot(1, 2, number)
            for place, (name, values) in enumerate(by_layer.items()):
                shade = place / max(len(by_layer) - 1, 1)
                axis.plot(
                    places, values, color=(shade, 0.25, 1 - shade), lw=1, label=name if len(by_layer) < 12 else None
                )
            axis.set(xlabel=unit, ylabel=f"nHSIC with the {whom}", title=f"{experiment}: {arm}")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=6)
        slug = "_".join("".join(letter if letter.isalnum() else " " for letter in arm.lower()).split())
        drawn.append(f"hsic_dependence_{experiment}_{slug}.svg")
        figure.savefig(folder / drawn[-1], metadata={"Date": None})
    return drawn
