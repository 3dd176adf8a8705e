"""Backprop's recipes over seeds: MNIST 2×256, CIFAR-10 ResNet-20, the tiny-shakespeare LSTM.

    ALTPROP_DATA_DIR=… python benchmarks/backprop.py --recipe mnist --seeds 1-5
    python benchmarks/backprop.py --report

`--report` writes results/backprop.md and results/backprop.json from results/backprop.runs.jsonl.
"""

import json
from typing import Any

from recipe_runs import RESULTS, arguments, lines, run_recipes, shown

from trainers.recipes import RECIPES

NAMES = ("mnist", "cifar10-resnet20", "shakespeare-lstm")
RUNS = RESULTS / "backprop.runs.jsonl"


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
    RESULTS.joinpath("backprop.json").write_text(json.dumps(rows, indent=1) + "\n")
    text = ["# Backprop: its recipes", "", "`python benchmarks/backprop.py --recipe NAME --seeds 1-5`", ""]
    text += ["| recipe | data | arm | epochs | seeds | measured | to reach | samples/s | commits |"]
    text += ["|---|---|---|---|---|---|---|---|---|"]
    columns = ("recipe", "data", "arm", "epochs", "seeds", "measured", "reach", "samples_per_second", "commits")
    text += [f"| {' | '.join(str(row[column]) for column in columns)} |" for row in rows]
    RESULTS.joinpath("backprop.md").write_text("\n".join(text) + "\n")


def row_of(recipe: str, arm: str, epochs: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and interval over seeds, beside the figure to reach."""
    results = [run["result"] for run in runs if "failed" not in run["result"]]
    text = RECIPES[recipe].figures
    characters = "test_bits_per_character" in results[0] if results else False
    held_out = [(result["validation_loss"] + result["test_loss"]) / 2 for result in results] if characters else []
    measured = (
        f"{shown(held_out, unit=' nats a character')} on the held-out tenth; its second half, the test split, alone: "
        f"{shown([result['test_loss'] for result in results])}"
        if characters
        else shown([result["test_accuracy"] for result in results], 100, " % of test images")
    )
    return {
        "recipe": recipe,
        "data": (results[0]["dataset"]["sentence"] or "the official bytes") if results else "",
        "arm": arm,
        "epochs": epochs,
        "seeds": ", ".join(str(run["seed"]) for run in runs),
        "measured": measured,
        "reach": "; ".join(f"{figure.measure} {figure.value} ({figure.mark}) {figure.note}".strip() for figure in text),
        "samples_per_second": f"{sum(result['samples_per_second'] for result in results) / len(results):,.0f}",
        "commits": ", ".join(sorted({run["commit"] for run in runs})),
        "failed": sum("failed" in run["result"] for run in runs),
    }


if __name__ == "__main__":
    main()
