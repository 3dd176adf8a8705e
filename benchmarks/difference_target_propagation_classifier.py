"""A classifier on the filters of an auto-encoder that target propagation trained, beside its rivals.

    python benchmarks/difference_target_propagation_classifier.py --search 12
    python benchmarks/difference_target_propagation_classifier.py --searched --seeds 1-5

For each seed and each source of filters (target propagation's auto-encoder, backprop's, none): a 784-1000-10 network
whose first layer starts from the encoder, trained by backprop as a whole, or its output layer alone. Scored at the
epoch of best validation accuracy. One JSON line a run in results/dtp.classifier.jsonl; those found there are skipped.

`--search` tries as many settings of each source, the auto-encoder's and the classifier's together, on a part of the
training set and with a seed that no reported run uses, scored by the whole network's best validation accuracy; trials
are lines of results/dtp.search.jsonl. `--searched` runs with the best of them.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from difference_target_propagation_search import SEARCH_SEED, SEARCHED, best_trial
from recipe_runs import RESULTS, append, commit, is_done, lines, quasi_random, seeded, told
from torch import Tensor

from trainers import fit
from trainers.assembly import assemble
from trainers.events import Event, Metrics
from trainers.loop import Run
from trainers.recipes import RECIPES
from trainers.resolve import resolve_parts
from trainers.spec import TrainingSpec

RECIPE = "difference-target-propagation-autoencoder"
FINE_TUNING = {"learning_rate": 1e-3}
CLASSIFIER_SPACE = {"classifier.learning_rate": (2e-4, 3e-3), "classifier.input_noise": (0.02, 0.5)}
SPACES: dict[str, dict[str, tuple[float, float]]] = {
    "target propagation": {
        "autoencoder.learning_rate": (2e-4, 1e-2),
        "autoencoder.target_step": (20.0, 800.0),
        "autoencoder.feedback_noise": (0.03, 1.0),
        "autoencoder.input_noise": (0.1, 1.0),
        **CLASSIFIER_SPACE,
    },
    "backprop": {
        "autoencoder.learning_rate": (2e-4, 1e-2),
        "autoencoder.input_noise": (0.1, 1.0),
        **CLASSIFIER_SPACE,
    },
    "none": CLASSIFIER_SPACE,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="1-5")
    parser.add_argument("--form", choices=["quick", "paper"], default="paper")
    parser.add_argument("--epochs", type=int, default=40, help="of the classifier")
    parser.add_argument("--autoencoder-epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--train-size", type=int, help="samples trained on; default: all")
    parser.add_argument("--filters", action="append", choices=SPACES, help="only these; may be repeated")
    parser.add_argument("--search", type=int, metavar="TRIALS", help="of each source of filters, instead of runs")
    parser.add_argument("--searched", action="store_true", help="with the settings that a search found")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", type=Path, default=RESULTS / "dtp.classifier.jsonl", help="finished runs")
    parser.add_argument("--search-record", type=Path, default=SEARCHED, help="finished trials")
    options = parser.parse_args()
    arms: dict[str, TrainingSpec | None] = {**RECIPES[RECIPE].form(options.form).arms, "none": None}
    for filters, spec in arms.items():
        if options.filters is not None and filters not in options.filters:
            continue
        if options.search is not None:
            search(filters, spec, options)
        else:
            run(filters, spec, best_settings(filters, options.search_record) if options.searched else {}, options)


def run(filters: str, spec: TrainingSpec | None, settings: dict[str, float], options: argparse.Namespace) -> None:
    """Both classifiers of every seed."""
    first, _, last = options.seeds.partition("-")
    for seed in range(int(first), int(last or first) + 1):
        encoder: dict[str, Tensor] | None = None
        for trained in ("all", "output"):
            key = {
                "filters": filters,
                "trained": trained,
                "seed": seed,
                "form": options.form,
                "epochs": options.epochs,
                "autoencoder_epochs": options.autoencoder_epochs,
                "settings": settings,
            }
            if is_done(options.record, key):
                continue
            if spec is not None and encoder is None:
                encoder = encoder_of(spec, settings, seed, options)
            curve = classifier_curve(encoder, trained, settings, seed, options)
            best = max(curve, key=lambda epoch: epoch["validation_accuracy"])
            line = key | {
                "test_error": 100 * (1 - best["test_accuracy"]),
                "test_error_last": 100 * (1 - curve[-1]["test_accuracy"]),
                "commit": commit(),
            }
            append(options.record, line)
            told(filters, trained, seed, f"test error {line['test_error']:.2f} %")


def search(filters: str, spec: TrainingSpec | None, options: argparse.Namespace) -> None:
    """Trial 0 has the settings that runs have without a search."""
    drawn = quasi_random(SPACES[filters], options.search - 1, seed=SEARCH_SEED, digits=3)
    for number, settings in enumerate([{}, *drawn]):
        key = {
            "experiment": "classifier",
            "arm": filters,
            "trial": number,
            "settings": settings,
            "epochs": options.epochs,
            "autoencoder_epochs": options.autoencoder_epochs,
            "train_size": options.train_size,
        }
        if is_done(options.search_record, key):
            continue
        encoder = None if spec is None else encoder_of(spec, settings, SEARCH_SEED, options)
        curve = classifier_curve(encoder, "all", settings, SEARCH_SEED, options)
        each_epoch = [epoch["validation_accuracy"] for epoch in curve]
        line = key | {"validation_accuracy": max(each_epoch), "each_epoch": each_epoch, "ended": "done"}
        append(options.search_record, line)
        told(filters, number, settings, f"{line['validation_accuracy']:.4f}")


def best_settings(filters: str, record: Path) -> dict[str, float]:
    found = best_trial(lines(record), "classifier", filters)
    if found is None:
        raise SystemExit(f"No search covers filters from {filters}; run with --search first, or leave --searched out.")
    return dict(found["settings"])


def encoder_of(
    spec: TrainingSpec, settings: dict[str, float], seed: int, options: argparse.Namespace
) -> dict[str, Tensor]:
    """Weight and bias of a trained auto-encoder's first layer."""
    spec = seeded(spec, seed, options.autoencoder_epochs, options.threads)
    changed = spec.model_copy(
        update={
            "hyperparameters": {**spec.hyperparameters, **part_of(settings, "autoencoder")},
            "dataset_options": {**spec.dataset_options, **train_size_of(options)},
        }
    )
    outcome = fit(changed)
    return {name: value.detach().clone() for name, value in outcome.parts.network.layers[0].state_dict().items()}


