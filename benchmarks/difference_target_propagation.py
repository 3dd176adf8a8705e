"""Runs the experiments of difference target propagation's recipes over seeds; every finished run is one JSON line.

    python benchmarks/difference_target_propagation.py --experiment continuous --seeds 1-5
    python benchmarks/difference_target_propagation.py --report

A run that is already in the file is skipped and an interrupted one goes on from its last checkpoint, so the command
may be stopped and repeated at will. `--report` writes dtp.json, dtp.md and the plots from what is there. The data
directory is ALTPROP_DATA_DIR.
"""

import argparse
from pathlib import Path

from difference_target_propagation_search import SEARCHED, SEARCHED_ARM, best_trial, unsearched
from recipe_runs import RESULTS, lines, run_once, seeded

from trainers.recipes import RECIPES
from trainers.spec import TrainingSpec

RUNS = RESULTS / "dtp.runs.jsonl"
PREFIX = "difference-target-propagation-"
LEFT_OUT = ("confusion_matrix", "best")
EXPERIMENTS = tuple(name.removeprefix(PREFIX).replace("-", "_") for name in RECIPES if name.startswith(PREFIX))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", choices=EXPERIMENTS, action="append", help="may be repeated; default: all")
    parser.add_argument("--arm", action="append", help="only these arms; may be repeated")
    parser.add_argument("--form", choices=["quick", "paper"], default="paper")
    parser.add_argument("--seeds", default="1-5", help="e.g. 3 or 1-5")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--searched", action="store_true", help="with the settings that a search found")
    parser.add_argument("--search-record", type=Path, default=SEARCHED, help="the search's file of finished trials")
    parser.add_argument("--runs", type=Path, default=RUNS, help="the file of finished runs")
    parser.add_argument("--report", action="store_true", help="only summarise what was run")
    options = parser.parse_args()
    if options.report:
        from difference_target_propagation_report import write_report

        write_report(options.runs, RESULTS)
        return
    first, _, last = options.seeds.partition("-")
    for seed in range(int(first), int(last or first) + 1):
        for experiment in options.experiment or EXPERIMENTS:
            form = RECIPES[PREFIX + experiment.replace("_", "-")].form(options.form)
            for arm, spec in (unsearched(form.arms) if options.searched else form.arms).items():
                if options.arm is None or arm in options.arm:
                    changed = seeded(spec, seed, options.epochs, options.threads)
                    name = arm + SEARCHED_ARM if options.searched else arm
                    if options.searched:
                        changed = with_searched(changed, experiment, arm, options.search_record)
                    run_once(experiment, name, changed, options.runs, field="experiment", left_out=LEFT_OUT)


def with_searched(spec: TrainingSpec, experiment: str, arm: str, record: Path) -> TrainingSpec:
    """With the best settings found for this arm. Exits where none were looked for."""
    found = best_trial(lines(record), experiment, arm)
    if found is None:
        raise SystemExit(
            f"No search covers {experiment}, {arm}; run benchmarks/difference_target_propagation_search.py first, "
            "choose arms with --arm, or leave --searched out."
        )
    return spec.model_copy(update={"hyperparameters": {**spec.hyperparameters, **found["settings"]}})


if __name__ == "__main__":
    main()
