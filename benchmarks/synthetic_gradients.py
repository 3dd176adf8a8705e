"""Decoupled neural interfaces over seeds: MNIST by depth, CIFAR-10, full unlock, Copy, Repeat-Copy, characters.

    ALTPROP_DATA_DIR=… python benchmarks/synthetic_gradients.py --recipe synthetic-gradients-mnist-linear --seeds 1-5
    python benchmarks/synthetic_gradients.py --report

`--report` writes results/dni.md and results/dni.json from results/dni.runs.jsonl: a row for each recipe, arm and length
of run, the source's figure for that arm beside ours.
"""

import json
from typing import Any

from recipe_runs import RESULTS, arguments, lines, run_recipes, shown

from trainers.recipes import RECIPES, Figure

NAMES = tuple(name for name in RECIPES if name.startswith("synthetic-gradients-"))
RUNS = RESULTS / "dni.runs.jsonl"
MEASURES = (
    # what the result holds, its factor, its unit
    ("longest_solved", 1.0, " steps solved"),
    ("test_bits_per_character", 1.0, " bits a character"),
    ("test_accuracy", 100.0, " % of the test set"),
)


def main() -> None:
    options = arguments(__doc__, NAMES)
    if not options.report:
        run_recipes(options, NAMES, RUNS)
    write_report(lines(RUNS))


def write_report(runs: list[dict[str, Any]]) -> None:
    """A row for each recipe, arm and length of run."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["recipe"], run["arm"], run["asked"]["training"]["epochs"]), []).append(run)
    rows = [row_of(*key, group) for key, group in sorted(groups.items())]
    RESULTS.joinpath("dni.json").write_text(json.dumps(rows, indent=1) + "\n")
    text = ["# Decoupled neural interfaces: their recipes", ""]
    text += ["`python benchmarks/synthetic_gradients.py --recipe NAME --seeds 1-5`", ""]
    text += ["| recipe | arm | epochs | seeds | measured | after epoch 1 | source's figure | samples/s | failed |"]
    text += ["|---|---|---|---|---|---|---|---|---|"]
    columns = ("recipe", "arm", "epochs", "seeds", "measured", "first", "reach", "samples_per_second", "failed")
    text += ["| " + " | ".join(str(row[column]) for column in columns) + " |" for row in rows]
    RESULTS.joinpath("dni.md").write_text("\n".join(text) + "\n")


def row_of(recipe: str, arm: str, epochs: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and interval over seeds; runs that failed are counted, and stay in the row."""
    finished = [run for run in runs if "failed" not in run["result"]]
    row = {
        "recipe": recipe,
        "arm": arm,
        "epochs": epochs,
        "seeds": ", ".join(str(run["seed"]) for run in runs),
        "measured": "none finished",
        "first": "",
        "reach": "; ".join(figure_text(figure) for figure in RECIPES[recipe].figures if is_of(figure, arm)),
        "samples_per_second": "",
        "commits": ", ".join(sorted({run["commit"] for run in runs})),
        "failed": len(runs) - len(finished),
    }
    if finished:
        name, factor, unit = next(each for each in MEASURES if each[0] in finished[0]["result"])
        row["measured"] = shown([run["result"][name] for run in finished], factor, unit)
        row["first"] = shown([run["curve"][0][name] for run in finished], factor, unit)
        rates = [run["result"]["samples_per_second"] for run in finished]
        row["samples_per_second"] = f"{sum(rates) / len(rates):,.0f}"
    return row


def is_of(figure: Figure, arm: str) -> bool:
    """Figures name their arm after the measure: "test_accuracy, cDNI"; sequences' say Aux for DNI + Aux."""
    _, _, named = figure.measure.partition(", ")
    return named.replace(",", "").replace("Aux", "DNI + Aux") == arm.replace(",", "")


def figure_text(figure: Figure) -> str:
    return f"{figure.value} ({figure.mark}) {figure.note}".strip()


if __name__ == "__main__":
    main()
