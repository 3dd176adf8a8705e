"""A classifier on the filters of an auto-encoder that target propagation trained, beside its rivals.

    python benchmarks/difference_target_propagation_classifier.py --seeds 1-5

For each seed and each source of filters (target propagation's auto-encoder, backprop's, none): a 784-1000-10 network
whose first layer starts from the encoder, trained by backprop as a whole, or its output layer alone. Scored at the
epoch of best validation accuracy. One JSON line a run in results/dtp.classifier.jsonl; those found there are skipped.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainers import fit
from trainers.assembly import assemble
from trainers.events import Event, Metrics
from trainers.loop import Run
from trainers.recipes import RECIPES
from trainers.resolve import resolve_parts
from trainers.spec import TrainingSpec

RECORD = Path(__file__).parent / "results" / "dtp.classifier.jsonl"
RECIPE = "difference-target-propagation-autoencoder"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="1-5")
    parser.add_argument("--form", choices=["quick", "paper"], default="paper")
    parser.add_argument("--epochs", type=int, default=40, help="of the classifier")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", type=Path, default=RECORD)
    options = parser.parse_args()
    arms: dict[str, TrainingSpec | None] = {**RECIPES[RECIPE].form(options.form).arms, "none": None}
    first, _, last = options.seeds.partition("-")
    for seed in range(int(first), int(last or first) + 1):
        for filters, spec in arms.items():
            encoder: dict[str, Tensor] | None = None
            for trained in ("all", "output"):
                key = {
                    "filters": filters,
                    "trained": trained,
                    "seed": seed,
                    "form": options.form,
                    "epochs": options.epochs,
                }
                if any(all(line[name] == value for name, value in key.items()) for line in recorded(options.record)):
                    continue
                if spec is not None and encoder is None:
                    encoder = encoder_of(spec, seed, options.threads)
                line = key | classify(encoder, trained, seed, options.epochs, options.threads)
                with options.record.open("a") as file:
                    file.write(json.dumps(line, sort_keys=True) + "\n")
                print(filters, trained, seed, f"test error {line['test_error']:.2f} %", flush=True)


def encoder_of(spec: TrainingSpec, seed: int, threads: int) -> dict[str, Tensor]:
    """Weight and bias of a trained auto-encoder's first layer."""
    training = spec.training.model_copy(update={"seed": seed, "threads": threads, "device": "cpu"})
    outcome = fit(spec.model_copy(update={"training": training}))
    return {name: value.detach().clone() for name, value in outcome.parts.network.layers[0].state_dict().items()}


def classify(encoder: dict[str, Tensor] | None, trained: str, seed: int, epochs: int, threads: int) -> dict[str, Any]:
    parts = assemble(
        resolve_parts(
            {
                "algorithm": "backprop",
                "dataset": "mnist",
                "hyperparameters": {"learning_rate": 1e-3, "trained_layers": trained, "schedule": "cosine"},
                "dataset_options": {"validation_size": 10_000},
                "network": {"kind": "mlp", "hidden": [1000], "activation": "sigmoid", "initialization": "xavier"},
                "training": {
                    "epochs": epochs,
                    "batch_size": 100,
                    "seed": seed,
                    "threads": threads,
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
    best = max(curve, key=lambda epoch: epoch["validation_accuracy"])
    return {
        "test_error": 100 * (1 - best["test_accuracy"]),
        "test_error_last": 100 * (1 - curve[-1]["test_accuracy"]),
    }


def recorded(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
