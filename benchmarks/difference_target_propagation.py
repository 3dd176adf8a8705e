"""Runs the experiments of difference target propagation's recipes over seeds; every finished run is one JSON line.

    python benchmarks/difference_target_propagation.py --experiment continuous --seeds 1-5
    python benchmarks/difference_target_propagation.py --report

A run that is already in the file is skipped and an interrupted one goes on from its last checkpoint, so the command
may be stopped and repeated at will. `--report` writes dtp.json, dtp.md and the plots from what is there. The data
directory is ALTPROP_DATA_DIR.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from recipe_runs import commit, lines, seeded, state_folder, told

from trainers import fit
from trainers.events import Event, Finding, Metrics
from trainers.recipes import RECIPES
from trainers.spec import TrainingSpec

RESULTS = Path(__file__).parent / "results"
RUNS = RESULTS / "dtp.runs.jsonl"
PREFIX = "difference-target-propagation-"
EXPERIMENTS = tuple(name.removeprefix(PREFIX).replace("-", "_") for name in RECIPES if name.startswith(PREFIX))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", choices=EXPERIMENTS, action="append", help="may be repeated; default: all")
    parser.add_argument("--arm", action="append", help="only these arms; may be repeated")
    parser.add_argument("--form", choices=["quick", "paper"], default="paper")
    parser.add_argument("--seeds", default="1-5", help="e.g. 3 or 1-5")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--state", type=Path, default=Path(tempfile.gettempdir()) / "altprop-dtp", help="checkpoints")
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
            for arm, spec in form.arms.items():
                if options.arm is None or arm in options.arm:
                    changed = seeded(spec, seed, options.epochs, options.threads)
                    run_once(experiment, arm, changed, options.state, options.runs)


def run_once(experiment: str, arm: str, spec: TrainingSpec, state: Path, runs: Path) -> dict[str, Any]:
    """Run, or finish, one run and append it to the file; a finished one is read from there."""
    asked = spec.model_dump(mode="json", exclude_unset=True)
    for line in lines(runs):
        if (line["experiment"], line["arm"], line["asked"]) == (experiment, arm, asked):
            return line
    folder = state_folder(state, experiment, asked)
    curve_file = folder / "curve.jsonl"
    told(experiment, arm, f"seed {spec.training.seed}")

    def keep(event: Event) -> None:
        if isinstance(event, Metrics):
            with curve_file.open("a") as file:
                file.write(json.dumps({"epoch": event.epoch, **event.values}) + "\n")
            error = 100 * (1 - (event.values.get("test_accuracy") or 0))
            told(f"  epoch {event.epoch}: test error {error:.2f} %")
        elif isinstance(event, Finding):
            with (folder / "findings.jsonl").open("a") as file:
                file.write(json.dumps(event.sentence) + "\n")

    checkpoints = sorted(folder.glob("step-*.safetensors"))
    outcome = fit(spec, on_event=keep, output=folder, resume=checkpoints[-1] if checkpoints else None)
    curve = {each["epoch"]: each for each in lines(curve_file)}  # a resumed run repeats some epochs, bit for bit
    line = {
        "experiment": experiment,
        "arm": arm,
        "seed": spec.training.seed,
        "asked": asked,
        "commit": commit(),
        "spec": outcome.spec.model_dump(mode="json"),
        "curve": [curve[epoch] for epoch in sorted(curve)],
        "findings": list(dict.fromkeys(lines(folder / "findings.jsonl"))),
        "result": {
            key: value for key, value in (outcome.result or {}).items() if key not in ("confusion_matrix", "best")
        },
    }
    runs.parent.mkdir(parents=True, exist_ok=True)
    with runs.open("a") as file:
        file.write(json.dumps(line, sort_keys=True) + "\n")
    shutil.rmtree(folder)
    return line


if __name__ == "__main__":
    main()
