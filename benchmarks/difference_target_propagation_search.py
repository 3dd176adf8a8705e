"""A recorded search for hyperparameters: as many quasi-random trials for backprop as for target propagation.

    python benchmarks/difference_target_propagation_search.py --experiment continuous --trials 16

Log-uniform spaces (below) are walked by a scrambled Sobol sequence of fixed seed, the published settings being trial 0
where there are any. A trial trains on a part of the training set, with a seed that no reported run uses, and is scored
by its best validation accuracy; the test set is never looked at. Each trial is one line of results/dtp.search.jsonl,
and trials found there are not repeated.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipe_runs import RESULTS, append, is_done, quasi_random

from trainers import fit
from trainers.errors import Diverged
from trainers.events import Event, Metrics
from trainers.recipes import RECIPES
from trainers.spec import TrainingSpec

SEARCH_SEED = 90_001
SEARCHED_ARM = ", searched"
SEARCHED = RESULTS / "dtp.search.jsonl"
PREFIX = "difference-target-propagation-"
Space = dict[str, tuple[float, float]]
SPACES: dict[str, dict[str, Space]] = {
    "wide": {
        "difference_target_propagation": {
            "target_step": (0.03, 3.0),
            "learning_rate": (1e-4, 0.05),
            "feedback_learning_rate": (1e-4, 0.05),
            "feedback_noise": (0.03, 1.0),
        },
        "backprop": {"learning_rate": (1e-5, 0.05)},
    },
    "near": {
        "difference_target_propagation": {
            "target_step": (0.2, 3.0),
            "learning_rate": (0.002, 0.03),
            "feedback_learning_rate": (4e-4, 0.01),
            "feedback_noise": (0.2, 1.0),
            "input_noise": (0.02, 0.3),
        },
        "backprop": {"learning_rate": (3e-4, 3e-3), "input_noise": (0.02, 0.3)},
    },
    "discrete": {
        "difference_target_propagation": {
            "target_step": (10.0, 150.0),
            "learning_rate": (2e-4, 3e-3),
            "feedback_learning_rate": (2e-4, 5e-3),
            "feedback_noise": (0.2, 1.0),
            "input_noise": (0.02, 0.3),
        },
        "backprop": {"learning_rate": (3e-4, 1e-2), "input_noise": (0.02, 0.3)},
    },
    "stochastic": {
        "difference_target_propagation": {
            "target_step": (10.0, 200.0),
            "learning_rate": (3e-4, 6e-3),
            "feedback_learning_rate": (1e-6, 1e-3),
            "feedback_noise": (0.2, 1.0),
            "input_noise": (0.1, 0.5),
        },
        "backprop": {"learning_rate": (3e-4, 1e-2), "input_noise": (0.1, 0.5)},
    },
    "cifar10": {
        "difference_target_propagation": {
            "target_step": (0.1, 3.0),
            "learning_rate": (3e-4, 1e-2),
            "feedback_learning_rate": (1e-4, 5e-3),
            "feedback_noise": (0.1, 1.0),
            "input_noise": (0.02, 0.2),
        },
        "backprop": {"learning_rate": (5e-5, 2e-3), "input_noise": (0.02, 0.2)},
    },
}
"""Wide: around the published settings, target_step 100 times as far for networks of signs and samples. Near: where the
wide search of the continuous network did best, and noise at the inputs, the same range for both arms; the others, named
for their experiments, likewise."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--experiment",
        required=True,
        choices=[n.removeprefix(PREFIX).replace("-", "_") for n in RECIPES if PREFIX in n],
    )
    parser.add_argument("--arm", action="append", help="only these; default: all arms that a space is declared for")
    parser.add_argument("--form", choices=["quick", "paper"], default="paper", help="quick predicts from fewer samples")
    parser.add_argument("--trials", type=int, default=16, help="of each arm")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--train-size", type=int, default=20_000)
    parser.add_argument("--space", choices=SPACES, default="wide")
    parser.add_argument("--schedule", choices=["constant", "cosine"], default="constant")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", type=Path, default=SEARCHED)
    options = parser.parse_args()
    for arm, spec in unsearched(RECIPES[PREFIX + options.experiment.replace("_", "-")].form(options.form).arms).items():
        if options.arm is not None and arm not in options.arm:
            continue
        for number, settings in enumerate(trials_of(spec, options.trials, SPACES[options.space])):
            settings |= {"schedule": options.schedule}
            key = {
                "experiment": options.experiment,
                "arm": arm,
                "trial": number,
                "settings": settings,
                "epochs": options.epochs,
                "train_size": options.train_size,
            }
            if is_done(options.record, key):
                continue
            line = key | score(spec, settings, options)
            append(options.record, line)
            print(arm, number, settings, f"{line['validation_accuracy']:.4f}", flush=True)


def trials_of(spec: TrainingSpec, count: int, spaces: dict[str, Space]) -> list[dict[str, Any]]:
    """The recipe's own settings, then points of the space."""
    space = dict(spaces[spec.algorithm])
    published: dict[str, Any] = {name: spec.hyperparameters[name] for name in space if name in spec.hyperparameters}
    if spec.network.get("transmit", "value") != "value" and space.get("target_step") == (0.03, 3.0):
        space["target_step"] = (3.0, 300.0)
    return [published, *quasi_random(space, count - 1, seed=SEARCH_SEED, digits=3)]


def score(spec: TrainingSpec, settings: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Best validation accuracy; that of chance is not made up for a run that diverged: it scores 0 and says so."""
    training = spec.training.model_copy(
        update={
            "epochs": options.epochs,
            "seed": SEARCH_SEED,
            "threads": options.threads,
            "device": "cpu",
            "diagnose_every_steps": None,
        }
    )
    tried = spec.model_copy(
        update={
            "training": training,
            "hyperparameters": {**spec.hyperparameters, **settings},
            "dataset_options": {**spec.dataset_options, "train_size": options.train_size},
        }
    )
    values: list[float] = []

    def keep(event: Event) -> None:
        if isinstance(event, Metrics):
            values.append(event.values["validation_accuracy"] or 0.0)

    try:
        fit(tried, on_event=keep)
    except Diverged as diverged:
        return {"validation_accuracy": 0.0, "each_epoch": values, "ended": diverged.sentence}
    return {"validation_accuracy": max(values), "each_epoch": values, "ended": "done"}


def unsearched(arms: Mapping[str, TrainingSpec]) -> dict[str, TrainingSpec]:
    """Without those that a recipe already holds with what a search found for them."""
    return {arm: spec for arm, spec in arms.items() if not arm.endswith(SEARCHED_ARM)}


def best_trial(trials: Sequence[dict[str, Any]], experiment: str, arm: str) -> dict[str, Any] | None:
    """The best of the longest trials; None where there are none."""
    own = [trial for trial in trials if (trial["experiment"], trial["arm"]) == (experiment, arm)]
    longest = max((trial["epochs"] for trial in own), default=0)
    found = [trial for trial in own if trial["epochs"] == longest]
    return max(found, key=lambda trial: trial["validation_accuracy"], default=None)


if __name__ == "__main__":
    main()
