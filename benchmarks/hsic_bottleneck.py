"""Runs the experiments of the HSIC bottleneck's recipes over seeds, and its searches; a finished run is one JSON line.

    python benchmarks/hsic_bottleneck.py --experiment unformatted-mnist --seeds 1-5
    python benchmarks/hsic_bottleneck.py --experiment search-backprop --seeds 11
    python benchmarks/hsic_bottleneck.py --report

A run that is already in the file is skipped, so the command may be stopped and repeated at will; a stopped run begins
anew. `--report` writes hsic.json, hsic.md and the plots from what is there. Searches run on seeds of their own and are
judged on validation data. The data directory is ALTPROP_DATA_DIR.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import recipe_runs
from recipe_runs import append, commit, lines, told

from trainers import fit
from trainers.errors import Diverged
from trainers.events import Diagnostics, Event, Metrics
from trainers.recipes import RECIPES
from trainers.spec import TrainingSpec

RESULTS = Path(__file__).parent / "results"
RUNS = RESULTS / "hsic.runs.jsonl"
PREFIX = "hsic-bottleneck-"
RECIPE_EXPERIMENTS = tuple(name.removeprefix(PREFIX) for name in RECIPES if name.startswith(PREFIX))

UNFORMATTED = ("unformatted-mnist", "unformatted-fashion-mnist", "unformatted-cifar10")
SEARCHES: dict[str, list[tuple[str, str, dict[str, list[Any]], int]]] = {
    # experiment → (recipe, arm, hyperparameter → values, epochs); the paper's form
    "search-backprop": [
        *((each, "backprop", {"learning_rate": [0.01, 0.03, 0.1]}, 1) for each in (*UNFORMATTED, "format-trained")),
        *((each, "backprop, cosine schedule", {"learning_rate": [0.01, 0.03, 0.1]}, 2) for each in UNFORMATTED),
    ],
    "search-hsic": [
        ("unformatted-mnist", "HSIC", {"learning_rate": [3e-4, 1e-3, 3e-3]}, 1),
        *((each, "HSIC, cosine schedule", {"learning_rate": [1e-3, 2e-3, 4e-3]}, 2) for each in UNFORMATTED),
        ("unformatted-mnist", "HSIC, cosine schedule", {"learning_rate": [2e-3, 3e-3], "weight_decay": [0.0]}, 5),
    ],
}
EXPERIMENTS = (*RECIPE_EXPERIMENTS, *SEARCHES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", choices=EXPERIMENTS, action="append", help="may be repeated; default: recipes'")
    parser.add_argument("--arm", action="append", help="only these arms; may be repeated")
    parser.add_argument("--form", choices=["quick", "paper"], default="paper")
    parser.add_argument("--seeds", default="1-5", help="e.g. 3 or 1-5")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=RUNS, help="the file of finished runs")
    parser.add_argument("--report", action="store_true", help="only summarise what was run")
    options = parser.parse_args()
    if options.report:
        from hsic_bottleneck_report import write_report

        write_report(options.runs, RESULTS)
        return
    first, _, last = options.seeds.partition("-")
    for seed in range(int(first), int(last or first) + 1):
        for experiment in options.experiment or RECIPE_EXPERIMENTS:
            for arm, spec, epochs in arms_of(experiment, options.form):
                if options.arm is None or arm in options.arm:
                    changed = seeded(spec, seed, options.epochs or epochs, options.threads)
                    run_once(experiment, options.form, arm, changed, options.runs)


def arms_of(experiment: str, form: str) -> Iterator[tuple[str, TrainingSpec, int | None]]:
    """Arm, its spec, and other epochs than the spec's: of a recipe, or of a search."""
    if experiment not in SEARCHES:
        recipe = RECIPES[PREFIX + experiment].form("quick" if form == "quick" else "paper")
        for arm, spec in recipe.arms.items():
            yield arm, spec, None
        return
    for recipe_name, arm, values, epochs in SEARCHES[experiment]:
        spec = RECIPES[PREFIX + recipe_name].form("paper").arms[arm]
        for name, each in values.items():
            for value in each:
                changed = spec.model_copy(update={"hyperparameters": {**spec.hyperparameters, name: value}})
                yield f"{recipe_name}, {arm}: {name} {value}", changed, epochs


def seeded(spec: TrainingSpec, seed: int, epochs: int | None, threads: int) -> TrainingSpec:
    """The recipe's spec for one seed, on the CPU; undiagnosed unless it asks for that, a tenth of the time."""
    changed = recipe_runs.seeded(spec, seed, epochs, threads)
    if "diagnose_every_steps" in spec.training.model_fields_set:
        return changed
    training = changed.training.model_copy(update={"diagnose_every_steps": None})
    return changed.model_copy(update={"training": training})


def run_once(experiment: str, form: str, arm: str, spec: TrainingSpec, runs: Path) -> dict[str, Any]:
    """Run one run and append it to the file; a finished one is read from there."""
    asked = spec.model_dump(mode="json", exclude_unset=True)
    for line in lines(runs):
        if (line["experiment"], line["arm"], line["asked"]) == (experiment, arm, asked):
            return line
    told(experiment, arm, f"seed {spec.training.seed}")
    curve: list[dict[str, Any]] = []
    dependences: list[dict[str, Any]] = []

    def keep(event: Event) -> None:
        if isinstance(event, Metrics):
            kept = {
                name: round(value, 6)
                for name, value in event.values.items()
                if value is not None and (name.endswith(("accuracy", "loss", "objective")) or "hsic_" in name)
            }
            curve.append({"epoch": event.epoch, "passes": event.passes, "step": event.step, **kept})
        elif isinstance(event, Diagnostics):
            rows = [{key: row.get(key) for key in ("layer", "nhsic_input", "nhsic_label")} for row in event.layers]
            dependences.append({"step": event.step, "layers": rows})

    line: dict[str, Any] = {"experiment": experiment, "form": form, "arm": arm, "seed": spec.training.seed}
    line |= {"asked": asked, "commit": commit()}
    try:
        outcome = fit(spec, on_event=keep)
        result = outcome.result or {}
        kept = (
            "test_accuracy",
            "validation_accuracy",
            "per_class_accuracy",
            "samples_per_second",
            "seconds",
            "machine",
        )
        line |= {"result": {key: result[key] for key in kept if key in result}}
        matching = getattr(outcome.parts.algorithm, "matching", None)
        if matching is not None:
            silent = (matching.unit_of_class == len(matching.counts)).nonzero().flatten().tolist()
            line["result"]["silent_class"] = silent[0] if silent else None
    except Diverged as diverged:
        line |= {"result": None, "diverged": diverged.sentence}
    line |= {"curve": curve}
    if experiment == "in-backprop":
        line |= {"dependences": dependences}
    last = curve[-1].get("test_accuracy") if curve else None
    told("  test accuracy", last)
    append(runs, line)
    return line


if __name__ == "__main__":
    main()