def classifier_curve(
    encoder: dict[str, Tensor] | None,
    trained: str,
    settings: dict[str, float],
    seed: int,
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    """What each epoch measured."""
    tuned = {**FINE_TUNING, **part_of(settings, "classifier")}
    parts = assemble(
        resolve_parts(
            {
                "algorithm": "backprop",
                "dataset": "mnist",
                "hyperparameters": {**tuned, "trained_layers": trained, "schedule": "cosine"},
                "dataset_options": {"validation_size": 10_000, **train_size_of(options)},
                "network": {"kind": "mlp", "hidden": [1000], "activation": "sigmoid", "initialization": "xavier"},
                "training": {
                    "epochs": options.epochs,
                    "batch_size": 100,
                    "seed": seed,
                    "threads": options.threads,
                    "device": "cpu",
                    "diagnose_every_steps": None,
                },
            }
        )
    )
    if encoder is not None:
        with torch.no_grad():
            parts.network.layers[0].load_state_dict(encoder)
    curve: list[dict[str, Any]] = []

    def keep(event: Event) -> None:
        if isinstance(event, Metrics):
            curve.append(dict(event.values))

    Run(parts, on_event=keep).go()
    return curve


def part_of(settings: dict[str, float], part: str) -> dict[str, float]:
    """`{"part.name": value}` → `{"name": value}`."""
    return {name.removeprefix(f"{part}."): value for name, value in settings.items() if name.startswith(f"{part}.")}


def train_size_of(options: argparse.Namespace) -> dict[str, int]:
    return {} if options.train_size is None else {"train_size": options.train_size}


if __name__ == "__main__":
    main()
