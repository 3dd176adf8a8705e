"""A recorded search for rates: as many quasi-random trials for backprop as for each form of synthetic gradients.

    ALTPROP_DATA_DIR=… python benchmarks/dni_search.py --case mnist --trials 8

A case is one recipe on which the rates of a family of recipes are settled. Log-uniform spaces (below) are walked by a
scrambled Sobol sequence of fixed seed; trial 0 is the recipe's own settings. A trial has a seed that no reported run
uses and is scored on validation data, or for sequences by the longest one solved in training; test sets are never
looked at. Each trial is one line of results/dni.search.jsonl, and trials found there are not repeated.
`benchmarks/synthetic_gradients.py --searched` runs a family with the best settings found for it.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from recipe_runs import RESULTS, append, is_done, lines, quasi_random, told

from trainers import fit
from trainers.errors import TrainerError
from trainers.events import Event, Metrics
from trainers.recipes import RECIPES
from trainers.spec import TrainingSpec

SEARCH_SEED = 90_001
RECORD = RESULTS / "dni.search.jsonl"
PREFIX = "synthetic-gradients-"
RATES = {"learning_rate": (3e-4, 1e-2), "synthesizer_learning_rate": (3e-5, 1e-2)}
THROUGH_TIME = {**RATES, "applied_scale": (0.03, 1.0)}


@dataclass(frozen=True, slots=True)
class Case:
    """Where the settings of a family are looked for, and how a trial is scored: the higher the better."""

    recipe: str
    family: tuple[str, ...]
    """Recipes, by the beginnings of their names, that are run with what is found."""
    epochs: int
    score: str
    sign: int
    space: dict[str, tuple[float, float]]
    train_size: int | None = None
    over_epochs: Callable[[Sequence[float]], float] = max
    """The best epoch's score; or their mean, where all that matters is who gets there sooner."""

    def covers(self, recipe: str) -> bool:
        return recipe.removeprefix(PREFIX).startswith(self.family)

    def differs_in_space_alone(self, other: "Case") -> bool:
        """So that scores of the two can be compared."""
        return replace(self, space=other.space) == other


MNIST = Case("mnist-5", ("mnist-", "unlock"), 6, "validation_accuracy", 1, RATES, train_size=20_000)
MNIST_LONGER = Case(
    "mnist-5",
    ("mnist-3", "mnist-4", "mnist-5", "mnist-6"),
    20,
    "validation_accuracy",
    1,
    {"learning_rate": (5e-4, 3e-2), "synthesizer_learning_rate": (5e-4, 1e-2)},
)
CIFAR10 = Case("cifar10-cnn", ("cifar10-cnn",), 5, "validation_accuracy", 1, RATES)
REPEAT_COPY = Case("repeat-copy", ("repeat-copy", "copy"), 10, "longest_solved", 1, THROUGH_TIME, over_epochs=fmean)

# Of two cases that cover a recipe the first counts, where it has trials: the longer one, about what the other found.
# Cases that differ in space alone are one search.
CASES = {
    "mnist-longer": MNIST_LONGER,
    "mnist-longer, low rates": replace(
        MNIST_LONGER, space={"learning_rate": (5e-5, 1e-3), "synthesizer_learning_rate": (2e-3, 3e-2)}
    ),
    "mnist": MNIST,
    "cifar10-longer": replace(CIFAR10, epochs=20),
    "cifar10": CIFAR10,
    "repeat-copy-longer": replace(
        REPEAT_COPY,
        epochs=30,
        space={
            "learning_rate": (3e-4, 3e-3),
            "synthesizer_learning_rate": (1e-4, 3e-3),
            "applied_scale": (0.4, 1.0),
        },
    ),
    "repeat-copy": REPEAT_COPY,
    "repeat-copy, auxiliary": replace(
        REPEAT_COPY,
        space={
            "learning_rate": (8e-4, 4e-3),
            "synthesizer_learning_rate": (1e-4, 1e-3),
            "applied_scale": (0.4, 1.0),
            "auxiliary_weight": (0.1, 30.0),
        },
    ),
    "characters": Case("characters", ("characters",), 1, "validation_loss", -1, THROUGH_TIME),
    "two-networks": Case("two-networks", ("two-networks",), 4, "validation_accuracy", 1, THROUGH_TIME),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, action="append", help="may be repeated; default: all")
    parser.add_argument("--arm", action="append", help="only these arms of the recipe's quick form")
    parser.add_argument("--trials", type=int, default=8, help="of each arm")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", type=Path, default=RECORD, help="the file of finished trials")
    options = parser.parse_args()
    for name in options.case or CASES:
        case = CASES[name]
        for arm, spec in RECIPES[PREFIX + case.recipe].form("quick").arms.items():
            if options.arm is None or arm in options.arm:
                search(name, case, arm, spec, options)


