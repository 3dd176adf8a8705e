"""Decoupled neural interfaces over seeds: each recipe, arm by arm, resumably; then tables and plots.

    ALTPROP_DATA_DIR=… python benchmarks/synthetic_gradients.py --recipe synthetic-gradients-mnist-linear --seeds 1-5
    ALTPROP_DATA_DIR=… python benchmarks/synthetic_gradients.py --form quick --epochs 20 --searched \\
        --recipe synthetic-gradients-mnist-3 --recipe synthetic-gradients-mnist-4
    python benchmarks/synthetic_gradients.py --report

MNIST by depth (mnist-3 … mnist-6), linear cDNI (mnist-linear), full unlock and random updates (unlock), the CIFAR-10
network (cifar10-cnn), Copy and Repeat-Copy by T, characters, and the two networks. `--searched` takes the settings that
`benchmarks/dni_search.py` found. Every finished run is a line of results/dni.runs.jsonl; `--report` (dni_report.py)
writes results/dni.md, dni.json and plots from them, the source's figures beside ours.
"""

import argparse
from pathlib import Path

from dni_report import write_report
from dni_search import RECORD, best_settings
from recipe_runs import RESULTS, run_once, seeded

from trainers.recipes import RECIPES
from trainers.spec import TrainingSpec

NAMES = tuple(name for name in RECIPES if name.startswith("synthetic-gradients-"))
RUNS = RESULTS / "dni.runs.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=NAMES, action="append", help="may be repeated; default: all")
    parser.add_argument("--arm", action="append", help="only these arms; may be repeated")
    parser.add_argument("--form", choices=["quick", "paper"], default="paper")
    parser.add_argument("--seeds", default="1-5", help="e.g. 3 or 1-5")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--searched", action="store_true", help="with the settings that a search found")
    parser.add_argument("--record", type=Path, default=RECORD, help="the search's file of finished trials")
    parser.add_argument("--runs", type=Path, default=RUNS, help="the file of finished runs")
    parser.add_argument("--report", action="store_true", help="only summarise what was run")
    options = parser.parse_args()
    if options.report:
        write_report(options.runs, RESULTS)
    else:
        run_all(options)


def run_all(options: argparse.Namespace) -> None:
    first, _, last = options.seeds.partition("-")
    for seed in range(int(first), int(last or first) + 1):
        for name in options.recipe or NAMES:
            for arm, spec in RECIPES[name].form(options.form).arms.items():
                if options.arm is None or arm in options.arm:
                    chosen = searched(name, arm, spec, options.record) if options.searched else spec
                    run_once(name, arm, seeded(chosen, seed, options.epochs, options.threads), options.runs)


def searched(recipe: str, arm: str, spec: TrainingSpec, record: Path) -> TrainingSpec:
    """With the best settings found; those that nothing is looked for in (no bprop) keep their own. Exits where none
    were looked for."""
    found = best_settings(recipe, arm, record)
    if found is None:
        raise SystemExit(
            f"No search covers {recipe}, {arm}; run benchmarks/dni_search.py first, or leave --searched out."
        )
    return spec.model_copy(update={"hyperparameters": {**spec.hyperparameters, **found}})


if __name__ == "__main__":
    main()
