"""Runs the experiments of alternating minimization's recipes over seeds, and its searches; a finished run is one line.

    python benchmarks/alternating_minimization.py --experiment first-epoch --seeds 1-5
    python benchmarks/alternating_minimization.py --experiment search-rates --seeds 11-12
    python benchmarks/alternating_minimization.py --report

A run that is already in the file is skipped, so the command may be stopped and repeated at will; a stopped run begins
anew. `--report` writes am.json, am.md and the plots from what is there. Searches run on seeds of their own and are
judged on validation data. The data directory is ALTPROP_DATA_DIR.
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipe_runs import append, commit, lines, seeded, told

from trainers import fit
from trainers.errors import Diverged
from trainers.events import Event, Metrics
from trainers.recipes import RECIPES
from trainers.spec import TrainingSpec

RESULTS = Path(__file__).parent / "results"
RUNS = RESULTS / "am.runs.jsonl"
PREFIX = "alternating-minimization-"
RECIPE_EXPERIMENTS = tuple(name.removeprefix(PREFIX) for name in RECIPES if name.startswith(PREFIX))

SEARCHES: dict[str, list[tuple[str, str, dict[str, list[Any]]]]] = {
    # experiment → (recipe, arm, hyperparameters to try in all combinations); quick forms
    "search-rates": [
        ("first-epoch", "AM-Adam", {"learning_rate": [0.002, 0.004, 0.008, 0.016, 0.032]}),
        ("first-epoch", "Adam", {"learning_rate": [0.002, 0.004, 0.008, 0.016, 0.032]}),
        ("first-epoch", "SGD", {"learning_rate": [0.03, 0.1, 0.3, 1.0, 3.0]}),
    ],
    "search-moving-codes": [
        (
            "moving-codes",
            "codes move",
            {"mu": [0.01, 0.1, 1.0], "code_learning_rate": [1.0, 10.0, 50.0], "code_momentum": [0.0]},
        ),
    ],
    "search-rnn": [
        (
            "rnn",
            "AM-Adam",
            {
                "mu": [0.01, 0.1, 1.0],
                "code_learning_rate": [10.0, 40.0],
                "code_momentum": [0.0],
                "learning_rate": [0.002, 0.005],
            },
        ),
        ("rnn", "BPTT", {"learning_rate": [0.0005, 0.001, 0.002, 0.005, 0.01]}),
    ],
    "search-memory": [
        # At the published μ and with sums that forget nothing, the first batches' weights fit codes that moved by
        # three times their norm, and the run diverges: the first point shows it.
        ("memory", "AM-mem", {"mu": [0.003], "code_learning_rate": [0.3], "memory_forgetting": [0.0]}),
        (
            "memory",
            "AM-mem",
            {
                "reduction": ["sum"],
                "mu": [0.3, 1.0, 3.0],
                "code_learning_rate": [3.0, 10.0, 30.0],
                "memory_forgetting": [0.003, 0.01, 0.03],
            },
        ),
        (
            "memory",
            "AM-mem",
            {
                "reduction": ["sum"],
                "mu": [0.3, 1.0],
                "code_learning_rate": [3.0],
                "memory_forgetting": [0.1, 0.3],
            },
        ),
        ("memory", "AM-Adam", {"learning_rate": [0.001, 0.002, 0.004, 0.008]}),
        ("memory", "Adam", {"learning_rate": [0.001, 0.002, 0.004, 0.008]}),
    ],
}
EXPERIMENTS = (*RECIPE_EXPERIMENTS, *SEARCHES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", choices=EXPERIMENTS, action="append", help="may be repeated")
    parser.add_argument("--arm", action="append", help="only these arms; may be repeated")
    parser.add_argument("--form", choices=["quick", "paper"], help="default: paper, for searches quick")
    parser.add_argument("--seeds", default="1-5", help="e.g. 3 or 1-5")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=RUNS, help="the file of finished runs")
    parser.add_argument("--report", action="store_true", help="only summarise what was run")
    options = parser.parse_args()
    if options.report:
        from alternating_minimization_report import write_report

        write_report(options.runs, RESULTS)
        return
    first, _, last = options.seeds.partition("-")
    for seed in range(int(first), int(last or first) + 1):
        for experiment in options.experiment or RECIPE_EXPERIMENTS:
            for arm, spec in arms_of(experiment, options.form):
                if options.arm is None or arm in options.arm:
                    run_once(experiment, arm, seeded(spec, seed, options.epochs, options.threads), options.runs)


def arms_of(experiment: str, form: str | None) -> Iterator[tuple[str, TrainingSpec]]:
    """Name and spec of each arm: a recipe's, or every point of a search."""
    if experiment not in SEARCHES:
        yield from RECIPES[PREFIX + experiment].form("quick" if form == "quick" else "paper").arms.items()
        return
    for recipe, arm, space in SEARCHES[experiment]:
        spec = RECIPES[PREFIX + recipe].form("paper" if form == "paper" else "quick").arms[arm]
        for values in itertools.product(*space.values()):
            chosen = dict(zip(space, values, strict=True))
            if chosen.get("code_momentum") == 0.0:
                chosen["code_nesterov"] = False
            changed = spec.model_copy(update={"hyperparameters": {**spec.hyperparameters, **chosen}})
            yield f"{arm}: " + ", ".join(f"{key} {value}" for key, value in chosen.items()), changed


def run_once(experiment: str, arm: str, spec: TrainingSpec, runs: Path) -> dict[str, Any]:
    """Run one run and append it to the file; a finished one is read from there."""
    asked = spec.model_dump(mode="json", exclude_unset=True)
    for line in lines(runs):
        if (line["experiment"], line["arm"], line["asked"]) == (experiment, arm, asked):
            return line
    told(experiment, arm, f"seed {spec.training.seed}")
    curve: list[dict[str, Any]] = []

    def keep(event: Event) -> None:
        if isinstance(event, Metrics):
            values = {key: value for key, value in event.values.items() if key.endswith(("accuracy", "loss"))}
            curve.append({"epoch": event.epoch, "step": event.step, **values})

    line: dict[str, Any] = {"experiment": experiment, "arm": arm, "seed": spec.training.seed}
    line |= {"asked": asked, "commit": commit()}
    try:
        outcome = fit(spec, on_event=keep)
        result = outcome.result or {}
        kept = ("test_accuracy", "validation_accuracy", "samples_per_second", "seconds", "machine", "diagnostics")
        line |= {"curve": curve, "result": {key: result[key] for key in kept if key in result}}
    except Diverged as diverged:
        line |= {"curve": curve, "result": None, "diverged": diverged.sentence}
    last = curve[-1].get("test_accuracy") if curve else None
    told("  test accuracy", last)
    append(runs, line)
    return line


if __name__ == "__main__":
    main()
