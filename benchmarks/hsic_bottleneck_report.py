"""Summarises hsic.runs.jsonl: hsic.json, hsic.md and the plots. Nothing is trained here."""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from trainers.recipes import RECIPES

PREFIX = "hsic-bottleneck-"
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t at 0.975, by number of seeds."""
Line = dict[str, Any]


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
    half = T_95.get(len(values))
    half = half * statistics.stdev(values) / math.sqrt(len(values)) if half is not None else None
    return {"mean": statistics.mean(values), "half": half, "n": len(values), "values": list(values)}


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


def text(table: Sequence[Line], pairs: Sequence[Line], plots: Sequence[str]) -> str:
    out = [
        "Test accuracy in percent, mean over seeds ± half the 95 % interval; passes count every pass over the data,",
        "those of the matching and of HSIC before a read-out included. `python benchmarks/hsic_bottleneck.py`.",
        "",
    ]
    for experiment in dict.fromkeys(row["experiment"] for row in table):
        out += [f"## {experiment}", ""]
        name = PREFIX + experiment
        if name in RECIPES:
            recipe = RECIPES[name]
            out += [f"{recipe.title} ({recipe.source}).", ""]
            out += [
                f"- published: {f.measure} {f.value} ({f.mark}{', ' + f.note if f.note else ''})"
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
        axis.legend(fontsize=6)
        slug = "".join(letter if letter.isalnum() else "_" for letter in arm.lower())
        drawn.append(f"hsic_dependence_{experiment}_{slug}.svg")
        figure.savefig(folder / drawn[-1], metadata={"Date": None})
    return drawn