def search(name: str, case: Case, arm: str, spec: TrainingSpec, options: argparse.Namespace) -> None:
    record: Path = options.record
    for number, settings in enumerate(trials_of(case, spec, options.trials)):
        key = {"case": name, "arm": arm, "trial": number, "settings": settings, "epochs": case.epochs}
        if is_done(record, key):
            continue
        line = key | scored(case, spec, settings, options.threads)
        append(record, line)
        told(name, arm, number, settings, line["score"], line["ended"])


def trials_of(case: Case, spec: TrainingSpec, count: int) -> list[dict[str, Any]]:
    """The recipe's own settings, then points of the space that the arm's algorithm knows."""
    space = {
        field: around
        for field, around in case.space.items()
        if spec.algorithm == "synthetic_gradients" or field == "learning_rate"
    }
    own: dict[str, Any] = {field: spec.hyperparameters[field] for field in space if field in spec.hyperparameters}
    return [own, *quasi_random(space, count - 1, seed=SEARCH_SEED, digits=2)]


def scored(case: Case, spec: TrainingSpec, settings: dict[str, float], threads: int) -> dict[str, Any]:
    """By the case's measure; a run that failed has no score, and says why."""
    changes = {
        "epochs": case.epochs,
        "seed": SEARCH_SEED,
        "threads": threads,
        "device": "cpu",
        "diagnose_every_steps": None,
    }
    options = dict(spec.dataset_options)
    if case.train_size is not None:
        options["train_size"] = case.train_size
    tried = spec.model_copy(
        update={
            "training": spec.training.model_copy(update=changes),
            "hyperparameters": {**spec.hyperparameters, **settings},
            "dataset_options": options,
        }
    )
    values: list[float] = []

    def keep(event: Event) -> None:
        if isinstance(event, Metrics):
            values.append(case.sign * (event.values[case.score] or 0.0))

    try:
        fit(tried, on_event=keep)
    except TrainerError as error:
        return {"score": None, "ended": error.sentence}
    return {"score": case.over_epochs(values), "ended": "done"}


def best_settings(recipe: str, arm: str, record: Path = RECORD) -> dict[str, float] | None:
    """What was found for this arm of the recipe's family; None where nothing was looked for.

    Arms that differ in T alone share what was found for one of them.
    """
    covering = {name: case for name, case in CASES.items() if case.covers(recipe)}
    trials = [
        line
        for line in lines(record)
        if line["case"] in covering and line["score"] is not None and _kind(line["arm"]) == _kind(arm)
    ]
    for case in covering.values():
        found = [line for line in trials if covering[line["case"]].differs_in_space_alone(case)]
        if found:
            return dict(max(found, key=lambda line: line["score"])["settings"])
    return None


def _kind(arm: str) -> str:
    """The arm without what its search need not be repeated for: T, p, the way it is unlocked."""
    kind = arm.partition(" T = ")[0].partition(", p = ")[0]
    return "cDNI" if kind == "full unlock" else kind


if __name__ == "__main__":
    main()
