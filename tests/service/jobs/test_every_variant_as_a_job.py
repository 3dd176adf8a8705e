"""Every variant that a paper's experiments name trains as a job, from the settings of its recipe, on the recipe's data.

A few batches of each: what is shown is that the engine takes, trains and stores them, not what they score.
"""

from typing import Any

import pytest

from service.jobs.models import Checkpoint
from service.jobs.states import State
from service.jobs.worker import ThisWorker
from trainers.recipes import RECIPES

VARIANTS: dict[str, list[tuple[str, str]]] = {
    "alternating-minimization": [
        ("first-epoch", "AM-Adam"),
        ("memory", "AM-mem"),
        ("moving-codes", "codes move far"),
        ("binary", "AM-Adam"),
        ("lenet", "AM-Adam"),
        ("rnn", "AM-Adam"),
    ],
    "difference-target-propagation": [
        ("continuous", "target propagation"),
        ("continuous", "plain target propagation"),
        ("discrete", "target propagation"),
        ("stochastic", "target propagation"),
        ("autoencoder", "target propagation"),
        ("cifar10", "target propagation"),
        ("local-difference", "local difference reconstruction"),
        ("local-difference", "fixed"),
    ],
    "hsic-bottleneck": [
        ("format-trained", "1 HSIC epoch"),
        ("format-trained", "both at once"),
        ("unformatted-mnist", "HSIC"),
        ("combined-sigma", "combined"),
        ("random-features", "random features"),
        ("resnet", "MNIST HSIC"),
        ("phsic", "cosine"),
    ],
    "synthetic-gradients": [
        ("mnist-linear", "cDNI"),
        ("mnist-3", "DNI"),
        ("unlock", "full unlock"),
        ("unlock", "cDNI, p = 0.2"),
        ("cifar10-cnn", "cDNI"),
        ("copy", "DNI T = 3"),
        ("repeat-copy", "DNI + Aux T = 3"),
        ("two-networks", "synthetic gradients"),
    ],
}
PICTURES = {"autoencoder", "unformatted-mnist"}
"""Recipes whose results hold pictures."""


def small(recipe: str, arm: str) -> dict[str, Any]:
    """The recipe's quick form, cut down to some batches."""
    spec = RECIPES[recipe].form("quick").arms[arm]
    epochs = 1 + spec.hyperparameters.get("readout_epochs", 0)
    training = spec.training.model_copy(update={"epochs": epochs, "batch_size": 50, "seed": 3})
    options: dict[str, Any] = dict(spec.dataset_options)
    if spec.training.steps_per_epoch is None:
        options |= {"train_size": 200, "validation_size": 100}
    else:
        training = training.model_copy(update={"steps_per_epoch": 4})
    return {
        "algorithm": spec.algorithm,
        "dataset": spec.dataset,
        "dataset_options": options,
        "hyperparameters": spec.hyperparameters,
        "network": spec.network,
        "training": training.model_dump(exclude_unset=True),
    }


@pytest.mark.slow
@pytest.mark.full_data
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("algorithm", VARIANTS)
def test_each_succeeds_and_keeps_its_checkpoint(algorithm: str, worker: ThisWorker, make_job: Any) -> None:
    jobs = {each: make_job(**small(f"{algorithm}-{each[0]}", each[1])) for each in VARIANTS[algorithm]}

    assert worker.answer() == len(jobs)

    for (recipe, arm), job in jobs.items():
        job.refresh_from_db()
        assert job.state == State.SUCCEEDED, f"{recipe}, {arm}: {job.sentence} {job.failure}"
        assert Checkpoint.objects.published().filter(job=job, kinds__contains=["last"]).count() == 1, recipe
        pictures = [bytes(artefact.content)[:5] for artefact in job.artefacts.all()]
        assert pictures or recipe not in PICTURES, recipe
        assert all(pictures), recipe
